"""The gallery shows the rejects that rejects.py wrote, and no other file."""

from __future__ import annotations

import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from goodparts.runtime.line.outputs.rejects import Rejects
from goodparts.runtime.line.results import Result
from goodparts.runtime.page import gallery
from PIL import Image

from tests.runtime.page.conftest import Client, OpenLine

NASTY = "20260101T000000000Z_left_1"


@pytest.fixture
def folder(tmp_path: Path, results: dict[str, Result]) -> Path:
    with contextlib.closing(Rejects(tmp_path / "rejects", 10**9)) as rejects:
        rejects.send(results["reject"])
    (tmp_path / "secret.json").write_text("secret")
    return tmp_path / "rejects"


@pytest.fixture
def client(open_line: OpenLine, folder: Path) -> Iterator[Client]:
    return open_line(rejects=str(folder))


def test_a_saved_reject_is_listed_and_shown(client: Client, folder: Path, results: dict[str, Result]) -> None:
    listing = client.get("/rejects").json
    (reject,) = listing["rejects"]
    record = results["reject"].record
    assert {key: reject[key] for key in ("source", "time", "frame", "score", "verdict")} == {
        key: record[key] for key in ("source", "time", "frame", "score", "verdict")
    }
    assert reject["file"] == ""
    assert (listing["total"], listing["more"]) == (1, False)
    assert client.get("/state").json["rejects"] == {"total": 1, "reviews": 0, "newest": reject["name"]}
    for kind, file in (("plain.png", "frame.png"), ("heat.png", "map.png")):
        reply = client.get(f"/rejects/{reject['name']}/{kind}")
        assert reply.body == (folder / f"{reject['name']}.{file}").read_bytes()
        assert reply.headers["Content-Type"] == "image/png"
    small = client.get(f"/rejects/{reject['name']}/small.jpg")
    assert max(Image.open(io.BytesIO(small.body)).size) == gallery.THUMBNAIL


def test_the_name_of_a_reject_s_picture_is_listed_without_its_folders(
    client: Client, folder: Path, results: dict[str, Result]
) -> None:
    (file,) = folder.glob("*.json")
    file.write_bytes(results["reject"].line.replace(b"{", b'{"path": "/incoming/secret/038.png", ', 1))
    (reject,) = client.get("/rejects").json["rejects"]
    assert reject["file"] == "038.png"
    assert "secret" not in json.dumps(reject)


def test_it_is_read_in_pages_newest_first(client: Client, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gallery, "SHOWN", 2)
    for number in (1, 2, 3, 4):
        (folder / f"2026010{number}T000000000Z_left_1.json").write_text("{}")
    first = client.get("/rejects").json
    assert first["more"]
    second = client.get(f"/rejects?before={first['rejects'][-1]['name']}").json
    names = [one["name"][:8] for one in first["rejects"] + second["rejects"]]
    assert names == ["20260104", "20260103", "20260102", "20260101"]


def test_parts_to_review_are_told_from_rejects_and_listed_by_themselves(client: Client, folder: Path) -> None:
    (folder / f"{NASTY}-review.json").write_text("{}")
    shown = {decision: client.get(f"/rejects?decision={decision}").json for decision in ("review", "reject")}
    assert [[one["review"] for one in listing["rejects"]] for listing in shown.values()] == [[True], [False]]
    assert len(client.get("/rejects").json["rejects"]) == 2
    assert client.get("/state").json["rejects"]["reviews"] == 1
    assert client.get("/rejects?decision=good").status == 400


def test_no_path_leads_out_of_the_folder(client: Client) -> None:
    for name in (
        "..", "../secret", "..%2fsecret", "%2e%2e%2fsecret", "....//secret", "/etc/passwd", "secret", ".", "",
        f"{NASTY}/../../secret", f"{NASTY}\\..\\..\\secret", f"{NASTY}%00", "20260101T000000000Z_.._1",
    ):  # fmt: skip
        for kind in ("plain.png", "heat.png", "small.jpg", "json", ""):
            reply = client.get(f"/rejects/{name}/{kind}")
            assert reply.status == 404
            assert b"secret" not in reply.body


@pytest.mark.skipif(sys.platform == "win32", reason="links and pipes are POSIX's")
def test_links_pipes_and_files_that_are_no_pictures_are_not_shown(client: Client, folder: Path, tmp_path: Path) -> None:
    (folder / f"{NASTY}.frame.png").symlink_to(tmp_path / "secret.json")
    os.mkfifo(folder / f"{NASTY}.map.png")
    (folder / f"{NASTY}.json").symlink_to(tmp_path / "secret.json")
    for kind in ("plain.png", "heat.png", "small.jpg"):
        assert client.get(f"/rejects/{NASTY}/{kind}").status == 404
    (folder / f"{NASTY}.map.png").unlink()
    (folder / f"{NASTY}.map.png").write_bytes(b"<svg onload=alert(1)>")
    assert client.get(f"/rejects/{NASTY}/small.jpg").status == 404
    raw = client.get(f"/rejects/{NASTY}/heat.png")
    assert (raw.headers["Content-Type"], raw.headers["X-Content-Type-Options"]) == ("image/png", "nosniff")


def test_a_reject_with_a_damaged_record_is_listed_without_caption(client: Client, folder: Path) -> None:
    texts = ("", "[]", "{", '{"source": 1}', '{"score": "x"}', "\xff", "[" * 100_000)
    for number, text in enumerate(texts):
        (folder / f"{NASTY}{number}.json").write_text(text, "latin-1")
    rejects = client.get("/rejects").json["rejects"]
    bare = [{"name": f"{NASTY}{number}", "review": False} for number in reversed(range(len(texts)))]
    assert [one for one in rejects if len(one) == 2] == bare
    assert len(rejects) == len(texts) + 1


def test_without_saved_rejects_there_is_no_gallery(open_line: OpenLine) -> None:
    client = open_line()
    assert json.loads(client.get("/state").body)["rejects"] is None
    assert client.get("/rejects").status == 404
