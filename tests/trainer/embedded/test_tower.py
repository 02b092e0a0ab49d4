from __future__ import annotations

from pathlib import Path

import torch
from goodparts.trainer.clip.tower import grid_features
from goodparts.trainer.embedded import model as small
from goodparts.trainer.embedded.tower import HybridShape, HybridTower, HybridVisual


def open_tower() -> HybridTower:
    torch.manual_seed(0)
    return HybridTower(HybridVisual(small.SHAPE)).eval()


def test_outputs_are_unit_vectors_of_the_stated_shapes() -> None:
    tower = open_tower()
    image = torch.randint(0, 256, (2, 240, 240, 3), dtype=torch.uint8)
    with torch.inference_mode():
        outputs = tower(image)
    assert [tuple(output.shape) for output in outputs] == [(2, 128), (2, 900, 128), (2, 900, 32), (2, 900, 96)]
    for output in outputs:
        torch.testing.assert_close(output.norm(dim=-1), torch.ones(output.shape[:-1]))


def test_pixels_are_standardised_as_imagenets() -> None:
    tower = open_tower()
    image = torch.randint(0, 256, (1, 240, 240, 3), dtype=torch.uint8)
    seen: list[torch.Tensor] = []
    tower.visual.trunk.register_forward_pre_hook(lambda _, args: seen.append(args[0]))
    with torch.inference_mode():
        tower(image)
    mean, std = torch.tensor([0.485, 0.456, 0.406]), torch.tensor([0.229, 0.224, 0.225])
    expected = ((image.float() / 255 - mean) / std).permute(0, 3, 1, 2)
    torch.testing.assert_close(seen[0], expected)


def test_a_patch_holds_the_cells_of_the_finer_tap_that_lie_in_it() -> None:
    visual = HybridVisual(HybridShape(surround=0))
    fine, coarse = torch.zeros(1, 32, 30, 30), torch.zeros(1, 96, 15, 15)
    fine[0, 5, 2:4, 6:8] = torch.tensor([[1.0, 2.0], [3.0, 4.0]])
    coarse[0, 7, 1, 3] = 5.0
    patches = visual.patches((fine, coarse))[0]
    assert patches[15 + 3].nonzero().flatten().tolist() == [20, 21, 22, 23, 128 + 7]
    assert patches[15 + 3, [20, 21, 22, 23, 135]].tolist() == [1, 2, 3, 4, 5]
    assert patches.count_nonzero() == 5


def test_the_mean_of_a_neighbourhood_leaves_out_what_lies_beyond_the_border() -> None:
    maps = torch.zeros(1, 2, 3, 3)
    maps[0, 0] = 1.0
    maps[0, 1, 0, 0] = 4.0
    corner = grid_features(maps, (3, 3), 3)[0, 0]
    torch.testing.assert_close(corner, torch.nn.functional.normalize(torch.tensor([1.0, 1.0]), dim=0))


def test_saved_weights_come_back_and_unknown_tokens_have_the_mean_row(tmp_path: Path) -> None:
    torch.manual_seed(0)
    model = small.HybridCLIP(3)
    small.save(model.state_dict(), [0, 7, 49407], tmp_path / "small.safetensors")
    loaded, known = small.load(tmp_path / "small.safetensors")
    assert known == {0, 7, 49407}
    rows, all_rows = model.text.token_embedding.weight, loaded.text.token_embedding.weight
    torch.testing.assert_close(all_rows[7], rows[1], rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(all_rows[8], rows.mean(dim=0), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(loaded.visual.linear.weight, model.visual.linear.weight, rtol=1e-3, atol=1e-4)


def test_a_patch_has_its_difference_from_its_surround_beside_it() -> None:
    visual = HybridVisual(HybridShape(surround=3))
    fine, coarse = torch.zeros(1, 32, 30, 30), torch.zeros(1, 96, 15, 15)
    coarse[0, 7] = 2.0
    coarse[0, 7, 4, 4] = 11.0
    patches = visual.patches((fine, coarse))[0]
    torch.testing.assert_close(patches[4 * 15 + 4, [135, 224 + 135]], torch.tensor([11.0, 8.0]))
    torch.testing.assert_close(patches[0, [135, 224 + 135]], torch.tensor([2.0, 0.0]))


def test_the_pool_gives_a_small_defect_its_weight() -> None:
    visual = HybridVisual(small.SHAPE)
    with torch.no_grad():
        visual.bent.weight.zero_()
        visual.linear.weight.zero_()
        visual.linear.weight[0, 0] = 1.0
        visual.attend.weight.zero_()[0, 0] = 1.0
    patches = torch.zeros(1, 225, visual.linear.in_features)
    patches[0, 3, 0] = 20.0
    pooled, local = visual(patches)
    torch.testing.assert_close(pooled[0, 0] - local[0, 0, 0], torch.tensor(20.0), atol=1e-3, rtol=0)


def test_without_its_bias_the_stem_gives_the_same_up_to_the_border() -> None:
    trunk = small.load()[0].visual.trunk
    pixels = torch.randn(1, 3, 240, 240, generator=torch.Generator().manual_seed(0)).clamp(-2.6, 2.6)
    with torch.inference_mode():
        expected = trunk.blocks[0].depthwise(torch.nn.functional.relu6(trunk.stem(pixels)))
        # Filters of up to 15 enlarge fp32's rounding errors as much.
        torch.testing.assert_close(trunk._centred_start(pixels, trunk.blocks[0].depthwise), expected, rtol=0, atol=2e-4)
