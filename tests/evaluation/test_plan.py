"""A sweep from a TOML file: what it refuses, that it goes on where it ended, and that dead workers are replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import pytest
from goodparts.evaluation import cache as cells
from goodparts.evaluation import encoded_photos as encoded
from goodparts.evaluation import run as evaluation
from goodparts.evaluation.cache import Cells
from goodparts.evaluation.datasets import open_data
from goodparts.evaluation.methods.table import METHODS
from goodparts.evaluation.plan import read_sweep
from goodparts.evaluation.workers import divide
from goodparts.runtime.core import native
from goodparts.runtime.core.errors import FileError
from goodparts.runtime.core.preprocess import load_rgb
from goodparts.trainer.anople.learner import AnoPLeLearner
from hypothesis import given
from hypothesis import strategies as st

from goodparts.cli import main
from tests.conftest import draw_part


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    """Two plain categories, each of 3 good and 2 bad photos."""
    root = tmp_path / "rings"
    for number, name in enumerate(("large", "small")):
        for seed in range(5):
            path = root / name / ("bad" if seed > 2 else "good") / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_part(10 * number + seed, defect=seed > 2, size=(320 + 40 * number, 240)).save(path)
    return root


def write_sweep(rings: Path, engine: Path, *lines: str) -> Path:
    file = rings.parent / "sweep.toml"
    told = [f'data = "{rings}"', f'out = "{rings.parent / "out"}"', f'engine = "{engine}"', "shots = [1]", *lines]
    file.write_text("\n".join(told), encoding="utf-8")
    return file


def read_inodes(out: Path) -> dict[str, int]:
    """Of the finished cells; a file that is written again gets another."""
    return {path.name: path.stat().st_ino for path in (out / "cells").glob("*.cell")}


@pytest.mark.parametrize(
    ("lines", "said"),
    [
        (['data = "x"', "seed = 3"], "sweep.toml: unknown key 'seed': there are data out"),
        (['data = "x"', 'out = "y"', 'seeds = "3"'], "sweep.toml: seeds = '3': expected `int`, got `str`"),
        (['data = "x"', 'out = "y"', "shots = [1, 0]"], "sweep.toml: shots = [1, 0]: expected `int` >= 1"),
        (['data = "x"', 'out = "y"', 'precision = "fp64"'], "sweep.toml: precision = 'fp64': invalid enum value"),
        (['data = "x"'], "sweep.toml: out is needed: --out"),
        (["data = x"], "sweep.toml is no TOML: "),
        (['data = "x"', 'out = "y"', 'method = ["magic"]'], "--method magic: there are all"),
        (['data = "nowhere"', 'out = "out"'], "nowhere is no folder: name the one that the data set was unpacked to"),
    ],
)
def test_what_is_wrong_with_a_file_is_said_in_one_line(
    lines: list[str], said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep.toml").write_text("\n".join(lines), encoding="utf-8")
    assert main(["evaluate", "--sweep", "sweep.toml"]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_options_win_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text('data = "drawn"\nout = "a"\nmethod = ["all"]\nmemory-taps = "2,3"\n', encoding="utf-8")
    sweep = read_sweep(file, {"out": "b", "seeds": 3})
    assert (sweep.out, sweep.seeds, sweep.memory_taps, sweep.methods) == ("b", 3, "2,3", tuple(METHODS))


def test_finished_cells_are_not_measured_again(
    rings: Path, engine_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file, out = write_sweep(rings, engine_folder, 'method = ["memory", "promptad-objects"]'), rings.parent / "out"
    decoded: list[Path] = []
    monkeypatch.setattr(encoded, "load_rgb", lambda path: decoded.append(path) or load_rgb(path))
    assert main(["evaluate", "--sweep", str(file)]) == 0
    first, table = read_inodes(out), (out / "results.csv").read_bytes()
    assert sorted(decoded) == sorted(rings.rglob("*.png"))  # each once, those that the report shows as well
    monkeypatch.setattr(evaluation, "measure_images", lambda *_: pytest.fail("measured again"))
    decoded.clear()
    assert main(["evaluate", "--sweep", str(file)]) == 0
    assert (read_inodes(out), (out / "results.csv").read_bytes()) == (first, table)
    assert "no benchmark object" in (out / "results.md").read_text(encoding="utf-8")
    monkeypatch.undo()
    assert main(["evaluate", "--sweep", str(file), "--seeds", "2"]) == 0
    assert len(read_inodes(out)) == 2 * len(first)
    assert read_inodes(out).items() >= first.items()
    draw_part(99).save(rings / "small" / "good" / "0.png")
    assert main(["evaluate", "--sweep", str(file)]) == 0
    assert len(read_inodes(out)) == 2 * len(first) + 2  # of the category that changed


def test_what_is_learned_from_all_categories_is_measured_on_each(
    rings: Path, engine_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(AnoPLeLearner, "learn", lambda _: None)
    file = write_sweep(rings, engine_folder, 'method = ["anople-multi"]')
    assert main(["evaluate", "--sweep", str(file)]) == 0
    assert len(read_inodes(rings.parent / "out")) == 2


def test_a_damaged_cell_is_named(tmp_path: Path) -> None:
    (tmp_path / "0.cell").write_bytes(b"\x00")
    with pytest.raises(FileError, match=r"0\.cell is damaged .*: remove it and run again"):
        Cells(tmp_path).read("0")


def test_code_is_what_a_cell_came_from(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its C++ core, or that there is none, and the versions of its libraries."""
    whole = cells.code_digest.__wrapped__()
    assert whole == cells.code_digest.__wrapped__()
    with monkeypatch.context() as patch:
        patch.setattr(native, "core", lambda: None)
        without = cells.code_digest.__wrapped__()
    for name in ("open_clip_torch", "timm"):
        with monkeypatch.context() as patch:
            patch.setattr(cells, "version", lambda one, name=name: "0" if one == name else metadata.version(one))
            assert cells.code_digest.__wrapped__() not in (whole, without)
    assert (without == whole) == (native.core() is None)


