"""The protocol of sources, which give pictures one after another and report the pictures that were lost."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, Protocol

from ...core.errors import GoodpartsError
from ...core.preprocess import Array8
from ...core.yuv import YuvFrame
from ..picture_file import PictureFile

Policy = Literal["newest", "every"]
"""What happens to pictures that arrive faster than they are inspected.

newest: a new picture replaces the one that waits, which counts as dropped. every: the source waits, and every picture
is inspected.
"""


@dataclass(frozen=True, eq=False)
class SourcePicture:
    """A picture from a source.

    Attributes:
        pixels: uint8 RGB [H,W,3], or the reason why the picture has no pixels.
        path: The picture's file; None if it has none.
        file: The identity of the file contents that the picture was read from.
        yuv: The same picture in YUV, for a GPU; None if it was not asked for or not possible.
    """

    pixels: Array8 | GoodpartsError
    path: str | None = None
    file: PictureFile | None = None
    yuv: YuvFrame | None = None


@dataclass(frozen=True)
class SourceEvent:
    """An event of a source. An event without values tells only that the source is alive.

    Attributes:
        failed: The number of pictures that were lost or damaged on the way.
        message: One line for the log; None for no message.
    """

    failed: int = 0
    message: str | None = None


class Source(Protocol):
    """Something that gives pictures, such as a camera.

    Attributes:
        default_policy: The policy if the settings name none.
    """

    default_policy: Policy

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture | SourceEvent]:
        """Open the source and yield its pictures. A second call opens the source again.

        Args:
            stop: Set to end the pictures.
            paced: Whether a recording plays at its own speed, as a camera would, instead of as fast as it can be read.

        Yields:
            Pictures and events, until `stop` is set or the source has no more pictures.

        Raises:
            SourceError: The source cannot be opened, or is lost.
        """
