"""What --decide recommends for invented measurements, and the option through the command."""

from __future__ import annotations

from pathlib import Path

import pytest
from goodparts.evaluation.methods.table import DECIDE, DECIDE_DEFAULT
from goodparts.evaluation.report.decide import recommend
from goodparts.evaluation.results import Measurement

from goodparts.cli import main

OTHER = "promptad:fusion=paper,temperature=exp"


def measured(method: str, seed: int, image: float, pixel: float | None = 0.5, backend: str = "onnx") -> Measurement:
    values = {"image_auroc": image} | ({} if pixel is None else {"pixel_auroc": pixel})
    return Measurement("nut", method, 4, seed, backend, values, {}, None, "")


def all_rows(gains: list[float], pixel: float | None = 0.5) -> list[Measurement]:
    """Return measurements of every row for a seed for each gain: 0.8, and for OTHER 0.8 plus the gain; torch's too."""
    return [
        measured(name, seed, 0.8 + (gain if name == OTHER else 0.0), pixel, backend)
        for seed, gain in enumerate(gains)
        for name in DECIDE
        for backend in ("onnx", "torch")
        if backend == "onnx" or name != OTHER
    ]


def test_a_gain_that_every_draw_shows_is_recommended() -> None:
    *_, last = recommend(all_rows([0.1, 0.11, 0.09]), "onnx")
    assert last.startswith("recommended: --fusion paper --temperature exp: 0.7000 instead of 0.6500")


@pytest.mark.parametrize("pixel", [0.5, None])
def test_a_gain_that_may_be_chance_is_not(pixel: float | None) -> None:
    *_, last = recommend(all_rows([0.1, -0.09, 0.02], pixel), "onnx")
    assert last.startswith("recommended: the defaults; --fusion paper --temperature exp has")
    assert last.endswith("which may be chance")


def test_one_draw_recommends_nothing() -> None:
    assert recommend(all_rows([0.1]), "onnx")[-1].startswith("no recommendation: a single draw")
    assert recommend([], "onnx") == ["no recommendation: in no draw of shots does every row have an AUROC"]


def test_the_default_is_recommended_where_it_is_best() -> None:
    rows = [*all_rows([-0.1, -0.1])]
    rows = [row for row in rows if row.method != DECIDE_DEFAULT]
    rows += [measured(DECIDE_DEFAULT, seed, 0.9) for seed in range(2)]
    assert recommend(rows, "onnx")[-1] == "recommended: the defaults, which are the best of these"


@pytest.mark.usefixtures("few_steps")
def test_the_option_ranks_its_rows(
    ring: Path, engine_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["evaluate", "--data", str(ring), "--engine", str(engine_folder), "--out", str(tmp_path), "--decide"]
    assert main([*command, "--shots", "1", "--seeds", "2"]) == 0
    output = capsys.readouterr().out
    assert "mean of image and pixel AUROC of 2 draws of shots:" in output
    assert "recommended: " in output
    assert main([*command, "--method", "memory"]) == 2
    assert "--decide compares rows of its own: leave out --method" in capsys.readouterr().err
