"""TensorRT-RTX: the real library builds, which needs no GPU, and a double of it runs."""

from __future__ import annotations

from pathlib import Path

import onnx
import onnx_ir as ir
import pytest
from goodparts.benchmarks.nvidia_check import compile_graph
from goodparts.export import mixed
from goodparts.export.graph import save_graph
from goodparts.runtime.backends.library import BuildSettings
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.backends.tensorrt_api import TensorRtApi
from goodparts.runtime.backends.tensorrt_build import Progress, build
from goodparts.runtime.core.errors import BackendError, EngineError, ParityError
from goodparts.runtime.engine.build import build_plan
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.plans import Plan, read_plans
from goodparts.runtime.engine.shipped import SHIPPED
from goodparts.runtime.engine.spec import read_spec

from goodparts.cli import main
from tests.runtime.backends.cuda_double import Machine
from tests.runtime.backends.tensorrt_double import installed

BACKEND = "tensorrt-rtx"
FOR_RTX_40 = BuildSettings(max_batch=4, capability=(8, 9))
RTX_40 = Machine(gpu="NVIDIA GeForce RTX 4070", capability=(8, 9), version="1.7.1.116")


@pytest.fixture(scope="module")
def api() -> TensorRtApi:
    pytest.importorskip("tensorrt_rtx_bindings", reason='TensorRT-RTX is not installed: pip install ".[tensorrt-rtx]"')
    return TensorRtApi("tensorrt_rtx_bindings", "TensorRT-RTX")


