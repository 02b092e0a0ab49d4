"""The tools that parts are drawn with: a posed coordinate frame, distance fields, noise and colours.

Pictures are planar float32 [3,H,W], 0 to 255, until the very end, because numpy broadcasts a plane [H,W] over channels
quickly. A unit is half of the picture's shorter side at scale 1.
"""

from __future__ import annotations

import colorsys
import math
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image

Plane = NDArray[np.float32]
"""One number for each pixel, [H,W], or a colour, [3,H,W]."""
Colour = tuple[float, float, float]
"""Red, green and blue, 0 to 255."""


def triangular(rng: Generator, shape: tuple[int, ...]) -> Plane:
    """Return noise of zero mean and unit spread, from a triangular distribution, which is faster than a normal one.

    Args:
        rng: The generator that draws it.
        shape: Its shape.
    """
    two = rng.random((2, *shape), dtype=np.float32)
    two[0] -= two[1]
    two[0] *= np.float32(math.sqrt(6))
    noise: Plane = two[0]
    return noise


@dataclass(frozen=True)
class Frame:
    """The picture in the part's coordinates: the origin is the part's centre, and units grow with the part's scale."""

    x: Plane
    """The first coordinate of each pixel, in units."""
    y: Plane
    """The second coordinate of each pixel, in units."""
    px: float
    """A pixel's side, in units."""
    pose: tuple[float, float, float, float]
    """The part's shift in x and y in units, its angle in radians, and its scale, as `Frame.posed` took them."""
    light: tuple[float, float]
    """The unit vector towards the lamp, in the part's coordinates."""
    rng: Generator
    """The piece's generator, which draws its texture and its grain."""

    @classmethod
    def posed(
        cls, size: tuple[int, int], pose: tuple[float, float, float, float], light: float, rng: Generator
    ) -> Frame:
        """Place a frame.

        Args:
            size: Height and width in pixels.
            pose: The part's shift in x and y in units, its angle in radians, and its scale.
            light: The lamp's direction in the picture, in radians.
            rng: The piece's generator.

        Returns:
            The frame.
        """
        (height, width), (shift_x, shift_y, angle, scale) = size, pose
        px = 2 / min(size) / scale
        across = (np.arange(width, dtype=np.float32) - np.float32((width - 1) / 2)) * np.float32(px) - np.float32(
            shift_x
        )
        down = (np.arange(height, dtype=np.float32) - np.float32((height - 1) / 2)) * np.float32(px) - np.float32(
            shift_y
        )
        c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        x = (c * across)[None, :] + (s * down)[:, None]
        y = (c * down)[:, None] - (s * across)[None, :]
        return cls(x, y, px, pose, (math.cos(light - angle), math.sin(light - angle)), rng)

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width in pixels."""
        height, width = self.x.shape
        return height, width

    def turned(self, angle: float) -> tuple[Plane, Plane]:
        """Return coordinates [H,W] along and across a direction.

        Args:
            angle: The direction, in radians of the part's coordinates.
        """
        c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        return c * self.x + s * self.y, c * self.y - s * self.x

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points of the part as pixel coordinates [n,2].

        Args:
            points: x and y in units, [n,2].
        """
        shift_x, shift_y, angle, _ = self.pose
        c, s = math.cos(angle), math.sin(angle)
        across = points[:, 0] * c - points[:, 1] * s + shift_x
        down = points[:, 0] * s + points[:, 1] * c + shift_y
        height, width = self.shape
        return np.stack([across / self.px + (width - 1) / 2, down / self.px + (height - 1) / 2], axis=1)

    def cover(self, distance: Plane) -> Plane:
        """Return how much of each pixel lies inside a distance field, [H,W], 0 to 1, antialiased.

        Args:
            distance: The distance field in units, [H,W], negative inside.
        """
        inside: Plane = np.clip(0.5 - distance / np.float32(self.px), 0, 1)
        return inside

    def noise(self, cell: float, along: float = 1.0, angle: float = 0.0) -> Plane:
        """Return smooth noise [H,W] of about unit spread.

        Args:
            cell: The side of its cells, in units.
            along: The ratio of the cells' length in direction `angle` to `cell`.
            angle: The direction, in radians of the part's coordinates.
        """
        height, width = self.shape
        cell = max(cell, 1.2 * self.px)
        step_u, step_v = self.px / (cell * along), self.px / cell
        if along == 1:
            count_u, count_v = int(width * step_u) + 4, int(height * step_v) + 4
            grid = self.rng.standard_normal((count_v, count_u), dtype=np.float32)
            edges = (1.0, 1.0, 1 + width * step_u, 1 + height * step_v)
            picture = Image.fromarray(grid).resize((width, height), Image.Resampling.BICUBIC, box=edges)
            result: Plane = np.asarray(picture, dtype=np.float32) * np.float32(1.3)
            return result
        reach = math.hypot(height, width)
        count_u, count_v = int(reach * step_u) + 4, int(reach * step_v) + 4
        grid = self.rng.standard_normal((count_v, count_u), dtype=np.float32)
        c, s = math.cos(angle + self.pose[2]), math.sin(angle + self.pose[2])
        a, b, d, e = c * step_u, s * step_u, -s * step_v, c * step_v
        offset_u = count_u / 2 - a * width / 2 - b * height / 2
        offset_v = count_v / 2 - d * width / 2 - e * height / 2
        sampling = Image.Resampling.BICUBIC if step_v < 0.15 else Image.Resampling.BILINEAR
        picture = Image.fromarray(grid).transform(
            (width, height), Image.Transform.AFFINE, (a, b, offset_u, d, e, offset_v), sampling
        )
        stretched: Plane = np.asarray(picture, dtype=np.float32) * np.float32(1.4)
        return stretched

    def grain(self) -> Plane:
        """Return noise [H,W] of unit spread that is independent in every pixel."""
        return triangular(self.rng, self.shape)

    def slope(self, height: Plane) -> Plane:
        """Return how steeply a height field rises towards the lamp, per unit, [H,W]: the shading of a matt relief.

        Args:
            height: The height field, [H,W].
        """
        angle = self.pose[2]
        across = self.light[0] * math.cos(angle) - self.light[1] * math.sin(angle)
        down = self.light[0] * math.sin(angle) + self.light[1] * math.cos(angle)
        result = np.zeros_like(height)
        scale = np.float32(0.5 / self.px)
        result[:, 1:-1] += (height[:, 2:] - height[:, :-2]) * np.float32(across) * scale
        result[1:-1] += (height[2:] - height[:-2]) * np.float32(down) * scale
        return result

    def bevel(self, distance: Plane, width: float) -> Plane:
        """Return the shading of a bevelled edge, [H,W], −1 to 1.

        Args:
            distance: The distance field of the outline in units, [H,W], negative inside.
            width: How far inside the outline the shading fades out, in units.
        """
        inside = np.clip(1 + distance / np.float32(width), 0, 1)
        return np.where(distance < self.px, inside, 0) * np.clip(self.slope(distance), -1, 1)


