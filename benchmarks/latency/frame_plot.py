"""A picture of latency distributions. Every timed frame is a tick on an axis that all contenders share."""

from __future__ import annotations

import io
import math
from collections.abc import Mapping

from PIL import Image, ImageDraw, ImageFont

from ..timing import percentile

SCALE = 2
"""Pixels per unit of the sizes below, for screens of high resolution."""
AXIS = 640
ROW, MARGIN, FOOT, TEXT = 24, 16, 44, 13
NUMBERS = 150
"""The width of the columns with the numbers p50 and p99."""
INK, FAINT, TICK, BOX, TAIL = "#202020", "#d8d8d8", "#7a9cc4", "#1f4e8c", "#c25500"
MAX_ROWS = 200


def draw_distributions(distributions: Mapping[str, list[float]]) -> Image.Image:
    """Draw a tick for every frame, a bar from p50 to p90 and a mark at p99 on a logarithmic axis.

    Args:
        distributions: The milliseconds of every frame, by the contender's name. Only the first MAX_ROWS contenders are
            drawn.

    Returns:
        The picture, RGB.
    """
    rows = list(distributions.items())[:MAX_ROWS]
    font = ImageFont.load_default(TEXT * SCALE)
    labels = max((math.ceil(font.getlength(name) / SCALE) for name, _ in rows), default=0)
    left, top = 2 * MARGIN + labels, MARGIN + ROW
    width, height = left + AXIS + NUMBERS + MARGIN, top + ROW * len(rows) + FOOT
    picture = Image.new("RGB", (width * SCALE, height * SCALE), "white")
    draw = ImageDraw.Draw(picture)
    low, high = span([value for _, values in rows for value in values])

    def across(value: float) -> float:
        return SCALE * (left + AXIS * (math.log(value) - math.log(low)) / (math.log(high) - math.log(low)))

    def write(x: float, y: float, text: str, anchor: str, colour: str = INK) -> None:
        draw.text((x * SCALE, y * SCALE), text, fill=colour, font=font, anchor=anchor)

    def stroke(x: float, above: float, below: float, colour: str, width: int) -> None:
        draw.line([(x, above * SCALE), (x, below * SCALE)], fill=colour, width=width)

    foot = top + ROW * len(rows)
    for value in grid(low, high):
        stroke(across(value), top, foot, FAINT, SCALE)
        write(across(value) / SCALE, foot + 4, f"{value:g}", "mt")
    write(left + AXIS / 2, foot + 22, "milliseconds: a tick per frame, bar p50 to p90, mark p99", "mt")
    write(left + AXIS + NUMBERS / 2, MARGIN + ROW / 2, "p50", "rm", BOX)
    write(left + AXIS + NUMBERS, MARGIN + ROW / 2, "p99", "rm", TAIL)
    for number, (name, values) in enumerate(rows):
        middle = top + ROW * (number + 0.5)
        p50, p90, p99 = (percentile(values, rank) for rank in (50, 90, 99))
        for value in values:
            stroke(across(value), middle - 8, middle + 8, TICK, 1)
        draw.rectangle(
            [across(p50), (middle - 4) * SCALE, max(across(p90), across(p50) + SCALE), (middle + 4) * SCALE], fill=BOX
        )
        stroke(across(p99), middle - 10, middle + 10, TAIL, 2 * SCALE)
        write(left - MARGIN, middle, name, "rm")
        write(left + AXIS + NUMBERS / 2, middle, f"{p50:.3g}", "rm", BOX)
        write(left + AXIS + NUMBERS, middle, f"{p99:.3g}", "rm", TAIL)
    return picture


def to_png(picture: Image.Image) -> bytes:
    """Encode a picture as PNG.

    Args:
        picture: The picture, RGB.

    Returns:
        The bytes of the file.
    """
    data = io.BytesIO()
    picture.save(data, "PNG")
    return data.getvalue()


def span(values: list[float]) -> tuple[float, float]:
    """Return the ends of the axis: a little beyond the smallest and the largest value, and never equal.

    Args:
        values: The milliseconds of all frames. Values that are not above 0 do not count.
    """
    positive = [value for value in values if value > 0] or [1.0]
    return min(positive) / 1.15, max(positive) * 1.15


def grid(low: float, high: float) -> list[float]:
    """Return the values of the series 1, 2, 5, 10, 20 … between the ends.

    Args:
        low: The lower end in milliseconds, above 0.
        high: The upper end in milliseconds.
    """
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    return [step * 10.0**power for power in powers for step in (1, 2, 5) if low <= step * 10.0**power <= high]
