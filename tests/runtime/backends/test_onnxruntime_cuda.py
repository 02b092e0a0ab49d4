"""ONNX Runtime's CUDA provider, with doubles of ONNX Runtime and of CUDA: everything but the arithmetic is tested."""

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
from goodparts.runtime.engine.build import build_plan
from goodparts.runtime.engine.engine import Engine

from goodparts.cli import main
from tests.runtime.backends.cuda_double import Machine
from tests.runtime.backends.onnxruntime_double import OPTIONS, OnnxRuntime, installed

BACKEND = "onnxruntime-cuda"


@pytest.fixture
def runtime() -> Iterator[OnnxRuntime]:
    with installed(Machine()) as runtime:
        yield runtime


@pytest.fixture
def built(folder: Path, runtime: OnnxRuntime) -> Path:
    build_plan(folder, "fp32", BuildSettings(max_batch=3), BACKEND)
    runtime.opened.clear()
    runtime.graphs.clear()
    return folder


def draw(batch: int, seed: int = 0) -> Array8:
    return np.random.default_rng(seed).integers(0, 256, (batch, 192, 192, 3), np.uint8)


@pytest.mark.parametrize("batch", [0, 1, 3, 7])
def test_features_equal_the_graphs(built: Path, batch: int) -> None:
    """Batches have every size, also larger than the buffers."""
    engine, other = Engine.open(built, backend=BACKEND), Engine.open(built, backend="onnxruntime")
    seen, expected = engine.encode(draw(batch)), other.encode(draw(batch))
    for one, two in zip(
        (seen.global_, seen.local, *seen.memory), (expected.global_, expected.local, *expected.memory), strict=True
    ):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, two, atol=1e-5)  # the batches differ in size
    assert engine.backend.startswith(f"onnxruntime {onnxruntime.__version__}")
    assert engine.backend.endswith("Orin fp32")


def test_threads_that_share_an_engine_get_their_own_results(built: Path) -> None:
    engine = Engine.open(built, backend=BACKEND)
    views = [draw(1 + seed % 3, seed) for seed in range(9)]
    alone = [engine.encode(view).global_ for view in views]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda view: engine.encode(view).global_, views))
    for one, two in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, two)


def test_every_batch_size_is_a_cuda_graph_of_its_own(folder: Path, runtime: OnnxRuntime) -> None:
    build_plan(folder, "fp32", BuildSettings(max_batch=3), BACKEND)
    engine = Engine.open(folder, backend=BACKEND)
    runtime.graphs.clear()
    for batch in (1, 2, 1, 3, 2):
        engine.encode(draw(batch))
    assert sorted(recorded[0] for recorded in runtime.graphs.values()) == [1, 2, 3]


def test_products_are_fp32_where_the_graph_is(folder: Path, runtime: OnnxRuntime) -> None:
    build_plan(folder, "fp32", BuildSettings(), BACKEND)
    assert runtime.opened[-1]["use_tf32"] == "0"


@pytest.mark.usefixtures("runtime")
def test_without_a_plan_the_error_tells_how_to_build_one(folder: Path) -> None:
    build = f"goodparts build --engine {folder} --backend {BACKEND} --precision fp32"
    with pytest.raises(EngineError, match=rf"has no fp32 plan for Orin .*: .*`{build}`"):
        Engine.open(folder, backend=BACKEND)


def test_a_plan_from_another_gpu_or_version_is_reported(
    built: Path, runtime: OnnxRuntime, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patch:
        patch.setattr(runtime.machine, "gpu", "NVIDIA A10")
        with pytest.raises(
            EngineError, match=r"was built for Orin \(compute capability 8\.7, .*\), this is NVIDIA A10"
        ):
            Engine.open(built, backend=BACKEND)
    from goodparts.runtime.backends import onnxruntime_cuda

    monkeypatch.setattr(onnxruntime_cuda.CudaProvider, "version", "9.0.0")
    with pytest.raises(EngineError, match=r"was built with ONNX Runtime.* 1\..*, this is 9\.0\.0"):
        Engine.open(built, backend=BACKEND)
    assert Engine.open(built, backend="onnxruntime").encode(draw(1))


def test_gpus_of_one_name_and_capability_have_plans_of_their_own(built: Path, runtime: OnnxRuntime) -> None:
    """All Jetson Orin have the same name and capability, whatever their size."""
    for multiprocessors, memory in ((8, 15), (16, 7)):
        runtime.machine.multiprocessors, runtime.machine.memory_gib = multiprocessors, memory
        other = rf"16 multiprocessors, 15 GiB\), this is Orin \(.*, {multiprocessors} multiprocessors, {memory} GiB"
        with pytest.raises(EngineError, match=other):
            Engine.open(built, backend=BACKEND)
        build_plan(built, "fp32", BuildSettings(max_batch=3), BACKEND)
        assert Engine.open(built, backend=BACKEND)
    assert len(list((built / "plans").glob("*.json"))) == 3


@pytest.mark.usefixtures("runtime")
def test_build_and_show_describe_a_plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["build", "--engine", str(folder), "--backend", BACKEND, "--max-batch", "2"]) == 0
    made = capsys.readouterr().out
    assert (
        "on Orin (compute capability 8.7, 16 multiprocessors, 15 GiB), batches of 1 to 2 (" in made
    )  # no size is shown, because there is no file
    assert "differs from torch by at most" in made
    assert [path.suffix for path in (folder / "plans").iterdir()] == [".json"]
    assert main(["show", str(folder)]) == 0
    assert made.strip() in capsys.readouterr().out


