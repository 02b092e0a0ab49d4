from __future__ import annotations

import datetime
import json
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from goodparts.runtime.core.errors import GoodpartsError, SourceError
from goodparts.runtime.line.outputs.inspected import read_inspected
from goodparts.runtime.line.sources.folder import WatchedFolder
from goodparts.runtime.line.sources.source import SourcePicture


@pytest.fixture
def folder(tmp_path: Path, photos: Path) -> Path:
    """A folder with one picture that was there before."""
    shutil.copy(photos / "good" / "1.png", tmp_path / "before.png")
    return tmp_path


def watch(folder: Path, patience: float = 60.0) -> Iterator[SourcePicture]:
    return WatchedFolder(folder, poll=1e-3, patience=patience).pictures(threading.Event(), paced=False)


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


def test_what_a_json_file_tells_of_is_done_and_the_rest_of_the_backlog_is_taken(folder: Path, photos: Path) -> None:
    for name in ("missed.png", "changed.png"):
        shutil.copy(photos / "good" / "2.png", folder / name)
    lines = tmp_lines(folder, "left", "before.png", "changed.png") + tmp_lines(folder, "right", "missed.png")
    log = folder / "out.jsonl"
    log.write_text(lines + '{"source":"left","path":"missed.p')
    later = time.time() + 60
    os.utime(folder / "changed.png", (later, later))
    inspected = read_inspected(log, "left")
    assert {Path(path).name for path in inspected} == {"before.png", "changed.png"}
    pictures = WatchedFolder(folder, inspected, poll=1e-3).pictures(threading.Event(), paced=False)
    assert [name_of(next(pictures)) for _ in range(2)] == ["missed.png", "changed.png"]
    shutil.copy(photos / "good" / "2.png", folder / "new.png")
    assert name_of(next(pictures)) == "new.png"
    assert read_inspected(folder / "none.jsonl", "left") == {}


def tmp_lines(folder: Path, source: str, *names: str) -> str:
    """Lines of `watch` for pictures taken now."""
    now = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=1)
    lines = [{"source": source, "time": now.isoformat(), "path": str(folder / name)} for name in names]
    return "".join(json.dumps(line) + "\n" for line in lines)


def test_a_half_written_picture_is_waited_for(folder: Path, photos: Path) -> None:
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
