"""`goodparts bench NAME`: measure speed and accuracy on this machine. The result is a table, JSON and Markdown.

Every benchmark is a module with the functions of `BenchmarkModule`. It is imported only when its benchmark is chosen.
"""

from __future__ import annotations

import argparse
import importlib
from typing import Any, Protocol, cast

import msgspec
from goodparts.evaluation.report.report import (
    Findings,
    Report,
    commit,
    describe_machine,
    format_markdown,
    format_table,
    installed_versions,
)
from goodparts.runtime.core.errors import SettingsError, install_line
from goodparts.runtime.core.files import write_atomic

from goodparts.cli import Parser

from . import compare
from .options import add_outputs

BENCHMARKS = {
    "start": ("latency.start", "seconds to import, to the first verdict, to open a recipe, and to change the product"),
    "train": ("latency.train", "a training step, compared with the released PromptAD loop"),
    "preprocess": ("latency.preprocess", "resampling a camera frame, compared with Pillow and OpenCV"),
    "search": ("latency.search", "memory search on the CPU, compared with numpy, torch and faiss"),
    "score": ("latency.score", "scoring after the encoder and the anomaly map"),
    "pixels": ("latency.pixel_metrics", "AUROC, AUPR and PRO of all pixels of a full test set: time and memory"),
    "accept": ("studies.accept", "accepting photos on the line: the update, verdicts after it, which rows to keep"),
    "accuracy": (
        "studies.accuracy",
        "how well `small` finds bad parts, and whether thresholds keep their false-reject rates",
    ),
    "image-only": (
        "studies.image_only",
        "timm's networks as image-only backbones, compared with anomalib's PatchCore with the same weights",
    ),
    "scene": ("studies.scene", "how often a changed scene is found, and how often one is reported by mistake"),
    "tiles": ("studies.tiles", "a 20-pixel defect in a five-megapixel frame, without tiles and with"),
    "prompted": (
        "latency.prompted",
        "the inspection of a frame with an AnoPLe recipe, compared with a PromptAD recipe on the same engine",
    ),
    "line": (
        "latency.line",
        "goodparts watch: four cameras at 30 frames a second, and its memory over 200 000 frames",
    ),
    "gpu": ("latency.gpu", "search, scoring and resampling on a GPU, compared with torch"),
    "frame": (
        "latency.frame",
        "latency of a camera frame: every precision and backend, back to back, in batches, at cameras' rates",
    ),
}
"""For each benchmark, its module in this package and its line of help."""

COMPARE = "compare"


class BenchmarkModule(Protocol):
    """What the module of a benchmark holds."""

    def add_arguments(self, parser: argparse.ArgumentParser) -> None:
        """Add the benchmark's options.

        Args:
            parser: The benchmark's parser.
        """

    def measure(self, **options: Any) -> Findings:
        """Measure, and log what is measured now.

        Args:
            **options: The values of the options that `add_arguments` adds, by name.

        Returns:
            The rows, the aims that were met or missed, and further remarks.

        Raises:
            GoodpartsError: An option is not accepted, the benchmark needs something that is missing here, ours and a
                peer compute different results, or a file cannot be read or written.
            ModuleNotFoundError: A package that it needs is missing.
        """


class BenchmarkParser(Parser):
    """The parser of one benchmark. When the benchmark is chosen, it imports its module and adds its options.

    Args:
        benchmark: The name of the benchmark, or COMPARE.
        **settings: The settings of an ArgumentParser.
    """

    def __init__(self, *, benchmark: str, **settings: Any) -> None:
        super().__init__(**settings)
        self.add_argument("--help-all", action="help", help=argparse.SUPPRESS)  # as every command has it
        self._benchmark = benchmark

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> tuple[Any, list[str]]:
        """Add the options of the benchmark, then parse.

        Args:
            args: The arguments; None for those of the command line.
            namespace: The object that gets the options; None for a new one.

        Returns:
            The options, and the arguments that are no options of the benchmark.

        Raises:
            SettingsError: A package that the benchmark needs is missing. With --help, the help tells it instead.
        """
        try:
            import_benchmark(self._benchmark).add_arguments(self)
        except ModuleNotFoundError as error:
            missing = name_what_is_missing(self._benchmark, error)
            if {"-h", "--help", "--help-all"}.isdisjoint(args or ()):
                raise missing from error
            self.epilog = f"{missing}; this help then lists the benchmark's own options"
        return super().parse_known_args(args, namespace)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add a subcommand for each benchmark, and `compare`.

    Args:
        parser: The parser of `goodparts bench`.
    """
    benchmarks = parser.add_subparsers(dest="benchmark", metavar="NAME", required=True, parser_class=BenchmarkParser)
    for name, (_, text) in BENCHMARKS.items():
        add_outputs(benchmarks.add_parser(name, benchmark=name, help=text, description=text))
    benchmarks.add_parser(COMPARE, benchmark=COMPARE, help=compare.HELP, description=compare.HELP)


def run(options: argparse.Namespace) -> int:
    """Measure, print the results, and write the files that the options name.

    Args:
        options: The parsed options.

    Returns:
        0, the exit code.

    Raises:
        GoodpartsError: The benchmark's `measure` raises it, a package that it needs is missing, or a file cannot be
            read or written.
    """
    if options.benchmark == COMPARE:
        return compare.run(options)
    arguments = vars(options).copy()
    name, json, markdown = (arguments.pop(key) for key in ("benchmark", "json", "markdown"))
    try:
        findings = import_benchmark(name).measure(**arguments)
    except ModuleNotFoundError as error:
        raise name_what_is_missing(name, error) from error
    print(format_table(findings.rows))
    for table in findings.tables:
        print(f"\n{table.as_text()}\n")
    print("\n".join(findings.remarks))
    report = Report(describe_machine(), installed_versions(), commit(), findings.rows)
    if json is not None:
        write_atomic(json, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    if markdown is not None:
        write_atomic(markdown, format_markdown(f"goodparts bench {name}", report, findings).encode())
    return 0


def import_benchmark(name: str) -> BenchmarkModule:
    """Import the module of a benchmark, or the module that compares reports.

    Args:
        name: A key of BENCHMARKS, or COMPARE.

    Returns:
        The module.

    Raises:
        ModuleNotFoundError: A package that it needs is missing.
    """
    module = COMPARE if name == COMPARE else BENCHMARKS[name][0]
    return cast("BenchmarkModule", importlib.import_module(f".{module}", __package__))


def name_what_is_missing(benchmark: str, error: ModuleNotFoundError) -> SettingsError:
    """Return an error that names the missing package and how to install it.

    Args:
        benchmark: The name of the benchmark.
        error: The error of the import.

    Raises:
        ModuleNotFoundError: The error itself, if a module of goodparts is missing.
    """
    if (error.name or "").startswith("goodparts"):
        raise error
    return SettingsError(f"bench {benchmark} needs {error.name}: {install_line('dev')}")
