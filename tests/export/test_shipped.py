"""The engine in the package equals a fresh export of its backbone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.export.graph import write_graph
from goodparts.export.reference import FEW, WHAT_FEW, parity_images
from goodparts.export.text import make_text_features
from goodparts.runtime.backends.registry import open_session
from goodparts.runtime.engine.parity import REFERENCE_NAMES, TOLERANCES, Reference
from goodparts.runtime.engine.shipped import SHIPPED
from goodparts.runtime.engine.spec import CONTRACT_VERSION, read_spec
from goodparts.runtime.engine.text import read_text_features
from goodparts.trainer.clip.backbone import Backbone

from goodparts.cli import main


def test_the_shipped_engine_is_a_fresh_export(tmp_path: Path) -> None:
    backbone, spec = Backbone.open("small"), read_spec(SHIPPED)
    assert (spec.contract, spec.encoder) == (CONTRACT_VERSION, backbone.encoder)
    images = parity_images(backbone.encoder.image_size)[FEW]
    reference = Reference.open(SHIPPED / REFERENCE_NAMES["plain"])
    assert reference.what == WHAT_FEW
    np.testing.assert_array_equal(reference.images, images)
    graph, _ = write_graph(backbone.visual, tmp_path)
    session = open_session(graph, "onnxruntime", "fp32", 1)
    feature, score = reference.differences(session)
    assert TOLERANCES["fp32"].share(feature, score) <= 1
    text = make_text_features(backbone)
    shipped = read_text_features(SHIPPED, spec)
    assert (shipped.part, shipped.suffixes) == (text.part, text.suffixes)
    for name in ("normal", "anomalous"):
        # Features are unit vectors. Versions of a library may differ by this much.
        np.testing.assert_allclose(getattr(shipped, name), getattr(text, name), atol=1e-5)


@pytest.mark.parametrize(
    "command",
    [["export", "--engine", str(SHIPPED), "--force"], ["export", "--engine", str(SHIPPED), "--prompted"]],
)
def test_it_is_not_replaced_or_added_to(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    before = {path: path.stat().st_mtime_ns for path in SHIPPED.iterdir()}
    assert main(command) == 2
    assert "ships with goodparts and cannot be changed" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in SHIPPED.iterdir()} == before
