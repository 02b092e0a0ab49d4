"""The frozen trunk's features of the training pictures, kept on disk, so that every picture is drawn once.

A shard is a folder of .npy files. A complete shard is never made again, so an interrupted run continues after the last.
"""

from __future__ import annotations

import json
import logging
import shutil
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F
from goodparts.runtime.core.preprocess import Array8

from .mobilenet import MEAN, STD, MobileNetV2Trunk
from .pictures import HELD_OUT, PIECES, TRAINING, draw_product

log = logging.getLogger(__name__)

SHARD = 100
"""Products per shard."""
HELD_OUT_FROM = 1_000_000
"""Products from this number on are held out: no training product has their kinds, surfaces, pictures or defects."""

Half = npt.NDArray[np.float16]


@dataclass(frozen=True, eq=False)
class Cache:
    """Features of N products of n pieces, each without and with its defect.

    Attributes:
        taps: [N, n, 2, h, w, W] for each tap, float16.
        coverage: [N, n, g, g], uint8: the share of each patch under the defect's mask, times 255, on the finest tap's
            grid.
        kinds: The N products' kinds.
        defects: For each product, its n defects.
    """

    taps: tuple[Half, ...]
    coverage: Array8
    kinds: tuple[str, ...]
    defects: tuple[tuple[str, ...], ...]


def encode(trunk: MobileNetV2Trunk, images: Array8) -> tuple[Half, ...]:
    """Run the trunk on pictures.

    Args:
        trunk: The trunk.
        images: [B, S, S, 3], uint8, RGB.

    Returns:
        [B, h, w, W] for each tap, float16.
    """
    pixels = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(values).view(3, 1, 1) for values in (MEAN, STD))
    with torch.inference_mode():
        maps = trunk((pixels - mean) / std)
    return tuple(one.permute(0, 2, 3, 1).half().numpy() for one in maps)


def make_shard(folder: Path, first: int, products: int, trunk: MobileNetV2Trunk) -> None:
    """Draw products and write the trunk's features of them.

    Args:
        folder: The shard's folder, which appears when it is complete.
        first: The number of the first product; HELD_OUT_FROM and above are held-out products.
        products: How many products to draw.
        trunk: The trunk.
    """
    choice = TRAINING if first < HELD_OUT_FROM else HELD_OUT
    drawn = [draw_product(seed, choice) for seed in range(first, first + products)]
    shape = products, PIECES, 2
    batches = [encode(trunk, product.images.reshape(-1, *product.images.shape[2:])) for product in drawn]
    unfinished = folder.with_suffix(".part")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(parents=True)
    taps = [np.stack(maps) for maps in zip(*batches, strict=True)]
    for number, maps in enumerate(taps):
        np.save(unfinished / f"tap{number}.npy", maps.reshape(*shape, *maps.shape[2:]))
    masks = torch.from_numpy(np.stack([product.coverage for product in drawn])).float()
    shares = F.adaptive_avg_pool2d(masks, taps[0].shape[2])
    np.save(unfinished / "coverage.npy", shares.round().to(torch.uint8).numpy())
    names = {"kinds": [product.kind for product in drawn], "defects": [product.defects for product in drawn]}
    (unfinished / "names.json").write_text(json.dumps(names))
    unfinished.rename(folder)


def open_cache(folder: Path, products: int, trunk: MobileNetV2Trunk, first: int = 0) -> Cache:
    """Return the features of some products; shards that are missing in the folder are made.

    Args:
        folder: The folder of the shards.
        products: How many products: up to SHARD, or a multiple of it.
        trunk: The trunk.
        first: The number of the first product.

    Raises:
        ValueError: `products` is above SHARD and no multiple of it.
    """
    size = min(products, SHARD)
    if products % size:
        raise ValueError(f"{products} products: up to {SHARD}, or a multiple of it")
    shards = [folder / f"products{start:07d}x{size}" for start in range(first, first + products, size)]
    for number, shard in enumerate(shards):
        if not shard.is_dir():
            begin = time.perf_counter()
            make_shard(shard, first + number * size, size, trunk)
            log.info("shard %d of %d: %.0f s", number + 1, len(shards), time.perf_counter() - begin)
    names = [json.loads((shard / "names.json").read_text()) for shard in shards]
    count = len(trunk.taps)
    return Cache(
        tuple(np.concatenate([np.load(shard / f"tap{n}.npy") for shard in shards]) for n in range(count)),
        np.concatenate([np.load(shard / "coverage.npy") for shard in shards]),
        tuple(kind for part in names for kind in part["kinds"]),
        tuple(tuple(defects) for part in names for defects in part["defects"]),
    )
