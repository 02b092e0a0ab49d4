"""Which requests the studio accepts, and what malformed requests lead to."""

from __future__ import annotations

import io
import json
import re
import threading
from pathlib import Path
from typing import Any

import pytest
from goodparts.runtime import Recipe
from goodparts.runtime.commands.watch import _open_studio
from goodparts.runtime.engine.shipped import SHIPPED
from goodparts.runtime.line.open_line import open_line
from goodparts.runtime.line.settings import LineSettings, OutputSettings, SourceSettings
from goodparts.runtime.line.shared_engine import SharedEngine
from goodparts.runtime.page import server
from goodparts.runtime.page.page import Page
from goodparts.runtime.recipe.signing import Signer, Trust, generate
from goodparts.runtime.recipe.teach import teach as teach_photos
from goodparts.runtime.studio import photos as dropped
from PIL import Image, PngImagePlugin

from tests.conftest import draw_part
from tests.runtime.page.conftest import ACTION, TOKEN
from tests.runtime.page.test_server import HOST, status, talk
from tests.runtime.studio.conftest import UPLOAD, OpenStudio, StudioClient, to_png

NEVER_OF_ONE = {"region.isPolygon", "region.tiles", "settle.take"}
"""Texts that are shown only for a count of at least 2."""
STATIC = Path(dropped.__file__).with_name("static")


def test_the_languages_have_the_same_words_and_the_page_knows_all_of_them() -> None:
    english, german = (json.loads((STATIC / f"strings.{code}.json").read_text()) for code in ("en", "de"))
    assert english.keys() == german.keys()
    for key, text in english.items():
        assert text
        assert german[key]
        holes = [{part.partition("}")[0] for part in one.split("{")[1:]} for one in (text, german[key])]
        assert holes[0] == holes[1], key
        if re.search(r"{count}( \w+)* \w+s\b|{count} are", text) and key not in NEVER_OF_ONE:
            assert f"{key}.one" in english
    page = "".join(file.read_text() for file in [STATIC / "index.html", *STATIC.glob("*.js")])
    asked = set(re.findall(r'data-t="([^"]+)"|\bt\("([^"]+)"', page))
    assert len(asked) > 100
    assert {first or second for first, second in asked} <= english.keys()


def test_everything_but_the_empty_page_needs_the_token(open_studio: OpenStudio, tmp_path: Path) -> None:
    (tmp_path / "token").write_text(TOKEN)
    client = open_studio(token=tmp_path / "token")
    for path in ("/", "/studio.js", "/strings.de.json", "/studio.css", "/page.css", "/common.js"):
        assert client.get(path).status == 200
    for path in ("/state", "/live", "/scores?product=x", "/frame/1/plain.jpg", "/picture/small.jpg", "/recipe"):
        assert client.get(path).status == 401
    for path in ("/choose", "/create", "/collect", "/teach", "/undo"):
        assert client.act(path).status == 401
    photo = to_png(draw_part(1))
    for path in ("/upload", "/show"):
        assert client.ask("POST", path, photo, UPLOAD).status == 401
        assert client.ask("POST", path, photo, UPLOAD | {"Authorization": f"Bearer {TOKEN}x"}).status == 401
    assert client.ask("POST", "/show", photo, UPLOAD | {"Authorization": f"Bearer {TOKEN}"}).status == 200


def test_a_photo_is_accepted_only_from_the_page_itself(client: StudioClient) -> None:
    client.create("ring")
    photo, path = to_png(draw_part(1)), "/upload?product=ring&kind=good&name=a.png"
    for headers in (
        {"Content-Type": "application/octet-stream"},
        UPLOAD | {"Content-Type": "text/plain"},
        UPLOAD | {"Content-Type": "multipart/form-data; boundary=x"},
        UPLOAD | {"Origin": "http://evil.example"},
        UPLOAD | {"Sec-Fetch-Site": "cross-site"},
        ACTION,
    ):
        assert client.ask("POST", path, photo, headers).status == 403
    assert client.ask("POST", path, photo, UPLOAD | {"Host": "evil.example"}).status == 421
    assert client.state()["pictures"]["good"] == []


