"""Links lead to files, docs/formats.md names every field of the files that it describes, and lines are not too long."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterator
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
FOLDERS = ("benchmarks", "cpp_ext", "deploy", "docs", "drawn", "evaluation", "examples", "export", "goodparts")
FOLDERS += ("runtime", "tests", "trainer", ".ci", ".github")
COLUMNS = 120
DATA = {".csv", ".ipynb", ".json", ".jpg", ".npz", ".onnx", ".png", ".safetensors", ".svg", ".weights"}
WRITTEN_BY_PROGRAMS = (
    *(f"benchmarks/results/{name}.md" for name in ("frame", "frame_small", "prompted", "scene")),  # goodparts bench
    "benchmarks/results/evaluate",  # goodparts evaluate: evaluate/, evaluate_all/ and so on
    "goodparts/_native/",
)
"""How the names of files begin that programs wrote. Other pages of benchmarks/results are written by hand."""


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


def test_lines_fit_120_columns() -> None:
    long = [f"{file}:{number}" for file in text_files() for number in long_lines(ROOT / file)]
    assert not long, "\n".join([f"lines of more than {COLUMNS} characters:", *long])


def text_files() -> Iterator[str]:
    """Yield the repository's files that people write, without files of data; each relative to the root."""
    try:
        listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True)
        files = listed.stdout.decode().split("\0")[:-1]
    except (OSError, subprocess.CalledProcessError):
        files = []
    if not files:  # this tree is an export, not a checkout of git
        walked = [*ROOT.glob("[!.]*"), *(file for folder in FOLDERS for file in (ROOT / folder).rglob("*"))]
        files = [file.relative_to(ROOT).as_posix() for file in walked if file.suffix not in {".pyc", ".so"}]
    for file in files:
        if not file.startswith(WRITTEN_BY_PROGRAMS) and Path(file).suffix not in DATA and (ROOT / file).is_file():
            yield file


def long_lines(file: Path) -> Iterator[int]:
    """Yield the numbers of the lines that are too long; in Markdown, tables, code and lines with a link may be."""
    is_page = file.suffix == ".md"
    in_code = False
    for number, line in enumerate(file.read_text(encoding="utf-8").splitlines(), 1):
        if is_page and line.lstrip().startswith("```"):
            in_code = not in_code
        free = is_page and (in_code or line.lstrip().startswith("|") or re.search(r"\]\(|https?://", line))
        if len(line) > COLUMNS and not free:
            yield number
