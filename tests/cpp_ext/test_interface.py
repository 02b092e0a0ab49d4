"""The native module's interface for type checkers: goodparts/_native/*.pyi are generated from the compiled module."""

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
