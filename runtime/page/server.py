"""An HTTP server that limits its clients in time, in bytes and in number. Each connection carries one request."""

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
"""The most connections that are open at the same time; the server closes any further one immediately."""
SECONDS = 10.0
"""Seconds within which a whole request must arrive, and again within which the client must take the answer."""
LARGEST = 16_384
"""The most bytes of a request, its headers included."""
UPLOAD_SECONDS = 120.0
"""Seconds within which a body of more than LARGEST bytes must arrive, if the app allows such a body."""
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
"""The Content-Security-Policy of every answer."""
_HEADERS = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cross-Origin-Opener-Policy": "same-origin",
}


class Answer(NamedTuple):
    """The answer to a request.

    Attributes:
        kind: The body's media type.
        body: The bytes of the content.
        status: The HTTP status.
        lasting: Whether the content at this address never changes, so that browsers may cache it.
        cookie: The value of the Set-Cookie header; None for no cookie.
    """

    kind: str
    body: bytes
    status: int = 200
    lasting: bool = False
    cookie: str | None = None


class App(Protocol):
    """The interface between a server and its app, which answers requests or refuses them."""

    def get(self, target: str, headers: Any) -> Answer:
        """Return the answer to a GET request.

        Args:
            target: The request's path and query.
            headers: The request's headers, an email.message.Message.

        Raises:
            RefusedError: The request is refused.
        """

    def largest_body(self, target: str, headers: Any) -> int:
        """Return the largest accepted size of a POST request's body, in bytes.

        The server calls this before it reads any byte of the body.

        Args:
            target: The request's path and query.
            headers: The request's headers, an email.message.Message.

        Raises:
            RefusedError: The request is refused.
        """

    def post(self, target: str, headers: Any, body: bytes) -> Answer:
        """Return the answer to a POST request.

        Args:
            target: The request's path and query.
            headers: The request's headers, an email.message.Message.
            body: The request's body.

        Raises:
            RefusedError: The request is refused.
        """


class _BoundedRequest(io.RawIOBase):
    """The bytes that a connection receives within SECONDS, and at most LARGEST of them."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._end = time.monotonic() + SECONDS
        self._left = LARGEST

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        if not self._left:
            raise ConnectionAbortedError("the request is too long")
        self._connection.settimeout(max(1e-3, self._end - time.monotonic()))
        count = self._connection.recv_into(memoryview(buffer)[: self._left])
        self._left -= count
        return count

    def allow(self, length: int) -> None:
        """Accept `length` bytes more, and allow UPLOAD_SECONDS for them."""
        self._left += length
        self._end = time.monotonic() + UPLOAD_SECONDS


class Server(ThreadingHTTPServer):
    """A server for one app.

    Args:
        host: The name or address to listen on.
        port: The port to listen on; 0 takes a free one.
        make_app: Makes the app from the port that the server listens on.

    Raises:
        OSError: The server cannot listen on this address.
    """

    daemon_threads = True
    request_queue_size = CONNECTIONS

    def __init__(self, host: str, port: int, make_app: Callable[[int], App]) -> None:
        self.address_family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._free = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__((host, port), _Handler)
        self.app = make_app(self.server_address[1])

    def server_bind(self) -> None:
        """Bind the socket. The base class would also ask a name server for the host's name, which may take long."""
        socket.socket.setsockopt(self.socket, socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()

    def process_request(self, request: Any, client_address: Any) -> None:
        """Answer a request in a thread of its own, or close the connection if CONNECTIONS are open already.

        Args:
            request: The client's socket.
            client_address: The client's address.
        """
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer a request in this thread; afterwards the next connection may take its place.

        Args:
            request: The client's socket.
            client_address: The client's address.
        """
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Ignore a connection that broke. The base class would print a traceback for it.

        Args:
            request: The client's socket.
            client_address: The client's address.
        """


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
        """Answer requests that the base class cannot parse. A method other than GET and POST gets 405, not its 501."""
        status = HTTPStatus.METHOD_NOT_ALLOWED if code == HTTPStatus.NOT_IMPLEMENTED else HTTPStatus(code)
        self._send(Answer("text/plain; charset=utf-8", status.phrase.encode(), status))

    def _answer(self, ask: Callable[[], Answer]) -> None:
        try:
            answer = ask()
        except RefusedError as refusal:
            answer = Answer("text/plain; charset=utf-8", str(refusal).encode(), refusal.status)
        except OSError:
            raise  # the connection failed: nobody can be answered
        except Exception as error:  # for example, the engine failed
            answer = Answer("text/plain; charset=utf-8", f"that failed: {type(error).__name__}".encode(), 500)
        self._send(answer)

    def _body(self) -> bytes:
        lengths = self.headers.get_all("Content-Length", [])
        if len(lengths) != 1 or not lengths[0].isdecimal() or "Transfer-Encoding" in self.headers:
            raise RefusedError(HTTPStatus.LENGTH_REQUIRED, "one Content-Length is needed")
        largest = self.server.app.largest_body(self.path, self.headers)
        if len(lengths[0]) > 9 or int(lengths[0]) > largest:
            raise RefusedError(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"at most {largest} bytes are accepted")
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
