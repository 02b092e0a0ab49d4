"""The peer anomalib. A small script replaces the process at the other end of the pipe, as anomalib is not installed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from goodparts.benchmarks.arrivals import BACK_TO_BACK
from goodparts.benchmarks.peers import anomalib as anomalib_peer
from goodparts.benchmarks.peers import anomalib_script
from goodparts.benchmarks.peers.anomalib import AnomalibPeer, environment
from goodparts.runtime.core.errors import BackendError

ANSWERS = """
import json, sys
print(json.dumps({"ran": "a double"}), flush=True)
frames = json.loads(sys.argv[1])["frames"]
for number, _ in enumerate(sys.stdin):
    if number == 2:
        sys.exit(3)
    print(json.dumps({"seconds": [0.5] * frames}), flush=True)
"""


def peer(script: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> AnomalibPeer:
    path = folder / "script.py"
    path.write_text(script)
    monkeypatch.setattr(anomalib_peer, "SCRIPT", path)
    monkeypatch.setattr(anomalib_peer, "FRAMES", 3)
    return AnomalibPeer("WinCLIP", 4, None, python=Path(sys.executable))


def test_turns(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with peer(ANSWERS, tmp_path, monkeypatch) as contender:
        contender.check()
        for _ in range(2):
            seconds, latencies = contender(0)
            assert seconds == 1.5
            assert contender.ran == "a double; 3 frames a round"
            assert latencies[BACK_TO_BACK].seconds == [0.5] * 3
        with pytest.raises(BackendError, match="WinCLIP ended early"):
            contender(0)


def test_its_error_becomes_ours(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = """print('{"error": "no such model"}', flush=True)"""
    with peer(script, tmp_path, monkeypatch) as contender, pytest.raises(BackendError, match="no such model"):
        contender.check()


def test_the_script_itself_reports_what_is_missing() -> None:
    numbers = {"shots": 1, "frames": 1, "warmup": 0, "height": 9, "width": 9}
    settings = json.dumps({"model": "WinCLIP", "threads": None, **numbers})
    done = subprocess.run(
        [sys.executable, "-I", anomalib_script.__file__, settings], input="", capture_output=True, text=True, check=True
    )
    assert "anomalib" in json.loads(done.stdout)["error"]


def test_environment_is_made_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    commands: list[Sequence[str]] = []

    def run(command: Sequence[str], **_: Any) -> None:
        commands.append(command)
        python = tmp_path / "it" / "bin" / "python"
        python.parent.mkdir(parents=True, exist_ok=True)
        python.touch()

    monkeypatch.setattr(subprocess, "run", run)
    python = environment(tmp_path / "it")
    assert python == tmp_path / "it" / "bin" / "python"
    assert [command[2] for command in commands] == ["venv", "pip"]
    assert environment(tmp_path / "it") == python
    assert len(commands) == 2
    monkeypatch.setattr(anomalib_peer, "REQUIREMENTS", ("another",))
    environment(tmp_path / "it")
    assert commands[-1][-1] == "another"


def test_an_environment_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def run(command: Sequence[str], **_: Any) -> None:
        raise subprocess.CalledProcessError(1, command)

    monkeypatch.setattr(subprocess, "run", run)
    with pytest.raises(BackendError, match="no environment for anomalib could be made in .*/it"):
        environment(tmp_path / "it")
    assert not (tmp_path / "it" / "whole").exists()
