#!/bin/sh
# What both recipes do on top of the base image: a virtual environment that sees the base's packages,
# the locked packages in it, and this project, with its programs on PATH.
#
#     /opt/minilingua/source   what was copied in      /opt/minilingua/venv   the environment
#     /opt/minilingua/bin      train, minilingua, check-image
set -eu
umask 022
HOME_DIR=/opt/minilingua
SOURCE=$HOME_DIR/source
PYTHON=$HOME_DIR/venv/bin/python

# NGC constrains pip to its own stack, in which newer packages do not resolve. What is bound to the
# base's torch is kept by installing exactly what the lock lists, and compared below.
unset PIP_CONSTRAINT
export PIP_NO_CACHE_DIR=1 PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_ROOT_USER_ACTION=ignore
export PYTHONDONTWRITEBYTECODE=1

before=$(python3 "$SOURCE/containers/base_packages.py")

# Without pip of its own: the base's is used, and a base need not have ensurepip.
python3 -m venv --system-site-packages --without-pip "$HOME_DIR/venv"
"$PYTHON" -m pip install --no-deps --no-compile --requirement "$SOURCE/containers/requirements.txt"
"$PYTHON" -m pip install --no-deps --no-compile "$SOURCE"

after=$("$PYTHON" "$SOURCE/containers/base_packages.py")
if [ "$before" != "$after" ]; then
    printf 'the packages of the base have changed\nbefore:\n%s\nafter:\n%s\n' "$before" "$after" >&2
    exit 1
fi

# In a read-only image nothing is compiled later. By hash, so that two builds hold the same bytes.
"$PYTHON" -m compileall -q --invalidation-mode unchecked-hash "$HOME_DIR"/venv/lib

mkdir "$HOME_DIR/bin"
for name in train minilingua check-image; do
    cp "$SOURCE/containers/run.sh" "$HOME_DIR/bin/$name"
    chmod 755 "$HOME_DIR/bin/$name"
done
mkdir "$HOME_DIR/check"
cp "$SOURCE/containers/check_image.py" "$SOURCE/params.yaml" "$HOME_DIR/check"
cp "$SOURCE/containers/requirements.txt" "$HOME_DIR/requirements.txt"
rm -rf "$SOURCE"
chmod -R a+rX "$HOME_DIR"
