from __future__ import annotations

import dataclasses
import logging
from typing import Any, get_args

import numpy as np
import pytest
from goodparts.runtime import SettingsError
from goodparts.runtime.core import native, scorer, scoring
from goodparts.runtime.core.scoring import Features, Floats, Fusion, Learned
from hypothesis import given, settings
from hypothesis import strategies as st

from goodparts import _native


def unit(rng: np.random.Generator, *shape: int) -> Floats:
    vectors = rng.standard_normal(shape).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=-1, keepdims=True), np.float32)


def product_and_features(
    seed: int, views: int, grid: tuple[int, int], widths: tuple[int, ...], **more: object
) -> tuple[Learned, Features]:
    rng = np.random.default_rng(seed)
    patches = grid[0] * grid[1]
    banks = tuple(unit(rng, 1 + 2 * patches, width) for width in widths)
    margins = tuple(rng.uniform(-0.5, 0.5, len(bank)).astype(np.float32) for bank in banks)
    settings = {"temperature": 4.6, "image_maximum": "grid", "margins": margins, "residual_weight": 0.7, **more}
    learned = Learned(unit(rng, 2, 24), unit(rng, 2, 24), banks, **settings)  # type: ignore[arg-type]
    memory = tuple(unit(rng, views, patches, width) for width in widths)
    return learned, Features(unit(rng, views, 24), unit(rng, views, patches, 24), memory, grid)


def assert_same(seen: scoring.Scores, wanted: scoring.Scores) -> None:
    pairs = [(seen.image, wanted.image), (seen.grid, wanted.grid)]
    pairs += [(getattr(seen.branches, name), value) for name, value in vars(wanted.branches).items()]
    for one, other in pairs:
        # Sums of float32 products in another order differ by 1e-6.
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=2e-6)


@pytest.mark.parametrize("maximum", ["grid", "map"])
@settings(max_examples=25, deadline=None)
@given(
    st.integers(0, 2**32 - 1),
    st.integers(0, 5),
    st.tuples(st.integers(1, 6), st.integers(1, 6)),
    st.sampled_from([(8,), (16, 40), (5, 6, 7)]),
    st.sampled_from(get_args(Fusion)),
    st.sampled_from([4.6, 100.0]),
)
def test_native_scores_equal_those_of_numpy(
    maximum: str, seed: int, views: int, grid: tuple[int, int], widths: tuple[int, ...], fusion: Fusion, t: float
) -> None:
    learned, features = product_and_features(
        seed, views, grid, widths, image_maximum=maximum, fusion=fusion, temperature=t
    )
    if views == 0:
        assert len(scorer.Scorer(learned, grid)(features).image) == 0
        return
    assert_same(scorer.Scorer(learned, grid)(features), scoring.score(features, learned))


def test_of_equal_rows_the_first_ones_margin_counts() -> None:
    learned, features = product_and_features(2, 1, (2, 3), (8,), fusion="residual")
    (bank,), (margins,) = learned.banks, learned.margins
    twice = dataclasses.replace(
        learned, banks=(np.concatenate([bank, bank]),), margins=(np.concatenate([margins, margins + 0.3]),)
    )
    assert_same(scorer.Scorer(twice, (2, 3))(features), scoring.score(features, learned))
    np.testing.assert_array_equal(scoring.score(features, twice).grid, scoring.score(features, learned).grid)


@pytest.mark.parametrize("fusion", ["paper", "residual"])
def test_zeros_and_values_that_are_not_finite(fusion: Fusion) -> None:
    learned, features = product_and_features(0, 3, (3, 3), (8, 12), fusion=fusion)
    features.memory[0][0] = 0
    features.local[0, 2] = 0
    features.global_[1] = np.nan
    features.memory[1][2, 4, 0] = np.nan
    with np.errstate(invalid="ignore"):
        wanted = scoring.score(features, learned)
    seen = scorer.Scorer(learned, (3, 3))(features)
    assert_same(seen, wanted)
    assert np.isnan(seen.branches.image_prompt[1])
    assert np.isnan(seen.image[2])


