"""Everything that the page shows, except pictures, as one JSON object.

Times are ages in seconds, because the clocks of the line and of the browser may differ.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from goodparts import __version__

from ..describe import BEYOND_SHOWN
from ..line.line import Line
from ..line.pipeline import Pipeline
from ..line.redact import redact_address
from ..line.results import Result
from ..line.settings import OutputSettings
from ..line.settling import Settling
from ..line.station import Station
from .controls import Controls
from .gallery import Gallery
from .recent_frames import RecentFrames

CHARTED = 300
"""The most frames of a source whose scores the page draws."""


class PageState:
    """The state of a line, as the page shows it. It changes nothing on the line.

    Args:
        line: The line whose state is shown.
        output: The settings of the line's outputs.
        recent_frames: The last frames of each source, by the source's name.
        controls: The changes that the page can make.
        gallery: The saved rejects; None if the line saves none.
        teaches: Whether products may be taught on the page.
    """

    def __init__(
        self,
        line: Line,
        output: OutputSettings,
        recent_frames: Mapping[str, RecentFrames],
        controls: Controls,
        gallery: Gallery | None,
        *,
        teaches: bool,
    ) -> None:
        self.recent_frames, self._line, self._controls, self._gallery = recent_frames, line, controls, gallery
        self._started, self._teaches = time.monotonic(), teaches
        self._output_folders = _output_folders(output)

    def read(self) -> dict[str, Any]:
        """Return the line's state now, as page.js reads it.

        The call also selects the frame of each source that is shown (RecentFrames.show).
        """
        line, engine = self._line, self._line.shared_engine.engine
        return {
            "about": f"{__version__} · {engine.encoder.backbone} on {engine.backend}",
            "up": time.monotonic() - self._started,
            "teaches": self._teaches,
            "sources": [
                self._source(pipeline)
                | self._threshold(pipeline.station)
                | {"settling": _describe_settling(pipeline.settling)}
                | pipeline.meter.counts()
                for pipeline in line.pipelines
            ],
            "outputs": [
                {
                    "name": outlet.output_name,
                    "lost": outlet.lost,
                    "waiting": outlet.waiting,
                    "failing": outlet.failing,
                    "error": line.messages.redact(outlet.error),
                }
                for outlet in line.outlets
            ],
            "disks": _disks(self._output_folders),
            "rejects": None if self._gallery is None else self._gallery.summary(),
            "messages": [message._asdict() for message in line.messages.newest_first()],
        }

    def _source(self, pipeline: Pipeline) -> dict[str, Any]:
        settings, status, capture = pipeline.settings, pipeline.status(), pipeline.capture
        recent_frames = self.recent_frames[settings.name]
        result = recent_frames.show()
        age, reject_age = recent_frames.ages()
        points = recent_frames.points(CHARTED)
        detector = pipeline.station.detector
        now = detector.recipe.digest, detector.thresholds.image
        return {
            "name": settings.name,
            "address": redact_address(settings.address),
            "smoothing": settings.smoothing,
            "up": status.up,
            "ended": capture.ended,
            "lost_because": self._line.messages.redact(capture.error),
            "age": age,
            "reject_age": reject_age,
            "shown": None if result is None else _summarise(result),
            "scores": [float(f"{point.score_by(*now):.4g}") for point in points],
            "decisions": [point.decision for point in points],
            "rate": status.meter.rate(),
            "dropped": status.dropped,
            "latency": status.meter.percentiles(),
            "scene": status.scene_watch.change,
            "drift": status.scene_watch.drift,
        }

    def _threshold(self, station: Station) -> dict[str, Any]:
        detector, controls = station.detector, self._controls
        return {
            "product": detector.recipe.header.product,
            "recipe": station.settings.recipe.name,
            "raw_threshold": detector.thresholds.image,
            "threshold": controls.threshold(station.source),
            "review": detector.thresholds.review,
            "provisional": detector.is_provisional,
            "origin": controls.origin(station.source),
            "sharing": controls.sharing(station.source),
            "undo": controls.undoable(station.source),
        }


def _summarise(result: Result) -> dict[str, Any]:
    """Return the part of a frame's record that the page shows."""
    keys = ("frame", "score", "verdict", "error")
    return {key: result.record[key] for key in keys if key in result.record} | {"decision": result.decision}


def _describe_settling(settling: Settling) -> dict[str, Any]:
    """Return the numbers of gathered and requested parts, and the threshold that they propose. Scores are raw."""
    gathered, parts = settling.progress
    proposal = settling.proposal
    found: dict[str, Any] = {"gathered": gathered, "parts": parts, "proposal": None}
    if proposal is not None:
        edges, counts = proposal.histogram()
        found["proposal"] = {
            "threshold": proposal.threshold,
            "today": proposal.today,
            "rate": proposal.rate,
            "rejected": proposal.rejected(proposal.today),
            "would": proposal.rejected(proposal.threshold),
            "edges": edges.tolist(),
            "counts": counts.tolist(),
            "beyond": [
                {"part": index, "name": proposal.names[index], "score": float(proposal.scores[index])}
                for index in proposal.beyond()[:BEYOND_SHOWN]
            ],
        }
    return found


def _output_folders(output: OutputSettings) -> list[Path]:
    """Return the folders to which the outputs write, and whose disks may therefore become full."""
    folders = [] if output.json in (None, "-") else [Path(str(output.json)).absolute().parent]
    return folders + ([] if output.rejects is None else [Path(output.rejects).absolute()])


def _disks(folders: list[Path]) -> list[dict[str, Any]]:
    """Return the free and total bytes of the disks that hold the folders, each disk once."""
    disks: dict[tuple[int, int], dict[str, Any]] = {}
    for folder in folders:
        try:
            usage = shutil.disk_usage(folder)
        except OSError:
            continue
        disks.setdefault((usage.total, usage.used), {"path": str(folder), "free": usage.free, "total": usage.total})
    return list(disks.values())
