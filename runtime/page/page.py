"""The page put together, and its address."""

from __future__ import annotations

import re
import secrets
import socket
import threading
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from ..core.errors import SettingsError
from ..line.capture import Report
from ..line.outputs.outlet import Result
from ..line.settings import OutputSettings
from .app import PageApp
from .controls import Controls
from .gallery import Gallery
from .guard import Guard, read_token
from .recent import Recent
from .server import Server
from .state import Messages, State

if TYPE_CHECKING:
    from ..line.line import Line

DEFAULT = "127.0.0.1:8400"
_WHERE = re.compile(r"(?:(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>\d{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """ "HOST:PORT" or "PORT" → host, without brackets, and port."""
    found = _WHERE.fullmatch(text)
    if found is None or int(found["port"]) > 65535:
        raise SettingsError(f"page {text!r}: HOST:PORT is needed, as in {DEFAULT} (for this machine alone)")
    return (found["host"] or "127.0.0.1").strip("[]"), int(found["port"])


class Page:
    """The page of a line. messages: what the line says from now on; report: says the address, with a token made for
    it once, to who started the line. port: where it listens; url: where it is opened."""

    def __init__(self, line: Line, told: OutputSettings, messages: Messages, report: Report) -> None:
        host, port = parse_address(str(told.page))
        token = None if told.page_token is None else read_token(Path(told.page_token))
        made = token is None and not _is_loopback(host)
        if made:
            token = secrets.token_urlsafe(24)
        self.recents = {source.name: Recent(source.smoothing) for source in line.settings.source}
        gallery = None if told.rejects is None else Gallery(Path(told.rejects))
        controls = Controls(line.stations, line.shared, gallery, messages.teed(report))
        state = State(line, self.recents, controls, gallery, messages)
        try:
            self._server = Server(host, port, lambda port: PageApp(Guard(host, port, token), state, controls, gallery))
        except OSError as error:
            raise SettingsError(f"page {told.page}: {error.strerror or error}; name another address or port") from error
        self.port = int(self._server.server_address[1])
        name = host if host not in ("0.0.0.0", "::") else socket.gethostname()
        self.url = f"http://{f'[{name}]' if ':' in name else name}:{self.port}/"
        report(f"page: {self.url}" + (f"#{token} (this token is shown once)" if made else ""))
        self._thread = threading.Thread(target=self._server.serve_forever, name="page", daemon=True)
        self._thread.start()

    def note(self, result: Result) -> None:
        """A frame that was inspected."""
        self.recents[result.source].note(result)

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def _is_loopback(host: str) -> bool:
    try:
        return all(ip_address(found[4][0]).is_loopback for found in socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False
