"""`goodparts inspect`."""

from __future__ import annotations

import dataclasses
import json
import os
import shutil
from pathlib import Path

import msgspec
import pytest
from goodparts.runtime.commands.overlay_writer import overlay_name
from goodparts.runtime.core.files import visible
from goodparts.runtime.core.view import Box, View
from goodparts.runtime.overlay import _BANNER
from goodparts.runtime.recipe.recipe import Recipe
from PIL import Image

from goodparts.cli import main
from tests.conftest import draw_part


class Command:
    """`goodparts inspect` with the engine and the ring's recipe."""

    def __init__(self, engine: Path, recipe: Path) -> None:
        self._options = ["inspect", "--engine", str(engine), "--recipe", str(recipe)]

    def __call__(self, *more: str | Path) -> int:
        return main([*self._options, *map(str, more)])


@pytest.fixture
def command(engine_folder: Path, recipe_file: Path) -> Command:
    return Command(engine_folder, recipe_file)


@pytest.mark.parametrize("batch", ["1", "3"])
def test_one_json_line_per_picture(command: Command, photos: Path, tmp_path: Path, batch: str) -> None:
    out = tmp_path / "out.jsonl"
    assert command(photos, "--json", out, "--batch", batch) == 0
    records = [json.loads(line) for line in out.read_text().splitlines()]
    assert [record["path"] for record in records] == [str(path) for path in sorted(photos.rglob("*.png"))]
    for record in records:
        assert {"path", "score", "verdict", "raw_score", "raw_threshold", "regions", "milliseconds"} <= set(record)
        assert record["score"] == record["raw_score"] / record["raw_threshold"]
        assert (record["verdict"] == "reject") == (record["score"] >= 1)