def test_a_missing_library_is_named(folder: Path, runtime: OnnxRuntime) -> None:
    runtime.missing = "libcublasLt.so.13: cannot open shared object file: No such file or directory"
    with pytest.raises(BackendError, match=r"cannot load its CUDA provider: libcublasLt\.so\.13: cannot open"):
        Engine.open(folder, backend=BACKEND)
    runtime.providers = ["CPUExecutionProvider"]
    with pytest.raises(BackendError, match=r'has no CUDA provider: .*pip install "\.\[gpu\]"'):
        Engine.open(folder, backend=BACKEND)


def test_falling_back_to_the_cpu_is_an_error(built: Path, runtime: OnnxRuntime) -> None:
    runtime.left_to_cpu = True
    with pytest.raises(BackendError, match=r"ONNX Runtime \S+ chose nothing, not \w+ExecutionProvider"):
        Engine.open(built, backend=BACKEND)
    assert not runtime.machine.allocated


def test_a_graph_that_the_provider_refuses_gives_one_line(built: Path, runtime: OnnxRuntime) -> None:
    runtime.refusal = "\nThis session contains graph nodes that are assigned to the default CPU EP\nand more"
    with pytest.raises(BackendError, match=r"cannot open .*: This session contains graph nodes .* EP$"):
        Engine.open(built, backend=BACKEND)
    runtime.refusal = "Failed to allocate memory for requested buffer of size 512"
    with pytest.raises(BackendError, match=r"of size 512: end other programs that use the GPU, or build"):
        Engine.open(built, backend=BACKEND)
    assert not runtime.machine.allocated
    assert not runtime.machine.handles


def test_too_little_gpu_memory_gives_one_line_and_frees_all_memory(built: Path, runtime: OnnxRuntime) -> None:
    runtime.machine.memory = 300_000
    with pytest.raises(BackendError, match=r"too little GPU memory for 0\.\d MB; 0 of 0 MB are free: .*--max-batch"):
        Engine.open(built, backend=BACKEND)
    assert not runtime.machine.allocated
    assert not runtime.machine.handles
    assert Engine.open(built, backend="onnxruntime").encode(draw(1))


def test_a_failed_run_gives_one_line_and_the_next_may_work(built: Path, runtime: OnnxRuntime) -> None:
    engine = Engine.open(built, backend=BACKEND)
    runtime.failing_run = "CUDA failure 719: unspecified launch failure"
    with pytest.raises(BackendError, match="cannot run 2 views: CUDA failure 719"):
        engine.encode(draw(2))
    expected = Engine.open(built, backend="onnxruntime").encode(draw(2))
    np.testing.assert_allclose(engine.encode(draw(2)).global_, expected.global_, atol=1e-5)


def test_everything_on_the_gpu_is_freed_with_the_engine(built: Path, runtime: OnnxRuntime) -> None:
    engine = Engine.open(built, backend=BACKEND)
    engine.encode(draw(2))
    assert runtime.machine.allocated
    del engine
    assert not runtime.machine.allocated
    assert not runtime.machine.handles


def test_a_graph_outside_its_tolerance_is_not_kept(folder: Path, runtime: OnnxRuntime) -> None:
    runtime.machine.offset = 1e-2
    with pytest.raises(ParityError, match=rf"fp32 on {BACKEND} differs from torch .* the plan was not kept"):
        build_plan(folder, "fp32", BuildSettings(), BACKEND)
    assert not list((folder / "plans").glob("*.*"))


@pytest.mark.parametrize(
    ("file", "names"),
    [
        ("libonnxruntime_providers_cuda.so", OPTIONS),
        ("libonnxruntime.so.*", {"gpu_graph_id"}),
    ],
)
def test_the_installed_library_has_the_options(file: str, names: set[str]) -> None:
    found = list((Path(onnxruntime.__file__).parent / "capi").glob(file))
    if not found:
        pytest.skip(f"this ONNX Runtime has no {file}: onnxruntime-gpu has")
    data = found[0].read_bytes()
    assert not {name for name in names if name.encode() not in data}


def test_the_double_equals_the_installed_library() -> None:
    bound = ["self", "name", "device_type", "device_id", "element_type", "shape", "buffer_ptr"]
    for method, names in (
        (onnxruntime.IOBinding.bind_input, bound),
        (onnxruntime.IOBinding.bind_output, bound),
        (onnxruntime.InferenceSession.run_with_iobinding, ["self", "iobinding", "run_options"]),
        (onnxruntime.OrtValue.ortvalue_from_shape_and_type, ["shape", "element_type", "device_type", "device_id"]),
    ):
        assert list(inspect.signature(method).parameters)[: len(names)] == names
    assert "enable_fallback" in inspect.getsource(onnxruntime.InferenceSession.__init__)
