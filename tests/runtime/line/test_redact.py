from __future__ import annotations

import pytest
from goodparts.runtime.line.redact import Redactor, redact_address, redact_text


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
        ("rtsp://host/x?token=secret@secret", "rtsp://…"),
        ("rtsp://u:p@ss/secret@host/x", "rtsp://…"),
        ("rtsp://u:p/x@host/x?token=s@secret", "rtsp://…"),
        ("rtsp://u/x:secret@host", "rtsp://…"),
    ],
)
def test_odd_addresses_in_a_text_are_redacted(text: str, expected: str) -> None:
    assert redact_text(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "Error opening rtsp://op:hunter2@camera.local/live?token=hunter3",
        "nonnumeric port: 'hunter2@camera.local'",
        "cannot log in with op:hunter2",
        "no such token: hunter6@hunter7",
        "URL can't contain control characters: '/live?token=hunter3'",
        "'/services/hunter 4' is no path (found at least ' ')",
        "POST /services/hunter%204 failed",
        "rejected: hunter+5, hunter%2B5",
    ],
)
def test_secrets_of_known_addresses_are_found_however_they_are_quoted(text: str) -> None:
    sources = [
        "rtsp://op:hunter2@camera.local/live?token=hunter3",
        "mqtt://u:hunter%2B5@host/t",
        "http://c/x?t=hunter6@hunter7",
        "/dev/video0",
    ]
    assert "hunter" not in Redactor(sources, ["https://host/services/hunter 4"]).redact(text)


def test_other_texts_do_not_change() -> None:
    redactor = Redactor(["incoming", "rtsp://a:b@camera/live"], ["http://host/"])
    for text in ("left: No such file: incoming/a.png", "a part is bad", "results.jsonl: No space left on device"):
        assert redactor.redact(text) == text
