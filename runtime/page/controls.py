"""What may be changed from the page, and changed back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from ..core.errors import FileError, GoodpartsError, ImageError, SettingsError
from ..core.files import read_bytes, write_atomic
from ..line.capture import Report
from ..line.shared_engine import SharedEngine
from ..line.station import Station
from ..recipe.accept import Change, Effect, Photo, preview
from ..recipe.recipe import Recipe
from .gallery import FRAME, Gallery

_REMEMBERED = 50
"""Changes of a source that can be undone."""
COMPARED = 16
"""So many of the source's newest other rejects are looked at again before one is accepted."""


class ChangedError(GoodpartsError):
    """What was to be changed is no longer what was seen on the page."""


@dataclass(frozen=True)
class _Change:
    label: str
    undo: Callable[[], None]


class Considered(msgspec.Struct):
    """What accepting a reject would do. change: names it; photo: the reject's scores and the recipe's verdicts, before
    and after; turning: those of the last `compared` rejects that turn good; threshold: the recipe's, before and after;
    own_threshold: the source's, where it is not the recipe's, and stays."""

    source: str
    change: str
    photo: Effect
    compared: int
    turning: list[str]
    threshold: float
    threshold_after: float
    own_threshold: float | None


class Controls:
    """Changes to a running line. Each is said in a line, as everything that happens to it is.

    A threshold is set in two steps, as it is on a machine's panel. `set_threshold` changes what the source does from
    its next frame on; it outlasts a change of the recipe, as one from the line file does, and ends with the line.
    `keep_threshold` writes it into the recipe, for every line and source that reads it. So does `accept`, with a reject
    that is good after all, once `consider` has shown what that changes.
    """

    def __init__(
        self, stations: Sequence[Station], shared: SharedEngine, gallery: Gallery | None, report: Report
    ) -> None:
        self._stations = {station.source: station for station in stations}
        self._told = {station.source: station.product.image_threshold for station in stations}
        self._changes: dict[str, deque[_Change]] = {name: deque(maxlen=_REMEMBERED) for name in self._stations}
        self._shared, self._gallery, self._report = shared, gallery, report
        self._considered: dict[str, Change] = {}
        self._considering = threading.Lock()
        self._lock = threading.Lock()  # one change at a time

    def origin(self, source: str) -> str:
        """Where a source's threshold comes from: "recipe", "line" (its settings), or "page"."""
        threshold = self._stations[source].product.image_threshold
        if threshold == self._told[source]:
            return "recipe" if threshold is None else "line"
        return "page"

    def sharing(self, source: str) -> list[str]:
        """The other sources that a threshold in this one's recipe holds for."""
        recipe = self._stations[source].product.recipe
        return [
            name
            for name, station in self._stations.items()
            if name != source and station.product.recipe == recipe and station.product.image_threshold is None
        ]

    def undoable(self, source: str) -> str | None:
        """What `undo` would change back."""
        changes = self._changes[source]
        return changes[-1].label if changes else None

    def set_threshold(self, source: str, threshold: float, seen: float) -> None:
        """Reject from `threshold` on. seen: the threshold that the page showed when this was asked for."""
        with self._lock:
            station = self._look(source, seen)
            before = station.product.image_threshold
            station.adjust(threshold)
            label = f"threshold {seen:.4g} → {threshold:.4g}"
            self._changes[source].append(_Change(label, lambda: station.adjust(before)))
        self._report(f"{source}: {label}, set on the page")

    def keep_threshold(self, source: str, seen: float) -> None:
        """Write the threshold that was set on the page into the recipe's file."""
        with self._lock:
            station = self._look(source, seen)
            if self.origin(source) != "page":
                raise SettingsError(f"{source}: no threshold was set on the page that could be kept")
            if self._told[source] is not None:
                raise SettingsError(
                    f"{source}: its threshold comes from the line's settings, not from the recipe: "
                    f"write threshold = {seen:.6g} there"
                )
            old, recipe = self._open(station)
            # Of another graph, the recipe was fitted to this one's scale when it was opened; its file was not.
            image = seen * (recipe.header.thresholds.image / station.detector.recipe.header.thresholds.image)
            kept = recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, image=image))
            label = f"threshold {seen:.4g} written into {station.product.recipe.name}"
            self._write(station, old, kept.to_bytes(), label)
            station.adjust(None)
        self._report(f"{source}: {label}, from the page")

    def consider(self, reject: str) -> Considered:
        """What it would change to accept a saved reject as good; nothing is changed."""
        gallery = self._gallery
        source = None if gallery is None else gallery.source(reject)
        if gallery is None or source is None:
            raise SettingsError("there is no such reject")
        with self._considering:  # takes a while: the engine looks at the last rejects again
            station = self._look(source)
            _, recipe = self._open(station)
            if station.product.roi or station.product.mask:
                raise SettingsError(
                    f"{source}: the line's settings say where to look, in place of the recipe: use `goodparts accept`"
                )
            others = [name for name in gallery.names() if name != reject and gallery.source(name) == source]
            photo = _photo(gallery, reject)
            if photo is None:
                raise SettingsError("that reject is gone")
            rejects = filter(None, (_photo(gallery, name) for name in others[:COMPARED]))
            change = preview(recipe, self._shared.engine, [photo], rejects)
            self._considered[source] = change
        (effect,) = change.photos
        return Considered(
            source=source,
            change=change.after.digest,
            photo=effect,
            compared=len(change.rejects),
            turning=[one.name.removesuffix(FRAME) for one in change.rejects if one.becomes == "good" != one.was],
            threshold=change.before.header.thresholds.image,
            threshold_after=change.after.header.thresholds.image,
            own_threshold=station.product.image_threshold,
        )

    def accept(self, source: str, change: str) -> None:
        """Accept the reject that was considered last. change: as it was told then."""
        with self._lock:
            station = self._look(source)
            considered = self._considered.get(source)
            if considered is None or considered.after.digest != change:
                raise ChangedError(f"{source}: another reject was considered meanwhile; look again")
            old, recipe = self._open(station)
            if recipe.digest != considered.before.digest:
                raise ChangedError(f"{source}: the recipe has changed since; look again at what accepting would do")
            (photo,) = considered.photos
            label = f"{photo.name.removesuffix(FRAME)} accepted as good"
            self._write(station, old, considered.after.to_bytes(), label)
            del self._considered[source]
        self._report(f"{source}: {label} on the page")

    def undo(self, source: str, label: str) -> None:
        """Change the last change back. label: as `undoable` gave it."""
        with self._lock:
            self._look(source)
            if self.undoable(source) != label:
                raise ChangedError(f"{source}: something else was changed meanwhile; look again")
            self._changes[source][-1].undo()
            self._changes[source].pop()
        self._report(f"{source}: {label}: undone on the page")

    def _look(self, source: str, seen: float | None = None) -> Station:
        station = self._stations.get(source)
        if station is None:
            raise SettingsError(f"there is no source {source!r}")
        now = station.detector.thresholds.image
        if seen is not None and seen != now:
            raise ChangedError(f"{source}: the threshold was changed meanwhile, to {now:.4g}; look again")
        return station

    def _open(self, station: Station) -> tuple[bytes, Recipe]:
        """The recipe in use, as its file is: to be changed."""
        path = station.product.recipe
        data = read_bytes(path)
        recipe = Recipe.from_bytes(data, str(path), station.product.trust)
        if recipe.header.signature:
            raise SettingsError(f"{path} is signed: it is changed where its key is")
        station.refresh()
        if recipe.digest != station.detector.recipe.digest:
            raise ChangedError(f"{station.source}: the recipe's file is not the one in use; nothing was changed")
        return data, recipe

    def _write(self, station: Station, old: bytes, new: bytes, label: str) -> None:
        """Put a recipe in the place of the old one, and have it taken."""
        threshold = station.product.image_threshold
        write_atomic(station.product.recipe, new)
        undo = _Change(label, lambda: self._put_back(station, old, new, threshold))
        self._changes[station.source].append(undo)
        self._take(station, Recipe.from_bytes(new).digest)

    def _put_back(self, station: Station, old: bytes, new: bytes, threshold: float | None) -> None:
        path = station.product.recipe
        if read_bytes(path) != new:
            raise ChangedError(f"{path.name} was changed since by something else, and stays as it is")
        station.adjust(threshold)
        write_atomic(path, old)
        self._take(station, Recipe.from_bytes(old).digest)

    def _take(self, station: Station, digest: str) -> None:
        """Have the station read its recipe's file now, which is to have this digest."""
        station.refresh()
        if station.detector.recipe.digest != digest:
            raise FileError(
                f"{station.source}: {station.product.recipe} was written, and is not taken; see the messages"
            )


def _photo(gallery: Gallery, name: str) -> Photo | None:
    """A saved reject, by the name that it has where it is saved; None for one that cannot be read."""
    data = gallery.photo(name)
    try:
        return None if data is None else Photo.decode(name + FRAME, data)
    except ImageError:
        return None
