"""The comparison of two reports."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from goodparts.benchmarks.compare import compare
from goodparts.evaluation.report.report import Machine, Report, Row

from goodparts.cli import main

HERE = Machine("a processor", 2, 16.0, "Linux x86_64")


def report(*rows: Row, machine: Machine = HERE, commit: str | None = "aaa", openvino: str = "1") -> Report:
    return Report(machine, {"python": "3.11", "openvino": openvino}, commit, list(rows))


def test_rows_are_matched_by_name_and_peer() -> None:
    first = report(Row("frame", 4.0, "ms", "torch", 8.0, 2.0), Row("frame", 4.0, "ms"), Row("gone", 1.0, "s"))
    second = report(Row("new", 1.0, "s"), Row("frame", 2.0, "ms", "torch", 8.0, 4.0), Row("frame", 6.0, "ms"))
    (table,) = compare(first, second).tables
    assert table.rows == [
        ("frame", "ms", "torch", "4", "2", "0.50"),
        ("frame", "ms", "", "4", "6", "1.50"),
        ("gone", "s", "", "1", "", ""),
        ("new", "s", "", "", "1", ""),
    ]


def test_nothing_is_divided_by_nothing() -> None:
    (table,) = compare(report(Row("missed", 0.0, "%")), report(Row("missed", 3.0, "%"))).tables
    assert table.rows == [("missed", "%", "", "0", "3", "")]


def test_what_differs_is_named() -> None:
    assert compare(report(), report()).remarks == []
    other = report(machine=Machine("another", 2, None, "Linux x86_64"), commit=None, openvino="2")
    assert compare(report(), other).remarks == [
        "cpu differs: A a processor, B another",
        "memory differs: A 16.0, B None",
        "openvino differs: A 1, B 2",
        "commit differs: A aaa, B unknown",
    ]


def test_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    one, other, table = tmp_path / "a.json", tmp_path / "b.json", tmp_path / "table.md"
    one.write_bytes(msgspec.json.encode(report(Row("frame", 4.0, "ms"))))
    other.write_bytes(msgspec.json.encode(report(Row("frame", 6.0, "ms"), commit="bbb")))
    assert main(["bench", "compare", str(one), str(other), "--markdown", str(table)]) == 0
    head, row, remark = capsys.readouterr().out.splitlines()
    assert head.split() == ["name", "unit", "peer", "A", "B", "B", "÷", "A"]
    assert row.split() == ["frame", "ms", "4", "6", "1.50"]
    assert remark == "commit differs: A aaa, B bbb"
    assert "| frame | ms |  | 4 | 6 | 1.50 |" in table.read_text()


def test_files_that_cannot_be_compared(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = tmp_path / "other.json"
    other.write_text('{"rows": 3}')
    for files, message in (
        ([other, other], "is no report of a benchmark"),
        ([tmp_path / "absent.json", other], "cannot read"),
    ):
        assert main(["bench", "compare", *map(str, files)]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
