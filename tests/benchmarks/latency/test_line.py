"""The benchmark of a whole line runs one and observes it from outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from goodparts.benchmarks.latency import line, line_process, recordings
from goodparts.evaluation.report.report import Findings

FRAMES = 24


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return recordings.record(tmp_path_factory.mktemp("video") / "small.mp4", line.SMALL_SIZE, FRAMES)


def test_a_recording_repeats_its_frames_and_has_as_many_as_asked_for(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert len(recordings.read_frames(recording, 1000)) == FRAMES
    monkeypatch.setattr(recordings, "LOOP", 5)
    repeated = recordings.read_frames(recordings.record(tmp_path / "repeated.mp4", line.SMALL_SIZE, 12), 1000)
    assert len(repeated) == 12
    assert (repeated[7] == repeated[2]).all()


def test_a_line_is_read_until_it_ends(
    recording: Path, engine_folder: Path, recipe_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(line_process, "POLL", 0.02)
    observation = line_process.run_line(engine_folder, "fp32", 1, [recipe_file], recording, "every", every=8)
    assert observation.lines == line_process.SOURCES * FRAMES
    assert 0 < observation.inspected <= observation.lines
    assert observation.dropped == 0
    assert observation.curve
    assert all(memory > 20 for _, memory, _ in observation.curve)
    findings = Findings()
    line.report_memory(findings, "fp32", observation, line_process.SOURCES * FRAMES)
    assert findings.remarks[-1].endswith("0, met")
