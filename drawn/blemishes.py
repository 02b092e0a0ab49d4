"""More defects, for surfaces that look like photographs: faint, soft or large ones that defects.py does not have.

Each function changes a site's colour in place, as the functions of defects.py do. These defects are not in
defects.BY_NAME, because drawn parts take their defects from that table in turn: every measurement on drawn parts
depends on its order.
"""

from __future__ import annotations

import math

import numpy as np
from PIL import Image, ImageFilter

from .canvas import Plane, lay, luminance, ramp, scaled
from .defects import Defect, _jagged, _shard
from .sites import Site, moved, shifted


def _axes(site: Site) -> tuple[Plane, Plane]:
    """Return coordinates [H,W] along and across the defect, in units of half its extent."""
    x, y = site.coordinates
    c, s, half = np.float32(math.cos(site.angle)), np.float32(math.sin(site.angle)), np.float32(0.5 * site.extent)
    return (c * x + s * y) / half, (c * y - s * x) / half


def _blob(site: Site, soft: float, stretch: tuple[float, float] = (1.0, 2.0)) -> Plane:
    """Return a mask [H,W], 0 to 1: an uneven oval as long as the extent, with an edge of this softness."""
    u, v = _axes(site)
    away = np.hypot(u, v * np.float32(site.rng.uniform(*stretch)))
    away = away + np.float32(0.12) * site.lumps(0.25 * site.extent + 1)
    return 1 - ramp(away.astype(np.float32), 1 - soft, 1.0)


def dent(site: Site) -> None:
    """Draw a smooth hollow or bump: one flank catches the light, the other lies in the shade.

    Args:
        site: Where to draw; its colour changes in place.
    """
    u, v = _axes(site)
    ratio = np.float32(site.rng.uniform(1.0, 2.5))
    near = np.clip(1 - u * u - (v * ratio) ** 2, 0, 1)
    lamp_along = site.light[0] * math.cos(site.angle) + site.light[1] * math.sin(site.angle)
    lamp_across = site.light[1] * math.cos(site.angle) - site.light[0] * math.sin(site.angle)
    flank = near * (u * np.float32(lamp_along) + v * ratio * np.float32(lamp_across))
    strength = np.float32(site.rng.choice((-1, 1)) * site.rng.uniform(1.0, 2.2))
    site.colour[:] = site.colour * np.clip(1 + strength * flank, 0.3, 1.9) + 40 * np.clip(strength * flank, -0.3, 0.8)


def smear(site: Site) -> None:
    """Blur the surface's texture within a soft patch, and shift its tone a little.

    Args:
        site: Where to draw; its colour changes in place.
    """
    blob = _blob(site, site.rng.uniform(0.2, 0.6))
    picture = Image.fromarray(np.clip(site.colour, 0, 255).astype(np.uint8).transpose(1, 2, 0))
    wiped = picture.filter(ImageFilter.GaussianBlur(max(2.0, 0.12 * site.extent)))
    smooth = np.asarray(wiped, np.float32).transpose(2, 0, 1) + np.float32(site.rng.uniform(-25, 25))
    lay(site.colour, blob, smooth)


def pores(site: Site) -> None:
    """Draw a group of small dark pits, each with a lit far edge.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng, tone = site.rng, site.tone
    count = int(rng.integers(3, 18))
    places = rng.normal(0, 0.22, (count, 2)) * site.extent + site.centre
    sizes = site.detail * rng.uniform(0.6, 1.0 + 0.05 * site.extent / site.detail, count)
    turns = np.arange(8) * (math.pi / 4)
    ring = np.stack([np.cos(turns), np.sin(turns)], axis=1)
    outlines = [place + ring * size for place, size in zip(places, sizes, strict=True)]
    bank = site.filled(*(moved(outline, site.light, -0.7 * site.detail) for outline in outlines), blur=0.4)
    lay(site.colour, np.float32(0.5) * bank, shifted(tone, 60))
    inside = scaled(tone, rng.uniform(0.1, 0.4)) if luminance(tone) > 50 else shifted(tone, 80)
    lay(site.colour, site.filled(*outlines, blur=0.4), inside)


def drop(site: Site) -> None:
    """Draw a clear or coloured drop of glue, oil or water: darker at its edge, with a highlight.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng = site.rng
    blob = _blob(site, 0.12, (1.0, 1.6))
    u, v = _axes(site)
    away = np.hypot(u, v)
    tint = np.asarray([rng.uniform(0.6, 1.1) for _ in range(3)], np.float32)[:, None, None]
    inside = site.colour * tint * (np.float32(1.1) - np.float32(0.5) * ramp(away, 0.5, 1.0))
    lay(site.colour, blob, inside)
    x, y = site.coordinates
    reach = np.float32(0.22 * site.extent)
    shine = np.exp(-((x - site.light[0] * reach) ** 2 + (y - site.light[1] * reach) ** 2) / (0.3 * reach) ** 2)
    lay(site.colour, blob * np.asarray(shine, np.float32) * np.float32(0.9), (255.0, 255.0, 255.0))


