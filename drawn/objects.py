"""Objects: kinds that lie on something.

A function draws the design that a product's pieces share, and returns the painter of one piece.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from .canvas import (
    Frame,
    Layer,
    Painter,
    Plane,
    around,
    box,
    disc,
    hsv,
    lay,
    luminance,
    metal,
    plastic,
    polygon,
    ramp,
    repeat,
    scaled,
    solid,
)


def _turned(design: Generator, strength: float = 0.12) -> tuple[float, float]:
    """Draw the strength of the reflections of a turned metal face, and their angle in radians, at random."""
    return strength * design.uniform(0.5, 1.3), design.uniform(0, math.pi)


def _reflect(frame: Frame, turned: tuple[float, float]) -> Plane:
    strength, phase = turned
    shade: Plane = 1 + np.float32(strength) * np.cos(2 * np.arctan2(frame.y, frame.x) + np.float32(phase))
    return shade


def nut(design: Generator) -> Painter:
    """Return the painter of a nut with six or four sides, seen along its threaded bore.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base, radius = metal(design), design.uniform(0.5, 0.72)
    hole, pitch = radius * design.uniform(0.5, 0.62), design.uniform(0.03, 0.05)
    sides = 6 if design.random() < 0.85 else 4
    turned = _turned(design, 0.06)
    bore = design.uniform(0.15, 0.4)

    def paint(frame: Frame) -> Layer:
        outer, ring = polygon(frame.x, frame.y, sides, radius), disc(frame.x, frame.y, 0)
        distance = np.maximum(outer, np.float32(hole) - ring)
        shade = _reflect(frame, turned) + np.float32(0.03) * frame.noise(0.03)
        shade += np.float32(0.25) * frame.bevel(outer, 0.06)
        chamfer = ramp(ring, radius * 1.0, radius * 1.03)
        shade -= np.float32(0.25) * chamfer
        depth = np.clip((ring - np.float32(hole)) / np.float32(0.17 * radius), 0, 1)
        thread = np.float32(0.6) + np.float32(0.25) * np.cos(ring * np.float32(2 * math.pi / pitch))
        inside = 1 - ramp(depth, 0.9, 1.0)
        shade += inside * (thread * (np.float32(bore) + depth * np.float32(0.6)) - shade)
        return Layer(solid(frame, base, shade), distance)

    return paint


def washer(design: Generator) -> Painter:
    """Return the painter of a flat ring of turned metal.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base, radius = metal(design), design.uniform(0.55, 0.85)
    hole = radius * design.uniform(0.35, 0.65)
    turned = _turned(design)
    rings = design.uniform(0.01, 0.04)

    def paint(frame: Frame) -> Layer:
        ring = disc(frame.x, frame.y, 0)
        distance = np.abs(ring - np.float32((radius + hole) / 2)) - np.float32((radius - hole) / 2)
        shade = _reflect(frame, turned) + np.float32(0.02) * frame.noise(0.03)
        shade += np.float32(rings) * np.sin(ring * np.float32(130))
        shade += np.float32(0.35) * frame.bevel(distance, 0.05)
        return Layer(solid(frame, base, shade), distance)

    return paint


def gear(design: Generator) -> Painter:
    """Return the painter of a spur gear with a bore, a hub and sometimes windows in its web.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base = metal(design) if design.random() < 0.75 else plastic(design)
    teeth, radius = int(design.integers(14, 30)), design.uniform(0.65, 0.8)
    height = design.uniform(0.9, 1.2) * 2.2 * radius / teeth
    bore, hub = radius * design.uniform(0.15, 0.25), radius * design.uniform(0.32, 0.4)
    windows = int(design.choice((0, 4, 5, 6)))
    turned = _turned(design, 0.08)

    def paint(frame: Frame) -> Layer:
        x, y = frame.x, frame.y
        ring, theta = np.hypot(x, y), np.arctan2(y, x)
        tooth = np.clip(np.cos(theta * np.float32(teeth)) * np.float32(1.6), -1, 1)
        edge = (ring - np.float32(radius) - np.float32(height / 2) * tooth) * np.float32(0.75)
        distance = np.maximum(edge, np.float32(bore) - ring)
        if windows:
            across, up = around(x, y, windows)
            window = disc(across - np.float32(0.62 * radius), up, min(0.16, 1.2 / windows) * radius)
            distance = np.maximum(distance, -window)
        shade = _reflect(frame, turned) + np.float32(0.025) * frame.noise(0.03)
        web = ramp(ring, hub - 0.01, hub + 0.01) * (1 - ramp(ring, 0.8 * radius, 0.8 * radius + 0.02))
        shade -= np.float32(0.2) * web
        shade += np.float32(0.3) * frame.bevel(distance, 0.045)
        return Layer(solid(frame, base, shade), distance)

    return paint


