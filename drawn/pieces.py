"""A piece on its ground: the places that have room for a defect, and the exact mask of a defect drawn there."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray

from .blemishes import BLEMISHES
from .canvas import Plane
from .defects import BY_NAME, Defect, Where
from .sites import Site

VISIBLE = 8.0
"""A defect's mask is where the change (largest over channels, of 255), averaged over 3×3 pixels, exceeds this."""
_TRIES = 8
DRAWABLE: dict[str, Defect] = BY_NAME | BLEMISHES
"""Every defect by its name."""


@dataclass
class Piece:
    """A part on a ground."""

    colour: Plane
    """The part, [3,H,W]."""
    cover: Plane
    """How much of each pixel the part covers, [H,W], 0 to 1."""
    ground: Plane
    """The ground under the part, [3,H,W]."""
    light: float
    """The lamp's direction in the picture, in radians."""

    def image(self) -> Plane:
        """Return the picture of the piece, [3,H,W]."""
        return self.ground + self.cover * (self.colour - self.ground)

    def spoil(
        self, defect: str, rng: Generator, extent: float | None, strength: float = 1.0
    ) -> tuple[Plane, NDArray[np.bool_]]:
        """Return the piece with a defect, and the defect's mask.

        The defect is drawn at up to 8 different places, until it has the right length and is clearly visible. The best
        drawing is returned.

        Args:
            defect: Its name, one of DRAWABLE.
            rng: The generator that draws it.
            extent: Its longest side in pixels; None draws it at random.
            strength: The share of the change that is shown, above 0 and up to 1.

        Returns:
            The picture, [3,H,W], and where it differs from `image()`, [H,W]; elsewhere the two are equal.

        Raises:
            ValueError: There is no such defect.
        """
        if defect not in DRAWABLE:
            raise ValueError(f"no defect {defect!r}; there are: {', '.join(DRAWABLE)}")
        kind, image = DRAWABLE[defect], self.image()
        short = min(self.cover.shape)
        best: tuple[float, tuple[slice, slice], NDArray[np.bool_], Plane] | None = None
        for _ in range(_TRIES):
            length = short * rng.uniform(*kind.shares) if extent is None else extent
            detail = max(1.0, short / 192) if extent is None else min(max(1.0, short / 192), max(1.0, extent / 14))
            x, y, angle = self._room(kind.where, length, rng)
            reach = 0.75 * length + 5 * detail + 3
            left, top = max(0, int(x - reach)), max(0, int(y - reach))
            window = slice(top, int(y + reach) + 1), slice(left, int(x + reach) + 1)
            planes = slice(None), *window
            lamp = math.cos(self.light), math.sin(self.light)
            layers = self.colour[planes].copy(), self.cover[window].copy(), self.ground[planes].copy()
            site = Site(*layers, (x - left, y - top), angle, length, detail, lamp, rng)
            kind.draw(site)
            after = np.clip(site.ground + site.cover * (site.colour - site.ground), 0, 255)
            if strength != 1.0:
                after = image[planes] + np.float32(strength) * (after - image[planes])
            change = np.abs(after - image[planes]).max(axis=0)
            mask = _mean3(change) > VISIBLE
            quality = _quality(mask, change / np.float32(strength), length, kind.fill)
            if best is None or quality > best[0]:
                best = quality, window, mask, after
            if quality >= 1:
                break
        assert best is not None
        _, window, changed, after = best
        mask = np.zeros(self.cover.shape, dtype=np.bool_)
        mask[window] = changed
        planes = slice(None), *window
        image[planes] = np.where(changed, after, image[planes])
        return image, mask

    def _room(self, where: Where, length: float, rng: Generator) -> tuple[float, float, float]:
        """Return x and y of a place for a defect of this length in pixels, and a direction: the best of 48 places."""
        height, width = self.cover.shape
        step = max(1, min(height, width) // 96)
        coarse = self.cover[::step, ::step]
        on = coarse > min(0.9, 0.99 * float(coarse.max()))
        fills = bool(on.all())
        if where == "edge" and not fills:
            return self._edge(on, step, rng)
        spots = np.flatnonzero(on)
        row, column = np.divmod(spots[rng.integers(len(spots), size=48)], on.shape[1])
        x, y = (column * step).astype(np.float64), (row * step).astype(np.float64)
        angle = rng.uniform(0, math.pi, 48)
        if where == "along":
            t = np.linspace(-0.5, 0.5, 9)[:, None] * length
            t = t / np.maximum(np.abs(np.cos(angle)), np.abs(np.sin(angle)))
            at_x, at_y = x + t * np.cos(angle), y + t * np.sin(angle)
        else:
            turns = np.arange(8)[:, None] * (math.pi / 4)
            at_x, at_y = x + 0.45 * length * np.cos(turns), y + 0.45 * length * np.sin(turns)
        inside = (at_x >= 2) & (at_x < width - 2) & (at_y >= 2) & (at_y < height - 2)
        covered = self.cover[at_y.astype(int).clip(0, height - 1), at_x.astype(int).clip(0, width - 1)]
        room = np.where(inside, covered, -1).mean(axis=0)
        best = int(np.argmax(np.minimum(room, 0.95)))  # the first place that fits, not the place farthest inside
        return float(x[best]), float(y[best]), float(angle[best])

    def _edge(self, on: NDArray[np.bool_], step: int, rng: Generator) -> tuple[float, float, float]:
        """Return x and y of a place on the outline, and the direction out of the part."""
        inner = on[1:-1, 1:-1]
        sides = (
            (on[1:-1, 2:], 0.0),
            (on[2:, 1:-1], math.pi / 2),
            (on[1:-1, :-2], math.pi),
            (on[:-2, 1:-1], -math.pi / 2),
        )
        beyond, angle = sides[rng.integers(4)]
        spots = np.flatnonzero(inner & ~beyond)
        if not len(spots):
            spots = np.flatnonzero(inner)
        row, column = np.divmod(int(spots[rng.integers(len(spots))]), inner.shape[1])
        x, y = float((column + 1) * step), float((row + 1) * step)
        for _ in range(step):  # from the coarse grid to the outline
            if self.cover[int(y), int(x)] < 0.5:
                break
            x, y = x + math.cos(angle), y + math.sin(angle)
        height, width = self.cover.shape
        # The way out leads away from the mean position of the part nearby.
        reach = max(4, 3 * step)
        near = self.cover[max(0, int(y) - reach) : int(y) + reach + 1, max(0, int(x) - reach) : int(x) + reach + 1]
        down, across = np.mgrid[: near.shape[0], : near.shape[1]]
        total = float(near.sum()) + 1e-6
        out_x = min(int(x), reach) - float((across * near).sum()) / total
        out_y = min(int(y), reach) - float((down * near).sum()) / total
        if math.hypot(out_x, out_y) > 0.3:
            angle = math.atan2(out_y, out_x)
        return min(max(x, 0.0), width - 1.0), min(max(y, 0.0), height - 1.0), angle


def _mean3(change: Plane) -> Plane:
    padded = np.pad(change, 1, mode="edge")
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    mean: Plane = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:]) * np.float32(1 / 9)
    return mean


def _quality(mask: NDArray[np.bool_], change: Plane, length: float, fill: float) -> float:
    """Return 1 if the mask has about the right length and the change is clear, otherwise less; 0 without a change."""
    if not mask.any():
        return 0.0
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    longest = max(rows[-1] - rows[0], columns[-1] - columns[0]) + 1
    size = min(longest / length, (length + 4) / longest) / 0.8
    visible = float(change[mask].mean()) / 25
    area = float(mask.sum()) / max(6.0, 1.2 * length, fill * length**2)
    quality: float = min(size, visible, area, 1.0)
    return quality
