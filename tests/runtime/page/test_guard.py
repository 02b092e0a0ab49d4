"""Which requests the guard accepts, and which it refuses."""

from __future__ import annotations

import socket
from email.message import Message
from pathlib import Path

import pytest
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.page.guard import Guard, RefusedError, read_token
from goodparts.runtime.page.page import _is_loopback, parse_address

from tests.runtime.page.conftest import ACTION, TOKEN, Client, OpenLine

LEFT = {"source": "left", "score": 0.5, "seen": 0.0}


@pytest.fixture
def token_file(tmp_path: Path) -> Path:
    path = tmp_path / "token"
    path.write_text(f"{TOKEN}\n")
    return path


@pytest.mark.parametrize(
    ("host", "accepted"),
    [
        ("127.0.0.1:8400", True),
        ("LOCALHOST:9", True),  # through a tunnel
        ("[::1]:8400", True),
        (socket.gethostname(), True),
        ("evil.example:8400", False),
        ("127.0.0.1.evil.example", False),
        ("localhost.evil.example", False),
        ("192.168.1.2:8400", False),  # this page is only for this machine
        ("127.0.0.1@evil.example", False),
        ("evil.example#127.0.0.1", False),
        ("", False),
    ],
)
def test_a_foreign_host_name_is_refused(host: str, accepted: bool) -> None:
    headers = Message()
    headers["Host"] = host
    guard = Guard("127.0.0.1", 8400, None)
    if accepted:
        guard.check_address(headers)
    else:
        with pytest.raises(RefusedError, match="not served under that name"):
            guard.check_address(headers)
    headers["Host"] = "127.0.0.1:8400"  # a second Host header: a proxy may use the other one
    with pytest.raises(RefusedError):
        guard.check_address(headers)


def test_with_a_token_an_address_is_enough_and_names_are_not() -> None:
    guard = Guard("line.local", 8400, TOKEN)
    for host, accepted in (("192.168.1.2:8400", True), ("line.local:8400", True), ("evil.example", False)):
        headers = Message()
        headers["Host"] = host
        if accepted:
            guard.check_address(headers)
        else:
            with pytest.raises(RefusedError):
                guard.check_address(headers)


def test_the_page_name_is_accepted_besides_the_address() -> None:
    guard = Guard("0.0.0.0", 8400, TOKEN, "Line1.factory.example")
    for host, accepted in (("line1.FACTORY.example:8400", True), ("line2.factory.example", False)):
        headers = Message()
        headers["Host"] = host
        if accepted:
            guard.check_address(headers)
        else:
            with pytest.raises(RefusedError, match="--page-name NAME"):
                guard.check_address(headers)


def test_a_page_with_a_name_is_for_others_and_has_a_token(open_line: OpenLine) -> None:
    messages: list[str] = []
    client = open_line(report=messages.append, page_name="line1.example")
    assert messages == [f"page: http://line1.example:{client.port}/#{messages[0].partition('#')[2]}"]
    assert "this token is shown once" in messages[0]
    assert client.get("/state", {"Host": "line1.example"}).status == 401


def test_rebinding_and_foreign_pages_get_nothing_from_a_running_page(client: Client) -> None:
    for headers, status in (
        ({}, 200),
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Host": f"evil.example:{client.port}"}, 421),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "no-cors", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Mode": "cors", "Sec-Fetch-Dest": "empty"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "iframe"}, 403),
    ):
        assert client.get("/state", headers).status == status, headers
    # A link on another site may open the page.
    link = {"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Mode": "navigate", "Sec-Fetch-Dest": "document"}
    assert client.get("/", link).status == 200