@pytest.fixture(scope="module")
def half(engine_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the ViT's graph with its products in fp16."""
    model = ir.load(engine_folder / "encoder.onnx")
    mixed.lower(model, "fp16")
    return save_graph(model, tmp_path_factory.mktemp("half"), "encoder.fp16")[0]


def the_plan(folder: Path) -> Plan:
    (_, plan) = next(iter(read_plans(folder, read_spec(folder).graph_id("plain", "fp32"))))
    assert isinstance(plan, Plan)
    return plan


def test_the_real_library_builds_an_engines_plan_for_a_gpu_that_is_not_there(
    api: TensorRtApi, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["build", "--engine", str(folder), "--backend", BACKEND, "--capability", "8.9"]) == 0
    assert "on any GPU (compute capability 8.9)" in capsys.readouterr().out
    plan = the_plan(folder)
    assert (plan.version, plan.hardware, plan.parity) == (api.version, "same-capability", None)
    assert plan.file is not None
    assert plan.file.size > 1_000_000
    assert not build_plan(folder, "fp32", BuildSettings(capability=(8, 9)), BACKEND)[1]  # there is one that fits


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_real_library_builds_the_engine_that_ships(api: TensorRtApi, precision: Precision) -> None:
    graph = SHIPPED / read_spec(SHIPPED).graph("plain").variant(precision).graph
    made = compile_graph(api, graph)
    convolutions = sum(node.op_type == "Conv" for node in onnx.load(graph, load_external_data=False).graph.node)
    assert convolutions < len(made.kernels) < 3 * convolutions
    assert made.size > 1_000_000


def test_the_real_library_fuses_attention_in_fp16(api: TensorRtApi, half: Path) -> None:
    blocks = sum(node.op_type == "Softmax" for node in onnx.load(half, load_external_data=False).graph.node)
    assert compile_graph(api, half).fused_attentions >= blocks


def test_the_real_library_refuses_a_file_that_it_cannot_read(api: TensorRtApi, tmp_path: Path) -> None:
    model = tmp_path / "strange.onnx"
    value = [onnx.helper.make_tensor_value_info(name, 1, [1, 4]) for name in ("image", "out")]
    node = onnx.helper.make_node("NoSuchOperation", ["image"], ["out"], domain="nowhere")
    graph = onnx.helper.make_graph([node], "strange", value[:1], value[1:])
    onnx.save(onnx.helper.make_model(graph), model)
    with pytest.raises(EngineError, match=r"TensorRT-RTX 1\..* cannot read .*NoSuchOperation"):
        build(api, model, FOR_RTX_40, Progress("building"))


def test_the_real_library_refuses_a_damaged_plan(api: TensorRtApi) -> None:
    plan, _ = build(api, SHIPPED / "encoder.onnx", FOR_RTX_40, Progress("building"))
    logger = api.Logger()
    runtime = api.create(api.trt.Runtime, logger, logger=logger, failed="does not start")
    for damaged in (plan[: len(plan) // 2], b"?" + plan[1:]):
        with pytest.raises(BackendError, match=r"^TensorRT-RTX 1\..* cannot load it: .*Serialization assertion"):
            api.create(runtime.deserialize_cuda_engine, damaged, logger=logger, failed="cannot load it")


def test_a_capability_that_it_does_not_build_for_is_reported(api: TensorRtApi, folder: Path) -> None:
    with pytest.raises(BackendError, match=r"does not build for compute capability 9\.0: choose from 7\.5, .*12\.1"):
        build_plan(folder, "fp32", BuildSettings(capability=(9, 0)), BACKEND)
    assert api.version
    assert not list((folder / "plans").glob("*.plan"))


@pytest.mark.parametrize("text", ["89", "8.x", "new"])
def test_a_capability_is_two_numbers(text: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["build", "--engine", str(folder), "--backend", BACKEND, "--capability", text])
    assert f"'{text}': a compute capability is two numbers, as in 8.9" in capsys.readouterr().err


def test_a_plan_made_ahead_is_checked_where_it_first_runs(folder: Path, tmp_path: Path) -> None:
    with installed(Machine(gpu="", version=RTX_40.version)):
        build_plan(folder, "fp32", FOR_RTX_40, BACKEND)
    assert the_plan(folder).parity is None
    with installed(RTX_40) as machine:
        assert Engine.open(folder, backend=BACKEND).backend == f"{BACKEND} 1.7.1.116 NVIDIA GeForce RTX 4070 fp32"
        assert the_plan(folder).parity is not None
        runs = machine.runs
        Engine.open(folder, backend=BACKEND)
        assert machine.runs == runs + 1  # one run before recording, none for a check of the plan
        assert machine.kernels == [b"kernels"]  # those that were cached at the first opening
    assert len(list((tmp_path / "cache").rglob("*.kernels"))) == 1
    larger = Machine(RTX_40.gpu, RTX_40.capability, RTX_40.multiprocessors + 2, version=RTX_40.version, offset=1e-2)
    with installed(larger), pytest.raises(ParityError, match=r"fp32 on tensorrt-rtx differs from torch"):
        Engine.open(folder, backend=BACKEND)  # another GPU of the same name and capability
    assert not larger.kernels


def test_a_plan_made_ahead_that_computes_wrongly_is_refused(folder: Path) -> None:
    with installed(Machine(gpu="", version=RTX_40.version)):
        build_plan(folder, "fp32", FOR_RTX_40, BACKEND)
    with installed(Machine(gpu="RTX", capability=(8, 9), version=RTX_40.version, offset=1e-2)):
        for _ in range(2):
            with pytest.raises(ParityError, match=r"fp32 on tensorrt-rtx differs from torch"):
                Engine.open(folder, backend=BACKEND)


def test_a_plan_fits_only_its_capability(folder: Path) -> None:
    with installed(Machine(gpu="", version=RTX_40.version)):
        build_plan(folder, "fp32", FOR_RTX_40, BACKEND)
    with (
        installed(Machine(gpu="RTX 3060", capability=(8, 6), version=RTX_40.version)),
        pytest.raises(EngineError, match=r"built for any GPU \(compute capability 8\.9\), this is RTX 3060"),
    ):
        Engine.open(folder, backend=BACKEND)


def test_without_a_capability_the_plan_is_for_this_gpu(folder: Path) -> None:
    with installed(RTX_40) as machine:
        plan, _ = build_plan(folder, "fp32", BuildSettings(), BACKEND)
        assert machine.builds[-1]["capability"] == "SM89"
        assert plan.parity is not None


def test_settings_that_only_tensorrt_has_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("tensorrt_rtx_bindings")
    code = main(["build", "--engine", str(folder), "--backend", BACKEND, "--capability", "8.9", "--level", "5"])
    assert code == 2
    assert "--level cannot be set for tensorrt-rtx" in capsys.readouterr().err
