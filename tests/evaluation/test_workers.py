"""Categories are divided among workers, and dead workers are replaced."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from goodparts.evaluation.workers import divide
from hypothesis import given
from hypothesis import strategies as st

from tests.evaluation.conftest import read_inodes, write_sweep


@given(st.integers(1, 30), st.integers(1, 20), st.integers(1, 100))
def test_every_seed_of_a_category_is_in_one_item_and_all_workers_have_one(
    categories: int, seeds: int, workers: int
) -> None:
    names = [str(number) for number in range(categories)]
    items = divide(names, seeds, workers)
    assert [(name, seed) for name, part in items for seed in part] == [
        (name, n) for name in names for n in range(seeds)
    ]
    assert all(item.seeds for item in items)
    assert len(items) >= min(workers, categories * seeds)
    if workers <= categories:
        assert len(items) == categories  # so that a photo is decoded once


def find_workers(parent: int) -> Iterator[int]:
    """Yield the processes under `parent` that may measure: Ray's, or those of a pool."""
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
def test_a_killed_worker_loses_only_its_measurement(where: str, rings: Path, engine_folder: Path) -> None:
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
        _, log = sweep.communicate(timeout=120)
    assert sweep.returncode == 0, log
    after = read_inodes(out)
    assert len(after) == 4
    assert after.items() >= before.items()
    assert len((out / "results.csv").read_text(encoding="utf-8").splitlines()) == 1 + 4
