"""`goodparts bench compare`: compares two reports of one benchmark, row by row."""

from __future__ import annotations

import argparse
from pathlib import Path

import msgspec
from goodparts.evaluation.report.report import Findings, Report, Row, read_report
from goodparts.evaluation.report.tables import Table, show
from goodparts.runtime.core.files import write_atomic

from .options import output_file

HELP = "compare two reports of one benchmark, row by row"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("first", type=Path, metavar="A.json", help="a report that --json wrote")
    parser.add_argument("second", type=Path, metavar="B.json", help="another report")
    parser.add_argument("--markdown", type=output_file, metavar="FILE", help="write the table as Markdown")


def run(options: argparse.Namespace) -> int:
    """Print the table and the other differences, and write the Markdown file that the options name.

    Args:
        options: The parsed options.

    Returns:
        0, the exit code.

    Raises:
        FileError: A file cannot be read or written, or is no benchmark's report.
    """
    findings = compare(read_report(options.first), read_report(options.second))
    (table,) = findings.tables
    print("\n".join([table.as_text(), *findings.remarks]))
    if options.markdown is not None:
        names = [f"* A: {options.first}", f"* B: {options.second}"]
        remarks = [f"* {remark}" for remark in findings.remarks]
        write_atomic(options.markdown, "\n".join([*names, *remarks, "", table.as_markdown(), ""]).encode())
    return 0


def compare(first: Report, second: Report) -> Findings:
    """Make a table of all rows, with second ÷ first for rows that both reports have.

    Args:
        first: Report A.
        second: Report B.

    Returns:
        The table. The remarks name the differences in machine, versions and commit.
    """
    findings = Findings(remarks=differences(first, second))
    first_rows, second_rows = ({key(row): row for row in report.rows} for report in (first, second))
    cells = []
    for row_key in dict.fromkeys([*first_rows, *second_rows]):
        before, after = first_rows.get(row_key), second_rows.get(row_key)
        values = [None if row is None else row.value for row in (before, after)]
        ratio = after.value / before.value if before is not None and after is not None and before.value else None
        cells.append((*row_key, *map(show, values), "" if ratio is None else f"{ratio:.2f}"))
    findings.tables.append(Table("", ("name", "unit", "peer", "A", "B", "B ÷ A"), cells, left=(0, 1, 2)))
    return findings


def key(row: Row) -> tuple[str, str, str]:
    """Return the name, the unit and the peer of a row, which together are its key.

    Rows of two reports with the same key are compared.

    Args:
        row: A row of a report.
    """
    return row.name, row.unit, row.peer or ""


def differences(first: Report, second: Report) -> list[str]:
    """Return one line for each difference in machine, versions and commit.

    Args:
        first: Report A.
        second: Report B.
    """
    first_facts, second_facts = facts(first), facts(second)
    return [
        f"{name} differs: A {first_facts.get(name, 'none')}, B {second_facts.get(name, 'none')}"
        for name in dict.fromkeys([*first_facts, *second_facts])
        if first_facts.get(name) != second_facts.get(name)
    ]


def facts(report: Report) -> dict[str, str]:
    """Return the machine, the versions and the commit of a report, by name.

    Args:
        report: A report that --json wrote.
    """
    machine = {name: str(value) for name, value in msgspec.structs.asdict(report.machine).items()}
    return {**machine, **report.versions, "commit": report.commit or "unknown"}
