from __future__ import annotations

import numpy as np
import pytest
from goodparts.benchmarks.metrics import auroc
from hypothesis import given
from hypothesis import strategies as st


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 5)), min_size=2, max_size=30))
def test_auroc_is_the_share_of_pairs_in_order(pairs: list[tuple[bool, int]]) -> None:
    bad, good = ([score for is_bad, score in pairs if is_bad == kind] for kind in (True, False))
    labels, scores = np.array([pair[0] for pair in pairs]), np.array([float(pair[1]) for pair in pairs])
    if not bad or not good:
        with pytest.raises(ValueError, match="needs both kinds"):
            auroc(labels, scores)
        return
    ordered = sum((one > other) + 0.5 * (one == other) for one in bad for other in good)
    assert auroc(labels, scores) == pytest.approx(ordered / (len(bad) * len(good)))
