"""ONNX Runtime's GPU providers against doubles of it and of CUDA: everything but the arithmetic is ours."""

from __future__ import annotations

import inspect
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from goodparts.runtime.backends.library import BuildSettings
from goodparts.runtime.core.errors import BackendError, EngineError, ParityError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.engine.build import compile_plan
from goodparts.runtime.engine.engine import Engine

from goodparts.cli import main
from tests.runtime.backends.cuda_double import Machine
from tests.runtime.backends.onnxruntime_double import OPTIONS, OnnxRuntime, installed

CUDA, TENSORRT = BACKENDS = "onnxruntime-cuda", "onnxruntime-tensorrt"


@pytest.fixture
def runtime() -> Iterator[OnnxRuntime]:
    with installed(Machine()) as runtime:
        yield runtime


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def built(folder: Path, runtime: OnnxRuntime, backend: str) -> Path:
    compile_plan(folder, "fp32", BuildSettings(max_batch=3), backend)
    runtime.opened.clear()
    runtime.graphs.clear()
    return folder


def draw(batch: int, seed: int = 0) -> Array8:
    return np.random.default_rng(seed).integers(0, 256, (batch, 192, 192, 3), np.uint8)


@pytest.mark.parametrize("batch", [0, 1, 3, 7])
def test_features_are_the_graphs(built: Path, backend: str, batch: int) -> None:
    """Batches of every size, also larger than the buffers."""
    engine, other = Engine.open(built, backend=backend), Engine.open(built, backend="onnxruntime")
    seen, expected = engine.encode(draw(batch)), other.encode(draw(batch))
    for one, two in zip(
        (seen.global_, seen.local, *seen.memory), (expected.global_, expected.local, *expected.memory), strict=True
    ):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, two, atol=1e-5)  # the batches differ in size
    assert engine.backend.startswith(f"onnxruntime {onnxruntime.__version__}")
    assert engine.backend.endswith("Orin fp32")
    assert ("TensorRT 10.13.3" in engine.backend) == (backend == TENSORRT)


def test_threads_that_share_an_engine_get_their_own_results(built: Path, backend: str) -> None:
    engine = Engine.open(built, backend=backend)
    views = [draw(1 + seed % 3, seed) for seed in range(9)]
    alone = [engine.encode(view).global_ for view in views]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda view: engine.encode(view).global_, views))
    for one, two in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, two)


def test_every_batch_size_is_a_cuda_graph_of_its_own(folder: Path, runtime: OnnxRuntime) -> None:
    compile_plan(folder, "fp32", BuildSettings(max_batch=3), CUDA)
    engine = Engine.open(folder, backend=CUDA)
    runtime.graphs.clear()
    for batch in (1, 2, 1, 3, 2):
        engine.encode(draw(batch))
    assert sorted(recorded[0] for recorded in runtime.graphs.values()) == [1, 2, 3]


@pytest.mark.parametrize(("most", "recorded"), [(1, "1"), (3, "0")])
def test_tensorrts_one_cuda_graph_is_for_plans_of_one_view(
    folder: Path, runtime: OnnxRuntime, most: int, recorded: str
) -> None:
    compile_plan(folder, "fp32", BuildSettings(max_batch=most), TENSORRT)
    assert runtime.opened[-1]["trt_cuda_graph_enable"] == recorded


def test_products_are_fp32_where_the_graph_is(folder: Path, runtime: OnnxRuntime) -> None:
    compile_plan(folder, "fp32", BuildSettings(), CUDA)
    assert runtime.opened[-1]["use_tf32"] == "0"


def test_a_plan_is_built_as_asked_and_never_when_opening(folder: Path, runtime: OnnxRuntime) -> None:
    settings = BuildSettings(6, 2, "ampere-plus", level=5, workspace=64)
    compile_plan(folder, "fp32", settings, TENSORRT)
    (made,) = runtime.builds
    assert made["trt_profile_min_shapes"] == "image:1x192x192x3"
    assert made["trt_profile_opt_shapes"] == "image:2x192x192x3"
    assert made["trt_profile_max_shapes"] == "image:6x192x192x3"
    assert made["trt_builder_optimization_level"] == "5"
    assert made["trt_engine_hw_compatible"] == "1"
    assert made["trt_max_workspace_size"] == str(64 << 20)
    assert not [path for path in (folder / "plans").iterdir() if path.suffix not in (".plan", ".json")]
    Engine.open(folder, backend=TENSORRT).encode(draw(1))
    assert len(runtime.builds) == 1


def test_without_a_plan_the_error_says_how_to_build_one(folder: Path, runtime: OnnxRuntime, backend: str) -> None:
    build = f"goodparts build --engine {folder} --device {backend} --precision fp32"
    with pytest.raises(EngineError, match=rf"has no fp32 plan for Orin .*: .*`{build}`"):
        Engine.open(folder, backend=backend)
    assert not runtime.builds


def test_a_plan_from_another_gpu_or_version_is_told(
    built: Path, runtime: OnnxRuntime, backend: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(runtime.machine, "gpu", "NVIDIA A10")
        with pytest.raises(EngineError, match=r"was built on Orin \(compute capability 8\.7\), this is NVIDIA A10"):
            Engine.open(built, backend=backend)
    from goodparts.runtime.backends import onnxruntime_cuda as onnxruntime_gpu

    monkeypatch.setattr(onnxruntime_gpu.CudaProvider, "version", "9.0.0")
    monkeypatch.setattr(onnxruntime_gpu.ort, "__version__", "9.0.0")
    with pytest.raises(EngineError, match=r"was built with ONNX Runtime.* 1\..*, this is 9\.0\.0"):
        Engine.open(built, backend=backend)
    assert Engine.open(built, backend="onnxruntime").encode(draw(1))


def test_build_and_show_say_what_a_plan_is(
    folder: Path, runtime: OnnxRuntime, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "--engine", str(folder), "--device", CUDA, "--max-batch", "2"]) == 0
    assert not runtime.builds
    made = capsys.readouterr().out
    assert "on Orin (compute capability 8.7), batches of 1 to 2 (" in made  # no size: there is no file
    assert "differs from torch by at most" in made
    assert [path.suffix for path in (folder / "plans").iterdir()] == [".json"]
    assert main(["show", str(folder)]) == 0
    assert made.strip() in capsys.readouterr().out


