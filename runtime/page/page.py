"""Pages that are served at an address until they are closed, and the page of a running line."""

from __future__ import annotations

import re
import secrets
import socket
import threading
from collections.abc import Callable
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
from .guarded_app import MountedApp
from .recent_frames import RecentFrames
from .server import App, Server
from .state import PageState

DEFAULT_ADDRESS = "127.0.0.1:8400"
STUDIO = "/studio/"
"""Products are taught below this path of a line's page."""
_ADDRESS = re.compile(r"(?:(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>\d{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """Return host (without brackets) and port of "HOST:PORT", or of "PORT" on the loopback address.

    Raises SettingsError for anything else.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise SettingsError(f"page {text!r}: HOST:PORT is needed, as in {DEFAULT_ADDRESS} (for this machine only)")
    return (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])


class ServedPage:
    """An app that is served at an address until it is closed.

    port: where it listens; url: where it is opened.

    Args:
        address: HOST:PORT, or a port on the loopback address.
        token_file: Holds the page's token. Without one, an address that other machines reach gets a new token.
        page_name: Another name under which browsers open the page, as a proxy's; the page then has a token.
        make_app: Makes the app, given the guard that decides who may ask.
        report: Takes the page's address, with the token that was made for it, once; this goes to whoever started the
            program, and not into the messages that the page shows.
        called: What the report calls the page.

    Raises:
        SettingsError: The address or the token cannot be used.
    """

    def __init__(
        self,
        address: str,
        token_file: str | None,
        page_name: str | None,
        make_app: Callable[[Guard], App],
        report: Report,
        called: str = "page",
    ) -> None:
        host, port = parse_address(address)
        token = None if token_file is None else read_token(Path(token_file))
        is_for_others = page_name is not None or not _is_loopback(host)
        token_is_new = token is None and is_for_others
        if token_is_new:
            token = secrets.token_urlsafe(24)
        try:
            self._server = Server(host, port, lambda port: make_app(Guard(host, port, token, page_name)))
        except OSError as error:
            raise SettingsError(
                f"page {address}: {error.strerror or error}; another page may run there: give --page HOST:PORT"
            ) from error
        self.port = int(self._server.server_address[1])
        name = page_name or (host if host not in ("0.0.0.0", "::") else socket.gethostname())
        self.url = f"http://{f'[{name}]' if ':' in name else name}:{self.port}/"
        report(f"{called}: {self.url}" + (f"#{token} (this token is shown once)" if token_is_new else ""))
        self._thread = threading.Thread(target=self._server.serve_forever, name=called, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Page(ServedPage):
    """The page of a line. It subscribes to the line's results.

    settings: of the line's outputs; `page` is the address. report: see ServedPage. make_studio: makes the app below
    STUDIO, on which products are taught; None where nothing may be taught. recent_frames: by name of source.

    Raises SettingsError where the address or the token cannot be used.
    """

    def __init__(
        self,
        line: Line,
        settings: OutputSettings,
        report: Report,
        make_studio: Callable[[Guard], App] | None = None,
    ) -> None:
        sources = [pipeline.settings for pipeline in line.pipelines]
        self.recent_frames = {source.name: RecentFrames(source.smoothing) for source in sources}
        gallery = None if line.reject_index is None else Gallery(line.reject_index)
        settlings = [pipeline.settling for pipeline in line.pipelines]
        controls = Controls(settlings, line.shared_engine, gallery, line.messages.report)
        state = PageState(line, settings, self.recent_frames, controls, gallery, teaches=make_studio is not None)

        def make_app(guard: Guard) -> App:
            app = PageApp(guard, state, controls, gallery)
            return app if make_studio is None else MountedApp(app, STUDIO, make_studio(guard))

        super().__init__(
            str(settings.page),
            settings.page_token,
            settings.page_name,
            make_app,
            report,
        )
        line.router.subscribe(self.note)

    def note(self, result: Result) -> None:
        """Take the result of a frame, which may be shown."""
        self.recent_frames[result.source].note(result)


def _is_loopback(host: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return all(ip_address(info[4][0]).is_loopback for info in socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False
