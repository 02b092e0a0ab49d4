from __future__ import annotations

import os
from pathlib import Path

import pytest
from goodparts.runtime.line.outputs.reject_index import RejectIndex


def name_of(number: int) -> str:
    return f"20260102T0304{number:05d}Z_left_{number}"


def write(folder: Path, number: int) -> None:
    """Write a record, and change the folder's modification time even if the clock is coarse."""
    (folder / f"{name_of(number)}.json").write_text("{}")
    os.utime(folder, ns=(number, number))


@pytest.fixture
def searches(monkeypatch: pytest.MonkeyPatch) -> list[object]:
    """A list that grows with every search of a folder."""
    calls: list[object] = []
    real = os.scandir
    monkeypatch.setattr(os, "scandir", lambda path: (calls.append(path), real(path))[1])
    return calls


def test_a_folder_is_searched_only_after_another_process_changed_it(tmp_path: Path, searches: list[object]) -> None:
    write(tmp_path, 1)
    index = RejectIndex(tmp_path)
    assert index.count_and_newest() == (1, name_of(1))
    for number in (2, 3):
        with index.changing():
            write(tmp_path, number)
            index.add(name_of(number))
        assert index.count_and_newest() == (number, name_of(number))
    assert len(searches) == 1
    write(tmp_path, 4)
    assert index.count_and_newest() == (4, name_of(4))
    assert len(searches) == 2


def test_a_change_by_another_process_before_our_own_is_found(tmp_path: Path) -> None:
    index = RejectIndex(tmp_path)
    assert index.names() == []
    write(tmp_path, 1)
    with index.changing():
        write(tmp_path, 2)
        index.add(name_of(2))
    assert index.names() == [name_of(1), name_of(2)]


def test_names_are_read_from_the_newest_back(tmp_path: Path) -> None:
    for number in range(5):
        write(tmp_path, number)
    index = RejectIndex(tmp_path)
    assert index.before("", 2) == ([name_of(4), name_of(3)], True)
    assert index.before(name_of(3), 2) == ([name_of(2), name_of(1)], True)
    assert index.before(name_of(1), 2) == ([name_of(0)], False)


def test_without_a_folder_there_are_no_rejects(tmp_path: Path) -> None:
    assert RejectIndex(tmp_path / "none").count_and_newest() == (0, "")
