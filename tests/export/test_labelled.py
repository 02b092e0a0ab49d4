from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from goodparts.export.labelled import LabelledPhotos
from goodparts.runtime.backends.tensors import Outputs, name_outputs
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.errors import FileError, ParityError, SettingsError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Floats
from goodparts.runtime.core.view import View
from goodparts.runtime.engine.spec import read_spec
from goodparts.trainer.clip.backbone import Backbone

from goodparts.cli import main
from tests.conftest import draw_part


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with three good photos of a ring, one of them for the memory, and two bad ones."""
    root = tmp_path_factory.mktemp("labelled")
    for kind, seeds in (("good", (1, 2, 3)), ("bad", (4, 5))):
        (root / kind).mkdir()
        for seed in seeds:
            draw_part(seed, defect=kind == "bad").save(root / kind / f"{seed}.png")
    return root


@pytest.fixture(scope="module")
def labelled(folder: Path, small: Backbone) -> LabelledPhotos:
    return LabelledPhotos.open(folder, small)


class Double:
    """A session whose memory features are the backbone's, changed by `change`."""

    description = "double"

    def __init__(self, backbone: Backbone, change: Callable[[Floats], Floats]) -> None:
        self._backbone = backbone
        self._change = change

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:  # noqa: ARG002
        features = self._backbone.encode(views)
        return name_outputs([features.global_, features.local, *map(self._change, features.memory)])


def test_torch_tells_drawn_defects_from_good_parts(labelled: LabelledPhotos) -> None:
    assert [len(photos) for photos in (labelled.shots, labelled.good, labelled.bad)] == [1, 2, 2]
    assert labelled.torch == 1


def test_the_same_features_pass_and_constant_features_fail(small: Backbone, labelled: LabelledPhotos) -> None:
    record = labelled.measure(Double(small, lambda memory: memory), "double", "fp32")
    assert (record.graph, record.shots, record.good, record.bad) == (1, 1, 2, 2)
    assert record.tolerance == 0.25, "one of four pairs weighs more than fp32's tolerance"
    with pytest.raises(ParityError, match=r"int8 on double has an image AUROC of 0\.5000 .* torch has 1\.0000"):
        labelled.measure(Double(small, np.ones_like), "double", "int8")
    with pytest.raises(ParityError, match="AUROC of nan"):
        labelled.measure(Double(small, lambda memory: memory * np.float32("nan")), "double", "int8")


def test_a_tiled_view_scores_a_photo_by_its_worst_tile(small: Backbone, folder: Path) -> None:
    labelled = LabelledPhotos.open(folder, small, View(tiles=(1, 2)))
    assert labelled.bad[0].shape == (2, 240, 240, 3)
    assert labelled.torch == 1


def test_folders_that_are_not_labelled_say_what_is_missing(small: Backbone, tmp_path: Path) -> None:
    with pytest.raises(FileError, match="has no folder good: labelled photos lie in its folders good and bad"):
        LabelledPhotos.open(tmp_path, small)
    for kind in ("good", "bad"):
        (tmp_path / kind).mkdir()
        draw_part(1).save(tmp_path / kind / "1.png")
    with pytest.raises(SettingsError, match="1 photo: at least 2 are needed"):
        LabelledPhotos.open(tmp_path, small)


@pytest.mark.usefixtures("_exported")
def test_an_engine_keeps_and_shows_what_was_measured(
    folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    engine = tmp_path / "engine"
    assert main(["export", "--backbone", "small", "--engine", str(engine), "--check-on", str(folder)]) == 0
    shown = f"; image AUROC 1.0000 (torch 1.0000) on 2 good and 2 bad photos of {folder}, memory of 1"
    assert shown in capsys.readouterr().out
    for variant in read_spec(engine).graph("plain").variants.values():
        assert all(record.labelled is not None for record in variant.parity)
    assert main(["show", str(engine)]) == 0
    assert shown in capsys.readouterr().out
