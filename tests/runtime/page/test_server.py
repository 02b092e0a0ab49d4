"""The server answers any request within its bounds, or closes the connection, and continues to serve."""

from __future__ import annotations

import contextlib
import socket
import time

import pytest
from goodparts.runtime.page import server

from tests.runtime.page.conftest import ACTION, Client

HOST = "Host: 127.0.0.1\r\n"


def talk(client: Client, sent: bytes, timeout: float = 30.0) -> bytes:
    """Send bytes and return everything that is received; b"" if the connection is closed without an answer."""
    with socket.create_connection(("127.0.0.1", client.port), timeout) as connection:
        received = b""
        try:
            connection.sendall(sent)
            while more := connection.recv(65536):
                received += more
        except (ConnectionResetError, BrokenPipeError):
            pass
        return received


def status(reply: bytes) -> int:
    return int(reply.split(b" ", 2)[1]) if reply else 0


def test_every_answer_has_the_security_headers(client: Client) -> None:
    for reply in (client.get("/"), client.get("/state"), client.get("/no"), client.get("/", method="PUT")):
        policy = reply.headers["Content-Security-Policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "*" not in policy
        assert "frame-ancestors 'none'" in policy
        assert reply.headers["X-Content-Type-Options"] == "nosniff"
        assert reply.headers["Referrer-Policy"] == "no-referrer"
        assert reply.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert "Python" not in reply.headers["Server"]
        assert "Access-Control-Allow-Origin" not in reply.headers


@pytest.mark.parametrize("method", ["PUT", "DELETE", "HEAD", "OPTIONS", "TRACE", "PATCH", "X"])
def test_other_methods_are_refused(client: Client, method: str) -> None:
    reply = client.get("/state", method=method)
    assert reply.status == 405
    assert reply.headers["Allow"] == "GET, POST"


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (f"GET /{'a' * 2000} HTTP/1.1\r\n{HOST}\r\n", 414),
        (f"GET / HTTP/1.1\r\n{HOST}X: {'a' * server.LARGEST}\r\n\r\n", 0),
        ("GET /" + "a" * 2 * server.LARGEST, 0),
        (f"GET / HTTP/1.1\r\n{HOST}" + "X: a\r\n" * 200 + "\r\n", 431),
        (
            "GET /\r\n\r\n",
            b"this page is not served under that name: open it by the address it was started with, or start it with "
            b"--page-name NAME (page_name in the line's file)",
        ),
        ("GET / HTTP/1.1\r\n\r\n", 421),
        (f"GET / HTTP/9.9\r\n{HOST}\r\n", b"HTTP Version Not Supported"),
        ("<script>alert(1)</script> / x\r\n\r\n", b"Bad Request"),
        ("\x16\x03\x01\x02\x00\x01\r\n\r\n", b"Bad Request"),  # TLS
        (f"POST /undo HTTP/1.1\r\n{HOST}", 0),
    ],
    ids=["target", "header", "line", "headers", "0.9", "no host", "version", "words", "tls", "half"],
)
def test_malformed_requests(client: Client, sent: str, expected: int | bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SECONDS", 0.3)
    reply = talk(client, sent.encode())
    assert reply == expected if isinstance(expected, bytes) else status(reply) == expected
    assert b"<script" not in reply
    assert client.get("/state").status == 200


@pytest.mark.parametrize(
    ("headers", "expected"),
    [
        ("", 411),
        ("Content-Length: -1\r\n", 411),
        ("Content-Length: 2\r\nContent-Length: 3\r\n", 411),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n", 411),
        (f"Content-Length: {server.LARGEST + 1}\r\n", 413),
        (f"Content-Length: {'9' * 5000}\r\n", 413),
        ("Content-Length: 2\r\n", 400),
    ],
)
def test_malformed_bodies(client: Client, headers: str, expected: int) -> None:
    action = "".join(f"{name}: {value}\r\n" for name, value in ACTION.items())
    assert status(talk(client, f"POST /undo HTTP/1.1\r\n{HOST}{action}{headers}\r\n{{}}".encode())) == expected


@pytest.mark.parametrize(
    "body", [{}, {"source": 1}, {"source": "left", "label": "x", "more": 1}, {"source": "../x", "label": ""}]
)
def test_malformed_actions(client: Client, body: dict[str, object]) -> None:
    assert client.post("/undo", body).status in (400, 422)


def test_slow_clients_are_disconnected_and_delay_nobody(client: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "SECONDS", 0.4)
    begin = time.monotonic()
    with socket.create_connection(("127.0.0.1", client.port), 10) as slow:
        for _ in range(100):  # a byte now and then does not keep the connection open
            try:
                slow.sendall(b"a")
            except OSError:
                break
            time.sleep(0.05)
    assert time.monotonic() - begin < 3
    with contextlib.ExitStack() as stack:
        connect = lambda: stack.enter_context(socket.create_connection(("127.0.0.1", client.port), 10))  # noqa: E731
        idle = [connect() for _ in range(server.CONNECTIONS)]
        assert talk(client, f"GET / HTTP/1.1\r\n{HOST}\r\n".encode()) == b""  # one too many is closed at once
        assert [connection.recv(1) for connection in idle] == [b""] * server.CONNECTIONS
    assert client.get("/state").status == 200
