"""`goodparts evaluate`: how good methods are on a data set, through the engine that will run them."""

from __future__ import annotations

import argparse
import functools
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import get_args

import msgspec
from goodparts.export.command import add_backbone_arguments, open_backbone
from goodparts.export.engines import make_engine
from goodparts.runtime.backends import BACKENDS
from goodparts.runtime.engine import SPEC_NAME, Engine, Precision
from goodparts.runtime.errors import EngineError, SettingsError
from goodparts.runtime.files import printable, write_atomic, writing
from goodparts.trainer.backbone import DEFAULT_NAME, Backbone

from .datasets import SHOT_COUNTS, DataSet, open_data
from .datasets.layouts import LAYOUTS
from .evaluation import TORCH, Backend, Plan, evaluate
from .html_report import to_html
from .methods import METHODS, check_methods
from .report import commit, describe_machine, installed_versions
from .summary import PUBLISHED_BACKBONE, Results, Summary, to_csv, to_markdown

USUAL = ("memory", "vvclip", "vvclip+", "coop", "promptad", "patchcore")
MAX_SEEDS = 100


def add_arguments(parser: argparse.ArgumentParser) -> None:
    width = max(map(len, METHODS))
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(["M:", *(f"  {name:{width}}  {method.title}" for name, method in METHODS.items())])
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT",
                        help="a data set, one of its categories, or a folder with good/ and bad/")  # fmt: skip
    parser.add_argument("--out", type=Path, required=True, metavar="DIR",
                        help="folder for results.csv, .json, .md and .html")  # fmt: skip
    parser.add_argument("--layout", choices=list(LAYOUTS), help="of the data set (default: found out)")
    parser.add_argument("--category", nargs="+", metavar="C", help="only these (default: all)")
    parser.add_argument("--shots", nargs="+", type=int, default=list(SHOT_COUNTS), metavar="K",
                        help=f"good photos to learn from (default {' '.join(map(str, SHOT_COUNTS))})")  # fmt: skip
    parser.add_argument("--seeds", type=int, default=1, metavar="N", help="draws of shots: seeds 0 to N−1 (default 1)")
    parser.add_argument("--method", nargs="+", default=list(USUAL), metavar="M",
                        help=f"rows, or all (default {' '.join(USUAL)})")  # fmt: skip
    parser.add_argument("--engine", type=Path, metavar="DIR",
                        help="engine folder, which names its backbone; made where there is none")  # fmt: skip
    parser.add_argument("--backend", default="auto", help=f"auto (default), {', '.join(BACKENDS)}")
    parser.add_argument("--precision", default="fp32", choices=get_args(Precision))
    parser.add_argument("--threads", type=int, metavar="N", help="of the inference library")
    parser.add_argument("--torch", action="store_true", help="measure through torch as well, and the differences")
    parser.add_argument("--oracle", action="store_true",
                        help="also the step that is best on the test data, in columns of its own; slow")  # fmt: skip
    add_backbone_arguments(parser)
    parser.set_defaults(backbone=None)


def run(args: argparse.Namespace) -> int:
    methods = list(METHODS) if args.method == ["all"] else list(dict.fromkeys(args.method))
    check_methods(methods)
    if not 1 <= args.seeds <= MAX_SEEDS:
        raise SettingsError(f"--seeds {args.seeds}: 1 to {MAX_SEEDS} are accepted")
    if wrong := [count for count in args.shots if count < 1]:
        raise SettingsError(f"--shots {wrong[0]}: at least 1 is needed; a row that needs none is measured without")
    data = open_data(args.data, args.layout)
    categories = _categories(data, args.category)
    with writing(args.out):
        args.out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as temporary:
        engine, backbone = open_both(args, Path(temporary))
        backends = [Backend(engine.backend, engine.encode)]
        if args.torch:
            backends.append(Backend(TORCH, lambda views: backbone().encode(views)))
        plan = Plan(
            data, categories, tuple(sorted(set(args.shots))), args.seeds, tuple(methods), engine.encoder,
            tuple(backends), backbone, args.oracle,
        )  # fmt: skip
        found = evaluate(plan)
        about = describe(plan, engine)
    comparable = categories == data.categories and plan.encoder.backbone == PUBLISHED_BACKBONE
    summary = Summary(printable(Path(data.name)), comparable, found)
    results = Results(
        machine=describe_machine(), versions=installed_versions(), commit=commit(), rows=summary.findings().rows,
        data=summary.data, encoder=str(plan.encoder),
        cells=found.cells, manifests=found.manifests, remarks=found.remarks,
    )  # fmt: skip
    text = to_markdown(summary, about)
    for name, content in {
        "results.csv": to_csv(found.cells, summary.metrics),
        "results.json": msgspec.json.format(msgspec.json.encode(results), indent=2) + b"\n",
        "results.md": text.encode(),
        "results.html": to_html(summary, about, methods).encode(),
    }.items():
        write_atomic(args.out / name, content)
    print(text)
    return 0


def open_both(args: argparse.Namespace, temporary: Path) -> tuple[Engine, Callable[[], Backbone]]:
    """The engine, made where there is none yet, and its backbone, opened when it is first needed.

    Raises EngineError where the two do not belong together.
    """

    @functools.cache
    def backbone() -> Backbone:
        return open_backbone(args)

    folder = args.engine or temporary / "engine"
    if not (folder / SPEC_NAME).is_file():
        args.backbone = args.backbone or DEFAULT_NAME
        make_engine(backbone(), folder, (args.precision,))
    engine = Engine.open(
        folder, backend=args.backend, precision=args.precision, threads=args.threads, verify=args.engine is not None
    )
    wanted = engine.encoder
    args.backbone = args.backbone or wanted.backbone
    args.memory_taps = args.memory_taps or ",".join(str(tap.block) for tap in wanted.taps)

    @functools.cache
    def fitting() -> Backbone:
        opened = backbone()
        if opened.encoder != wanted:
            raise EngineError(f"{folder} holds an engine for {wanted}, the backbone is {opened.encoder}: name its own")
        return opened

    return engine, fitting


def describe(plan: Plan, engine: Engine) -> list[str]:
    """What was measured, in lines."""
    measured, there = len(plan.categories), len(plan.data.categories)
    lines = [
        f"{printable(Path(plan.data.name))}: {measured} of {there} categories; seeds: {plan.seeds}",
        f"encoder: {plan.encoder}",
        f"through: {engine.backend}",
        "shots are drawn by the hash of file name and seed; results.json lists them with their SHA-256",
    ]
    if engine.spec.note:
        lines.append(engine.spec.note)
    if plan.encoder.backbone == "demo":
        lines.append("the demo backbone has only seen drawn parts: its numbers are for testing")
    if plan.oracle:
        lines.append("oracle columns: the step of learning that is best on the test data, which nobody has on the line")
    return lines


def _categories(data: DataSet, wanted: list[str] | None) -> tuple[str, ...]:
    """SettingsError for a category that there is not."""
    unknown = [name for name in wanted or () if name not in data.categories]
    if unknown:
        known = " ".join(printable(Path(name)) for name in data.categories)
        raise SettingsError(f"--category {unknown[0]}: {data.name} has {known}")
    return tuple(name for name in data.categories if wanted is None or name in wanted)
