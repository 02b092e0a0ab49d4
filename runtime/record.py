"""An inspection as one line of JSON, as `goodparts inspect` and `goodparts watch` write it."""

from __future__ import annotations

from typing import Any

from .detector import Inspection


def as_record(inspection: Inspection) -> dict[str, Any]:
    """What was found, for msgspec.json.encode."""
    return {
        "score": inspection.score,
        "calibrated": inspection.calibrated,
        "verdict": inspection.verdict,
        "threshold": inspection.threshold,
        "pixel_threshold": inspection.thresholds.pixel,
        "regions": inspection.regions,
        "milliseconds": {stage: round(ms, 3) for stage, ms in inspection.milliseconds.items()},
        "recipe": inspection.recipe,
        "graph": inspection.graph,
        "backend": inspection.backend,
    }
