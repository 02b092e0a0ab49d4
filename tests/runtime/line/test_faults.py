"""Runs faults.py with few kills."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from goodparts.runtime import Recipe

if sys.platform != "linux":
    pytest.skip("kills and full disks are tested on Linux only", allow_module_level=True)

from tests.runtime.line import faults

KILLS = 2


def test_kills_lost_sources_broken_recipes_and_full_disks_cause_no_loss_and_no_wrong_verdict(
    engine_folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    counted = faults.run(tmp_path, engine_folder, recipe, KILLS, seed=1)
    assert counted["lines of the folder"] >= counted["pictures"] > 0
