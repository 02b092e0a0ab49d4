"""Where pictures come from: one interface, and which source an address means."""

from __future__ import annotations

import importlib
import re
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, Protocol
from urllib.parse import urlsplit

from ...core.errors import GoodpartsError, SettingsError, SourceError, install_line
from ...core.preprocess import Array8

Policy = Literal["newest", "every"]
"""What becomes of pictures that come faster than they are inspected: the newest replaces one that nobody has looked at
yet, which is counted as dropped; or every one is inspected, and the source waits."""


@dataclass(frozen=True, eq=False)
class Picture:
    """A picture from a source: uint8 RGB [H,W,3], or why this one has none; path: its file, where it has one."""

    pixels: Array8 | GoodpartsError
    path: str | None = None


class Source(Protocol):
    """Something that gives pictures."""

    default: Policy
    """The policy where none is asked for."""

    def pictures(self, stop: threading.Event, paced: bool) -> Iterator[Picture]:
        """Open the source and give its pictures, until `stop` is set or it has no more.

        paced: a recording keeps its own time, as a camera would, instead of coming as fast as it can be read.
        Raises SourceError when the source cannot be opened or is lost; calling again opens it again.
        """


_PATIENCE = 3.0
"""Time-outs after which a camera or stream that gives neither picture nor error hangs."""
_STREAMS = frozenset({"rtsp", "rtsps", "http", "https", "rtmp", "rtp", "srt", "udp", "tcp"})


def make_source(address: str, timeout: float) -> Source:
    """The source of an address: a folder; /dev/video0; rtsp://…, http://… and the like; genicam:PRODUCER.cti?serial=N;
    a video file. Nothing is opened yet. timeout: seconds without a picture after which a stream counts as lost.
    """
    from .watchdog import Watchdog

    source: Source
    if address.startswith("genicam:"):
        source = _import("genicam", "genicam").parse_address(address, timeout)
        return Watchdog(source, _PATIENCE * timeout, address)
    if Path(address).is_dir():
        from .folder import WatchedFolder

        return WatchedFolder(Path(address))
    scheme = urlsplit(address).scheme if "://" in address else ""
    if scheme and scheme not in _STREAMS:
        raise SettingsError(f"source {redacted(address)}: {scheme}:// is none of {' '.join(sorted(_STREAMS))}")
    if not scheme and not address.startswith("/dev/") and not Path(address).is_file():
        raise SettingsError(
            f"source {address}: there is no such folder or video file; a camera is /dev/video0, a stream rtsp://…"
        )
    source = _import("video", "watch").Video(address, timeout)
    return source if Path(address).is_file() else Watchdog(source, _PATIENCE * timeout, redacted(address))


def redacted(address: str) -> str:
    """An address as it may be shown: without user name, password and query, however odd they are."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    return scheme + separator + re.split("[?#]", rest.rpartition("@")[2])[0]


def _import(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(f".{module}", __package__)
    except ImportError as error:
        raise SourceError(f"needs {error.name or error}: {install_line(extra)}") from error
