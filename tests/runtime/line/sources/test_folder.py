from __future__ import annotations

import datetime
import json
import os
import shutil
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.core.errors import GoodpartsError, ImageError, SourceError
from goodparts.runtime.core.image_files import MARK
from goodparts.runtime.core.preprocess import Array8, load_rgb
from goodparts.runtime.line.frames import Frame
from goodparts.runtime.line.outputs.inspected import read_inspected
from goodparts.runtime.line.results import make_result
from goodparts.runtime.line.sources import folder as watched_folder
from goodparts.runtime.line.sources.folder import SETTLE, SETTLE_UNCHECKED, WatchedFolder
from goodparts.runtime.line.sources.source import SourceEvent, SourcePicture
from PIL import Image
from PIL.PngImagePlugin import PngInfo


@pytest.fixture
def folder(tmp_path: Path, photos: Path) -> Path:
    """A folder that already holds one picture."""
    shutil.copy(photos / "good" / "1.png", tmp_path / "before.png")
    return tmp_path


def watch(folder: Path, patience: float = 60.0, settle: float = 0.0) -> Iterator[SourcePicture]:
    watched = WatchedFolder(folder, settle=settle, poll=1e-3, patience=patience)
    return pictures_of(watched, [])


def pictures_of(watched: WatchedFolder, messages: list[str]) -> Iterator[SourcePicture]:
    """Yield a folder's pictures, and add its messages to `messages`."""
    for item in watched.pictures(threading.Event(), paced=False):
        if isinstance(item, SourceEvent):
            messages.append(item.message or "")
        else:
            yield item


def name_of(picture: SourcePicture) -> str:
    assert picture.path is not None
    return Path(picture.path).name


def test_new_pictures_come_once_and_overwritten_ones_again(folder: Path, photos: Path) -> None:
    pictures = watch(folder)
    source = photos / "good" / "2.png"
    shutil.copy(source, folder / "a.png")
    (folder / "notes.txt").write_text("not a picture")
    (folder / ".hidden.png").write_bytes(source.read_bytes())
    assert name_of(next(pictures)) == "a.png"
    shutil.copy(source, folder / "b.png")
    assert name_of(next(pictures)) == "b.png"
    shutil.copy(photos / "bad" / "4.png", folder / "a.png")
    assert name_of(next(pictures)) == "a.png"


def test_pictures_that_were_there_before_are_reported_once(folder: Path, photos: Path) -> None:
    watched, messages = WatchedFolder(folder, settle=0.0, poll=1e-3), list[str]()
    for name in ("a.png", "b.png"):
        shutil.copy(photos / "good" / "2.png", folder / name)
        assert name_of(next(pictures_of(watched, messages))) == name
    [message] = messages
    assert message.startswith(f"1 picture was in {folder} before the start and will not be inspected; backlog = true")


def test_pictures_with_a_line_are_done_and_the_rest_of_the_backlog_is_taken(folder: Path, photos: Path) -> None:
    for name in ("missed.png", "changed.png"):
        shutil.copy(photos / "good" / "2.png", folder / name)
    lines = tmp_lines(folder, "left", "before.png", "changed.png") + tmp_lines(folder, "right", "missed.png")
    log = folder / "out.jsonl"
    log.write_text(lines + '{"source":"left","path":"missed.p')
    later = time.time() + 60
    os.utime(folder / "changed.png", (later, later))
    inspected = read_inspected(log, "left")
    assert {Path(path).name for path in inspected} == {"before.png", "changed.png"}
    messages = list[str]()
    pictures = pictures_of(WatchedFolder(folder, inspected, poll=1e-3), messages)
    assert [name_of(next(pictures)) for _ in range(2)] == ["missed.png", "changed.png"]
    shutil.copy(photos / "good" / "2.png", folder / "new.png")
    assert name_of(next(pictures)) == "new.png"
    assert messages == []
    assert read_inspected(folder / "none.jsonl", "left") == {}


