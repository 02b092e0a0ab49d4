"""Kinds that fill the picture.

A function draws the design that a product's pieces share, and returns the painter of one piece.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from .canvas import Frame, Layer, Painter, Plane, hsv, lay, metal, plastic, ramp, repeat, scaled, solid


def _phase(frame: Frame, angle: float, pitch: float) -> tuple[Plane, Plane]:
    """Return coordinates along and across `angle`, with an origin drawn at random for each piece."""
    u, v = frame.turned(angle)
    shift_u, shift_v = frame.rng.uniform(0, 8 * pitch, size=2).astype(np.float32)
    return u + shift_u, v + shift_v


def tile(design: Generator) -> Painter:
    """Return the painter of terrazzo or granite: chips of two colours in a ground.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    ground = hsv(design.random(), design.uniform(0, 0.18), design.uniform(0.45, 0.92))
    grey = design.uniform(-0.35, 0.3)
    chips = [scaled(ground, 1 + grey), hsv(design.random(), design.uniform(0, 0.3), design.uniform(0.15, 0.95))]
    cells = design.uniform(0.05, 0.14), design.uniform(0.03, 0.07)
    limits = design.uniform(0.3, 0.9), design.uniform(0.9, 1.4)
    grain = design.uniform(0.01, 0.04)

    def paint(frame: Frame) -> Layer:
        colour = solid(frame, ground, 1 + np.float32(grain) * frame.grain())
        for chip, cell, limit in zip(chips, cells, limits, strict=True):
            soft = 0.12 + 1.2 * frame.px / cell
            lay(colour, ramp(frame.noise(cell), limit - soft, limit + soft), chip)
        return Layer(colour, None)

    return paint


def woven_cloth(design: Generator) -> Painter:
    """Return the painter of a plain weave or a twill of two threads.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    warp = plastic(design)
    weft = scaled(warp, design.uniform(0.7, 1.25)) if design.random() < 0.6 else plastic(design)
    pitch = design.uniform(0.06, 0.17)
    angle = design.choice((0, math.pi / 4)) + design.uniform(-0.1, 0.1)
    float_over = int(design.choice((2, 2, 3, 4)))
    depth = design.uniform(0.35, 0.6)
    wander = design.uniform(0.03, 0.1) * pitch

    def paint(frame: Frame) -> Layer:
        u, v = _phase(frame, angle, pitch)
        u = (u + np.float32(wander) * frame.noise(4 * pitch)) / np.float32(pitch)
        v = (v + np.float32(wander) * frame.noise(4 * pitch)) / np.float32(pitch)
        i, j = np.floor(u), np.floor(v)
        s, t = 2 * (u - i) - 1, 2 * (v - j) - 1  # −1…1 across a crossing
        on_top = np.mod(i + j, float_over) < 0.5
        across, along = np.where(on_top, s, t), np.where(on_top, t, s)
        fibres = np.float32(0.05) * frame.noise(0.25 * pitch)
        shade = np.float32(1.15) - np.float32(depth) * across**2 * (1 + np.float32(0.4) * along**2)
        shade -= np.float32(0.18) * along**2
        colour = solid(frame, weft, 1.0)
        lay(colour, on_top.astype(np.float32), warp)
        colour *= shade + fibres
        return Layer(colour, None)

    return paint


def leather(design: Generator) -> Painter:
    """Return the painter of leather: pebbles with creases between them.

    The creases lie where the two nearest of jittered points are equally far (Worley, A cellular texture basis function,
    SIGGRAPH 1996).

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base = hsv(design.uniform(0.02, 0.1), design.uniform(0.2, 0.7), design.uniform(0.18, 0.6))
    if design.random() < 0.35:
        base = plastic(design)
    cell = design.uniform(0.06, 0.13)
    depth = design.uniform(0.25, 0.5)

    def paint(frame: Frame) -> Layer:
        u, v = _phase(frame, line_angle, cell)
        u, v = (u + np.float32(0.25 * cell) * frame.noise(2.5 * cell)) / np.float32(cell), v / np.float32(cell)
        i, j = np.floor(u).astype(np.int32), np.floor(v).astype(np.int32)
        points = frame.rng.uniform(0.18, 0.82, size=(2, 64, 64)).astype(np.float32)
        nearest = np.full(frame.shape, np.inf, dtype=np.float32)
        second = nearest.copy()
        s, t = u - i, v - j
        for di in (-1, 0, 1):
            for dj in (-1, 0, 1):
                at = ((i + di) & 63) * 64 + ((j + dj) & 63)
                distance = (points[0].ravel()[at] + (di - s)) ** 2 + (points[1].ravel()[at] + (dj - t)) ** 2
                second = np.minimum(second, np.maximum(nearest, distance))
                nearest = np.minimum(nearest, distance)
        height = ramp(np.sqrt(second) - np.sqrt(nearest), 0, 0.45)
        shade = 1 - np.float32(depth) * (1 - height) - np.float32(0.1 * depth * cell) * frame.slope(height)
        shade += np.float32(0.02) * frame.noise(0.6) + np.float32(0.02) * frame.grain()
        return Layer(solid(frame, base, shade), None)

    line_angle = design.uniform(0, math.pi)
    return paint


