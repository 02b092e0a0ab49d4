"""The batch of a training step: photos of good parts and photos with painted defects, varied, whole or in tiles."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from .model import Subject, halved
from .pseudo import PseudoAnomalies, whole_and_tiles
from .settings import AnoPLeSettings
from .variation import vary


@dataclass(frozen=True, eq=False)
class Batch:
    """The views of one training step: V views of S×S pixels, each with h×w patches.

    Attributes:
        views: [V, S, S, 3], uint8, RGB.
        masks: [V, h, w], bool: whether a patch is anomalous.
        places: [V], int64: 0 for a whole photo, 1 to 4 for its tiles.
        products: [V], int64: the number of the product that a view shows, counted from 0.
    """

    views: Tensor
    masks: Tensor
    places: Tensor
    products: Tensor


class BatchSource:
    """Draws the batch of every step; a batch depends on the seed and the step only, not on earlier batches.

    Args:
        subjects: The products.
        settings: The method's settings.
        grid: (h, w), the rows and columns of patches in a view.
        seed: The seed of every draw.
        textures: Picture files of textures for painted defects; if empty, textures are drawn or cut out of the shots.
        device: The device of the batches' tensors.
    """

    def __init__(
        self,
        subjects: Sequence[Subject],
        settings: AnoPLeSettings,
        grid: tuple[int, int],
        seed: int,
        textures: Sequence[Path],
        device: torch.device,
    ) -> None:
        self._settings = settings
        self._grid = grid
        self._seed = seed
        self._device = device
        # Only tiles need the shots' full resolution, which is twice the resolution of a whole view.
        self._shots = [subject.shots if settings.tiles else halved(subject.shots) for subject in subjects]
        self._painters = [PseudoAnomalies(shots, textures, foreground=settings.foreground) for shots in self._shots]

    def draw(self, step: int) -> Batch:
        """Return the batch of a step.

        Args:
            step: The step's number, counted from 0.
        """
        settings, rng = self._settings, np.random.default_rng((self._seed, step))
        painted = min(round(settings.anomaly_share * settings.batch), settings.batch - 1)
        rows, columns = self._grid
        views, masks, places, products = [], [], [], []
        for number in range(settings.batch):
            product = int(rng.integers(len(self._shots)))
            shots = self._shots[product]
            shot = int(rng.integers(len(shots)))
            if number < painted:
                photo, mask = self._painters[product](shot, rng)
            else:
                photo, mask = shots[shot], np.zeros(shots.shape[1:3], np.bool_)
            photo, mask = vary(photo, mask, settings.variation, rng)
            photo_views, view_masks = whole_and_tiles(photo, mask) if settings.tiles else (photo[None], mask[None])
            count = len(photo_views)
            patches = view_masks.reshape(count, rows, view_masks.shape[1] // rows, columns, -1)
            views.append(photo_views)
            masks.append(patches.any(axis=(2, 4)))
            places.append(np.arange(count))
            products.append(np.full(count, product))
        arrays = (np.concatenate(arrays) for arrays in (views, masks, places, products))
        return Batch(*(torch.from_numpy(array).to(self._device) for array in arrays))
