"""`goodparts teach`, end to end, with what goes wrong for real users."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import pytest
from goodparts.runtime.recipe.recipe import Recipe
from PIL import Image

from goodparts.cli import main


@pytest.fixture
def command(engine_folder: Path, photos: Path, tmp_path: Path) -> list[str]:
    """A command that teaches the ring; later options replace its own."""
    options = ["--engine", str(engine_folder), "--images", str(photos / "good"), "--product", "ring"]
    return ["teach", *options, "--out", str(tmp_path / "ring.safetensors")]


def test_two_commands_from_photos_to_verdicts(
    command: list[str], engine_folder: Path, photos: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main([*command, "--tiles", "1x2", "--bad", str(photos / "bad")]) == 0
    output = capsys.readouterr().out
    assert "ring.safetensors: recipe for 'ring', learned from 1.png, 2.png, 3.png" in output
    assert "no threshold makes fewer mistakes" in output
    inspect = ["inspect", "--engine", str(engine_folder), "--recipe", command[-1], str(photos)]
    assert main(inspect) == 0
    assert "4 inspected: 3 good, 1 rejected" in capsys.readouterr().out


def test_the_engine_in_the_package_teaches_accepts_and_inspects(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    recipe, bad = str(tmp_path / "ring.safetensors"), str(photos / "bad")
    assert main(["teach", "--images", str(photos / "good"), "--product", "ring", "--out", recipe]) == 0
    assert main(["inspect", "--recipe", recipe, bad]) == 0
    assert "1 inspected: 0 good, 1 rejected" in capsys.readouterr().out
    assert main(["accept", "--recipe", recipe, "--take", bad]) == 0
    assert main(["inspect", "--recipe", recipe, bad]) == 0
    assert "1 inspected: 1 good, 0 rejected" in capsys.readouterr().out


def test_poses_and_a_share_of_the_patches_are_remembered(
    command: list[str], capsys: pytest.CaptureFixture[str]
) -> None:
    sizes = []
    for options in ([], ["--poses"], ["--poses", "--memory-share", "0.125"]):
        assert main([*command, *options]) == 0
        header = Recipe.open(command[-1]).header
        assert header.poses == bool(options)
        sizes.append(len(Recipe.open(command[-1]).banks[0]))
    assert sizes[1] == 8 * sizes[0]
    assert sizes[2] == sizes[0]
    capsys.readouterr()


def test_a_recipe_that_is_replaced_is_kept(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(command) == 0
    first = Path(command[-1]).read_bytes()
    assert "replaces" not in capsys.readouterr().out
    assert main([*command, "--review", "0.8"]) == 0
    assert "It replaces a recipe for 'ring', which is now " in capsys.readouterr().out
    assert Path(f"{command[-1]}.bak").read_bytes() == first
    second = Path(command[-1]).read_bytes()
    for review in ("0.7", "0.7", "0.8", "0.7"):  # the same bytes need no further backup
        assert main([*command, "--review", review]) == 0
    assert Path(f"{command[-1]}.bak").read_bytes() == first
    assert Path(f"{command[-1]}.bak2").read_bytes() == second
    assert len(list(Path(command[-1]).parent.glob("*.bak*"))) == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--memory-share", "0"], "--memory-share 0.0: above 0 and up to 1"),
        (["--product", " "], "--product is empty"),
        (["--false-reject-rate", "0.7"], "--false-reject-rate 0.7: between 0 and 0.5"),
        (["--shots", "9"], "--shots 9: there are 3 photos"),
        (["--images", "nowhere"], "nowhere does not exist"),
        (["--roi", "0,0,900,900"], "does not lie inside a 320×240 frame"),
        (["--out", "nowhere/ring.safetensors"], "does not exist; create it first"),
        (["--engine", "nowhere"], "no engine at nowhere"),
    ],
)
def test_bad_input_is_one_clear_line_and_leaves_no_recipe(
    command: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str], options: list[str], message: str
) -> None:
    assert main([*command, *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []


def test_photos_of_several_sizes_are_noted_once(
    command: list[str], photos: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert main(command) == 0
    assert not caplog.messages
    folder = Path(shutil.copytree(photos / "good", tmp_path / "good"))
    with Image.open(folder / "2.png") as photo:
        photo.resize((200, 200)).save(folder / "2.png")
    assert main([*command, "--images", str(folder)]) == 0
    [note] = caplog.messages
    assert re.match(r"the photos differ in size: 320×240 \(.*1.png\) and 200×200 \(.*2.png\); learn from", note)


def test_photos_that_cannot_teach_are_named(
    command: list[str], photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path(shutil.copytree(photos / "good", tmp_path / "good"))
    shutil.copy(folder / "1.png", folder / "twin.png")
    assert main([*command, "--images", str(folder)]) == 2
    assert "twin.png is the same photo as" in capsys.readouterr().err
    (folder / "twin.png").write_bytes((folder / "1.png").read_bytes()[:999])
    assert main([*command, "--images", str(folder)]) == 2
    assert "twin.png" in capsys.readouterr().err
    assert not (tmp_path / "ring.safetensors").exists()
