"""systemd accepts the unit, and the program that the unit starts exists."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from goodparts.runtime.commands import watch

UNIT = Path(__file__).parents[2] / "deploy" / "goodparts-watch.service"

pytestmark = pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="needs systemd")


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True, check=False)


def test_systemd_accepts_it(tmp_path: Path) -> None:
    unit = tmp_path / UNIT.name
    text = UNIT.read_text()
    unit.write_text(text.replace("/opt/goodparts/bin/goodparts", "/bin/true"))
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stderr) == (0, "")
    unit.write_text(text.replace("/opt/goodparts/bin/goodparts", "/bin/true").replace("ProtectHome", "ProtectHouse"))
    assert "ProtectHouse" in analyze("verify", str(unit)).stderr  # the check above can fail


def test_little_is_exposed() -> None:
    done = analyze("security", "--offline=true", "--threshold=25", str(UNIT))
    assert done.returncode == 0, done.stdout[-300:]


def test_what_it_starts_exists() -> None:
    (command,) = re.findall(r"^ExecStart=\S+/goodparts (\w+) (--\w+) ", UNIT.read_text(), re.MULTILINE)
    assert command == ("watch", "--line")
    assert hasattr(watch, "run")
