from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.embedded import model as small
from goodparts.trainer.embedded.captions import DEFECTS, NAMED, contradict, describe
from goodparts.trainer.embedded.features import HELD_OUT_FROM, Cache, open_cache
from goodparts.trainer.embedded.losses import matching_loss, pair_loss, patch_loss
from goodparts.trainer.embedded.mobilenet import MobileNetV2Trunk
from goodparts.trainer.embedded.pictures import HELD_OUT, TRAINING, draw_product
from goodparts.trainer.embedded.training import Run, Trainee, load_trunk, main, train
from goodparts.trainer.promptad.ensemble import ensemble


@pytest.fixture(scope="module")
def trunk() -> MobileNetV2Trunk:
    torch.manual_seed(0)
    return MobileNetV2Trunk(small.SHAPE.taps).requires_grad_(False).eval()


@pytest.fixture(scope="module")
def caches(trunk: MobileNetV2Trunk, tmp_path_factory: pytest.TempPathFactory) -> tuple[Cache, Cache]:
    folder = tmp_path_factory.mktemp("cache")
    return open_cache(folder, 4, trunk), open_cache(folder, 2, trunk, HELD_OUT_FROM)


def start(trunk: MobileNetV2Trunk, caches: tuple[Cache, Cache], steps: int) -> Run:
    torch.manual_seed(0)
    return Run(Trainee(trunk), *caches, steps, batch=2)


def test_a_products_pictures_differ_where_its_mask_is() -> None:
    product = draw_product(3)
    changed = (product.images[:, 0] != product.images[:, 1]).any(axis=-1)
    inside, outside = changed[product.coverage > 127].mean(), changed[product.coverage == 0].mean()
    assert inside > 0.9 > 0.5 > outside


def test_training_draws_nothing_that_is_held_out() -> None:
    for group in ("kinds", "surfaces", "pictures", "defects"):
        assert getattr(HELD_OUT, group)
        assert not set(getattr(TRAINING, group)) & set(getattr(HELD_OUT, group))


def test_a_finished_shard_is_not_made_again(trunk: MobileNetV2Trunk, tmp_path: Path) -> None:
    open_cache(tmp_path, 1, trunk)
    (file,) = tmp_path.glob("*/coverage.npy")
    marked = np.full_like(np.load(file), 7)
    np.save(file, marked)
    assert np.array_equal(open_cache(tmp_path, 1, trunk).coverage, marked)


def test_a_number_of_products_that_fills_no_whole_shards_is_refused(trunk: MobileNetV2Trunk, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="150 products: up to 100, or a multiple of it"):
        open_cache(tmp_path, 150, trunk)


def test_captions_are_true_of_what_they_describe_and_contradictions_are_not() -> None:
    rng = np.random.default_rng(0)
    for kind in NAMED:
        for defect in (None, *DEFECTS):
            assert describe(kind, defect, rng).is_true_of(kind, defect)
        assert not contradict(kind, rng).is_true_of(kind, None)


def test_matching_loss_vanishes_for_captions_that_fit_their_pictures_only() -> None:
    truth = torch.eye(3, dtype=torch.bool)
    assert matching_loss(50.0 * truth, truth) < 1e-6 < 1 < matching_loss(50.0 * ~truth, truth)


def test_patches_in_between_do_not_count() -> None:
    coverage = torch.tensor([0.0, 0.05, 1.0])
    assert patch_loss(torch.tensor([-9.0, 5.0, 9.0]), coverage) == patch_loss(torch.tensor([-9.0, -5.0, 9.0]), coverage)


def test_pair_loss_compares_every_damaged_piece_with_every_good_one_of_its_product() -> None:
    values = torch.tensor([[[0.0, 9.0], [5.0, 9.0]]])
    worse = torch.tensor([[[0.0, 9.0], [12.0, 19.0]]])
    assert pair_loss(values) < pair_loss(worse)


def test_an_interrupted_training_ends_with_the_same_weights(
    trunk: MobileNetV2Trunk, caches: tuple[Cache, Cache], tmp_path: Path
) -> None:
    whole = train(start(trunk, caches, 4))
    half = start(trunk, caches, 4)
    half.advance()
    half.advance()
    torch.save(half.state(), tmp_path / "checkpoint.pt")
    resumed = train(start(trunk, caches, 4), tmp_path / "checkpoint.pt")
    for name, tensor in whole.items():
        torch.testing.assert_close(resumed[name], tensor)


def test_ten_steps_from_the_embedded_trunk_write_a_file_that_opens(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    out = tmp_path / "weights.safetensors"
    sizes = "--products 6 --held-out-products 2 --steps 10 --batch 3"
    monkeypatch.setattr(sys, "argv", ["training", "--out", str(out), "--cache", str(tmp_path), *sizes.split()])
    main()
    prompts = ensemble(Backbone("small", *small.load(out)).text, "surface")
    assert np.isfinite([prompts.image, prompts.pixel]).all()


def test_another_trunk_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "trunk.pth"
    path.write_bytes(b"another file")
    with pytest.raises(ValueError, match="SHA-256"):
        load_trunk(path)