def burn(site: Site) -> None:
    """Draw a dark, soft spot that is blackest in the middle and brownish around it.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng = site.rng
    blob = _blob(site, rng.uniform(0.6, 0.95))
    lay(site.colour, np.float32(0.7) * blob, scaled((90.0, 60.0, 35.0), rng.uniform(0.5, 1.2)))
    lay(site.colour, np.float32(rng.uniform(0.5, 0.9)) * blob**2, (18.0, 15.0, 13.0))


def fade(site: Site) -> None:
    """Make the surface brighter, darker or of another tint within a patch; its texture stays.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng = site.rng
    blob = _blob(site, rng.uniform(0.1, 0.9))
    by = rng.choice((-1, 1)) * rng.uniform(0.2, 0.45)
    gain = 1 + by * rng.uniform(0.6, 1.2, 3)
    site.colour *= 1 + blob * (np.asarray(gain, np.float32)[:, None, None] - 1)
    site.colour += blob * np.float32(25 * math.copysign(1, by))


def cut(site: Site) -> None:
    """Draw a straight, thin slit with raised lips.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng, tone = site.rng, site.tone
    t = np.linspace(-0.5, 0.5, 12)
    direction = np.array([math.cos(site.angle), math.sin(site.angle)])
    path = site.fit(t[:, None] * direction + rng.normal(0, 0.004, (12, 2)))
    width = site.detail * rng.uniform(0.7, 1.8) * np.clip(5 * (0.5 - np.abs(t)), 0.2, 1)
    side = -math.sin(site.angle), math.cos(site.angle)
    for sign in (-1, 1):
        lips = site.stroke(moved(path, side, sign * (width.max() / 2 + 0.6 * site.detail)), width)
        lay(site.colour, np.float32(0.6) * lips, shifted(tone, sign * rng.uniform(30, 80)))
    lay(site.colour, site.stroke(path, width), scaled(tone, 0.15) if luminance(tone) > 60 else shifted(tone, 90))


def crease(site: Site) -> None:
    """Draw a long soft fold: a bright band beside a dark one.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng = site.rng
    u, v = _axes(site)
    bow = v - np.float32(rng.uniform(-0.3, 0.3)) * (u * u - 1) + np.float32(0.03) * site.lumps(0.3 * site.extent + 1)
    width = np.float32(max(rng.uniform(0.04, 0.12), 3 * site.detail / site.extent))
    along = np.clip(1 - u * u, 0, 1) ** np.float32(0.5)
    fold = np.asarray(along * (bow / width) * np.exp(-((bow / width) ** 2)), np.float32)
    by = np.float32(rng.choice((-1, 1)) * rng.uniform(0.7, 1.5))
    site.colour[:] = site.colour * np.clip(1 + by * fold, 0.3, 1.8) + 45 * by * fold


