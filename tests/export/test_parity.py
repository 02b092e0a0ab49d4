from __future__ import annotations

import numpy as np
import pytest
from goodparts.export.parity import TOLERANCES, measure
from goodparts.runtime.engine import Precision
from goodparts.runtime.errors import ParityError
from goodparts.runtime.parity import BATCHES
from goodparts.runtime.preprocess import Array8
from goodparts.runtime.scoring import Floats
from goodparts.trainer.backbone import Backbone


class Double:
    """A session that answers with torch's features, changed by a function."""

    description = "double"

    def __init__(self, backbone: Backbone, size: float) -> None:
        self._backbone = backbone
        self._size = size
        self.batches: set[int] = set()

    def run(self, views: Array8) -> list[Floats]:
        self.batches.add(len(views))
        features = self._backbone.encode(views)
        outputs = [features.global_, features.local, *features.memory]
        outputs[1] = outputs[1] + np.float32(self._size)
        return outputs


def test_an_exact_graph_passes_on_every_batch_size(demo: Backbone) -> None:
    session = Double(demo, 0.0)
    record = measure(demo, session, "double", "fp32")
    # torch itself differs a little between batch sizes
    assert record.feature_difference < 1e-6
    assert session.batches == set(BATCHES)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("size", [1.5, float("nan")])
def test_a_graph_outside_its_tolerance_fails(demo: Backbone, precision: Precision, size: float) -> None:
    session = Double(demo, size * TOLERANCES[precision].feature)
    with pytest.raises(ParityError, match=rf"{precision} on double differs from torch by .* nothing was exported"):
        measure(demo, session, "double", precision)


def test_scores_have_a_tolerance_of_their_own(demo: Backbone) -> None:
    # Within the features' tolerance, but over all channels it adds up in the prompt branch.
    with pytest.raises(ParityError, match=r"on scores \(at most 1e-05\)"):
        measure(demo, Double(demo, 0.5 * TOLERANCES["fp32"].feature), "double", "fp32")
