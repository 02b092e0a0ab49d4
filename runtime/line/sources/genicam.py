"""GenICam cameras (GigE Vision, USB3 Vision), read through `harvesters` and the maker's GenTL producer.

The tests use a stand-in for `harvesters`. No real camera has been tested.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from harvesters.core import Harvester

from ...core.errors import GoodpartsError, SourceError, first_line
from ...core.preprocess import Array8
from .source import Policy, SourcePicture

_CHANNELS = {"Mono8": 1, "RGB8": 3, "RGB8Packed": 3, "BGR8": 3, "BGR8Packed": 3}


class GenICam:
    """One camera of a GenTL producer.

    Args:
        producer: The producer's .cti file.
        serial: The serial number of the camera; None for the first camera.
        timeout: Seconds without a picture after which the camera counts as lost.
    """

    default_policy: Policy = "newest"

    def __init__(self, producer: Path, serial: str | None, timeout: float) -> None:
        self._producer, self._serial, self._timeout = producer, serial, timeout

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture]:  # noqa: ARG002
        try:
            with Harvester() as harvester:
                harvester.add_file(str(self._producer), check_existence=True, check_validity=True)
                harvester.update()
                key = {"serial_number": self._serial} if self._serial else 0
                with harvester.create(key) as camera:
                    camera.start()
                    while not stop.is_set():
                        buffer = camera.try_fetch(timeout=self._timeout)
                        if buffer is None:
                            raise SourceError(f"{self._name}: no picture for {self._timeout:g} s")
                        with buffer:
                            pixels = self._to_rgb(buffer.payload.components[0])
                        yield SourcePicture(pixels)
        except GoodpartsError:
            raise
        except Exception as error:  # the errors of producers share no base class
            raise SourceError(f"{self._name}: {first_line(error)}") from error

    @property
    def _name(self) -> str:
        return f"camera {self._serial or 'of'} {self._producer.name}"

    def _to_rgb(self, component: Any) -> Array8:
        """Return a copy of the picture in a buffer, uint8 RGB [H,W,3]; the camera fills the buffer again."""
        pixel_format = str(component.data_format)
        if pixel_format not in _CHANNELS:
            raise SourceError(f"{self._name} gives {pixel_format}: set its PixelFormat to one of {' '.join(_CHANNELS)}")
        shape = component.height, component.width, _CHANNELS[pixel_format]
        pixels: Array8 = np.array(component.data, np.uint8).reshape(shape)
        if shape[2] == 1:
            return np.repeat(pixels, 3, axis=2)
        return np.ascontiguousarray(pixels[:, :, ::-1]) if pixel_format.startswith("BGR") else pixels