def test_json_on_standard_output_is_nothing_but_json(
    command: Command, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(photos, "--json", "-") == 0
    lines = capsys.readouterr().out.splitlines()
    assert len([json.loads(line) for line in lines]) == 4


def test_a_provisional_recipe_is_marked_unless_a_threshold_is_given(
    engine_folder: Path, recipe: Recipe, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copies = msgspec.structs.replace(recipe.header.calibration, source="copies")
    recipe.recalibrate(copies, 0.05).save(tmp_path / "single.safetensors")
    command = Command(engine_folder, tmp_path / "single.safetensors")
    for options, provisional in (([], True), (["--threshold", "0.5"], False)):
        assert command(photos / "bad", "--json", "-", *options) == 0
        seen = capsys.readouterr()
        assert json.loads(seen.out)["provisional"] == provisional
        assert ("note: provisional" in seen.err) == provisional


def test_one_broken_file_is_reported_and_the_rest_go_on(
    command: Command, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = tmp_path / "mixed"
    shutil.copytree(photos / "good", folder)
    (folder / "2.png").write_bytes(b"")
    assert command(folder, "--json", tmp_path / "out.jsonl", "--batch", "2") == 2
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [("error" in record) for record in records].count(True) == 1
    assert "2.png is empty (0 bytes)" in next(record["error"] for record in records if "error" in record)
    seen = capsys.readouterr()
    assert "3 inspected" in seen.out
    assert "1 unreadable" in seen.out
    assert "goodparts: " in seen.err


def test_exit_code_tells_of_rejects_only_when_asked(command: Command, photos: Path) -> None:
    assert command(photos, "--threshold", "1e-9") == 0
    assert command(photos, "--threshold", "1e-9", "--fail-on-reject") == 1
    assert command(photos, "--threshold", "1000", "--fail-on-reject") == 0


def test_parts_to_review_are_counted_and_have_an_exit_code_of_their_own(
    engine_folder: Path, recipe: Recipe, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, review=1e-4)).save(tmp_path / "band")
    command = Command(engine_folder, tmp_path / "band")
    assert command(photos, "--threshold", "1000", "--overlays", tmp_path / "pictures") == 0
    *lines, total, hint = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["review", "good", "good", "good"]  # The shots score about 0.
    assert total == "4 inspected: 3 good, 1 to review, 0 rejected, 0 unreadable"
    assert hint == "the recipe was learned from 3 of them, which therefore score about 0: inspect other parts"
    with Image.open(tmp_path / "pictures" / "bad_4.png") as picture:
        assert picture.convert("RGB").getpixel((0, 0)) == _BANNER["review"][0]
    assert command(photos, "--threshold", "1000", "--fail-on-reject") == 3
    assert command(photos, "--threshold", "1e-9", "--fail-on-reject") == 1


def test_overlays_of_equal_names_are_kept_apart(command: Command, photos: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(photos / "good", other / "good")
    assert command(photos, other, "--overlays", tmp_path / "pictures") == 0
    names = sorted(path.name for path in (tmp_path / "pictures").iterdir())
    good = [f"good_{seed}{copy}.png" for seed in (1, 2, 3) for copy in ("", "_2")]
    assert names == ["bad_4.png", *good]
    with Image.open(tmp_path / "pictures" / "bad_4.png") as picture:
        assert picture.width == 320
    assert overlay_name(Path("alone/x.jpg"), [Path("alone/x.jpg")]) == "x.jpg.png"


def test_a_sheet_shows_the_highest_scores_first(command: Command, photos: Path, tmp_path: Path) -> None:
    assert command(photos, "--sheet", tmp_path / "sheet.png") == 0
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.width > 4 * 300
        assert sheet.height < 500


def test_a_thin_picture_has_an_overlay(command: Command, tmp_path: Path) -> None:
    Image.new("RGB", (9000, 16), (90, 90, 90)).save(tmp_path / "thin.png")
    assert command(tmp_path / "thin.png", "--overlays", tmp_path / "pictures") == 0
    with Image.open(tmp_path / "pictures" / "thin.png") as picture:
        assert picture.width == 1024


def test_a_frame_that_the_view_does_not_fit_is_reported_and_the_rest_go_on(
    engine_folder: Path, recipe: Recipe, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = msgspec.structs.replace(recipe.header, view=View(roi=Box(100, 50, 150, 150)))
    dataclasses.replace(recipe, header=header).save(tmp_path / "roi.safetensors")
    folder = tmp_path / "mixed"
    shutil.copytree(photos / "good", folder)
    Image.new("RGB", (50, 50)).save(folder / "0.png")
    assert Command(engine_folder, tmp_path / "roi.safetensors")(folder) == 2
    seen = capsys.readouterr()
    assert "0.png: region 100,50,150,150 does not lie inside a 50×50 frame" in seen.err
    assert "4 inspected: " in seen.out
    assert "1 unreadable" in seen.out


def test_names_that_are_no_text_do_not_end_the_run(command: Command, photos: Path, tmp_path: Path) -> None:
    folder = tmp_path / "names"
    folder.mkdir()
    shutil.copy(photos / "good" / "1.png", folder / os.fsdecode(b"a\xff.png"))
    assert command(folder, "--json", tmp_path / "out.jsonl", "--overlays", tmp_path / "pictures") == 0
    assert json.loads((tmp_path / "out.jsonl").read_text())["path"].endswith(r"a\xff.png")


def test_an_official_recipe_is_marked(command: Command, photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert command(photos / "bad") == 0
    assert "trained with --protocol official" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--backend", "tpu"], "unknown backend 'tpu'"),
        (["--threshold", "nan"], "threshold nan: a finite number above 0 is needed"),
        (["--threshold", "0"], "threshold 0.0: a finite number above 0 is needed"),
        (["--batch", "0"], "--batch 0: at least 1"),
        (["--engine", "/nowhere"], "no engine at /nowhere"),
        (["--recipe", "/nowhere"], "cannot read /nowhere"),
        (["--json", "/nowhere/at/all"], "cannot write /nowhere/at/all: folder /nowhere/at does not exist"),
        (["--json", "/dev"], "cannot write /dev: it is a folder"),
        (["--sheet", "/dev/null"], "cannot write /dev/null: it is not a regular file"),
        (["--overlays", "/dev/null"], "cannot write /dev/null: /dev/null is a file, not a folder"),
    ],
)
def test_errors_are_one_line_and_exit_2(
    command: Command, photos: Path, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command(photos, *options) == 2
    last = capsys.readouterr().err.splitlines()[-1]
    assert last.startswith("goodparts inspect: ")
    assert message in last


def test_show_describes_and_verifies(
    engine_folder: Path, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["show", "--verify", str(engine_folder), str(recipe_file)]) == 0
    seen = capsys.readouterr().out
    assert "every digest matches" in seen
    assert Recipe.open(recipe_file).header.digest in seen
    assert "official protocol" in seen
    assert "scores by prompts and memory" in seen


@pytest.mark.skipif(os.name != "posix", reason="such names cannot be elsewhere")
@pytest.mark.parametrize("hostile", ["x\ngood    0.100  all.png", "\x1b[2Jx.png", "gpj.\u202egnp", "a\rb.png"])
def test_no_name_forges_a_line(
    command: Command, photos: Path, hostile: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copy(photos / "bad" / "4.png", tmp_path / hostile)
    (tmp_path / f"{hostile}0").write_bytes(b"no picture")
    assert command(tmp_path / hostile, tmp_path / f"{hostile}0", "--json", tmp_path / "out.jsonl") == 2
    seen = capsys.readouterr()
    assert len(seen.out.splitlines()) == 2  # a verdict and the totals
    assert visible(hostile) in seen.out.splitlines()[0]
    assert f"{visible(hostile)}0 is not a picture" in seen.err
    assert not set(hostile) & {"\x1b", "\r", "\u202e"} & set(seen.out + seen.err)
    records = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert records[0]["path"] == str(tmp_path / hostile)


def test_overlays_in_the_inspected_folder_do_not_change_the_photos(
    command: Command, photos: Path, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(photos / "good", tmp_path / "parts"))
    before = {path.name: path.read_bytes() for path in folder.iterdir()}
    assert command(folder, "--overlays", folder, "--json", tmp_path / "out.jsonl") == 0
    assert len((tmp_path / "out.jsonl").read_text().splitlines()) == 3
    assert {name: (folder / name).read_bytes() for name in before} == before
    assert len(list(folder.iterdir())) == 6


def test_a_changed_scene_is_told_beside_the_verdict(
    command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    draw_part(5).save(tmp_path / "a.png")
    draw_part(5).point(lambda level: level // 2).save(tmp_path / "b.png")
    assert command(tmp_path, "--json", tmp_path / "out.jsonl") == 0
    scenes = [json.loads(line)["scene"] for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert scenes[0] is None
    assert scenes[1]["reason"] == "darker"
    first, second, _, total = capsys.readouterr().out.splitlines()
    assert first.endswith("a.png")
    assert second.endswith("b.png  scene changed: darker")
    assert total == f"the scene has changed in 1 of them: {scenes[1]['sentence']}"