def tmp_lines(folder: Path, source: str, *names: str) -> str:
    """Return JSON lines of `watch` for pictures that are taken now."""
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    lines = [{"source": source, "time": now.isoformat(), "path": str(folder / name)} for name in names]
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_the_source_waits_for_a_half_written_picture(folder: Path, photos: Path) -> None:
    data = (photos / "good" / "2.png").read_bytes()
    pictures = watch(folder)
    (folder / "slow.png").write_bytes(data[: len(data) // 2])
    shutil.copy(photos / "good" / "3.png", folder / "whole.png")
    assert name_of(next(pictures)) == "whole.png"
    (folder / "slow.png").write_bytes(data)
    slow = next(pictures)
    assert name_of(slow) == "slow.png"
    assert not isinstance(slow.pixels, GoodpartsError)


def test_a_picture_that_stays_damaged_is_reported(folder: Path) -> None:
    pictures = watch(folder, patience=0.0)
    (folder / "broken.png").write_bytes(b"\x89PNG")
    broken = next(pictures)
    assert name_of(broken) == "broken.png"
    assert isinstance(broken.pixels, GoodpartsError)


def test_a_folder_that_goes_away_is_a_lost_source(folder: Path) -> None:
    pictures = watch(folder)
    shutil.rmtree(folder)
    with pytest.raises(SourceError, match="cannot look into"):
        next(pictures)


def replace_in_place(path: Path, data: bytes, like: os.stat_result) -> None:
    """Write other bytes into a file, and restore its modification time."""
    with path.open("r+b") as file:
        file.write(data)
    os.utime(path, ns=(like.st_atime_ns, like.st_mtime_ns))


def test_a_replacement_of_the_same_size_and_time_is_a_new_picture(folder: Path, photos: Path) -> None:
    pictures = watch(folder)
    path = folder / "a.bmp"
    Image.open(photos / "good" / "2.png").save(path)
    assert name_of(next(pictures)) == "a.bmp"
    status = path.stat()
    Image.open(photos / "bad" / "4.png").save(folder.parent / "other.bmp")
    other = (folder.parent / "other.bmp").read_bytes()
    assert len(other) == status.st_size
    replace_in_place(path, other, status)
    again = next(pictures)
    assert name_of(again) == "a.bmp"
    assert isinstance(again.pixels, np.ndarray)
    np.testing.assert_array_equal(again.pixels, load_rgb(photos / "bad" / "4.png"))


def test_a_file_of_which_only_rights_and_links_change_is_no_new_picture(folder: Path, photos: Path) -> None:
    pictures = watch(folder)
    path = folder / "a.png"
    shutil.copy(photos / "good" / "2.png", path)
    assert name_of(next(pictures)) == "a.png"
    path.chmod(0o600)
    os.link(path, folder.parent / "backup.png")
    shutil.copy(photos / "good" / "3.png", folder / "b.png")
    assert name_of(next(pictures)) == "b.png"


def test_a_picture_that_goes_away_and_comes_back_is_not_inspected_again(folder: Path, photos: Path) -> None:
    pictures = watch(folder)
    shutil.copy(photos / "good" / "2.png", folder / "a.png")
    assert name_of(next(pictures)) == "a.png"
    hidden = (folder / "a.png").rename(folder.parent / "unmounted.png")
    shutil.copy(photos / "good" / "3.png", folder / "b.png")
    assert name_of(next(pictures)) == "b.png"
    hidden.rename(folder / "a.png")
    shutil.copy(photos / "good" / "3.png", folder / "c.png")
    assert name_of(next(pictures)) == "c.png"


@pytest.mark.parametrize(
    ("ending", "settles"), [(".png", SETTLE), (".bmp", SETTLE_UNCHECKED), (".tif", SETTLE_UNCHECKED)]
)
def test_formats_without_a_checksum_settle_longer(
    folder: Path, monkeypatch: pytest.MonkeyPatch, ending: str, settles: float
) -> None:
    now = 0.0
    monkeypatch.setattr(watched_folder.time, "monotonic", lambda: now)
    watched = WatchedFolder(folder)
    (folder / f"a{ending}").write_bytes(b"half")
    for now, found in ((0.0, []), (settles * 0.9, []), (settles * 1.1, [f"a{ending}"])):  # noqa: B007
        assert watched._find_settled() == found
    (folder / f"a{ending}").write_bytes(b"half and more")
    assert watched._find_settled() == []


def test_a_tail_of_zeros_is_reported_and_a_jpeg_without_end_is_damaged(folder: Path, photos: Path) -> None:
    photo = Image.open(photos / "good" / "2.png")
    messages: list[str] = []
    pictures = pictures_of(WatchedFolder(folder, settle=0.0, poll=1e-3, patience=0.0), messages)
    for name in ("a.bmp", "b.jpg"):
        photo.save(folder.parent / name, quality=95)
        data = (folder.parent / name).read_bytes()
        (folder / name).write_bytes(data[: len(data) // 2] + bytes(len(data) - len(data) // 2))
        picture = next(pictures)
        assert name_of(picture) == name
        assert isinstance(picture.pixels, GoodpartsError) == (name == "b.jpg")
    [_, message] = messages  # the first one is about before.png
    assert "a.bmp ends in" in message
    data = (folder.parent / "b.jpg").read_bytes()
    (folder / "c.jpg").write_bytes(data + bytes(100))  # padded by its camera
    assert not isinstance(next(pictures).pixels, GoodpartsError)


@pytest.mark.parametrize("error", [struct.error("argument out of range"), ZeroDivisionError(), MemoryError()], ids=str)
def test_any_exception_while_reading_becomes_the_picture_s_error_and_later_pictures_come(
    folder: Path, photos: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    def decode(data: bytes, name: str) -> Array8:
        if "odd" in name:
            raise error
        return real(data, name)

    real = watched_folder.decode
    monkeypatch.setattr(watched_folder, "decode", decode)
    pictures = watch(folder)
    shutil.copy(photos / "good" / "2.png", folder / "a_odd.png")
    odd = next(pictures)
    assert isinstance(odd.pixels, GoodpartsError)
    assert "a_odd.png" in str(odd.pixels)
    shutil.copy(photos / "good" / "2.png", folder / "b.png")
    assert name_of(next(pictures)) == "b.png"


def test_a_source_that_is_opened_again_gives_no_picture_twice(folder: Path, photos: Path) -> None:
    watched = WatchedFolder(folder, settle=0.0, poll=1e-3)
    shutil.copy(photos / "good" / "2.png", folder / "a.png")
    assert name_of(next(pictures_of(watched, []))) == "a.png"
    shutil.copy(photos / "good" / "2.png", folder / "b.png")
    assert name_of(next(pictures_of(watched, []))) == "b.png"


def test_drawings_made_by_goodparts_are_ignored(folder: Path, photos: Path) -> None:
    pictures = watch(folder)
    text = PngInfo()
    text.add_text("Software", MARK)
    Image.open(photos / "good" / "2.png").save(folder / "a.png", pnginfo=text)
    shutil.copy(photos / "good" / "2.png", folder / "b.png")
    assert name_of(next(pictures)) == "b.png"


def test_pictures_carry_the_identity_by_which_the_backlog_recognises_them(folder: Path, photos: Path) -> None:
    pictures = watch(folder)
    path = folder / "a.png"
    shutil.copy(photos / "good" / "2.png", path)
    picture = next(pictures)
    frame = Frame("left", 0, np.zeros((8, 8, 3), np.uint8), picture.path, 0.0, 0.0, picture.file)  # a clock at zero
    log = folder / "out.jsonl"
    log.write_bytes(make_result(frame, ImageError("no verdict")).line)
    inspected = read_inspected(log, "left")[str(path)]
    assert inspected.covers(path.stat())
    path.write_bytes(path.read_bytes())
    assert not inspected.covers(path.stat())
