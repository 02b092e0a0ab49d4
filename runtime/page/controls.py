"""The changes that the page can make to a running line, and their undo."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
from PIL import Image

from ..core.errors import FileError, GoodpartsError, ImageError, SettingsError
from ..core.files import read_bytes, write_atomic
from ..line.messages import Report
from ..line.outputs.reject_index import FRAME_ENDING
from ..line.settling import Settling
from ..line.shared_engine import SharedEngine
from ..line.station import Station
from ..recipe.accept import Change, Effect, Photo, preview
from ..recipe.header import check_factor
from ..recipe.recipe import Recipe
from .gallery import Gallery

_MOST_UNDOABLE = 50
"""The number of a source's last changes that can be undone."""
COMPARED = 16
"""The number of the source's newest other rejects that are inspected again before a reject is accepted."""


class ChangedError(GoodpartsError):
    """The thing to change is no longer in the state that the browser last read."""


@dataclass(frozen=True)
class _Undoable:
    """A change that was made, and the state before it.

    Attributes:
        label: The change in words.
        threshold: The source's own factor before the change; None if it used the recipe's threshold.
        old_recipe: The bytes of the recipe's file before the change; None if the change did not touch the file.
        new_recipe: The bytes of the recipe's file after the change, likewise.
    """

    label: str
    threshold: float | None
    old_recipe: bytes | None = None
    new_recipe: bytes | None = None


class Considered(msgspec.Struct):
    """The effects that accepting a reject would have.

    Attributes:
        source: The source of the reject.
        change: The digest of the recipe after the change, by which `accept` names the change.
        photo: The reject's scores and verdicts before and after, by the recipe's own threshold.
        compared: The number of other rejects that were inspected again.
        turning: The names of those among them that turn good.
        threshold_factor: The factor by which the recipe's raw threshold changes.
        own_threshold: The source's own factor, which is kept; None if the source uses the recipe's threshold.
    """

    source: str
    change: str
    photo: Effect
    compared: int
    turning: list[str]
    threshold_factor: float
    own_threshold: float | None


