"""What may be changed from the page, and changed back."""

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
"""Changes of a source that can be undone."""
COMPARED = 16
"""So many of the source's newest other rejects are looked at again before one is accepted."""


class ChangedError(GoodpartsError):
    """What was to be changed is no longer what was seen on the page."""


@dataclass(frozen=True)
class _Undoable:
    """A change that was made, and what was there before.

    threshold: the source's own threshold before, None for the recipe's; old_recipe, new_recipe: the recipe file's
    bytes before and after, None where the change did not touch it.
    """

    label: str
    threshold: float | None
    old_recipe: bytes | None = None
    new_recipe: bytes | None = None


class Considered(msgspec.Struct):
    """What accepting a reject would do.

    change: names it; photo: the reject's scores and verdicts by the recipe's own limit, before and after; compared: how
    many other rejects were looked at again; turning: names of those that turn good; limit_change: the factor by which
    the recipe's raw threshold changes; own_threshold: the source's, where it is not the recipe's, and stays.
    """

    source: str
    change: str
    photo: Effect
    compared: int
    turning: list[str]
    limit_change: float
    own_threshold: float | None


class Controls:
    """Changes to a running line. Each is reported in a line, as everything that happens to it is.

    A source's threshold is what the limit of its recipe is multiplied by (InspectionSettings). It is set in two steps,
    as it is on a machine's panel. `set_threshold` changes what the source does from its next frame on; it outlasts a
    change of the recipe, as one from the line file does, and ends with the line. `keep_threshold` writes it into the
    recipe, for every line and source that reads it. So does `accept`, with a reject that is good after all, once
    `consider` has shown what that changes.

    gallery: None where rejects are not saved. Every method raises SettingsError for a source that there is not, and
    ChangedError where something else was changed since it was seen.
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
        """Return where a source's threshold comes from: "recipe", "line" (its settings), or "page"."""
        threshold = self._stations[source].settings.threshold
        if threshold == self._line_thresholds[source]:
            return "recipe" if threshold is None else "line"
        return "page"

    def sharing(self, source: str) -> list[str]:
        """Return the other sources that a threshold in this one's recipe holds for."""
        recipe = self._stations[source].settings.recipe
        return [
            name
            for name, station in self._stations.items()
            if name != source and station.settings.recipe == recipe and station.settings.threshold is None
        ]

    def undoable(self, source: str) -> str | None:
        """Return the label of the change that `undo` would take back; None where there is none."""
        changes = self._undoable[source]
        return changes[-1].label if changes else None

    def threshold(self, source: str) -> float:
        """Return what a source multiplies the limit of its recipe by; 1 where it takes the recipe's."""
        threshold = self._stations[source].settings.threshold
        return 1.0 if threshold is None else threshold

    def raw_threshold(self, source: str) -> float:
        """Return the raw image score from which a source rejects."""
        return self._stations[source].detector.thresholds.image

    def set_threshold(self, source: str, score: float, seen: float) -> None:
        """Reject from what has this score now. seen: the raw threshold that the page had when this was asked for."""
        with self._lock:
            station = self._station(source, seen)
            check_factor(score)
            before = self.threshold(source)
            after = before * score
            label = f"limit {before:.4g} → {after:.4g} times the recipe's"
            undoable = _Undoable(label, station.settings.threshold)
            station.adjust(after)
            self._undoable[source].append(undoable)
        self._report(f"{source}: {label}, set on the page")

    def keep_threshold(self, source: str, seen: float) -> None:
        """Write the threshold that was set on the page into the recipe's file. seen: see set_threshold."""
        with self._lock:
            station = self._station(source, seen)
            if self.origin(source) != "page":
                raise SettingsError(f"{source}: no threshold was set on the page that could be kept")
            threshold = self.threshold(source)
            self._check_recipe_decides(source, threshold)
            old, recipe = self._open_recipe(station)
            kept = recipe.with_thresholds(recipe.header.thresholds.scaled_by(threshold))
            label = f"{threshold:.4g} times the limit written into {station.settings.recipe.name}"
            self._replace_recipe(station, old, kept.to_bytes(), label)
            station.adjust(None)
        self._report(f"{source}: {label}, from the page")

    def consider(self, reject: str) -> Considered:
        """Return what it would change to accept a saved reject as good; nothing is changed."""
        gallery = self._gallery
        source = None if gallery is None else gallery.source(reject)
        if gallery is None or source is None:
            raise SettingsError("there is no such reject")
        with self._considering:  # takes a while: the engine looks at the last rejects again
            station = self._station(source)
            _, recipe = self._open_recipe(station)
            if station.settings.roi or station.settings.mask:
                raise SettingsError(
                    f"{source}: the line's settings say where to look, in place of the recipe: use `goodparts accept`"
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
            limit_change=change.after.header.thresholds.image / change.before.header.thresholds.image,
            own_threshold=station.settings.threshold,
        )

    def accept(self, source: str, change: str) -> None:
        """Accept the reject that was considered last. change: as `consider` named it."""
        with self._lock:
            station = self._station(source)
            considered = self._considered.get(source)
            if considered is None or considered.after.digest != change:
                raise ChangedError(f"{source}: another reject was considered meanwhile; look again")
            old, recipe = self._open_recipe(station)
            if recipe.digest != considered.before.digest:
                raise ChangedError(f"{source}: the recipe has changed since; look again at what accepting would do")
            (photo,) = considered.photos
            label = f"{photo.name.removesuffix(FRAME_ENDING)} accepted as good"
            self._replace_recipe(station, old, considered.after.to_bytes(), label)
            del self._considered[source]
        self._report(f"{source}: {label} on the page")

    def settled_part(self, source: str, index: int) -> Image.Image | None:
        """Return a part that a proposed threshold rests on, with its heat-map; None where there is no picture of it."""
        settling = self._settlings.get(source)
        return None if settling is None else settling.picture(index)

    def settle(self, source: str, parts: int) -> None:
        """Have the source's next parts propose a threshold; a proposal from before is dropped."""
        self._station(source)
        self._settlings[source].start(parts)
        self._report(f"{source}: settling in on the next {parts} parts, asked for on the page")

    def take(self, source: str, threshold: float) -> None:
        """Write the proposed threshold into the recipe's file. threshold: the raw one that the page showed."""
        with self._lock:
            station, settling = self._station(source), self._settlings[source]
            proposal = settling.proposal
            if proposal is None or proposal.threshold != threshold:
                raise ChangedError(f"{source}: another threshold was proposed meanwhile; look again")
            limit = station.detector.recipe.header.thresholds.image
            self._check_recipe_decides(source, threshold / limit)
            old, recipe = self._open_recipe(station)
            label = (
                f"{threshold / limit:.4g} times the limit, of {len(proposal.names)} parts, written into "
                f"{station.settings.recipe.name}"
            )
            self._replace_recipe(station, old, settling.propose(recipe).to_bytes(), label)
            station.adjust(None)
            settling.finish()
        self._report(f"{source}: {label}, from the page")

    def undo(self, source: str, label: str) -> None:
        """Take the last change back. label: as `undoable` returned it."""
        with self._lock:
            station = self._station(source)
            if self.undoable(source) != label:
                raise ChangedError(f"{source}: something else was changed meanwhile; look again")
            change = self._undoable[source][-1]
            path = station.settings.recipe
            if change.new_recipe is not None and read_bytes(path) != change.new_recipe:
                raise ChangedError(f"{path.name} was changed since by something else, and stays as it is")
            station.adjust(change.threshold)
            if change.old_recipe is not None:
                write_atomic(path, change.old_recipe)
                self._take_recipe(station, change.old_recipe)
            self._undoable[source].pop()
        self._report(f"{source}: {label}: undone on the page")

    def _station(self, source: str, seen: float | None = None) -> Station:
        """Return a source's station; refuse where its threshold is no longer the one that was seen."""
        station = self._stations.get(source)
        if station is None:
            raise SettingsError(f"there is no source {source!r}")
        threshold = station.detector.thresholds.image
        if seen is not None and seen != threshold:
            raise ChangedError(f"{source}: the limit was changed meanwhile, to raw {threshold:.4g}; look again")
        return station

    def _check_recipe_decides(self, source: str, threshold: float) -> None:
        """Raise SettingsError where the line's settings name a threshold, which rules over the recipe's."""
        if self._line_thresholds[source] is not None:
            raise SettingsError(
                f"{source}: its threshold comes from the line's settings, not from the recipe: "
                f"write threshold = {threshold:.6g} there"
            )

    def _open_recipe(self, station: Station) -> tuple[bytes, Recipe]:
        """Return the bytes of the recipe's file, which is to be changed, and the recipe in it, which must be in use."""
        path = station.settings.recipe
        data = read_bytes(path)
        recipe = Recipe.from_bytes(data, str(path), station.settings.trust)
        if recipe.header.signature:
            raise SettingsError(f"{path} is signed: it is changed where its key is")
        station.refresh()
        if recipe.digest != station.detector.recipe.digest:
            raise ChangedError(f"{station.source}: the recipe's file is not the one in use; nothing was changed")
        return data, recipe

    def _replace_recipe(self, station: Station, old: bytes, new: bytes, label: str) -> None:
        """Write a recipe in the place of the old one, so that it can be undone."""
        change = _Undoable(label, station.settings.threshold, old, new)
        write_atomic(station.settings.recipe, new)
        self._undoable[station.source].append(change)
        self._take_recipe(station, new)

    def _take_recipe(self, station: Station, data: bytes) -> None:
        """Have the station read its recipe's file now, which holds these bytes."""
        station.refresh()
        if station.detector.recipe.digest != Recipe.from_bytes(data).digest:
            raise FileError(
                f"{station.source}: {station.settings.recipe} was written, and is not taken; see the messages"
            )


def _read_photo(gallery: Gallery, name: str) -> Photo | None:
    """Return a saved reject's photo, by the name that it has where it is saved; None if it cannot be read."""
    data = gallery.photo(name)
    try:
        return None if data is None else Photo.decode(name + FRAME_ENDING, data)
    except ImageError:
        return None
