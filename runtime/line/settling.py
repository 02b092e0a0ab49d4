"""Settling in on a running line: a source's next parts propose a threshold, written when somebody asks for it."""

from __future__ import annotations

import threading
from dataclasses import dataclass, field

import numpy as np
from PIL import Image

from ..core.errors import FileError, GoodpartsError, SettingsError
from ..core.files import read_bytes
from ..core.scoring import anomaly_map
from ..core.threads import one_blas_thread
from ..describe import BEYOND_SHOWN, describe_settlement
from ..inspection import Inspection
from ..overlay import TILE, draw_found
from ..recipe.recipe import Recipe
from ..recipe.refit import fit_to
from ..recipe.settle import SETTLING_RATE, Settlement, check_parts, settle
from .messages import Report
from .results import Result
from .station import Station


@dataclass
class _Gathered:
    """The scores of the parts so far, all by the same recipe (its digest), and pictures of those that score highest."""

    recipe: str = ""
    names: list[str] = field(default_factory=list)
    image: list[float] = field(default_factory=list)
    pixel: list[float] = field(default_factory=list)
    pictures: dict[int, Image.Image] = field(default_factory=dict)

    def add(self, result: Result, inspection: Inspection) -> None:
        """Add a part; draw it if it is among the BEYOND_SHOWN highest so far."""
        with one_blas_thread():
            pixel = max(float(anomaly_map(grid).max()) for grid in inspection.grids)
        self.names.append(result.record.get("path") or f"frame {result.record['frame']}")
        self.image.append(inspection.raw_score)
        self.pixel.append(pixel)
        lowest = min(self.pictures, key=self.image.__getitem__, default=None)
        if lowest is not None and len(self.pictures) == BEYOND_SHOWN:
            if inspection.raw_score <= self.image[lowest]:
                return
            del self.pictures[lowest]
        assert result.pixels is not None  # every frame with an inspection has them
        self.pictures[len(self.names) - 1] = draw_found(result.pixels, inspection, TILE)


class Settling:
    """Gathers the scores of a source's next parts and proposes a threshold from them. For several threads.

    Parts are counted anew where the recipe is replaced meanwhile. station: of the source; report: takes what happens;
    show: takes the histogram, line by line; takes: whether the recipe is written without asking.
    """

    def __init__(self, station: Station, report: Report, show: Report, *, takes: bool = False) -> None:
        self.station, self._report, self._show, self._takes = station, report, show, takes
        self._lock = threading.Lock()
        self._parts = 0
        self._gathered = _Gathered()
        self._proposal: Settlement | None = None

    def start(self, parts: int) -> None:
        """Propose a threshold once so many further parts are inspected; a proposal from before is dropped.

        Raises SettingsError for fewer parts than a threshold can rest on.
        """
        check_parts(parts)
        with self._lock:
            self._parts, self._gathered, self._proposal = parts, _Gathered(), None

    @property
    def progress(self) -> tuple[int, int]:
        """How many parts were gathered, and how many are asked for; 0 where nothing was asked for."""
        with self._lock:
            return len(self._gathered.names), self._parts

    @property
    def proposal(self) -> Settlement | None:
        """What the parts propose, once they are all there."""
        return self._proposal

    def picture(self, index: int) -> Image.Image | None:
        """Return a part with its heat-map, by its index in the proposal; None for one that scores lower than others."""
        with self._lock:
            return self._gathered.pictures.get(index)

    def note(self, result: Result) -> None:
        """Take the result of a frame, which may be one of the parts."""
        inspection = result.inspection
        if result.source != self.station.source or inspection is None:
            return
        with self._lock:
            if self._proposal is not None or len(self._gathered.names) >= self._parts:
                return
            if self._gathered.recipe != inspection.recipe:
                self._gathered = _Gathered(inspection.recipe)
            self._gathered.add(result, inspection)
            if len(self._gathered.names) < self._parts:
                return
            image, pixels = (np.array(values, np.float32) for values in (self._gathered.image, self._gathered.pixel))
            today = self.station.detector.thresholds.image
            calibration = settle(image, pixels, SETTLING_RATE)
            self._proposal = Settlement(calibration, self._gathered.names, SETTLING_RATE, today)
        self._report_proposal(self._proposal)

    def propose(self, recipe: Recipe) -> Recipe:
        """Return a recipe with the proposed thresholds.

        Raises SettingsError where there is no proposal, or where it would not hold for the recipe elsewhere.
        """
        proposal, settings = self._proposal, self.station.settings
        if proposal is None:
            raise SettingsError(f"{self.station.source}: no threshold is proposed yet")
        if settings.roi or settings.mask:
            raise SettingsError(
                f"{self.station.source}: the line's settings say where to look, in place of the recipe: "
                f"write threshold = {proposal.threshold / recipe.header.thresholds.image:.6g} there"
            )
        if recipe.digest != self._gathered.recipe:
            raise SettingsError(f"{self.station.source}: the recipe was changed since; settle in again")
        fitted = fit_to(self.station.detector.engine, recipe)
        return fitted.recalibrate(proposal.calibration, proposal.rate)

    def take(self) -> None:
        """Write the proposal into the recipe's file, and have the station use it.

        Raises GoodpartsError where it cannot be written.
        """
        path, own = self.station.settings.recipe, self.station.settings.threshold
        if own is not None:
            raise SettingsError(
                f"the line's settings name the threshold {own:.4g}, which rules: write the new one there"
            )
        recipe = self.propose(Recipe.from_bytes(read_bytes(path), str(path), self.station.settings.trust))
        recipe.save(path)
        self.station.refresh()
        if self.station.detector.recipe.digest != recipe.digest:
            raise FileError(f"{path} was written, and is not taken; see the messages")
        self.finish()

    def finish(self) -> None:
        """Drop the proposal, which has been taken or is not wanted."""
        with self._lock:
            self._parts, self._gathered, self._proposal = 0, _Gathered(), None

    def _report_proposal(self, proposal: Settlement) -> None:
        """Report what is proposed; write it where that was asked for."""
        source, relative = self.station.source, proposal.threshold / proposal.today
        self._report(
            f"{source}: {len(proposal.names)} parts propose to reject from 1.00 today → {relative:.2f} (raw "
            f"{proposal.today:.4g} → {proposal.threshold:.4g}), for a false-reject rate of {100 * proposal.rate:g} %"
        )
        for line in describe_settlement(proposal):
            self._show(line)
        if not self._takes:
            self._report(f"{source}: nothing is changed: take it on the page, or start with --take")
            return
        try:
            self.take()
        except GoodpartsError as error:
            self._report(f"{source}: the proposed threshold cannot be written: {error}")
        else:
            self._report(f"{source}: the proposed threshold is written")