def rust(site: Site) -> None:
    """Draw ragged spots of another substance: rust, mould, scale, lime.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng = site.rng
    u, v = _axes(site)
    field = np.float32(0.9) * site.lumps(0.12 * site.extent + 1) + np.float32(0.5) * site.lumps(0.04 * site.extent + 1)
    ragged = ramp(np.asarray(field + np.float32(1.6) - np.float32(2.2) * np.hypot(u, v), np.float32), 0.0, 0.5)
    substances = (150.0, 80.0, 35.0), (95.0, 50.0, 25.0), (215.0, 210.0, 195.0), (70.0, 90.0, 70.0), (40.0, 40.0, 42.0)
    tone = np.asarray(site.other_colour(60, *substances), np.float32)[:, None, None]
    grain = 1 + np.float32(0.15) * site.lumps(1.5)
    lay(site.colour, ragged * np.float32(rng.uniform(0.6, 0.95)), tone * grain)


def scuff(site: Site) -> None:
    """Draw many short, thin, nearly parallel strokes of low contrast.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng, tone = site.rng, site.tone
    by = rng.choice((-1, 1)) * rng.uniform(35, 90)
    lines: Plane = np.zeros_like(site.cover)
    for _ in range(int(rng.integers(6, 22))):
        angle, length = site.angle + rng.normal(0, 0.12), rng.uniform(0.3, 0.8) * site.extent
        middle = np.array(site.centre) + rng.uniform(-0.3, 0.3, 2) * site.extent
        ahead = np.array([math.cos(angle), math.sin(angle)]) * length / 2
        points = np.linspace(middle - ahead, middle + ahead, 6)
        lines = np.maximum(lines, site.stroke(points, site.detail * rng.uniform(0.5, 1.2), uneven=0.6))
    lay(site.colour, lines * np.float32(rng.uniform(0.4, 0.9)), shifted(tone, by))


def misweave(site: Site) -> None:
    """Turn a patch of the surface by one to three quarters, and shift it.

    Args:
        site: Where to draw; its colour changes in place.
    """
    outline = site.fit(_shard(site.rng, int(site.rng.integers(4, 9)), 0.2))
    patch = site.filled(outline, blur=0.4 * site.detail)
    side = min(site.cover.shape)
    turned = site.colour.copy()
    square = turned[:, :side, :side]
    turned[:, :side, :side] = np.rot90(square, int(site.rng.integers(1, 4)), (1, 2))
    shift = int(site.rng.integers(1, max(2, side // 3)))
    lay(site.colour, patch, np.roll(turned, (shift, shift), (1, 2)) * np.float32(site.rng.uniform(0.85, 1.15)))


def slip(site: Site) -> None:
    """Push a strip of the surface along itself, so that lines across it break.

    Args:
        site: Where to draw; its colour changes in place.
    """
    u, v = _axes(site)
    strip = ((np.abs(u) < 1) & (np.abs(v) < np.float32(site.rng.uniform(0.15, 0.45)))).astype(np.float32)
    push = (0.1 + 0.25 * site.rng.random()) * site.extent + 2 * site.detail
    pushed = np.roll(site.colour, (round(push * math.sin(site.angle)), round(push * math.cos(site.angle))), axis=(1, 2))
    lay(site.colour, strip, pushed * np.float32(site.rng.uniform(0.8, 1.2)))


def fray(site: Site) -> None:
    """Draw fine broken strands that stick out in all directions from a torn place.

    Args:
        site: Where to draw; its colour changes in place.
    """
    rng, tone = site.rng, site.tone
    tint = shifted(tone, float(rng.choice((-1, 1)) * rng.uniform(50, 110)))
    core = site.filled(_shard(rng, 8, 0.35) * (0.2 * site.extent) + np.array(site.centre), blur=0.5)
    lay(site.colour, np.float32(0.7) * core, scaled(tone, 0.45))
    for _ in range(int(rng.integers(6, 18))):
        turn = rng.uniform(0, 2 * math.pi)
        tip = np.array(site.centre) + np.array([math.cos(turn), math.sin(turn)]) * site.extent * rng.uniform(0.25, 0.5)
        strand = _jagged(np.array(site.centre), tip, 0.12, rng)
        lay(site.colour, site.stroke(strand, site.detail * rng.uniform(0.5, 1.0)), tint)


BLEMISHES: dict[str, Defect] = {
    "dent": Defect(dent, "inside", (0.08, 0.3)),
    "smear": Defect(smear, "inside", (0.12, 0.4)),
    "pores": Defect(pores, "inside", (0.06, 0.25)),
    "drop": Defect(drop, "inside", (0.06, 0.25)),
    "burn": Defect(burn, "inside", (0.08, 0.3)),
    "fading": Defect(fade, "inside", (0.12, 0.4)),
    "cut": Defect(cut, "along", (0.08, 0.3)),
    "crease": Defect(crease, "along", (0.15, 0.4)),
    "rust": Defect(rust, "inside", (0.06, 0.3)),
    "scuff": Defect(scuff, "along", (0.1, 0.3)),
    "misweave": Defect(misweave, "inside", (0.1, 0.3)),
    "slip": Defect(slip, "inside", (0.12, 0.35)),
    "fray": Defect(fray, "edge", (0.08, 0.25)),
}
