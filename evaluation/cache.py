"""Finished measurements on the disk, each in a file that is named by its key.

Whoever measures looks here first, so that a run that was interrupted, or that overlaps another, measures nothing twice.
"""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
from goodparts.runtime.core.errors import FileError
from goodparts.runtime.core.files import read_bytes, write_atomic
from goodparts.runtime.core.scoring import Floats

from .mistakes import Mistake
from .results import Measurement

FOLDER_NAME = "cells"
"""The folder in that of the results; a measurement is a cell of the tables."""


class FinishedMeasurement(msgspec.Struct, frozen=True):
    """The content of a file.

    left_out states why there is no measurement. scores are the tested photos' image scores, float32 [N] as bytes, and
    bad tells which of them are bad. mistakes are the worst ones, the largest first.
    """

    measurement: Measurement | None
    left_out: str = ""
    scores: bytes = b""
    bad: tuple[bool, ...] = ()
    mistakes: tuple[Mistake, ...] = ()

    @property
    def image_scores(self) -> Floats:
        """The image scores [N]."""
        return np.frombuffer(self.scores, np.float32)


class MeasurementCache:
    """A folder of finished measurements, which several processes may write to at once."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.cell"

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def read(self, key: str) -> FinishedMeasurement:
        """Read a measurement; raise FileError for a damaged file."""
        path = self._path(key)
        try:
            return msgspec.msgpack.decode(read_bytes(path), type=FinishedMeasurement)
        except msgspec.MsgspecError as error:
            raise FileError(f"{path} is damaged ({error}): remove it and run again") from error

    def write(self, key: str, finished: FinishedMeasurement) -> None:
        """Write a measurement; raise FileError when the disk is full."""
        write_atomic(self._path(key), msgspec.msgpack.encode(finished))
