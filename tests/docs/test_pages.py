"""Pages lead somewhere, and docs/formats.md names every field of what it describes."""

from __future__ import annotations

import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from goodparts.runtime.backends.library import Device
from goodparts.runtime.core.regions import Region
from goodparts.runtime.core.scene import Scene
from goodparts.runtime.core.view import Box, View
from goodparts.runtime.describe import as_record
from goodparts.runtime.engine.kernels import KernelCheck
from goodparts.runtime.engine.plans import Plan
from goodparts.runtime.engine.spec import Encoder, EngineSpec, File, Graph, Labelled, Parity, Tap, Variant
from goodparts.runtime.inspection import Inspection
from goodparts.runtime.line.picture_file import PictureFile
from goodparts.runtime.recipe.calibrate import Calibration, Level
from goodparts.runtime.recipe.header import Accepted, RecipeHeader, Shot, Thresholds

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").rglob("*.md"))]
LINK = re.compile(r"\]\((?!https?:|#|mailto:)([^)#\s]+)")
RECIPE = (RecipeHeader, Shot, Thresholds, Accepted, Calibration, Level, Scene, View, Box)
ENGINE = (EngineSpec, Encoder, Tap, File, Graph, Variant, Parity, Labelled, Plan, KernelCheck, Device)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    links = LINK.findall(page.read_text(encoding="utf-8"))
    assert not [link for link in links if not (page.parent / link).exists()]


def test_formats_names_every_field() -> None:
    text = (ROOT / "docs" / "formats.md").read_text(encoding="utf-8")
    structs = (*RECIPE, *ENGINE, Region, PictureFile)
    fields = {field.encode_name for struct in structs for field in msgspec.structs.fields(struct)}
    seen = Inspection(
        0.1, Thresholds(image=1.0, pixel=1.0), np.zeros((1, 2, 2), np.float32), View(), (9, 9), {}, "", "", ""
    )
    fields |= as_record(seen).keys()
    named = set(re.findall(r"\w+", " ".join(re.findall(r"`([^`]*)`", text))))
    assert fields <= named, sorted(fields - named)
