"""The native module: its interface for type checkers, which is generated, and what it prints when a process ends."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import goodparts

STUBS = Path(goodparts.__file__).with_name("_native")


def test_the_stubs_are_those_of_the_module(tmp_path: Path) -> None:
    """After a change of the interface, run python -m nanobind.stubgen -r -m goodparts._native -O goodparts."""
    command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-r", "-m", "goodparts._native", "-O", str(tmp_path)]
    subprocess.run(command, check=True)
    made = sorted(path.name for path in (tmp_path / "_native").iterdir())
    assert made == ["__init__.pyi", "cuda.pyi"]
    for name in made:
        written, kept = (folder / name for folder in (tmp_path / "_native", STUBS))
        assert written.read_text(encoding="utf-8") == kept.read_text(encoding="utf-8")


def test_an_object_that_outlives_the_interpreter_prints_nothing() -> None:
    """Threads of a line that is killed hold such objects."""
    code = "from ctypes import *; import goodparts._native as n; pythonapi.Py_IncRef(py_object(n.Bank(64)))"
    ended = subprocess.run([sys.executable, "-c", code], capture_output=True, check=True)
    assert ended.stderr == b""
