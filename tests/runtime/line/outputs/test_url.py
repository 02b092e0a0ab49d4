from __future__ import annotations

import pytest
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.line.outputs.url import OutputUrl


def parse(url: str, path_is_secret: bool = False) -> OutputUrl:
    needed = "http:// is needed"
    return OutputUrl.parse("hook", url, ("http", "mqtt"), needed, path_is_secret=path_is_secret)


def test_a_url_is_taken_apart_and_its_secrets_are_not_shown() -> None:
    url = parse("http://me:p%40ss%2Fw@host:81/a%20b/to ken?key=s cret", path_is_secret=True)
    assert (url.user, url.password, url.host, url.port) == ("me", "p@ss/w", "host", 81)
    assert (url.path, url.query) == ("/a%20b/to%20ken", "key=s%20cret")
    assert url.shown == "http://host:81/…"
    assert parse("mqtt://me:p@ss@[::1]/hall/line").shown == "mqtt://[::1]/hall/line"
    assert parse("mqtt://me:p@ss@[::1]/hall/line").password == "p@ss"


@pytest.mark.parametrize("url", ["mqtt://u:secret/x@host/t", "http://u:p@host/secret@x", "http://u:secret#@host"])
def test_where_a_password_ends_must_be_clear(url: str) -> None:
    with pytest.raises(SettingsError, match="write %40 for @, %2F for /") as raised:
        parse(url)
    assert "secret" not in str(raised.value)


@pytest.mark.parametrize("url", ["ftp://u:secret@host", "u:secret@host/x", "http:///x", "http://host:port/", "secret"])
def test_another_kind_of_url_is_refused_without_its_secrets(url: str) -> None:
    with pytest.raises(SettingsError, match="http:// is needed") as raised:
        parse(url)
    assert "secret" not in str(raised.value)
