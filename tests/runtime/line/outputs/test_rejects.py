from __future__ import annotations

import contextlib
import dataclasses
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime import Detector
from goodparts.runtime.core.errors import FileError
from goodparts.runtime.core.image_files import is_drawing
from goodparts.runtime.line.outputs.rejects import Rejects
from goodparts.runtime.line.results import Result
from PIL import Image

from tests.conftest import draw_part
from tests.runtime.line.outputs.results import make_result

MEGABYTE = 1_000_000


@pytest.fixture(scope="module")
def results(engine_folder: Path, recipe_file: Path) -> list[Result]:
    """Rejects of one picture; each has its place in the list as its number."""
    pixels = np.asarray(draw_part(1, defect=True))
    inspection = Detector.open(engine_folder, recipe_file).predict(pixels)
    return [Result("left", "reject", make_result(number).record, b"{}\n", pixels, inspection) for number in range(5)]


def test_rejects_stay_within_their_limit_and_the_oldest_go_first(results: list[Result], tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("stays")
    with contextlib.closing(Rejects(tmp_path, MEGABYTE)) as rejects:
        rejects.send(results[0])
    one = sum(path.stat().st_size for path in tmp_path.glob("*_left_0.*"))
    with contextlib.closing(Rejects(tmp_path, 2 * one + one // 2)) as rejects:
        for result in results[1:]:
            rejects.send(result)
        assert [name.rpartition("_")[2] for name in rejects.index.names()] == ["3", "4"]
    left = {path.name.partition("_left_")[2] for path in tmp_path.iterdir()} - {""}
    assert left == {f"{number}.{end}" for number in (3, 4) for end in ("frame.png", "map.png", "json")}
    assert (tmp_path / "notes.txt").exists()


def test_incomplete_rejects_of_a_killed_run_are_removed_and_no_other_files(tmp_path: Path) -> None:
    whole, half = "20260102T030405678Z_left_1", "20260102T030405678Z_left_2"
    kept = {f"{whole}.{end}" for end in ("frame.png", "map.png", "json")} | {"notes.txt", ".other.png.0a1b.part"}
    gone = {f"{half}.frame.png", f"{half}.map.png", f".{half}.json.00ff00ff00ff.part"}
    for name in kept | gone:
        (tmp_path / name).write_bytes(b"x")
    Rejects(tmp_path, MEGABYTE).close()
    assert {path.name for path in tmp_path.iterdir()} == kept


def test_a_good_frame_that_smoothing_rejects_is_shown_as_a_reject(results: list[Result], tmp_path: Path) -> None:
    good = np.asarray(draw_part(1))
    inspection = results[0].inspection
    assert inspection is not None
    blank = dataclasses.replace(inspection, raw_score=0.0)
    assert blank.verdict == "good"
    with contextlib.closing(Rejects(tmp_path, MEGABYTE)) as rejects:
        rejects.send(Result("left", "reject", make_result(1).record, b"{}\n", good, blank))
    (overlay,), (photo,) = tmp_path.glob("*.map.png"), tmp_path.glob("*.frame.png")
    with Image.open(overlay) as picture:
        red, _, blue = picture.convert("RGB").getpixel((0, 0))  # type: ignore[misc]
    assert red > blue  # orange, as of a reject, not blue
    assert (is_drawing(overlay), is_drawing(photo)) == (True, False)


def test_a_part_to_review_is_kept_and_marked_and_a_good_one_is_not_kept(results: list[Result], tmp_path: Path) -> None:
    reject, review, good = (
        dataclasses.replace(result, decision=decision)
        for result, decision in zip(results, ("reject", "review", "good"), strict=False)
    )
    with contextlib.closing(Rejects(tmp_path, MEGABYTE)) as rejects:
        assert [rejects.wants(result) for result in (reject, review, good)] == [True, True, False]
        rejects.send(reject)
        rejects.send(review)
    with contextlib.closing(Rejects(tmp_path, MEGABYTE)) as again:
        index = again.index
        assert [name.partition("_left_")[2] for name in index.names()] == ["0", "1-review"]
        assert index.count_reviews() == 1
        for decision, number in (("review", "1-review"), ("reject", "0"), (None, "1-review")):
            (newest,), more = index.before("", 1, decision)  # type: ignore[arg-type]
            assert (newest.partition("_left_")[2], more) == (number, decision is None)


def test_a_second_line_on_one_folder_is_refused_until_the_first_ends(tmp_path: Path) -> None:
    first = Rejects(tmp_path, MEGABYTE)
    with pytest.raises(FileError, match=f"another goodparts writes its rejects into {tmp_path}"):
        Rejects(tmp_path, MEGABYTE)
    first.close()
    Rejects(tmp_path, MEGABYTE).close()


def test_a_folder_is_made_but_not_the_folder_that_is_to_hold_it(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=f"folder {tmp_path / 'no'} does not exist; create it first"):
        Rejects(tmp_path / "no" / "rejects", MEGABYTE)
    assert not (tmp_path / "no").exists()


def test_a_folder_that_was_removed_is_made_again(results: list[Result], tmp_path: Path) -> None:
    folder = tmp_path / "rejects"
    with contextlib.closing(Rejects(folder, MEGABYTE)) as rejects:
        folder.rmdir()
        rejects.send(results[0])
        assert len(list(folder.iterdir())) == 3
