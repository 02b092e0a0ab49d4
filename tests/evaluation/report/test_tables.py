"""Tables and Markdown."""

from __future__ import annotations

import pytest
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
