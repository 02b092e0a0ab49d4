"""The open graphs of an engine: which backend runs them, and when they are opened."""

from __future__ import annotations

import importlib.util
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from goodparts.runtime.backends.session import GraphName, Precision, Session
from goodparts.runtime.core.errors import BackendError, EngineError
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.graphs import LazyGraphs
from goodparts.runtime.engine.spec import read_spec


class Counting(LazyGraphs):
    """Graphs that count how often they are opened, and fail the first time."""

    def __init__(self, failures: int = 0) -> None:
        super().__init__()
        self.opened: list[GraphName] = []
        self.failures = failures

    def open(self, name: GraphName) -> Session:
        self.opened.append(name)
        if len(self.opened) <= self.failures:
            raise BackendError("device lost")
        return object()  # type: ignore[return-value]


def test_a_graph_is_opened_once_by_the_first_thread_that_uses_it() -> None:
    graphs, together = Counting(), threading.Barrier(4)

    def ask(_: int) -> Session:
        together.wait(30)
        return graphs["prompted"]

    with ThreadPoolExecutor(4) as pool:
        sessions = list(pool.map(ask, range(4)))
    assert graphs.opened == ["prompted"]
    assert len({id(session) for session in sessions}) == 1


def test_a_graph_that_could_not_be_opened_is_tried_again() -> None:
    graphs = Counting(failures=1)
    with pytest.raises(BackendError, match="device lost"):
        graphs["plain"]
    assert graphs["plain"] is graphs["plain"]
    assert graphs.opened == ["plain", "plain"]


def test_bf16_is_enforced_and_reported(vit_engine: Path) -> None:
    if "bf16" not in read_spec(vit_engine).graph("plain").variants:
        pytest.skip("this processor has no bf16")
    assert "bf16" in Engine.open(vit_engine, precision="bf16").backend
    with pytest.raises(EngineError, match="bf16 on onnxruntime has no parity record"):
        Engine.open(vit_engine, backend="onnxruntime", precision="bf16")


def test_a_missing_library_is_named_with_its_extra(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "goodparts.runtime.backends.openvino", None)
    with pytest.raises(BackendError, match=r'openvino is not installed: pip install "\.\[openvino\]"'):
        Engine.open(engine_folder, backend="openvino")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendError, match=r'pip install "\.\[openvino\]" or pip install "\.\[cpu\]"'):
        Engine.open(engine_folder)
    with pytest.raises(BackendError, match="unknown backend 'tpu': choose auto, openvino, onnxruntime"):
        Engine.open(engine_folder, backend="tpu")


@pytest.mark.parametrize(("missing", "chosen"), [(None, "openvino"), ("openvino", "onnxruntime")])
def test_auto_takes_the_first_that_is_installed(
    engine_folder: Path, monkeypatch: pytest.MonkeyPatch, missing: str | None, chosen: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    assert Engine.open(engine_folder).backend.startswith(chosen)


@pytest.mark.parametrize("precision", ["int8"])
def test_an_unknown_precision_is_named(engine_folder: Path, precision: Precision) -> None:
    with pytest.raises(EngineError, match="has no int8 graph: it has bf16, fp32|has no int8 graph: it has fp32"):
        Engine.open(engine_folder, precision=precision)
