from __future__ import annotations

import contextlib
import json
from pathlib import Path

import pytest
from goodparts.runtime.core.errors import FileError
from goodparts.runtime.line.outputs.json_lines import JsonLines

from tests.runtime.line.outputs.results import make_result


def numbers(path: Path) -> list[int | None]:
    return [json.loads(line).get("frame") for line in path.read_text().splitlines()]


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_gives_an_error_of_one_line() -> None:
    output = JsonLines(Path("/dev/full"))
    with pytest.raises(FileError, match="disk full while writing /dev/full"):
        output.send(make_result(0))
    output.close()


@pytest.mark.parametrize("half", [b'{"source":"le', b'{"so', b'{"source":"le\0\0\0', b"\0\0\0"])
def test_a_half_line_of_an_earlier_run_is_removed(tmp_path: Path, half: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"source":"left"}\n' + half)
    output = JsonLines(path)
    output.send(make_result(1))
    output.close()
    assert numbers(path) == [None, 1]


@pytest.mark.parametrize(
    "content", [b"do not lose me\n", b"\x89PNG\r\n\x1a\n", b'{\n  "contract": 4', b'{"name": "package"}', b"\0" * 600]
)
def test_a_file_that_holds_something_else_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "nut.safetensors"
    path.write_bytes(content)
    with pytest.raises(FileError, match=r"nut.safetensors is no JSON lines file, so nothing is written there: name"):
        JsonLines(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("creates", [False, True])
def test_after_a_rename_lines_go_to_the_new_file(tmp_path: Path, creates: bool) -> None:
    path, rotated = tmp_path / "out.jsonl", tmp_path / "out.jsonl.1"
    with contextlib.closing(JsonLines(path)) as output:
        output.send(make_result(0))
        path.rename(rotated)
        if creates:
            path.touch()
        output.send(make_result(1))
    assert (numbers(rotated), numbers(path)) == ([0], [1])


def test_a_removed_file_is_made_anew_and_a_cut_one_goes_on(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with contextlib.closing(JsonLines(path)) as output:
        output.send(make_result(0))
        path.unlink()
        output.send(make_result(1))
        assert numbers(path) == [1]
        path.write_bytes(b"")  # as by copytruncate
        output.send(make_result(2))
    assert numbers(path) == [2]


def test_reopening_makes_the_file_at_once_and_leaves_one_that_is_in_place(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    with contextlib.closing(JsonLines(path)) as output:
        path.rename(tmp_path / "old")
        output.reopen()
        assert path.exists()
        output.send(make_result(1))
        output.reopen()
        output.send(make_result(2))
    assert numbers(path) == [1, 2]


def test_a_folder_that_went_away_is_an_error_until_it_is_back(tmp_path: Path) -> None:
    path = tmp_path / "logs" / "out.jsonl"
    path.parent.mkdir()
    with contextlib.closing(JsonLines(path)) as output:
        path.parent.rename(tmp_path / "elsewhere")
        with pytest.raises(FileError, match="does not exist"):
            output.send(make_result(0))
        path.parent.mkdir()
        output.send(make_result(0))
    assert numbers(path) == [0]


def test_a_second_line_on_one_file_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    path = tmp_path / "out.jsonl"
    first = JsonLines(path)
    with pytest.raises(FileError, match=f"another goodparts writes {path}: give each line a file of its own"):
        JsonLines(path)
    first.send(make_result(0))
    first.close()
    JsonLines(path).close()
    assert numbers(path) == [0]
