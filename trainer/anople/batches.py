"""The photos of a training step: good ones and ones with painted defects, varied, whole and in tiles."""

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
    """The V views of a step.

    Attributes:
        views: uint8 [V,S,S,3].
        masks: bool [V,h,w], which patches are anomalous.
        places: int [V], 0 for a whole photo and 1 to 4 for its tiles.
        products: int [V], the number of the product that a view shows.
    """

    views: Tensor
    masks: Tensor
    places: Tensor
    products: Tensor


class BatchSource:
    """Draws the batch of every step; a batch depends on the seed and the step, whatever was drawn before."""

    def __init__(
        self,
        subjects: Sequence[Subject],
        settings: AnoPLeSettings,
        grid: tuple[int, int],
        seed: int,
        textures: Sequence[Path],
        device: torch.device,
    ) -> None:
        """Prepare the shots.

        Args:
            subjects: The products.
            settings: The method's settings.
            grid: The rows and columns of patches in a view.
            seed: The seed of every draw.
            textures: Pictures that painted defects are filled with; without any, drawn ones and pieces of the shots.
            device: Where the batches go.
        """
        self._settings = settings
        self._grid = grid
        self._seed = seed
        self._device = device
        # Tiles show a photo at twice the resolution of the whole, which does not need it.
        self._shots = [subject.shots if settings.tiles else halved(subject.shots) for subject in subjects]
        self._painters = [PseudoAnomalies(shots, textures, foreground=settings.foreground) for shots in self._shots]

    def draw(self, step: int) -> Batch:
        """Return the batch of a step, counted from 0."""
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
