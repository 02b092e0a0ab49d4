"""Processes that are forked, for the tests in which many are started."""

from __future__ import annotations

import multiprocessing
from types import SimpleNamespace

import pytest
from goodparts.benchmarks import timing


@pytest.fixture
def forked(monkeypatch: pytest.MonkeyPatch) -> None:
    """Contenders' processes share one import of torch, which takes each of them seconds otherwise. What a contender's
    own environment would change is not to be seen; test_timing starts them as they ship."""
    if "forkserver" in multiprocessing.get_all_start_methods():
        context = multiprocessing.get_context("forkserver")
        context.set_forkserver_preload(["goodparts.benchmarks.workers"])
        monkeypatch.setattr(timing, "multiprocessing", SimpleNamespace(get_context=lambda _: context))
