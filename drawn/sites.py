"""A defect's site: the window of a piece in which the defect is drawn, with the tools to draw it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFilter

from .canvas import Colour, Plane, hsv, luminance

Points = NDArray[np.float64]
"""Points [n,2]: x and y in pixels."""


@dataclass
class Site:
    """A window of a piece around a defect's centre; a defect changes colour, cover and ground in place."""

    colour: Plane
    """The part, [3,H,W]."""
    cover: Plane
    """How much of each pixel the part covers, [H,W], 0 to 1."""
    ground: Plane
    """The ground under the part, [3,H,W]."""
    centre: tuple[float, float]
    """x and y in pixels of the window."""
    angle: float
    """A direction in radians in which there is room for `extent`; at an edge, the way out of the part."""
    extent: float
    """The defect's longest side in pixels."""
    detail: float
    """The width of the finest line in pixels."""
    light: tuple[float, float]
    """The unit vector towards the lamp, in the picture."""
    rng: Generator
    """The defect's generator of random numbers."""

    @property
    def coordinates(self) -> tuple[Plane, Plane]:
        """x and y of each pixel from the centre, in pixels, [H,W] each."""
        height, width = self.cover.shape
        x = np.arange(width, dtype=np.float32)[None, :] - np.float32(self.centre[0])
        y = np.arange(height, dtype=np.float32)[:, None] - np.float32(self.centre[1])
        return np.broadcast_to(x, (height, width)), np.broadcast_to(y, (height, width))

    @property
    def tone(self) -> Colour:
        """The part's mean colour around the centre."""
        x, y = self.coordinates
        weight = self.cover * (x * x + y * y < np.float32(0.25 * self.extent**2 + 4)) + np.float32(1e-6)
        red, green, blue = (float(value) for value in (self.colour * weight).sum(axis=(1, 2)) / weight.sum())
        return red, green, blue

    def fit(self, points: Points, spare: float = 0.0) -> Points:
        """Move and scale points around the centre so that the longest side of their box is `extent` less `spare`.

        Args:
            points: x and y in any scale, [n,2].
            spare: The length to leave free, in pixels.

        Returns:
            The points in pixels of the window, [n,2].
        """
        low, high = points.min(axis=0), points.max(axis=0)
        placed: Points = (points - (low + high) / 2) * ((self.extent - spare) / max(high - low)) + self.centre
        return placed

    def lumps(self, cell: float) -> Plane:
        """Return smooth noise [H,W] of about unit spread.

        Args:
            cell: The side of its cells, in pixels.
        """
        height, width = self.cover.shape
        grid = self.rng.standard_normal((int(height / cell) + 3, int(width / cell) + 3), dtype=np.float32)
        edges = (1.0, 1.0, 1 + width / cell, 1 + height / cell)
        resized = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=edges)
        result: Plane = np.asarray(resized) * np.float32(1.3)
        return result

    def filled(self, *outlines: Points, values: NDArray[np.int64] | None = None, blur: float = 0.0) -> Plane:
        """Return how much of each pixel lies in polygons, [H,W], 0 to 1.

        Args:
            outlines: The corners of each polygon in pixels, [n,2].
            values: The opacity of each polygon, 0 to 255; all are 255 by default.
            blur: The spread of a Gaussian blur, in pixels.
        """
        height, width = self.cover.shape
        fine = 4 if max(height, width) < 256 else 2
        picture = Image.new("L", (width * fine, height * fine))
        pencil = ImageDraw.Draw(picture)
        for number, outline in enumerate(outlines):
            value = 255 if values is None else int(values[number])
            pencil.polygon([(x, y) for x, y in ((outline + 0.5) * fine - 0.5).tolist()], fill=value)
        picture = picture.reduce(fine)
        if blur:
            picture = picture.filter(ImageFilter.GaussianBlur(blur))
        share: Plane = np.asarray(picture, dtype=np.float32) / np.float32(255)
        return share

    def stroke(
        self, points: Points, width: NDArray[np.float64] | float, blur: float = 0.0, uneven: float = 0.0
    ) -> Plane:
        """Return how much of each pixel lies on a line, [H,W], 0 to 1.

        Args:
            points: The points that the line goes through, in pixels, [n,2].
            width: The line's width in pixels, at each point [n] or everywhere.
            blur: The spread of a Gaussian blur, in pixels.
            uneven: How much fainter the line may be in places, 0 to 1.
        """
        along = np.gradient(points, axis=0)
        normal = np.stack([-along[:, 1], along[:, 0]], axis=1) / (np.hypot(*along.T)[:, None] + 1e-9)
        half = np.broadcast_to(np.asarray(width) / 2, len(points))[:, None]
        left, right = points + normal * half, points - normal * half
        quads = np.stack([left[:-1], left[1:], right[1:], right[:-1]], axis=1)
        values = 255 * (1 - uneven * self.rng.random(len(quads)))
        return self.filled(*quads, values=values.astype(np.int64), blur=blur)

    def other_colour(self, apart: float, *choices: Colour) -> Colour:
        """Return a colour that differs clearly from the part's colour around the centre.

        Args:
            apart: The smallest difference in at least one channel, 0 to 255.
            choices: The colours to prefer; otherwise any colour.
        """
        tone = self.tone
        for attempt in range(40):
            if choices and attempt < 10:
                colour = choices[self.rng.integers(len(choices))]
            else:
                colour = hsv(self.rng.random(), self.rng.uniform(0.05, 0.75), self.rng.uniform(0.1, 0.95))
            if max(abs(a - b) for a, b in zip(colour, tone, strict=True)) > apart:
                return colour
        return (255.0, 255.0, 255.0) if luminance(tone) < 128 else (0.0, 0.0, 0.0)


def shifted(tone: Colour, by: float) -> Colour:
    """Return a colour made brighter or darker, 0 to 255.

    Args:
        tone: The colour.
        by: The number that is added to each channel.
    """
    red, green, blue = (min(max(channel + by, 0.0), 255.0) for channel in tone)
    return red, green, blue


def moved(points: Points, direction: tuple[float, float], by: float) -> Points:
    """Return points moved in a direction, [n,2].

    Args:
        points: The points in pixels, [n,2].
        direction: The direction, as a unit vector.
        by: How far, in pixels.
    """
    return points + np.array(direction) * by
