"""The module's interface as type checkers see it: goodparts/_native.pyi is what the binary says of itself."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import goodparts

STUB = Path(goodparts.__file__).with_name("_native.pyi")


def test_the_stub_is_the_modules_own(tmp_path: Path) -> None:
    """After a change of the interface: python -m nanobind.stubgen -m goodparts._native -o goodparts/_native.pyi"""
    made = tmp_path / "_native.pyi"
    command = [sys.executable, "-m", "nanobind.stubgen", "-q", "-m", "goodparts._native", "-o", str(made)]
    subprocess.run(command, check=True)
    assert made.read_text(encoding="utf-8") == STUB.read_text(encoding="utf-8")
