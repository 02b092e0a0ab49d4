"""The examples run as they are."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from goodparts import Recipe

EXAMPLES = Path(__file__).parents[2] / "examples"


def test_the_script_lists_the_bad_part_first(photos: Path, tmp_path: Path) -> None:
    for kind in ("good", "bad"):
        for path in (photos / kind).iterdir():
            Image.open(path).save(tmp_path / path.name)
    command = [sys.executable, EXAMPLES / "teach_and_inspect.py", photos / "good", tmp_path]
    lines = subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()
    assert [line.split()[0] for line in lines] == ["reject", "good", "good", "good"]
    assert lines[0].split()[2] == "4.png"


@pytest.mark.parametrize("name", ["teach_and_inspect.py", "read_recipe.py"])
def test_a_script_without_arguments_prints_its_usage(name: str) -> None:
    done = subprocess.run([sys.executable, EXAMPLES / name], capture_output=True, text=True)
    assert done.returncode == 1
    assert done.stderr.startswith(f"usage: {name} ")
    assert done.stderr.count("\n") == 1


def test_the_notebook_runs_and_its_cells_have_no_outputs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.setattr("tempfile.mkdtemp", lambda: str(tmp_path / "photos"))
    notebook = json.loads((EXAMPLES / "four_photos.ipynb").read_text(encoding="utf-8"))
    cells = [cell for cell in notebook["cells"] if cell["cell_type"] == "code"]
    names: dict[str, Any] = {}
    for cell in cells:
        assert cell["outputs"] == []
        exec("".join(cell["source"]), names)
    assert Recipe.open(tmp_path / "gear.safetensors").header.product == "gear"
    assert names["inspection"].regions