@dataclass(frozen=True)
class Layer:
    """A part without the ground that it lies on.

    Attributes:
        colour: Its colours, [3,H,W].
        distance: The signed distance to its outline in units, [H,W], negative on the part. None if the part fills the
            picture, as a texture does.
    """

    colour: Plane
    distance: Plane | None


Painter = Callable[[Frame], Layer]
"""A function that draws one piece of a product. The product's design, which all pieces share, is drawn before."""


def solid(frame: Frame, colour: Colour, shade: Plane | float = 1.0) -> Plane:
    """Return one colour times a shade, [3,H,W].

    Args:
        frame: The picture.
        colour: The colour.
        shade: The factor of each pixel, [H,W], or one factor for all pixels.
    """
    plane = np.broadcast_to(np.asarray(shade, dtype=np.float32), frame.shape)
    return np.asarray(colour, dtype=np.float32)[:, None, None] * plane


def lay(under: Plane, alpha: Plane, over: Plane | Colour) -> None:
    """Paint over a picture in place.

    Args:
        under: The picture, [3,H,W].
        alpha: The opacity, [H,W], 0 to 1.
        over: The colours to paint, [3,H,W], or one colour.
    """
    top = np.asarray(over, dtype=np.float32)
    under += alpha * ((top if top.ndim == 3 else top[:, None, None]) - under)


def disc(x: Plane, y: Plane, radius: float) -> Plane:
    """Return the distance field of a circle around the origin.

    Args:
        x: Coordinates [H,W].
        y: Coordinates [H,W].
        radius: The circle's radius.
    """
    distance: Plane = np.sqrt(x * x + y * y) - np.float32(radius)
    return distance


