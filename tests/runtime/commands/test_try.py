"""`goodparts try` learns from four good photos and shows the results in one sheet."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.commands.trial import Trial, try_product
from goodparts.runtime.commands.trial_advice import advise
from goodparts.runtime.commands.trial_sheet import to_html
from goodparts.runtime.engine.engine import Engine

from goodparts.cli import main
from tests.conftest import draw_part


def test_a_sheet_shows_the_worst_first_the_threshold_and_what_to_do_next(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    sheet = tmp_path / "sheet.html"
    assert main(["try", str(photos), "--product", "ring", "--out", str(sheet)]) == 0
    output = capsys.readouterr().out
    assert "ring: Learned from 2 photos of good parts" in output
    assert "inspected 1 other good part and 1 bad one," in output
    assert "goodparts teach --images" in output
    page = sheet.read_text()
    scores = [float(score) for score in re.findall(r'<b class="\w+">\w+ ([\d.]+)</b>', page)]
    assert len(scores) == 2
    assert scores == sorted(scores, reverse=True)
    assert page.index("bad/4.png") < page.index("good/3.png")
    assert not re.search(r"<script|(src|href)=\"(?!data:|#)", page)  # it opens offline and runs nothing


@pytest.fixture
def folder(tmp_path: Path) -> Callable[[dict[str, int]], Path]:
    """Return a function that makes a folder with a given number of drawn photos in each subfolder."""

    def make(counts: dict[str, int]) -> Path:
        seed = 0
        for name, count in counts.items():
            (tmp_path / "tried" / name).mkdir(parents=True)
            for _ in range(count):
                seed += 1
                draw_part(seed, defect=name.lower().endswith("bad")).save(tmp_path / "tried" / name / f"{seed}.png")
        return tmp_path / "tried"

    return make


@pytest.fixture(scope="module")
def tried(tmp_path_factory: pytest.TempPathFactory) -> Trial:
    """A trial of four shots, two good parts and two bad ones."""
    folder = tmp_path_factory.mktemp("tried")
    for seed in range(8):
        (folder / ("bad" if seed > 5 else "good")).mkdir(exist_ok=True)
        draw_part(seed, defect=seed > 5).save(folder / ("bad" if seed > 5 else "good") / f"{seed}.png")
    return try_product(folder, "ring", engine=Engine.open())


@pytest.mark.parametrize(
    ("counts", "learned", "inspected"),
    [
        ({"": 3}, 2, (1, 0)),
        ({"": 6}, 4, (2, 0)),
        ({"good": 5, "bad": 2}, 4, (1, 2)),
        ({"Good": 5, "BAD": 2}, 4, (1, 2)),
        ({"train/good": 2, "test/good": 1, "test/bad": 2}, 2, (1, 2)),
    ],
)
def test_photos_are_found_in_the_layouts_that_people_have(
    folder: Callable[[dict[str, int]], Path], counts: dict[str, int], learned: int, inspected: tuple[int, int]
) -> None:
    trial = try_product(folder(counts), "ring", engine=Engine.open())
    assert len(trial.shots) == learned
    assert ((~trial.bad).sum(), trial.bad.sum()) == inspected


def test_the_advice_repeats_how_the_product_was_learned(
    photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--roi", "10,10,200,200", "--tiles", "1x2", "--poses"]
    assert main(["try", str(photos), "--product", "ring", *options, "--out", str(tmp_path / "try.html")]) == 0
    [teach] = [line for line in capsys.readouterr().out.splitlines() if "goodparts teach" in line]
    assert teach.endswith(" ".join(options))


def test_a_broken_photo_is_listed_and_the_rest_goes_on(folder: Callable[[dict[str, int]], Path]) -> None:
    tried = folder({"good": 3, "bad": 1})
    (tried / "bad" / "<b>.png").write_bytes(b"no picture")
    trial = try_product(tried, "ring <script>", engine=Engine.open())
    page = to_html([trial])
    assert len(trial.photos) == 2
    assert "Not inspected" in page
    assert "&lt;b&gt;.png" in page
    assert "<script" not in page


def test_a_copy_of_a_photo_that_was_learned_from_is_passed_over(folder: Callable[[dict[str, int]], Path]) -> None:
    tried = folder({"good": 6})
    shutil.copy(tried / "good" / "1.png", tried / "good" / "copy.png")
    trial = try_product(tried, "ring", engine=Engine.open())
    assert [path.name for path in trial.photos] == ["5.png", "6.png"]


def test_the_advice_follows_what_was_found(folder: Callable[[dict[str, int]], Path]) -> None:
    tried, engine = folder({"good": 10, "bad": 2}), Engine.open()
    trial = try_product(tried, "a ring", engine=engine)
    assert not any("--tiles" in (advice.command or "") for advice in advise(trial))
    trial.raw_scores[trial.bad] = 0.0
    trial.raw_scores[~trial.bad] = 1.0
    commands = [advice.command for advice in advise(trial)]
    assert commands[0] == f"goodparts try {tried} --product 'a ring' --tiles 2x2 --out tiles.html"
    assert commands[1] == f"goodparts try {tried} --product 'a ring' --shots 5"
    assert not any("--settle" in (command or "") or "calibrate" in (command or "") for command in commands)
    shutil.rmtree(tried / "bad")
    assert "No bad part was shown" in advise(try_product(tried, "ring", engine=engine))[0].sentence


@pytest.mark.parametrize(
    ("good", "bad", "told", "commands"),
    [
        ([0.5, 0.5], [2.0, 0.7], "A threshold of 0.5916 would miss 0 and reject 0.", ["calibrate"]),
        ([0.5, 0.5], [0.7, 0.1], "still miss, on the sheet. A defect that stays dark", ["try", "calibrate"]),
        ([0.5, 0.5], [2.0, 0.1], "misses 1 of 2 bad parts, and the photos show no better one", ["try"]),
        ([0.5, 1.5], [2.0, 0.1], "A threshold of 1.732 would miss 1 and reject 0.", ["try", "calibrate"]),
        ([2.0, 2.0], [3.0, 3.0], "A threshold of 2.449 would miss 0 and reject 0.", ["calibrate", "--settle"]),
        ([0.5, 0.5], [2.0, 2.0], "Only 2 good parts were inspected", []),
    ],
)
def test_the_advice_is_one_that_the_sheets_numbers_support(
    tried: Trial, good: list[float], bad: list[float], told: str, commands: list[str]
) -> None:
    tried.raw_scores[~tried.bad] = np.array(good) * tried.thresholds[0].raw
    tried.raw_scores[tried.bad] = np.array(bad) * tried.thresholds[0].raw
    advice = advise(tried)
    assert any(told in sentence for sentence, _ in advice)
    given = " ".join(command for _, command in advice if command)
    assert [name for name in ("try", "calibrate", "--settle") if f"{name} " in given] == commands
    if "calibrate" in commands:
        assert f"goodparts calibrate --recipe ring.safetensors --good DIR --bad {tried.folder / 'bad'}" in given


@pytest.mark.parametrize(
    ("counts", "options", "message"),
    [
        ({"good": 1}, [], "holds one photo of a good part: two or more are needed"),
        ({"bad": 1}, [], "has the folders bad and none called good: put photos of good parts into good/"),
        ({"good": 3}, ["--shots", "3"], "--shots 3: there are 3 photos of good parts and one must be left"),
        ({"good": 3}, ["--out", "nowhere/sheet.html"], "does not exist; create it first"),
        ({"good": 0}, [], "no pictures in"),
    ],
)
def test_bad_input_is_one_clear_line(
    folder: Callable[[dict[str, int]], Path],
    capsys: pytest.CaptureFixture[str],
    counts: dict[str, int],
    options: list[str],
    message: str,
) -> None:
    assert main(["try", str(folder(counts)), *options]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_a_file_is_no_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["try", str(tmp_path / "nowhere")]) == 2
    assert "nowhere is no folder: give one with photos of good parts" in capsys.readouterr().err
