# make test     set up .venv and run the tests
# make soak     the long trials: a line whose surroundings fail for twenty minutes
# make check    lint, format and types
# make gpu-check  on a machine with a GPU: build, tests, benchmark, compute-sanitizer; then make gpu-check AGAIN=1
# make gpu-bundle  the Python packages that gpu-check needs, for a machine without a registry: copy build/gpu_bundle there
# make nvidia-check  what NVIDIA's compiler makes of every graph, without a GPU: benchmarks/results/nvidia_check.md
# make wheel    this machine's wheel, tested in an environment of its own, in build/wheels
# make docs     the documentation site, in build/site; a warning is an error
# make demo     the whole job on drawn parts, without torch; build/demo/sheet.html shows it

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/installed
CPP = $(wildcard cpp_ext/*/*.h cpp_ext/*/*.hpp cpp_ext/*/*.c cpp_ext/*/*.cpp cpp_ext/*/*.cu)
# Where tests/cpp_ext/headers.sh has been, the C++ runtime is checked too.
ORT = $(firstword $(wildcard $(VENV)/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*))
HEADERS = $(if $(ORT),$(wildcard build/headers/usr))
RUNTIME = $(if $(HEADERS),-DGOODPARTS_RUNTIME=ON -DCMAKE_PREFIX_PATH=$(abspath $(HEADERS)) -DONNXRuntime_LIBRARY=$(abspath $(ORT)))
TIDY = $(filter-out %_kernels.cpp %_amx.cpp,$(wildcard cpp_ext/src/*.cpp)) $(if $(HEADERS),$(wildcard cpp_ext/runtime/*.cpp))

.PHONY: test soak check gpu-check gpu-bundle nvidia-check wheel docs demo types format clean

test: $(STAMP)
	$(BIN)/python -m pytest

soak: $(STAMP)
	GOODPARTS_SOAK_MINUTES=20 $(BIN)/python -m pytest -q -s tests/runtime/line/test_soak.py

check: $(STAMP) types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	MYPYPATH=build/types $(BIN)/mypy -p goodparts
	$(BIN)/clang-format --dry-run --Werror $(CPP)
	cmake -S cpp_ext -B build/tidy -DGOODPARTS_CUDA=OFF -DCMAKE_EXPORT_COMPILE_COMMANDS=ON $(RUNTIME) > build/tidy.log
	$(BIN)/clang-tidy --quiet -p build/tidy $(TIDY)

# PyTorch and NumPy are there already.
GPU_PYTHON ?= 3.12
gpu-bundle:
	rm -rf build/gpu_bundle
	$(PYTHON) -m pip install --quiet --no-compile --target build/gpu_bundle --only-binary=:all: --implementation cp --python-version $(GPU_PYTHON) \
		$(patsubst %,--platform manylinux%_x86_64,_2_28 _2_17 2014) \
		msgspec pillow safetensors threadpoolctl nanobind pytest hypothesis

# It needs nothing but Python, nvcc and CMake; what else is missing is reported.
gpu-check:
	$(PYTHON) tests/cpp_ext/gpu_check.py $(if $(AGAIN),--again)

nvidia-check: $(STAMP)
	$(BIN)/python -m goodparts.benchmarks.nvidia_check --out build/nvidia_check --results benchmarks/results/nvidia_check.md

wheel: $(STAMP)
	bash tests/wheels.sh $(PYTHON) $(VENV) build/wheels

docs: $(STAMP) types
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

# In an environment of its own, without torch, so that it soon begins.
demo:
	$(PYTHON) -m venv build/demo-env
	build/demo-env/bin/pip install --quiet --disable-pip-version-check -C cmake.define.GOODPARTS_CUDA=OFF ".[cpu]"
	cd build && demo-env/bin/python -m goodparts.benchmarks.demo --out demo

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

# The type checker cannot see an editable install's mapping of folders to packages; links show it.
types:
	mkdir -p build/types/goodparts
	for file in __init__.py _native cli.py py.typed; do ln -sfn ../../../goodparts/$$file build/types/goodparts/$$file; done
	for package in runtime trainer drawn export evaluation benchmarks; do ln -sfn ../../../$$package build/types/goodparts/$$package; done

$(STAMP): pyproject.toml cpp_ext/CMakeLists.txt $(wildcard cpp_ext/*/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet scikit-build-core nanobind
	$(BIN)/pip install --quiet --no-build-isolation --editable ".[dev]"
	touch $(STAMP)

clean:
	rm -rf build $(VENV)