def screw_head(design: Generator) -> Painter:
    """Return the painter of a domed screw head with a slot, a cross, a hexagon or a star.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base, radius = metal(design), design.uniform(0.5, 0.8)
    recess = design.choice(("slot", "cross", "hexagon", "star"))
    size, dome = radius * design.uniform(0.42, 0.6), design.uniform(0.15, 0.35)
    angle, turned = design.uniform(0, math.pi), _turned(design, 0.08)

    def paint(frame: Frame) -> Layer:
        distance = disc(frame.x, frame.y, radius)
        u, v = frame.turned(angle)
        if recess == "hexagon":
            cut = polygon(u, v, 6, size * 0.85)
        elif recess == "star":
            theta = np.arctan2(v, u)
            cut = np.hypot(u, v) - np.float32(size) * (np.float32(0.85) + np.float32(0.15) * np.cos(6 * theta))
        else:
            cut = box(u, v, size * 1.3, size * 0.2, 0.02)
            if recess == "cross":
                cut = np.minimum(cut, box(u, v, size * 0.2, size * 1.3, 0.02))
        shade = _reflect(frame, turned) + np.float32(0.025) * frame.noise(0.03)
        shade += np.float32(dome) * frame.bevel(distance, 0.5 * radius)
        deep = frame.cover(cut)
        shade = shade * (1 - np.float32(0.65) * deep) - np.float32(0.3) * frame.bevel(cut, 0.05)
        return Layer(solid(frame, base, np.clip(shade, 0.08, 2)), distance)

    return paint


def bearing(design: Generator) -> Painter:
    """Return the painter of a ball bearing, seen along its axis.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base, cage = metal(design), metal(design)
    radius, balls = design.uniform(0.7, 0.85), int(design.integers(7, 13))
    bore = radius * design.uniform(0.35, 0.45)
    track, half = (radius + bore) / 2, (radius - bore) * 0.2
    turned = _turned(design)

    def paint(frame: Frame) -> Layer:
        ring = disc(frame.x, frame.y, 0)
        distance = np.abs(ring - np.float32((radius + bore) / 2)) - np.float32((radius - bore) / 2)
        race = np.abs(ring - np.float32(track)) - np.float32(half)
        shade = _reflect(frame, turned) + np.float32(0.3) * frame.bevel(distance, 0.04)
        colour = solid(frame, base, shade + np.float32(0.02) * frame.noise(0.03))
        lay(colour, frame.cover(race), scaled(cage, 0.3))
        across, up = around(frame.x, frame.y, balls)
        ball = disc(across - np.float32(track), up, min(half * 1.15, 2.6 * track / balls))
        lit = np.float32(0.9) + np.float32(0.5) * frame.bevel(ball, half * 1.2)
        lay(colour, frame.cover(ball), solid(frame, cage, lit))
        return Layer(colour, distance)

    return paint


