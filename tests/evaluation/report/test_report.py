"""Rows, ratios, aims, and the shape of the JSON file."""

from __future__ import annotations

import json
import re

import msgspec
import pytest
from goodparts.evaluation.report.report import (
    Findings,
    Report,
    commit,
    describe_machine,
    format_table,
    installed_versions,
)


@pytest.mark.parametrize(("higher", "ratio"), [(False, 2.0), (True, 0.5)])
def test_ratio_is_above_one_where_ours_is_better(higher: bool, ratio: float) -> None:
    findings = Findings()
    findings.add("thing", 2.0, "ms", "peer", 4.0, higher=higher)
    assert findings.rows[0].ratio == ratio


def test_no_ratio_without_a_peer() -> None:
    findings = Findings()
    findings.add("thing", 2.0, "ms")
    findings.add("nothing measured", 0.0, "ms", "peer", 1.0)
    assert [row.ratio for row in findings.rows] == [None, None]


def test_aims() -> None:
    findings = Findings()
    findings.aim("start", 0.25, 0.3, "s")
    findings.aim("start", 0.35, 0.3, "s")
    findings.aim("speed-up", 6.0, 5.0, "", at_least=True)
    assert findings.remarks == [
        "aim: start at most 0.3 s: 0.25 s, met",
        "aim: start at most 0.3 s: 0.35 s, missed",
        "aim: speed-up at least 5: 6, met",
    ]


def test_json_shape() -> None:
    findings = Findings()
    findings.add("alone", 1.0, "s")
    findings.add("beside", 1.0, "s", "peer", 3.0)
    report = json.loads(msgspec.json.encode(Report(describe_machine(), installed_versions(), commit(), findings.rows)))
    assert list(report) == ["machine", "versions", "commit", "rows"]
    assert report["rows"] == [
        {"name": "alone", "value": 1.0, "unit": "s"},
        {"name": "beside", "value": 1.0, "unit": "s", "peer": "peer", "peer_value": 3.0, "ratio": 3.0},
    ]
    assert report["machine"]["cores"] >= 1
    assert {"python", "goodparts", "numpy"} <= set(report["versions"])
    assert report["commit"] is None or re.fullmatch(r"[0-9a-f]{40}(-dirty)?", report["commit"])


def test_table_is_aligned() -> None:
    findings = Findings()
    findings.add("a", 1.0, "s", "peer", 3.0)
    findings.add("a longer name", 12.5, "ms")
    head, first, second = format_table(findings.rows).splitlines()
    assert head.split() == ["name", "value", "unit", "peer", "peer", "value", "ratio"]
    assert first.split() == ["a", "1", "s", "peer", "3", "3.00"]
    assert second.split() == ["a", "longer", "name", "12.5", "ms"]
    assert head.index("unit") == first.index("s") == second.index("ms")
