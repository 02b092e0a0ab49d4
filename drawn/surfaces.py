"""Surfaces that fill the picture and look like photographs of materials rather than like drawings.

A function draws the design that a product's pieces share, and returns the painter of one piece, as in textures.py. Most
functions shape noise by its spectrum, because photographs of rough surfaces have similar spectra.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import Generator

from .canvas import Colour, Frame, Layer, Painter, Plane, hsv, lay, metal, plastic, ramp, repeat, scaled, solid


def spectral_noise(
    frame: Frame, slope: float, finest: float, coarsest: float, stretch: float = 1.0, angle: float = 0.0
) -> Plane:
    """Return noise [H,W] of zero mean and unit spread, its amplitude proportional to frequency to the power −`slope`.

    Args:
        frame: The picture; its generator draws the noise.
        slope: 0 for white noise, 1 for 1/f, 2 for clouds.
        finest: The shortest wavelength, in units.
        coarsest: The longest wavelength, in units.
        stretch: The ratio of the features' length in direction `angle` to their width.
        angle: The direction, in radians of the picture.
    """
    height, width = frame.shape
    down = np.fft.fftfreq(height).astype(np.float32)[:, None]
    across = np.fft.rfftfreq(width).astype(np.float32)[None, :]
    c, s = np.float32(math.cos(angle)), np.float32(math.sin(angle))
    along, beside = (c * across + s * down) * np.float32(stretch), c * down - s * across
    frequency = np.sqrt(along * along + beside * beside) + np.float32(1e-6)
    low, high = frame.px / coarsest, frame.px / max(finest, 1.5 * frame.px)
    amplitude = np.maximum(frequency, low) ** np.float32(-slope) * np.exp(-((frequency / np.float32(high)) ** 2) / 2)
    amplitude *= 1 - np.exp(-((frequency / np.float32(low)) ** 2))
    noise = np.fft.irfft2(np.fft.rfft2(frame.grain()) * amplitude, s=(height, width)).astype(np.float32)
    result: Plane = (noise - noise.mean()) / (noise.std() + np.float32(1e-6))
    return result


def tinted(height: Plane, dark: Colour, bright: Colour) -> Plane:
    """Return colours [3,H,W] between two, chosen by a height.

    Args:
        height: [H,W]; −2 gives `dark` and 2 gives `bright`.
        dark: The colour of low places.
        bright: The colour of high places.
    """
    share = np.clip(np.float32(0.5) + np.float32(0.25) * height, -0.2, 1.2)
    low, high = (np.asarray(colour, np.float32)[:, None, None] for colour in (dark, bright))
    return np.asarray(low + share * (high - low), np.float32)


def _two_tones(design: Generator, contrast: tuple[float, float]) -> tuple[Colour, Colour]:
    """Return a darker and a brighter tone of one material; half of the materials are grey."""
    value, spread = design.uniform(0.15, 0.85), design.uniform(*contrast)
    if design.random() < 0.5:
        hue, saturation = design.random(), design.uniform(0, 0.06)
    else:
        hue, saturation = design.choice((design.uniform(0.02, 0.14), design.random())), design.uniform(0.1, 0.7)
    low, high = max(value - spread / 2, 0.03), min(value + spread / 2, 0.97)
    return hsv(hue, saturation, low), hsv(
        hue + design.uniform(-0.03, 0.03), saturation * design.uniform(0.6, 1.1), high
    )


def stone(design: Generator) -> Painter:
    """Return the painter of coloured noise of any spectrum, sometimes stretched: stone, plaster, paper, rubber, foam.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    dark, bright = _two_tones(design, (0.08, 0.5))
    slope, finest, coarsest = design.uniform(0.2, 1.8), design.uniform(0.008, 0.06), design.uniform(0.1, 1.2)
    stretch = design.choice((1.0, 1.0, design.uniform(1.5, 8)))
    angle, fine, bend = design.uniform(0, math.pi), design.uniform(0.0, 0.05), design.uniform(0.7, 1.6)

    def paint(frame: Frame) -> Layer:
        height = spectral_noise(frame, slope, finest, coarsest, stretch, angle)
        height = np.sign(height) * np.abs(height) ** np.float32(bend)
        return Layer(tinted(height, dark, bright) * (1 + np.float32(fine) * frame.grain()), None)

    return paint


