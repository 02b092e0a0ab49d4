"""Running `goodparts bench`, and processes that are forked, for the tests in which many are started."""

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
    """Run `goodparts bench` with some options; returns the rows of its JSON."""
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
    """Contenders' processes share one import of torch, which takes each of them seconds otherwise. What a contender's
    own environment would change is not to be seen; test_timing starts them as they ship."""
    monkeypatch.setattr(timing, "multiprocessing", SimpleNamespace(get_context=lambda _: context()))
