"""`goodparts bench compare`: two reports of one benchmark, row beside row."""

from __future__ import annotations

import msgspec
from goodparts.evaluation.report.report import Findings, Report, Row
from goodparts.evaluation.report.tables import Table, show


def compare(first: Report, second: Report) -> Findings:
    """A table of all rows, second ÷ first where both have one; remarks name what else differs between the two."""
    findings = Findings(remarks=differences(first, second))
    rows = [{key(row): row for row in report.rows} for report in (first, second)]
    cells = []
    for name in dict.fromkeys([*rows[0], *rows[1]]):
        one, other = rows[0].get(name), rows[1].get(name)
        values = [None if row is None else row.value for row in (one, other)]
        ratio = other.value / one.value if one is not None and other is not None and one.value else None
        cells.append((*name, *map(show, values), "" if ratio is None else f"{ratio:.2f}"))
    findings.tables.append(Table("", ("name", "unit", "peer", "A", "B", "B ÷ A"), cells, left=(0, 1, 2)))
    return findings


def key(row: Row) -> tuple[str, str, str]:
    """What makes two rows the same: a row may stand there once for every peer."""
    return row.name, row.unit, row.peer or ""


def differences(first: Report, second: Report) -> list[str]:
    """One line for each thing that is not the same: machine, versions, commit."""
    sides = [
        {
            **{name: str(value) for name, value in msgspec.structs.asdict(report.machine).items()},
            **report.versions,
            "commit": report.commit or "unknown",
        }
        for report in (first, second)
    ]
    one, other = sides
    return [
        f"{name} differs: A {one.get(name, 'none')}, B {other.get(name, 'none')}"
        for name in dict.fromkeys([*one, *other])
        if one.get(name) != other.get(name)
    ]