def test_an_action_is_accepted_only_from_the_page_itself(open_line: OpenLine) -> None:
    client = open_line()
    station = client.line.pipelines[0].station
    before = station.detector.thresholds.image
    action = LEFT | {"seen": before}
    own = f"http://127.0.0.1:{client.port}"
    for headers in (
        {"Content-Type": "application/json"},  # a fetch by another site, without the header
        {"X-Goodparts": "1", "Content-Type": "text/plain"},
        ACTION | {"Origin": "http://evil.example"},
        ACTION | {"Origin": "null"},
        ACTION | {"Origin": f"http://127.0.0.1:{client.port + 1}"},
        ACTION | {"Origin": own, "Sec-Fetch-Site": "cross-site"},
    ):
        assert client.post("/threshold", action, headers).status == 403, headers
    assert station.detector.thresholds.image == before
    assert client.get("/threshold").status == 404  # a link is no action
    assert client.post("/threshold", action, ACTION | {"Origin": own}).status == 200
    assert station.detector.thresholds.image == before * 0.5


def test_everything_but_the_empty_page_needs_the_token(open_line: OpenLine, token_file: Path) -> None:
    client = open_line(page_token=str(token_file), rejects=str(token_file.parent / "rejects"))
    for path in ("/", "/page.js", "/page.css", "/chart.js"):
        assert client.get(path).status == 200
    pictures = "/frame/left/0/heat.jpg", "/rejects/x/small.jpg"
    for path in ("/state", "/preview?source=left&threshold=1", "/rejects", *pictures, "/no/such"):
        assert client.get(path).status == 401, path
        assert client.get(path, {"Authorization": f"Bearer {TOKEN}x"}).status == 401
        assert client.get(path, {"Cookie": f"goodparts_{client.port}={TOKEN}"}).status == 401
    for path in ("/threshold", "/keep", "/undo"):
        assert client.post(path, LEFT).status == 401
    assert client.get("/state", {"Authorization": f"Bearer {TOKEN}"}).status == 200


def test_a_token_becomes_a_cookie_that_no_script_reads(open_line: OpenLine, token_file: Path) -> None:
    client = open_line(page_token=str(token_file))
    wrong = client.post("/login", {"token": "wrong"})
    assert (wrong.status, wrong.headers["Set-Cookie"]) == (401, None)
    assert client.post("/login", {"token": TOKEN}, {"Content-Type": "application/json"}).status == 403
    cookie = client.post("/login", {"token": TOKEN}).headers["Set-Cookie"]
    assert {"HttpOnly", "SameSite=Strict", "Path=/"} <= set(cookie.split("; "))
    assert TOKEN not in cookie
    assert client.get("/state", {"Cookie": f'other="; {cookie.split(";")[0]}; more={{}}'}).status == 200
    assert client.get("/state", {"Cookie": cookie.split(";")[0][:-1]}).status == 401


def test_another_address_never_goes_without_a_token(open_line: OpenLine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goodparts.runtime.page.page._is_loopback", lambda _: False)
    said: list[str] = []
    client = open_line(report=said.append)
    (line,) = said
    token = line.partition("#")[2].split(" ")[0]
    assert len(token) >= 32
    assert client.get("/state").status == 401
    state = client.get("/state", {"Authorization": f"Bearer {token}"})
    assert state.status == 200
    assert token.encode() not in state.body  # it is printed once, and the page does not show it


def test_which_addresses_only_this_machine_can_reach() -> None:
    assert [_is_loopback(host) for host in ("127.0.0.1", "127.8.9.1", "::1", "localhost")] == [True] * 4
    assert [_is_loopback(host) for host in ("0.0.0.0", "::", "192.168.1.2", "no.such.host.invalid")] == [False] * 4
    assert parse_address("8400") == ("127.0.0.1", 8400)
    assert parse_address("[::1]:80") == ("::1", 80)
    for wrong in ("", ":80", "host", "host:99999", "http://host:80", "a b:80", "host:80/x"):
        with pytest.raises(SettingsError, match="HOST:PORT is needed"):
            parse_address(wrong)


def test_tokens_that_could_be_guessed_are_refused(tmp_path: Path) -> None:
    for text in ("", "short", "a token with spaces in it", "é" * 20):
        (tmp_path / "token").write_text(text)
        with pytest.raises(SettingsError, match="openssl rand"):
            read_token(tmp_path / "token")
