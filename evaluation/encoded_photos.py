"""Photos that are decoded once, and encoded once for each backend, no matter how often they are used."""

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
"""The bytes of views, and of each backend's features, that are kept in memory; beyond that they lie in a file."""
BATCH_SIZE = 16
"""The number of views that are encoded together."""
KEPT_VIEWS = 16
"""The number of results of EncodedPhotos.encode that are kept."""


class ArrayStore:
    """Arrays of one size by the path of their photo, in memory or, when they are many, in a file without a name."""

    def __init__(self) -> None:
        self._file = tempfile.SpooledTemporaryFile(max_size=IN_MEMORY)  # noqa: SIM115
        self._offsets: dict[Path, int] = {}

    def __contains__(self, path: Path) -> bool:
        return path in self._offsets

    def put(self, path: Path, data: bytes) -> None:
        """Add an array.

        Args:
            path: The photo's path, which is not in the store yet.
            data: The array's bytes; all arrays have the same number of bytes.

        Raises:
            FileError: The disk is full.
        """
        offset = len(self._offsets) * len(data)
        with writing(Path(tempfile.gettempdir()) / "temporary file"):
            self._file.seek(offset)
            self._file.write(data)
        self._offsets[path] = offset

    def get(self, path: Path, size: int) -> bytes:
        """Return the bytes of an array.

        Args:
            path: The photo's path, which must be in the store.
            size: The number of bytes.
        """
        self._file.seek(self._offsets[path])
        return self._file.read(size)

    def close(self) -> None:
        """Close the file."""
        self._file.close()


class Photos:
    """Photos as the encoder reads them: the whole frame, resized to a square.

    Args:
        size: The side of the square in pixels.

    Attributes:
        decoded: How many photos were read from the disk.
    """

    def __init__(self, size: int) -> None:
        self._size = size
        self._store = ArrayStore()
        self.decoded = 0

    def views(self, paths: Sequence[Path]) -> Array8:
        """Return the photos, uint8 [n,S,S,3], RGB.

        Args:
            paths: The n photos.

        Raises:
            ImageError: A photo cannot be read.
        """
        for path in paths:
            if path not in self._store:
                self._store.put(path, self._read(path).tobytes())
                self.decoded += 1
        shape = (len(paths), self._size, self._size, 3)
        data = b"".join(self._store.get(path, math.prod(shape[1:])) for path in paths)
        return np.frombuffer(data, np.uint8).reshape(shape)

    def _read(self, path: Path) -> Array8:
        return View().cut(load_rgb(path), self._size)

    def close(self) -> None:
        """Close the file that holds the arrays."""
        self._store.close()


class EncodedPhotos:
    """The features of photos on one backend.

    Args:
        name: The backend's name, for messages.
        encode: Encodes views uint8 [n,S,S,3] on the backend.
        photos: The decoded photos.

    Attributes:
        encoded: How many photos were encoded.
    """

    def __init__(self, name: str, encode: Encode, photos: Photos) -> None:
        self.name = name
        self.photos = photos
        self._encode = encode
        self._grid = (0, 0)
        self._shapes: list[tuple[int, ...]] = []
        self._store = ArrayStore()
        self._of_views: dict[bytes, Features] = {}
        self.encoded = 0

    def features(self, paths: Sequence[Path]) -> Features:
        """Return the features of photos, one view for each.

        Args:
            paths: The photos.

        Raises:
            ImageError: A photo cannot be read.
            EngineError: A feature is NaN or infinite.
        """
        missing = [path for path in dict.fromkeys(paths) if path not in self._store]
        for start in range(0, len(missing), BATCH_SIZE):
            batch = missing[start : start + BATCH_SIZE]
            features = self._encode(self.photos.views(batch))
            for index, path in enumerate(batch):
                parts = [part[index] for part in (features.global_, features.local, *features.memory)]
                self._grid, self._shapes = features.grid, [part.shape for part in parts]
                check_finite(self.name, path, parts)
                self._store.put(path, b"".join(part.astype(np.float32).tobytes() for part in parts))
            self.encoded += len(batch)
        size = 4 * sum(map(math.prod, self._shapes))
        rows = np.stack([np.frombuffer(self._store.get(path, size), np.float32) for path in paths])
        ends = np.cumsum([math.prod(shape) for shape in self._shapes])[:-1]
        arrays: list[Floats] = [
            np.ascontiguousarray(part).reshape(len(paths), *shape)
            for part, shape in zip(np.split(rows, ends, axis=1), self._shapes, strict=True)
        ]
        global_, local, *memory = arrays
        return Features(global_, local, tuple(memory), self._grid)

    def encode(self, views: Array8) -> Features:
        """Return the features of views that are not photos on the disk, such as a single shot's shifted copies.

        Recent results are kept.

        Args:
            views: The views, uint8 [n,S,S,3], RGB.
        """
        key = views.tobytes()
        if key not in self._of_views:
            if len(self._of_views) >= KEPT_VIEWS:
                self._of_views.clear()
            self._of_views[key] = self._encode(views)
        return self._of_views[key]

    def close(self) -> None:
        """Close the file that holds the arrays."""
        self._store.close()


def check_finite(backend: str, path: Path, parts: Sequence[npt.NDArray[np.floating]]) -> None:
    """Check that a photo's features are finite.

    Args:
        backend: The name of the backend that computed them.
        path: The photo.
        parts: The features.

    Raises:
        EngineError: A feature is NaN or infinite.
    """
    if not all(np.isfinite(part).all() for part in parts):
        raise EngineError(
            f"{backend} gave features of {printable(path)} that are not finite: try another --backend or --precision"
        )
