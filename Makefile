# make test     set up .venv and run the tests
# make soak     run the long tests: a line whose cameras, disk and network fail again and again for twenty minutes
# make check    check lint, format and types
# make gpu-check  on a machine with a GPU: build, test, measure, run compute-sanitizer; AGAIN=1 repeats what failed
# make gpu-bundle  download gpu-check's Python packages to build/gpu_bundle, to be copied to a machine without network
# make nvidia-check  build every graph with NVIDIA's compiler, without a GPU: benchmarks/results/nvidia_check.md
# make wheel    build this machine's wheel in build/wheels and test it in an environment of its own
# make docs     build the documentation site in build/site; a warning is an error
# make demo     learn and inspect four drawn products, without torch; build/demo/sheet.html shows the results

PYTHON ?= python3
VENV ?= .venv
BIN = $(VENV)/bin
STAMP = $(VENV)/installed
CPP = $(wildcard cpp_ext/*/*.h cpp_ext/*/*.hpp cpp_ext/*/*.c cpp_ext/*/*.cpp cpp_ext/*/*.cu)
# If tests/cpp_ext/headers.sh has downloaded its headers, the C++ runtime is checked too.
ORT = $(firstword $(wildcard $(VENV)/lib/python3*/site-packages/onnxruntime/capi/libonnxruntime.so.*))
HEADERS = $(if $(ORT),$(wildcard build/headers/usr))
RUNTIME = $(if $(HEADERS),-DGOODPARTS_RUNTIME=ON -DCMAKE_PREFIX_PATH=$(abspath $(HEADERS)) \
	-DONNXRuntime_LIBRARY=$(abspath $(ORT)))
TIDY = $(filter-out %_kernels.cpp %_amx.cpp,$(wildcard cpp_ext/src/*.cpp)) \
	$(if $(HEADERS),$(wildcard cpp_ext/runtime/*.cpp))

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

# PyTorch and NumPy must already be installed on that machine.
GPU_PYTHON ?= 3.12
gpu-bundle:
	rm -rf build/gpu_bundle
	$(PYTHON) -m pip install --quiet --no-compile --target build/gpu_bundle --only-binary=:all: \
		--implementation cp --python-version $(GPU_PYTHON) \
		$(patsubst %,--platform manylinux%_x86_64,_2_28 _2_17 2014) \
		msgspec pillow safetensors threadpoolctl nanobind pytest hypothesis

# gpu-check needs only Python, nvcc and CMake. It reports other packages and tools that are missing.
gpu-check:
	$(PYTHON) tests/cpp_ext/gpu_check.py $(if $(AGAIN),--again)

nvidia-check: $(STAMP)
	$(BIN)/python -m goodparts.benchmarks.nvidia_check --out build/nvidia_check \
		--results benchmarks/results/nvidia_check.md

wheel: $(STAMP)
	bash tests/wheels.sh $(PYTHON) $(VENV) build/wheels

docs: $(STAMP) types
	NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build

# The demo runs in an environment of its own without torch, which is installed quickly.
demo:
	$(PYTHON) -m venv build/demo-env
	build/demo-env/bin/pip install --quiet --disable-pip-version-check -C cmake.define.GOODPARTS_CUDA=OFF ".[cpu]"
	cd build && demo-env/bin/python -m goodparts.benchmarks.demo --out demo

format: $(STAMP)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/clang-format -i $(CPP)

# The type checker cannot read how an editable install maps folders to packages, so this makes links to the folders.
types:
	mkdir -p build/types/goodparts
	for file in __init__.py _native cli.py py.typed; do \
		ln -sfn ../../../goodparts/$$file build/types/goodparts/$$file; done
	for package in runtime trainer drawn export evaluation benchmarks; do \
		ln -sfn ../../../$$package build/types/goodparts/$$package; done

$(STAMP): pyproject.toml cpp_ext/CMakeLists.txt $(wildcard cpp_ext/*/*)
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --upgrade pip
	$(BIN)/pip install --quiet scikit-build-core nanobind
	$(BIN)/pip install --quiet --no-build-isolation --editable ".[dev]"
	touch $(STAMP)

clean:
	rm -rf build $(VENV)
