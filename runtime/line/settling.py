"""Settling in on a running line: a threshold is proposed from a source's next parts and written only on request."""

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
from ..inspection import Inspection, format_score
from ..overlay import TILE, draw_found
from ..recipe.recipe import Recipe
from ..recipe.refit import fit_to
from ..recipe.settle import SETTLING_RATE, Settlement, check_parts, settle
from .messages import Report
from .results import Result
from .station import Station


@dataclass
class _Gathered:
    """The scores of the parts so far, the digest of their recipe, and pictures of the parts that score highest."""

    recipe: str = ""
    names: list[str] = field(default_factory=list)
    image: list[float] = field(default_factory=list)
    pixel: list[float] = field(default_factory=list)
    pictures: dict[int, Image.Image] = field(default_factory=dict)

    def add(self, result: Result, inspection: Inspection) -> None:
        """Add a part, and draw it if it is among the BEYOND_SHOWN highest so far."""
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
        assert result.pixels is not None  # a frame with an inspection has pixels
        self.pictures[len(self.names) - 1] = draw_found(result.pixels, inspection, TILE)


class Settling:
    """Gathers the scores of a source's next parts and proposes a threshold from them. It is thread-safe.

    If the recipe is replaced meanwhile, counting starts again at 0.

    Args:
        station: The station that inspects the source.
        report: Receives one line of text about each event.
        show: Receives the histogram of the scores, line by line.
        takes: Whether the proposed threshold is written into the recipe without asking.
    """

    def __init__(self, station: Station, report: Report, show: Report, *, takes: bool = False) -> None:
        self.station, self._report, self._show, self._takes = station, report, show, takes
        self._lock = threading.Lock()
        self._parts = 0
        self._gathered = _Gathered()
        self._proposal: Settlement | None = None

    def start(self, parts: int) -> None:
        """Propose a threshold once a number of further parts is inspected. An earlier proposal is dropped.

        Args:
            parts: The number of parts to gather.

        Raises:
            SettingsError: There are fewer parts than a threshold can rest on.
        """
        check_parts(parts)
        with self._lock:
            self._parts, self._gathered, self._proposal = parts, _Gathered(), None

    @property
    def progress(self) -> tuple[int, int]:
        """The number of gathered parts, and the number of parts to gather; the second is 0 without settling."""
        with self._lock:
            return len(self._gathered.names), self._parts

    @property
    def proposal(self) -> Settlement | None:
        """The proposal, once all parts were gathered; None before."""
        return self._proposal

    def picture(self, index: int) -> Image.Image | None:
        """Return the picture of a part with its heat-map.

        Args:
            index: The part's place in the proposal, counted from 0.

        Returns:
            The picture, or None for a part that is not among the BEYOND_SHOWN highest.
        """
        with self._lock:
            return self._gathered.pictures.get(index)

    def note(self, result: Result) -> None:
        """Add the result of a frame if it is one of the parts to gather.

        Args:
            result: A result of any source; those of other sources and those without a verdict are ignored.
        """
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

        Args:
            recipe: The recipe by which the parts were inspected.

        Raises:
            SettingsError: There is no proposal, the line's settings replace the recipe's region or mask, or the recipe
                is not the one by which the parts were inspected.
        """
        proposal, settings = self._proposal, self.station.settings
        if proposal is None:
            raise SettingsError(f"{self.station.source}: no threshold is proposed yet")
        if settings.roi or settings.mask:
            raise SettingsError(
                f"{self.station.source}: the line's settings replace the recipe's region or mask: "
                f"write threshold = {proposal.threshold / recipe.header.thresholds.image:.6g} into the settings"
            )
        if recipe.digest != self._gathered.recipe:
            raise SettingsError(f"{self.station.source}: the recipe has been changed since; settle in again")
        fitted = fit_to(self.station.detector.engine, recipe)
        return fitted.recalibrate(proposal.calibration, proposal.rate)

    def take(self) -> None:
        """Write the proposal into the recipe's file, and have the station use it.

        Raises:
            SettingsError: The line's settings name a threshold, or `propose` refuses.
            FileError: The recipe's file cannot be read or written, or the station does not accept the new recipe.
        """
        path, own = self.station.settings.recipe, self.station.settings.threshold
        if own is not None:
            raise SettingsError(
                f"the line's settings name the threshold {own:.4g}, which overrides the recipe's: change it there"
            )
        recipe = self.propose(Recipe.from_bytes(read_bytes(path), str(path), self.station.settings.trust))
        recipe.save(path)
        self.station.refresh()
        if self.station.detector.recipe.digest != recipe.digest:
            raise FileError(f"{path} was written, but the line still uses the old recipe; see the messages")
        self.finish()

    def finish(self) -> None:
        """Drop the proposal and stop gathering."""
        with self._lock:
            self._parts, self._gathered, self._proposal = 0, _Gathered(), None

    def _report_proposal(self, proposal: Settlement) -> None:
        """Report the proposal, and write it if the settings ask for that."""
        source, relative = self.station.source, format_score(proposal.threshold / proposal.today)
        self._report(
            f"{source}: {len(proposal.names)} parts are inspected; the proposed threshold is {relative} instead of "
            f"1.00 (raw {proposal.threshold:.4g} instead of {proposal.today:.4g}), which "
            f"{100 * proposal.rate:g} % of good parts reach"
        )
        for line in describe_settlement(proposal):
            self._show(line)
        if not self._takes:
            self._report(
                f"{source}: nothing was changed: write the proposal on the page (--page) or settle in again with --take"
            )
            return
        try:
            self.take()
        except GoodpartsError as error:
            self._report(f"{source}: the proposed threshold cannot be written: {error}")
        else:
            self._report(f"{source}: the proposed threshold is written")
