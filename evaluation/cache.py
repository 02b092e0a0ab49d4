"""Finished measurements on the disk, each in a file that is named by its key.

Before a method is measured, its key is looked up here. A run that was interrupted, or that overlaps another, therefore
measures nothing twice.
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
"""The subfolder of the results' folder that holds the files. A measurement is a cell of the tables."""


class FinishedMeasurement(msgspec.Struct, frozen=True):
    """The content of a file: a measurement, or the reason why there is none.

    Attributes:
        measurement: The metrics; None if the method was left out.
        left_out: Why the method was left out; empty if there is a measurement.
        scores: The tested photos' image scores, float32 [N], as bytes.
        bad: Which of the tested photos are bad.
        mistakes: The worst mistakes, the largest first.
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
    """A folder of finished measurements, which several processes may write to at once.

    Args:
        folder: The folder, which must exist before a measurement is written.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def _path(self, key: str) -> Path:
        return self.folder / f"{key}.cell"

    def __contains__(self, key: str) -> bool:
        return self._path(key).is_file()

    def read(self, key: str) -> FinishedMeasurement:
        """Read a measurement.

        Args:
            key: The measurement's key (keys.py).

        Returns:
            The content of its file.

        Raises:
            FileError: The file is missing or damaged.
        """
        path = self._path(key)
        try:
            return msgspec.msgpack.decode(read_bytes(path), type=FinishedMeasurement)
        except msgspec.MsgspecError as error:
            raise FileError(f"{path} is damaged ({error}): remove it and run again") from error

    def write(self, key: str, finished: FinishedMeasurement) -> None:
        """Write a measurement; an older one with the same key is replaced.

        Args:
            key: The measurement's key (keys.py).
            finished: The content of its file.

        Raises:
            FileError: The file cannot be written, for example because the disk is full.
        """
        write_atomic(self._path(key), msgspec.msgpack.encode(finished))
