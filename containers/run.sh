#!/bin/sh
# The programs of the image: train, minilingua and check-image, by the name they are called with.
#
# In a checkout they run its code: what DVC compares is what runs. Elsewhere they run the code that was
# installed when the image was built. Packages always come from the image.
set -eu
unset PYTHONPATH PYTHONHOME PYTHONSTARTUP PYTHONUSERBASE
export PYTHONNOUSERSITE=1
if [ -f src/minilingua/__init__.py ]; then
    PYTHONPATH=$(pwd)/src
    export PYTHONPATH
fi
PYTHON=/opt/minilingua/venv/bin/python
case ${0##*/} in
train) exec "$PYTHON" -m minilingua.training.worker "$@" ;;
minilingua) exec "$PYTHON" -m minilingua "$@" ;;
check-image) exec "$PYTHON" /opt/minilingua/check/check_image.py "$@" ;;
esac
echo "unknown program ${0##*/}" >&2
exit 2
