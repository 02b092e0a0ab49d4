"""An HTTP server of metrics for Prometheus, on this machine's loopback address only."""

from __future__ import annotations

import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from ..core.errors import SettingsError


class MetricsServer(ThreadingHTTPServer):
    """Serves metrics at /metrics in its own thread, until it is closed.

    Args:
        port: The port; 0 takes a free one.
        content_type: The content type of the metrics.
        make_text: Returns the metrics; called at each request.

    Attributes:
        port: The port in use.

    Raises:
        SettingsError: The port is not free.
    """

    daemon_threads = True

    def __init__(self, port: int, content_type: str, make_text: Callable[[], bytes]) -> None:
        try:
            super().__init__(("127.0.0.1", port), _Handler)
        except OSError as error:
            raise SettingsError(f"metrics port {port}: {error.strerror}; choose another port") from error
        self.content_type, self.make_text = content_type, make_text
        self.port = int(self.server_address[1])
        self._thread = threading.Thread(target=self.serve_forever, name="metrics", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop serving and end the thread."""
        self.shutdown()
        self.server_close()
        self._thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: MetricsServer
    timeout = 5

    def do_GET(self) -> None:
        if self.path != "/metrics":
            self.send_error(404)
            return
        body = self.server.make_text()
        self.send_response(200)
        self.send_header("Content-Type", self.server.content_type)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Log nothing."""
