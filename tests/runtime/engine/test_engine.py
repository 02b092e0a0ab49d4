from __future__ import annotations

import pickle
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.backends.registry import AUTO
from goodparts.runtime.core.errors import BackendError, EngineError, SettingsError
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.trainer.clip.backbone import Backbone


@pytest.fixture
def copy(engine_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the engine that a test may damage."""
    return Path(shutil.copytree(engine_folder, tmp_path / "engine"))


@pytest.mark.parametrize("backend", AUTO)
@pytest.mark.parametrize("batch", [1, 5])
def test_features_equal_torchs(engine_folder: Path, small: Backbone, backend: str, batch: int) -> None:
    views = np.random.default_rng(batch).integers(0, 256, (batch, 240, 240, 3), np.uint8)
    engine = Engine.open(engine_folder, backend=backend)
    assert backend in engine.backend
    assert "fp32" in engine.backend
    seen, expected = engine.encode(views), small.encode(views)
    for one, other in zip(
        (seen.global_, seen.local, *seen.memory), (expected.global_, expected.local, *expected.memory), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)  # fp32 over six blocks


@pytest.mark.parametrize("backend", AUTO)
def test_results_stay_when_the_next_frame_comes(engine_folder: Path, backend: str) -> None:
    engine = Engine.open(engine_folder, backend=backend)
    black, white = (np.full((1, 240, 240, 3), value, np.uint8) for value in (0, 255))
    first = engine.encode(black)
    kept = first.global_.copy()
    engine.encode(white)
    np.testing.assert_array_equal(first.global_, kept)


def test_views_of_another_size_are_refused(engine_folder: Path) -> None:
    with pytest.raises(EngineError, match=r"uint8 \[1, 64, 64, 3\]: this encoder reads uint8 \[B,240,240,3\]"):
        Engine.open(engine_folder).encode(np.zeros((1, 64, 64, 3), np.uint8))


def test_a_graph_that_the_library_cannot_read_gives_one_line(copy: Path) -> None:
    graph = copy / "encoder.onnx"
    graph.write_bytes(b"\xff" * graph.stat().st_size)
    for backend in AUTO:
        with pytest.raises(BackendError, match="cannot open") as caught:
            Engine.open(copy, backend=backend)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", AUTO)
def test_threads_that_share_an_engine_get_their_own_results(engine_folder: Path, backend: str) -> None:
    engine = Engine.open(engine_folder, backend=backend)
    views = np.random.default_rng(0).integers(0, 256, (6, 1, 240, 240, 3), np.uint8)
    alone = [engine.encode(view).global_ for view in views]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda view: engine.encode(view).global_, np.concatenate([views] * 5)))
    for index, seen in enumerate(together):
        np.testing.assert_allclose(seen, alone[index % 6], atol=1e-6)


@pytest.mark.parametrize("threads", [0, -3])
def test_impossible_thread_counts_are_refused(engine_folder: Path, threads: int) -> None:
    with pytest.raises(SettingsError, match=f"threads {threads}: at least 1"):
        Engine.open(engine_folder, threads=threads)


@pytest.mark.parametrize("backend", AUTO)
def test_a_bound_on_threads_may_be_any_number(engine_folder: Path, backend: str) -> None:
    engine = Engine.open(engine_folder, backend=backend, threads=10**12)
    assert engine.encode(np.zeros((1, 240, 240, 3), np.uint8)).global_.shape[0] == 1


def test_a_relative_folder_outlasts_a_change_of_the_working_folder(
    prompted_folder: Path, anople_recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(prompted_folder.parent)
    engine = Engine.open(prompted_folder.name)
    monkeypatch.chdir(tmp_path)
    views = np.zeros((1, 192, 192, 3), np.uint8)
    assert engine.encode(views, anople_recipe.conditions).local.shape[0] == 1  # the prompted graph is opened only now


def test_an_engine_is_opened_once_per_process(engine_folder: Path) -> None:
    with pytest.raises(EngineError, match="an open engine cannot be pickled .*: open one per process"):
        pickle.dumps(Engine.open(engine_folder))
