"""Shows the results of trying products in one HTML file, which opens offline and runs no script."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from ..core.files import printable
from ..core.preprocess import load_rgb
from ..html import histogram, html_page, picture_uri, text
from ..inspection import format_score
from ..overlay import draw_found
from .trial import Trial
from .trial_advice import advise

SIDE = 260
"""The longest side of a picture, in pixels."""
SHOT_SIDE = 130
"""The longest side of a photo that was learned from, in pixels."""
SHOWN = 40
"""The number of photos that are shown, those with the highest scores; missed bad parts are always shown."""
SCALE_END = 4.0
"""Higher scores are drawn at the end of the histogram."""
_STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; margin: 0 auto; max-width: 1180px; padding: 1em; }
body { color: #1a1a1a; background: #f4f4f1; }
h1 { margin: .2em 0; } h2 { margin: 1.4em 0 .3em; } p { margin: .4em 0; max-width: 75ch; }
table { border-collapse: collapse; margin: .6em 0; background: #fff; font-variant-numeric: tabular-nums; }
th, td { padding: .3em .9em; text-align: right; border-bottom: 1px solid #ddd; }
th:first-child, td:first-child, .all th:nth-child(2), .all td:nth-child(2) { text-align: left; }
.wide { overflow-x: auto; }
figure { margin: 0; }
small { color: #5a5a5a; }
code { background: #e6e6e1; padding: .1em .35em; border-radius: 4px; overflow-wrap: anywhere; }
li { margin: .5em 0; }
.chart { background: #fff; padding: .8em; display: inline-block; }
.parts { display: grid; gap: 1em; grid-template-columns: repeat(auto-fill, minmax(270px, 1fr)); }
.part { background: #fff; border: 4px solid #d5d5d0; border-radius: 8px; overflow: hidden; }
.part img { display: block; margin: 0 auto; max-width: 100%; }
.part figcaption { padding: .4em .7em; font-size: 14px; overflow-wrap: anywhere; }
.part b { display: block; padding: .2em .7em; color: #fff; background: #00508f; }
.part b.reject { background: #ffa033; color: #000; } .part b.review { background: #fff07a; color: #000; }
.wrong { border-color: #000; border-style: dashed; }
.shots { display: flex; gap: .6em; flex-wrap: wrap; }
"""
_HEADINGS = "<th>threshold from</th><th>threshold</th><th>good rejected</th><th>bad missed</th>"


def to_html(trials: Sequence[Trial]) -> str:
    """Return an HTML file that shows the products that were tried, with the highest scores first.

    Args:
        trials: The results of each product.
    """
    title = ", ".join(trial.product for trial in trials)
    parts = [] if len(trials) == 1 else [f"<h1>{text(title)}</h1>", _contents(trials)]
    for number, trial in enumerate(trials):
        parts += [f'<section id="product-{number}">', *_section(trial), "</section>"]
    return html_page(f"goodparts: {title}", _STYLE, parts)


def describe_trial(trial: Trial) -> list[str]:
    """Return lines of text that tell what was learned, and the errors of every threshold.

    Args:
        trial: The results.
    """
    rows = [
        f"  threshold {relative} from {basis}: good rejected {rejected}, bad missed {missed}"
        for basis, relative, rejected, missed in _error_rows(trial)
    ]
    return [f"{trial.product}: {_learned(trial)}", *rows]


def _contents(trials: Sequence[Trial]) -> str:
    """Return a table of all products, each linked to its part of the sheet."""
    lines = [f"<tr><th>product</th>{_HEADINGS}</tr>"]
    for number, trial in enumerate(trials):
        name = f'<a href="#product-{number}">{text(trial.product)}</a>'
        for row in _error_rows(trial):
            lines.append(f"<tr><td>{name}</td>{_cells(row)}</tr>")
            name = ""
    return f'<div class="wide"><table class="all">{"".join(lines)}</table></div>'


