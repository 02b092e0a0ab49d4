"""`goodparts bench`: measure speed and accuracy on this machine, as a table, as JSON, as Markdown and as a picture."""

from __future__ import annotations

import argparse
import importlib
import io
from pathlib import Path
from typing import get_args

import msgspec
from goodparts.evaluation.report.report import (
    Findings,
    Options,
    Report,
    commit,
    describe_machine,
    format_markdown,
    format_table,
    installed_versions,
    read_report,
)
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import SettingsError, install_line
from goodparts.runtime.core.files import require_folder_of, write_atomic

from .compare import compare
from .plot import draw_distributions

DEFAULT_BACKBONE = "ViT-B-16-plus-240"
DEFAULT_FPS = (30.0, 60.0, 120.0)
DEFAULT_BATCH = 4
DEFAULT_FRAMES = 200_000
PEERS = {
    "torch": "eager, of the same encoder",
    "compile": "torch.compile of it, where there is a C++ compiler",
    "anomalib": "WinCLIP and PatchCore, in an environment of their own: gigabytes",
}
DEFAULT_PEERS = ("torch", "compile")

BENCHES = {
    "start": "import, process start to first verdict, opening a recipe, changing product",
    "train": "a training step, beside the released PromptAD loop",
    "preprocess": "resampling a camera frame, beside Pillow and OpenCV",
    "search": "memory search on the CPU, beside numpy, torch and faiss",
    "score": "scoring after the encoder and the anomaly map",
    "pixels": "AUROC, AUPR and PRO of all pixels of a full test set: time and memory",
    "accept": "accepting photos on the line: the update, verdicts after it, which rows to keep",
    "accuracy": "what the demo backbone tells apart, thresholds against their rates",
    "tiles": "a 20-pixel defect in a five-megapixel frame, without tiles and with",
    "prompted": "a frame by an AnoPLe recipe beside one by a PromptAD recipe, on the same engine",
    "line": "goodparts watch: four cameras at 30 frames a second, and its memory over 200 000 frames",
    "gpu": "search, scoring and resampling on a GPU, beside torch",
    "frame": "latency of a camera frame: every precision and backend, back to back, in batches, at cameras' rates",
}
"""Benchmark → what it measures; each is a module with `measure(Options) -> Findings`, imported when asked for."""
MODULES = {
    "start": "latency.start",
    "train": "latency.train",
    "preprocess": "latency.preprocess",
    "search": "latency.search",
    "score": "latency.score",
    "pixels": "latency.pixel_metrics",
    "accept": "studies.accept",
    "accuracy": "studies.accuracy",
    "tiles": "studies.tiles",
    "prompted": "latency.prompted",
    "line": "latency.line",
    "gpu": "latency.gpu",
    "frame": "latency.frame",
}
COMPARE = "compare"

