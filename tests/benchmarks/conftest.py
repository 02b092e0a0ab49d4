"""Processes that are forked, for the tests in which many are started."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from goodparts.benchmarks import timing
from goodparts.evaluation.processes import context


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contenders' processes share one import of torch, which takes each of them seconds otherwise. What a contender's
    own environment would change is not to be seen; test_timing starts them as they ship."""
    monkeypatch.setattr(timing, "multiprocessing", SimpleNamespace(get_context=lambda _: context()))
