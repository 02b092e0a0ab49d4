"""Tables, Markdown and the picture."""

from __future__ import annotations

import pytest
from goodparts.benchmarks.plot import MAX_ROWS, draw_distributions, grid, span
from goodparts.evaluation.report.report import Findings, Machine, Report, format_markdown
from goodparts.evaluation.report.tables import Table, show


def test_text_and_markdown() -> None:
    table = Table("Latency", ("", "frames come", "p50"), [("a b", "30 fps", "1.5"), ("c", "x|y", "12.5")], left=(0, 1))
    assert table.as_text().splitlines() == [
        "Latency",
        "     frames come   p50",
        "a b  30 fps        1.5",
        "c    x|y          12.5",
    ]
    assert table.as_markdown().splitlines() == [
        "## Latency",
        "",
        "|  | frames come | p50 |",
        "|---|---|---:|",
        "| a b | 30 fps | 1.5 |",
        "| c | x\\|y | 12.5 |",
    ]


@pytest.mark.parametrize(
    ("value", "text"), [(None, ""), (0.0, "0"), (0.123456, "0.1235"), (999.96, "1000"), (12345.6, "12346")]
)
def test_numbers(value: float | None, text: str) -> None:
    assert show(value) == text


def test_markdown_of_a_report() -> None:
    findings = Findings(remarks=["aim: met"], tables=[Table("Latency", ("", "p50"), [("ours", "1")])])
    findings.add("ours, p50", 1.0, "ms", "peer", 2.0)
    report = Report(Machine("a processor", 2, 16.0, "Linux x86_64"), {"python": "3.11"}, None, findings.rows)
    lines = format_markdown("goodparts bench frame", report, findings).splitlines()
    assert lines[0] == "# goodparts bench frame"
    assert lines[2] == "a processor, 2 cores, 16 GiB, Linux x86_64; python 3.11; commit unknown."
    assert lines.index("## Latency") < lines.index("* aim: met") < lines.index("## All rows")
    assert lines[-1] == "| ours, p50 | 1 | ms | peer | 2 | 2.00 |"


def test_axis() -> None:
    assert grid(0.9, 60.0) == [1, 2, 5, 10, 20, 50]
    low, high = span([3.0, 3.0])
    assert low < 3 < high
    assert span([0.0]) == span([1.0])


def test_picture() -> None:
    small = draw_distributions({"ours, back to back": [1.0, 2.0, 10.0], "torch": [20.0]})
    assert small.height < draw_distributions({str(number): [1.0] for number in range(5)}).height
    colours = {colour for _, colour in small.getcolors(1 << 20) or []}
    assert {(31, 78, 140), (194, 85, 0)} <= colours  # the bar and the mark at p99
    many = draw_distributions({str(number): [1.0] for number in range(MAX_ROWS + 5)})
    assert many.height == draw_distributions({str(number): [1.0] for number in range(MAX_ROWS)}).height
    assert draw_distributions({}).width > 0
