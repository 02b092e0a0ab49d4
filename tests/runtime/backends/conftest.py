"""An engine to build plans in. It is of the tiny ViT: CUDA is emulated here, and there are few patches to search."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from goodparts.runtime.recipe.recipe import Recipe


@pytest.fixture(scope="session")
def engine_folder(vit_engine: Path) -> Path:
    return vit_engine


@pytest.fixture(scope="session")
def recipe(vit_recipe: Recipe) -> Recipe:
    return vit_recipe


@pytest.fixture
def folder(engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A copy of the engine, and a user's cache that is not the user's."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return Path(shutil.copytree(engine_folder, tmp_path / "engine"))
