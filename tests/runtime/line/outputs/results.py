"""Results of an invented line, for tests of outputs."""

from __future__ import annotations

import json

from goodparts.runtime.line.results import Result


def make_result(number: int, decision: str = "reject") -> Result:
    record = {"source": "left", "time": "2026-01-02T03:04:05.678Z", "frame": number, "decision": decision}
    return Result("left", decision, record, json.dumps(record).encode() + b"\n", None, None)
