"""A page that is served at an address until it is closed, and the page of a running line."""

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
"""The path on a line's page below which products are taught."""
_ADDRESS = re.compile(r"(?:(?P<host>[A-Za-z0-9.-]+|\[[0-9A-Fa-f:.]+\]):)?(?P<port>\d{1,5})")


def parse_address(text: str) -> tuple[str, int]:
    """Return the host and the port of an address.

    Args:
        text: "HOST:PORT", or "PORT" on the loopback address 127.0.0.1.

    Returns:
        The host, an IPv6 address without its brackets, and the port.

    Raises:
        SettingsError: The text is neither.
    """
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match["port"]) > 65535:
        raise SettingsError(f"page {text!r}: HOST:PORT is needed, as in {DEFAULT_ADDRESS} (for this machine only)")
    return (match["host"] or "127.0.0.1").strip("[]"), int(match["port"])


class ServedPage:
    """An app that is served at an address until it is closed.

    Args:
        address: HOST:PORT, or a port on the loopback address.
        token_file: The file that holds the page's token. Without one, a page that other machines can reach gets a new
            token.
        page_name: Another name under which browsers open the page, such as a proxy's. The page then needs a token.
        make_app: Makes the app from the guard that checks its requests.
        report: Takes one line of text with the page's address and, if a token was made, the token. The text is for the
            person who started the program; the page does not show it among its messages.
        called: The name of the page in that text.

    Attributes:
        port: The port that the page listens on.
        url: The address at which a browser opens the page.

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
        """Stop serving the page and wait until its thread has ended."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


class Page(ServedPage):
    """The page of a line. It subscribes to the line's results.

    Args:
        line: The line that the page shows.
        settings: The settings of the line's outputs; `page` is the address.
        report: See ServedPage.
        make_studio: Makes the app that teaches products below STUDIO; None if nothing may be taught on this page.

    Attributes:
        recent_frames: The last frames of each source, by the source's name.

    Raises:
        SettingsError: The address or the token cannot be used.
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
        """Keep the result of a frame, so that the page can show it.

        Args:
            result: The result; its source is one of the line's.
        """
        self.recent_frames[result.source].note(result)


def _is_loopback(host: str) -> bool:
    """Return whether only this machine can reach an address."""
    try:
        return all(ip_address(info[4][0]).is_loopback for info in socket.getaddrinfo(host, None))
    except (OSError, ValueError):
        return False
