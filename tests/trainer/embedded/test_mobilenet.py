from __future__ import annotations

import torch
from goodparts.trainer.embedded.mobilenet import MobileNetV2Trunk, fold_torchvision
from torchvision.models import mobilenet_v2


def test_folded_trunk_equals_torchvision_at_every_block() -> None:
    torch.manual_seed(0)
    model = mobilenet_v2(weights=None).eval()
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
            torch.nn.init.uniform_(module.weight, 0.5, 1.5)
            torch.nn.init.normal_(module.bias, 0, 0.1)
    trunk = MobileNetV2Trunk(tuple(range(1, 18)))
    trunk.load_state_dict(fold_torchvision(model.state_dict(), 17))
    pixels = torch.randn(1, 3, 64, 64)
    with torch.inference_mode():
        maps = trunk.eval()(pixels)
        expected = model.features[0](pixels)
        for number, found in enumerate(maps, start=1):
            expected = model.features[number](expected)
            torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4 * float(expected.abs().max()))


def test_trunk_ends_at_its_last_tap_and_hands_out_the_taps_only() -> None:
    trunk = MobileNetV2Trunk((6, 13))
    assert len(trunk.blocks) == 13
    shapes = [tuple(maps.shape) for maps in trunk(torch.zeros(2, 3, 240, 240))]
    assert shapes == [(2, 32, 30, 30), (2, 96, 15, 15)]
