"""The files of an evaluation: results.csv, results.json, results.md and results.html."""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterable, Sequence
from pathlib import Path

import msgspec
from goodparts.runtime.core.files import write_atomic
from goodparts.runtime.engine.spec import Encoder

from ..results import Manifest, Measurement
from .html import to_html
from .markdown import to_markdown
from .report import Report, commit, describe_machine, installed_versions
from .summary import Summary


class EvaluationReport(Report, frozen=True):
    """The content of results.json: a benchmark's report, with every measurement and every list of shots.

    Attributes:
        data: The data set's name.
        encoder: The engine's encoder, in words.
        measurements: Every measurement; the key in the file is "cells".
        manifests: The lists of shots.
        remarks: One line for each measurement that could not be made, with the reason.
    """

    data: str
    encoder: str
    measurements: list[Measurement] = msgspec.field(name="cells")
    manifests: list[Manifest]
    remarks: list[str]


def write_results(
    folder: Path, summary: Summary, encoder: Encoder, about: Sequence[str], methods: Sequence[str]
) -> None:
    """Write all files of an evaluation.

    Args:
        folder: The existing folder for the files.
        summary: The metrics.
        encoder: The identity of the engine's encoder.
        about: Lines that describe the evaluation.
        methods: The methods' names, in the order in which they were asked for.

    Raises:
        FileError: A file cannot be written, for example because the disk is full.
    """
    evaluation = summary.evaluation
    report = EvaluationReport(
        machine=describe_machine(), versions=installed_versions(), commit=commit(), rows=summary.findings().rows,
        data=summary.data, encoder=str(encoder),
        measurements=evaluation.measurements, manifests=evaluation.manifests, remarks=evaluation.remarks,
    )  # fmt: skip
    write_atomic(folder / "results.csv", to_csv(evaluation.measurements, summary.metrics))
    write_atomic(folder / "results.json", msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    write_atomic(folder / "results.md", to_markdown(summary, about).encode())
    write_atomic(folder / "results.html", to_html(summary, about, methods).encode())


def to_csv(measurements: Iterable[Measurement], metrics: Sequence[str]) -> bytes:
    """Return a table with a line for each measurement, in UTF-8.

    Args:
        measurements: The measurements.
        metrics: The metrics that have a column.
    """
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["category", "method", "shots", "seed", "backend", *metrics, "threshold", "manifest"])
    for measurement in measurements:
        values = [measurement.values.get(metric, math.nan) for metric in metrics]
        writer.writerow([
            measurement.category, measurement.method, measurement.shots, measurement.seed, measurement.backend,
            *("" if math.isnan(value) else repr(value) for value in values),
            "" if measurement.threshold is None else repr(measurement.threshold),
            measurement.manifest,
        ])  # fmt: skip
    return text.getvalue().encode()
