"""What came of a frame, and the record of it that outputs and the page are given."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from typing import Any

import msgspec

from ..core.errors import GoodpartsError
from ..core.preprocess import Array8
from ..describe import as_record
from ..inspection import Inspection
from .frames import Frame
from .smoothing import Decision

Outcome = tuple[Inspection, Decision] | GoodpartsError
"""What came of a frame: its inspection and the decision, or why there is none."""


@dataclass(frozen=True, eq=False)
class Result:
    """A frame's outcome, ready to be handed on.

    record: as it is written to JSON; line: the record's bytes, ending with a newline; source, decision: see the record
    ("error" for a frame without verdict); pixels: uint8 RGB [H,W,3]; pixels and inspection are None without verdict.
    """

    source: str
    decision: str
    record: dict[str, Any]
    line: bytes
    pixels: Array8 | None
    inspection: Inspection | None


def make_result(frame: Frame, outcome: Outcome) -> Result:
    """Return a frame's outcome as it is handed on; its time is written in UTC."""
    time = datetime.datetime.fromtimestamp(frame.time, datetime.timezone.utc)
    record: dict[str, Any] = {
        "source": frame.source,
        "time": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "frame": frame.number,
    }
    if frame.path is not None:
        record["path"] = frame.path
    if frame.file is not None:
        record["file"] = msgspec.to_builtins(frame.file)
    if isinstance(outcome, GoodpartsError):
        record["error"] = str(outcome)
        return Result(frame.source, "error", record, _encode(record), None, None)
    inspection, decision = outcome
    record |= as_record(inspection) | {"decision": decision}
    assert not isinstance(frame.pixels, GoodpartsError)
    return Result(frame.source, decision, record, _encode(record), frame.pixels, inspection)


def _encode(record: dict[str, Any]) -> bytes:
    return msgspec.json.encode(record) + b"\n"
