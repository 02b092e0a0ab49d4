"""Defects. A defect looks the same on every part, and differs from the other defects."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.random import Generator

from .canvas import Plane, box, lay, luminance, ramp, scaled
from .sites import Points, Site, moved, shifted


def _luma(colour: Plane) -> Plane:
    luma: Plane = np.float32(0.299) * colour[0] + np.float32(0.587) * colour[1] + np.float32(0.114) * colour[2]
    return luma


def scratch(site: Site) -> None:
    """Draw one to three thin, slightly curved lines, brighter or darker, each with the opposite tone beside it.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng, tone = site.rng, site.tone
    t = np.linspace(-0.5, 0.5, 28)
    bow, sway = rng.uniform(-0.25, 0.25), rng.uniform(-0.03, 0.03)
    across = bow * (4 * t * t - 1) * 0.5 + sway * np.sin(9 * t) + np.cumsum(rng.normal(0, 0.002, len(t)))
    c, s = math.cos(site.angle), math.sin(site.angle)
    points = site.fit(np.stack([c * t - s * across, s * t + c * across], axis=1))
    width = site.detail * rng.uniform(0.9, 2.0) * np.clip(4 * (0.5 - np.abs(t)), 0.15, 1) ** 0.6
    bright = luminance(tone) < 90 or (luminance(tone) < 190 and rng.random() < 0.6)
    by = rng.uniform(95, 150) * (1 if bright else -1)
    side = (-s, c)
    for number in range(int(rng.choice((1, 1, 1, 2, 3)))):
        line = moved(points, side, number * site.detail * rng.uniform(2.5, 5))
        if number:
            begin = int(rng.integers(0, 8))
            line = line[begin : begin + int(rng.integers(12, 20))]
        thick = width[: len(line)] if number else width
        lay(site.colour, 0.5 * site.stroke(moved(line, side, site.detail), thick), shifted(tone, -0.6 * by))
        lay(site.colour, site.stroke(line, thick, 0.25, uneven=0.4), shifted(tone, by))


def _jagged(start: Points, end: Points, rough: float, rng: Generator) -> Points:
    """Return a broken line [17,2] from start [2] to end [2], made by midpoint displacement."""
    points = np.stack([start, end])
    for _ in range(4):
        middle = (points[:-1] + points[1:]) / 2
        length = np.hypot(*(points[1:] - points[:-1]).T)
        middle = middle + rng.normal(0, rough, (len(middle), 2)) * length[:, None]
        points = np.insert(points, np.arange(1, len(points)), middle, axis=0)
    return points