def test_a_missing_library_is_named(folder: Path, runtime: OnnxRuntime, backend: str) -> None:
    runtime.missing = "libcublasLt.so.13: cannot open shared object file: No such file or directory"
    name = "CUDA" if backend == CUDA else "Tensorrt"
    with pytest.raises(BackendError, match=rf"cannot load its {name} provider: libcublasLt\.so\.13: cannot open"):
        Engine.open(folder, backend=backend)
    runtime.providers = ["CPUExecutionProvider"]
    with pytest.raises(BackendError, match=rf'has no {name} provider: .*pip install "\.\[gpu\]"'):
        Engine.open(folder, backend=backend)


def test_falling_back_to_the_cpu_is_an_error(built: Path, runtime: OnnxRuntime, backend: str) -> None:
    runtime.left_to_cpu = True
    with pytest.raises(BackendError, match=r"ONNX Runtime \S+ chose nothing, not \w+ExecutionProvider"):
        Engine.open(built, backend=backend)
    assert not runtime.machine.allocated


def test_what_a_provider_refuses_is_one_line(built: Path, runtime: OnnxRuntime, backend: str) -> None:
    runtime.refusal = "\nThis session contains graph nodes that are assigned to the default CPU EP\nand more"
    with pytest.raises(BackendError, match=r"cannot open .*: This session contains graph nodes .* EP$"):
        Engine.open(built, backend=backend)
    runtime.refusal = "Failed to allocate memory for requested buffer of size 512"
    with pytest.raises(BackendError, match=r"of size 512: end what else uses the GPU, or build with a smaller --max"):
        Engine.open(built, backend=backend)
    assert not runtime.machine.allocated
    assert not runtime.machine.handles


def test_too_little_gpu_memory_is_one_line_and_leaves_none_taken(
    built: Path, runtime: OnnxRuntime, backend: str
) -> None:
    runtime.machine.memory = 300_000
    with pytest.raises(BackendError, match=r"too little GPU memory for 0\.\d MB; 0 of 0 MB are free: .*--max-batch"):
        Engine.open(built, backend=backend)
    assert not runtime.machine.allocated
    assert not runtime.machine.handles
    assert Engine.open(built, backend="onnxruntime").encode(draw(1))


def test_a_run_that_fails_is_one_line_and_the_next_may_work(built: Path, runtime: OnnxRuntime, backend: str) -> None:
    engine = Engine.open(built, backend=backend)
    runtime.failing_run = "CUDA failure 719: unspecified launch failure"
    with pytest.raises(BackendError, match="cannot run 2 views: CUDA failure 719"):
        engine.encode(draw(2))
    expected = Engine.open(built, backend="onnxruntime").encode(draw(2))
    np.testing.assert_allclose(engine.encode(draw(2)).global_, expected.global_, atol=1e-5)


def test_everything_on_the_gpu_is_freed_with_the_engine(built: Path, runtime: OnnxRuntime, backend: str) -> None:
    engine = Engine.open(built, backend=backend)
    engine.encode(draw(2))
    assert runtime.machine.allocated
    del engine
    assert not runtime.machine.allocated
    assert not runtime.machine.handles


def test_a_graph_outside_its_tolerance_is_not_kept(folder: Path, runtime: OnnxRuntime, backend: str) -> None:
    runtime.machine.offset = 1e-2
    with pytest.raises(ParityError, match=rf"fp32 on {backend} differs from torch .* the plan was not kept"):
        compile_plan(folder, "fp32", BuildSettings(), backend)
    assert not list((folder / "plans").glob("*.*"))


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("libonnxruntime_providers_cuda.so", OPTIONS["CUDAExecutionProvider"]),
        ("libonnxruntime_providers_tensorrt.so", OPTIONS["TensorrtExecutionProvider"]),
        ("libonnxruntime.so.*", {"gpu_graph_id", "session.disable_cpu_ep_fallback"}),
    ],
)
def test_the_installed_library_has_the_options(file: str, names: set[str]) -> None:
    found = list((Path(onnxruntime.__file__).parent / "capi").glob(file))
    if not found:
        pytest.skip(f"this ONNX Runtime has no {file}: onnxruntime-gpu has")
    data = found[0].read_bytes()
    assert not {name for name in names if name.encode() not in data}


def test_the_double_is_as_the_installed_library() -> None:
    bound = ["self", "name", "device_type", "device_id", "element_type", "shape", "buffer_ptr"]
    for method, names in (
        (onnxruntime.IOBinding.bind_input, bound),
        (onnxruntime.IOBinding.bind_output, bound),
        (onnxruntime.InferenceSession.run_with_iobinding, ["self", "iobinding", "run_options"]),
        (onnxruntime.OrtValue.ortvalue_from_shape_and_type, ["shape", "element_type", "device_type", "device_id"]),
    ):
        assert list(inspect.signature(method).parameters)[: len(names)] == names
    assert "enable_fallback" in inspect.getsource(onnxruntime.InferenceSession.__init__)
