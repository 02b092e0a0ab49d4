"""Options that several commands share: the backbone, and the labelled photos on which the gate checks precisions."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import SettingsError
from goodparts.trainer.clip.names import DEFAULT_NAME, LARGE_NAME, LARGE_PRETRAINED

if TYPE_CHECKING:
    from goodparts.trainer.clip.backbone import Backbone
    from goodparts.trainer.clip.tower import Taps

USUAL: tuple[Precision, ...] = ("fp32", "bf16")
"""The default precisions of an engine."""


def add_backbone_arguments(parser: argparse._ActionsContainer) -> None:
    """Add the options that choose a backbone.

    Args:
        parser: The command's parser, or a group of it.
    """
    parser.add_argument("--backbone", default=DEFAULT_NAME, metavar="NAME",
                        help=f"{DEFAULT_NAME}, an open_clip ViT or CLIP ResNet such as {LARGE_NAME}, or timm:NAME, a "
                             f"ViT or CNN of timm, for the memory only (default {DEFAULT_NAME})")  # fmt: skip
    parser.add_argument(
        "--pretrained",
        metavar="TAG",
        help=f"open_clip's or timm's tag of the weights ({LARGE_NAME}: {LARGE_PRETRAINED}), or random",
    )
    parser.add_argument("--weights", type=Path, metavar="FILE",
                        help="a local file with the weights, instead of a tag (OpenAI's weights need a backbone whose "
                             "name ends in -quickgelu, except in OpenAI's own archives)")  # fmt: skip
    parser.add_argument("--memory-taps", metavar="N,M",
                        help="where the memory is taken: after the attention of a ViT's blocks (default: 4,9 of 12), "
                             "after small's convolutional blocks (6,13 of 13) or a ResNet's layers (2,3 of 4); with "
                             "timm: after a ViT's blocks (the last) or a CNN's feature levels (those of strides 8 and "
                             "16); + joins blocks to one memory (3+4)")  # fmt: skip
    parser.add_argument("--tap-outputs", action="store_true", default=None,
                        help="take a ViT's memory from the plain outputs of its blocks (default: 3,8 of 12), not after "
                             "their attention")  # fmt: skip
    parser.add_argument("--memory-grid", type=int, metavar="N",
                        help="side of the engine's grid of patches, for memory and prompts; coarser and finer "
                             "features are resized to it bilinearly (default: a ViT's tokens, the finest tap of a "
                             "ResNet, small's 30)")  # fmt: skip
    parser.add_argument("--neighbourhood", type=int, metavar="N",
                        help="average each patch of the memory over the NxN patches around it, N odd (default: 1, "
                             "which averages nothing; 3 for small)")  # fmt: skip
    parser.add_argument("--image-size", type=int, metavar="N",
                        help="side in pixels of the square picture that a timm: backbone reads, for a ViT a multiple "
                             "of its patch size (default: the size of its weights' configuration)")  # fmt: skip


def open_backbone(args: argparse.Namespace, device: str = "cpu") -> Backbone:
    """Open the backbone that these options name.

    Args:
        args: The command's options.
        device: The torch device: `cpu` or `cuda`.

    Returns:
        The backbone.

    Raises:
        SettingsError: --memory-taps names no blocks, --memory-grid, --neighbourhood or --image-size is out of range, or
            the device cannot be used.
        BackboneError: There is no such backbone, or its weights cannot be found or read.
    """
    from goodparts.trainer.clip.backbone import Backbone

    taps = None if args.memory_taps is None else read_taps(args.memory_taps)
    return Backbone.open(
        args.backbone, pretrained=args.pretrained, weights=args.weights, taps=taps, grid=args.memory_grid,
        neighbourhood=args.neighbourhood, tap_outputs=bool(args.tap_outputs), image_size=args.image_size,
        device=device,
    )  # fmt: skip


def read_taps(text: str) -> Taps:
    """Read memory taps: "4,9" is two memories, "3+4" is one memory with the features of both blocks.

    Args:
        text: The value of --memory-taps.

    Returns:
        A number for each tap, or a tuple of numbers for blocks that are joined.

    Raises:
        SettingsError: The text has another form.
    """
    try:
        groups = [tuple(int(block) for block in group.split("+")) for group in text.split(",")]
    except ValueError:
        raise SettingsError(f"--memory-taps {text}: give block numbers, as in 4,9 or 3+4") from None
    return tuple(group if len(group) > 1 else group[0] for group in groups)


def add_check_argument(parser: argparse._ActionsContainer) -> None:
    """Add the option that names labelled photos for the gate.

    Args:
        parser: The command's parser, or a group of it.
    """
    parser.add_argument("--check-on", type=Path, metavar="DIR",
                        help="labelled photos, in its folders good and bad: every precision must tell them apart as "
                             "well as torch does")  # fmt: skip