def crack(site: Site) -> None:
    """Draw a dark jagged line that branches; one of its banks is lit.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng, tone = site.rng, site.tone
    c, s = math.cos(site.angle), math.sin(site.angle)
    main = _jagged(np.array([-c, -s]) / 2, np.array([c, s]) / 2, 0.17, rng)
    taper = np.linspace(1, 0.35, len(main))
    lines = [(main, taper)]
    for _ in range(int(rng.integers(1, 4))):
        begin = int(rng.integers(3, 13))
        turn = site.angle + rng.choice((-1, 1)) * rng.uniform(0.5, 1.1)
        length = rng.uniform(0.18, 0.4)
        tip = main[begin] + length * np.array([math.cos(turn), math.sin(turn)])
        branch = _jagged(main[begin], tip, 0.17, rng)
        lines.append((branch, taper[begin] * np.linspace(0.8, 0.25, len(branch))))
    together = site.fit(np.concatenate([points for points, _ in lines]))
    width = site.detail * rng.uniform(1.4, 2.5)
    dark_part = luminance(tone) < 70
    bank = shifted(tone, 115 if dark_part else rng.uniform(20, 60))
    cuts = np.cumsum([len(points) for points, _ in lines])[:-1]
    placed = np.split(together, cuts)
    for points, (_, taper) in zip(placed, lines, strict=True):
        edge = site.stroke(moved(points, site.light, -0.8 * site.detail), width * taper + 0.3)
        lay(site.colour, edge * np.float32(0.9 if dark_part else 0.6), bank)
    for points, (_, taper) in zip(placed, lines, strict=True):
        lay(site.colour, site.stroke(points, width * taper + 0.2), scaled(tone, 0.15))


def hole(site: Site) -> None:
    """Draw a dark round hole with a raised rim; on a very dark part, the hole is lighter than the part.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng, tone = site.rng, site.tone
    x, y = site.coordinates
    turn, ratio = rng.uniform(0, math.pi), rng.uniform(0.75, 1.0)
    u = math.cos(turn) * x + math.sin(turn) * y
    v = (math.cos(turn) * y - math.sin(turn) * x) / ratio
    theta = np.arctan2(v, u)
    wobble = sum(rng.normal(0, 0.02) * np.cos(k * theta + rng.uniform(0, 6)) for k in (2, 3, 5))
    radius = 0.43 * site.extent
    away = np.hypot(u, v) * (1 + wobble) - radius
    rim = max(0.16 * radius, 0.8 * site.detail)
    lit = (x * site.light[0] + y * site.light[1]) / (np.hypot(x, y) + 1)
    ring = np.exp(-(((away - 0.3 * rim) / rim) ** 2)).astype(np.float32)
    ring[np.abs(away - 0.3 * rim) > 2.2 * rim] = 0
    inside = np.clip(0.5 - away, 0, 1).astype(np.float32)
    lay(site.colour, ring * np.clip(0.25 + lit, 0, 1), shifted(tone, 90))
    lay(site.colour, ring * np.clip(-lit, 0, 1), scaled(tone, 0.5))
    dark = scaled(tone, rng.uniform(0.05, 0.2))
    if luminance(tone) < 40:
        dark = shifted(tone, 50)
    lay(site.colour, inside, dark)
    lay(site.colour, inside * np.clip(-lit * (1 + away / radius) * 0.8, 0, 0.5).astype(np.float32), shifted(dark, 60))