def cast_metal(design: Generator) -> Painter:
    """Return the painter of a rough relief under a slanting light, with pores.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base = metal(design)
    slope, finest, coarsest = design.uniform(0.6, 1.5), design.uniform(0.01, 0.03), design.uniform(0.08, 0.4)
    depth, pores, grain = design.uniform(0.05, 0.25), design.uniform(1.8, 3.0), design.uniform(0.01, 0.06)

    def paint(frame: Frame) -> Layer:
        height = spectral_noise(frame, slope, finest, coarsest)
        relief = frame.slope(height)
        shade = 1 + np.float32(depth) * relief / (relief.std() + np.float32(1e-6))
        shade -= np.float32(0.3) * ramp(-height, pores, pores + 0.6)
        return Layer(solid(frame, base, np.clip(shade + np.float32(grain) * frame.grain(), 0.1, 2)), None)

    return paint


def ground_metal(design: Generator) -> Painter:
    """Return the painter of short grinding marks in one direction, with cloudy reflections across them.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    dark, bright = _two_tones(design, (0.06, 0.3))
    angle, stretch = design.uniform(0, math.pi), design.uniform(6, 40)
    finest, clouds = design.uniform(0.006, 0.015), design.uniform(0.0, 0.8)

    def paint(frame: Frame) -> Layer:
        marks = spectral_noise(frame, slope_of_marks, finest, 0.3, stretch, angle)
        marks += np.float32(clouds) * spectral_noise(frame, 1.5, 0.2, 1.5)
        return Layer(tinted(marks, dark, bright), None)

    slope_of_marks = design.uniform(0.2, 0.9)
    return paint


def crystals(design: Generator) -> Painter:
    """Return the painter of grains with sharp borders that differ slightly in brightness.

    They look like galvanised sheet, cast silicon or broken glass.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    dark, bright = _two_tones(design, (0.1, 0.45))
    count = int(design.integers(30, 400))
    seam, fine = design.uniform(-0.4, 0.3), design.uniform(0.0, 0.04)
    stretch = design.uniform(1, 3)

    def paint(frame: Frame) -> Layer:
        height, width = frame.shape
        points = frame.rng.uniform(-0.1, 1.1, (count, 2)).astype(np.float32)
        down = np.linspace(0, 1, height, dtype=np.float32)[:, None]
        across = np.linspace(0, 1, width, dtype=np.float32)[None, :]
        warp = np.float32(0.02) * spectral_noise(frame, 1.2, 0.05, 0.5)
        nearest, second = np.full((2, height, width), np.inf, np.float32)
        owner = np.zeros((height, width), np.int32)
        for number, (x, y) in enumerate(points):
            away = (across + warp - x) ** 2 + (np.float32(stretch) * (down + warp - y)) ** 2
            closer = away < nearest
            second = np.where(closer, nearest, np.minimum(second, away))
            owner = np.where(closer, number, owner)
            nearest = np.where(closer, away, nearest)
        tones = frame.rng.standard_normal(count).astype(np.float32)[owner]
        border = np.exp(-(((np.sqrt(second) - np.sqrt(nearest)) * np.float32(height / 1.5)) ** 2))
        colour = tinted(tones, dark, bright) * (1 + np.float32(seam) * border)
        return Layer(colour * (1 + np.float32(fine) * frame.grain()), None)

    return paint


def ribs(design: Generator) -> Painter:
    """Return the painter of a profile that repeats in one direction: corrugated sheet, threads, seams, barred panels.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    dark, bright = _two_tones(design, (0.15, 0.6))
    pitch, angle = design.uniform(0.05, 0.6), design.choice((0.0, math.pi / 2, design.uniform(0, math.pi)))
    angle += design.uniform(-0.05, 0.05)
    waves = design.normal(0, 1, 4) / np.arange(1, 5), design.uniform(0, 2 * math.pi, 4)
    sharp, rough = design.uniform(0.6, 4), design.uniform(0.05, 0.5)
    slope, wander = design.uniform(0.3, 1.4), design.uniform(0, 0.06)

    def paint(frame: Frame) -> Layer:
        _, across = frame.turned(angle)
        start = frame.rng.uniform(0, pitch)
        phase = (across + np.float32(start + wander * frame.rng.normal())) * np.float32(2 * math.pi / pitch)
        profile = np.zeros(frame.shape, np.float32)
        for number, (size, shift) in enumerate(zip(*waves, strict=True), start=1):
            profile += np.float32(size) * np.sin(np.float32(number) * phase + np.float32(shift))
        profile = np.tanh(np.float32(sharp) * profile) * np.float32(1.3)
        return Layer(tinted(profile + np.float32(rough) * spectral_noise(frame, slope, 0.01, 0.4), dark, bright), None)

    return paint


