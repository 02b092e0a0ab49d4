from __future__ import annotations

import gzip
import json
import os
from pathlib import Path

import msgspec
import pytest
from goodparts.runtime.line.outputs.inspected import Inspected, read_inspected
from goodparts.runtime.line.picture_file import PictureFile


def line_of(name: str, source: str = "left", **more: object) -> bytes:
    return json.dumps({"source": source, "time": "2026-01-02T03:04:05.678Z", "path": name, **more}).encode() + b"\n"


@pytest.mark.parametrize(
    "rotated", ["out.jsonl.1", "out.jsonl-20260102", "out-20260102.jsonl", "out.jsonl.2.gz", "out-20260102.jsonl.gz"]
)
def test_rotated_files_count_too(tmp_path: Path, rotated: str) -> None:
    data = line_of("a.png")
    (tmp_path / rotated).write_bytes(gzip.compress(data) if rotated.endswith(".gz") else data)
    (tmp_path / "out.jsonl").write_bytes(line_of("b.png") + line_of("other.png", "right") + b'{"source":"left","pa')
    for other in ("out.jsonl.bak", "outer.jsonl.1", "out.txt"):
        (tmp_path / other).write_bytes(line_of("wrong.png"))
    assert set(read_inspected(tmp_path / "out.jsonl", "left")) == {"a.png", "b.png"}


def test_a_damaged_rotated_file_is_read_up_to_the_damage(tmp_path: Path) -> None:
    data = gzip.compress(b"".join(line_of(f"{number}.png") for number in range(100)))
    (tmp_path / "out.jsonl.1.gz").write_bytes(data[: len(data) * 9 // 10])
    (tmp_path / "out.jsonl.2.gz").write_bytes(b"not compressed")
    assert "0.png" in read_inspected(tmp_path / "out.jsonl", "left")


def test_a_picture_is_recognised_by_its_file_even_if_the_clock_is_wrong(tmp_path: Path) -> None:
    picture = tmp_path / "a.png"
    picture.write_bytes(b"picture")
    os.utime(picture, (4e9, 4e9))  # a wrong clock: the time is long after that of the JSON line
    file = PictureFile.of(picture.stat())
    (tmp_path / "out.jsonl").write_bytes(line_of(str(picture), file=msgspec.to_builtins(file)))
    known = read_inspected(tmp_path / "out.jsonl", "left")[str(picture)]
    assert known.covers(picture.stat())
    replacement = tmp_path / "b.png"
    replacement.write_bytes(b"another")
    os.utime(replacement, (4e9, 4e9))
    replacement.replace(picture)  # with the same size and time, but another inode
    assert not known.covers(picture.stat())


def test_for_a_line_of_an_older_version_the_time_decides(tmp_path: Path) -> None:
    os.utime(tmp_path, (1000, 1000))
    assert Inspected(1001.0, None).covers(tmp_path.stat())
    assert not Inspected(999.0, None).covers(tmp_path.stat())