def stain(site: Site) -> None:
    """Draw a soft-edged discolouration, sometimes darker at its edge; the part's texture shows through.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng = site.rng
    x, y = site.coordinates
    stretch, turn = rng.uniform(1.0, 1.7), site.angle
    u, v = math.cos(turn) * x + math.sin(turn) * y, math.cos(turn) * y - math.sin(turn) * x
    radius = 0.5 * site.extent
    away = np.sqrt(u * u + (stretch * v) ** 2) / np.float32(radius)
    away = (
        away + np.float32(0.14) * site.lumps(0.3 * site.extent) + np.float32(0.05) * site.lumps(0.1 * site.extent + 1)
    )
    inside = 1 - ramp(away.astype(np.float32), 0.4, 1.02)
    if rng.random() < 0.4:
        inside *= np.float32(0.55) + np.float32(0.45) * ramp(away.astype(np.float32), 0.2, 0.65)
    liquids = (60.0, 42.0, 25.0), (150.0, 80.0, 30.0), (25.0, 30.0, 70.0), (232.0, 230.0, 220.0), (30.0, 28.0, 28.0)
    lay(site.colour, inside * np.float32(rng.uniform(0.55, 0.85)), site.other_colour(70, *liquids))


def _shard(rng: Generator, corners: int, rough: float) -> Points:
    """Return an angular outline [corners,2] around the origin, its radii 1 ± `rough`."""
    turns = (np.arange(corners) + rng.uniform(-0.35, 0.35, corners)) * (2 * math.pi / corners)
    radii = 1 + rng.uniform(-rough, rough, corners)
    return np.stack([np.cos(turns), np.sin(turns)], axis=1) * radii[:, None]


def missing_chunk(site: Site) -> None:
    """Break an angular piece out, so that the ground and a rough fracture show.

    Args:
        site: Where to draw; its colour, cover and ground change in place.
    """
    rng, tone = site.rng, site.tone
    outline = _shard(rng, int(rng.integers(7, 12)), 0.25)
    outline = site.fit(outline)
    inner = (outline - site.centre) * (1 - min(0.3, max(0.1, 1.5 * site.detail / site.extent))) + site.centre
    gone, fracture = site.filled(inner), site.filled(outline)
    rough = np.clip(0.75 + 0.25 * site.lumps(max(1.5, 0.05 * site.extent)), 0.35, 1.4).astype(np.float32)
    broken = scaled(tone, 0.6) if luminance(tone) > 80 else shifted(tone, 55)
    lay(site.colour, fracture, np.asarray(broken, dtype=np.float32)[:, None, None] * rough)
    if site.cover.min() > 0.5:  # a texture: its ground lies deep, shaded by the hole's edge
        lit = site.filled(moved(inner, site.light, -0.14 * site.extent - site.detail), blur=0.03 * site.extent + 0.5)
        site.ground *= (1 - gone * (np.float32(0.65) - np.float32(0.45) * lit)) * (
            1 + np.float32(0.12) * gone * (rough - 1)
        )
    site.cover *= 1 - gone


def bend(site: Site) -> None:
    """Push the part aside smoothly around the centre, so that its slopes catch the light.

    Args:
        site: Where to draw; its colour and cover change in place.
    """
    rng = site.rng
    x, y = site.coordinates
    radius = np.float32(0.55 * site.extent)
    turn = site.angle + rng.choice((0, math.pi)) + rng.uniform(-0.5, 0.5)
    c, s = math.cos(turn), math.sin(turn)
    u, v = (c * x + s * y) / radius, (c * y - s * x) / radius
    flat = np.float32(rng.uniform(1.0, 1.6))
    near = np.clip(1 - flat * u * u - v * v, 0, 1).astype(np.float32)
    push = np.float32(rng.uniform(0.35, 0.5) * 0.55 * site.extent)
    ahead = np.array([c, s], dtype=np.float32)
    height, width = site.cover.shape
    at_x = np.clip(x + np.float32(site.centre[0]) - push * ahead[0] * near**2, 0, width - 1.001)
    at_y = np.clip(y + np.float32(site.centre[1]) - push * ahead[1] * near**2, 0, height - 1.001)
    column, row = at_x.astype(np.int64), at_y.astype(np.int64)
    right, below = (at_x - column).astype(np.float32), (at_y - row).astype(np.float32)
    index = row * width + column
    layers = np.concatenate([site.colour, site.cover[None]]).reshape(4, -1)
    upper = layers[:, index] * (1 - right) + layers[:, index + 1] * right
    lower = layers[:, index + width] * (1 - right) + layers[:, index + width + 1] * right
    moved = upper * (1 - below) + lower * below
    facing = c * site.light[0] + s * site.light[1]
    facing = math.copysign(max(abs(facing), 0.5), facing) * rng.uniform(1.3, 2.0)
    slope = near * u * np.float32(facing)
    site.colour[:] = moved[:3] * np.clip(1 + slope, 0.5, 1.6) + 30 * np.clip(slope, -0.3, 0.8)
    site.cover[:] = moved[3]


def wrong_colour(site: Site) -> None:
    """Give a sharply bounded patch another colour; its relief stays.

    If most of the patch has the tone of its centre, only the pixels of that tone change.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng, tone = site.rng, site.tone
    x, y = site.coordinates
    c, s = math.cos(site.angle), math.sin(site.angle)
    u: Plane = (c * x + s * y).astype(np.float32)
    v: Plane = (c * y - s * x).astype(np.float32)
    half = 0.5 * site.extent
    shape = rng.choice(("disc", "patch", "stripe"))
    if shape == "disc":
        away = np.hypot(u, v * np.float32(rng.uniform(1.0, 1.4))) - np.float32(half)
    else:
        long = 0.95 * half / (max(abs(c), abs(s)) if shape == "stripe" else abs(c) + abs(s))
        away = box(u, v, long, long * (0.35 if shape == "stripe" else 0.9), 0.2 * long)
    patch = np.clip(0.5 - away, 0, 1).astype(np.float32)
    apart = np.abs(site.colour - np.asarray(tone, dtype=np.float32)[:, None, None]).max(axis=0)
    alike = 1 - ramp(apart, 50, 80)
    if (alike * patch * site.cover).sum() > 0.5 * (patch * site.cover).sum():
        patch *= alike
    relief = _luma(site.colour) / np.float32(max(luminance(tone), 8.0))
    new = np.asarray(site.other_colour(75), dtype=np.float32)[:, None, None] * np.clip(relief, 0.4, 1.6)
    lay(site.colour, patch * np.float32(0.92), new)


