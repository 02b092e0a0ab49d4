"""`goodparts accept`."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from goodparts.runtime.recipe.recipe import Recipe

from goodparts.cli import main
from tests.conftest import draw_part


@pytest.fixture
def path(recipe_file: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(recipe_file, tmp_path / "ring.safetensors"))


@pytest.fixture
def rejects(tmp_path: Path) -> Path:
    """A folder with the saved rejects of two sources, a foreign file, and a damaged reject."""
    folder = tmp_path / "rejects"
    folder.mkdir()
    for source, seed in (("left", 10), ("left", 12), ("right", 14)):
        stem = f"20261126T12000{seed}00Z_{source}_{seed}"
        draw_part(seed, defect=True).save(folder / f"{stem}.frame.png")
        draw_part(seed).save(folder / f"{stem}.map.png")
    draw_part(1).save(folder / "other.png")
    (folder / "20261126T120000000Z_left_1.frame.png").write_bytes(b"")
    return folder


def accept(recipe: Path, *more: str | Path) -> int:
    return main(["accept", "--recipe", str(recipe), *map(str, more)])


def test_a_change_is_shown_first_and_written_when_told_to(
    engine_folder: Path, path: Path, rejects: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = path.read_bytes()
    photo = rejects / "20261126T120001000Z_left_10.frame.png"
    told = (photo, "--engine", engine_folder, "--rejects", rejects)
    assert accept(path, *told) == 0
    seen = capsys.readouterr()
    assert "20261126T120000000Z_left_1.frame.png is empty" in seen.err
    lines = seen.out.splitlines()
    assert lines[1].split()[1] == "reject"
    assert lines[1].split()[4:] == ["good", photo.name]
    assert "  photos: 3 → 4; rows of memory: 2700 → 3600, at most 13500" in lines
    assert "  of 2 past rejects, 2 become good" in lines  # not the accepted photo, the maps or the foreign file
    assert lines[-1] == "nothing was changed: --take writes the change"
    assert any(line.startswith(f"  warning: {photo.name} scores far above the threshold") for line in lines)
    assert path.read_bytes() == before

    assert accept(path, *told, "--source", "right", "--take") == 0
    assert "of 1 past rejects, 1 become good" in capsys.readouterr().out
    assert Recipe.open(path).header.shots[-1].name == photo.name
    assert accept(path, "--history") == 0
    assert capsys.readouterr().out.startswith(f"  accepted 1: {photo.name} (")
    assert accept(path, "--undo", "--take") == 0
    assert path.read_bytes() == before


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["GOOD", "--engine", "ENGINE"], "1.png is already in the recipe"),
        ([], "no photo to accept"),
        (["BAD", "--undo", "1"], "--undo takes photos back: accept"),
        (["--undo"], "no photo was accepted"),
    ],
)
def test_errors_do_not_change_the_recipe(
    engine_folder: Path,
    path: Path,
    photos: Path,
    options: list[str],
    message: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    before = path.read_bytes()
    names = {"BAD": photos / "bad" / "4.png", "GOOD": photos / "good" / "1.png", "ENGINE": engine_folder}
    assert accept(path, *(names.get(option, option) for option in options), "--take") == 2
    assert message in capsys.readouterr().err
    assert path.read_bytes() == before


@pytest.mark.skipif(os.name != "posix", reason="such names cannot be elsewhere")
def test_a_hostile_name_is_only_shown(
    engine_folder: Path, path: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    photo = tmp_path / "\x1b[2J\n<script>..\u202egnp.png"
    draw_part(10, defect=True).save(photo)
    shown = "\\x1b[2J\\n<script>..\\u202egnp.png"
    assert accept(path, photo, "--engine", engine_folder, "--take") == 0
    assert shown in capsys.readouterr().out
    assert Recipe.open(path).header.shots[-1].name == photo.name  # kept unchanged, as data
    assert main(["show", str(path)]) == 0
    assert accept(path, photo, "--engine", engine_folder) == 2
    seen = capsys.readouterr()
    for text in seen:
        assert shown in text
        assert "\x1b" not in text
