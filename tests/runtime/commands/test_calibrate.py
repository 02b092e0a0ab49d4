"""`goodparts calibrate`."""

from __future__ import annotations

import dataclasses
import shutil
from pathlib import Path

import msgspec
import pytest
from goodparts.runtime.core.view import Box, View
from goodparts.runtime.recipe.header import Thresholds
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.runtime.recipe.settle import SETTLING_RATE
from PIL import Image

from goodparts.cli import main
from tests.conftest import draw_part


@pytest.fixture
def further(tmp_path: Path) -> Path:
    folder = tmp_path / "further"
    folder.mkdir()
    for seed in range(20, 25):
        draw_part(seed).save(folder / f"{seed}.png")
    return folder


def test_another_recipe_that_out_names_is_kept(
    engine_folder: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = tmp_path / "other.safetensors"
    Recipe.open(recipe_file).with_thresholds(Thresholds(image=0.5, pixel=0.5)).save(other)
    before = other.read_bytes()
    (tmp_path / "other.safetensors.bak").mkdir()  # a name that is taken, by whatever, is passed over
    assert calibrate(engine_folder, recipe_file, "--threshold", "1.2", "--out", other) == 0
    assert "It replaces a recipe for 'ring', which is now " in capsys.readouterr().out
    assert (tmp_path / "other.safetensors.bak2").read_bytes() == before


def calibrate(engine: Path, recipe: Path, *more: str | Path) -> int:
    return main(["calibrate", "--engine", str(engine), "--recipe", str(recipe), *map(str, more)])


def test_further_photos_set_the_thresholds(
    engine_folder: Path, recipe_file: Path, further: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new.safetensors"
    options = ("--good", further, "--out", out, "--false-reject-rate", "0.2", "--take")
    assert calibrate(engine_folder, recipe_file, *options) == 0
    before, after = Recipe.open(recipe_file).header, Recipe.open(out).header
    assert len(after.calibration.image.scores) == 5
    assert after.thresholds.image == pytest.approx(after.calibration.image.threshold(0.2))
    assert after.thresholds.image != before.thresholds.image
    assert after.shot_calibration == before.shot_calibration
    seen = capsys.readouterr().out
    assert "further photos" in seen
    assert "cannot verify" not in seen


def test_bad_photos_show_the_separation(
    engine_folder: Path, recipe_file: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new.safetensors"
    assert calibrate(engine_folder, recipe_file, "--bad", photos / "bad", "--out", out) == 0
    assert not out.exists()
    seen = capsys.readouterr().out
    assert "of 1 bad ones" in seen
    assert "no threshold makes fewer mistakes" in seen
    assert "5 %  1.00; 0 of 3 scores reach it; about 16 more good photos would verify it" in seen


def test_a_threshold_can_be_set_by_hand(engine_folder: Path, recipe_file: Path, tmp_path: Path) -> None:
    out = tmp_path / "new.safetensors"
    assert calibrate(engine_folder, recipe_file, "--threshold", "1.25", "--out", out) == 0
    before, after = Recipe.open(recipe_file).header.thresholds, Recipe.open(out).header.thresholds
    assert (after.image, after.pixel) == (before.image * 1.25, before.pixel * 1.25)
    assert calibrate(engine_folder, out, "--take") == 0
    assert Recipe.open(out).header.thresholds == after


def test_a_band_to_review_is_set_shown_kept_and_taken_back(
    engine_folder: Path, recipe_file: Path, further: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "new.safetensors"
    assert calibrate(engine_folder, recipe_file, "--review", "0.8", "--out", out) == 0
    before, after = Recipe.open(recipe_file).header.thresholds, Recipe.open(out).header.thresholds
    assert after == msgspec.structs.replace(before, review=0.8)
    assert main(["show", str(out)]) == 0
    assert "  review from score 0.8\n" in capsys.readouterr().out
    assert calibrate(engine_folder, out, "--good", further, "--take") == 0
    assert Recipe.open(out).header.thresholds.review == 0.8
    assert calibrate(engine_folder, out, "--review", "off") == 0
    assert Recipe.open(out).header.thresholds.review is None


@pytest.mark.parametrize("review", ["0", "1", "nan", "some"])
def test_a_band_out_of_range_is_refused(review: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        calibrate(Path("engine"), Path("recipe"), "--review", review)
    assert f"'{review}': a score above 0 and below 1 is needed, as in 0.8, or off" in capsys.readouterr().err


def test_what_is_proposed_is_not_written_unless_it_is_taken(
    engine_folder: Path, recipe_file: Path, further: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    own = Path(shutil.copy(recipe_file, tmp_path / "own.safetensors"))
    assert calibrate(engine_folder, own, "--good", further) == 0
    assert "nothing was changed: --take writes the proposed threshold, " in capsys.readouterr().out
    assert own.read_bytes() == recipe_file.read_bytes()


def test_a_threshold_that_misses_more_bad_photos_than_todays_is_not_taken(
    engine_folder: Path, recipe_file: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe = tmp_path / "ring.safetensors"
    assert calibrate(engine_folder, recipe_file, "--threshold", "0.001", "--out", recipe) == 0  # rejects everything
    before = recipe.read_bytes()
    capsys.readouterr()
    bad = photos / "bad"  # given as good photos too, so that the proposed threshold lies above their scores
    assert calibrate(engine_folder, recipe, "--good", bad, "--bad", bad, "--take") == 2
    shown = capsys.readouterr()
    assert "a threshold from so few photos (1) is rough" in shown.out
    assert "the proposed threshold misses 1 more of the bad photos than today's" in shown.out
    assert "--take writes no threshold that misses more of --bad than today's" in shown.err
    assert recipe.read_bytes() == before


def test_unlabelled_parts_propose_a_threshold_and_name_those_beyond_it(
    engine_folder: Path, recipe_file: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line, own = tmp_path / "line", Path(shutil.copy(recipe_file, tmp_path / "own.safetensors"))
    shutil.copytree(photos / "good", line)  # the recipe's shots, which are skipped
    for seed in range(20, 41):
        draw_part(seed, defect=seed == 30).save(line / f"{seed}.png")
    sheet = tmp_path / "sheet.png"
    bad = photos / "bad"
    assert calibrate(engine_folder, own, "--unlabelled", line, "--sheet", sheet, "--bad", bad, "--take") == 0
    seen, header = capsys.readouterr().out, Recipe.open(own).header
    assert header.calibration.source == "unlabelled parts"
    assert len(header.calibration.image.scores) == 21
    assert header.false_reject_rate == SETTLING_RATE
    beyond = seen[seen.index("Look at them:") :].splitlines()
    assert beyond[1].endswith("30.png")
    reaching = int(seen.split(" of them reach it")[0].split()[-1])
    assert f" rejects 0 of {21 - reaching} good photos" in seen  # the others may be bad
    assert sheet.exists()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--good", "PHOTOS/good"], "1.png is the shot 1.png that the recipe was learned from: leave it out"),
        (["--false-reject-rate", "0"], "--false-reject-rate 0.0: between 0 and 0.5"),
        (["--false-reject-rate", "0.7"], "--false-reject-rate 0.7: between 0 and 0.5"),
        (["--threshold", "nan"], "threshold nan: a finite number above 0"),
        (["--threshold", "0.2", "--good", "PHOTOS/good"], "--threshold sets a threshold directly: leave out"),
        (["--review", "0.8", "--good", "PHOTOS/good"], "--review sets a threshold directly: leave out"),
        (["--unlabelled", "PHOTOS/bad"], "1 unlabelled parts: at least 20 are needed"),
        (["--unlabelled", "PHOTOS/good"], "0 unlabelled parts (left out: 3 of the recipe's own shots): at least 20"),
        (["--sheet", "sheet.png"], "--sheet shows unlabelled parts"),
        (["--out", "/nowhere/at/all"], "folder /nowhere/at does not exist"),
    ],
)
def test_errors_do_not_change_the_recipe(
    engine_folder: Path,
    recipe_file: Path,
    photos: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = recipe_file.read_bytes()
    assert calibrate(engine_folder, recipe_file, *(option.replace("PHOTOS", str(photos)) for option in options)) == 2
    assert message in capsys.readouterr().err
    assert recipe_file.read_bytes() == before


def test_a_photo_that_the_view_does_not_fit_is_named(
    engine_folder: Path, recipe: Recipe, further: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    header = msgspec.structs.replace(recipe.header, view=View(roi=Box(100, 50, 150, 150)))
    dataclasses.replace(recipe, header=header).save(tmp_path / "roi.safetensors")
    Image.new("RGB", (50, 50)).save(further / "small.png")
    assert calibrate(engine_folder, tmp_path / "roi.safetensors", "--good", further) == 2
    assert "small.png: region 100,50,150,150 does not lie inside a 50×50 frame" in capsys.readouterr().err
