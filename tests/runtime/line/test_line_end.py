"""A line ends within a bounded time and reports what it could not finish."""

from __future__ import annotations

import importlib
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from goodparts.runtime.line import line as line_module
from goodparts.runtime.line.open_line import open_line
from goodparts.runtime.line.settings import LineSettings, OutputSettings, SourceSettings

from tests.runtime.conftest import FRAMES


@pytest.fixture
def stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Any]:
    """The module of a hook that hangs until `going_on` is set; `reached` is set when it is called."""
    (tmp_path / "a_stuck_plc.py").write_text(
        "import threading\n"
        "going_on, reached = threading.Event(), threading.Event()\n"
        "def note(record):\n"
        "    reached.set()\n"
        "    going_on.wait()\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "a_stuck_plc", raising=False)
    module = importlib.import_module("a_stuck_plc")
    yield module
    module.going_on.set()
    for thread in threading.enumerate():
        if thread.name == "output hook":
            thread.join(30)


def make_settings(engine: Path, recipe: Path, source: Path, **output: str) -> LineSettings:
    sources = (SourceSettings(name="left", address=str(source), recipe=str(recipe)),)
    return LineSettings(engine=str(engine), source=sources, output=OutputSettings(**output))


def test_an_output_that_hangs_is_given_up_and_its_results_are_reported_as_lost(
    engine_folder: Path, recipe_file: Path, recording: Path, stuck: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "_STAGE_SECONDS", 0.3)
    messages: list[str] = []
    line = open_line(make_settings(engine_folder, recipe_file, recording, hook="a_stuck_plc:note"), messages.append)
    assert not line.run(lambda: None)
    assert line.threads_left == ["output hook"]
    assert messages[-1] == f"hook: {FRAMES} results were not delivered"
    assert not stuck.going_on.is_set()


def test_a_second_request_to_stop_shortens_the_wait(
    engine_folder: Path, recipe_file: Path, recording: Path, stuck: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_module, "_STAGE_SECONDS", 1e6)
    monkeypatch.setattr(line_module, "_HURRIED_SECONDS", 0.1)
    messages: list[str] = []
    line = open_line(make_settings(engine_folder, recipe_file, recording, hook="a_stuck_plc:note"), messages.append)

    def ask_twice() -> None:
        stuck.reached.wait()
        line.stop()
        line.stop()

    threading.Thread(target=ask_twice).start()
    assert not line.run(lambda: None)
    assert any("results were not delivered" in message for message in messages)


def test_a_line_that_delivers_all_is_complete(
    engine_folder: Path, recipe_file: Path, recording: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    line = open_line(make_settings(engine_folder, recipe_file, recording, json=str(out)), print)
    assert line.run(lambda: None)
    assert line.threads_left == []
    assert len(out.read_text().splitlines()) == FRAMES