def brushed_metal(design: Generator) -> Painter:
    """Return the painter of fine streaks in one direction with a broad reflection across them.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base = metal(design)
    angle = design.choice((0, math.pi / 2, design.uniform(0, math.pi))) + design.uniform(-0.05, 0.05)
    strength, broad = design.uniform(0.03, 0.09), design.uniform(0.03, 0.12)
    cell, along = design.uniform(0.007, 0.015), design.uniform(50, 120)
    place, width = design.uniform(-1, 1), design.uniform(0.5, 1.2)

    def paint(frame: Frame) -> Layer:
        shade = 1 + np.float32(strength) * (
            frame.noise(cell, along, angle) + np.float32(0.35) * frame.noise(2 * cell, along, angle)
        )
        _, v = frame.turned(angle)
        shade += np.float32(broad) * np.cos((v - np.float32(place)) / np.float32(width) * np.float32(math.pi))
        return Layer(solid(frame, base, shade), None)

    return paint


def wire_mesh(design: Generator) -> Painter:
    """Return the painter of two sets of wires, woven over and under each other; the ground shows between them.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base = metal(design) if design.random() < 0.7 else plastic(design)
    pitch = design.uniform(0.16, 0.36)
    radius = pitch * design.uniform(0.14, 0.24)
    angle = design.choice((0, math.pi / 4)) + design.uniform(-0.12, 0.12)

    def paint(frame: Frame) -> Layer:
        u, v = _phase(frame, angle, pitch)
        i, j = np.round(u / np.float32(pitch)), np.round(v / np.float32(pitch))
        s, t = repeat(u, pitch) / np.float32(radius), repeat(v, pitch) / np.float32(radius)
        first, second = np.abs(s), np.abs(t)
        upper = np.mod(i + j, 2) < 0.5
        use_first = np.where(upper, first < 1, second >= 1)
        across = np.where(use_first, s, t)
        shade = np.float32(0.45) + np.float32(0.75) * np.sqrt(np.clip(1 - (across + np.float32(0.25)) ** 2, 0, 1))
        hidden = np.where(use_first, second < 1.6, first < 1.6) & (np.where(use_first, ~upper, upper))
        shade = np.where(hidden, shade * np.float32(0.75), shade) + np.float32(0.02) * frame.grain()
        distance = (np.minimum(first, second) - 1) * np.float32(radius)
        return Layer(solid(frame, base, shade), distance)

    return paint


def wood(design: Generator) -> Painter:
    """Return the painter of wood: long annual rings, and pores along the grain.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base = hsv(design.uniform(0.05, 0.11), design.uniform(0.25, 0.6), design.uniform(0.4, 0.88))
    angle = design.choice((0, math.pi / 2)) + design.uniform(-0.08, 0.08)
    rings, contrast = design.uniform(0.06, 0.2), design.uniform(0.07, 0.2)
    pores = design.uniform(0.03, 0.07)

    def paint(frame: Frame) -> Layer:
        _, v = _phase(frame, angle, rings)
        bent = v / np.float32(rings) + np.float32(0.55) * frame.noise(0.5, 5, angle)
        wave = bent - np.floor(bent)
        late = ramp(wave, 0.1, 0.85) * (1 - ramp(wave, 0.88, 1.0))  # late wood darkens slowly and ends abruptly
        shade = 1 - np.float32(contrast) * late + np.float32(pores) * frame.noise(0.016, 16, angle)
        colour = solid(frame, base, shade)
        colour[2] *= 1 - np.float32(0.5 * contrast) * late
        return Layer(colour, None)

    return paint


def carpet(design: Generator) -> Painter:
    """Return the painter of loops in rows, each loop with its own tone.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base = plastic(design)
    pitch = design.uniform(0.04, 0.08)
    depth, melange = design.uniform(0.25, 0.45), design.uniform(0.04, 0.14)
    angle = design.uniform(0, math.pi)
    wander = design.uniform(0.1, 0.3) * pitch

    def paint(frame: Frame) -> Layer:
        u, v = _phase(frame, angle, pitch)
        u = (u + np.float32(wander) * frame.noise(1.5 * pitch)) / np.float32(pitch)
        v = (v + np.float32(wander) * frame.noise(1.5 * pitch)) / np.float32(pitch)
        u = u + np.float32(0.5) * np.mod(np.floor(v), 2)  # every other row is set off by half a loop
        s, t = u - np.floor(u) - np.float32(0.5), v - np.floor(v) - np.float32(0.5)
        loop = 1 - np.float32(3.2) * (s * s + t * t)
        shade = np.float32(0.75) + np.float32(depth) * loop
        shade += np.float32(melange) * frame.noise(0.8 * pitch) + np.float32(0.05) * frame.grain()
        return Layer(solid(frame, base, np.clip(shade, 0.2, 1.6)), None)

    return paint
