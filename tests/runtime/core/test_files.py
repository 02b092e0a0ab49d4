from __future__ import annotations

import contextlib
import errno
import multiprocessing
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from goodparts.runtime.core.errors import FileError
from goodparts.runtime.core.files import (
    is_sealed,
    printable,
    remove_orphans,
    require_folder,
    require_folder_of,
    scratch,
    seal,
    staged,
    write_atomic,
)


def test_write_replaces_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_atomic(path, b"a long first version")
    write_atomic(path, b"short")
    assert path.read_bytes() == b"short"
    assert list(tmp_path.iterdir()) == [path]


def test_a_full_disk_gives_one_line_and_leaves_the_old_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "a.bin"
    write_atomic(path, b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(FileError, match=r"disk full while writing .*a\.bin"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_folder_takes_the_place_of_an_older_one_whole_or_not_at_all(tmp_path: Path) -> None:
    target = tmp_path / "engine"
    for number in (1, 2):
        with staged(target) as part:
            part.mkdir()
            (part / f"{number}.bin").write_bytes(b"x")
    with contextlib.suppress(RuntimeError), staged(target) as part:
        part.mkdir()
        raise RuntimeError
    assert [path.name for path in target.iterdir()] == ["2.bin"]
    assert list(tmp_path.iterdir()) == [target]


def _die_while_staging(target: Path) -> None:
    with scratch(target) as part:
        part.mkdir()
        os._exit(9)


def test_files_of_killed_processes_are_removed_and_files_in_use_are_not(tmp_path: Path) -> None:
    target = tmp_path / "engine"
    process = multiprocessing.get_context("spawn").Process(target=_die_while_staging, args=(target,))
    process.start()
    process.join()
    assert len(list(tmp_path.iterdir())) == 1
    with scratch(target) as part, scratch(tmp_path / "engine2") as other:
        part.mkdir()
        other.mkdir()
        remove_orphans(target)
        assert sorted(tmp_path.iterdir()) == sorted([part, other])
    assert not list(tmp_path.iterdir())


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(FileError, match="folder .*nowhere does not exist"):
        write_atomic(tmp_path / "nowhere" / "a.bin", b"")


def _write_often(path: Path, byte: bytes) -> None:
    for _ in range(50):
        write_atomic(path, byte * 200_000)


def test_two_writers_never_mix(tmp_path: Path) -> None:
    path = tmp_path / "shared.bin"
    write_atomic(path, b"a" * 200_000)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_write_often, args=(path, byte)) for byte in (b"a", b"b")]
    for writer in writers:
        writer.start()
    while any(writer.is_alive() for writer in writers):
        seen = path.read_bytes()
        assert seen in (b"a" * 200_000, b"b" * 200_000)
    assert [writer.exitcode for writer in writers] == [0, 0]
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("position", [0, 3, 12, 70, -1])
def test_a_seal_breaks_with_any_byte(position: int) -> None:
    sealed = bytearray(seal(b'{"digest": "' + b"0" * 64 + b'", "x": 1}', b'"digest": "'))
    digest = bytes(sealed[12:76]).decode()
    assert is_sealed(bytes(sealed), b'"digest": "', digest)
    sealed[position] ^= 1
    assert not is_sealed(bytes(sealed), b'"digest": "', bytes(sealed[12:76]).decode(errors="replace"))


def test_a_pipe_is_not_replaced(tmp_path: Path) -> None:
    pipe = tmp_path / "pipe"
    os.mkfifo(pipe)
    with pytest.raises(FileError, match="it is not a regular file"):
        write_atomic(pipe, b"")
    assert pipe.is_fifo()


def test_any_file_name_can_be_printed() -> None:
    assert printable(Path(os.fsdecode(b"a\xff.png"))) == r"a\xff.png"
    assert printable(Path("螺母.png")) == "螺母.png"


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("folder", "it is a folder; name a file in it"),
        ("missing/file", "folder .*missing does not exist; create it first"),
        ("file/inside", "file is a file, not a folder; choose another place"),
        ("pipe", "it is not a regular file; name another"),
    ],
)
def test_a_file_that_could_not_be_written_is_refused_before_the_work(target: str, message: str, tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(FileError, match=f"cannot write .*{target}: .*{message}"):
        require_folder_of(tmp_path / target)


def test_a_folder_that_could_not_be_filled_is_refused_before_the_work(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    require_folder(tmp_path / "new" / "folder")
    assert not (tmp_path / "new").exists()
    for target in ("file", "file/folder"):
        with pytest.raises(FileError, match=f"cannot write .*{target}: .*file is a file, not a folder"):
            require_folder(tmp_path / target)


@pytest.mark.parametrize("require", [require_folder, lambda folder: require_folder_of(folder / "out.json")])
def test_a_read_only_folder_is_refused_before_the_work(
    require: Callable[[Path], None], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(**_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(tempfile, "TemporaryFile", refuse)  # the tests may run as a user who can write anywhere
    with pytest.raises(FileError, match="cannot write .*: Read-only file system; choose another place"):
        require(tmp_path)
    assert list(tmp_path.iterdir()) == []
