"""An HTTP server that bounds its clients: in time, in bytes, in number. A connection is for one request."""

from __future__ import annotations

import io
import socket
import threading
import time
from collections.abc import Callable
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, NamedTuple, Protocol

from .guard import RefusedError

CONNECTIONS = 32
"""At the same time; more are closed at once."""
SECONDS = 10.0
"""For a request to come in whole, and again for the answer to be taken."""
LARGEST = 16_384
"""Bytes of a request, with its headers."""
UPLOAD_SECONDS = 120.0
"""For a body that may be larger, once the app has said so."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Answer(NamedTuple):
    """What a request is answered. kind: the body's media type; lasting: whether what stands at this address never
    changes; cookie: the value of Set-Cookie."""

    kind: str
    body: bytes
    status: int = 200
    lasting: bool = False
    cookie: str | None = None


class App(Protocol):
    """Answers requests, or raises RefusedError. target: path and query."""

    def get(self, target: str, headers: Any) -> Answer: ...

    def largest_body(self, target: str, headers: Any) -> int:
        """Return how many bytes the body of an action may have; it is asked before any of them is read."""

    def post(self, target: str, headers: Any, body: bytes) -> Answer: ...


class _BoundedRequest(io.RawIOBase):
    """What comes from a connection until SECONDS are over, and no more than LARGEST bytes."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._end = time.monotonic() + SECONDS
        self._left = LARGEST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            raise ConnectionAbortedError("too much came")
        self._connection.settimeout(max(1e-3, self._end - time.monotonic()))
        count = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count

    def allow(self, length: int) -> None:
        """Let so many bytes more come, and take UPLOAD_SECONDS for it."""
        self._left += length
        self._end = time.monotonic() + UPLOAD_SECONDS


class Server(ThreadingHTTPServer):
    """Serves an app. make_app: makes it once the port is known.

    host, port: where it listens; port 0 takes a free one. Raises OSError where that is not possible.
    """

    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, host: str, port: int, make_app: Callable[[int], App]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__((host, port), _Handler)
        self.app = make_app(self.server_address[1])

    def server_bind(self) -> None:
        """Bind without asking a name server, as the base class does, and which may take long."""
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Pass over a connection that broke: it is its client's affair."""


class _Handler(BaseHTTPRequestHandler):
    server: Server
    server_version, sys_version = "goodparts", ""

    def setup(self) -> None:
        super().setup()
        self._request = _BoundedRequest(self.connection)
        self.rfile = io.BufferedReader(self._request)

    def do_GET(self) -> None:
        self._answer(lambda: self.server.app.get(self.path, self.headers))

    def do_POST(self) -> None:
        self._answer(lambda: self.server.app.post(self.path, self.headers, self._body()))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:  # noqa: ARG002
        """Answer what the base class does not understand, and methods that there are not (501)."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self._send(Answer("text/plain; charset=utf-8", status.phrase.encode(), status))

    def _answer(self, ask: Callable[[], Answer]) -> None:
        try:
            answer = ask()
        except RefusedError as refusal:
            answer = Answer("text/plain; charset=utf-8", str(refusal).encode(), refusal.status)
        except OSError:
            raise  # the connection's
        except Exception as error:  # an engine that fails just now, say
            answer = Answer("text/plain; charset=utf-8", f"that failed: {type(error).__name__}".encode(), 500)
        self._send(answer)

    def _body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) != 1 or not lengths[0].isdecimal() or "Transfer-Encoding" in self.headers:
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "one Content-Length is needed")
        largest = self.server.app.largest_body(self.path, self.headers)
        if len(lengths[0]) > 9 or int(lengths[0]) > largest:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {largest} bytes")
        length = int(lengths[0])
        if length > LARGEST:
            self._request.allow(length)
        return self.rfile.read(length)

    def _send(self, answer: Answer) -> None:
        self.connection.settimeout(SECONDS)
        self.send_response(answer.status)
        for name, value in _HEADERS.items():
            self.send_header(name, value)
        self.send_header("Content-Type", answer.kind)
        self.send_header("Content-Length", str(len(answer.body)))
        self.send_header("Cache-Control", "private, max-age=86400, immutable" if answer.lasting else "no-store")
        if answer.status == HTTPStatus.METHOD_NOT_ALLOWED:
            self.send_header("Allow", "GET, POST")
        if answer.cookie is not None:
            self.send_header("Set-Cookie", answer.cookie)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(answer.body)
        self.close_connection = True

    def log_message(self, *_: object) -> None:
        """Log nothing."""
