"""Runs soak.py for some seconds. `make soak` makes it minutes, with GOODPARTS_SOAK_MINUTES."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

if sys.platform != "linux":
    pytest.skip("limits on the files of another process can be set on Linux only", allow_module_level=True)

from tests.runtime.line.soak import Soak

SECONDS = 6.0


def test_a_line_whose_surroundings_fail_gives_every_picture_one_line_and_reports_every_loss(
    engine_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    minutes = os.environ.get("GOODPARTS_SOAK_MINUTES")
    seconds = SECONDS if minutes is None else 60 * float(minutes)
    counted = Soak(tmp_path, engine_folder, recipe_file, seed=1).run(seconds)
    print(counted)
    assert counted["pictures"] > 0
    assert counted["lines of recorder"] > 0
