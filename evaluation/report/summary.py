"""What an evaluation found as CSV, Markdown and the rows of a report, beside the papers' numbers."""

from __future__ import annotations

import csv
import io
import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from pathlib import Path

import msgspec
import numpy as np

from ..cache import Cell, Manifest
from ..methods.table import METHODS
from ..metrics.image import IMAGE_METRICS
from ..metrics.pixel import PIXEL_METRICS
from ..run import TORCH
from .gather import Evaluation
from .report import Findings, Report

METRICS = (*IMAGE_METRICS, *PIXEL_METRICS)
ORACLE = "oracle_"
FURTHER = ("pixel_spro", f"{ORACLE}image_auroc", f"{ORACLE}pixel_auroc")
"""In columns of their own where there are any."""
MEAN = "mean"
"""Of all categories, in place of a category's name."""
PAPERS = Path(__file__).with_name("papers.json")
PUBLISHED_BACKBONE = "ViT-B-16-plus-240"
"""Of all published rows that are a method of ours."""


class Results(Report, frozen=True):
    """results.json: a benchmark's report, and every cell and every list of shots it was made of."""

    data: str
    encoder: str
    cells: list[Cell]
    manifests: list[Manifest]
    remarks: list[str]


class Paper(msgspec.Struct, frozen=True):
    """Published means over all categories, in percent, by shots and metric; row: our method that is the same one, if
    any; note: what differs from how we measure; official: whether PromptAD's released evaluation made them, which
    --official reproduces and which reports the best step on the test data."""

    data: str
    method: str
    row: str | None
    source: str
    note: str
    values: dict[int, dict[str, float]]
    official: bool = False


@cache
def read_papers() -> tuple[Paper, ...]:
    return msgspec.json.decode(PAPERS.read_bytes(), type=tuple[Paper, ...])


@dataclass(frozen=True)
class Line:
    """Every metric's mean over seeds, in [0,1], and its standard deviation, NaN of a single one.

    categories: how many it is of; difference: of torch, the largest of an image score from the deployed one's.
    """

    category: str
    method: str
    shots: int
    backend: str
    values: dict[str, tuple[float, float]]
    categories: int
    difference: float


@dataclass(frozen=True, eq=False)
class Summary:
    """Cells, summed up: over seeds for each category, and over seeds of the mean of all categories."""

    data: str
    comparable: bool
    """Whether the papers' numbers may stand beside: all categories were measured, with PUBLISHED_BACKBONE."""
    evaluation: Evaluation
    official: bool = False
    """Whether the cells are of the official protocol."""

    @cached_property
    def metrics(self) -> list[str]:
        seen = {metric for cell in self.evaluation.cells for metric in cell.values}
        return [metric for metric in (*METRICS, *FURTHER) if metric in seen]

    @cached_property
    def categories(self) -> int:
        return len({cell.category for cell in self.evaluation.cells})

    def name(self, line: Line) -> str:
        """The method, and of how many categories its mean is where that is not of all."""
        if line.category != MEAN or line.categories == self.categories:
            return line.method
        return f"{line.method} ({line.categories} of {self.categories} categories)"

    @cached_property
    def lines(self) -> list[Line]:
        """By category, the mean first; methods in the order of their table, shots rising, torch last."""
        groups: defaultdict[tuple[str, str, int, str], list[Cell]] = defaultdict(list)
        for cell in self.evaluation.cells:
            for category in (MEAN, cell.category):
                groups[category, cell.method, cell.shots, cell.backend].append(cell)
        methods = list(dict.fromkeys((*METHODS, *(cell.method for cell in self.evaluation.cells))))
        order = sorted(groups, key=lambda key: (key[0] != MEAN, key[0], methods.index(key[1]), key[2], key[3] == TORCH))
        return [
            Line(
                *key,
                self._average(groups[key]),
                len({cell.category for cell in groups[key]}),
                max(cell.difference or 0.0 for cell in groups[key]),
            )
            for key in order
        ]

    def _average(self, cells: Sequence[Cell]) -> dict[str, tuple[float, float]]:
        found = {}
        for metric in self.metrics:
            by_seed: defaultdict[int, list[float]] = defaultdict(list)
            for cell in cells:
                value = cell.values.get(metric, math.nan)
                if not math.isnan(value):
                    by_seed[cell.seed].append(value)
            seeds = [float(np.mean(values)) for values in by_seed.values()]
            if seeds:
                found[metric] = float(np.mean(seeds)), float(np.std(seeds, ddof=1)) if len(seeds) > 1 else math.nan
        return found

    def find(self, category: str, method: str, shots: int, torch: bool = False) -> Line | None:
        wanted = (category, method, shots, torch)
        lines = (one for one in self.lines if (one.category, one.method, one.shots, one.backend == TORCH) == wanted)
        return next(lines, None)

    def findings(self) -> Findings:
        """Rows "<category or mean>, <method>, k shots: <metric>"; the peer is torch, or else the paper."""
        findings = Findings(remarks=self.evaluation.remarks)
        for line in self.lines:
            if line.backend == TORCH:
                continue
            torch = self.find(line.category, line.method, line.shots, torch=True)
            for metric, (value, spread) in line.values.items():
                peer, peer_value = None, None
                if torch is not None and metric in torch.values:
                    peer, peer_value = TORCH, torch.values[metric][0]
                elif paper := self.paper(line, metric):
                    peer, peer_value = paper
                name = f"{line.category}, {self.name(line)}, {line.shots} shots: {metric}"
                findings.add(name, value, "", peer, peer_value, higher=True)
                if not math.isnan(spread):
                    findings.add(f"{name}, standard deviation", spread, "")
        return findings

    def paper(self, line: Line, metric: str) -> tuple[str, float] | None:
        """Who published it, with a word where its protocol is another, and the value in [0,1], where data set, method
        and shots are the same."""
        if line.category != MEAN or not self.comparable or line.categories < self.categories:
            return None
        for paper in read_papers():
            value = paper.values.get(line.shots, {}).get(metric.removeprefix(ORACLE))
            if (paper.data, paper.row) == (self.data, line.method) and value is not None:
                ours, protocol = self.counterpart(paper, line, metric.removeprefix(ORACLE))
                if ours == metric:
                    return paper.method + (f" (ours: {protocol})" if protocol else ""), value / 100
        return None

    def counterpart(self, paper: Paper, line: Line, metric: str) -> tuple[str, str]:
        """Our metric that stands beside a paper's, and, where PromptAD's released evaluation made that, what ours is
        of: its best step counts, which we have of --official with --oracle alone."""
        if not paper.official:
            return metric, ""
        if self.official and ORACLE + metric in line.values:
            return ORACLE + metric, "official, best step"
        return metric, "official" if self.official else "clean"


