"""The files of the workspace, also after the process was killed."""

from __future__ import annotations

import contextlib
import itertools
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from http.client import HTTPException
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime import Recipe
from goodparts.runtime.core.errors import FileError, SettingsError
from goodparts.runtime.core.files import read_bytes, scratch
from goodparts.runtime.core.preprocess import load_rgb
from goodparts.runtime.core.view import Box
from goodparts.runtime.page.controls import ChangedError
from goodparts.runtime.studio.settings import ProductSettings
from goodparts.runtime.studio.workspace import Workspace

from goodparts.cli import main
from tests.conftest import draw_part
from tests.runtime.studio.conftest import OpenStudio, StudioClient, to_png

GRID = (30, 30)


@pytest.fixture
def workspace(tmp_path: Path) -> Iterator[Workspace]:
    opened = Workspace(tmp_path / "products")
    yield opened
    opened.close()


def test_names_become_folders_in_the_workspace(workspace: Workspace) -> None:
    names = ["../../etc", "a/b", "Schraube M3 – verzinkt", "螺丝", ".hidden", "a/b"]
    ids = [workspace.create(name).id for name in names]
    assert ids == ["etc", "a-b", "Schraube-M3-verzinkt", "photo", "hidden", "a-b-2"]
    assert {product.folder.parent for product in workspace.products()} == {workspace.folder}
    assert sorted(product.settings().name for product in workspace.products()) == sorted(names)
    for wrong in ("", "  ", "x" * 81, "a\x1b[2Jb"):
        with pytest.raises(SettingsError, match="a name of 1 to 80 printable characters"):
            workspace.create(wrong)


def test_a_second_studio_is_refused(workspace: Workspace) -> None:
    with pytest.raises(FileError, match="open in another studio"):
        Workspace(workspace.folder)


def test_a_file_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    recipe = tmp_path / "nut.safetensors"
    recipe.write_bytes(b"recipe")
    with pytest.raises(FileError, match=r"nut\.safetensors is a file: name a folder$"):
        Workspace(recipe)


def test_a_source_that_cannot_be_opened_leaves_no_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "av", None)
    monkeypatch.delitem(sys.modules, "goodparts.runtime.line.sources.video", raising=False)
    (tmp_path / "nut.mp4").touch()
    for source, message in (("nut.mp4", "needs av: pip install"), ("none.mp4", "there is no such folder or video")):
        assert main(["studio", str(tmp_path / "products"), "--source", str(tmp_path / source), "--page", "0"]) == 2
        assert message in capsys.readouterr().err
    assert not (tmp_path / "products").exists()


def test_files_that_were_put_into_the_folder_are_shown(open_studio: OpenStudio, tmp_path: Path) -> None:
    good = tmp_path / "products" / "by hand" / "good"
    good.mkdir(parents=True)
    draw_part(1).save(good / "a & b.jpg")
    (good / "notes.txt").write_text("none")
    client = open_studio()
    client.product = "by%20hand"
    assert [picture["name"] for picture in client.state()["pictures"]["good"]] == ["a & b.jpg"]
    assert client.get("/picture/small.jpg?product=by%20hand&kind=good&name=a%20%26%20b.jpg").status == 200
    (good.parent / "product.json").write_text("{}")
    assert "product.json is damaged" in client.state()["error"]


def test_the_command_line_teaches_what_was_collected(client: StudioClient, tmp_path: Path) -> None:
    client.create("ring", good=3)
    folder = tmp_path / "products" / "ring"
    recipe = client.teach()
    out = tmp_path / "again.safetensors"
    assert main(["teach", "--images", str(folder / "good"), "--product", "ring", "--out", str(out)]) == 0
    assert Recipe.open(out).digest == recipe["digest"] == Recipe.open(folder / "recipe.safetensors").digest


def test_undo_goes_back_recipe_by_recipe_and_skips_a_copy_that_a_kill_left(workspace: Workspace) -> None:
    product = workspace.create("ring")
    for data in (b"one", b"two", b"three"):
        product.write_recipe(data, "threshold")
    product.write_recipe(b"three", "sign")  # as after a kill between keeping the old one and writing the new one
    assert product.undo() == "threshold"
    assert product.recipe_path.read_bytes() == b"two"
    assert product.undo() == "threshold"
    assert product.recipe_path.read_bytes() == b"one"
    assert product.former() is None
    with pytest.raises(ChangedError, match="no earlier recipe"):
        product.undo()