ONLY = {
    "engine": ("frame", "start", "prompted"),
    "data": ("accuracy",),
    "fps": ("frame",),
    "batch": ("frame",),
    "threads": ("frame", "line"),
    "precision": ("frame", "start", "line", "prompted"),
    "frames": ("line",),
    "peers": ("frame",),
    "plot": ("frame",),
}
"""Option → the benchmarks that know it."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    names = {**BENCHES, f"{COMPARE} A.json B.json": "two reports, row beside row"}
    width = max(map(len, names))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["NAME:", *(f"  {name:{width}}  {text}" for name, text in names.items())])
    parser.add_argument("name", choices=[*BENCHES, COMPARE], metavar="NAME", help=", ".join([*BENCHES, COMPARE]))
    parser.add_argument("files", nargs="*", type=Path, metavar="FILE", help="compare: the two reports")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows, the machine and the versions")
    parser.add_argument("--markdown", type=Path, metavar="FILE", help="write the same for a reader")
    parser.add_argument("--plot", type=Path, metavar="FILE", help="frame: draw the latencies as a PNG")
    parser.add_argument("--backbone", default=DEFAULT_BACKBONE, metavar="NAME",
                        help=f"demo, or an open_clip ViT or CLIP ResNet; random weights (default {DEFAULT_BACKBONE}); "
                        "accuracy's and tiles' is always the demo's")  # fmt: skip
    parser.add_argument("--repeat", type=int, metavar="N", help="timed rounds (default: each benchmark's own)")
    parser.add_argument("--data", type=Path, metavar="ROOT",
                        help="accuracy: real products too, folders in MVTec's layout")  # fmt: skip
    parser.add_argument("--engine", type=Path, metavar="DIR",
                        help="frame, start, prompted: use this engine, or put it there (default: none)")  # fmt: skip
    parser.add_argument("--precision", nargs="+", choices=get_args(Precision),
                        help="frame, start, line, prompted: these (default: the engine's, or fp32 bf16)")  # fmt: skip
    parser.add_argument("--fps", nargs="*", type=float, metavar="RATE",
                        help="frame: of the cameras (default 30 60 120)")  # fmt: skip
    parser.add_argument("--batch", type=int, metavar="N", help=f"frame: batches up to N too (default {DEFAULT_BATCH})")
    parser.add_argument("--threads", type=int, metavar="N", help="frame, line: of the inference library, and of torch")
    parser.add_argument("--frames", type=int, metavar="N",
                        help="line: its memory is watched over so many (default 200000)")  # fmt: skip
    peers = "; ".join(f"{name}: {text}" for name, text in PEERS.items())
    parser.add_argument("--peers", nargs="*", choices=PEERS, metavar="PEER",
                        help=f"frame: {peers} (default {' '.join(DEFAULT_PEERS)})")  # fmt: skip


def run(args: argparse.Namespace) -> int:
    check(args)
    if args.name == COMPARE:
        return run_compare(args)
    options = Options(
        args.backbone,
        args.repeat,
        args.engine,
        args.data,
        fps=DEFAULT_FPS if args.fps is None else tuple(args.fps),
        batch=DEFAULT_BATCH if args.batch is None else args.batch,
        threads=args.threads,
        precisions=None if args.precision is None else tuple(args.precision),
        peers=DEFAULT_PEERS if args.peers is None else tuple(args.peers),
        frames=DEFAULT_FRAMES if args.frames is None else args.frames,
    )
    findings = measure(args.name, options)
    print(format_table(findings.rows))
    for table in findings.tables:
        print(f"\n{table.as_text()}\n")
    print("\n".join(findings.remarks))
    report = Report(describe_machine(), installed_versions(), commit(), findings.rows)
    if args.json is not None:
        write_atomic(args.json, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    if args.markdown is not None:
        write_atomic(args.markdown, format_markdown(f"goodparts bench {args.name}", report, findings).encode())
    if args.plot is not None:
        picture = io.BytesIO()
        draw_distributions(findings.distributions).save(picture, "PNG")
        write_atomic(args.plot, picture.getvalue())
    return 0


def run_compare(args: argparse.Namespace) -> int:
    findings = compare(*map(read_report, args.files))
    (table,) = findings.tables
    print("\n".join([table.as_text(), *findings.remarks]))
    if args.markdown is not None:
        names = [f"* {side}: {path}" for side, path in zip("AB", args.files, strict=True)]
        remarks = [f"* {remark}" for remark in findings.remarks]
        write_atomic(args.markdown, "\n".join([*names, *remarks, "", table.as_markdown(), ""]).encode())
    return 0


def check(args: argparse.Namespace) -> None:
    """SettingsError for options that say nothing to this benchmark, before anything slow."""
    for option in ("repeat", "threads", "frames"):
        value = getattr(args, option)
        if value is not None and value < 1:
            raise SettingsError(f"--{option} {value}: at least 1 is needed")
    for option, benches in ONLY.items():
        if getattr(args, option) is not None and args.name not in benches:
            known = " and ".join(f"`bench {name}`" for name in benches)
            raise SettingsError(f"--{option} is for {known}: `bench {args.name}` does nothing with it")
    if args.name == COMPARE:
        if len(args.files) != 2:
            raise SettingsError(f"bench compare reads two files that --json wrote: {len(args.files)} given")
        if args.json is not None:
            raise SettingsError("--json is for benchmarks that measure: `bench compare` writes --markdown")
    elif args.files:
        raise SettingsError(f"{args.files[0]}: only `bench compare` reads files")
    for target in (args.json, args.markdown, args.plot):
        if target is not None:
            require_folder_of(target)


def measure(name: str, options: Options) -> Findings:
    """Import one benchmark and run it."""
    try:
        bench = importlib.import_module(f".{MODULES[name]}", __package__)
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("goodparts"):
            raise
        raise SettingsError(f"bench {name} needs {error.name}: {install_line('dev')}") from error
    findings: Findings = bench.measure(options)
    return findings
