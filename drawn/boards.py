"""Electrical kinds: circuit board, microchip and cable."""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from .canvas import Colour, Frame, Layer, Painter, Plane, box, disc, hsv, lay, metal, plastic, repeat, scaled, solid

_Shape = tuple[NDArray[np.float64], Colour, float]
"""Points [n,2] in units, their colour, and the width of the line through them in units; 0 fills the polygon."""


def _draw(frame: Frame, ground: Plane, shapes: list[_Shape]) -> Plane:
    """Return a ground [3,H,W] with shapes over it, drawn at twice the size and reduced."""
    height, width = frame.shape
    picture = Image.fromarray(np.clip(ground, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    picture = picture.resize((2 * width, 2 * height), Image.Resampling.NEAREST)
    pencil = ImageDraw.Draw(picture)
    for points, (red, green, blue), line_width in shapes:
        corners = [(x, y) for x, y in (2 * frame.pixels(points) + 0.5).tolist()]
        fill = int(red), int(green), int(blue)
        if line_width:
            pencil.line(corners, fill=fill, width=max(1, round(2 * line_width / frame.px)), joint="curve")
        else:
            pencil.polygon(corners, fill=fill)
    drawn: Plane = np.asarray(picture.reduce(2), dtype=np.float32).transpose(2, 0, 1).copy()
    return drawn


def _rectangle(x: float, y: float, half_width: float, half_height: float) -> NDArray[np.float64]:
    corners = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], dtype=np.float64)
    return corners * (half_width, half_height) + (x, y)


def _circle(x: float, y: float, radius: float, corners: int = 12) -> NDArray[np.float64]:
    turns = np.arange(corners) * (2 * math.pi / corners)
    return np.stack([np.cos(turns), np.sin(turns)], axis=1) * radius + (x, y)


def _chip(x: float, y: float, half_width: float, half_height: float, legs: int, pad: Colour) -> list[_Shape]:
    """Return the shapes of a black package with legs on its long sides and a mark at its first leg."""
    shapes: list[_Shape] = []
    for side in (-1, 1):
        for place in np.linspace(-0.85, 0.85, legs) * half_width:
            shapes.append((_rectangle(x + place, y + side * half_height, half_width / legs / 2.2, 0.035), pad, 0))
    shapes.append((_rectangle(x, y, half_width, half_height), (34.0, 35.0, 38.0), 0))
    shapes.append((_rectangle(x, y, half_width * 0.93, half_height * 0.88), (48.0, 49.0, 52.0), 0))
    shapes.append((_circle(x - 0.8 * half_width, y + 0.6 * half_height, 0.02), (120.0, 120.0, 120.0), 0))
    return shapes


