"""An evaluation as one HTML file that opens offline: tables, histograms of scores with thresholds, worst mistakes.

The page loads and runs nothing: pictures are data: URIs, charts are inline SVG, and there is no script. Every text from
outside, such as a file's name, is escaped.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from goodparts.runtime.core.files import printable
from goodparts.runtime.core.scoring import Floats, anomaly_map
from goodparts.runtime.html import histogram, html_page, picture_uri, text
from goodparts.runtime.overlay import heat
from PIL import Image

from ..methods.table import find_method
from .gather import ShownMeasurement, ShownMistake
from .markdown import percent
from .summary import MEAN, Summary, SummaryRow

SIDE = 180
"""The side of a picture, in pixels."""
_STYLE = """
body { font: 15px/1.45 system-ui, sans-serif; margin: 2em auto; max-width: 1100px; padding: 0 1em; color: #1a1a1a; }
table { border-collapse: collapse; margin: .5em 0 1.5em; font-variant-numeric: tabular-nums; }
th, td { padding: .15em .7em; text-align: right; border-bottom: 1px solid #ddd; white-space: nowrap; }
th:nth-child(-n+2), td:nth-child(-n+2) { text-align: left; }
.wide { overflow-x: auto; }
figure { display: inline-block; vertical-align: top; margin: 0 1em 1em 0; }
figcaption { font-size: 13px; max-width: 420px; overflow-wrap: anywhere; }
.mistake figcaption { max-width: 368px; }
"""


def to_html(summary: Summary, about: Sequence[str], methods: Sequence[str]) -> str:
    """Return the whole page.

    Args:
        summary: The metrics.
        about: Lines that describe the evaluation.
        methods: The methods' names, in the order in which they were asked for. A category shows the mistakes of its
            first method.
    """
    shown = {(entry.measurement.category, entry.measurement.method): entry for entry in summary.evaluation.shown}
    categories = list(dict.fromkeys(category for category, _ in shown))
    parts = [f"<h1>{text(summary.data)}</h1>", _list(about)]
    parts.append(_table(summary, [row for row in summary.rows if row.category == MEAN or len(categories) > 1]))
    parts.append(_legend(dict.fromkeys(row.method for row in summary.rows)))
    for category in categories:
        parts.append(f"<h2>{text(category)}</h2>")
        of_category = [shown[category, method] for method in methods if (category, method) in shown]
        parts += map(_histogram, of_category)
        parts.append(_mistakes(of_category[0]))
    if summary.evaluation.remarks:
        parts += ["<h2>Remarks</h2>", _list(summary.evaluation.remarks)]
    return html_page(summary.data, _STYLE, parts)


def _list(lines: Sequence[str]) -> str:
    return "<ul>" + "".join(f"<li>{text(line)}</li>" for line in lines) + "</ul>"


def _legend(methods: Iterable[str]) -> str:
    """Return a folded list that explains the methods' names."""
    names = "".join(f"<dt>{text(name)}</dt><dd>{text(find_method(name).title)}</dd>" for name in methods)
    return f"<details><summary>Descriptions of the methods</summary><dl>{names}</dl></details>"


def _table(summary: Summary, rows: Sequence[SummaryRow]) -> str:
    several_backends = len({row.backend for row in rows}) > 1
    head = ["category", "method", "shots", *(["through"] if several_backends else []), *summary.metrics]
    body = [
        [
            row.category,
            summary.name(row),
            str(row.shots),
            *([row.backend] if several_backends else []),
            *(percent(row, metric) for metric in summary.metrics),
        ]
        for row in rows
    ]
    lines = _table_line("th", head) + "".join(_table_line("td", cells) for cells in body)
    table = f'<div class="wide"><table>{lines}</table></div>'
    return f"{table}\n<p>In percent, mean ± standard deviation over seeds.</p>"


def _table_line(tag: str, cells: Sequence[str]) -> str:
    return "<tr>" + "".join(f"<{tag}>{text(cell)}</{tag}>" for cell in cells) + "</tr>"


def _histogram(shown: ShownMeasurement) -> str:
    """Draw a method's scores with its threshold, and state how many parts the threshold rejects and misses."""
    measurement, scores = shown.measurement, shown.scores.astype(np.float64)
    threshold = measurement.threshold
    verdicts = "the method has no threshold"
    if threshold is not None:
        rejected = shown.scores >= threshold
        verdicts = (
            f"at the threshold {threshold:.4g} {int(rejected[~shown.bad].sum())} of {int((~shown.bad).sum())} "
            f"good are rejected, {int((~rejected[shown.bad]).sum())} of {int(shown.bad.sum())} bad are missed"
        )
    title = find_method(measurement.method).title
    caption = f"{title}, {measurement.shots} shots: good above, bad below; {verdicts}"
    drawing = histogram(scores, shown.bad, {} if threshold is None else {f"{threshold:.4g}": threshold}, caption)
    return f"<figure>{drawing}<figcaption>{text(caption)}</figcaption></figure>"


def _mistakes(shown: ShownMeasurement) -> str:
    measurement = shown.measurement
    title = f"<h3>Worst mistakes of {text(measurement.method)}, {measurement.shots} shots</h3>"
    if not shown.mistakes:
        return f"{title}\n<p>None: every bad photo scores above every good one.</p>"
    note = "<p>Heat-maps show where a photo scores highest, each on its own scale.</p>"
    return "\n".join([title, note, *map(_mistake, shown.mistakes)])


def _mistake(mistake: ShownMistake) -> str:
    sample = mistake.sample
    kind = f"bad ({sample.defect})" if sample.bad else "good"
    others = "good ones score no lower" if sample.bad else "bad ones score no higher"
    caption = f"{printable(sample.path)}: {kind}, score {mistake.score:.4g}; {mistake.size:.0%} of the {others}"
    photo = Image.fromarray(mistake.view).resize((SIDE, SIDE), Image.Resampling.BILINEAR)
    pictures = "".join(
        f'<img src="{picture_uri(picture)}" width="{SIDE}" height="{SIDE}" alt="{alt}"> '
        for picture, alt in ((photo, "photo"), (draw_heat(photo, mistake.grid), "heat-map"))
    )
    return f'<figure class="mistake">{pictures}<figcaption>{text(caption)}</figcaption></figure>'


def draw_heat(photo: Image.Image, grid: Floats) -> Image.Image:
    """Paint a heat-map over a photo: nothing below the map's median, full colour at its maximum.

    Args:
        photo: The photo.
        grid: Its patch scores [h,w].

    Returns:
        The painted photo, in the same size.
    """
    scores = anomaly_map(grid, photo.width, photo.width / 100)
    above = scores - np.median(scores)
    colour, alpha = heat(above / max(float(above.max()), 1e-30), 0.5)
    painted = photo.copy()
    painted.paste(Image.fromarray(colour), (0, 0), Image.fromarray(alpha))
    return painted
