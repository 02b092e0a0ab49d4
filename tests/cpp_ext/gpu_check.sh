#!/usr/bin/env bash
# On a machine with a GPU: build with CUDA, test kernels and backends, look for bad accesses and races, measure. Uses what
# is installed and installs nothing from a network; says what is missing.
#
#   tests/cpp_ext/gpu_check.sh [PYTHON]      results: benchmarks/results/gpu.json, logs in build/gpu_check
set -uo pipefail
cd "$(dirname "$0")/../.."
root=$PWD
python=${1:-python3}
out=$root/build/gpu_check
mkdir -p "$out"
failed=0

say() { printf '\n== %s\n' "$*"; }
need() { # need NAME COMMAND...: stop unless the command succeeds
  local name=$1
  shift
  "$@" >/dev/null 2>&1 || { echo "missing: $name"; missing=1; }
}
has() { "$python" -c "import $1" >/dev/null 2>&1; }
run() { # run NAME COMMAND...: note a failure and go on
  local name=$1
  shift
  say "$name"
  if "$@" 2>&1 | tee "$out/${name// /_}.log"; then echo "$name: ok"; else
    echo "$name: FAILED"
    failed=1
  fi
}

say "machine"
missing=0
need "an NVIDIA GPU and its driver (nvidia-smi)" nvidia-smi
need "nvcc, in PATH or /usr/local/cuda/bin" sh -c 'command -v nvcc || test -x /usr/local/cuda/bin/nvcc'
need "CMake" cmake --version
need "$python" "$python" --version
for module in numpy PIL msgspec safetensors threadpoolctl nanobind; do need "Python's $module" has "$module"; done
((missing)) && exit 2
export PATH=$PATH:/usr/local/cuda/bin
nvidia-smi --query-gpu=name,driver_version,compute_cap,memory.total --format=csv,noheader
nvcc --version | tail -n 2
"$python" -c 'import torch; print("torch", torch.__version__, "CUDA", torch.version.cuda, torch.cuda.is_available())' ||
  echo "torch is missing: the GPU's tests are skipped and nothing is measured"

# One package folder for everything below, whatever is installed; only this machine's GPU is compiled for.
say "build"
capability=$(nvidia-smi --query-gpu=compute_cap --format=csv,noheader | head -n 1 | tr -d .)
options=(GOODPARTS_CUDA=ON "CMAKE_CUDA_ARCHITECTURES=${GOODPARTS_ARCHITECTURES:-$capability-real}")
package=$out/package
rm -rf "$package"

build_wheel() {
  "$python" -m pip install --no-index --no-deps --no-build-isolation --target "$package" \
    "${options[@]/#/-Ccmake.define.}" .
}

build_extension() {
  local version
  version=$(sed -n 's/^__version__ = "\(.*\)"/\1/p' goodparts/__init__.py)
  cmake -S cpp_ext -B "$out/extension" -DSKBUILD=2 -DSKBUILD_PROJECT_VERSION="$version" \
    -DPython_EXECUTABLE="$("$python" -c 'import sys; print(sys.executable)')" "${options[@]/#/-D}" &&
    cmake --build "$out/extension" --parallel "$(nproc)" --target _native || return
  mkdir -p "$package"
  cp -r goodparts "$package/"
  for room in runtime drawn trainer export evaluation benchmarks; do cp -r "$room" "$package/goodparts/"; done
  cp "$out"/extension/_native*.so "$package/goodparts/"
}

has scikit_build_core || echo "scikit-build-core is missing: the extension is built alone"
if has scikit_build_core && build_wheel >"$out/build.log" 2>&1; then
  echo "built the package"
elif build_extension >>"$out/build.log" 2>&1; then
  echo "built the extension alone"
else
  tail -n 30 "$out/build.log"
  echo "the build failed: $out/build.log"
  exit 2
fi
export PYTHONPATH=$package
cd "$out" || exit 2  # Python would find the source folder goodparts first
"$python" - "$package" <<'PY' || exit 2
import sys
from goodparts import _native
if not _native.__file__.startswith(sys.argv[1]):
    sys.exit(f"another goodparts comes first, {_native.__file__}: uninstall it, or name another PYTHON")
if not _native.cuda.available():
    sys.exit(f"no GPU can be used: {_native.cuda.why_not()}")
print(_native.cuda.device_name())
PY

# Without the conftest.py above, which needs the trainer; warnings of this machine's torch are not ours.
tests=$root/tests/cpp_ext/cuda
pytest=("$python" -m pytest --rootdir="$root" -c "$root/pyproject.toml" --confcutdir="$root/tests/cpp_ext"
  --import-mode=importlib -p no:cacheprovider -o filterwarnings=)
if has pytest && has hypothesis && has torch; then
  run "tests" "${pytest[@]}" "$tests"
  if command -v compute-sanitizer >/dev/null; then
    some="on_gpu and (around or ties or finite or several or scores_and_map or strip)"
    for tool in memcheck racecheck; do
      run "$tool" compute-sanitizer --tool "$tool" --error-exitcode 9 \
        "${pytest[@]}" -x "$tests" -k "$some"
    done
  else
    echo "missing: compute-sanitizer (part of the CUDA toolkit): accesses and races were not looked at"
  fi
else
  echo "missing: pytest, hypothesis or torch: no test was run"
  failed=1
fi

# The backends that use the GPU: ONNX Runtime's CUDA provider, TensorRT, and frames that stay on the GPU.
# Those that are not installed are skipped, with the reason.
missing=()
for module in torch open_clip onnx onnxscript tqdm pytest hypothesis onnxruntime cuda.bindings; do
  has "$module" || missing+=("$module")
done
if ((${#missing[@]})); then
  echo "missing: Python's ${missing[*]}: the backends were not tested"
  failed=1
else
  backends=("$python" -m pytest --rootdir="$root" -c "$root/pyproject.toml" --import-mode=importlib
    -p no:cacheprovider -o filterwarnings= "$root/tests/runtime/backends/test_gpu_real.py"
    "$root/tests/runtime/backends/test_onnxruntime_cuda.py" "$root/tests/runtime/backends/test_tensorrt_api.py")
  run "backends" "${backends[@]}"
fi
if has torch; then
  version=$(git -C "$root" describe --always --dirty --abbrev=40 --exclude='*' 2>/dev/null || echo unknown)
  run "bench" "$python" -m goodparts.benchmarks.latency.gpu --json "$root/benchmarks/results/gpu.json" --commit "$version"
fi
((failed)) && echo "gpu-check: FAILED, see $out" || echo "gpu-check: ok"
exit "$failed"
