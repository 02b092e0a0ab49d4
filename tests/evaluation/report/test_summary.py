"""Means over seeds and categories, and the papers' numbers beside them."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
from goodparts.evaluation.methods.table import find_method
from goodparts.evaluation.report.files import to_csv
from goodparts.evaluation.report.gather import Evaluation
from goodparts.evaluation.report.markdown import to_markdown
from goodparts.evaluation.report.papers import read_papers
from goodparts.evaluation.report.summary import MEAN, Summary
from goodparts.evaluation.results import Measurement


def measurement(category: str, seed: int, value: float, backend: str = "engine") -> Measurement:
    return Measurement(category, "memory", 1, seed, backend, {"image_auroc": value}, {}, None, "")


def test_spread_is_over_seeds_of_the_mean_over_categories() -> None:
    measurements = [
        measurement("a", 0, 0.5),
        measurement("b", 0, 0.7),
        measurement("a", 1, 0.7),
        measurement("b", 1, 0.9),
        measurement("b", 2, math.nan),
    ]
    summary = Summary("MVTec AD", True, Evaluation(measurements=measurements))
    row = summary.find(MEAN, "memory", 1)
    assert row is not None
    assert row.values["image_auroc"] == pytest.approx((0.7, np.std([0.6, 0.8], ddof=1)))
    assert "70.0 ± 14.1" in to_markdown(summary, [])
    assert to_csv(measurements, summary.metrics).splitlines()[-1] == b"b,memory,1,2,engine,,,"


def test_papers_stand_beside_only_the_same_data_method_and_shots() -> None:
    measurements = [measurement("a", 0, 0.8)]
    whole, part = (Summary("MVTec AD", all_of_it, Evaluation(measurements=measurements)) for all_of_it in (True, False))
    mean = next(row for row in whole.findings().rows if row.name == "mean, memory, 1 shots: image_auroc")
    assert (mean.peer, mean.peer_value) == ("PromptAD, VAD only (ours: clean)", pytest.approx(0.851))
    assert "85.1 (80.0 clean)" in to_markdown(whole, [])
    assert all(row.peer is None for row in part.findings().rows)
    assert "Beside the papers" not in to_markdown(part, [])


def test_best_steps_of_the_official_protocol_stand_beside_the_papers_best_steps() -> None:
    values = {"image_auroc": 0.9, "oracle_image_auroc": 0.95}
    measurements = [msgspec.structs.replace(measurement("a", 0, 0.8), method="promptad-objects", values=values)]
    official, clean = (
        Summary("MVTec AD", True, Evaluation(measurements=measurements), official) for official in (True, False)
    )
    for summary, text, peers in (
        (official, "94.6 (95.0 official, best step)", {"oracle_image_auroc"}),
        (clean, "94.6 (90.0 clean)", {"image_auroc"}),
    ):
        assert text in to_markdown(summary, [])
        rows = [row for row in summary.findings().rows if row.name.startswith("mean") and row.peer]
        assert {row.name.rpartition(" ")[2] for row in rows} == peers


def test_the_papers_file_is_sound() -> None:
    for paper in read_papers():
        assert paper.row is None or find_method(paper.row).title
        assert not paper.official or paper.row is None or find_method(paper.row).official
        assert paper.source
        assert all(20 < value < 100 for values in paper.values.values() for value in values.values())


def test_a_mean_of_some_categories_is_marked_and_stands_beside_no_paper() -> None:
    measurements = [measurement("a", 0, 0.8), msgspec.structs.replace(measurement("b", 0, 0.6), method="padim")]
    summary = Summary("MVTec AD", True, Evaluation(measurements=measurements))
    rows = {row.name: row for row in summary.findings().rows}
    assert rows["mean, memory (1 of 2 categories), 1 shots: image_auroc"].peer is None
    assert "| memory (1 of 2 categories) | 1 | engine | 80.0 |" in to_markdown(summary, [])
    assert "85.1 (" not in to_markdown(summary, [])
