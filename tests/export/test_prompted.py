"""The prompted graph: beside the plain one, with its weights, compared with torch."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
from goodparts.export import prompted
from goodparts.export.prompted import add_prompted
from goodparts.runtime.core.errors import EngineError, ParityError, SettingsError
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.parity import REFERENCE_NAMES, Reference
from goodparts.runtime.engine.spec import read_spec
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.trainer.anople.encoder import PromptedEncoder, conditions_of
from goodparts.trainer.anople.learner import AnoPLeLearner
from goodparts.trainer.anople.settings import anople_settings
from goodparts.trainer.clip.backbone import Backbone


def test_the_plain_graph_stays_to_the_byte_and_its_weights_are_shared(vit_engine: Path, prompted_folder: Path) -> None:
    before, after = read_spec(vit_engine), read_spec(prompted_folder)
    for file in before.files:
        assert (prompted_folder / file.name).read_bytes() == (vit_engine / file.name).read_bytes()
    assert before.graph_id("plain", "fp32") == after.graph_id("plain", "fp32") != after.graph_id("prompted", "fp32")
    prompted = after.graph("prompted").variants
    for precision, variant in prompted.items():
        assert variant.weights == after.graph("plain").variants[precision].weights
        assert (prompted_folder / variant.graph).stat().st_size < 2 * (prompted_folder / "encoder.onnx").stat().st_size
    added = {file.name for file in after.files} - {file.name for file in before.files}
    assert added == {REFERENCE_NAMES["prompted"]} | {variant.graph for variant in prompted.values()}


def test_the_graph_follows_the_contract(prompted_folder: Path) -> None:
    spec = read_spec(prompted_folder)
    onnx.checker.check_model(str(prompted_folder / "prompted.onnx"))
    graph = onnx.load(str(prompted_folder / "prompted.onnx"), load_external_data=False).graph
    plain = onnx.load(str(prompted_folder / "encoder.onnx"), load_external_data=False).graph

    def shape(value: onnx.ValueInfoProto) -> tuple[str | int, ...]:
        return tuple(side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim)

    image, *conditions = graph.input
    assert (image.name, shape(image)) == ("image", ("batch", 192, 192, 3))
    assert {value.name: shape(value) for value in conditions} == spec.graph("prompted").conditions
    assert [(output.name, shape(output)) for output in graph.output] == [
        (output.name, shape(output)) for output in plain.output
    ]
    assert not any(node.op_type == "Conv" for node in graph.node), "not every library reads its weights from an input"


def test_every_precision_of_the_engine_passed_the_gate(prompted_folder: Path) -> None:
    spec = read_spec(prompted_folder)
    assert spec.graph("prompted").precisions == spec.graph("plain").precisions
    for variant in spec.graph("prompted").variants.values():
        assert variant.parity
        for record in variant.parity:
            assert record.score_difference <= record.score_tolerance


@pytest.mark.parametrize("backend", ["onnxruntime", "openvino"])
def test_what_was_learned_gives_torchs_features(
    prompted_folder: Path, anople: AnoPLeLearner, anople_recipe: Recipe, backend: str
) -> None:
    engine = Engine.open(prompted_folder, backend=backend)
    views = np.random.default_rng(0).integers(0, 256, (3, 192, 192, 3), np.uint8)
    seen, expected = engine.encode(views, anople_recipe.conditions), anople.encode(views)
    for one, other in zip(
        (seen.global_, seen.local, *seen.memory), (expected.global_, expected.local, *expected.memory), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert np.abs(seen.local - engine.encode(views).local).max() > 1e-2, "and not the plain graph's"


def test_conditions_are_those_of_the_graph(vit: Backbone, anople: AnoPLeLearner) -> None:
    encoder = PromptedEncoder(vit, anople.settings)
    assert conditions_of(anople.model).shapes == encoder.shapes == encoder.example().shapes
    for changes in ({"memory": "plain"}, {"prefix": "none"}, {"visual_tokens": 0, "coupling": "none"}):
        with pytest.raises(SettingsError, match=next(iter(changes))):
            PromptedEncoder(vit, anople_settings(**changes))


def test_added_again_nothing_changes_and_other_conditions_are_refused(
    vit: Backbone, prompted_folder: Path, anople: AnoPLeLearner
) -> None:
    before = {path: path.stat().st_mtime_ns for path in prompted_folder.iterdir()}
    add_prompted(prompted_folder, vit, PromptedEncoder(vit, anople.settings))
    with pytest.raises(EngineError, match=r"prompts \[3, 8, 128\].*the encoder has prompts \[3, 6, 128\]"):
        add_prompted(prompted_folder, vit, PromptedEncoder(vit, anople_settings(visual_tokens=2)))
    assert {path: path.stat().st_mtime_ns for path in prompted_folder.iterdir()} == before


def test_a_failed_gate_leaves_the_engine_as_it_was(
    vit: Backbone, vit_engine: Path, prompted_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(shutil.copytree(vit_engine, tmp_path / "engine"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    monkeypatch.setattr(prompted, "trace", lambda *_: ir.load(prompted_folder / "prompted.onnx"))

    def fail(*_: object) -> None:
        raise ParityError("too far")

    monkeypatch.setattr(Reference, "measure", fail)
    with pytest.raises(ParityError):
        add_prompted(folder, vit, PromptedEncoder(vit, anople_settings()))
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before
    assert list(tmp_path.iterdir()) == [folder]
