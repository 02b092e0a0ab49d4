"""Small data sets of drawn rings, and learning that is cut short."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.trainer.promptad import learner as promptad
from PIL import Image

from tests.conftest import draw_part


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Learn in two steps only; these tests do not check how well prompts are learned."""

    def learn(self: promptad.PromptLearner, progress: promptad.Progress = iter) -> promptad.Prototypes:
        for _ in progress(range(2)):
            self.step()
        return self.prototypes()

    monkeypatch.setattr(promptad.PromptLearner, "learn", learn)


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with good/ of 3 photos, bad/ of 2, and masks/ of the bad ones."""
    root = tmp_path_factory.mktemp("sets") / "ring"
    for seed in range(5):
        bad = seed > 2
        path = root / ("bad" if bad else "good") / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo = draw_part(seed, defect=bad)
        photo.save(path)
        if bad:
            clean = np.asarray(draw_part(seed), np.int16)
            mask = np.abs(np.asarray(photo, np.int16) - clean).max(axis=2) > 40
            (root / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(root / "masks" / f"{seed}.png")
    return root


@pytest.fixture
def rings(tmp_path: Path) -> Path:
    """Two plain categories, each of 3 good and 2 bad photos."""
    root = tmp_path / "rings"
    for number, name in enumerate(("large", "small")):
        for seed in range(5):
            path = root / name / ("bad" if seed > 2 else "good") / f"{seed}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            draw_part(10 * number + seed, defect=seed > 2, size=(320 + 40 * number, 240)).save(path)
    return root


def write_sweep(rings: Path, engine: Path, *lines: str) -> Path:
    file = rings.parent / "sweep.toml"
    settings = [f'data = "{rings}"', f'out = "{rings.parent / "out"}"', f'engine = "{engine}"', "shots = [1]", *lines]
    file.write_text("\n".join(settings), encoding="utf-8")
    return file


def read_inodes(out: Path) -> dict[str, int]:
    """Return the inodes of finished measurements; a file that is written again gets a new one."""
    return {path.name: path.stat().st_ino for path in (out / "cells").glob("*.cell")}