def lattice(design: Generator) -> Painter:
    """Return the painter of a motif that repeats in two directions: perforated sheet, knurls, netting, studs.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    dark, bright = _two_tones(design, (0.2, 0.7))
    pitch, angle = design.uniform(0.1, 0.4), design.uniform(0, math.pi / 2)
    skew, roundness = design.choice((0.0, 0.5)), design.uniform(1.0, 4.0)
    radius, soft = design.uniform(0.2, 0.42), design.uniform(0.04, 0.25)
    rough, sign = design.uniform(0.03, 0.4), design.choice((-1, 1))

    def paint(frame: Frame) -> Layer:
        u, v = frame.turned(angle)
        u, v = (axis / np.float32(pitch) + np.float32(frame.rng.uniform(0, 1)) for axis in (u, v))
        u = u + np.float32(skew) * np.round(v)
        du, dv = np.abs(repeat(u, 1.0)), np.abs(repeat(v, 1.0))
        away = (du ** np.float32(roundness) + dv ** np.float32(roundness) + np.float32(1e-6)) ** np.float32(
            1 / roundness
        )
        motif = np.float32(sign) * (1 - 2 * ramp(away, radius - soft, radius + soft))
        relief = frame.slope(motif)
        height = np.float32(1.2) * motif + np.float32(0.4) * relief / (relief.std() + np.float32(1e-6))
        return Layer(tinted(height + np.float32(rough) * spectral_noise(frame, 0.8, 0.01, 0.3), dark, bright), None)

    return paint


def marble(design: Generator) -> Painter:
    """Return the painter of bands bent by noise, with sharp veins.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    dark, bright = _two_tones(design, (0.15, 0.6))
    pitch, angle, bend = design.uniform(0.2, 1.0), design.uniform(0, math.pi), design.uniform(0.3, 1.5)
    veins, rough = design.uniform(0.5, 2.0), design.uniform(0.05, 0.3)

    def paint(frame: Frame) -> Layer:
        _, across = frame.turned(angle)
        bent = across / np.float32(pitch) + np.float32(bend) * spectral_noise(frame, 1.8, 0.02, 1.0)
        wave = np.sin(np.float32(2 * math.pi) * bent)
        height = wave - np.float32(veins) * np.exp(-((wave * 8) ** 2))
        return Layer(tinted(height + np.float32(rough) * spectral_noise(frame, 0.6, 0.01, 0.2), dark, bright), None)

    return paint


def speckle(design: Generator) -> Painter:
    """Return the painter of spots of several sizes on a ground: granite, recycled plastic, sprayed paint, crumb.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    ground = plastic(design)
    spots = [
        (plastic(design), design.uniform(0.015, 0.12), design.uniform(0.6, 1.8))
        for _ in range(int(design.integers(1, 4)))
    ]
    soft, fine = design.uniform(0.1, 0.6), design.uniform(0.0, 0.05)

    def paint(frame: Frame) -> Layer:
        colour = solid(frame, ground, 1 + np.float32(fine) * frame.grain())
        for tone, cell, limit in spots:
            lay(colour, ramp(spectral_noise(frame, 0.3, cell, 3 * cell), limit - soft, limit + soft), tone)
        return Layer(colour, None)

    return paint


def turned_metal(design: Generator) -> Painter:
    """Return the painter of concentric turning marks and the bright sectors that a lamp makes on them.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base = metal(design)
    centre = design.uniform(-1.5, 1.5, 2)
    rings, depth = design.uniform(0.008, 0.03), design.uniform(0.04, 0.15)
    sectors, gloss = int(design.integers(1, 4)), design.uniform(0.1, 0.4)

    def paint(frame: Frame) -> Layer:
        x, y = frame.x - np.float32(centre[0]), frame.y - np.float32(centre[1])
        radius, theta = np.hypot(x, y), np.arctan2(y, x)
        profile = frame.rng.standard_normal(4096).astype(np.float32)
        place = radius / np.float32(max(rings, 1.2 * frame.px))
        low = place.astype(np.int32) & 4095
        share = place - np.floor(place)
        marks = profile[low] * (1 - share) + profile[(low + 1) & 4095] * share
        shade = 1 + np.float32(depth) * marks
        shade += np.float32(gloss) * np.cos(np.float32(sectors) * (theta - np.float32(math.atan2(*frame.light[::-1]))))
        return Layer(solid(frame, base, shade + np.float32(0.03) * spectral_noise(frame, 1.0, 0.02, 0.5)), None)

    return paint


