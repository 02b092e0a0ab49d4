"""Draws pictures for people: the photo with its heat-map, the outlines of its defects, and the verdict.

Nobody needs to distinguish red from green: the heat colours (violet, orange, yellow) differ in lightness as well as in
hue, outlines are white with a black edge, and the verdict is a word.
"""

from __future__ import annotations

import io
import math
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont, PngImagePlugin

from .core.image_files import MARK
from .core.preprocess import Array8
from .core.scoring import Floats
from .inspection import Inspection, format_score
from .recipe.header import Verdict

_STOPS = np.array([0.0, 0.5, 1.0])
_COLOURS = np.array([[110, 30, 140], [240, 110, 40], [255, 235, 110]], np.float32)
_RAMP = np.stack([np.interp(np.linspace(0, 1, 1024), _STOPS, channel) for channel in _COLOURS.T], axis=1).astype(
    np.uint8
)
"""The heat colours from the lowest level to the highest, [1024,3], uint8."""
_WHITE, _BLACK = (255, 255, 255), (0, 0, 0)
_BANNER = {"good": ((0, 90, 160), _WHITE), "review": ((250, 225, 90), _BLACK), "reject": ((190, 70, 0), _WHITE)}
"""Verdict → the colours of its banner and of the text. Review differs from the others in lightness too."""
LONGEST_SIDE = 1024
"""The longest side of a drawn photo in pixels; larger photos are shrunk to it."""
TILE = 320
"""The longest side of a picture in a contact sheet, in pixels."""


def draw_overlay(
    frame: Array8, inspection: Inspection, longest: int = LONGEST_SIDE, decision: Verdict | None = None
) -> Image.Image:
    """Return a frame with its heat-map and outlines, and above it a banner with the verdict and the score.

    Args:
        frame: The frame, [H,W,3], uint8, RGB.
        inspection: The inspection of the frame.
        longest: The longest side of the picture below the banner, in pixels.
        decision: The decision over several frames. The banner shows it, and the frame's own verdict too if that
            differs. None shows the verdict.
    """
    return _with_banner(draw_found(frame, inspection, longest), inspection, decision or inspection.verdict)


def to_png(picture: Image.Image, compress_level: int = 6) -> bytes:
    """Return a picture that goodparts drew as PNG, marked so that it is never taken for a photo of a part.

    Args:
        picture: The drawn picture.
        compress_level: zlib's level, from 0 (fast, large) to 9 (slow, small).
    """
    buffer, text = io.BytesIO(), PngImagePlugin.PngInfo()
    text.add_text("Software", MARK)
    picture.save(buffer, "PNG", compress_level=compress_level, pnginfo=text)
    return buffer.getvalue()


def draw_found(frame: Array8, inspection: Inspection, longest: int = LONGEST_SIDE) -> Image.Image:
    """Return a frame with its heat-map and outlines, without a banner.

    Args:
        frame: The frame, [H,W,3], uint8, RGB.
        inspection: The inspection of the frame.
        longest: The longest side of the picture, in pixels; a smaller frame keeps its size.
    """
    scale = min(1.0, longest / max(frame.shape[:2]))
    height, width = (max(1, round(side * scale)) for side in frame.shape[:2])
    photo = Image.fromarray(frame).resize((width, height), Image.Resampling.LANCZOS)
    extent = inspection.extent
    corner = round(extent.x * scale), round(extent.y * scale)
    part = max(1, round(extent.width * scale)), max(1, round(extent.height * scale))
    threshold = inspection.thresholds.pixel
    scores = np.asarray(Image.fromarray(inspection.map).resize(part, Image.Resampling.BILINEAR))
    colour, alpha = heat(scores, threshold)
    photo.paste(Image.fromarray(colour), corner, Image.fromarray(alpha))
    for ring, shade in outlines(scores >= threshold):
        photo.paste(shade, (*corner, corner[0] + part[0], corner[1] + part[1]), ring)
    return photo


