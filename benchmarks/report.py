"""What a benchmark is told and what it reports: rows, the machine they were measured on, the table."""

from __future__ import annotations

import os
import platform
import subprocess
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import msgspec
from goodparts.runtime.errors import ParityError

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


@dataclass(frozen=True)
class Options:
    """What a benchmark is told.

    backbone; how many timed rounds, None for its own default; an engine to reuse; a folder of real products.
    """

    backbone: str
    repeat: int | None = None
    engine: Path | None = None
    data: Path | None = None


class Row(msgspec.Struct, frozen=True, omit_defaults=True):
    """One number; where there is a peer, its number and the ratio, above 1 where ours is better."""

    name: str
    value: float
    unit: str
    peer: str | None = None
    peer_value: float | None = None
    ratio: float | None = None


class Machine(msgspec.Struct, frozen=True):
    """Where it ran: cores are those this process may use; memory in GiB, None where the system does not say."""

    cpu: str
    cores: int
    memory: float | None
    system: str


class Report(msgspec.Struct, frozen=True):
    """The JSON file of a benchmark."""

    machine: Machine
    versions: dict[str, str]
    commit: str | None
    rows: list[Row]


@dataclass
class Findings:
    """What a benchmark found: the rows, and remarks for the reader of the table (aims met or missed)."""

    rows: list[Row] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)

    def add(
        self,
        name: str,
        value: float,
        unit: str,
        peer: str | None = None,
        peer_value: float | None = None,
        higher: bool = False,
    ) -> None:
        """Add a row; `higher`: whether more is better, as for rates."""
        ratio = None
        if peer_value is not None and value > 0 and peer_value > 0:
            ratio = float(value / peer_value if higher else peer_value / value)
        plain = None if peer_value is None else float(peer_value)
        self.rows.append(Row(name, float(value), unit, peer, plain, ratio))

    def aim(self, what: str, value: float, limit: float, unit: str, at_least: bool = False) -> None:
        """Say whether an aim is met; nothing fails when it is not."""
        met = value >= limit if at_least else value <= limit
        bound = "at least" if at_least else "at most"
        said = f"{value:.4g} {unit}".strip()
        self.remarks.append(
            f"aim: {what} {bound} {limit:.4g} {unit}".rstrip() + f": {said}, {'met' if met else 'missed'}"
        )


def check_same(what: str, difference: float, tolerance: float) -> None:
    """ParityError where ours and the peer do not compute the same: their times would mean nothing."""
    if not difference <= tolerance:  # so that a NaN fails
        raise ParityError(
            f"{what}: ours and the peer differ by {difference:.1e}, at most {tolerance:.0e} is accepted: "
            "their times are not comparable"
        )


def describe_machine() -> Machine:
    """This machine, without its name."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    memory = None
    if hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        memory = round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    return Machine(_cpu_model(), cores, memory, f"{platform.system()} {platform.machine()}")


def _cpu_model() -> str:
    info = Path("/proc/cpuinfo")
    if info.is_file():
        for line in info.read_text(encoding="utf-8", errors="replace").splitlines():
            key, _, value = line.partition(":")
            if key.strip() == "model name":
                return value.strip()
    return platform.processor() or platform.machine()


def installed_versions() -> dict[str, str]:
    """Python and every installed library that a benchmark may touch."""
    found = {"python": platform.python_version()}
    for name in LIBRARIES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def commit() -> str | None:
    """The commit this source tree stands at, "-dirty" behind it where files differ; None outside a checkout."""
    root = Path(__file__).resolve().parents[1]
    if not (root / "pyproject.toml").is_file():
        return None
    command = ["git", "describe", "--always", "--dirty", "--abbrev=40", "--exclude=*"]
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip() or None


def format_table(rows: list[Row]) -> str:
    """The rows as aligned text."""
    table = [("name", "value", "unit", "peer", "peer value", "ratio")]
    for row in rows:
        peer_value = "" if row.peer_value is None else f"{row.peer_value:.4g}"
        ratio = "" if row.ratio is None else f"{row.ratio:.2f}"
        table.append((row.name, f"{row.value:.4g}", row.unit, row.peer or "", peer_value, ratio))
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    aligned = (str.ljust, str.rjust, str.ljust, str.ljust, str.rjust, str.rjust)
    lines = [
        "  ".join(align(cell, width) for align, cell, width in zip(aligned, cells, widths, strict=True)).rstrip()
        for cells in table
    ]
    return "\n".join(lines)