def paint_coat(design: Generator) -> Painter:
    """Return the painter of a smooth, slightly wavy coat with soft reflections.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    base = plastic(design)
    waves, cell, gloss = design.uniform(0.005, 0.06), design.uniform(0.03, 0.2), design.uniform(0.0, 0.35)
    centre, width, grain = design.uniform(-1, 1, 2), design.uniform(0.3, 1.2), design.uniform(0.0, 0.03)

    def paint(frame: Frame) -> Layer:
        relief = frame.slope(spectral_noise(frame, 1.0, cell, 3 * cell))
        shade = 1 + np.float32(waves) * relief / (relief.std() + np.float32(1e-6))
        x, y = frame.x - np.float32(centre[0]), frame.y - np.float32(centre[1])
        shine = np.exp(-(x * x + y * y) / np.float32(width**2))
        colour = solid(frame, base, shade + np.float32(grain) * frame.grain())
        colour += np.float32(255 * gloss) * shine
        return Layer(colour, None)

    return paint


def fibres(design: Generator) -> Painter:
    """Return the painter of layers of short strands in many directions: felt, paper, chipboard, carbon mat.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    dark, bright = _two_tones(design, (0.15, 0.5))
    spread, main = design.uniform(0.1, math.pi / 2), design.uniform(0, math.pi)
    layers, finest = int(design.integers(3, 7)), design.uniform(0.01, 0.04)
    stretch = design.uniform(4, 14)

    def paint(frame: Frame) -> Layer:
        height = np.full(frame.shape, -9.0, np.float32)
        for angle in main + frame.rng.uniform(-spread, spread, layers):
            height = np.maximum(height, spectral_noise(frame, 0.3, finest, 5 * finest, stretch, angle))
        height = (height - height.mean()) / height.std()
        return Layer(tinted(height, dark, bright), None)

    return paint


def weave(design: Generator) -> Painter:
    """Return the painter of interlaced bands seen from near: canvas, belt webbing, glass cloth.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    warp, weft = plastic(design), plastic(design)
    if design.random() < 0.6:
        weft = scaled(warp, design.uniform(0.75, 1.2))
    pitch, angle = design.uniform(0.06, 0.3), design.uniform(0, math.pi)
    strands, depth, rough = int(design.integers(2, 5)), design.uniform(0.3, 0.8), design.uniform(0.03, 0.15)

    def paint(frame: Frame) -> Layer:
        u, v = frame.turned(angle)
        u, v = (
            axis / np.float32(pitch)
            + np.float32(frame.rng.uniform(0, 9))
            + np.float32(0.06) * spectral_noise(frame, 1.5, 0.05, 1)
            for axis in (u, v)
        )
        on_top = np.mod(np.floor(u) + np.floor(v), 2) < 0.5
        s, t = repeat(u - np.float32(0.5), 1.0), repeat(v - np.float32(0.5), 1.0)
        across, along = np.where(on_top, s, t), np.where(on_top, t, s)
        shade = 1 - np.float32(depth) * (2 * along) ** 2 * np.float32(0.6)
        shade += np.float32(0.12) * np.cos(np.float32(2 * math.pi * strands) * across)
        colour = solid(frame, weft, 1.0)
        lay(colour, on_top.astype(np.float32), warp)
        return Layer(colour * (shade + np.float32(rough) * spectral_noise(frame, 0.5, 0.01, 0.1)), None)

    return paint


def print_sheet(design: Generator) -> Painter:
    """Return the painter of a printed label: rows of marks, bars, boxes and discs; the design places them.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    ground, inks = plastic(design), [plastic(design) for _ in range(3)]
    shapes = [
        (
            design.uniform(-1, 1, 2),
            design.uniform(0.05, 0.5),
            design.uniform(0.03, 0.25),
            int(design.integers(3)),
            design.random(),
        )
        for _ in range(int(design.integers(4, 14)))
    ]
    rows = [(design.uniform(-1, 1), design.uniform(0.03, 0.09), int(design.integers(3)), int(design.integers(1 << 16)))
            for _ in range(int(design.integers(0, 7)))]  # fmt: skip
    rough = design.uniform(0.01, 0.06)

    def paint(frame: Frame) -> Layer:
        colour = solid(frame, ground, 1 + np.float32(rough) * spectral_noise(frame, 0.8, 0.01, 0.5))
        for (x, y), half_width, half_height, ink, shape in shapes:
            dx, dy = np.abs(frame.x - np.float32(x)), np.abs(frame.y - np.float32(y))
            if shape < 0.6:
                away = np.maximum(dx - np.float32(half_width), dy - np.float32(half_height))
            else:
                away = np.hypot(dx, dy) - np.float32(half_width)
                away = np.abs(away) - np.float32(0.02) if shape > 0.8 else away
            lay(colour, frame.cover(away), inks[ink])
        for y, size, ink, code in rows:
            column = np.floor((frame.x + 1) / np.float32(0.45 * size)).astype(np.int64)
            line_row = np.floor((frame.y - np.float32(y)) / np.float32(0.22 * size)).astype(np.int64)
            bits = (column * 2654435761 + line_row * 40503 + code) >> 7
            inside = (np.abs(frame.y - np.float32(y)) < size * 0.55) & (column % 7 != 0)
            lay(colour, (inside & ((bits & 1) == 1)).astype(np.float32), inks[ink])
        return Layer(colour, None)

    return paint


