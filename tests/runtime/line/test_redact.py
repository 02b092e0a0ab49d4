from __future__ import annotations

import pytest
from goodparts.runtime.line.redact import redact_address, redact_text


def test_addresses_are_shown_without_their_secrets() -> None:
    assert redact_address("rtsp://me:pass@camera:554/live?token=1") == "rtsp://camera:554/live"
    assert redact_address("/dev/video0") == "/dev/video0"


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("http://a:p@ss@host/x", "http://host/x"),
        ("rtsp://u:p/a#s?s@host/x", "rtsp://host/x"),
        ("two http://a:b@c, http://d:e@f", "two http://c, http://f"),
        ("no address: a@b", "no address: a@b"),
        ("rtsp://[::1", "rtsp://[::1"),
    ],
)
def test_odd_addresses_in_a_text_are_redacted(text: str, expected: str) -> None:
    assert redact_text(text) == expected
