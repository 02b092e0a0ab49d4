"""What the drawn parts are drawn with: a posed coordinate frame, distance fields, noise and colours.

Images are planar float32 [3,H,W] in 0…255 until the very end: numpy broadcasts a plane over channels quickly.
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
"""[H,W], or [3,H,W] for colours."""
Colour = tuple[float, float, float]
"""Red, green, blue in 0…255."""


def triangular(rng: Generator, shape: tuple[int, ...]) -> Plane:
    """Return noise of unit spread, half the price of a normal one."""
    two = rng.random((2, *shape), dtype=np.float32)
    two[0] -= two[1]
    two[0] *= np.float32(math.sqrt(6))
    noise: Plane = two[0]
    return noise


@dataclass(frozen=True)
class Frame:
    """The picture in the part's coordinates: its shorter side is 2 units long, the origin is the part's centre."""

    x: Plane
    y: Plane
    px: float
    """One pixel's side in units."""
    pose: tuple[float, float, float, float]
    """Shift in x and y in units, angle in radians, scale: as `Frame.posed` took them."""
    light: tuple[float, float]
    """Unit vector towards the lamp, in the part's coordinates."""
    rng: Generator
    """The piece's own chance: texture phase, grain."""

    @classmethod
    def posed(
        cls, size: tuple[int, int], pose: tuple[float, float, float, float], light: float, rng: Generator
    ) -> Frame:
        """Place a frame of size (height, width); light: the lamp's direction in radians, in the picture."""
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
        height, width = self.x.shape
        return height, width

    def turned(self, angle: float) -> tuple[Plane, Plane]:
        """Return coordinates along and across a direction."""
        c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
        return c * self.x + s * self.y, c * self.y - s * self.x

    def pixels(self, points: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return points of the part [n,2] (x, y) as pixel coordinates."""
        shift_x, shift_y, angle, _ = self.pose
        c, s = math.cos(angle), math.sin(angle)
        across = points[:, 0] * c - points[:, 1] * s + shift_x
        down = points[:, 0] * s + points[:, 1] * c + shift_y
        height, width = self.shape
        return np.stack([across / self.px + (width - 1) / 2, down / self.px + (height - 1) / 2], axis=1)

    def cover(self, distance: Plane) -> Plane:
        """Return how much of each pixel lies inside a distance field: 0…1, antialiased."""
        inside: Plane = np.clip(0.5 - distance / np.float32(self.px), 0, 1)
        return inside

    def noise(self, cell: float, along: float = 1.0, angle: float = 0.0) -> Plane:
        """Smooth noise of about unit spread with cells of `cell` units; if `along` > 1, that much longer in
        direction `angle`."""
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
        """Return noise of unit spread, new in every pixel."""
        return triangular(self.rng, self.shape)

    def slope(self, height: Plane) -> Plane:
        """Rise of a height field towards the lamp, per unit: what a matt relief looks like."""
        angle = self.pose[2]
        across = self.light[0] * math.cos(angle) - self.light[1] * math.sin(angle)
        down = self.light[0] * math.sin(angle) + self.light[1] * math.cos(angle)
        result = np.zeros_like(height)
        scale = np.float32(0.5 / self.px)
        result[:, 1:-1] += (height[:, 2:] - height[:, :-2]) * np.float32(across) * scale
        result[1:-1] += (height[2:] - height[:-2]) * np.float32(down) * scale
        return result

    def bevel(self, distance: Plane, width: float) -> Plane:
        """Return shading −1…1 of an edge that falls off over `width` inside a distance field."""
        inside = np.clip(1 + distance / np.float32(width), 0, 1)
        return np.where(distance < self.px, inside, 0) * np.clip(self.slope(distance), -1, 1)


@dataclass(frozen=True)
class Layer:
    """A part before it lies on anything: its colour [3,H,W] and the signed distance to its outline [H,W].

    distance: in units, negative on the part; None where the part fills the picture (a texture).
    """

    colour: Plane
    distance: Plane | None


Painter = Callable[[Frame], Layer]
"""Draws one piece of a product; what is the same for all pieces was chosen with the product's design before."""


def solid(frame: Frame, colour: Colour, shade: Plane | float = 1.0) -> Plane:
    """Return [3,H,W] of one colour times a shade."""
    plane = np.broadcast_to(np.asarray(shade, dtype=np.float32), frame.shape)
    return np.asarray(colour, dtype=np.float32)[:, None, None] * plane


def lay(under: Plane, alpha: Plane, over: Plane | Colour) -> None:
    """Paint over `under` in place, where alpha [H,W] says so."""
    top = np.asarray(over, dtype=np.float32)
    under += alpha * ((top if top.ndim == 3 else top[:, None, None]) - under)


def disc(x: Plane, y: Plane, radius: float) -> Plane:
    """Return the distance field of a circle around the origin."""
    distance: Plane = np.sqrt(x * x + y * y) - np.float32(radius)
    return distance


def box(x: Plane, y: Plane, half_width: float, half_height: float, corner: float = 0.0) -> Plane:
    """Return the distance field of a rectangle around the origin with rounded corners."""
    dx = np.abs(x) - np.float32(half_width - corner)
    dy = np.abs(y) - np.float32(half_height - corner)
    outside = np.hypot(np.maximum(dx, 0), np.maximum(dy, 0))
    distance: Plane = outside + np.minimum(np.maximum(dx, dy), 0) - np.float32(corner)
    return distance


def polygon(x: Plane, y: Plane, sides: int, inradius: float) -> Plane:
    """Return the distance field of a regular polygon around the origin (exact inside, near enough outside)."""
    turns = 2 * math.pi * np.arange(sides) / sides
    result = x * np.float32(math.cos(turns[0])) + y * np.float32(math.sin(turns[0]))
    for turn in turns[1:]:
        np.maximum(result, x * np.float32(math.cos(turn)) + y * np.float32(math.sin(turn)), out=result)
    distance: Plane = result - np.float32(inradius)
    return distance


def around(x: Plane, y: Plane, count: int) -> tuple[Plane, Plane]:
    """Fold the plane so that what is drawn at positive x repeats `count` times around the origin."""
    step = np.float32(2 * math.pi / count)
    theta = np.arctan2(y, x)
    theta -= step * np.round(theta / step)
    radius = np.hypot(x, y)
    return radius * np.cos(theta), radius * np.sin(theta)


def repeat(x: Plane, pitch: float) -> Plane:
    """Fold a coordinate so that what is drawn at 0 repeats every `pitch`."""
    folded: Plane = x - np.float32(pitch) * np.round(x / np.float32(pitch))
    return folded


def ramp(value: Plane, low: float, high: float) -> Plane:
    """Rise smoothly from 0 below low to 1 above high."""
    t = np.clip((value - np.float32(low)) / np.float32(high - low), 0, 1)
    smooth: Plane = t * t * (3 - 2 * t)
    return smooth


def hsv(hue: float, saturation: float, value: float) -> Colour:
    """Convert a colour from HSV, all three in 0…1."""
    red, green, blue = colorsys.hsv_to_rgb(hue % 1.0, saturation, value)
    return 255 * red, 255 * green, 255 * blue


def scaled(colour: Colour, factor: float) -> Colour:
    red, green, blue = colour
    return red * factor, green * factor, blue * factor


def luminance(colour: Colour | Plane) -> float:
    """Return Rec. 601 luma of a colour, or of the mean of [3,…]."""
    red, green, blue = (float(np.mean(channel)) for channel in colour)
    return 0.299 * red + 0.587 * green + 0.114 * blue


def metal(design: Generator) -> Colour:
    """Choose the colour of steel, zinc, dark steel, brass or copper."""
    hue, saturation, low, high = (
        (0.60, 0.04, 0.55, 0.75),
        (0.58, 0.08, 0.65, 0.85),
        (0.62, 0.06, 0.25, 0.42),
        (0.12, 0.45, 0.60, 0.80),
        (0.06, 0.45, 0.55, 0.75),
    )[design.choice(5, p=(0.4, 0.2, 0.2, 0.12, 0.08))]
    return hsv(hue + design.uniform(-0.02, 0.02), saturation * design.uniform(0.5, 1.3), design.uniform(low, high))


def plastic(design: Generator) -> Colour:
    """Choose any colour; often grey, black or white, as industry likes it."""
    if design.random() < 0.4:
        return hsv(design.random(), design.uniform(0, 0.06), design.choice((0.14, 0.22, 0.45, 0.65, 0.88, 0.93)))
    return hsv(design.random(), design.uniform(0.25, 0.85), design.uniform(0.3, 0.9))