def assembly(design: Generator) -> Painter:
    """Return the painter of plates, bosses, bores and slots with bevelled edges on a rough ground.

    The design places them.

    Args:
        design: The source of randomness for the design that the product's pieces share.
    """
    tones = [metal(design) if design.random() < 0.6 else plastic(design) for _ in range(3)]
    parts = [
        (design.uniform(-0.95, 0.95, 2), design.uniform(0.06, 0.45), design.uniform(0.3, 1.0), design.random(),
         design.uniform(0, math.pi) if design.random() < 0.3 else 0.0, int(design.integers(3)))
        for _ in range(int(design.integers(4, 12)))
    ]  # fmt: skip
    rough, slope = design.uniform(0.01, 0.1), design.uniform(0.3, 1.4)

    def paint(frame: Frame) -> Layer:
        shade = 1 + np.float32(rough) * spectral_noise(frame, slope, 0.01, 0.5)
        colour = solid(frame, tones[0], shade)
        for (x, y), size, ratio, shape, turn, tone in parts:
            c, s = np.float32(math.cos(turn)), np.float32(math.sin(turn))
            x0, y0 = frame.x - np.float32(x), frame.y - np.float32(y)
            dx, dy = np.abs(c * x0 + s * y0), np.abs(c * y0 - s * x0)
            if shape < 0.5:
                away = np.hypot(dx, dy) - np.float32(size)
            else:
                away = np.maximum(dx - np.float32(size), dy - np.float32(size * ratio))
            if 0.25 < shape < 0.4:
                away = np.abs(away) - np.float32(0.25 * size)
            dropped = 1 - np.float32(0.5) * (1 - ramp(away, 0, 0.05))
            colour *= np.where(away > 0, dropped, 1)
            over = solid(frame, tones[tone], shade * (1 + np.float32(0.5) * frame.bevel(away, 0.05)))
            lay(colour, frame.cover(away), over * np.float32(0.35 if shape < 0.1 else 1.0))
        return Layer(colour, None)

    return paint


def skinned(painter: Painter, skin: Painter, strength: float) -> Painter:
    """Return a painter whose part has the relief of a surface.

    The part's brightness is multiplied by the surface's.

    Args:
        painter: The painter of the part.
        skin: The painter of the surface.
        strength: The power of the surface's brightness: 0 for no relief, 1 for all of it.
    """

    def paint(frame: Frame) -> Layer:
        layer = painter(frame)
        return Layer(layer.colour * relief_of(skin(frame).colour, strength), layer.distance)

    return paint


def relief_of(colour: Plane, strength: float) -> Plane:
    """Return each pixel's brightness divided by the surface's mean brightness, [H,W], 0.2 to 3 before the power.

    Args:
        colour: The surface, [3,H,W].
        strength: The power to which that ratio is raised.
    """
    brightness = np.maximum(colour.mean(axis=0), 4.0)
    result: Plane = np.clip(brightness / brightness.mean(), 0.2, 3.0) ** np.float32(strength)
    return result