def heat(scores: Floats, threshold: float) -> tuple[Array8, Array8]:
    """Return the colours, [H,W,3], uint8, and the opacity, [H,W], uint8, of a heat-map.

    The heat-map is invisible up to half the threshold, and strongest from twice the threshold on.

    Args:
        scores: The raw pixel scores, [H,W].
        threshold: The raw pixel threshold.
    """
    level = np.clip(np.log2(np.maximum(scores, np.float32(1e-30)) / np.float32(threshold)) / 2 + 0.5, 0.0, 1.0)
    return _RAMP[(level * (len(_RAMP) - 1)).astype(np.intp)], (level * 170).astype(np.uint8)


def outlines(mask: npt.NDArray[np.bool_]) -> list[tuple[Image.Image, tuple[int, int, int]]]:
    """Return a black and a white line around the parts of a mask: where to paint each, and its colour.

    Args:
        mask: [H,W].
    """
    white = _grown(mask, 2)
    black = _grown(white, 1)
    return [(Image.fromarray(black & ~mask), (0, 0, 0)), (Image.fromarray(white & ~mask), (255, 255, 255))]


def _grown(mask: npt.NDArray[np.bool_], by: int) -> npt.NDArray[np.bool_]:
    """Return the mask with everything within a square of `by` pixels around it."""
    grown: npt.NDArray[np.bool_] = mask.copy()
    for step in range(1, by + 1):
        grown[step:] |= mask[:-step]
        grown[:-step] |= mask[step:]
    tall = grown.copy()
    for step in range(1, by + 1):
        grown[:, step:] |= tall[:, :-step]
        grown[:, :-step] |= tall[:, step:]
    return grown


def draw_contact_sheet(pictures: Sequence[tuple[str, Image.Image]], columns: int = 5) -> Image.Image:
    """Return pictures beside each other, each shrunk to TILE pixels, with its name below.

    Args:
        pictures: The name and the picture of each cell; at least one.
        columns: The most pictures in a row.
    """
    font = ImageFont.load_default(size=16)
    cell = TILE + 32
    rows = math.ceil(len(pictures) / columns)
    sheet = Image.new("RGB", (cell * min(columns, len(pictures)), cell * rows), (245, 245, 245))
    draw = ImageDraw.Draw(sheet)
    for index, (name, picture) in enumerate(pictures):
        x, y = index % columns * cell + 6, index // columns * cell + 4
        small = picture.copy()
        small.thumbnail((TILE, TILE), Image.Resampling.LANCZOS)
        sheet.paste(small, (x, y))
        draw.text((x, y + TILE + 4), _fit(name, font, TILE), fill=(0, 0, 0), font=font)
    return sheet


def _fit(text: str, font: ImageFont.FreeTypeFont | ImageFont.ImageFont, width: int) -> str:
    """Return a text, or the end of it after an ellipsis if it is too wide."""
    if font.getlength(text) <= width:
        return text
    while text and font.getlength(f"…{text}") > width:
        text = text[1:]
    return f"…{text}"


def _with_banner(photo: Image.Image, inspection: Inspection, decision: Verdict) -> Image.Image:
    own = "" if decision == inspection.verdict else f"; this frame: {inspection.verdict.upper()}"
    text = f"{decision.upper()}{own} {format_score(inspection.score)}"
    review = inspection.thresholds.review
    detail = "threshold 1.00" if review is None else f"review from {format_score(review)}, threshold 1.00"
    ground, ink = _BANNER[decision]
    size = min(40, max(12, photo.width // 20))
    large, small = ImageFont.load_default(size=size), ImageFont.load_default(size=max(11, size * 2 // 3))
    band = size + size // 2
    framed = Image.new("RGB", (photo.width, photo.height + band), ground)
    framed.paste(photo, (0, band))
    draw = ImageDraw.Draw(framed)
    draw.text((size // 3, band / 2), text, fill=ink, font=large, anchor="lm")
    if large.getlength(text) + small.getlength(detail) + size < photo.width:
        draw.text((photo.width - size // 3, band / 2), detail, fill=ink, font=small, anchor="rm")
    return framed
