"""What a source is: something that gives pictures, one after another, and tells what it lost."""

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
"""What becomes of pictures that come faster than they are inspected: the newest replaces one that nobody has looked at
yet, which is counted as dropped; or every one is inspected, and the source waits."""


@dataclass(frozen=True, eq=False)
class SourcePicture:
    """A picture from a source.

    pixels: uint8 RGB [H,W,3], or why this picture has none; path: its file, where it has one; file: which contents of
    that file the picture was read from; yuv: the same picture as the source gave it, for a GPU, where that was asked
    for and can be.
    """

    pixels: Array8 | GoodpartsError
    path: str | None = None
    file: PictureFile | None = None
    yuv: YuvFrame | None = None


@dataclass(frozen=True)
class SourceEvent:
    """What happened to a source besides its pictures; an empty one only tells that the source is alive.

    failed: pictures that were lost or damaged on the way; message: one line for the log.
    """

    failed: int = 0
    message: str | None = None


class Source(Protocol):
    """Something that gives pictures. default_policy: the policy where none is asked for."""

    default_policy: Policy

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[SourcePicture | SourceEvent]:
        """Open the source and yield its pictures, until `stop` is set or it has no more.

        paced: a recording keeps its own time, as a camera would, instead of coming as fast as it can be read.
        Raises SourceError when the source cannot be opened or is lost; calling again opens it again.
        """
