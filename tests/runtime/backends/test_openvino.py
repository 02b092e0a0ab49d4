"""OpenVINO's plans on the CPU. For an Intel GPU, only the error for a missing GPU is tested."""

from __future__ import annotations

import logging
from pathlib import Path

import msgspec
import numpy as np
import openvino as ov
import pytest
from goodparts.runtime.backends.library import BuildSettings, Device
from goodparts.runtime.backends.openvino import compile_graph
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import BackendError, EngineError
from goodparts.runtime.engine.build import build_plan
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.plans import Plan, read_plans
from goodparts.runtime.engine.spec import Graph, read_spec

from goodparts.cli import main


@pytest.fixture
def built(folder: Path) -> Path:
    build_plan(folder, "fp32", BuildSettings(), "openvino")
    return folder


def the_plan(folder: Path) -> tuple[Path, Plan]:
    """Return the record's path and the record."""
    ((path, plan),) = read_plans(folder, read_spec(folder).graph_id("plain", "fp32"))
    assert isinstance(plan, Plan)
    return path, plan


def rewrite(folder: Path, **changes: object) -> None:
    path, plan = the_plan(folder)
    path.write_bytes(msgspec.structs.replace(plan, **changes).to_bytes())


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_features_are_those_of_the_graph(folder: Path, precision: Precision) -> None:
    if precision not in read_spec(folder).graph("plain").variants:
        pytest.skip("this processor has no bf16")
    views = np.random.default_rng(0).integers(0, 256, (3, 192, 192, 3), np.uint8)
    expected = Engine.open(folder, backend="openvino", precision=precision).encode(views)
    build_plan(folder, precision, BuildSettings(), "openvino")
    seen = Engine.open(folder, backend="openvino", precision=precision, threads=1)
    np.testing.assert_allclose(seen.encode(views).local, expected.local, atol=1e-6)
    assert seen.backend.endswith(f"CPU {precision}")


@pytest.mark.parametrize(
    ("has", "rest", "used"),
    [
        (["FP32", "INT8"], "bf16", ov.Type.f32),
        (["BF16", "FP32", "INT8"], "bf16", ov.Type.bf16),
        (["BF16", "FP32", "INT8"], "fp32", ov.Type.f32),  # as measured on a processor without bf16
    ],
)
def test_the_rest_of_int8_is_bf16_if_that_was_measured_and_the_processor_has_it(
    has: list[str], rest: str, used: ov.Type, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, object] = {}

    class Core:
        def get_property(self, device: str, name: str) -> list[str]:
            assert (device, name) == ("CPU", "OPTIMIZATION_CAPABILITIES")
            return has

        def read_model(self, path: Path) -> Path:
            return path

        def compile_model(self, model: Path, device: str, configuration: dict[str, object]) -> None:  # noqa: ARG002
            asked.update(configuration)

    monkeypatch.setattr(ov, "Core", Core)
    compile_graph(Path("int8.onnx"), "CPU", "int8", rest, {})
    assert asked["INFERENCE_PRECISION_HINT"] == used


def test_a_plan_is_used_and_has_no_weights_in_it(built: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, plan = the_plan(built)
    assert plan.file is not None
    assert plan.file.size < 0.2 * (built / "encoder.weights").stat().st_size
    monkeypatch.setattr("goodparts.runtime.engine.graphs.open_session", None)  # opening the graph file would fail
    assert Engine.open(built).backend.startswith("openvino")


def test_build_and_show_describe_a_plan(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["build", "--engine", str(folder), "--backend", "openvino"]
    assert main(command) == 0
    made = capsys.readouterr().out
    assert made.startswith("fp32 plan for openvino 20")
    assert "batches of any size" in made
    assert "differs from torch by at most" in made
    assert main(command) == 0
    assert "exists and fits: nothing was built" in capsys.readouterr().out
    assert main(["show", str(folder)]) == 0
    assert made.strip() in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "line"),
    [
        ({"device": Device("Another CPU")}, "it was built for Another CPU, this is"),
        ({"version": "2023.0.0"}, "it was built with OpenVINO 2023.0.0, this is"),
        ({"graph": "0" * 64}, "it is of another graph: the engine was exported again since"),
    ],
)
def test_a_plan_that_does_not_fit_is_reported_and_the_graph_opened(
    built: Path, caplog: pytest.LogCaptureFixture, changes: dict[str, object], line: str
) -> None:
    rewrite(built, **changes)
    with caplog.at_level(logging.WARNING):
        assert Engine.open(built, backend="openvino").backend.startswith("openvino")
    (record,) = caplog.records
    assert line in record.getMessage()
    assert "goodparts build" in record.getMessage()
    assert record.getMessage().endswith("until then the graph itself is opened, which takes longer")


def test_a_damaged_plan_is_reported_and_the_graph_opened(built: Path, caplog: pytest.LogCaptureFixture) -> None:
    (path,) = (built / "plans").glob("*.plan")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    assert Engine.open(built, backend="openvino").backend.startswith("openvino")
    assert "is damaged: its SHA-256 is not the recorded" in caplog.text
    assert build_plan(built, "fp32", BuildSettings(), "openvino")[1]  # built again


def test_a_plan_replaces_the_parity_record_that_an_export_lacks(built: Path) -> None:
    """This happens if the engine came from a workstation without OpenVINO."""
    spec = read_spec(built)
    fp32 = msgspec.structs.replace(spec.graph("plain").variant("fp32"), parity=())
    bare = msgspec.structs.replace(spec, graphs={"plain": Graph(conditions={}, variants={"fp32": fp32})})
    (built / "engine.json").write_bytes(bare.to_bytes())
    assert Engine.open(built, backend="openvino").backend.startswith("openvino")
    with pytest.raises(EngineError, match="fp32 on onnxruntime has no parity record"):
        Engine.open(built, backend="onnxruntime")


def test_settings_of_other_libraries_are_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["build", "--engine", str(folder), "--backend", "openvino"]
    assert main([*command, "--level", "5", "--later-versions"]) == 2
    assert "--later-versions, --level cannot be set for openvino" in capsys.readouterr().err
    assert main([*command, "--print-trtexec"]) == 2
    assert "it is for tensorrt" in capsys.readouterr().err


def test_without_an_intel_gpu_the_error_names_what_is_missing(folder: Path) -> None:
    openvino = pytest.importorskip("openvino")
    if "GPU" in openvino.Core().available_devices:
        pytest.skip("there is an Intel GPU: test_gpu_real.py runs on it")
    needs = r"OpenVINO .* has no GPU, which needs an Intel GPU and its OpenCL driver \(intel-opencl-icd\): .+"
    for call in (
        lambda: build_plan(folder, "fp32", BuildSettings(), "openvino-gpu"),
        lambda: Engine.open(folder, backend="openvino-gpu"),
    ):
        with pytest.raises(BackendError, match=needs) as caught:
            call()
        assert "\n" not in str(caught.value)
