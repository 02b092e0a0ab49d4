"""The Triton repository: protobuf parses config.pbtxt with the published fields, and the model runs as in Triton."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
from goodparts.export.triton import write_repository
from goodparts.runtime.core.errors import EngineError, SettingsError
from goodparts.runtime.detector import Detector
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import read_spec
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory, text_format

from goodparts.cli import main

FACTS = json.loads((Path(__file__).parents[1] / "data" / "triton_model_config.json").read_text())
SCALARS = {"string": 9, "int32": 5, "int64": 3, "uint64": 4}


def parse(text: str) -> Any:
    """Return a ModelConfig message; protobuf raises ParseError for a field or value that Triton does not accept."""
    file = descriptor_pb2.FileDescriptorProto(name="model_config.proto", package="inference", syntax="proto3")
    for name, values in FACTS["enums"].items():
        enum = file.enum_type.add(name=name)
        for number, value in enumerate(values):
            enum.value.add(name=value, number=number)
    for name, fields in FACTS["messages"].items():
        message = file.message_type.add(name=name)
        for number, (field, kind) in enumerate(fields.items(), 1):
            _add_field(message, field, number, kind)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    made = message_factory.GetMessageClass(pool.FindMessageTypeByName("inference.ModelConfig"))()
    return text_format.Parse(text, made)


def _add_field(message: Any, name: str, number: int, kind: str) -> None:
    label, _, base = kind.rpartition(" ")
    field = message.field.add(name=name, number=number, label=3 if label else 1)
    if label == "map":
        entry = message.nested_type.add(name=f"{name.title()}Entry")
        entry.options.map_entry = True
        _add_field(entry, "key", 1, "string")
        _add_field(entry, "value", 2, base)
        field.type, field.type_name = 11, f".inference.{message.name}.{entry.name}"
    elif base in SCALARS:
        field.type = SCALARS[base]
    else:
        field.type, field.type_name = (14 if base in FACTS["enums"] else 11), f".inference.{base}"


def test_the_configuration_is_tritons_and_the_graphs(engine_folder: Path, tmp_path: Path) -> None:
    folder = write_repository(engine_folder, tmp_path / "models", max_batch=4, instances=2)[0]
    config = parse((folder / "config.pbtxt").read_text())
    assert (config.name, config.backend, config.max_batch_size) == (folder.name, "onnxruntime", 4)
    assert config.name == "encoder_fp32"
    assert (config.instance_group[0].count, config.instance_group[0].kind) == (2, 1)
    assert config.dynamic_batching.max_queue_delay_microseconds == 500
    assert config.parameters["graph"].string_value == read_spec(engine_folder).graph_id("plain", "fp32")
    session = ort.InferenceSession(str(folder / "1" / "model.onnx" / "model.onnx"))
    kinds = {2: "tensor(uint8)", 4: "tensor(float)"}
    for declared, real in ((config.input, session.get_inputs()), (config.output, session.get_outputs())):
        seen = [(tensor.name, kinds[tensor.data_type], list(tensor.dims)) for tensor in declared]
        assert seen == [(tensor.name, tensor.type, tensor.shape[1:]) for tensor in real]
    views = np.random.default_rng(0).integers(0, 256, (2, 240, 240, 3), np.uint8)
    outputs = session.run(["global"], {"image": views})
    np.testing.assert_allclose(outputs[0], Engine.open(engine_folder).encode(views).global_, atol=1e-6)


def test_a_wrong_field_or_value_would_be_found(engine_folder: Path, tmp_path: Path) -> None:
    text = (write_repository(engine_folder, tmp_path)[0] / "config.pbtxt").read_text()
    for right, wrong in (("backend", "back_end"), ("TYPE_UINT8", "UINT8"), ("KIND_GPU", "GPU")):
        with pytest.raises(text_format.ParseError):
            parse(text.replace(right, wrong))


def test_the_command_adds_an_engine_that_is_there(
    engine_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["export", "--engine", str(engine_folder), "--triton", str(tmp_path), "--triton-device", "cpu"]
    assert main(command) == 0
    assert "encoder_fp32: tritonserver --model-repository=" in capsys.readouterr().out
    assert "KIND_CPU" in (tmp_path / "encoder_fp32" / "config.pbtxt").read_text()
    assert main(command) == 2
    assert "encoder_fp32 exists: name another folder, or remove it" in capsys.readouterr().err


def test_the_documented_client_scores_like_the_engine(
    engine_folder: Path, recipe_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_repository(engine_folder, tmp_path)[0]
    session = ort.InferenceSession(str(folder / "1" / "model.onnx" / "model.onnx"))

    class InferInput:
        def __init__(self, name: str, shape: list[int], datatype: str) -> None:
            assert (name, datatype) == ("image", "UINT8")
            self.shape = shape

        def set_data_from_numpy(self, input_tensor: Any) -> None:
            assert list(input_tensor.shape) == self.shape
            self.data = input_tensor

    class InferResult:
        def __init__(self, outputs: dict[str, Any]) -> None:
            self.as_numpy = outputs.__getitem__

    class InferenceServerClient:
        def __init__(self, url: str) -> None:
            assert url == "localhost:8001"

        def infer(self, model_name: str, inputs: list[InferInput]) -> InferResult:
            assert model_name == folder.name
            names = [output.name for output in session.get_outputs()]
            return InferResult(dict(zip(names, session.run(names, {"image": inputs[0].data}), strict=True)))

    module = ModuleType("tritonclient.grpc")
    module.__dict__.update(InferInput=InferInput, InferenceServerClient=InferenceServerClient)
    package = ModuleType("tritonclient")
    package.__dict__.update(grpc=module)
    monkeypatch.setitem(sys.modules, "tritonclient", package)
    monkeypatch.setitem(sys.modules, "tritonclient.grpc", module)
    (tmp_path / "engine").symlink_to(engine_folder)
    (tmp_path / "nut.safetensors").symlink_to(recipe_file)
    monkeypatch.chdir(tmp_path)
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    space: dict[str, Any] = {}
    exec(text.split("```python\n")[1].split("```")[0], space)
    picture = photos / "bad" / "4.png"
    seen = space["detector"].predict(picture)
    assert seen.backend == "triton localhost:8001 encoder_fp32"
    expected = Detector.open(engine_folder, recipe_file, backend="onnxruntime").predict(picture)
    assert seen.raw_score == pytest.approx(expected.raw_score, abs=1e-6)


def test_what_cannot_be_served_is_refused_and_leaves_nothing(engine_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="max_batch 0, instances 1: at least 1"):
        write_repository(engine_folder, tmp_path, max_batch=0)
    with pytest.raises(EngineError, match="no engine at"):
        write_repository(tmp_path / "nothing", tmp_path)
    assert not list(tmp_path.iterdir())
