"""What may be changed from the page, and changed back."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec

from ..errors import FileError, GoodpartsError, SettingsError
from ..files import read_bytes, write_atomic
from ..line.capture import Report
from ..line.station import Station
from ..recipe import Recipe

_REMEMBERED = 50
"""Changes of a source that can be undone."""


class ChangedError(GoodpartsError):
    """What was to be changed is no longer what was seen on the page."""


@dataclass(frozen=True)
class _Change:
    label: str
    undo: Callable[[], None]


class Controls:
    """Changes to a running line. Each is said in a line, as everything that happens to it is.

    A threshold is set in two steps, as it is on a machine's panel. `set_threshold` changes what the source does from
    its next frame on; it outlasts a change of the recipe, as one from the line file does, and ends with the line.
    `keep_threshold` writes it into the recipe, for every line and source that reads it.
    """

    def __init__(self, stations: Sequence[Station], report: Report) -> None:
        self._stations = {station.source: station for station in stations}
        self._told = {station.source: station.product.image_threshold for station in stations}
        self._changes: dict[str, deque[_Change]] = {name: deque(maxlen=_REMEMBERED) for name in self._stations}
        self._report = report
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
            before = station.product.image_threshold
            if self.origin(source) != "page":
                raise SettingsError(f"{source}: no threshold was set on the page that could be kept")
            if self._told[source] is not None:
                raise SettingsError(
                    f"{source}: its threshold comes from the line's settings, not from the recipe: "
                    f"write threshold = {seen:.6g} there"
                )
            path = station.product.recipe
            old = read_bytes(path)
            recipe = Recipe.from_bytes(old, str(path), station.product.trust)
            if recipe.header.signature:
                raise SettingsError(f"{path} is signed: it is changed where its key is")
            station.refresh()
            in_use = station.detector.recipe
            if recipe.digest != in_use.digest:
                raise ChangedError(f"{source}: the recipe's file is not the one in use; nothing was written")
            # Of another graph, the recipe was fitted to this one's scale when it was opened; its file was not.
            image = seen * (recipe.header.thresholds.image / in_use.header.thresholds.image)
            kept = recipe.with_thresholds(msgspec.structs.replace(recipe.header.thresholds, image=image))
            new = kept.to_bytes()
            write_atomic(path, new)
            label = f"threshold {seen:.4g} written into {path.name}"
            self._take(station, kept.digest)
            station.adjust(None)
            self._changes[source].append(_Change(label, lambda: self._put_back(station, old, new, before)))
        self._report(f"{source}: {label}, from the page")

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
