from __future__ import annotations

from urllib.request import urlopen

import pytest
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.line.metrics_server import MetricsServer


def test_a_text_is_served_on_loopback_with_its_type() -> None:
    server = MetricsServer(0, "text/plain; version=7", lambda: b"up 1\n")
    with urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=30) as answer:
        assert (answer.read(), answer.headers["Content-Type"]) == (b"up 1\n", "text/plain; version=7")
    with pytest.raises(SettingsError, match=f"metrics port {server.port}: .*; choose another port"):
        MetricsServer(server.port, "", lambda: b"")
    server.close()
