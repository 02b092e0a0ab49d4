"""What torch says of the pictures that every graph is held against (runtime/parity.py)."""

from __future__ import annotations

import numpy as np
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.engine.parity import Reference
from goodparts.trainer.clip.backbone import Backbone
from PIL import Image

DRAWN = ("gear", "circuit board", "leather", "bottle mouth")
WHAT = "7 seeded pictures: 4 drawn parts, 2 smooth, 1 noise; one at a time and all at once"


def make_reference(backbone: Backbone) -> Reference:
    """The backbone's features, in fp32, of WHAT."""
    images = parity_images(backbone.encoder.image_size)
    return Reference(images, WHAT, backbone.encode(images))


def parity_images(size: int) -> Array8:
    """WHAT, uint8 [7,size,size,3]."""
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
