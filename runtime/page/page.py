"""The page of a running line: put together, served at an address, and closed."""

from __future__ import annotations

import re
import secrets
import socket
import threading
from ipaddress import ip_address
from pathlib import Path

from ..core.errors import SettingsError
from ..line.line import Line
from ..line.messages import Report
from ..line.results import Result
from ..line.settings import OutputSettings
from .app import PageApp
from .controls import Controls
from .gallery import Gallery
from .guard import Guard, read_token
from .recent_frames import RecentFrames
from .server import Server
from .state import PageState

DEFAULT_ADDRESS = "127.0.0.1:8400"
_ADDRESS = re.compile(r"(?:(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>\d{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """Return host (without brackets) and port of "HOST:PORT", or of "PORT" on the loopback address.

    Raises SettingsError for anything else.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise SettingsError(f"page {text!r}: HOST:PORT is needed, as in {DEFAULT_ADDRESS} (for this machine only)")
    return (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])


class Page:
    """The page of a line. It subscribes to the line's results, and is served until it is closed.

    settings: of the line's outputs; `page` is the address. report: takes the page's address, with the token that was
    made for it, once; this goes to whoever started the line, and not to the line's messages.
    port: where it listens; url: where it is opened; recent_frames: by name of source.

    Raises SettingsError where the address or the token cannot be used.
    """

    def __init__(self, line: Line, settings: OutputSettings, report: Report) -> None:
        host, port = parse_address(str(settings.page))
        token = None if settings.page_token is None else read_token(Path(settings.page_token))
        is_for_others = settings.page_name is not None or not _is_loopback(host)
        token_is_new = token is None and is_for_others
        if token_is_new:
            token = secrets.token_urlsafe(24)
        sources = [pipeline.settings for pipeline in line.pipelines]
        self.recent_frames = {source.name: RecentFrames(source.smoothing) for source in sources}
        gallery = None if line.reject_index is None else Gallery(line.reject_index)
        settlings = [pipeline.settling for pipeline in line.pipelines]
        controls = Controls(settlings, line.shared_engine, gallery, line.messages.report)
        state = PageState(line, settings, self.recent_frames, controls, gallery)
        try:
            self._server = Server(
                host, port, lambda port: PageApp(Guard(host, port, token, settings.page_name), state, controls, gallery)
            )
        except OSError as error:
            raise SettingsError(
                f"page {settings.page}: {error.strerror or error}; name another address or port"
            ) from error
        self.port = int(self._server.server_address[1])
        name = settings.page_name or (host if host not in ("0.0.0.0", "::") else socket.gethostname())
        self.url = f"http://{f'[{name}]' if ':' in name else name}:{self.port}/"
        report(f"page: {self.url}" + (f"#{token} (this token is shown once)" if token_is_new else ""))
        line.router.subscribe(self.note)
        self._thread = threading.Thread(target=self._server.serve_forever, name="page", daemon=True)
        self._thread.start()

    def note(self, result: Result) -> None:
        """Take the result of a frame, which may be shown."""
        self.recent_frames[result.source].note(result)

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return all(ip_address(info[4][0]).is_loopback for info in socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False
