from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.backends.tensors import Outputs, name_outputs
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.errors import EngineError, ParityError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.engine.parity import REFERENCE_NAMES, TOLERANCES, Reference


@pytest.fixture(scope="module")
def reference(engine_folder: Path) -> Reference:
    return Reference.open(engine_folder / REFERENCE_NAMES["plain"])


class Double:
    """A session that returns the reference's features, with an error of `size` in one output."""

    description = "double"

    def __init__(self, reference: Reference, size: float) -> None:
        self._reference = reference
        self._size = size
        self.batches: set[int] = set()

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:  # noqa: ARG002
        self.batches.add(len(views))
        images, features = self._reference.images, self._reference.features
        rows = [next(at for at, image in enumerate(images) if (image == view).all()) for view in views]
        memory = [memory[rows] for memory in features.memory]
        return name_outputs([features.global_[rows], features.local[rows] + np.float32(self._size), *memory])


def test_an_exact_graph_passes_alone_and_in_a_batch(reference: Reference) -> None:
    session = Double(reference, 0.0)
    record = reference.measure(session, "double", "fp32")
    assert (record.feature_difference, record.score_difference) == (0, 0)
    assert session.batches == {1, len(reference.images)}


@pytest.mark.parametrize("precision", TOLERANCES)
@pytest.mark.parametrize("size", [1.5, float("nan")])
def test_a_graph_outside_its_tolerance_fails(reference: Reference, precision: Precision, size: float) -> None:
    session = Double(reference, size * TOLERANCES[precision].feature)
    with pytest.raises(ParityError, match=rf"{precision} on double differs from torch by "):
        reference.measure(session, "double", precision)


def test_scores_have_a_tolerance_of_their_own(reference: Reference) -> None:
    # The error is within the features' tolerance, but in the prompt branch it adds up over all channels.
    with pytest.raises(ParityError, match=r"on scores \(at most 1e-05\)"):
        reference.measure(Double(reference, 0.5 * TOLERANCES["fp32"].feature), "double", "fp32")


def test_a_saved_reference_is_read_back(reference: Reference, tmp_path: Path) -> None:
    reference.save(tmp_path / "again")
    again = Reference.open(tmp_path / "again")
    assert again.what == reference.what
    np.testing.assert_array_equal(again.images, reference.images)
    np.testing.assert_array_equal(again.features.local, reference.features.local)
    (tmp_path / "again").write_bytes((tmp_path / "again").read_bytes()[:-9])
    with pytest.raises(EngineError, match="is damaged"):
        Reference.open(tmp_path / "again")