def spring(design: Generator) -> Painter:
    """Return the painter of a coil spring, seen from the side.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base = metal(design)
    half, radius = design.uniform(0.65, 0.85), design.uniform(0.3, 0.5)
    coils = int(design.integers(6, 12))
    pitch = 2 * half / coils
    wire, lean = pitch * design.uniform(0.26, 0.36), pitch / radius * 0.25

    def paint(frame: Frame) -> Layer:
        x, y = frame.x, frame.y
        edge = np.sqrt(np.clip(1 - (y / np.float32(radius)) ** 2, 0, 1))
        front = repeat(x - np.float32(lean) * y, pitch)
        back = repeat(x + np.float32(lean) * y + np.float32(pitch / 2), pitch)
        end = box(x, y, half, radius + wire, wire)
        colour = solid(frame, scaled(base, 0.45), 1 - np.float32(0.5) * (back / np.float32(wire)) ** 2)
        over = np.abs(front) - np.float32(wire)
        shade = np.float32(1.15) - np.float32(0.7) * ((front + np.float32(0.3 * wire)) / np.float32(wire)) ** 2
        shade *= np.float32(0.55) + np.float32(0.45) * edge
        lay(colour, frame.cover(over), solid(frame, base, shade))
        distance = np.maximum(np.minimum(over, np.abs(back) - np.float32(wire)), end)
        colour += np.float32(2) * frame.grain()
        return Layer(colour, distance)

    return paint


def bottle_mouth(design: Generator) -> Painter:
    """Return the painter of a bottle's glass mouth, seen from above.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    glass = hsv(design.choice((0.07, 0.09, 0.3, 0.36, 0.55)), design.uniform(0.15, 0.8), design.uniform(0.22, 0.65))
    radius = design.uniform(0.72, 0.88)
    lip, bore = radius * design.uniform(0.72, 0.82), radius * design.uniform(0.48, 0.58)
    turned, glare = _turned(design, 0.35), design.uniform(0.4, 0.9)
    depth = design.uniform(0.1, 0.45)

    def paint(frame: Frame) -> Layer:
        ring = disc(frame.x, frame.y, 0)
        shade = np.float32(0.75) * _reflect(frame, turned)
        shade += np.float32(0.12) * frame.bevel(ring - np.float32(radius), 0.1)
        rim = np.clip(1 - ((ring - np.float32((lip + bore) / 2)) / np.float32((lip - bore) / 2)) ** 2, 0, 1)
        shade += np.float32(0.5) * rim
        shade -= np.float32(0.35) * np.exp(-(((ring - np.float32(lip)) / np.float32(0.02)) ** 2))
        hole = 1 - ramp(ring, bore - 0.02, bore)
        shade += hole * (np.float32(depth) + np.float32(0.15) * (ring / np.float32(bore)) ** 6 - shade)
        colour = solid(frame, glass, np.clip(shade + np.float32(0.02) * frame.noise(0.2), 0.04, 3))
        arc = ramp(np.cos(np.arctan2(frame.y, frame.x) * 2 + np.float32(turned[1])), 0.75, 0.97)
        lay(colour, np.float32(glare) * rim**3 * arc, (250.0, 250.0, 245.0))
        return Layer(colour, ring - np.float32(radius))

    return paint


def button(design: Generator) -> Painter:
    """Return the painter of a button with two or four holes.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base, radius = plastic(design), design.uniform(0.6, 0.82)
    holes = int(design.choice((2, 4)))
    place, size = radius * design.uniform(0.24, 0.3), radius * design.uniform(0.085, 0.12)
    rim, marble = radius * design.uniform(0.7, 0.82), design.uniform(0.0, 0.1)

    def paint(frame: Frame) -> Layer:
        ring = disc(frame.x, frame.y, 0)
        distance = ring - np.float32(radius)
        across, up = around(frame.x, frame.y, holes)
        hole = disc(across - np.float32(place), up, size)
        shade = 1 + np.float32(0.3) * frame.bevel(distance, 0.2 * radius)
        shade -= np.float32(0.3) * frame.bevel(ring - np.float32(rim), 0.1 * radius)
        shade -= np.float32(0.25) * np.clip(1 - hole / np.float32(0.05), 0, 1)
        shade += np.float32(marble) * frame.noise(0.3, 2)
        return Layer(solid(frame, base, shade), np.maximum(distance, -hole))

    return paint


def pill(design: Generator) -> Painter:
    """Return the painter of a round or oval tablet with specks, sometimes with a score line.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base = hsv(design.random(), design.uniform(0, 0.35), design.uniform(0.75, 0.97))
    half = design.uniform(0.55, 0.8)
    ratio = design.choice((1.0, 1.0, design.uniform(0.5, 0.75)))
    speck, amount = hsv(design.random(), 0.6, design.uniform(0.4, 0.8)), design.uniform(1.7, 3.2)
    score, dome = design.random() < 0.6, design.uniform(0.1, 0.3)

    def paint(frame: Frame) -> Layer:
        x, y = frame.x, frame.y
        distance = box(x, y, half, half * ratio, half * ratio)
        shade = 1 + np.float32(dome) * frame.bevel(distance, 0.25 * half) + np.float32(0.02) * frame.noise(0.03)
        if score:
            groove = np.clip(1 - np.abs(x) / np.float32(0.035), 0, 1) * np.sign(x)
            shade -= np.float32(0.3) * groove + np.float32(0.12) * np.abs(groove)
        colour = solid(frame, base, shade)
        lay(colour, np.float32(0.5) * ramp(frame.noise(0.035), amount, amount + 0.6), speck)
        return Layer(colour, distance)

    return paint