def test_the_smallest_defect_gives_the_fewest_tiles_whose_patches_are_no_larger() -> None:
    settings = ProductSettings(name="ring")
    for side, tiles in ((None, (1, 1)), (40, (1, 1)), (20, (1, 2)), (10, (3, 3))):
        changed = settings.with_region((800, 600), None, (), side, GRID)
        assert changed.tiles == tiles
        if side is not None:
            patch = changed.patch(GRID)
            assert patch is not None
            assert max(patch) <= side
    assert settings.with_region((8000, 6000), None, (), 1, GRID).view().count <= 64


def test_a_polygon_is_a_region_and_its_mask() -> None:
    corners = ((10, 10), (90, 10), (90, 70))
    view = ProductSettings(name="ring").with_region((100, 80), None, corners, None, GRID).view()
    assert view.roi == Box(10, 10, 81, 61)
    views = view.cut(np.full((80, 100, 3), 255, np.uint8), 64)
    assert 0.45 < (views == 255).mean() < 0.55
    for polygon, roi in (((), Box(50, 0, 60, 80)), (((1, 1), (2, 1), (1, 2)), None), (((1, 1), (2, 2)), None)):
        with pytest.raises(SettingsError):
            ProductSettings(name="ring").with_region((100, 80), roi, polygon, None, GRID)


STUDIO = """
import sys
from goodparts.cli import main
main(["studio", sys.argv[1], "--page", "0"])
"""


@pytest.mark.parametrize("moment", ["collect", "teach"])
def test_a_kill_leaves_complete_pictures_and_complete_recipes(tmp_path: Path, moment: str) -> None:
    """The process is killed three times, each time a little later in its work."""
    folder = tmp_path / "products"
    kept: set[str] = set()
    seeds = itertools.count(10)  # the same picture twice is refused
    for attempt in range(3):
        process = subprocess.Popen(
            [sys.executable, "-c", STUDIO, str(folder)], stdout=subprocess.PIPE, text=True, bufsize=1
        )
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2].rstrip("/\n"))
        client = _Remote(port)
        client.product = "ring"
        if attempt == 0:
            client.create("ring", good=3)
            kept = {picture["name"] for picture in client.state()["pictures"]["good"]}
        names = {picture["name"] for picture in client.state()["pictures"]["good"]}
        assert kept <= names
        if moment == "collect":
            killer = threading.Timer(0.05 + 0.1 * attempt, process.kill)  # while a picture is on its way
            killer.start()
            with contextlib.suppress(OSError, HTTPException):
                for seed in seeds:
                    answer = client.upload(to_png(draw_part(seed)), f"product=ring&kind=good&name={seed}.png")
                    kept.add(answer.json)
            killer.join()
        else:
            client.act("/teach", product="ring", seen=client.state()["revision"])
            time.sleep(0.15 + 0.2 * attempt)
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        process.stdout.close()
        _check_whole(folder / "ring", kept)
    Workspace(folder).close()
    assert list(folder.rglob("*.part*")) == []


class _Remote(StudioClient):
    """An HTTP client of a studio in another process."""

    def __init__(self, port: int) -> None:
        self.port, self.product = port, ""


def _check_whole(product: Path, kept: set[str]) -> None:
    pictures = list((product / "good").glob("[!.]*"))
    assert kept <= {path.name for path in pictures}
    for path in pictures:
        assert load_rgb(path).shape == (240, 320, 3)
    for recipe in product.rglob("[!.]*.safetensors"):
        Recipe.open(recipe)


def test_incomplete_files_of_a_kill_are_removed_at_the_next_start(workspace: Workspace) -> None:
    product = workspace.create("ring")
    product.add("good", "a", ".png", to_png(draw_part(1)))
    with scratch(product.folder / "good" / "b.png") as half:
        half.write_bytes(b"half")
        name = half.name.replace(f"{os.getpid():08x}", "7fffffff")  # a process that no longer exists
        half.rename(half.with_name(name))
    workspace.close()
    Workspace(workspace.folder).close()
    assert [path.name for path in (product.folder / "good").iterdir()] == ["a.png"]
    assert read_bytes(product.folder / "good" / "a.png") == to_png(draw_part(1))