def test_only_a_photo_may_be_large_and_only_from_a_permitted_sender(
    client: StudioClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(server, "SECONDS", 0.5)
    monkeypatch.setattr(server, "UPLOAD_SECONDS", 0.5)
    client.create("ring")
    query = "product=ring&kind=good&name=a.png"
    for path, length, given, expected in (
        ("/create", server.LARGEST + 1, ACTION, 413),
        (f"/upload?{query}", dropped.LARGEST_PHOTO + 1, UPLOAD, 413),
        (f"/upload?{query}", server.LARGEST + 1, ACTION, 403),  # refused before the body is read
        (f"/upload?{query}", 100_000, UPLOAD, 400),  # only a part of the body is sent
    ):
        headers = "".join(f"{name}: {value}\r\n" for name, value in given.items())
        begin = f"POST {path} HTTP/1.1\r\n{HOST}{headers}Content-Length: {length}\r\n\r\n"
        reply = talk(client, begin.encode() + b"x" * 10)  # type: ignore[arg-type]
        assert status(reply) in (expected, 0) if expected == 400 else status(reply) == expected
    assert client.state()["pictures"]["good"] == []


def hostile_pictures() -> dict[str, tuple[bytes, str]]:
    """Return files that are not accepted as photos, each with a pattern of its error."""
    drawing = io.BytesIO()
    text = PngImagePlugin.PngInfo()
    text.add_text("Software", "goodparts drawing")
    draw_part(1).save(drawing, "PNG", pnginfo=text)
    bomb = io.BytesIO()
    Image.new("1", (20_000, 20_000)).save(bomb, "PNG")
    gif = io.BytesIO()
    draw_part(1).save(gif, "GIF")
    whole = to_png(draw_part(1))
    return {
        "empty": (b"", "no picture of a known format"),
        "html": (b"<script>alert(1)</script>", "no picture of a known format"),
        "postscript": (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n", "no picture of a known format"),
        "gif": (gif.getvalue(), "no picture of a known format"),
        "half": (whole[: len(whole) // 2], "damaged or cut short"),
        "bomb": (bomb.getvalue(), "too large|megapixels are accepted"),
        "tiny": (to_png(Image.new("RGB", (3, 3))), "at least 8×8 is needed"),
        "drawing": (drawing.getvalue(), "a drawing of goodparts"),
    }


def test_hostile_pictures_are_refused_in_one_line_and_not_kept(client: StudioClient) -> None:
    client.create("ring")
    for name, (data, message) in hostile_pictures().items():
        for path in ("/upload", "/show"):
            reply = client.upload(data, f"product=ring&kind=good&name=%3Cb%3E{name}.png", path)
            assert reply.status == 422, name
            assert re.search(message, reply.body.decode())
            assert reply.body.count(b"\n") == 0
    assert client.state()["pictures"]["good"] == []


@pytest.mark.parametrize(
    ("path", "action", "expected"),
    [
        ("/choose", {"address": "/nowhere"}, 422),
        ("/choose", {"address": ""}, 422),
        ("/choose", {"address": "/etc/passwd\0"}, 422),
        ("/choose", {"address": "x" * 401}, 422),
        ("/choose", {"address": "gopher://host/"}, 422),
        ("/choose", {"address": "genicam:/tmp/evil.cti"}, 422),
        ("/choose", {"address": "concat:/etc/passwd|/etc/hosts"}, 422),
        ("/choose", {}, 400),
        ("/create", {"name": "x", "more": 1}, 400),
        ("/collect", {"product": "ring", "kind": "../x", "frame": 1}, 400),
        ("/collect", {"product": "ring", "kind": "good", "frame": 1}, 409),
        ("/collect", {"product": "../ring", "kind": "good", "frame": 1}, 409),
        ("/move", {"product": "ring", "name": "../product.json", "source": "good", "target": "bad"}, 409),
        ("/move", {"product": "ring", "name": "0.png", "source": "good", "target": "former"}, 400),
        ("/teach", {"product": "nothing", "seen": ""}, 409),
        ("/threshold", {"product": "ring", "seen": "", "threshold": 1e999, "review": None}, 400),
        ("/sign", {"product": "ring", "seen": ""}, 422),
        ("/undo", {"product": "ring", "seen": ""}, 422),
        ("/no/such", {}, 404),
    ],
)  # fmt: skip
def test_wrong_actions_change_nothing(client: StudioClient, path: str, action: dict[str, Any], expected: int) -> None:
    client.create("ring", good=1)
    before = client.state()
    body = json.dumps(action).replace("Infinity", "1e999").encode()
    assert client.ask("POST", path, body, ACTION).status == expected
    assert client.state() == before


def test_files_outside_the_products_cannot_be_read(client: StudioClient, tmp_path: Path) -> None:
    draw_part(1).save(tmp_path / "secret.png")
    client.create("ring", good=1)
    for query in (
        "product=ring&kind=good&name=../../../secret.png",
        "product=ring&kind=../..&name=secret.png",
        "product=..&kind=.&name=secret.png",
        f"product=ring&kind=good&name={tmp_path}/secret.png",
        "product=ring&kind=good&name=%2e%2e%2f0.png",
    ):
        assert client.get(f"/picture/plain.jpg?{query}").status == 409
    assert client.get("/recipe?product=../ring").status == 409
    assert client.get("/recipe?product=ring").status == 404
    for path in ("/static/index.html", "/..%2fproduct.json", "/ring/product.json"):
        assert client.get(path).status == 404


def test_passwords_of_sources_are_not_shown(open_studio: OpenStudio) -> None:
    address = "rtsp://operator:hunter2@127.0.0.1:9/live?token=hunter3"
    client = open_studio(named=(address,))
    client.studio.live.choose(address)
    reply = client.get("/state")
    assert reply.json["named"] == ["rtsp://127.0.0.1:9/live"]
    assert b"hunter" not in reply.body
    assert (
        client.act("/choose", address="rtsp://127.0.0.1:9/live").status == 200
    )  # stands for the address with password


def test_the_pictures_of_a_folder_are_shown_one_after_another(client: StudioClient, tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for name, seed in (("a", 1), ("b", 2)):
        draw_part(seed).save(folder / f"{name}.png")
    assert client.act("/choose", address=str(folder)).status == 200
    seen: list[str] = []
    client.wait(lambda _: seen.append(client.get("/live").json.get("name")) or {"a", "b"} <= set(seen))
    assert client.act("/close").status == 200
    assert client.get("/live").json == {"number": None}


def test_the_last_picture_of_a_folder_stays_and_the_folder_can_be_shown_again(
    client: StudioClient, tmp_path: Path
) -> None:
    """A folder named photos is no exception, and a picture that is kept already is no change by somebody else."""
    folder = tmp_path / "photos"
    folder.mkdir()
    draw_part(1).save(folder / "a.png")
    client.create("ring")

    def shown(_: Any) -> Any:
        return client.get("/live?product=ring").json["number"]

    assert client.act("/choose", address=str(folder)).status == 200
    first = client.wait(shown)
    assert client.get("/state").json["source"]["folder"] is True
    keep = {"product": "ring", "kind": "settle"}
    kept = client.act("/collect", **keep, frame=first).json
    again = client.act("/collect", **keep, frame=first)
    assert (again.status, again.json) == (200, "")
    assert client.act("/move", product="ring", name=kept, source="settle", target="removed").status == 200
    assert client.act("/collect", **keep, frame=first).json.endswith(".png")
    assert client.act("/choose", address=str(folder)).status == 200
    second = client.wait(shown)
    assert second > first
    same = client.act("/collect", **keep, frame=second)
    assert (same.status, b"same picture" in same.body) == (422, True)
    assert len(client.state()["pictures"]["settle"]) == 1


def test_two_browsers_do_not_overwrite_each_others_changes(client: StudioClient) -> None:
    client.create("ring", good=3)
    recipe, seen = client.teach(), client.state()["revision"]
    one = {"product": "ring", "seen": recipe["digest"], "review": None}
    assert client.act("/threshold", **one, threshold=2 * recipe["threshold"]).status == 200
    late = client.act("/threshold", **one, threshold=3 * recipe["threshold"])
    assert (late.status, b"changed the recipe meanwhile" in late.body) == (409, True)
    assert client.act("/undo", product="ring", seen=recipe["digest"]).status == 409
    region = {"product": "ring", "frame": [320, 240], "polygon": [], "smallest_defect": None}
    box = {"x": 10, "y": 10, "width": 200, "height": 200}
    answers = [client.act("/region", **region, seen=seen, roi=box).status for _ in range(2)]
    assert answers == [200, 409]
    assert client.act("/teach", product="ring", seen=seen).status == 409
    assert client.state()["recipe"]["threshold"] == 2 * recipe["threshold"]
    move = {"product": "ring", "name": "0.png", "source": "good", "target": "removed"}
    assert [client.act("/move", **move).status for _ in range(2)] == [200, 409]


def test_many_requests_at_once_keep_every_picture_and_one_recipe(client: StudioClient, tmp_path: Path) -> None:
    client.create("ring", good=2)
    client.teach()
    answers: list[int] = []

    def work(hand: int) -> None:
        for seed in range(4):
            query = "product=ring&kind=bad&name=same.png"
            answers.append(client.upload(to_png(draw_part(100 + 10 * hand + seed)), query).status)
            state = client.state()
            if state["recipe"]:
                action = {"product": "ring", "seen": state["recipe"]["digest"], "review": None}
                client.act("/threshold", **action, threshold=state["recipe"]["threshold"] * 1.1)

    hands = [threading.Thread(target=work, args=(hand,)) for hand in range(4)]
    for hand in hands:
        hand.start()
    for hand in hands:
        hand.join()
    assert answers == [200] * 16
    assert len(client.state()["pictures"]["bad"]) == 16
    folder = tmp_path / "products" / "ring"
    Recipe.open(folder / "recipe.safetensors")
    for former in (folder / "former").iterdir():
        Recipe.open(former)


def test_a_signed_recipe_is_signed_again_or_not_changed(open_studio: OpenStudio, tmp_path: Path) -> None:
    pytest.importorskip("cryptography")
    trust = Trust.read(generate(tmp_path / "key"))
    client = open_studio(tmp_path / "products", signer=Signer.read(tmp_path / "key"))
    client.create("ring", good=2)
    path = tmp_path / "products" / "ring" / "recipe.safetensors"
    digest = client.teach()["digest"]
    assert client.act("/sign", product="ring", seen=digest).status == 200
    recipe = client.state()["recipe"]
    assert recipe["signed"]
    action = {"product": "ring", "threshold": 2 * recipe["threshold"], "review": 0.7}
    assert client.act("/threshold", **action, seen=recipe["digest"]).status == 200
    signed = Recipe.open(path, trust)
    assert signed.header.thresholds.review == 0.7
    client.studio.close()
    other = open_studio(tmp_path / "products")
    other.product = "ring"
    refused = other.act("/threshold", **action, seen=signed.digest)
    assert (refused.status, b"--key FILE" in refused.body) == (422, True)
    assert Recipe.open(path, trust).digest == signed.digest


def test_pictures_that_add_little_get_a_note(client: StudioClient) -> None:
    client.create("ring", good=5)
    first = draw_part(0)
    noisy = first.copy()
    noisy.putpixel((3, 3), (0, 0, 0))
    dark = draw_part(9).point(lambda value: int(0.7 * value))
    for name, picture in (("noisy", noisy), ("dark", dark)):
        client.upload(to_png(picture), f"product=ring&kind=good&name={name}.png")
    again = client.upload(to_png(first), "product=ring&kind=good&name=again.png")
    assert (again.status, b"the same picture as 0.png" in again.body) == (422, True)
    pictures = client.wait(lambda state: state["pictures"]["good"])
    notes = {picture["name"]: [note["code"] for note in picture["notes"]] for picture in pictures if picture["notes"]}
    assert notes == {"noisy.png": ["alike"], "dark.png": ["darker"]}


def test_failed_teaching_is_explained_and_leaves_the_recipe(client: StudioClient) -> None:
    client.create("ring", good=2)
    digest = client.teach()["digest"]
    client.upload(to_png(draw_part(1, size=(64, 64))), "product=ring&kind=good&name=small.png")
    seen = client.state()["revision"]
    box = {"x": 100, "y": 100, "width": 100, "height": 100}
    action = {"product": "ring", "frame": [320, 240], "polygon": [], "roi": box, "smallest_defect": None}
    assert client.act("/region", **action, seen=seen).status == 200
    assert client.act("/teach", product="ring", seen=client.state()["revision"]).status == 200
    error = client.wait(lambda state: state["teaching"] and state["teaching"]["error"])
    assert "small.png: region 100,100,100,100 does not lie inside" in error
    assert client.state()["recipe"]["digest"] == digest


@pytest.fixture
def recipe_of_line(photos: Path, shared_engine: SharedEngine, tmp_path: Path) -> Path:
    path = tmp_path / "line.safetensors"
    teach_photos(photos / "good", "ring", engine=shared_engine.engine).save(path)
    return path


def test_a_line_is_taught_on_its_page_only_where_that_was_allowed(
    recording: Path, recipe_of_line: Path, tmp_path: Path
) -> None:
    for teach in (None, str(tmp_path / "products")):
        output = OutputSettings(page="127.0.0.1:0", page_teach=teach)
        source = SourceSettings(name="left", address=str(recording), recipe=str(recipe_of_line))
        line = open_line(LineSettings(engine=str(SHIPPED), source=(source,), output=output), print)
        studio = None if teach is None else _open_studio(Path(teach), line)
        page = Page(line, output, print, studio and studio.app)
        client = StudioClient(studio, page)  # type: ignore[arg-type]
        assert client.get("/state").json["teaches"] is (teach is not None)
        assert client.get("/studio/").status == (404 if teach is None else 200)
        assert client.act("/studio/create", name="ring").status == (404 if teach is None else 200)
        if studio is not None:
            line.run(lambda: None)
            state = client.get("/studio/state").json
            assert (state["line"], state["named"], state["source"]["name"]) == (True, ["left"], "left")
            assert client.act("/studio/choose", address=str(recording)).status == 422  # only the line's sources
            number = client.get("/studio/live?product=ring").json["number"]
            assert client.act("/studio/collect", product="ring", kind="good", frame=number).status == 200
            assert len(list((tmp_path / "products" / "ring" / "good").iterdir())) == 1
            studio.close()
        page.close()