def capsule(design: Generator) -> Painter:
    """Return the painter of a capsule of two halves, the cap slightly thicker than the body.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    cap, body = plastic(design), hsv(design.random(), design.uniform(0, 0.5), design.uniform(0.7, 0.95))
    half, radius = design.uniform(0.7, 0.86), design.uniform(0.24, 0.34)
    joint = design.uniform(-0.1, 0.2)
    gloss = design.uniform(0.3, 0.8)

    def paint(frame: Frame) -> Layer:
        x, y = frame.x, frame.y
        thicker = np.where(x < np.float32(joint), np.float32(0.012), np.float32(0))
        distance = box(x, y, half, radius, radius) - thicker
        shade = np.float32(1.05) - np.float32(0.5) * (y / np.float32(radius)) ** 2
        shade -= np.float32(0.25) * np.clip(1 - np.abs(x - np.float32(joint + 0.01)) / np.float32(0.02), 0, 1)
        colour = solid(frame, body, 1.0)
        lay(colour, frame.cover(x - np.float32(joint)), cap)
        colour *= shade + np.float32(0.015) * frame.noise(0.1)
        streak = box(x, y + np.float32(0.35 * radius), half - radius, 0.05 * radius, 0.02)
        lay(colour, np.float32(gloss) * (1 - ramp(streak, 0, 0.3 * radius)), (255.0, 255.0, 255.0))
        return Layer(colour, distance)

    return paint


def connector(design: Generator) -> Painter:
    """Return the painter of a plastic connector: one to three rows of pins in a shell with a key.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    shell, pin = plastic(design), metal(design)
    columns, rows = int(design.integers(4, 9)), int(design.choice((1, 2, 2, 3)))
    pitch = 1.45 / columns
    half_width, half_height = columns * pitch / 2 + 0.1, rows * pitch / 2 + 0.13
    size = pitch * design.uniform(0.2, 0.28)
    key = design.uniform(0.1, 0.25)
    floor = 0.55 if luminance(shell) > 60 else 1.5

    def paint(frame: Frame) -> Layer:
        x, y = frame.x, frame.y
        distance = box(x, y, half_width, half_height, 0.05)
        notch = box(x, y - np.float32(half_height), key, 0.07, 0.02)
        distance = np.maximum(distance, -notch)
        shade = 1 + np.float32(0.25) * frame.bevel(distance, 0.05) + np.float32(0.02) * frame.noise(0.03)
        colour = solid(frame, shell, shade)
        inner = box(x, y, half_width - 0.08, half_height - 0.11, 0.03)
        well = np.float32(floor) - np.float32(0.25) * frame.bevel(inner, 0.06)
        lay(colour, frame.cover(inner), solid(frame, shell, well))
        across = repeat(x - np.float32(pitch / 2 * (1 - columns % 2)), pitch)
        up = repeat(y - np.float32(pitch / 2 * (1 - rows % 2)), pitch)
        hole, post = box(across, up, size * 1.5, size * 1.5), box(across, up, size, size, 0.01)
        field = frame.cover(box(x, y, columns * pitch / 2, rows * pitch / 2))
        lay(colour, field * frame.cover(hole), scaled(shell, 0.3))
        lay(colour, field * frame.cover(post), solid(frame, pin, 1 + np.float32(0.4) * frame.bevel(post, size)))
        return Layer(colour, distance)

    return paint


def glass_plate(design: Generator) -> Painter:
    """Return the painter of a tinted glass plate with bevelled edges and a streak of reflected light.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    tint = hsv(design.uniform(0.3, 0.65), design.uniform(0.05, 0.25), design.uniform(0.35, 0.9))
    half_width, half_height = design.uniform(0.6, 0.85), design.uniform(0.5, 0.85)
    angle, place = design.uniform(0.5, 1.1), design.uniform(-0.4, 0.4)
    corner, bevel = design.uniform(0.02, 0.15), design.uniform(0.04, 0.09)
    glare = design.uniform(0.08, 0.2)

    def paint(frame: Frame) -> Layer:
        distance = box(frame.x, frame.y, half_width, half_height, corner)
        shade = 1 + np.float32(0.015) * frame.noise(0.5)
        edge = ramp(distance, -bevel, -bevel + 0.02)
        shade += edge * (np.float32(0.12) + np.float32(0.3) * frame.bevel(distance, 3 * bevel))
        colour = solid(frame, tint, shade)
        _, v = frame.turned(angle)
        v = v + np.float32(place + frame.rng.uniform(-0.05, 0.05))
        streak = ramp(-np.abs(v), -0.22, -0.18) + np.float32(0.6) * ramp(-np.abs(v - np.float32(0.42)), -0.1, -0.07)
        lay(colour, np.float32(glare) * streak * (1 - edge), (255.0, 255.0, 255.0))
        return Layer(colour, distance)

    return paint
