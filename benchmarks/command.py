"""`goodparts bench`: measure speed and accuracy on this machine, as a table and as JSON."""

from __future__ import annotations

import argparse
import importlib
from pathlib import Path

import msgspec
from goodparts.runtime.errors import SettingsError
from goodparts.runtime.files import write_atomic

from .report import Findings, Options, Report, commit, describe_machine, format_table, installed_versions

DEFAULT_BACKBONE = "ViT-B-16-plus-240"

BENCHES = {
    "start": "import, opening a recipe, changing product",
    "train": "a training step, beside the released PromptAD loop",
    "preprocess": "resampling a camera frame, beside Pillow and OpenCV",
    "search": "memory search on the CPU, beside numpy, torch and faiss",
    "score": "scoring after the encoder and the anomaly map",
    "accuracy": "what the demo backbone tells apart, thresholds against their rates, tiles",
    "gpu": "search, scoring and resampling on a GPU, beside torch",
    "frame": "a whole camera frame on every backend, beside eager torch",
}
"""Benchmark → what it measures; each is a module with `measure(Options) -> Findings`, imported when asked for."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    width = max(map(len, BENCHES))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["NAME:", *(f"  {name:{width}}  {text}" for name, text in BENCHES.items())])
    parser.add_argument("name", choices=list(BENCHES), metavar="NAME", help=", ".join(BENCHES))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows, the machine and the versions")
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE, metavar="NAME",
                        help=f"demo, or an open_clip ViT or CLIP ResNet; random weights (default {DEFAULT_BACKBONE}); "
                        "accuracy is always the demo's")  # fmt: skip
    parser.add_argument("--repeat", type=int, metavar="N", help="timed rounds (default: each benchmark's own)")
    parser.add_argument("--data", type=Path, metavar="ROOT",
                        help="accuracy: real products too, folders in MVTec's layout")  # fmt: skip
    parser.add_argument("--engine", type=Path, metavar="DIR",
                        help="frame: reuse this engine, or put it there (default: a temporary one)")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    if args.repeat is not None and args.repeat < 1:
        raise SettingsError(f"--repeat {args.repeat}: at least 1 is needed")
    if args.engine is not None and args.name != "frame":
        raise SettingsError(f"--engine is for `bench frame`: `bench {args.name}` runs no engine")
    if args.data is not None and args.name != "accuracy":
        raise SettingsError(f"--data is for `bench accuracy`: `bench {args.name}` reads no photos")
    if args.json is not None and not args.json.absolute().parent.is_dir():
        raise SettingsError(f"--json {args.json}: folder {args.json.absolute().parent} does not exist; create it first")
    findings = measure(args.name, Options(args.backbone, args.repeat, args.engine, args.data))
    print("\n".join([format_table(findings.rows), *findings.remarks]))
    if args.json is not None:
        report = Report(describe_machine(), installed_versions(), commit(), findings.rows)
        write_atomic(args.json, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    return 0


def measure(name: str, options: Options) -> Findings:
    """Import one benchmark and run it."""
    try:
        bench = importlib.import_module(f".{name}", __package__)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("goodparts"):
            raise
        raise SettingsError(f'bench {name} needs {error.name}: pip install "goodparts[dev]"') from error
    findings: Findings = bench.measure(options)
    return findings
