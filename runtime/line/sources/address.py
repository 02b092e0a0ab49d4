"""Makes the source of an address."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import parse_qs

from ...core.errors import SettingsError, SourceError, install_line
from ..redact import redact_address
from .folder import WatchedFolder
from .source import Source
from .watchdog import Watchdog

_PATIENCE = 3.0
"""The number of time-outs without picture or error after which a camera or stream counts as hanging."""
_SCHEMES = frozenset({"rtsp", "rtsps", "http", "https", "rtmp", "rtp", "srt", "udp", "tcp"})


def make_source(address: str, timeout: float, *, keeps_yuv: bool = False) -> Source:
    """Return the source of an address. Only a file is opened, to check that there is video in it.

    Args:
        address: A folder, a video file, /dev/video0, genicam:PRODUCER.cti?serial=NUMBER, or a URL such as rtsp://… or
            http://….
        timeout: Seconds without a picture after which a camera or stream counts as lost.
        keeps_yuv: Whether pictures of a video are given in YUV too, for the kernels of a GPU.

    Raises:
        SettingsError: The address has none of these forms, or a file holds no video.
        SourceError: The library that reads such a source is not installed.
    """
    if address.startswith("genicam:"):
        return Watchdog(_make_genicam(address, timeout), _PATIENCE * timeout, address)
    if Path(address).is_dir():
        return WatchedFolder(Path(address))
    scheme = address.partition("://")[0].lower() if "://" in address else ""
    if scheme and scheme not in _SCHEMES:
        raise SettingsError(f"source {redact_address(address)}: {scheme}:// is not one of {' '.join(sorted(_SCHEMES))}")
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
    video = Video(address, timeout, keeps_yuv=keeps_yuv)
    video.require_video()
    return video


def _make_genicam(address: str, timeout: float) -> Source:
    """Return the camera of the address genicam:PRODUCER.cti?serial=NUMBER; without a serial number, the first one."""
    try:
        from .genicam import GenICam
    except ImportError as error:
        raise _missing(error, "genicam") from error
    path, _, query = address.removeprefix("genicam:").partition("?")
    parameters = parse_qs(query)
    if not Path(path).is_file() or parameters.keys() - {"serial"}:
        raise SettingsError(f"source {address}: genicam:PRODUCER.cti?serial=NUMBER is needed, with a .cti file")
    return GenICam(Path(path), parameters.get("serial", [None])[0], timeout)


def _missing(error: ImportError, extra: str) -> SourceError:
    """Return the error for a library that is not installed or does not load, with the extra that installs it."""
    library = error.name.partition(".")[0] if error.name else error
    return SourceError(f"needs {library}: {install_line(extra)}")