def foreign_body(site: Site) -> None:
    """Lay a fibre, a curl of swarf or a chip of another material on the part, with its shadow.

    Args:
        site: Where to draw; its colour and cover change in place.
    """
    rng = site.rng
    what = rng.choice(("fibre", "swarf", "chip"))
    height = site.detail * rng.uniform(1.2, 2.5)
    if what == "chip":
        outline = site.fit(_shard(rng, int(rng.integers(4, 7)), 0.2) * (1, rng.uniform(0.5, 1.0)), height)
        body, shape = site.filled(outline), [outline]
        tint = site.other_colour(80)
        ridge = outline.mean(axis=0)
        faces = [np.stack([outline[k - 1], outline[k], ridge]) for k in range(len(outline))]
        lights = rng.uniform(0.55, 1.25, len(faces))
        values = (lights / 1.25 * 255).astype(np.int64)
        shade = site.filled(*faces, values=values) * np.float32(1.25) / np.maximum(body, np.float32(0.05))
        colour = np.asarray(tint, dtype=np.float32)[:, None, None] * np.clip(shade, 0.3, 1.3)
        shadow = site.filled(*(moved(part, site.light, -1.6 * height) for part in shape), blur=0.7 * site.detail)
    else:
        if what == "fibre":
            curl = np.cumsum(rng.normal(0, 0.35, 60)) * 0.5 + rng.uniform(0, 6)
            steps = np.stack([np.cos(curl), np.sin(curl)], axis=1)
            points, width = np.cumsum(steps, axis=0), site.detail * rng.uniform(1.1, 1.9)
            tint = site.other_colour(90)
        else:
            turns, pitch = np.linspace(0, 2 * math.pi * rng.uniform(0.8, 2.2), 60), rng.uniform(0.3, 0.7)
            steps = np.stack([np.cos(turns) + pitch * turns, 0.7 * np.sin(turns) * (1 + 0.1 * turns)], axis=1)
            c, s = math.cos(site.angle), math.sin(site.angle)
            points, width = steps @ np.array([[c, s], [-s, c]]), site.detail * rng.uniform(1.3, 2.2)
            tint = site.other_colour(80, (225.0, 226.0, 230.0), (95.0, 97.0, 102.0), (205.0, 160.0, 90.0))
        points = site.fit(points, height + width)
        body = site.stroke(points, width)
        colour = np.asarray(tint, dtype=np.float32)[:, None, None] * np.ones_like(body)
        shine = site.stroke(moved(points, site.light, 0.25 * width), 0.35 * width)
        lay(colour, shine * np.float32(0.5), shifted(tint, 70))
        shadow = site.stroke(moved(points, site.light, -1.2 * height), width, blur=0.6 * site.detail)
    site.colour *= 1 - np.float32(0.55) * np.where(shadow > 0.06, shadow, 0)
    lay(site.colour, body, colour)
    site.cover += body * (1 - site.cover)


Where = Literal["inside", "along", "edge"]
"""The place of a defect on a part."""


@dataclass(frozen=True)
class Defect:
    """A defect that can be drawn.

    Attributes:
        draw: Draws it on a site.
        where: Where it lies: inside the part, along it, or at its edge.
        shares: Its shortest and longest extent, as shares of the picture's shorter side.
        fill: The smallest area that it covers, as a share of its extent squared.
    """

    draw: Callable[[Site], None]
    where: Where
    shares: tuple[float, float]
    fill: float = 0.0


BY_NAME: dict[str, Defect] = {
    "scratch": Defect(scratch, "along", (0.13, 0.32)),
    "crack": Defect(crack, "along", (0.13, 0.30)),
    "hole": Defect(hole, "inside", (0.06, 0.15), 0.4),
    "stain": Defect(stain, "inside", (0.12, 0.3), 0.3),
    "missing chunk": Defect(missing_chunk, "edge", (0.10, 0.25), 0.3),
    "bend": Defect(bend, "edge", (0.14, 0.30), 0.15),
    "wrong colour": Defect(wrong_colour, "inside", (0.12, 0.28), 0.15),
    "foreign body": Defect(foreign_body, "inside", (0.1, 0.25)),
}