class Controls:
    """The changes that the page can make to a running line. Each change is reported in one line of text.

    A source's threshold is a factor by which the threshold of its recipe is multiplied (InspectionSettings). It is
    changed in two steps, as on the panel of a machine. `set_threshold` takes effect with the source's next frame; the
    threshold then also holds for a recipe that replaces the present one, until the line ends. `keep_threshold` writes
    it into the recipe, for every line and source that reads the recipe.

    `accept` adds a reject that is good after all to the recipe; `consider` shows the effects first.

    Every action raises SettingsError if there is no such source, and ChangedError if something else was changed since
    the browser read the state.

    Args:
        settlings: The settling of each source.
        shared_engine: The line's engine.
        gallery: The saved rejects; None if the line saves none.
        report: Takes one line of text about each change.
    """

    def __init__(
        self, settlings: Sequence[Settling], shared_engine: SharedEngine, gallery: Gallery | None, report: Report
    ) -> None:
        self._settlings = {settling.station.source: settling for settling in settlings}
        stations = [settling.station for settling in settlings]
        self._stations = {station.source: station for station in stations}
        self._line_thresholds = {station.source: station.settings.threshold for station in stations}
        self._undoable: dict[str, deque[_Undoable]] = {name: deque(maxlen=_MOST_UNDOABLE) for name in self._stations}
        self._shared_engine, self._gallery, self._report = shared_engine, gallery, report
        self._considered: dict[str, Change] = {}
        self._considering = threading.Lock()
        self._lock = threading.Lock()  # one change at a time

    def origin(self, source: str) -> str:
        """Return where a source's threshold comes from: "recipe", "line" (the line's settings), or "page".

        Args:
            source: The source's name.
        """
        threshold = self._stations[source].settings.threshold
        if threshold == self._line_thresholds[source]:
            return "recipe" if threshold is None else "line"
        return "page"

    def sharing(self, source: str) -> list[str]:
        """Return the names of the other sources that use the threshold of this source's recipe.

        Args:
            source: The source's name.
        """
        recipe = self._stations[source].settings.recipe
        return [
            name
            for name, station in self._stations.items()
            if name != source and station.settings.recipe == recipe and station.settings.threshold is None
        ]

    def undoable(self, source: str) -> str | None:
        """Return the label of the change that `undo` would take back; None if there is none.

        Args:
            source: The source's name.
        """
        changes = self._undoable[source]
        return changes[-1].label if changes else None

    def threshold(self, source: str) -> float:
        """Return the factor by which a source multiplies its recipe's threshold; 1 if it has no factor of its own.

        Args:
            source: The source's name.
        """
        threshold = self._stations[source].settings.threshold
        return 1.0 if threshold is None else threshold

    def raw_threshold(self, source: str) -> float:
        """Return the raw image score from which a source rejects.

        Args:
            source: The source's name.
        """
        return self._stations[source].detector.thresholds.image

    def set_threshold(self, source: str, score: float, seen: float) -> None:
        """Let the source reject from another score, from its next frame on.

        Args:
            source: The source's name.
            score: The score from which the source rejects from now on, relative to the threshold in use; above 0.
            seen: The raw threshold that the browser showed.

        Raises:
            SettingsError: There is no such source, or the score is not a finite number above 0.
            ChangedError: The raw threshold is no longer `seen`.
        """
        with self._lock:
            station = self._station(source, seen)
            check_factor(score)
            before = self.threshold(source)
            after = before * score
            label = f"threshold {before:.4g} → {after:.4g} times the recipe's"
            undoable = _Undoable(label, station.settings.threshold)
            station.adjust(after)
            self._undoable[source].append(undoable)
        self._report(f"{source}: {label}, set on the page")

    def keep_threshold(self, source: str, seen: float) -> None:
        """Write the threshold that was set on the page into the recipe's file.

        Args:
            source: The source's name.
            seen: The raw threshold that the browser showed.

        Raises:
            SettingsError: No threshold was set on the page, the line's settings name one, or the recipe is signed.
            ChangedError: The raw threshold is no longer `seen`, or the recipe's file is not the one in use.
        """
        with self._lock:
            station = self._station(source, seen)
            if self.origin(source) != "page":
                raise SettingsError(f"{source}: there is no threshold to keep, since none was set on the page")
            threshold = self.threshold(source)
            self._check_recipe_decides(source, threshold)
            old, recipe = self._open_recipe(station)
            kept = recipe.with_thresholds(recipe.header.thresholds.scaled_by(threshold))
            label = f"{threshold:.4g} times the recipe's threshold, written into {station.settings.recipe.name}"
            self._replace_recipe(station, old, kept.to_bytes(), label)
            station.adjust(None)
        self._report(f"{source}: {label}, from the page")

    def consider(self, reject: str) -> Considered:
        """Return the effects that accepting a saved reject as good would have. Nothing is changed.

        Args:
            reject: The reject's name.

        Raises:
            SettingsError: There is no such reject or no such source, the recipe is signed, or the line's settings
                name a region or a mask.
            ChangedError: The recipe's file is not the one in use.
        """
        gallery = self._gallery
        source = None if gallery is None else gallery.source(reject)
        if gallery is None or source is None:
            raise SettingsError("there is no such reject")
        with self._considering:  # takes a while, because the engine inspects the last rejects again
            station = self._station(source)
            _, recipe = self._open_recipe(station)
            if station.settings.roi or station.settings.mask:
                raise SettingsError(
                    f"{source}: the line's settings replace the recipe's region or mask: use `goodparts accept`"
                )
            others = [name for name in gallery.names() if name != reject and gallery.source(name) == source]
            photo = _read_photo(gallery, reject)
            if photo is None:
                raise SettingsError("that reject is gone")
            rejects = filter(None, (_read_photo(gallery, name) for name in others[:COMPARED]))
            change = preview(recipe, self._shared_engine.engine, [photo], rejects)
            self._considered[source] = change
        (effect,) = change.photos
        turning = [other for other in change.rejects if other.turns_good]
        return Considered(
            source=source,
            change=change.after.digest,
            photo=effect,
            compared=len(change.rejects),
            turning=[other.name.removesuffix(FRAME_ENDING) for other in turning],
            threshold_factor=change.after.header.thresholds.image / change.before.header.thresholds.image,
            own_threshold=station.settings.threshold,
        )

    def accept(self, source: str, change: str) -> None:
        """Accept the reject that was considered last.

        Args:
            source: The source's name.
            change: The change's name, Considered.change.

        Raises:
            SettingsError: There is no such source, or the recipe is signed.
            ChangedError: Another reject was considered, or the recipe was changed, since `consider` was called.
        """
        with self._lock:
            station = self._station(source)
            considered = self._considered.get(source)
            if considered is None or considered.after.digest != change:
                raise ChangedError(f"{source}: another reject was considered meanwhile; look again")
            old, recipe = self._open_recipe(station)
            if recipe.digest != considered.before.digest:
                raise ChangedError(f"{source}: the recipe has changed since; consider the reject again")
            (photo,) = considered.photos
            label = f"{photo.name.removesuffix(FRAME_ENDING)} accepted as good"
            self._replace_recipe(station, old, considered.after.to_bytes(), label)
            del self._considered[source]
        self._report(f"{source}: {label} on the page")

    def settled_part(self, source: str, index: int) -> Image.Image | None:
        """Return the picture of a part from which a threshold was proposed, with its heat-map.

        Args:
            source: The source's name.
            index: The part's index in the proposal.

        Returns:
            The picture; None if no picture of the part was kept.
        """
        settling = self._settlings.get(source)
        return None if settling is None else settling.picture(index)

    def settle(self, source: str, parts: int) -> None:
        """Begin to gather the source's next parts, which then propose a threshold. An earlier proposal is dropped.

        Args:
            source: The source's name.
            parts: The number of parts to gather.

        Raises:
            SettingsError: There is no such source, or a threshold cannot rest on so few parts.
        """
        self._station(source)
        self._settlings[source].start(parts)
        self._report(f"{source}: settling in on the next {parts} parts, asked for on the page")

    def take(self, source: str, threshold: float) -> None:
        """Write the proposed threshold into the recipe's file.

        Args:
            source: The source's name.
            threshold: The proposed raw threshold that the browser showed.

        Raises:
            SettingsError: There is no such source, the line's settings name a threshold, or the recipe is signed.
            ChangedError: Another threshold was proposed meanwhile, or the recipe's file is not the one in use.
        """
        with self._lock:
            station, settling = self._station(source), self._settlings[source]
            proposal = settling.proposal
            if proposal is None or proposal.threshold != threshold:
                raise ChangedError(f"{source}: another threshold was proposed meanwhile; look again")
            factor = threshold / station.detector.recipe.header.thresholds.image
            self._check_recipe_decides(source, factor)
            old, recipe = self._open_recipe(station)
            label = (
                f"{factor:.4g} times the recipe's threshold, from {len(proposal.names)} parts, written into "
                f"{station.settings.recipe.name}"
            )
            self._replace_recipe(station, old, settling.propose(recipe).to_bytes(), label)
            station.adjust(None)
            settling.finish()
        self._report(f"{source}: {label}, from the page")

    def undo(self, source: str, label: str) -> None:
        """Take the source's last change back.

        Args:
            source: The source's name.
            label: The change's label, as `undoable` returned it.

        Raises:
            SettingsError: There is no such source.
            ChangedError: The last change has another label, or the recipe's file was changed since.
        """
        with self._lock:
            station = self._station(source)
            if self.undoable(source) != label:
                raise ChangedError(f"{source}: something else was changed meanwhile; look again")
            change = self._undoable[source][-1]
            path = station.settings.recipe
            if change.new_recipe is not None and read_bytes(path) != change.new_recipe:
                raise ChangedError(f"{path.name} was changed since by another program; nothing was undone")
            station.adjust(change.threshold)
            if change.old_recipe is not None:
                write_atomic(path, change.old_recipe)
                self._take_recipe(station, change.old_recipe)
            self._undoable[source].pop()
        self._report(f"{source}: {label}: undone on the page")

    def _station(self, source: str, seen: float | None = None) -> Station:
        """Return a source's station; raise ChangedError if its raw threshold is no longer the one in `seen`."""
        station = self._stations.get(source)
        if station is None:
            raise SettingsError(f"there is no source {source!r}")
        threshold = station.detector.thresholds.image
        if seen is not None and seen != threshold:
            raise ChangedError(f"{source}: the threshold was changed meanwhile, to raw {threshold:.4g}; look again")
        return station

    def _check_recipe_decides(self, source: str, threshold: float) -> None:
        """Raise SettingsError if the line's settings name a threshold, which has priority over the recipe's."""
        if self._line_thresholds[source] is not None:
            raise SettingsError(
                f"{source}: its threshold comes from the line's settings, not from the recipe: "
                f"write threshold = {threshold:.6g} there"
            )

    def _open_recipe(self, station: Station) -> tuple[bytes, Recipe]:
        """Return the bytes of a station's recipe file and the recipe in it, which is then changed.

        Raises SettingsError if the recipe is signed, and ChangedError if the station does not use it.
        """
        path = station.settings.recipe
        data = read_bytes(path)
        recipe = Recipe.from_bytes(data, str(path), station.settings.trust)
        if recipe.header.signature:
            raise SettingsError(
                f"{path} is signed, and the line has no key: change it with `goodparts calibrate` or "
                "`goodparts accept` and --key FILE"
            )
        station.refresh()
        if recipe.digest != station.detector.recipe.digest:
            raise ChangedError(f"{station.source}: the recipe's file is not the one in use; nothing was changed")
        return data, recipe

    def _replace_recipe(self, station: Station, old: bytes, new: bytes, label: str) -> None:
        """Replace a recipe, and keep what `undo` needs to take the change back."""
        change = _Undoable(label, station.settings.threshold, old, new)
        write_atomic(station.settings.recipe, new)
        self._undoable[station.source].append(change)
        self._take_recipe(station, new)

    def _take_recipe(self, station: Station, data: bytes) -> None:
        """Let the station read its recipe's file now, which holds `data`."""
        station.refresh()
        if station.detector.recipe.digest != Recipe.from_bytes(data).digest:
            raise FileError(
                f"{station.source}: {station.settings.recipe} was written, but the line does not use it; see the "
                "messages"
            )


def _read_photo(gallery: Gallery, name: str) -> Photo | None:
    """Return the photo of a saved reject, under its file's name; None if it cannot be read."""
    data = gallery.photo(name)
    try:
        return None if data is None else Photo.decode(name + FRAME_ENDING, data)
    except ImageError:
        return None
