from __future__ import annotations

import base64
import contextlib
import json
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import NamedTuple

import pytest
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.line.outputs.output import DeliveryError
from goodparts.runtime.line.outputs.webhook import Webhook

from tests.runtime.line.outputs.results import make_result


class Request(NamedTuple):
    method: str
    target: str
    authorization: str | None
    body: bytes


@contextlib.contextmanager
def serve(*answers: int, location: str = "") -> Iterator[tuple[str, list[Request]]]:
    """Answer requests with these statuses in turn; yield host and port, and the list of requests."""
    requests: list[Request] = []
    left = list(answers)

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            requests.append(Request(self.command, self.path, self.headers["Authorization"], body))
            self.send_response(left.pop(0))
            if location:
                self.send_header("Location", location)
            self.end_headers()

        def do_GET(self) -> None:
            self.do_POST()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield f"127.0.0.1:{server.server_address[1]}", requests
        server.shutdown()
        thread.join(30)


def test_a_webhook_posts_rejects_and_a_refusal_is_an_error() -> None:
    with serve(204, 500) as (host, requests):
        hook = Webhook(f"http://{host}/line?key=secret")
        assert [hook.wants(make_result(0, one)) for one in ("good", "review", "reject")] == [False, True, True]
        hook.send(make_result(7))
        assert json.loads(requests[0].body)["frame"] == 7
        with pytest.raises(DeliveryError, match="HTTP 500") as raised:
            hook.send(make_result(8))
        assert "secret" not in str(raised.value)
    with pytest.raises(SettingsError, match="http:// or https:// is needed"):
        Webhook("file:///etc/passwd")


@pytest.mark.parametrize("status", [300, 301, 302, 303, 304, 307, 308])
def test_a_redirect_is_a_failure_that_names_its_target_and_is_not_followed(status: int) -> None:
    with serve(status, location="http://elsewhere.invalid/new?key=secret") as (host, requests):
        with pytest.raises(DeliveryError, match=f"HTTP {status} .*to http://elsewhere.invalid/new, which") as raised:
            Webhook(f"http://{host}/line").send(make_result(1))
        assert [request.method for request in requests] == ["POST"]
        assert "secret" not in str(raised.value)


def test_user_and_password_are_sent_as_basic_authentication_and_odd_letters_encoded() -> None:
    with serve(200) as (host, requests):
        Webhook(f"http://me:p%40ss%3Aw@{host}/a token?key=a b").send(make_result(1))
    assert requests[0].authorization == f"Basic {base64.b64encode(b'me:p@ss:w').decode()}"
    assert requests[0].target == "/a%20token?key=a%20b"


def test_a_server_that_does_not_speak_http_gives_an_error_without_secrets() -> None:
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as listener:

        def answer() -> None:
            connection, _ = listener.accept()
            with connection:
                connection.recv(65536)
                connection.sendall(b"hello\r\n")

        thread = threading.Thread(target=answer)
        thread.start()
        hook = Webhook(f"http://me:secret1@127.0.0.1:{listener.getsockname()[1]}/secret2")
        with pytest.raises(DeliveryError) as raised:
            hook.send(make_result(1))
        thread.join(30)
    assert "secret" not in str(raised.value)
