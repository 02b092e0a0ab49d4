"""Overlay pictures: the photo, what is suspicious in it, and the verdict, for a person to look at.

The heat colours rise in lightness as well as in hue (from nothing over orange to yellow), the outlines are
dark within light, and the verdict is a word: nothing depends on telling red from green.
"""

from __future__ import annotations

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from .detector import Inspection
from .preprocess import Array8
from .scoring import Floats

_STOPS = np.array([0.0, 0.5, 1.0])
_COLOURS = np.array([[125, 30, 110], [235, 100, 40], [255, 225, 90]], np.float32)
_BANNER = {"good": (0, 90, 160), "reject": (200, 80, 0)}
LONGEST_SIDE = 1024
"""Larger photos are shown smaller."""


def draw_overlay(frame: Array8, inspection: Inspection) -> Image.Image:
    """Frame uint8 RGB [H,W,3] and its inspection → a picture at most LONGEST_SIDE on its longer side."""
    scale = min(1.0, LONGEST_SIDE / max(frame.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in frame.shape[:2])
    photo = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
    extent = inspection.extent
    corner = round(extent.x * scale), round(extent.y * scale)
    part = max(1, round(extent.width * scale)), max(1, round(extent.height * scale))
    colour, alpha = heat(inspection.map, inspection.thresholds.pixel)
    photo.paste(
        Image.fromarray(colour).resize(part, Image.Resampling.BILINEAR),
        corner,
        Image.fromarray(alpha).resize(part, Image.Resampling.BILINEAR),
    )
    draw = ImageDraw.Draw(photo)
    for region in inspection.regions:
        box = region.box
        edges = [scale * v for v in (box.x, box.y, box.x + box.width, box.y + box.height)]
        draw.rectangle(edges, outline=(255, 255, 255), width=3)
        draw.rectangle([edges[0] + 1, edges[1] + 1, edges[2] - 1, edges[3] - 1], outline=(0, 0, 0), width=1)
    return _with_banner(photo, inspection)


def heat(scores: Floats, threshold: float) -> tuple[Array8, Array8]:
    """Colour uint8 [H,W,3] and opacity uint8 [H,W] of a map: nothing below half the threshold, full at twice."""
    level = np.clip(np.log2(np.maximum(scores, 1e-9) / threshold) / 2.0 + 0.5, 0.0, 1.0)
    colour = np.stack([np.interp(level, _STOPS, channel) for channel in _COLOURS.T], axis=-1)
    return colour.astype(np.uint8), (level * 190).astype(np.uint8)


def _with_banner(photo: Image.Image, inspection: Inspection) -> Image.Image:
    font = ImageFont.load_default(size=max(12, photo.width // 28))
    text = (
        f"{inspection.verdict.upper()}  {inspection.calibrated:.2f}"
        f"   (score {inspection.score:.3g}, threshold {inspection.threshold:.3g})"
    )
    _, top, _, bottom = font.getbbox(text)
    pad = max(4, photo.width // 100)
    band = round(bottom - top) + 2 * pad
    framed = Image.new("RGB", (photo.width, photo.height + band), _BANNER[inspection.verdict])
    framed.paste(photo, (0, band))
    ImageDraw.Draw(framed).text((pad, pad - top), text, fill=(255, 255, 255), font=font)
    return framed