def test_without_the_core_numpy_scores_and_one_warning_is_logged(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    import sys

    learned, features = product_and_features(1, 2, (2, 3), (8,))
    expected = scorer.Scorer(learned, (2, 3))(features)
    monkeypatch.setitem(sys.modules, "goodparts._native", None)
    monkeypatch.delattr("goodparts._native")
    native.core.cache_clear()
    try:
        with caplog.at_level(logging.WARNING):
            assert_same(scorer.Scorer(learned, (2, 3))(features), expected)
            scorer.Scorer(learned, (2, 3))
        assert [record.message[:31] for record in caplog.records] == ["the C++ core cannot be loaded ("]
    finally:
        native.core.cache_clear()


@pytest.mark.parametrize("grid", [(15, 15), (1, 1), (7, 9)])
@pytest.mark.parametrize(("size", "sigma"), [(400, 4.0), (97, 0.0), (16, 2.5)])
def test_the_native_map_equals_that_of_numpy(grid: tuple[int, int], size: int, sigma: float) -> None:
    values = np.random.default_rng(2).random(grid, np.float32)
    np.testing.assert_allclose(
        _native.anomaly_map(values, size, sigma), scoring.anomaly_map(values, size, sigma), atol=1e-6
    )


def test_banks_in_other_precisions_score_nearly_the_same() -> None:
    learned, features = product_and_features(3, 2, (4, 4), (64, 96))
    exact = scoring.score(features, learned).branches.grid_memory
    for precision, tolerance in (("bf16", 2.0**-8), ("int8", 0.02)):  # a score is half a product
        seen = scorer.Scorer(learned, (4, 4), search=scorer.Search(precision))(features)  # type: ignore[arg-type]
        np.testing.assert_allclose(seen.branches.grid_memory, exact, atol=tolerance)


@pytest.mark.parametrize("photos", [1, 5])
def test_a_recall_below_one_scores_nearly_the_same_and_logs_its_measured_recall(
    photos: int, caplog: pytest.LogCaptureFixture
) -> None:
    learned, features = product_and_features(5, 2, (4, 4), (32,))
    rng = np.random.default_rng(6)
    ways = unit(rng, 80, 32)

    def around(count: int) -> Floats:
        rows = ways[rng.integers(80, size=count)] + 0.3 * unit(rng, count, 32)
        return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    rows, tags = around(10_000), np.sort(rng.integers(photos, size=10_000)).astype(np.int32)
    margins = rows[:, 0]  # neighbours have nearly the same margin
    learned = dataclasses.replace(learned, banks=(rows,), shot_of_row=(tags,), margins=(margins,))
    features = dataclasses.replace(features, memory=(around(32).reshape(2, 16, 32),))
    wanted = scoring.score(features, learned).branches
    exact = wanted.grid_memory
    with caplog.at_level(logging.INFO):
        branches = scorer.Scorer(learned, (4, 4), search=scorer.Search(recall=0.9))(features).branches
    seen = branches.grid_memory
    (logged,) = [record.getMessage() for record in caplog.records]
    stated = float(logged.split(": ")[1].split(" %")[0])
    assert stated >= 90
    assert (seen >= exact - 1e-6).all()  # a miss can only look more anomalous
    is_found = seen <= exact + 1e-6
    assert np.mean(is_found) >= 0.75  # 0.9 is expected, of only 32 patches
    np.testing.assert_allclose(branches.grid_residual[is_found], wanted.grid_residual[is_found], atol=1e-5)


@pytest.mark.parametrize(
    ("search", "message"), [({"recall": 0.0}, "recall 0.0"), ({"precision": "fp8"}, "'fp8': fp32")]
)
def test_an_invalid_search_is_refused(search: dict[str, Any], message: str) -> None:
    with pytest.raises(SettingsError, match=message):
        scorer.Search(**search)


def test_errors_tell_what_is_wrong() -> None:
    learned, features = product_and_features(4, 2, (2, 2), (8,))
    run = scorer.Scorer(learned, (2, 2))
    with pytest.raises(ValueError, match=r"memory is \[1,4,8\]: \[2,4,8\] is accepted"):
        run(dataclasses.replace(features, memory=(features.memory[0][:1],)))
    with pytest.raises(TypeError, match="local is float64: float32 is accepted"):
        run(dataclasses.replace(features, local=features.local.astype(np.float64)))
    with pytest.raises(ValueError, match="0 banks: from 1 to 8 are accepted"):
        scorer.Scorer(dataclasses.replace(learned, banks=()), (2, 2))
    with pytest.raises(ValueError, match="residual_weight -1.0"):
        scorer.Scorer(dataclasses.replace(learned, residual_weight=-1.0), (2, 2))
    with pytest.raises(ValueError, match="margins are null"):
        scorer.Scorer(dataclasses.replace(learned, fusion="residual", margins=()), (2, 2))
    bank = _native.Bank(8, "fp32")
    bank.append(learned.banks[0])
    with pytest.raises(ValueError, match=r"margins is \[8\]: \[9\] is accepted"):
        _native.Scorer(*scorer.kernel_arguments(learned, [bank], [learned.margins[0][1:]], (2, 2)))
    grown = _native.Scorer(*scorer.kernel_arguments(learned, [bank], learned.margins, (2, 2)))
    bank.append(learned.banks[0])
    with pytest.raises(ValueError, match="bank 0 has 18 rows and 9 margins: make a new scorer"):
        grown.run(features.global_, features.local, list(features.memory))
