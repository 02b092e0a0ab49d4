"""A watch over one camera: it finds out whether the scene has changed, and whether the parts' scores drift."""

from __future__ import annotations

import math
import threading
from collections import Counter, deque
from typing import get_args

import numpy as np

from ..core.scene import SceneChange, SceneReason
from ..core.scoring import SMALLEST_SCORE
from ..inspection import Inspection
from ..recipe.calibrate import Level
from .messages import Report

CHANGED_OF = 3, 5
"""The scene has changed once 3 of the last 5 frames show another scene. It is back once none of the last 5 does."""
DRIFT_FRAMES = 50
"""The number of last parts whose median score is compared with the calibration."""
DRIFT_ERRORS = 2.5
"""The least difference between median and calibration that counts as a drift, in standard errors of that difference."""
_MEDIAN_VARIANCE = math.pi / 2
"""The variance of the median of normally distributed values, divided by the variance of their mean."""


class SceneWatch:
    """Follows one source's frames, and reports when its scene changes or its scores drift. It is thread-safe.

    Most parts on a line are good, so the median of all parts' scores stands for the good parts. Frames that show
    another scene are left out. When the recipe changes, the watch starts again from no frames.

    Args:
        source: The name of the source, with which every report begins.
        report: Receives one line of text about each change.
    """

    def __init__(self, source: str, report: Report) -> None:
        self._source, self._report = source, report
        self._lock = threading.Lock()
        self._counts: Counter[SceneReason] = Counter()
        self._last: deque[SceneChange | None] = deque(maxlen=CHANGED_OF[1])
        self._scores: deque[float] = deque(maxlen=DRIFT_FRAMES)
        self._recipe = ""
        self._change: SceneChange | None = None
        self._ratio: float | None = None
        self._drifts = False

    def note(self, inspection: Inspection, level: Level) -> None:
        """Take the next frame into account.

        Args:
            inspection: The inspection of the frame.
            level: The scores of good parts from the calibration of the frame's recipe.
        """
        with self._lock:
            if inspection.recipe != self._recipe:
                self._recipe, self._ratio, self._drifts, self._change = inspection.recipe, None, False, None
                self._last.clear()
                self._scores.clear()
            messages = [*self._follow_scene(inspection.scene), *self._follow_scores(inspection, level)]
        for message in messages:
            self._report(f"{self._source}: {message}")

    def counts(self) -> dict[SceneReason, int]:
        """Return the number of frames since the start that showed another scene, for each reason."""
        with self._lock:
            return {reason: self._counts[reason] for reason in get_args(SceneReason)}

    @property
    def change(self) -> SceneChange | None:
        """Why the scene differs from the learned one; None while it does not."""
        with self._lock:
            return self._change

    @property
    def ratio(self) -> float | None:
        """The median score of the last parts divided by the calibration's; None before DRIFT_FRAMES parts."""
        with self._lock:
            return self._ratio

    @property
    def drift(self) -> str | None:
        """A sentence that tells how far the scores have drifted and what to do; None while there is no drift."""
        with self._lock:
            return self._describe_drift() if self._drifts else None

    def _follow_scene(self, scene: SceneChange | None) -> list[str]:
        """Add the next frame's scene and return the messages to report."""
        self._last.append(scene)
        seen = [one for one in self._last if one is not None]
        if scene is not None:
            self._counts[scene.reason] += 1
        if self._change is None and len(seen) >= CHANGED_OF[0]:
            self._change = seen[-1]
            return [f"the scene has changed: {self._change.sentence}"]
        if self._change is not None and not seen:
            self._change = None
            return ["the scene is the learned one again"]
        if self._change is not None:
            self._change = seen[-1]
        return []

    def _follow_scores(self, inspection: Inspection, level: Level) -> list[str]:
        """Add the next frame's score and return the messages to report."""
        if inspection.scene is not None:
            return []
        self._scores.append(math.log(max(inspection.raw_score, SMALLEST_SCORE)))
        if len(self._scores) < DRIFT_FRAMES:
            return []
        drift = float(np.median(self._scores)) - level.location
        self._ratio = math.exp(drift)
        error = level.spread * math.sqrt(1 / len(level.scores) + _MEDIAN_VARIANCE / DRIFT_FRAMES)
        half_way = (math.log(inspection.raw_threshold) - level.location) / 2
        limit = max(half_way, DRIFT_ERRORS * error)
        drifted, self._drifts = self._drifts, drift > (limit / 2 if self._drifts else limit)
        if self._drifts == drifted:
            return []
        return [self._describe_drift() if self._drifts else "parts score again as when the recipe was calibrated"]

    def _describe_drift(self) -> str:
        return (
            f"parts score {self._ratio:.2g} times what good parts scored when the recipe was calibrated (median of the "
            f"last {DRIFT_FRAMES}): clean the lens, check the light, or calibrate again with new photos of good parts "
            "(goodparts calibrate --good)"
        )
