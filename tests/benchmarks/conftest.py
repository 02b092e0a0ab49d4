"""Fixtures: one runs `goodparts bench`, one forks processes for tests that start many."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import pytest
from goodparts.benchmarks import timing
from goodparts.evaluation.processes import context

from goodparts.cli import main

Rows = list[dict[str, object]]
KEYS = {"name", "value", "unit", "peer", "peer_value", "ratio"}


@pytest.fixture
def bench(tmp_path: Path) -> Callable[..., Rows]:
    """Return a function that runs `goodparts bench` with some options and returns the rows of its JSON."""
    path = tmp_path / "bench.json"

    def run(*options: str) -> Rows:
        assert main(["bench", *options, "--json", str(path)]) == 0
        rows: Rows = json.loads(path.read_bytes())["rows"]
        for row in rows:
            assert {"name", "value", "unit"} <= row.keys() <= KEYS
            assert ("peer" in row) == ("peer_value" in row) == ("ratio" in row)
        return rows

    return run


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Fork the processes of contenders, so that they share one import of torch, which would take seconds in each.

    A contender's own environment variables then have no effect on imports. test_timing starts processes as `goodparts
    bench` does.
    """
    monkeypatch.setattr(timing, "multiprocessing", SimpleNamespace(get_context=lambda _: context()))