def circuit_board(design: Generator) -> Painter:
    """Return the painter of a board with traces, vias, chips and small components; the design places them.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    mask = hsv(design.choice((0.36, 0.4, 0.6, 0.64, 0.0, 0.75)), design.uniform(0.5, 0.85), design.uniform(0.22, 0.5))
    if design.random() < 0.2:
        mask = hsv(design.random(), 0.05, design.choice((0.15, 0.85)))
    trace = scaled(mask, 1.45 if sum(mask) < 500 else 0.82)
    pad = hsv(design.uniform(0.1, 0.15), design.choice((0.06, 0.45)), design.uniform(0.7, 0.85))
    half_width, half_height = design.uniform(0.8, 0.92), design.uniform(0.66, 0.9)
    step = 0.1
    shapes: list[_Shape] = []
    for _ in range(int(design.integers(10, 18))):
        start = np.round(design.uniform(-0.85, 0.85, 2) * (half_width, half_height) / step) * step
        run, jog = design.uniform(0.2, 0.7) * design.choice((-1, 1)), design.choice((-2, -1, 1, 2)) * step
        level = np.array([[0, 0], [run, 0], [run + abs(jog) * np.sign(run), jog], [1.5 * run + jog, jog]])
        points = start + (level if design.random() < 0.5 else level[:, ::-1])
        points = np.clip(points, (-half_width + 0.06, -half_height + 0.06), (half_width - 0.06, half_height - 0.06))
        shapes.append((points, trace, 0.028))
        for x, y in points[[0, -1]]:
            shapes += [(_circle(x, y, 0.036), pad, 0), (_circle(x, y, 0.015), scaled(mask, 0.35), 0)]
    columns, rows = int(design.choice((2, 3))), int(design.choice((2, 3)))
    for column in range(columns):
        for row in range(rows):
            x = ((column + 0.5) / columns * 2 - 1) * half_width * 0.94 + design.uniform(-0.04, 0.04)
            y = ((row + 0.5) / rows * 2 - 1) * half_height * 0.94 + design.uniform(-0.04, 0.04)
            wide, high = half_width / columns * 0.62, half_height / rows * 0.42
            drawn = design.random()
            if drawn < 0.4:
                shapes += _chip(x, y, wide, high, int(design.integers(4, 8)), pad)
            elif drawn < 0.8:
                body = hsv(design.choice((0.08, 0.6, 0.0)), design.uniform(0.1, 0.5), design.uniform(0.12, 0.75))
                for place in (-0.55, 0.55):
                    shapes.append((_rectangle(x, y + place * high * 1.2, 0.12, 0.06), pad, 0))
                    shapes.append((_rectangle(x, y + place * high * 1.2, 0.065, 0.055), body, 0))
            elif drawn < 0.9:
                shapes += [(_circle(x, y, min(wide, high), 32), (195.0, 196.0, 200.0), 0)]
                shapes += [(_circle(x, y, 0.75 * min(wide, high), 32), (222.0, 222.0, 225.0), 0)]
    for x in (-1, 1):
        for y in (-1, 1):
            at = x * (half_width - 0.09), y * (half_height - 0.09)
            shapes += [(_circle(*at, 0.06, 24), pad, 0), (_circle(*at, 0.035, 24), scaled(mask, 0.3), 0)]

    def paint(frame: Frame) -> Layer:
        distance = box(frame.x, frame.y, half_width, half_height, 0.04)
        colour = _draw(frame, solid(frame, mask), shapes)
        colour *= 1 + np.float32(0.015) * frame.noise(0.05) + np.float32(0.15) * frame.bevel(distance, 0.03)
        return Layer(colour, distance)

    return paint


def microchip(design: Generator) -> Painter:
    """Return the painter of a moulded package with a row of legs on two or four sides and a printed mark.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    body = hsv(design.random(), design.uniform(0, 0.1), design.uniform(0.12, 0.3))
    leg, ink = metal(design), hsv(0.15, 0.05, design.uniform(0.45, 0.8))
    half_width, half_height = design.uniform(0.42, 0.62), design.uniform(0.42, 0.62)
    count, reach = int(design.integers(5, 10)), design.uniform(0.14, 0.24)
    four = design.random() < 0.5
    pitch = 1.8 * half_height / count
    across = max(1, int(1.8 * half_width / pitch))
    bars = design.uniform(0.15, 0.85, size=3) * half_width

    def paint(frame: Frame) -> Layer:
        x, y = frame.x, frame.y
        package = box(x, y, half_width, half_height, 0.03)
        ends = np.maximum(np.abs(y) - np.float32(count * pitch / 2), np.abs(x) - np.float32(half_width + reach))
        row = repeat(y - np.float32(pitch / 2 * (1 - count % 2)), pitch)
        legs = np.maximum(np.abs(row) - np.float32(pitch * 0.27), ends)
        if four:
            ends = np.maximum(np.abs(x) - np.float32(across * pitch / 2), np.abs(y) - np.float32(half_height + reach))
            column = repeat(x - np.float32(pitch / 2 * (1 - across % 2)), pitch)
            legs = np.minimum(legs, np.maximum(np.abs(column) - np.float32(pitch * 0.27), ends))
        bend = np.cos(np.maximum(package, 0) * np.float32(2 * math.pi / reach))
        colour = solid(frame, leg, np.float32(0.85) + np.float32(0.2) * bend)
        shade = 1 + np.float32(0.35) * frame.bevel(package, 0.06) + np.float32(0.05) * frame.noise(0.02)
        lay(colour, frame.cover(package), solid(frame, body, shade))
        for number, bar in enumerate(bars):
            mark = box(x, y - np.float32((number - 1) * 0.28 * half_height), bar, 0.05 * half_height)
            stroke = ((x * np.float32(22 / half_width)).astype(np.int32) * 7 % 5 > 1).astype(np.float32)
            lay(colour, np.float32(0.7) * frame.cover(mark) * stroke, ink)
        dot = disc(x + np.float32(0.75 * half_width), y + np.float32(0.75 * half_height), 0.05)
        lay(colour, frame.cover(dot), scaled(body, 0.55))
        return Layer(colour, np.minimum(package, legs))

    return paint


def cable(design: Generator) -> Painter:
    """Return the painter of a cable's cut end: a sheath, insulated cores and the strands in them.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    sheath, strand = plastic(design), hsv(0.06, design.uniform(0.2, 0.55), design.uniform(0.6, 0.8))
    cores = int(design.choice((3, 3, 4)))
    colours = [plastic(design) for _ in range(cores)]
    radius = design.uniform(0.72, 0.86)
    core = radius * (0.42 if cores == 3 else 0.37)
    copper, pitch = core * design.uniform(0.62, 0.75), core * design.uniform(0.2, 0.3)
    filler = hsv(design.random(), 0.1, design.uniform(0.2, 0.9))
    turn = design.uniform(0, math.pi)

    def paint(frame: Frame) -> Layer:
        x, y = frame.turned(turn)
        distance = disc(x, y, radius)
        shade = 1 + np.float32(0.25) * frame.bevel(distance, 0.06) + np.float32(0.03) * frame.noise(0.04)
        colour = solid(frame, sheath, shade)
        lay(colour, frame.cover(distance + np.float32(0.09 * radius)), filler)
        for number in range(cores):
            at = 2 * math.pi * number / cores
            place = radius * 0.48
            u, v = x - np.float32(place * math.cos(at)), y - np.float32(place * math.sin(at))
            edge = disc(u, v, core)
            lay(colour, frame.cover(edge), solid(frame, colours[number], 1 + np.float32(0.3) * frame.bevel(edge, 0.06)))
            row = np.round(v / np.float32(0.87 * pitch))
            a = repeat(u + np.mod(row, 2) * np.float32(pitch / 2), pitch)
            b = v - row * np.float32(0.87 * pitch)
            wires = np.clip(np.float32(1.1) - (a * a + b * b) / np.float32((0.6 * pitch) ** 2), 0.25, 1)
            lay(colour, frame.cover(edge + np.float32(core - copper)), solid(frame, strand, wires))
        return Layer(colour, distance)

    return paint
