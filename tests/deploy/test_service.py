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


def test_systemd_accepts_what_the_page_about_plcs_adds(tmp_path: Path) -> None:
    added = (UNIT.parents[1] / "docs" / "howto" / "plc.md").read_text().split("```ini\n")[1].split("```")[0]
    unit, addition = tmp_path / UNIT.name, tmp_path / f"{UNIT.name}.d" / "override.conf"
    unit.write_text(UNIT.read_text().replace("/opt/goodparts/bin/goodparts", "/bin/true"))
    addition.parent.mkdir()
    addition.write_text(added)
    done = analyze("verify", str(unit))
    assert (done.returncode, done.stderr) == (0, "")
    addition.write_text(added.replace("DeviceAllow", "DeviceAllows"))
    assert "DeviceAllows" in analyze("verify", str(unit)).stderr  # so the check above can fail


def test_little_is_exposed() -> None:
    done = analyze("security", "--offline=true", "--threshold=25", str(UNIT))
    assert done.returncode == 0, done.stdout[-300:]


def test_what_it_starts_exists() -> None:
    (command,) = re.findall(r"^ExecStart=\S+/goodparts (\w+) (--\w+) ", UNIT.read_text(), re.MULTILINE)
    assert command == ("watch", "--line")
    assert hasattr(watch, "run")
