"""The released evaluation: its inputs against OpenCV, its scores against recorded ones, and the command."""

from __future__ import annotations

import json
from pathlib import Path

import cv2
import numpy as np
import pytest
from goodparts.evaluation.datasets import Sample
from goodparts.evaluation.methods.method import PromptTask, TrainingData
from goodparts.evaluation.methods.table import METHODS
from goodparts.evaluation.official import OfficialPhotos, official_truth, read_shots, squash
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import anomaly_map
from goodparts.trainer.promptad.learner import PromptLearner, Prototypes
from goodparts.trainer.steps import Progress
from hypothesis import example, given, settings
from hypothesis import strategies as st
from PIL import Image

from goodparts.cli import main
from tests.conftest import draw_part
from tests.trainer.promptad.test_golden import GOLDEN, small_backbone


def test_scores_of_the_released_code() -> None:
    backbone = small_backbone(0)
    shots, features = GOLDEN["shots"], backbone.encode(GOLDEN["shots"])
    row = METHODS["promptad-objects"]
    task = PromptTask(lambda: backbone, lambda: features, "carpet", "carpet", 0, protocol="official")
    learned = Prototypes(GOLDEN["cls.prototypes"], GOLDEN["seg.prototypes"])
    data = TrainingData(features, shots, backbone.encode, task.with_prompts(str(row.prompts), learned))
    image, grid = row.fit(data).score(backbone.encode(GOLDEN["queries"]))
    # The recipe's memory is rounded to float16.
    np.testing.assert_allclose(image, GOLDEN["cls.image_score"], atol=2e-4)
    maps = np.stack([anomaly_map(one)[::4, ::4] for one in grid])
    np.testing.assert_allclose(maps, GOLDEN["seg.map"], atol=2e-4)


sides = st.integers(8, 700)


@settings(max_examples=60, deadline=None)
@given(height=sides, width=sides, size=st.integers(8, 500), seed=st.integers(0, 2**32 - 1))
@example(height=512, width=512, size=256, seed=0)  # exactly twice the size
@example(height=512, width=300, size=256, seed=0)  # twice the size along one side
@example(height=1100, width=1400, size=1024, seed=0)
def test_pictures_are_squashed_as_opencv_does_it(height: int, width: int, size: int, seed: int) -> None:
    photo = np.random.default_rng(seed).integers(0, 256, (height, width, 3), np.uint8)
    np.testing.assert_array_equal(squash(photo, size), cv2.resize(photo, (size, size), interpolation=cv2.INTER_LINEAR))


def test_only_test_photos_change_their_colour_order(tmp_path: Path) -> None:
    for name in ("good.png", "test.png"):
        draw_part(0).save(tmp_path / name)
    photos = OfficialPhotos(96, {tmp_path / "test.png"})
    good, test = photos.views([tmp_path / "good.png", tmp_path / "test.png"])
    np.testing.assert_array_equal(good, test[..., ::-1])
    photos.close()


def test_masks_by_nearest_neighbours(tmp_path: Path) -> None:
    mask = np.zeros((300, 500), np.uint8)
    mask[100:140, 200:207] = 1
    Image.fromarray(mask).save(tmp_path / "mask.png")
    theirs = cv2.resize(mask, (1024, 1024), interpolation=cv2.INTER_NEAREST)
    theirs = cv2.resize(theirs, (400, 400), interpolation=cv2.INTER_NEAREST)
    found = official_truth(Sample(tmp_path / "photo.png", "scratch", (tmp_path / "mask.png",)))
    np.testing.assert_array_equal(found.mask, theirs > 0)


def test_shots_are_read_from_their_list(tmp_path: Path) -> None:
    photos = [Path(f"{number:03}.png") for number in range(20)]
    (tmp_path / "nut").mkdir()
    (tmp_path / "nut" / "selected_samples_per_run.txt").write_text("#1: 13\n#2: 010 003\n#4: 1 2 3 99\n")
    assert read_shots(tmp_path, "nut", photos[::-1], 2) == [Path("010.png"), Path("003.png")]
    for count, message in ((8, "lists no 8 shots"), (4, "for 20 good photos")):
        with pytest.raises(SettingsError, match=message):
            read_shots(tmp_path, "nut", photos, count)


def test_the_command_states_the_differences(
    photos: Path,
    engine_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    def learn(self: PromptLearner, progress: Progress = iter) -> Prototypes:
        for _ in progress(range(2)):
            pass
        return self.prototypes()

    monkeypatch.setattr(PromptLearner, "learn", learn)
    lists = tmp_path / "lists" / photos.name
    lists.mkdir(parents=True)
    (lists / "selected_samples_per_run.txt").write_text("#1: 2\n")
    command = ["evaluate", "--data", str(photos), "--engine", str(engine_folder), "--out", str(tmp_path / "out")]
    command += ["--official", str(tmp_path / "lists"), "--shots", "1", "--method"]
    assert main([*command, "promptad", "memory"]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_bytes())
    assert results["manifests"][0]["photos"][0]["name"] == "3.png"
    assert "BGR order (D2)" in (tmp_path / "out" / "results.md").read_text(encoding="utf-8")
    assert "oracle_image_auroc" not in results["cells"][0]["values"]
    assert main([*command, "promptad", "--oracle"]) == 0
    results = json.loads((tmp_path / "out" / "results.json").read_bytes())
    assert "oracle_image_auroc" in results["cells"][0]["values"]
    page = (tmp_path / "out" / "results.html").read_text(encoding="utf-8")
    assert "the released code reports the oracle columns" in page
    assert main([*command, "promptad", "patchcore"]) == 2
    assert "--official: PromptAD's released code has no method patchcore" in capsys.readouterr().err
