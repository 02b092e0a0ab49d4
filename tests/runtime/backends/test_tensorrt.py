"""The TensorRT backend, with doubles of TensorRT and CUDA: everything but the arithmetic is tested."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.backends.library import BuildSettings
from goodparts.runtime.core.errors import BackendError, EngineError, ParityError, SettingsError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.engine.build import build_plan
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.plans import Plan, read_plans
from goodparts.runtime.engine.spec import read_spec

from goodparts.cli import main
from tests.runtime.backends.cuda_double import Machine
from tests.runtime.backends.tensorrt_double import installed


@pytest.fixture
def machine() -> Iterator[Machine]:
    with installed(Machine()) as machine:
        yield machine


@pytest.fixture
def built(folder: Path, machine: Machine) -> Path:
    build_plan(folder, "fp32", BuildSettings(max_batch=3), "tensorrt")
    machine.runs = machine.launches = 0
    return folder


def draw(batch: int, seed: int = 0) -> Array8:
    return np.random.default_rng(seed).integers(0, 256, (batch, 192, 192, 3), np.uint8)


def plan_file(folder: Path) -> Path:
    (path,) = (folder / "plans").glob("*.plan")
    return path


@pytest.mark.parametrize("batch", [1, 2, 3, 4, 7])
def test_features_equal_the_graphs(built: Path, batch: int) -> None:
    """Batches have every size, also larger than the plan's largest."""
    engine, other = (Engine.open(built, backend=name) for name in ("tensorrt", "onnxruntime"))
    seen, expected = engine.encode(draw(batch)), other.encode(draw(batch))
    for one, two in zip(
        (seen.global_, seen.local, *seen.memory), (expected.global_, expected.local, *expected.memory), strict=True
    ):
        assert one.dtype == np.float32
        np.testing.assert_allclose(one, two, atol=1e-5)  # the batches differ in size
    assert engine.backend == "tensorrt 10.3.0 Orin fp32"


def test_no_views_give_no_features(built: Path) -> None:
    assert Engine.open(built, backend="tensorrt").encode(draw(0)).local.shape == (0, 144, 128)


def test_each_batch_size_is_recorded_once_and_replayed(built: Path, machine: Machine) -> None:
    engine = Engine.open(built, backend="tensorrt")
    assert (machine.runs, machine.launches) == (1, 0)  # opening runs once without recording
    for batch in (1, 2, 1, 2, 1):
        engine.encode(draw(batch))
    assert (machine.runs, machine.launches) == (1 + 1 + 5, 5)


def test_results_stay_when_the_next_frame_comes(built: Path) -> None:
    engine = Engine.open(built, backend="tensorrt")
    first = engine.encode(draw(1))
    kept = first.global_.copy()
    engine.encode(draw(1, seed=1))
    np.testing.assert_array_equal(first.global_, kept)


def test_threads_that_share_an_engine_get_their_own_results(built: Path) -> None:
    engine = Engine.open(built, backend="tensorrt")
    views = [draw(1 + seed % 3, seed) for seed in range(12)]
    alone = [engine.encode(view).global_ for view in views]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda view: engine.encode(view).global_, views))
    for one, two in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one, two)


def test_everything_on_the_gpu_is_freed_with_the_engine(built: Path, machine: Machine) -> None:
    engine = Engine.open(built, backend="tensorrt")
    engine.encode(draw(2))
    assert machine.allocated
    assert machine.handles
    del engine
    assert not machine.allocated
    assert not machine.handles


def test_the_network_is_built_with_the_settings(folder: Path, machine: Machine) -> None:
    settings = BuildSettings(6, 2, "ampere-plus", later_versions=True, level=5, workspace=64)
    build_plan(folder, "fp32", settings, "tensorrt")
    (made,) = machine.builds
    assert made["flags"] == ["VERSION_COMPATIBLE"]  # TF32, which is on by default, is off
    assert (made["opt"], made["max"], made["level"]) == (2, 6, 5)
    assert made["hardware"] == "AMPERE_PLUS"
    assert made["workspace"] == 64 << 20


