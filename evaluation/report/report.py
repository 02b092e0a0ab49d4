"""The report of a benchmark: its rows, and the machine on which they were measured."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from goodparts.runtime.core.errors import FileError
from goodparts.runtime.core.files import read_bytes
from goodparts.runtime.core.processor import processor_name

from .tables import Table, show

LIBRARIES = (
    "goodparts",
    "numpy",
    "pillow",
    "onnxruntime",
    "openvino",
    "torch",
    "open_clip_torch",
    "scipy",
    "faiss-cpu",
    "opencv-python-headless",
)
"""The packages whose versions a report lists if they are installed."""


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One number and, if there is one, a peer's number to compare it with.

    Attributes:
        name: The name of the measured quantity.
        value: Our number.
        unit: Its unit, such as "ms".
        peer: The peer's name.
        peer_value: The peer's number, in the same unit.
        ratio: How many times better our number is than the peer's; above 1, ours is better.
    """

    name: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None


class Machine(msgspec.Struct, frozen=True):
    """The machine of a benchmark.

    Attributes:
        cpu: The processor's name.
        cores: The number of cores that this process may use.
        memory: The memory in GiB; None if the system does not report it.
        system: The operating system and the processor's architecture.
    """

    cpu: str
    cores: int
    memory: float | None
    system: str


class Report(msgspec.Struct, frozen=True):
    """The JSON file of a benchmark.

    Attributes:
        machine: The machine.
        versions: The versions of Python and of the libraries.
        commit: The commit of the source tree; None outside a checkout.
        rows: The numbers.
    """

    machine: Machine
    versions: dict[str, str]
    commit: str | None
    rows: list[Row]


@dataclass
class Findings:
    """The findings of a benchmark.

    Attributes:
        rows: The numbers.
        remarks: Remarks for the reader, such as aims that were met or missed.
        tables: The same numbers arranged for reading, if there are many.
    """

    rows: list[Row] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        peer: str | None = None,
        peer_value: float | None = None,
        higher: bool = False,
    ) -> None:
        """Add a row.

        Args:
            name: The name of the measured quantity.
            value: Our number.
            unit: Its unit, such as "ms".
            peer: The peer's name, or None.
            peer_value: The peer's number in the same unit, or None.
            higher: Whether a higher number is better, as for rates.
        """
        ratio = None
        if peer_value is not None and value > 0 and peer_value > 0:
            ratio = float(value / peer_value if higher else peer_value / value)
        self.rows.append(Row(name, float(value), unit, peer, None if peer_value is None else float(peer_value), ratio))

    def aim(self, name: str, value: float, limit: float, unit: str, at_least: bool = False) -> None:
        """Add a remark on whether an aim is met; nothing fails if it is missed.

        Args:
            name: The name of the measured quantity.
            value: The measured number.
            limit: The number to reach.
            unit: The unit of both.
            at_least: Whether the value should be at least the limit; otherwise it should be at most the limit.
        """
        met = value >= limit if at_least else value <= limit
        bound = "at least" if at_least else "at most"
        measured = f"{value:.4g} {unit}".strip()
        self.remarks.append(
            f"aim: {name} {bound} {limit:.4g} {unit}".rstrip() + f": {measured}, {'met' if met else 'missed'}"
        )


def describe_machine() -> Machine:
    """Describe this machine, without its name.

    Returns:
        The machine.
    """
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return Machine(processor_name(), cores, memory, f"{platform.system()} {platform.machine()}")


def installed_versions() -> dict[str, str]:
    """Return the versions of Python and of every installed library that a benchmark may use."""
    versions = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            continue
    return versions


def commit() -> str | None:
    """Return the commit of this source tree, followed by "-dirty" if files were changed; None outside a checkout."""
    root = Path(__file__).resolve().parents[2]
    if not (root / "pyproject.toml").is_file():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        git = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return git.stdout.strip() or None


def arrange(rows: list[Row]) -> Table:
    """Return rows as a table, in the same order.

    Args:
        rows: The rows.
    """
    ratios = ["" if row.ratio is None else f"{row.ratio:.2f}" for row in rows]
    cells = [
        (row.name, show(row.value), row.unit, row.peer or "", show(row.peer_value), ratio)
        for row, ratio in zip(rows, ratios, strict=True)
    ]
    return Table("", ("name", "value", "unit", "peer", "peer value", "ratio"), cells, left=(0, 2, 3))


def format_table(rows: list[Row]) -> str:
    """Return rows as aligned text.

    Args:
        rows: The rows.
    """
    return arrange(rows).as_text()


def read_report(path: Path) -> Report:
    """Read a benchmark's JSON file.

    Args:
        path: The file.

    Returns:
        Its content.

    Raises:
        FileError: The file cannot be read, or is no benchmark's report.
    """
    try:
        return msgspec.json.decode(read_bytes(path), type=Report)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise FileError(f"{path} is no report of a benchmark ({error}): give a file of `--json FILE`") from error


def format_markdown(title: str, report: Report, findings: Findings) -> str:
    """Return a report as Markdown: the machine, the tables, the remarks, and at the end every row.

    Args:
        title: The page's title.
        report: The report.
        findings: Its tables and remarks.
    """
    machine = report.machine
    memory = "" if machine.memory is None else f", {machine.memory:g} GiB"
    versions = ", ".join(f"{name} {number}" for name, number in report.versions.items())
    parts = [
        f"# {title}",
        f"{machine.cpu}, {machine.cores} cores{memory}, {machine.system}; {versions}; "
        f"commit {report.commit or 'unknown'}.",
        *(table.as_markdown() for table in findings.tables),
        "\n".join(f"* {remark}" for remark in findings.remarks),
        *(["## All rows"] if findings.tables else []),
        arrange(report.rows).as_markdown(),
    ]
    return "\n\n".join(part for part in parts if part) + "\n"
