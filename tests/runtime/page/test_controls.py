"""Thresholds: applied to the running source, kept in its recipe, and undone."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path
from typing import Any

import msgspec
import pytest
from goodparts.runtime import Recipe
from goodparts.runtime.line.outputs.rejects import Rejects
from goodparts.runtime.line.results import Result

from tests.runtime.page.conftest import Client, OpenLine, Reply, scored


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
    return client.post(path, {"source": source, "seen": seen(client, source)["raw_threshold"]} | more)


def undo(client: Client, source: str = "left") -> Reply:
    return client.post("/undo", {"source": source, "label": seen(client, source)["undo"] or ""})


def test_an_applied_threshold_decides_outlasts_a_new_recipe_and_is_undone(
    open_line: OpenLine, own: Path, results: dict[str, Result], recipe: Recipe
) -> None:
    said: list[str] = []
    client = open_line({"left": {"recipe": str(own)}}, said.append)
    station = client.line.pipelines[0].station
    pixels = results["reject"].pixels
    score = results["reject"].record["score"]
    original = recipe.header.thresholds.image
    assert act(client, "/threshold", score=score * 2).status == 200
    assert station.detector.predict(pixels).score == pytest.approx(0.5)
    assert act(client, "/threshold", score=0.25).status == 200
    assert station.detector.predict(pixels).score == pytest.approx(2)
    state = seen(client)
    assert (state["threshold"], state["origin"]) == (score / 2, "page")
    assert state["raw_threshold"] == original * (score / 2)
    assert own.read_bytes() == recipe.to_bytes()
    recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, pixel=0.25)).save(own)
    station.refresh()
    thresholds = station.detector.thresholds
    assert (thresholds.image, thresholds.pixel) == (original * (score / 2), 0.25 * (score / 2))
    assert undo(client).status == 200
    assert seen(client)["threshold"] == score * 2
    assert undo(client).status == 200
    assert (seen(client)["threshold"], seen(client)["origin"], seen(client)["undo"]) == (1, "recipe", None)
    assert station.detector.thresholds.image == original
    assert undo(client).status == 409
    assert sum("set on the page" in line for line in said) == 2


def test_a_kept_threshold_is_in_the_recipe_for_all_who_read_it_and_is_undone(
    open_line: OpenLine, own: Path, recipe: Recipe
) -> None:
    same = {"recipe": str(own)}
    client = open_line({"left": same, "right": same, "own": same | {"threshold": 0.7}})
    left, right, other = (pipeline.station for pipeline in client.line.pipelines)
    assert act(client, "/keep").status == 422  # no threshold was set
    act(client, "/threshold", score=0.4)
    assert seen(client)["sharing"] == ["right"]
    assert act(client, "/keep").status == 200
    assert Recipe.open(own).header.thresholds == recipe.header.thresholds.scaled_by(0.4)
    state = seen(client)
    image = recipe.header.thresholds.image * 0.4
    assert (state["threshold"], state["raw_threshold"], state["origin"]) == (1, image, "recipe")
    right.refresh()
    other.refresh()
    assert [station.detector.thresholds.image for station in (left, right, other)] == [image, image, image * 0.7]
    assert undo(client).status == 200
    assert own.read_bytes() == recipe.to_bytes()
    assert (seen(client)["threshold"], seen(client)["origin"]) == (0.4, "page")


def test_what_was_changed_meanwhile_is_not_overwritten(open_line: OpenLine, own: Path, recipe: Recipe) -> None:
    client = open_line({"left": {"recipe": str(own)}})
    first = seen(client)["raw_threshold"]
    assert act(client, "/threshold", score=0.4).status == 200
    late = client.post("/threshold", {"source": "left", "score": 0.3, "seen": first})
    assert (late.status, b"threshold was changed meanwhile, to raw" in late.body) == (409, True)
    assert act(client, "/keep").status == 200
    changed = recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, image=0.9))
    changed.save(own)
    refused = undo(client)
    assert (refused.status, b"was changed since" in refused.body) == (409, True)
    assert own.read_bytes() == changed.to_bytes()


def test_where_the_settings_set_a_threshold_the_recipe_is_not_written(
    open_line: OpenLine, own: Path, recipe: Recipe
) -> None:
    client = open_line({"left": {"recipe": str(own), "threshold": 0.7}})
    assert seen(client)["origin"] == "line"
    act(client, "/threshold", score=0.6)
    refused = act(client, "/keep")
    assert (refused.status, b"write threshold = 0.42 there" in refused.body) == (422, True)
    assert own.read_bytes() == recipe.to_bytes()


@pytest.mark.parametrize("threshold", [0, -1, 1e999, "0.5", None])
def test_thresholds_that_decide_nothing_are_refused(open_line: OpenLine, threshold: Any) -> None:
    client = open_line()
    before = seen(client)
    assert act(client, "/threshold", score=threshold).status in (400, 422)
    assert seen(client)["threshold"] == before["threshold"]
    assert seen(client)["undo"] is None


def test_a_recipe_that_cannot_be_written_or_was_broken_changes_nothing(open_line: OpenLine, own: Path) -> None:
    client = open_line({"left": {"recipe": str(own)}})
    act(client, "/threshold", score=0.4)
    own.write_bytes(b"broken")
    assert act(client, "/keep").status == 422
    assert own.read_bytes() == b"broken"
    assert seen(client)["threshold"] == 0.4


def test_a_signed_recipe_is_not_written(open_line: OpenLine, own: Path, recipe: Recipe) -> None:
    recipe.save(own, lambda _: "0" * 128)
    before = own.read_bytes()
    client = open_line({"left": {"recipe": str(own)}})
    act(client, "/threshold", score=0.4)
    refused = act(client, "/keep")
    assert (refused.status, b"is signed" in refused.body) == (422, True)
    assert own.read_bytes() == before


@pytest.fixture
def rejected(tmp_path: Path, results: dict[str, Result]) -> Path:
    """A folder with two saved rejects of the source left, and one of a source that does not exist."""
    saved = Rejects(tmp_path / "rejects", 10**9)
    for number, source in ((1, "left"), (2, "left"), (3, "gone")):
        record = results["reject"].record | {"frame": number, "source": source}
        saved.send(dataclasses.replace(results["reject"], record=record, source=source))
    saved.close()
    return tmp_path / "rejects"


def test_a_reject_is_accepted_after_a_look_at_what_that_changes_and_taken_back(
    open_line: OpenLine, own: Path, recipe: Recipe, rejected: Path
) -> None:
    client = open_line({"left": {"recipe": str(own)}}, rejects=str(rejected))
    station = client.line.pipelines[0].station
    other, name, gone = (one["name"] for one in client.get("/rejects").json["rejects"])
    found = client.post("/consider", {"reject": name}).json
    assert own.read_bytes() == recipe.to_bytes()
    assert seen(client)["undo"] is None
    assert found["photo"]["after"] < found["photo"]["before"]
    assert (found["source"], found["compared"], found["turning"]) == ("left", 1, [other])  # the same picture
    assert client.post("/accept", {"source": "left", "change": "0" * 64}).status == 409
    assert client.post("/accept", {"source": "left", "change": found["change"]}).status == 200
    changed = Recipe.open(own)
    assert changed.header.shots[-1].name == f"{name}.frame.png"
    assert changed.digest == station.detector.recipe.digest == found["change"]
    thresholds = [one.header.thresholds.image for one in (recipe, changed)]
    assert seen(client)["raw_threshold"] == thresholds[1]
    assert found["threshold_factor"] == thresholds[1] / thresholds[0] != 1
    again = client.post("/consider", {"reject": name})
    assert (again.status, b"already in the recipe" in again.body) == (422, True)
    assert client.post("/consider", {"reject": gone}).status == 422
    assert client.post("/consider", {"reject": "../x"}).status == 422
    assert undo(client).status == 200
    assert own.read_bytes() == recipe.to_bytes()
    assert station.detector.recipe.digest == recipe.digest


def test_a_recipe_that_changed_since_a_look_is_looked_at_again(
    open_line: OpenLine, own: Path, recipe: Recipe, rejected: Path
) -> None:
    client = open_line({"left": {"recipe": str(own)}}, rejects=str(rejected))
    found = client.post("/consider", {"reject": client.get("/rejects").json["rejects"][0]["name"]}).json
    changed = recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, image=0.9))
    changed.save(own)
    assert client.post("/accept", {"source": "left", "change": found["change"]}).status == 409
    assert own.read_bytes() == changed.to_bytes()


def test_an_engine_that_fails_is_reported_and_nothing_changes(
    open_line: OpenLine, own: Path, recipe: Recipe, rejected: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    client = open_line({"left": {"recipe": str(own)}}, rejects=str(rejected))

    def lost(*_: object) -> None:
        raise RuntimeError("device lost")

    monkeypatch.setattr(client.line.shared_engine.engine.graphs["plain"], "run", lost)
    reply = client.post("/consider", {"reject": client.get("/rejects").json["rejects"][0]["name"]})
    assert (reply.status, reply.body) == (500, b"that failed: RuntimeError")
    assert own.read_bytes() == recipe.to_bytes()


def settle_in(client: Client, results: dict[str, Result], parts: int = 20) -> dict[str, Any]:
    """Start settling in, pass good parts to it, of which the last scores like a bad one, and return the proposal."""
    assert client.post("/settle", {"source": "left", "parts": parts}).status == 200
    for number in range(parts):
        factor = 5.0 if number == parts - 1 else 1.0 + number / 100
        client.line.pipelines[0].settling.note(scored(results["good"], number, factor))
    proposal = seen(client)["settling"]["proposal"]
    assert isinstance(proposal, dict)
    return proposal


def test_a_proposed_threshold_is_shown_written_on_request_and_undone(
    open_line: OpenLine, own: Path, results: dict[str, Result], recipe: Recipe
) -> None:
    client = open_line({"left": {"recipe": str(own)}})
    proposal = settle_in(client, results)
    assert sum(proposal["counts"]) == 20
    assert (proposal["beyond"][0]["name"], proposal["beyond"][0]["part"]) == ("frame 19", 19)
    assert client.get("/settling/left/19.jpg").body.startswith(b"\xff\xd8")  # a JPEG
    assert client.get("/settling/left/20.jpg").status == 404
    assert client.get("/settling/right/19.jpg").status == 404
    assert own.read_bytes() == recipe.to_bytes()
    take = {"source": "left", "threshold": proposal["threshold"]}
    assert client.post("/take", take | {"threshold": 0.5}).status == 409
    assert client.post("/take", take).status == 200
    header = Recipe.open(own).header
    assert (header.thresholds.image, header.calibration.source) == (proposal["threshold"], "unlabelled parts")
    assert seen(client)["raw_threshold"] == proposal["threshold"]
    assert seen(client)["settling"]["proposal"] is None
    assert client.post("/take", take).status == 409
    assert undo(client).status == 200
    assert own.read_bytes() == recipe.to_bytes()


def test_a_proposal_is_not_written_where_the_settings_rule_or_for_too_few_parts(
    open_line: OpenLine, own: Path, results: dict[str, Result], recipe: Recipe
) -> None:
    client = open_line({"left": {"recipe": str(own), "threshold": 0.7}})
    assert client.post("/settle", {"source": "left", "parts": 19}).status == 422
    refused = client.post("/take", {"source": "left", "threshold": settle_in(client, results)["threshold"]})
    assert refused.status == 422
    assert b"comes from the line's settings" in refused.body
    assert own.read_bytes() == recipe.to_bytes()