def to_csv(cells: Iterable[Cell], metrics: Sequence[str]) -> bytes:
    """A line a cell."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["category", "method", "shots", "seed", "backend", *metrics, "threshold", "manifest"])
    for cell in cells:
        values = [cell.values.get(metric, math.nan) for metric in metrics]
        shown = ["" if math.isnan(value) else repr(value) for value in values]
        threshold = "" if cell.threshold is None else repr(cell.threshold)
        writer.writerow(
            [cell.category, cell.method, cell.shots, cell.seed, cell.backend, *shown, threshold, cell.manifest]
        )
    return text.getvalue().encode()


def to_markdown(summary: Summary, about: Sequence[str]) -> str:
    """The mean over categories, each category, the papers' numbers, remarks; values in percent."""
    categories = dict.fromkeys(line.category for line in summary.lines)
    parts = [f"# {escape(summary.data)}", "", *[f"- {escape(line)}" for line in about], ""]
    for category in categories:
        if category != MEAN or len(categories) > 2:
            title = "Mean over categories" if category == MEAN else category
            parts += [f"## {escape(title)}", "", *_table(summary, category), ""]
    parts += [
        "In percent: mean ± standard deviation over seeds, of last steps. Differences: deployed minus "
        "torch, and the largest of an image score.",
        "",
    ]
    parts += _beside_papers(summary)
    if summary.evaluation.remarks:
        parts += ["## Remarks", "", *[f"- {escape(line)}" for line in summary.evaluation.remarks], ""]
    return "\n".join(parts)


def _table(summary: Summary, category: str) -> list[str]:
    head = ["method", "shots", "through", *summary.metrics]
    rows = []
    for line in (one for one in summary.lines if one.category == category):
        rows.append(
            [summary.name(line), str(line.shots), line.backend, *(percent(line, metric) for metric in summary.metrics)]
        )
        deployed = summary.find(category, line.method, line.shots)
        if line.backend == TORCH and deployed is not None:
            rows.append(
                [
                    "",
                    "",
                    f"difference; scores {line.difference:.0e}",
                    *(_difference(deployed, line, metric) for metric in summary.metrics),
                ]
            )
    return markdown_table(head, rows)


def _difference(deployed: Line, torch: Line, metric: str) -> str:
    if metric not in deployed.values or metric not in torch.values:
        return ""
    return f"{round(100 * (deployed.values[metric][0] - torch.values[metric][0]), 3) + 0.0:+.3f}"


def _beside_papers(summary: Summary) -> list[str]:
    """All that was published on the data set; ours beside it where the method is the same."""
    papers = [paper for paper in read_papers() if paper.data == summary.data]
    if not papers or not summary.comparable:
        return []
    metrics = ("image_auroc", "image_aupr", "pixel_auroc", "pixel_pro")
    rows = []
    for paper in papers:
        for shots, values in sorted(paper.values.items()):
            ours = summary.find(MEAN, paper.row, shots) if paper.row else None
            if ours is not None and ours.categories < summary.categories:
                ours = None
            cells = [_beside(summary, paper, values.get(metric), ours, metric) for metric in metrics]
            rows.append([paper.method, str(shots), *cells, paper.source, paper.note])
    head = ["published", "shots", *metrics, "source", "how it differs"]
    return ["## Beside the papers", "",
            "Published; ours in brackets where the method is the same. What PromptAD published is of its released "
            "evaluation and of the best step on the test data: beside it ours says which protocol it is of, and "
            "whether of the best step.", "",
            *markdown_table(head, rows), ""]  # fmt: skip


def _beside(summary: Summary, paper: Paper, published: float | None, ours: Line | None, metric: str) -> str:
    text = "" if published is None else f"{published:.1f}"
    if ours is None or metric not in ours.values:
        return text
    metric, protocol = summary.counterpart(paper, ours, metric)
    return f"{text} ({' '.join([percent(ours, metric), protocol]).strip()})".strip()


def percent(line: Line, metric: str) -> str:
    """A value in percent, with its standard deviation where there are several seeds."""
    if metric not in line.values:
        return "–"
    value, spread = line.values[metric]
    return f"{100 * value:.1f}" + ("" if math.isnan(spread) else f" ± {100 * spread:.1f}")


def markdown_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    lines = [head, ["---"] * len(head), *rows]
    return ["| " + " | ".join(escape(cell) for cell in line) + " |" for line in lines]


def escape(text: str) -> str:
    """Text that Markdown shows as it is, in a table too."""
    for sign in "\\`*_[]<>|":
        text = text.replace(sign, f"\\{sign}")
    return " ".join(text.split())
