"""No command writes over a file of another kind, such as a recipe or a photo."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from goodparts.runtime.recipe.recipe import Recipe

from goodparts.cli import main
from tests.conftest import draw_part

FILES = ("nut.safetensors", "part.png", "notes.txt", "out.jsonl", "sheet.html", "sheet.png")
"""A recipe, a photo, somebody's text, and earlier results of `inspect` and `try`."""
OWN = {
    "inspect --json": "out.jsonl",
    "inspect --sheet": "sheet.png",
    "calibrate --threshold 1.1 --out": "nut.safetensors",
    "calibrate --unlabelled many --sheet": "sheet.png",
    "teach --out": "nut.safetensors",
    "try --out": "sheet.html",
}
"""The command and its option → the file that it may replace."""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, recipe: Recipe, engine_folder: Path) -> Path:
    place = tmp_path_factory.mktemp("place")
    (place / "many").mkdir()
    (place / "good").mkdir()
    for seed in range(24):
        draw_part(seed, defect=seed == 23).save(place / "many" / f"{seed}.png")
    for seed in range(3):
        draw_part(seed).save(place / "good" / f"{seed}.png")
    draw_part(30).save(place / "part.png")
    recipe.save(place / "recipe.safetensors")
    recipe.save(place / "nut.safetensors")
    (place / "notes.txt").write_text("do not lose me")
    options = ["--engine", str(engine_folder), "--recipe", str(place / "recipe.safetensors")]
    results = ["--json", str(place / "out.jsonl"), "--sheet", str(place / "sheet.png")]
    assert main(["inspect", *options, str(place / "many" / "23.png"), *results]) == 0
    assert main(["try", "--engine", str(engine_folder), str(place / "good"), "--out", str(place / "sheet.html")]) == 0
    return place


@pytest.mark.parametrize("command", OWN)
def test_a_command_replaces_only_earlier_results_of_its_kind(
    command: str, place: Path, engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(shutil.copytree(place, tmp_path / "place"))
    name, *words = command.split()
    inputs = {
        "inspect": ["--recipe", "recipe.safetensors", "many/23.png"],
        "calibrate": ["--recipe", "recipe.safetensors"],
        "teach": ["--images", "good", "--product", "ring"],
        "try": ["good"],
    }[name]
    before = {file: Path(file).read_bytes() for file in FILES}
    for file in FILES:
        code = main([name, "--engine", str(engine_folder), *inputs, *words, file])
        assert code == (0 if file == OWN[command] else 2), file
        for other in {*FILES} - {OWN[command]}:
            assert Path(other).read_bytes() == before[other]
