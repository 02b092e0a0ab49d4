"""The pictures on which every graph is compared with torch, and torch's features of them (runtime/engine/parity.py)."""

from __future__ import annotations

import numpy as np
import torch
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.backends.tensors import name_outputs, to_features
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.engine.parity import Reference
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.conditioned_encoder import ConditionedEncoder
from PIL import Image

DRAWN = ("gear", "circuit board", "leather", "bottle mouth")
"""The kinds of the drawn parts."""
WHAT = "7 seeded pictures: 4 drawn parts, 2 smooth, 1 noise; one at a time and all at once"
"""What the pictures are, for the parity records."""
FEW = [0, 6]
"""The indices of the pictures that a small engine has."""
WHAT_FEW = "2 seeded pictures: 1 drawn part, 1 noise; one at a time and all at once"
"""What the pictures of FEW are, for the parity records."""


def make_reference(backbone: Backbone, *, few: bool = False) -> Reference:
    """Compute torch's features of the pictures in fp32.

    Args:
        backbone: The backbone.
        few: Whether only two of the pictures are taken, whose features need less than a third of the space.

    Returns:
        The pictures and their features.
    """
    images = parity_images(backbone.encoder.image_size)
    if few:
        return Reference(images[FEW], WHAT_FEW, backbone.encode(images[FEW]))
    return Reference(images, WHAT, backbone.encode(images))


def make_prompted_reference(backbone: Backbone, encoder: ConditionedEncoder) -> Reference:
    """Compute torch's features of the pictures with random conditions, in fp32.

    Args:
        backbone: The backbone.
        encoder: The encoder with conditions.

    Returns:
        The pictures, the conditions and the features.
    """
    images, conditions = parity_images(backbone.encoder.image_size), encoder.example()
    with torch.inference_mode():
        tensors = [torch.from_numpy(array).to(backbone.device) for array in conditions.tensors.values()]
        outputs = encoder(torch.from_numpy(images).to(backbone.device), tensors)
    arrays = name_outputs([output.float().cpu().numpy() for output in outputs])
    features = to_features(arrays, backbone.encoder.grid)
    return Reference(images, f"{WHAT}; random conditions", features, conditions)


def parity_images(size: int) -> Array8:
    """Draw the pictures that WHAT describes.

    Args:
        size: The side of a picture in pixels.

    Returns:
        The pictures, uint8 [7,size,size,3], RGB.
    """
    rng = np.random.default_rng(0)
    drawn = [DrawnProduct(kind, seed=0).photo(0, size=(size, size)).image for kind in DRAWN]
    smooth = [
        Image.fromarray(rng.integers(0, 256, (cells, cells, 3), np.uint8)).resize(
            (size, size), Image.Resampling.BICUBIC
        )
        for cells in (3, 8)
    ]
    noise = rng.integers(0, 256, (size, size, 3), np.uint8)
    return np.stack([*drawn, *(np.asarray(image) for image in smooth), noise])
