"""Thresholds: applied to the running source, kept in its recipe, and undone."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from goodparts.runtime import Recipe
from goodparts.runtime.line.outlet import Result

from tests.runtime.page.conftest import Client, OpenLine, Reply


@pytest.fixture
def own(recipe_file: Path, tmp_path: Path) -> Path:
    """A recipe that may be changed."""
    path = tmp_path / "own.safetensors"
    shutil.copy(recipe_file, path)
    return path


def seen(client: Client, source: str = "left") -> dict[str, Any]:
    (found,) = [one for one in client.get("/state").json["sources"] if one["name"] == source]
    return found


def act(client: Client, path: str, source: str = "left", **more: Any) -> Reply:
    return client.post(path, {"source": source, "seen": seen(client, source)["threshold"]} | more)


def undo(client: Client, source: str = "left") -> Reply:
    return client.post("/undo", {"source": source, "label": seen(client, source)["undo"] or ""})


def test_an_applied_threshold_decides_outlasts_a_new_recipe_and_is_undone(
    open_line: OpenLine, own: Path, results: dict[str, Result], recipe: Recipe
) -> None:
    said: list[str] = []
    client = open_line({"left": {"recipe": str(own)}}, said.append)
    (station,) = client.line.stations
    pixels = results["reject"].pixels
    score = results["reject"].record["score"]
    original = recipe.header.thresholds.image
    assert act(client, "/threshold", threshold=score * 2).status == 200
    assert station.detector.predict(pixels).verdict == "good"
    assert act(client, "/threshold", threshold=score / 2).status == 200
    assert station.detector.predict(pixels).verdict == "reject"
    state = seen(client)
    assert (state["threshold"], state["recipe_threshold"], state["origin"]) == (score / 2, original, "page")
    assert own.read_bytes() == recipe.to_bytes()
    recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, pixel=0.25)).save(own)
    station.refresh()
    assert (station.detector.thresholds.image, station.detector.thresholds.pixel) == (score / 2, 0.25)
    assert undo(client).status == 200
    assert seen(client)["threshold"] == score * 2
    assert undo(client).status == 200
    assert (seen(client)["threshold"], seen(client)["origin"], seen(client)["undo"]) == (original, "recipe", None)
    assert undo(client).status == 409
    assert sum("set on the page" in line for line in said) == 2


def test_a_kept_threshold_is_in_the_recipe_for_all_who_read_it_and_is_undone(
    open_line: OpenLine, own: Path, recipe: Recipe
) -> None:
    same = {"recipe": str(own)}
    client = open_line({"left": same, "right": same, "own": same | {"threshold": 0.7}})
    left, right, other = client.line.stations
    assert act(client, "/keep").status == 422  # nothing was set
    act(client, "/threshold", threshold=0.4)
    assert seen(client)["sharing"] == ["right"]
    assert act(client, "/keep").status == 200
    assert Recipe.open(own).header.thresholds == msgspec.structs.replace(recipe.header.thresholds, image=0.4)
    state = seen(client)
    assert (state["threshold"], state["recipe_threshold"], state["origin"]) == (0.4, 0.4, "recipe")
    right.refresh()
    other.refresh()
    assert [station.detector.thresholds.image for station in (left, right, other)] == [0.4, 0.4, 0.7]
    assert undo(client).status == 200
    assert own.read_bytes() == recipe.to_bytes()
    assert (seen(client)["threshold"], seen(client)["origin"]) == (0.4, "page")


def test_what_was_changed_meanwhile_is_not_overwritten(open_line: OpenLine, own: Path, recipe: Recipe) -> None:
    client = open_line({"left": {"recipe": str(own)}})
    first = seen(client)["threshold"]
    assert act(client, "/threshold", threshold=0.4).status == 200
    late = client.post("/threshold", {"source": "left", "threshold": 0.3, "seen": first})
    assert (late.status, b"changed meanwhile, to 0.4" in late.body) == (409, True)
    assert act(client, "/keep").status == 200
    changed = recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, image=0.9))
    changed.save(own)
    refused = undo(client)
    assert (refused.status, b"was changed since" in refused.body) == (409, True)
    assert own.read_bytes() == changed.to_bytes()


def test_where_the_settings_rule_the_recipe_is_left_alone(open_line: OpenLine, own: Path, recipe: Recipe) -> None:
    client = open_line({"left": {"recipe": str(own), "threshold": 0.7}})
    assert seen(client)["origin"] == "line"
    act(client, "/threshold", threshold=0.6)
    refused = act(client, "/keep")
    assert (refused.status, b"write threshold = 0.6 there" in refused.body) == (422, True)
    assert own.read_bytes() == recipe.to_bytes()


@pytest.mark.parametrize("threshold", [0, -1, 1e999, "0.5", None])
def test_thresholds_that_decide_nothing_are_refused(open_line: OpenLine, threshold: Any) -> None:
    client = open_line()
    before = seen(client)
    assert act(client, "/threshold", threshold=threshold).status in (400, 422)
    assert seen(client)["threshold"] == before["threshold"]
    assert seen(client)["undo"] is None


def test_a_recipe_that_cannot_be_written_or_was_broken_changes_nothing(open_line: OpenLine, own: Path) -> None:
    client = open_line({"left": {"recipe": str(own)}})
    act(client, "/threshold", threshold=0.4)
    own.write_bytes(b"broken")
    assert act(client, "/keep").status == 422
    assert own.read_bytes() == b"broken"
    assert seen(client)["threshold"] == 0.4


def test_a_signed_recipe_is_left_alone(open_line: OpenLine, own: Path, recipe: Recipe) -> None:
    recipe.save(own, lambda _: "0" * 128)
    before = own.read_bytes()
    client = open_line({"left": {"recipe": str(own)}})
    act(client, "/threshold", threshold=0.4)
    refused = act(client, "/keep")
    assert (refused.status, b"is signed" in refused.body) == (422, True)
    assert own.read_bytes() == before
