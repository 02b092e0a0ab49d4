"""Which source an address means."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs, urlsplit

from ...core.errors import SettingsError, SourceError, install_line
from ..redact import redact_address
from .folder import WatchedFolder
from .source import Source
from .watchdog import Watchdog

_PATIENCE = 3.0
"""Time-outs after which a camera or stream that gives neither picture nor error hangs."""
_SCHEMES = frozenset({"rtsp", "rtsps", "http", "https", "rtmp", "rtp", "srt", "udp", "tcp"})


def make_source(address: str, timeout: float, *, keeps_yuv: bool = False) -> Source:
    """Return the source of an address; nothing is opened yet.

    Args:
        address: a folder; /dev/video0; rtsp://…, http://… and the like; genicam:PRODUCER.cti?serial=NUMBER; a video
            file.
        timeout: seconds without a picture after which a camera or stream counts as lost.
        keeps_yuv: a video's pictures are handed out in YUV too, where the kernels of a GPU read them.

    Raises:
        SettingsError: the address means none of these.
        SourceError: the library that reads such a source is not installed.
    """
    if address.startswith("genicam:"):
        return Watchdog(_make_genicam(address, timeout), _PATIENCE * timeout, address)
    if Path(address).is_dir():
        return WatchedFolder(Path(address))
    scheme = urlsplit(address).scheme if "://" in address else ""
    if scheme and scheme not in _SCHEMES:
        raise SettingsError(f"source {redact_address(address)}: {scheme}:// is none of {' '.join(sorted(_SCHEMES))}")
    if not scheme and not address.startswith("/dev/") and not Path(address).is_file():
        raise SettingsError(
            f"source {address}: there is no such folder or video file; a camera is /dev/video0, a stream rtsp://…"
        )
    video = _make_video(address, timeout, keeps_yuv)
    return video if Path(address).is_file() else Watchdog(video, _PATIENCE * timeout, redact_address(address))


def _make_video(address: str, timeout: float, keeps_yuv: bool) -> Source:
    try:
        from .video import Video
    except ImportError as error:
        raise _missing(error, "watch") from error
    return Video(address, timeout, keeps_yuv=keeps_yuv)


def _make_genicam(address: str, timeout: float) -> Source:
    """Return the camera of genicam:PRODUCER.cti or genicam:PRODUCER.cti?serial=NUMBER."""
    try:
        from .genicam import GenICam
    except ImportError as error:
        raise _missing(error, "genicam") from error
    path, _, query = address.removeprefix("genicam:").partition("?")
    parameters = parse_qs(query)
    if not Path(path).is_file() or parameters.keys() - {"serial"}:
        raise SettingsError(f"source {address}: genicam:PRODUCER.cti?serial=NUMBER, with the producer's .cti file")
    return GenICam(Path(path), parameters.get("serial", [None])[0], timeout)


def _missing(error: ImportError, extra: str) -> SourceError:
    """Return the error for a library that is not installed, or does not load: its name, and the extra that has it."""
    library = error.name.partition(".")[0] if error.name else error
    return SourceError(f"needs {library}: {install_line(extra)}")
