from __future__ import annotations

import json
import queue
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.line.outputs.output import DeliveryError
from goodparts.runtime.line.outputs.webhook import Webhook

from tests.runtime.line.outputs.results import make_result


def test_a_webhook_posts_rejects_and_a_refusal_is_an_error() -> None:
    got: queue.Queue[bytes] = queue.Queue()
    answers = [204, 500]

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            got.put(self.rfile.read(int(self.headers["Content-Length"])))
            self.send_response(answers.pop(0))
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=lambda: [server.handle_request() for _ in range(2)])
        thread.start()
        hook = Webhook(f"http://127.0.0.1:{server.server_address[1]}/line?key=secret")
        assert not hook.wants(make_result(0, "good"))
        hook.send(make_result(7))
        assert json.loads(got.get(timeout=30))["frame"] == 7
        with pytest.raises(DeliveryError) as raised:
            hook.send(make_result(8))
        assert "secret" not in str(raised.value)
        thread.join(30)
    with pytest.raises(SettingsError, match="http:// or https:// is needed"):
        Webhook("file:///etc/passwd")
