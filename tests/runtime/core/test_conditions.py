"""Recipes with conditions: their file, and an engine that runs both of its graphs."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.errors import EngineError, RecipeError
from goodparts.runtime.core.preprocess import load_rgb
from goodparts.runtime.detector import Detector
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import read_spec
from goodparts.runtime.line.shared_engine import BatchingSession, SharedEngine
from goodparts.runtime.recipe.header import FORMAT_VERSION, PROMPTED_VERSION
from goodparts.runtime.recipe.recipe import Recipe

from tests.conftest import draw_part


def test_the_file_keeps_conditions_and_has_the_prompted_version(anople_recipe: Recipe, vit_recipe: Recipe) -> None:
    again = Recipe.from_bytes(anople_recipe.to_bytes())
    assert again.conditions == anople_recipe.conditions
    assert (again.header.version, again.header.method) == (PROMPTED_VERSION, "anople")
    assert again.to_bytes() == anople_recipe.to_bytes()
    assert vit_recipe.header.version == FORMAT_VERSION
    bare = dataclasses.replace(anople_recipe, conditions=None)
    with pytest.raises(RecipeError, match="lacks the tensor 'condition"):
        Recipe.from_bytes(bare.to_bytes())
    assert anople_recipe.conditions
    spoiled = {name: np.full_like(tensor, np.nan) for name, tensor in anople_recipe.conditions.tensors.items()}
    with pytest.raises(RecipeError, match=r"tensor condition\.\S+ holds values that are not finite"):
        Recipe.from_bytes(dataclasses.replace(anople_recipe, conditions=Conditions(spoiled)).to_bytes())


def test_use_switches_between_methods(prompted_folder: Path, vit_recipe: Recipe, anople_recipe: Recipe) -> None:
    frame = load_rgb(draw_part(4, defect=True))
    detector = Detector.open(prompted_folder, vit_recipe)
    engine = detector.engine
    plain = detector.predict(frame)
    assert "prompted" not in engine.graphs, "the prompted graph is opened by the first recipe that needs it"
    detector.use(anople_recipe)
    prompted = detector.predict(frame)
    assert (plain.graph, prompted.graph) == (vit_recipe.header.graph, anople_recipe.header.graph)
    assert prompted.score == Detector(engine, anople_recipe).predict(frame).score
    assert prompted.raw_score != plain.raw_score
    detector.use(vit_recipe)
    assert detector.predict(frame).score == plain.score


@pytest.mark.parametrize("backend", ["openvino", "onnxruntime"])
def test_every_product_is_encoded_with_its_own_conditions(
    prompted_folder: Path, anople_recipe: Recipe, backend: str
) -> None:
    assert anople_recipe.conditions
    one = anople_recipe.conditions
    other = Conditions({name: 2 * tensor for name, tensor in one.tensors.items()})
    views = np.random.default_rng(0).integers(0, 256, (2, 192, 192, 3), np.uint8)
    alone = {
        conditions: Engine.open(prompted_folder, backend=backend).encode(views, conditions).local
        for conditions in (one, other)
    }
    assert np.abs(alone[one] - alone[other]).max() > 0.01
    engine = Engine.open(prompted_folder, backend=backend)
    for conditions in (one, other, one, one, other):
        np.testing.assert_allclose(engine.encode(views, conditions).local, alone[conditions], atol=1e-6)


def test_conditions_that_no_graph_reads_are_refused_and_the_product_in_use_stays(
    vit_engine: Path, prompted_folder: Path, vit_recipe: Recipe, anople_recipe: Recipe
) -> None:
    with pytest.raises(EngineError, match="no prompted graph, which AnoPLe recipes need"):
        Detector.open(vit_engine, anople_recipe)
    assert anople_recipe.conditions
    cut = {**anople_recipe.conditions.tensors, "prompts": np.zeros((3, 4, 128), np.float32)}
    detector = Detector.open(prompted_folder, vit_recipe)
    with pytest.raises(EngineError, match=r"condition prompts has shape \[3, 4, 128\].*graph reads \[3, 8, 128\]"):
        detector.use(dataclasses.replace(anople_recipe, conditions=Conditions(cut)))
    assert detector.recipe is vit_recipe


def test_a_recipe_of_another_precision_is_fitted_to_this_one(prompted_folder: Path, anople_recipe: Recipe) -> None:
    spec = read_spec(prompted_folder)
    if "bf16" not in spec.graph("prompted").variants:
        pytest.skip("this processor has no bf16")
    detector = Detector(Engine.open(prompted_folder, precision="bf16"), anople_recipe)
    fitted, frame = detector.recipe, load_rgb(draw_part(5))
    assert fitted.header.graph == spec.graph_id("prompted", "bf16")
    assert fitted.conditions is anople_recipe.conditions
    assert any(not np.array_equal(*pair) for pair in zip(fitted.banks, anople_recipe.banks, strict=True))
    expected = Detector.open(prompted_folder, anople_recipe).predict(frame).score
    assert detector.predict(frame).score == pytest.approx(expected, rel=0.1)


def test_conditions_with_the_same_bytes_are_equal() -> None:
    one, same, other = (Conditions({"prompts": np.full((2, 3), value, np.float32)}) for value in (1, 1, 2))
    assert one == same
    assert hash(one) == hash(same)
    assert one != other
    assert one != Conditions({"prompts": np.full((3, 2), 1, np.float32)})
    assert one != None  # noqa: E711


def test_an_engine_without_a_prompted_graph_mentions_none(vit_engine: Path) -> None:
    assert b"prompted" not in read_spec(vit_engine).to_bytes()


def test_the_line_runs_both_graphs_one_pass_at_a_time(
    prompted_folder: Path, vit_recipe: Recipe, anople_recipe: Recipe
) -> None:
    engine = SharedEngine(lambda: Engine.open(prompted_folder), 1.0).engine
    frame = load_rgb(draw_part(4, defect=True))
    for product in (vit_recipe, anople_recipe):
        assert (
            Detector(engine, product).predict(frame).score
            == Detector.open(prompted_folder, product).predict(frame).score
        )
    plain, prompted = engine.graphs["plain"], engine.session_for(anople_recipe.conditions)
    assert isinstance(plain, BatchingSession)
    assert isinstance(prompted, BatchingSession)
    assert plain is not prompted
    assert plain._turn is prompted._turn