def box(x: Plane, y: Plane, half_width: float, half_height: float, corner: float = 0.0) -> Plane:
    """Return the distance field of a rectangle around the origin.

    Args:
        x: Coordinates [H,W].
        y: Coordinates [H,W].
        half_width: Half of its side along x.
        half_height: Half of its side along y.
        corner: The radius of its rounded corners.
    """
    dx = np.abs(x) - np.float32(half_width - corner)
    dy = np.abs(y) - np.float32(half_height - corner)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    distance: Plane = outside + np.minimum(np.maximum(dx, dy), 0) - np.float32(corner)
    return distance


def polygon(x: Plane, y: Plane, sides: int, inradius: float) -> Plane:
    """Return the distance field of a regular polygon around the origin; outside, near corners, it is too small.

    Args:
        x: Coordinates [H,W].
        y: Coordinates [H,W].
        sides: The number of sides.
        inradius: The distance of the sides from the origin.
    """
    turns = 2 * math.pi * np.arange(sides) / sides
    result = x * np.float32(math.cos(turns[0])) + y * np.float32(math.sin(turns[0]))
    for turn in turns[1:]:
        np.maximum(result, x * np.float32(math.cos(turn)) + y * np.float32(math.sin(turn)), out=result)
    distance: Plane = result - np.float32(inradius)
    return distance


def around(x: Plane, y: Plane, count: int) -> tuple[Plane, Plane]:
    """Fold the plane so that a shape at positive x repeats around the origin.

    Args:
        x: Coordinates [H,W].
        y: Coordinates [H,W].
        count: The number of repetitions.

    Returns:
        The folded x and y, [H,W] each.
    """
    step = np.float32(2 * math.pi / count)
    theta = np.arctan2(y, x)
    theta -= step * np.round(theta / step)
    radius = np.hypot(x, y)
    return radius * np.cos(theta), radius * np.sin(theta)


def repeat(x: Plane, pitch: float) -> Plane:
    """Fold a coordinate so that a shape at 0 repeats.

    Args:
        x: The coordinate, [H,W].
        pitch: The distance between two repetitions.

    Returns:
        The folded coordinate, [H,W], −pitch/2 to pitch/2.
    """
    folded: Plane = x - np.float32(pitch) * np.round(x / np.float32(pitch))
    return folded


def ramp(value: Plane, low: float, high: float) -> Plane:
    """Return a smooth step [H,W]: 0 up to `low`, 1 from `high` on (cubic Hermite in between).

    Args:
        value: [H,W].
        low: Where the step begins.
        high: Where the step ends.
    """
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    smooth: Plane = t * t * (3 - 2 * t)
    return smooth


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Return a colour that is given as HSV.

    Args:
        hue: 0 to 1; other numbers wrap around.
        saturation: 0 to 1.
        value: 0 to 1.
    """
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def scaled(colour: Colour, factor: float) -> Colour:
    """Return a colour times a factor.

    Args:
        colour: The colour.
        factor: The factor, 0 or more; the result may exceed 255.
    """
    red, green, blue = colour
    return red * factor, green * factor, blue * factor


def luminance(colour: Colour | Plane) -> float:
    """Return the luma of a colour, 0 to 255 (ITU-R BT.601).

    Args:
        colour: A colour, or pixels [3,…], whose mean colour is taken.
    """
    red, green, blue = (float(np.mean(channel)) for channel in colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def metal(design: Generator) -> Colour:
    """Choose the colour of steel, zinc, dark steel, brass or copper.

    Args:
        design: The generator that chooses.

    Returns:
        The colour.
    """
    hue, saturation, low, high = (
        (0.60, 0.04, 0.55, 0.75),
        (0.58, 0.08, 0.65, 0.85),
        (0.62, 0.06, 0.25, 0.42),
        (0.12, 0.45, 0.60, 0.80),
        (0.06, 0.45, 0.55, 0.75),
    )[design.choice(5, p=(0.4, 0.2, 0.2, 0.12, 0.08))]
    return hsv(hue + design.uniform(-0.02, 0.02), saturation * design.uniform(0.5, 1.3), design.uniform(low, high))


def plastic(design: Generator) -> Colour:
    """Choose any colour, with grey, black and white more often than others, as in industry.

    Args:
        design: The generator that chooses.

    Returns:
        The colour.
    """
    if design.random() < 0.4:
        return hsv(design.random(), design.uniform(0, 0.06), design.choice((0.14, 0.22, 0.45, 0.65, 0.88, 0.93)))
    return hsv(design.random(), design.uniform(0.25, 0.85), design.uniform(0.3, 0.9))
