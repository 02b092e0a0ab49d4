"""Photos of a category, each decoded once and encoded once per backend, whatever is measured with them."""

from __future__ import annotations

import math
import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from goodparts.runtime.core.errors import EngineError
from goodparts.runtime.core.files import printable, writing
from goodparts.runtime.core.preprocess import Array8, load_rgb
from goodparts.runtime.core.scoring import Features, Floats
from goodparts.runtime.core.view import View
from goodparts.runtime.recipe.calibrate import Encode

IN_MEMORY = 128 << 20
"""Bytes of views, and of each backend's features, from which on they are written to a file."""
AT_ONCE = 16
"""Views that are encoded together."""


class Shelf:
    """Arrays of one size, by key: in memory, or, when there are many, in a file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._places: dict[Path, int] = {}

    def __contains__(self, key: Path) -> bool:
        return key in self._places

    def put(self, key: Path, data: bytes) -> None:
        """FileError when the disk is full."""
        place = len(self._places) * len(data)
        with writing(Path(tempfile.gettempdir()) / "temporary file"):
            self._file.seek(place)
            self._file.write(data)
        self._places[key] = place

    def get(self, key: Path, size: int) -> bytes:
        self._file.seek(self._places[key])
        return self._file.read(size)

    def close(self) -> None:
        self._file.close()


class Photos:
    """Photos as the encoder reads them: the whole frame, squashed to its square."""

    def __init__(self, size: int) -> None:
        self._size = size
        self._shelf = Shelf()
        self.decoded = 0

    def views(self, paths: Sequence[Path]) -> Array8:
        """uint8 [n,S,S,3]. Raises ImageError for a photo that cannot be read."""
        for path in paths:
            if path not in self._shelf:
                self._shelf.put(path, self._read(path).tobytes())
                self.decoded += 1
        shape = (len(paths), self._size, self._size, 3)
        data = b"".join(self._shelf.get(path, math.prod(shape[1:])) for path in paths)
        return np.frombuffer(data, np.uint8).reshape(shape)

    def _read(self, path: Path) -> Array8:
        return View().cut(load_rgb(path), self._size)

    def close(self) -> None:
        self._shelf.close()


class Encoded:
    """The photos' features on one backend. name: what runs."""

    def __init__(self, name: str, encode: Encode, photos: Photos) -> None:
        self.name = name
        self.photos = photos
        self._encode = encode
        self._grid = (0, 0)
        self._shapes: list[tuple[int, ...]] = []
        self._shelf = Shelf()
        self._moved: dict[bytes, Features] = {}
        self.encoded = 0

    def features(self, paths: Sequence[Path]) -> Features:
        """Of these photos, one view each."""
        missing = [path for path in dict.fromkeys(paths) if path not in self._shelf]
        for start in range(0, len(missing), AT_ONCE):
            some = missing[start : start + AT_ONCE]
            found = self._encode(self.photos.views(some))
            for index, path in enumerate(some):
                parts = [part[index] for part in (found.global_, found.local, *found.memory)]
                self._grid, self._shapes = found.grid, [part.shape for part in parts]
                check_finite(self.name, path, parts)
                self._shelf.put(path, b"".join(part.astype(np.float32).tobytes() for part in parts))
            self.encoded += len(some)
        size = 4 * sum(map(math.prod, self._shapes))
        rows = np.stack([np.frombuffer(self._shelf.get(path, size), np.float32) for path in paths])
        ends = np.cumsum([math.prod(shape) for shape in self._shapes])[:-1]
        arrays: list[Floats] = [
            np.ascontiguousarray(part).reshape(len(paths), *shape)
            for part, shape in zip(np.split(rows, ends, axis=1), self._shapes, strict=True)
        ]
        return Features(arrays[0], arrays[1], tuple(arrays[2:]), self._grid)

    def encode(self, views: Array8) -> Features:
        """Of views that are no photo as it lies on the disk: a single shot's shifted copies; remembered."""
        key = views.tobytes()
        if key not in self._moved:
            if len(self._moved) >= _REMEMBERED:
                self._moved.clear()
            self._moved[key] = self._encode(views)
        return self._moved[key]

    def close(self) -> None:
        self._shelf.close()


_REMEMBERED = 16


def check_finite(backend: str, path: Path, parts: Sequence[npt.NDArray[np.floating]]) -> None:
    """EngineError for features that are NaN or infinite."""
    if not all(np.isfinite(part).all() for part in parts):
        raise EngineError(
            f"{backend} gave features of {printable(path)} that are not finite: try another --backend or --precision"
        )
