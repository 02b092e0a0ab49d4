"""The benchmarks of single steps run on the small backbone; times are not checked."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from goodparts.benchmarks.latency import search
from goodparts.runtime.core.scorer import BankPrecision

Bench = Callable[..., list[dict[str, object]]]


def search_few_in_cells(precision: BankPrecision, recall: float) -> Callable[[], search.Matches]:
    """Search few rows in cells, in a worker, where patches of the test have no effect. Cells need 4096 rows."""
    search.ROWS = (4200,)
    return search.search_in_cells(precision, recall)


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("options", "first", "compared"),
    [
        (("score", "--backbone", "small"), "score, 1 shots", 4),
        (("search",), "search fp32, 20 rows", 4),
        (("preprocess",), "2448×2048", 12),
        (("train", "--backbone", "small"), "training step, both levels", 1),
    ],
)
def test_rows(
    options: tuple[str, ...],
    first: str,
    compared: int,
    bench: Bench,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "ROWS", (20,))
    monkeypatch.setattr(search, "PRECISIONS", {"fp32": 1e-5})
    monkeypatch.setattr(search, "search_in_cells", search_few_in_cells)
    rows = bench(*options, "--repeat", "1")
    assert [entry.name for entry in tmp_path.iterdir()] == ["bench.json"]
    assert rows[0]["name"] == first
    assert sum("ratio" in row for row in rows) == compared
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(first)
    assert lines[-1].startswith("aim: ")


def test_prompted(prompted_folder: Path, bench: Bench) -> None:
    rows = bench("prompted", "--engine", str(prompted_folder), "--precision", "fp32", "--repeat", "1")
    names = [f"{backend} fp32, AnoPLe, p{rank}" for backend in ("onnxruntime", "openvino") for rank in (50, 90)]
    assert [row["name"] for row in rows] == names
    assert {row["peer"] for row in rows} == {"PromptAD"}
