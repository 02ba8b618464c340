#!/usr/bin/env bash
# Everything that needs a GPU, in ten minutes on one H100 or H200: correctness of the attention
# backends, a training killed and taken up again, then speed and memory of the 1B model.
#
#   benchmarks/gpu.sh --list                  what the folder of wheels has to hold, and how to fill it
#   benchmarks/gpu.sh --wheels FOLDER         runs all; Python 3.12 with torch >= 2.10 has to be there
#   benchmarks/gpu.sh                         the same with the packages that are installed
#   benchmarks/gpu.sh .. --te                 with TransformerEngine too (NGC's image has it)
#   benchmarks/gpu.sh .. --short              seconds, a tiny model, on a CPU too: shows that it runs
#   benchmarks/gpu.sh .. --output FOLDER      for the results (default: benchmarks/results)
#
# Other options go to `python -m benchmarks.gpu` (--help). Results: gpu.json, gpu.md.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
requirements=containers/requirements.txt
wheels=
options=()
while (($#)); do
  case $1 in
    --list)
      grep -v '^#' "$requirements"
      echo "# all of it: python -m pip download --no-deps --only-binary :all: --python-version 312 \\"
      echo "#   --platform manylinux2014_x86_64 --platform manylinux_2_28_x86_64 \\"
      echo "#   --requirement $requirements --dest FOLDER"
      exit 0
      ;;
    --wheels)
      wheels=${2:?--wheels needs a folder}
      shift
      ;;
    *) options+=("$1") ;;
  esac
  shift
done

fail() {
  echo "gpu: error: $1" >&2
  exit 2
}

export PYTHONPATH="$PWD/src:$PWD${PYTHONPATH:+:$PYTHONPATH}"
if [[ -n $wheels ]]; then
  [[ -d $wheels ]] || fail "$wheels: is no folder; --list tells what it has to hold"
  site=$(mktemp -d)
  trap 'rm -rf "$site"' EXIT
  # Beside what is installed, and without its torch: no dependency is followed.
  "$python" -m pip install --quiet --no-index --no-deps --no-compile --find-links "$wheels" \
    --target "$site" --requirement "$requirements" || fail "$wheels: lacks a wheel; see --list"
  export PYTHONPATH="$PWD/src:$PWD:$site:$PYTHONPATH"
fi
missing=$("$python" -c '
from importlib.util import find_spec
needed = ("torch", "numpy", "megatron", "transformers", "pydantic", "ruamel", "matplotlib", "psutil")
print(*(name for name in needed if find_spec(name) is None))')
[[ -z $missing ]] || fail "$("$python" -c 'import sys; print(sys.executable)') lacks $missing"
export HF_HUB_OFFLINE=1 PYTORCH_ALLOC_CONF=${PYTORCH_ALLOC_CONF:-expandable_segments:True}
"$python" -m benchmarks.gpu --spent "$SECONDS" "${options[@]+"${options[@]}"}"
