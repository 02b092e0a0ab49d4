"""Finished measurements are not repeated, and the error for a damaged file names it."""

from __future__ import annotations

from pathlib import Path

import pytest
from goodparts.evaluation import encoded_photos, testing
from goodparts.evaluation.cache import MeasurementCache
from goodparts.runtime.core.errors import FileError
from goodparts.runtime.core.preprocess import load_rgb
from goodparts.trainer.anople.learner import AnoPLeLearner

from goodparts.cli import main
from tests.conftest import VIT, draw_part
from tests.evaluation.conftest import read_inodes, write_sweep


def test_finished_measurements_are_not_repeated(
    rings: Path, engine_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = write_sweep(rings, engine_folder, 'method = ["memory", "promptad-objects"]'), rings.parent / "out"
    decoded: list[Path] = []
    monkeypatch.setattr(encoded_photos, "load_rgb", lambda path: decoded.append(path) or load_rgb(path))
    assert main(["evaluate", "--sweep", str(file)]) == 0
    first, table = read_inodes(out), (out / "results.csv").read_bytes()
    assert sorted(decoded) == sorted(rings.rglob("*.png"))  # each once, although the report shows some of them
    monkeypatch.setattr(testing, "measure_images", lambda *_: pytest.fail("measured again"))
    decoded.clear()
    assert main(["evaluate", "--sweep", str(file)]) == 0
    assert (read_inodes(out), (out / "results.csv").read_bytes()) == (first, table)
    assert "no benchmark object" in (out / "results.md").read_text(encoding="utf-8")
    monkeypatch.undo()
    assert main(["evaluate", "--sweep", str(file), "--seeds", "2"]) == 0
    assert len(read_inodes(out)) == 2 * len(first)
    assert read_inodes(out).items() >= first.items()
    draw_part(99).save(rings / "small" / "good" / "0.png")
    assert main(["evaluate", "--sweep", str(file)]) == 0
    assert len(read_inodes(out)) == 2 * len(first) + 2  # only the changed category is measured again


def test_what_is_learned_from_all_categories_is_measured_on_each(
    rings: Path, vit_engine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnoPLeLearner, "learn", lambda _: None)
    file = write_sweep(rings, vit_engine, f'backbone = "{VIT}"', 'pretrained = "random"', 'method = ["anople-multi"]')
    assert main(["evaluate", "--sweep", str(file)]) == 0
    assert len(read_inodes(rings.parent / "out")) == 2


def test_a_damaged_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.cell").write_bytes(b"\x00")
    with pytest.raises(FileError, match=r"0\.cell is damaged .*: remove it and run again"):
        MeasurementCache(tmp_path).read("0")
