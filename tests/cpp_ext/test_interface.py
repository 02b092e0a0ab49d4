"""The module's interface as type checkers see it: goodparts/_native/*.pyi are what the binary says of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import goodparts

STUBS = Path(goodparts.__file__).with_name("_native")


def test_the_stubs_are_the_modules_own(tmp_path: Path) -> None:
    """After a change of the interface: python -m nanobind.stubgen -r -m goodparts._native -O goodparts"""
    command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-r", "-m", "goodparts._native", "-O", str(tmp_path)]
    subprocess.run(command, check=True)
    made = sorted(path.name for path in (tmp_path / "_native").iterdir())
    assert made == ["__init__.pyi", "cuda.pyi"]
    for name in made:
        written, kept = (folder / name for folder in (tmp_path / "_native", STUBS))
        assert written.read_text(encoding="utf-8") == kept.read_text(encoding="utf-8")