def test_a_folder_that_was_not_finished_is_no_category(rings: Path) -> None:
    (rings / "large").rename(rings / ".large.part")
    assert open_data(rings).categories == ("small",)


@given(st.integers(1, 30), st.integers(1, 20), st.integers(1, 100))
def test_every_seed_of_a_category_is_one_tasks_and_all_workers_have_one(
    categories: int, seeds: int, workers: int
) -> None:
    names = [str(number) for number in range(categories)]
    tasks = divide(names, seeds, workers)
    assert [(name, seed) for name, part in tasks for seed in part] == [
        (name, n) for name in names for n in range(seeds)
    ]
    assert all(task.seeds for task in tasks)
    assert len(tasks) >= min(workers, categories * seeds)
    if workers <= categories:
        assert len(tasks) == categories  # so that a photo is decoded once


def find_workers(parent: int) -> Iterator[int]:
    """The processes under `parent` that may measure: Ray's, or those of a pool."""
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            family = int(status.read_text().rpartition(")")[2].split()[1])
            command = (status.parent / "cmdline").read_bytes()
        except (OSError, IndexError):
            continue
        if family == parent:
            own = int(status.parent.name)
            forked = (
                b"forkserver" in command and b"forkserver" in (Path("/proc") / str(parent) / "cmdline").read_bytes()
            )
            if b"ray::_measure" in command or forked:
                yield own
            yield from find_workers(own)


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="workers are found through /proc")
@pytest.mark.parametrize("where", ["processes", "ray"])
def test_a_killed_worker_loses_only_its_cell(where: str, rings: Path, engine_folder: Path) -> None:
    lines = ['method = ["memory", "promptad"]', "workers = 2", 'category = ["small"]', "seeds = 2"]
    if where == "ray":
        pytest.importorskip("ray", reason="Ray is not installed")
        lines.append('ray = "local"')
    file, out = write_sweep(rings, engine_folder, *lines), rings.parent / "out"
    program = "import sys; from goodparts.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "evaluate", "--sweep", str(file)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as sweep:
        while sweep.poll() is None and not (before := read_inodes(out)):
            time.sleep(0.02)
        os.kill(next(find_workers(sweep.pid)), signal.SIGKILL)
        _, said = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, said
    after = read_inodes(out)
    assert len(after) == 4
    assert after.items() >= before.items()
    assert len((out / "results.csv").read_text(encoding="utf-8").splitlines()) == 1 + 4