def _section(trial: Trial) -> Iterator[str]:
    """Yield the pieces of one product's part."""
    yield f"<h1>{text(trial.product)}</h1>"
    yield f"<p>{text(_learned(trial))}</p>"
    rows = "".join(f"<tr>{_cells(row)}</tr>" for row in _error_rows(trial))
    yield f'<div class="wide"><table><tr>{_HEADINGS}</tr>{rows}</table></div>'
    thresholds = {f"{value:.2f}": min(value, SCALE_END) for value in _relative_thresholds(trial)}
    label = "Scores: good parts above the line, bad ones below it, thresholds dashed"
    if beyond := int((trial.scores > SCALE_END).sum()):
        label += f"; {beyond} above {SCALE_END:.2f} are drawn at the end"
    chart = histogram(np.minimum(trial.scores, SCALE_END), trial.bad, thresholds, label, ".2f")
    yield f'<figure class="chart">{chart}<figcaption><small>{text(label)}</small></figcaption></figure>'
    yield "<h2>What to do next</h2><ol>"
    for sentence, command in advise(trial):
        shown_command = "" if command is None else f"<br><code>{text(command)}</code>"
        yield f"<li>{text(sentence)}{shown_command}</li>"
    yield "</ol>"
    order = np.argsort(-trial.raw_scores, kind="stable")
    is_missed = trial.bad & (trial.scores < 1.0)
    chosen = [index for rank, index in enumerate(order) if rank < SHOWN or is_missed[index]]
    left_out = len(order) - len(chosen)
    note = f" Photos with lower scores are left out: {left_out}." if left_out else ""
    yield "<h2>Highest scores first</h2>"
    yield f"<p>A part is rejected from score 1.00. A dashed frame marks a wrong verdict.{note}</p>"
    yield '<div class="parts">'
    for index in chosen:
        yield _part(trial, int(index))
    yield "</div>"
    if trial.unreadable:
        reasons = "".join(f"<li>{text(reason)}</li>" for _, reason in trial.unreadable)
        yield f"<h2>Not inspected</h2><ul>{reasons}</ul>"
    yield '<h2>Learned from</h2><div class="shots">'
    for path in trial.shots:
        yield _shot(path)
    yield "</div>"


def _cells(row: Sequence[str]) -> str:
    return "".join(f"<td>{text(cell)}</td>" for cell in row)


def _learned(trial: Trial) -> str:
    """Return what was learned, how long it took, and how well the scores separate good from bad parts."""
    bad = int(trial.bad.sum())
    good = len(trial.photos) - bad
    shots = len(trial.shots)
    others = f"{good} other good part{'s'[: good != 1]}" + (f" and {bad} bad one{'s'[: bad != 1]}" if bad else "")
    sentences = (
        f"Learned from {shots} photo{'s'[: shots != 1]} of good parts in {trial.seconds:.1f} s, then inspected "
        f"{others}, {trial.milliseconds:.0f} ms a photo."
    )
    if bad and good:
        above = int((trial.raw_scores[trial.bad] > trial.raw_scores[~trial.bad].max()).sum())
        sentences += f" {above} of {bad} bad parts score above every good one."
    return sentences


def _relative_thresholds(trial: Trial) -> list[float]:
    """Return the thresholds as multiples of the first."""
    return [threshold.raw / trial.thresholds[0].raw for threshold in trial.thresholds]


def _error_rows(trial: Trial) -> list[tuple[str, str, str, str]]:
    """Return what every threshold rests on, the threshold as a score, and its errors in words."""
    bad = int(trial.bad.sum())
    good = len(trial.photos) - bad
    rows = []
    for threshold, relative in zip(trial.thresholds, _relative_thresholds(trial), strict=True):
        rejected, missed = trial.errors(threshold)
        shown = f"{missed} of {bad}" if bad else "–"
        rows.append((threshold.basis, f"{relative:.2f}", f"{rejected} of {good}", shown))
    return rows


def _part(trial: Trial, index: int) -> str:
    """Return a photo beside the same photo with its heat-map, its score and its verdict."""
    path, bad = trial.photos[index], bool(trial.bad[index])
    frame = load_rgb(path)
    inspection = trial.detector.predict(frame)
    wrong = bad != (inspection.verdict == "reject")
    pictures = "".join(
        f'<img src="{picture_uri(picture)}" alt="{alt}">'
        for picture, alt in (
            (draw_found(frame, inspection, SIDE), "the photo with its heat-map"),
            (_small(Image.fromarray(frame), SIDE), "the photo"),
        )
    )
    name = printable(path.relative_to(trial.folder))
    return (
        f'<figure class="part{" wrong" if wrong else ""}">'
        f'<b class="{inspection.verdict}">{inspection.verdict.upper()} {format_score(inspection.score)}</b>'
        f"{pictures}<figcaption>{text(name)}: {'a bad part' if bad else 'a good part'}"
        f"{', wrongly judged' if wrong else ''}</figcaption></figure>"
    )


def _shot(path: Path) -> str:
    picture = _small(Image.fromarray(load_rgb(path)), SHOT_SIDE)
    return f'<figure><img src="{picture_uri(picture)}" alt="{text(printable(Path(path.name)))}"></figure>'


def _small(picture: Image.Image, side: int) -> Image.Image:
    """Return a picture whose longer side is at most `side` pixels."""
    picture.thumbnail((side, side), Image.Resampling.LANCZOS)
    return picture
