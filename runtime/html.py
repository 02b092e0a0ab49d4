"""Pieces of HTML files that open offline: they load nothing, run no script, and show foreign text as text."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image

GOOD, BAD = "#4477aa", "#cc6633"
"""The colours of good and of bad photos' scores. They differ in lightness too."""
BINS, WIDTH, HEIGHT = 30, 420, 110
"""A histogram's number of bins, and its width and height in pixels."""
TICKS, TICK_HEIGHT, NAME_WIDTH, ROW_HEIGHT = 5, 18, 56, 14
"""The number of labels on a histogram's axis, the pixels below it for them, the pixels beside it for names, and the
pixels above it for each threshold's name."""
_POLICY = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"


def text(raw: str) -> str:
    """Return text escaped so that HTML shows it unchanged, also in attributes.

    Args:
        raw: The text.
    """
    return html.escape(raw, quote=True)


def html_page(title: str, style: str, parts: Sequence[str]) -> str:
    """Return a whole HTML file.

    Args:
        title: The window's title, not yet escaped.
        style: The style sheet.
        parts: The pieces of HTML that make the body.
    """
    head = (
        f'<meta charset="utf-8"><meta http-equiv="Content-Security-Policy" content="{_POLICY}">'
        '<meta name="viewport" content="width=device-width">'
        f"<title>{text(title)}</title><style>{style}</style>"
    )
    body = "\n".join(parts)
    return f'<!doctype html>\n<html lang="en"><head>{head}</head>\n<body>\n{body}\n</body></html>\n'


def picture_uri(picture: Image.Image) -> str:
    """Return a picture as a data: address, in JPEG.

    Args:
        picture: The picture, RGB.
    """
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def histogram(
    scores: npt.NDArray[np.floating],
    bad: npt.NDArray[np.bool_],
    thresholds: Mapping[str, float],
    label: str,
    number: str = ".3g",
) -> str:
    """Draw a histogram of scores: good photos above the middle, bad ones below it, each threshold as a dashed line.

    Args:
        scores: The scores, [N], at least one.
        bad: Which of them are scores of bad photos, [N].
        thresholds: A threshold's short name, which stands beside its line → the threshold, on the scores' scale.
        label: The text that screen readers read instead of the drawing.
        number: The format of the numbers on the axis.

    Returns:
        An svg element.
    """
    values = np.array([*scores, *thresholds.values()], np.float64)
    low, high = float(values.min()), float(values.max())
    span = (high - low) or 1.0
    counts = [np.histogram(scores[bad == kind], BINS, (low, low + span))[0] for kind in (False, True)]
    tallest = max(1, *(int(count.max()) for count in counts))
    top, step = ROW_HEIGHT * len(thresholds), WIDTH / BINS
    middle, bottom = top + HEIGHT / 2, top + HEIGHT
    shapes = []
    for count, colour, up in zip(counts, (GOOD, BAD), (True, False), strict=True):
        for index in np.flatnonzero(count):
            height = (HEIGHT / 2 - 8) * count[index] / tallest
            y = middle - height if up else middle
            shapes.append(
                f'<rect x="{index * step:.1f}" y="{y:.1f}" width="{step - 1:.1f}" height="{height:.1f}" '
                f'fill="{colour}"/>'
            )
    shapes.append(f'<line x1="0" x2="{WIDTH}" y1="{middle}" y2="{middle}" stroke="#888"/>')
    # A line starts beside its name, and names of higher thresholds stand lower: no line crosses a name.
    for row, (name, threshold) in enumerate(sorted(thresholds.items(), key=lambda item: item[1])):
        x, y = (threshold - low) / span * WIDTH, row * ROW_HEIGHT
        shapes.append(
            f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{y}" y2="{bottom}" stroke="#000" stroke-dasharray="4 3"/>'
            f'<text x="{x + 4:.1f}" y="{y + 11}" font-size="11">{text(name)}</text>'
        )
    for name, colour, y in (("good", GOOD, middle - 4), ("bad", BAD, middle + 13)):
        shapes.append(f'<text x="{WIDTH + 6}" y="{y}" font-size="12" fill="{colour}">{name}</text>')
    for tick in range(TICKS):
        share = tick / (TICKS - 1)
        anchor = "start" if tick == 0 else "end" if tick == TICKS - 1 else "middle"
        place = f'x="{share * WIDTH:.0f}" y="{bottom + 14}" font-size="11" text-anchor="{anchor}" fill="#5a5a5a"'
        shapes.append(f"<text {place}>{low + share * span:{number}}</text>")
    width, height = WIDTH + NAME_WIDTH, bottom + TICK_HEIGHT
    size = f'width="{width}" height="{height}" viewBox="0 0 {width} {height}"'
    style = 'style="max-width:100%;height:auto"'
    return f'<svg {size} {style} role="img" aria-label="{text(label)}">{"".join(shapes)}</svg>'