def test_a_plan_that_fits_is_not_built_again_unless_forced(
    built: Path, machine: Machine, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["build", "--engine", str(built), "--backend", "tensorrt"]
    assert main(command) == 0
    assert "exists and fits: nothing was built" in capsys.readouterr().out
    assert len(machine.builds) == 1
    assert main([*command, "--force"]) == 0
    captured = capsys.readouterr()
    assert re.search(
        r"Orin \(compute capability 8\.7, 16 multiprocessors, 15 GiB\), batches of 1 to 8, .* differs from torch by",
        captured.out,
    )
    assert "building fp32: Building Engine 0 %" in captured.err
    assert [made["timings"] for made in machine.builds] == ["", "timings"]
    assert len(list((built / "plans").glob("*.plan"))) == 1
    assert main(["show", str(built)]) == 0
    assert (
        "fp32 plan for tensorrt 10.3.0 on Orin (compute capability 8.7, 16 multiprocessors, 15 GiB), batches of 1 to 8"
        in capsys.readouterr().out
    )


def test_timings_that_tensorrt_refuses_are_replaced(folder: Path, machine: Machine) -> None:
    cache = folder / "plans" / "timings-tensorrt_Orin_sm87_16mp_15gib_10.3.0.cache"
    cache.parent.mkdir()
    cache.write_bytes(b"of another day")
    build_plan(folder, "fp32", BuildSettings(), "tensorrt")
    assert machine.builds[0]["timings"] == ""
    assert cache.read_bytes() == b"timings"


def test_without_a_plan_the_error_tells_how_to_build_one(folder: Path, machine: Machine) -> None:
    build = f"goodparts build --engine {folder} --backend tensorrt --precision fp32"
    with pytest.raises(EngineError, match=rf"has no fp32 plan for Orin .* with TensorRT 10\.3\.0: .*`{build}`"):
        Engine.open(folder, backend="tensorrt")
    assert not machine.builds


def test_a_plan_from_another_gpu_or_version_is_reported(built: Path, machine: Machine) -> None:
    machine.gpu, machine.capability = "NVIDIA A10", (8, 6)
    with pytest.raises(EngineError, match=r"was built for Orin \(compute capability 8\.7, .*\), this is NVIDIA A10"):
        Engine.open(built, backend="tensorrt")
    with installed(Machine(version="11.4.0.106")), pytest.raises(EngineError) as caught:
        Engine.open(built, backend="tensorrt")
    assert "was built with TensorRT 10.3.0, this is 11.4.0.106" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert Engine.open(built, backend="onnxruntime").encode(draw(1))


def test_a_plan_for_more_gpus_and_later_versions_is_used_there(folder: Path) -> None:
    settings = BuildSettings(hardware="ampere-plus", later_versions=True)
    with installed(Machine()):
        build_plan(folder, "fp32", settings, "tensorrt")
    with installed(Machine(gpu="NVIDIA A10", capability=(8, 6), version="11.4.0.106")):
        assert "11.4.0.106" in Engine.open(folder, backend="tensorrt").backend
    with installed(Machine(version="10.2.0")), pytest.raises(EngineError, match=r"this is 10\.2\.0"):
        Engine.open(folder, backend="tensorrt")
    with (
        installed(Machine(gpu="T4", capability=(7, 5))),
        pytest.raises(EngineError, match=r"this is T4 \(compute capability 7\.5"),
    ):
        Engine.open(folder, backend="tensorrt")


def test_a_hardware_level_that_this_version_lacks_is_reported(folder: Path, machine: Machine) -> None:
    with pytest.raises(BackendError, match=r"no --hardware same-capability: choose from same, ampere-plus"):
        build_plan(folder, "fp32", BuildSettings(hardware="same-capability"), "tensorrt")
    with installed(Machine(version="11.4.0.106", same_capability=True)) as newer:
        build_plan(folder, "fp32", BuildSettings(hardware="same-capability"), "tensorrt")
        assert newer.builds[0]["hardware"] == "SAME_COMPUTE_CAPABILITY"
    assert not machine.builds


def test_a_plan_of_another_graph_is_reported(built: Path) -> None:
    record = plan_file(built).with_suffix(".json")
    plan = next(plan for _, plan in read_plans(built, read_spec(built).graph_id("plain", "fp32")))
    assert isinstance(plan, Plan)
    changed = {name: getattr(plan, name) for name in plan.__struct_fields__} | {"graph": "0" * 64}
    record.write_bytes(Plan(**changed).to_bytes())
    with pytest.raises(EngineError, match="is of another graph: the engine was exported again since"):
        Engine.open(built, backend="tensorrt")


def test_damage_is_found_before_tensorrt_loads_the_plan(built: Path) -> None:
    path = plan_file(built)
    data = path.read_bytes()
    for damaged, line in (
        (data[:-1], r"is \d+ bytes, should be \d+"),
        (bytes([data[0] ^ 1]) + data[1:], "is damaged: its SHA-256 is not the recorded"),
    ):
        path.write_bytes(damaged)
        with pytest.raises(EngineError, match=line + r".*goodparts build"):
            Engine.open(built, backend="tensorrt")
    path.unlink()
    with pytest.raises(EngineError, match=r"is missing, should be \d+ bytes"):
        Engine.open(built, backend="tensorrt")
    record = path.with_suffix(".json")
    record.write_bytes(record.read_bytes().replace(b"Orin", b"Iron"))
    with pytest.raises(EngineError, match=r"\.json is damaged or of another version"):
        Engine.open(built, backend="tensorrt")
    assert build_plan(built, "fp32", BuildSettings(), "tensorrt")[1]  # a damaged one is built again


def test_a_plan_that_tensorrt_refuses_gives_one_line(built: Path, machine: Machine) -> None:
    record = plan_file(built).with_suffix(".json")
    plan = next(plan for _, plan in read_plans(built, read_spec(built).graph_id("plain", "fp32")))
    assert isinstance(plan, Plan)
    # The record promises larger batches than the plan supports.
    fields = {name: getattr(plan, name) for name in plan.__struct_fields__} | {"later_versions": True}
    record.write_bytes(Plan(**fields).to_bytes())
    with installed(Machine(version="11.4.0.106")), pytest.raises(BackendError) as caught:
        Engine.open(built, backend="tensorrt")
    assert str(caught.value).endswith("The engine plan file is not compatible with this version.")
    assert not machine.allocated


def test_a_graph_that_tensorrt_cannot_parse_gives_one_line(folder: Path, machine: Machine) -> None:
    machine.parse_errors = [("No importer\nregistered for op: Attention", "Attention", "blocks.0"), ("", "", "")]
    with pytest.raises(
        EngineError,
        match=r"TensorRT 10\.3\.0 cannot read .*encoder\.onnx: No importer registered for op: Attention at "
        r"Attention 'blocks\.0' \(and 1 more\)",
    ):
        build_plan(folder, "fp32", BuildSettings(), "tensorrt")
    assert not list((folder / "plans").glob("*"))


def test_a_build_that_fails_leaves_nothing(folder: Path, machine: Machine) -> None:
    machine.build_error = "Could not find any implementation for node: out of memory"
    with pytest.raises(BackendError, match=r"out of memory; a smaller --max-batch or --workspace needs less"):
        build_plan(folder, "fp32", BuildSettings(), "tensorrt")
    assert not list((folder / "plans").glob("*"))
    assert Engine.open(folder).encode(draw(1))


def test_too_little_gpu_memory_gives_one_line_and_frees_all_memory(built: Path, machine: Machine) -> None:
    machine.memory = 300_000
    with pytest.raises(BackendError, match=r"too little GPU memory for 0\.\d MB; 0 of 0 MB are free: .*--max-batch"):
        Engine.open(built, backend="tensorrt")
    assert not machine.allocated
    assert not machine.handles
    assert Engine.open(built, backend="onnxruntime").encode(draw(1))


@pytest.mark.parametrize("call", [1, 2])
def test_a_failed_run_gives_one_line_and_the_next_may_work(built: Path, machine: Machine, call: int) -> None:
    """The first call runs, the second is recorded. A stream that is left recording could not be used again."""
    engine = Engine.open(built, backend="tensorrt")
    machine.failing_run = machine.calls + call
    with pytest.raises(BackendError, match="TensorRT cannot run 2 views: Cask convolution execution"):
        engine.encode(draw(2))
    expected = Engine.open(built, backend="onnxruntime").encode(draw(2))
    np.testing.assert_allclose(engine.encode(draw(2)).global_, expected.global_, atol=1e-5)


def test_a_plan_outside_its_tolerance_is_not_kept(folder: Path, machine: Machine) -> None:
    machine.offset = 1e-2
    with pytest.raises(ParityError, match=r"fp32 on tensorrt differs from torch .* the plan was not kept"):
        build_plan(folder, "fp32", BuildSettings(), "tensorrt")
    assert not list((folder / "plans").glob("*.plan"))
    machine.offset = 0
    plan, _ = build_plan(folder, "fp32", BuildSettings(), "tensorrt")
    assert plan.parity is not None


@pytest.mark.parametrize("signal", [KeyboardInterrupt(), SystemExit(143)])
def test_interrupting_a_build_ends_it(
    folder: Path, machine: Machine, monkeypatch: pytest.MonkeyPatch, signal: BaseException
) -> None:
    """The exception is raised in a callback, and must not cross TensorRT's C++."""
    from goodparts.runtime.backends.tensorrt_build import Progress

    def press(*_: object, **__: object) -> None:
        raise signal

    monkeypatch.setattr(Progress, "INTERVAL", (0.0, 0.0))
    machine.on_step = lambda: monkeypatch.setattr("builtins.print", press)
    with pytest.raises(type(signal)):
        build_plan(folder, "fp32", BuildSettings(), "tensorrt")
    assert not machine.builds
    assert not list((folder / "plans").glob("*"))


def test_a_folder_that_cannot_be_written_leaves_plans_in_the_users_cache(
    folder: Path, machine: Machine, tmp_path: Path
) -> None:
    (folder / "plans").write_text("in the way")
    build_plan(folder, "fp32", BuildSettings(), "tensorrt")
    assert len(list((tmp_path / "cache").rglob("*.plan"))) == 1
    assert "tensorrt" in Engine.open(folder, backend="tensorrt").backend
    assert len(machine.builds) == 1


def test_a_missing_library_is_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "goodparts.runtime.backends.tensorrt", None)
    with pytest.raises(BackendError, match=r"is not installed: pip install \"\.\[tensorrt\]\""):
        Engine.open(folder, backend="tensorrt")

    def loader(*_: object) -> None:
        raise ImportError("libnvinfer.so.10: cannot open shared object file: No such file or directory")

    monkeypatch.setattr("importlib.import_module", loader)
    with pytest.raises(BackendError, match=r"tensorrt cannot be loaded: libnvinfer\.so\.10: cannot open"):
        Engine.open(folder, backend="tensorrt")


