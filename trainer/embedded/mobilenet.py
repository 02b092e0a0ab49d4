"""MobileNetV2's trunk: its first blocks with their ImageNet weights, and BatchNorm folded into the convolutions.

Source: Sandler et al., MobileNetV2: Inverted Residuals and Linear Bottlenecks, CVPR 2018, table 2.
"""

from __future__ import annotations

from collections.abc import Mapping

import torch.nn.functional as F
from torch import Tensor, nn

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Mean and standard deviation of ImageNet's pixels in 0 to 1; the network was trained with them."""

STEM_WIDTH = 32
STAGES = ((1, 16, 1, 1), (6, 24, 2, 2), (6, 32, 3, 2), (6, 64, 4, 2), (6, 96, 3, 1), (6, 160, 3, 2), (6, 320, 1, 1))
"""For each stage: the expansion factor, the width, the number of blocks, and the stride of the first block."""

_EPSILON = 1e-5
"""The epsilon of the BatchNorms."""

LARGEST_PIXEL = 2.65
"""An upper bound of the absolute values of standardised pixels."""


class InvertedResidual(nn.Module):
    """A block: 1×1 convolution to a wider layer, 3×3 depth-wise convolution, 1×1 convolution back, and a residual.

    Args:
        width: The number of input channels.
        out_width: The number of output channels.
        stride: The stride of the depth-wise convolution.
        expansion: The ratio of the inner layer's width to `width`; with 1 there is no first convolution.
    """

    def __init__(self, width: int, out_width: int, stride: int, expansion: int) -> None:
        super().__init__()
        hidden = width * expansion
        self.expand = nn.Conv2d(width, hidden, 1) if expansion != 1 else None
        self.depthwise = nn.Conv2d(hidden, hidden, 3, stride, 1, groups=hidden)
        self.project = nn.Conv2d(hidden, out_width, 1)
        self.residual = stride == 1 and width == out_width

    def forward(self, maps: Tensor) -> Tensor:
        """Run the block.

        Args:
            maps: [B, width, h, w].

        Returns:
            [B, out_width, h/stride, w/stride].
        """
        hidden = maps if self.expand is None else F.relu6(self.expand(maps))
        projected: Tensor = self.project(F.relu6(self.depthwise(hidden)))
        return maps + projected if self.residual else projected


class MobileNetV2Trunk(nn.Module):
    """The stem and the first blocks; the outputs of the tapped blocks are returned.

    Args:
        taps: Numbers of blocks, 1 to 17, in rising order; the trunk ends at the last one.
    """

    def __init__(self, taps: tuple[int, ...]) -> None:
        super().__init__()
        self.taps = taps
        self.stem = nn.Conv2d(3, STEM_WIDTH, 3, 2, 1)
        blocks: list[InvertedResidual] = []
        stride, width = 2, STEM_WIDTH
        self.strides: tuple[int, ...] = ()
        """For each block, the total stride of its output, in pixels of the picture."""
        self.widths: tuple[int, ...] = ()
        for expansion, out_width, count, first_stride in STAGES:
            for index in range(count):
                step = first_stride if index == 0 else 1
                blocks.append(InvertedResidual(width, out_width, step, expansion))
                width, stride = out_width, stride * step
                self.strides, self.widths = (*self.strides, stride), (*self.widths, width)
        self.blocks = nn.ModuleList(blocks[: taps[-1]])

    def forward(self, pixels: Tensor, taps: tuple[int, ...] | None = None) -> tuple[Tensor, ...]:
        """Run the trunk.

        Args:
            pixels: [B, 3, S, S], standardised.
            taps: Numbers of blocks, in rising order; None for the trunk's own.

        Returns:
            [B, W, S/stride, S/stride] for each tap.
        """
        taps = self.taps if taps is None else taps
        first = self.blocks[0]
        assert isinstance(first, InvertedResidual)
        maps: Tensor = first.project(F.relu6(self._centred_start(pixels, first.depthwise)))
        tapped: list[Tensor] = []
        for number, block in enumerate(self.blocks, start=1):
            maps = maps if number == 1 else block(maps)
            if number in taps:
                tapped.append(maps)
        return tuple(tapped)

    def _centred_start(self, pixels: Tensor, depthwise: nn.Conv2d) -> Tensor:
        """Return the output of the first block's depth-wise convolution on the stem, in a form that bf16 can compute.

        Many channels of the stem vary little around their bias, and the depth-wise convolution multiplies differences
        of neighbours by up to 15. With a large bias, rounding to bf16's 8 bits leaves little of these differences. So
        each channel is passed on without its bias, and the depth-wise convolution adds the bias again. Where that
        convolution pads with 0, a channel without its bias has to be −bias. To get this, the stem also computes the
        ring around the picture, from two further channels of the pixels: they are 1 in the picture and 0 around it.
        Around the picture, every channel is then negative before the ReLU and 0 after it.
        """
        bias = self.stem.bias
        assert bias is not None
        assert depthwise.bias is not None
        most = LARGEST_PIXEL * self.stem.weight.abs().sum((1, 2, 3))
        outside = (4 * most).ceil() / 4  # a number of few digits, exact in every precision
        weight = F.pad(self.stem.weight, (0, 0, 0, 0, 0, 2))
        weight[:, 3, 1, 1], weight[:, 4, 1, 1] = outside, bias
        started = F.relu6(F.conv2d(F.pad(pixels, (0, 0, 0, 0, 0, 2), value=1.0), weight, -outside, 2, 3))
        centre = bias.bfloat16().to(bias.dtype)
        shift = depthwise.bias + centre * depthwise.weight.sum((1, 2, 3))
        return F.conv2d(started - centre[:, None, None], depthwise.weight, shift, groups=len(bias))


def fold_torchvision(state: Mapping[str, Tensor], blocks: int) -> dict[str, Tensor]:
    """Turn torchvision's `mobilenet_v2` weights into weights of a MobileNetV2Trunk.

    A BatchNorm is a scale and a shift per channel in inference; they are folded into the weight and bias of the
    convolution before it.

    Args:
        state: torchvision's weights by name.
        blocks: The number of the trunk's blocks.

    Returns:
        The trunk's weights by name.
    """

    def fold(convolution: str, norm: str) -> tuple[Tensor, Tensor]:
        scale = state[f"{norm}.weight"] / (state[f"{norm}.running_var"] + _EPSILON).sqrt()
        weight = state[f"{convolution}.weight"] * scale[:, None, None, None]
        return weight, state[f"{norm}.bias"] - state[f"{norm}.running_mean"] * scale

    folded: dict[str, Tensor] = {}
    folded["stem.weight"], folded["stem.bias"] = fold("features.0.0", "features.0.1")
    for number in range(1, blocks + 1):
        layers = f"features.{number}.conv"
        parts = [("expand", f"{layers}.0.0", f"{layers}.0.1")] if f"{layers}.3.weight" in state else []
        place = len(parts)
        parts.append(("depthwise", f"{layers}.{place}.0", f"{layers}.{place}.1"))
        parts.append(("project", f"{layers}.{place + 1}", f"{layers}.{place + 2}"))
        for part, convolution, norm in parts:
            name = f"blocks.{number - 1}.{part}"
            folded[f"{name}.weight"], folded[f"{name}.bias"] = fold(convolution, norm)
    return folded
