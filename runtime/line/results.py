"""The outcome of a frame's inspection, and the result that outputs and the page receive."""

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
"""The outcome of a frame: its inspection and the decision, or the error that prevented them."""


@dataclass(frozen=True, eq=False)
class Result:
    """A frame's outcome in the form that outputs receive.

    Attributes:
        source: The name of the source.
        decision: good, review or reject; error for a frame without a verdict.
        record: The contents of its JSON line.
        line: The JSON line, ending with a newline.
        pixels: The frame, uint8 RGB [H,W,3]; None without a verdict.
        inspection: The frame's inspection; None without a verdict.
    """

    source: str
    decision: str
    record: dict[str, Any]
    line: bytes
    pixels: Array8 | None
    inspection: Inspection | None


def make_result(frame: Frame, outcome: Outcome) -> Result:
    """Return the result of a frame. Times in its record are in UTC.

    Args:
        frame: The frame that was inspected.
        outcome: The inspection and the decision, or the error that prevented them.
    """
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