def test_a_missing_gpu_or_driver_is_reported(folder: Path) -> None:
    with installed(Machine(gpu="")), pytest.raises(BackendError, match="no CUDA GPU is visible"):
        Engine.open(folder, backend="tensorrt")
    with installed(Machine(starts=False)), pytest.raises(BackendError) as caught:
        build_plan(folder, "fp32", BuildSettings(), "tensorrt")
    assert str(caught.value) == (
        "TensorRT 10.3.0 does not start: CUDA initialization failure with error: 35. See the guide."
    )


@pytest.mark.parametrize(
    ("settings", "line"),
    [
        ({"max_batch": 0}, "--opt-batch 1 is outside 1 to --max-batch 0"),
        ({"opt_batch": 9}, "--opt-batch 9 is outside 1 to --max-batch 8"),
        ({"workspace": 0}, "--workspace 0: at least 1 MiB"),
    ],
)
def test_impossible_settings_are_refused(settings: dict[str, int], line: str) -> None:
    with pytest.raises(SettingsError, match=line):
        BuildSettings(**settings)  # type: ignore[arg-type]


def test_trtexec_is_printed_without_tensorrt(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["build", "--engine", str(folder), "--backend", "tensorrt", "--print-trtexec", "--max-batch", "4"]
    assert main([*command, "--hardware", "ampere-plus", "--workspace", "512"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == len(read_spec(folder).graph("plain").variants)
    line = lines[0]
    assert line.startswith(f"trtexec --onnx={folder / 'encoder.onnx'} --saveEngine=fp32.plan --stronglyTyped --noTF32 ")
    assert "--minShapes=image:1x192x192x3 --optShapes=image:1x192x192x3 --maxShapes=image:4x192x192x3" in line
    assert line.endswith("--memPoolSize=workspace:512 --hardwareCompatibilityLevel=ampere+")
