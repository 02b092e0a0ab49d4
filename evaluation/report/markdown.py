"""An evaluation as Markdown: its tables, and a comparison with the papers' numbers."""

from __future__ import annotations

import math
from collections.abc import Sequence

from ..plan import TORCH
from .papers import Paper, read_papers
from .summary import MEAN, Summary, SummaryRow

PAPER_METRICS = ("image_auroc", "image_aupr", "pixel_auroc", "pixel_pro")
"""The metrics that the table of the papers' numbers has."""


def to_markdown(summary: Summary, about: Sequence[str]) -> str:
    """Return the mean over categories, each category, the papers' numbers and the remarks; values are in percent.

    Args:
        summary: The metrics.
        about: Lines that describe the evaluation.
    """
    categories = dict.fromkeys(row.category for row in summary.rows)
    parts = [f"# {escape(summary.data)}", "", *[f"- {escape(line)}" for line in about], ""]
    for category in categories:
        if category != MEAN or len(categories) > 2:
            title = "Mean over categories" if category == MEAN else category
            parts += [f"## {escape(title)}", "", *_table(summary, category), ""]
    parts += [
        "In percent: mean ± standard deviation over seeds, after the last step of learning. Lines of differences: the "
        "deployed backend minus torch, and the largest difference of an image score.",
        "",
    ]
    parts += _beside_papers(summary)
    if summary.evaluation.remarks:
        parts += ["## Remarks", "", *[f"- {escape(line)}" for line in summary.evaluation.remarks], ""]
    return "\n".join(parts)


def _table(summary: Summary, category: str) -> list[str]:
    head = ["method", "shots", "through", *summary.metrics]
    rows = []
    for row in summary.rows:
        if row.category != category:
            continue
        values = [percent(row, metric) for metric in summary.metrics]
        rows.append([summary.name(row), str(row.shots), row.backend, *values])
        deployed = summary.find(category, row.method, row.shots)
        if row.backend == TORCH and deployed is not None:
            differences = [_difference(deployed, row, metric) for metric in summary.metrics]
            rows.append(["", "", f"difference; scores {row.difference:.0e}", *differences])
    return markdown_table(head, rows)


def _difference(deployed: SummaryRow, torch: SummaryRow, metric: str) -> str:
    if metric not in deployed.values or metric not in torch.values:
        return ""
    return f"{round(100 * (deployed.values[metric][0] - torch.values[metric][0]), 3) + 0.0:+.3f}"


def _beside_papers(summary: Summary) -> list[str]:
    """Return all numbers that were published on the data set, with ours where the method is the same."""
    papers = [paper for paper in read_papers() if paper.data == summary.data]
    if not papers or not summary.comparable:
        return []
    rows = []
    for paper in papers:
        for shots, values in sorted(paper.values.items()):
            ours = summary.find(MEAN, paper.row, shots) if paper.row else None
            if ours is not None and ours.categories < summary.categories:
                ours = None
            numbers = [_beside(summary, paper, values.get(metric), ours, metric) for metric in PAPER_METRICS]
            rows.append([paper.method, str(shots), *numbers, paper.source, paper.note])
    head = ["published", "shots", *PAPER_METRICS, "source", "how it differs"]
    return ["## Beside the papers", "",
            "Published numbers, and ours in brackets where we have the same method. PromptAD's numbers come from its "
            "released evaluation, at the learning step that is best on the test data. Our numbers next to them name "
            "our protocol, and say `best step` if they are taken at that step too.", "",
            *markdown_table(head, rows), ""]  # fmt: skip


def _beside(summary: Summary, paper: Paper, published: float | None, ours: SummaryRow | None, metric: str) -> str:
    text = "" if published is None else f"{published:.1f}"
    if ours is None or metric not in ours.values:
        return text
    metric, protocol = summary.counterpart(paper, ours, metric)
    return f"{text} ({' '.join([percent(ours, metric), protocol]).strip()})".strip()


def percent(row: SummaryRow, metric: str) -> str:
    """Return a metric in percent, with its standard deviation if there are several seeds; "–" for a missing metric.

    Args:
        row: The row of the summary.
        metric: The metric's name.
    """
    if metric not in row.values:
        return "–"
    value, spread = row.values[metric]
    return f"{100 * value:.1f}" + ("" if math.isnan(spread) else f" ± {100 * spread:.1f}")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    """Return the lines of a table.

    Args:
        head: The titles of the columns.
        rows: The cells of each row.
    """
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(escape(cell) for cell in line) + " |" for line in lines]


def escape(text: str) -> str:
    """Escape text so that Markdown shows it unchanged, also in a table.

    Args:
        text: The text.

    Returns:
        The escaped text, on one line.
    """
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
