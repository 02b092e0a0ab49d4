"""The text features in an engine."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
from goodparts.runtime.core.errors import EngineError
from goodparts.runtime.engine.spec import read_spec, verify_files
from goodparts.runtime.engine.text import TEXT_NAME, read_text_features
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.ensemble import ensemble
from goodparts.trainer.promptad.suffixes import GENERIC

SCALE = np.array(10.0, np.float32)


def test_an_engine_holds_the_text_towers_features_of_a_part(engine_folder: Path, small: Backbone) -> None:
    text = read_text_features(engine_folder, verify_files(engine_folder))
    assert text.suffixes == GENERIC
    normal, anomalous = text.prototypes()
    expected = ensemble(small.text, text.part).image
    np.testing.assert_allclose(normal, expected[0], atol=1e-5)
    # The ensemble has four of the eight suffixes.
    assert expected[1] @ anomalous > 0.95 > expected[0] @ anomalous


def test_an_engine_without_text_features_is_refused_in_one_line(engine_folder: Path) -> None:
    spec = read_spec(engine_folder)
    without = type(spec)(
        **{name: getattr(spec, name) for name in spec.__struct_fields__ if name != "files"},
        files=tuple(file for file in spec.files if file.name != TEXT_NAME),
    )
    with pytest.raises(EngineError, match="has no text features, which learning without torch needs: export it again"):
        read_text_features(engine_folder, without)


ONES = {"normal": np.ones((7, 128), np.float32), "anomalous": np.ones((8, 128), np.float32)}
SCALE = np.array(10.0, np.float32)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        (
            ONES,
            r"is damaged \('scale'\): export the engine again",
        ),
        (
            {**ONES, "scale": np.array(0.0, np.float32)},
            "scale is 0.0, should be above 0: export the engine again",
        ),
        (
            {"scale": SCALE, "normal": np.ones((7, 128), np.float32)},
            r"is damaged \('anomalous'\): export the engine again",
        ),
        (
            {**ONES, "scale": SCALE, "normal": np.ones((7, 3), np.float32)},
            r"normal is float32 \[7, 3\], should be finite float32 \[n,128\]",
        ),
    ],
)
def test_damaged_text_features_are_refused(
    engine_folder: Path, tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    folder = Path(shutil.copytree(engine_folder, tmp_path / "engine"))
    metadata = {"part and suffixes": "part\nbroken {}"}
    (folder / TEXT_NAME).write_bytes(safetensors.numpy.save(arrays, metadata=metadata))
    with pytest.raises(EngineError, match=message):
        read_text_features(folder, read_spec(engine_folder))
