"""`goodparts evaluate`: measure how good methods are on data sets, through the engine that will run them.

Modules that need torch or scipy are imported where they are used, so that the command can print its help without them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args

from goodparts.export.options import add_backbone_arguments
from goodparts.runtime.backends.registry import BACKENDS
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.commands.printing import print_lines
from goodparts.runtime.core.errors import SettingsError, install_line
from goodparts.runtime.core.files import printable, require_folder
from goodparts.runtime.engine.engine import Engine

from .datasets import SHOT_COUNTS
from .datasets.drawn import DRAWN
from .datasets.layouts import LAYOUTS
from .official import DIFFERENCES, SHOTS_NAME
from .sweep import DEFAULT_METHODS, Sweep, read_sweep

if TYPE_CHECKING:
    from .plan import EvaluationPlan
    from .report.summary import Summary


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.epilog = "\n".join(describe_methods())
    add_backbone_arguments(parser)
    parser.add_argument("--sweep", type=Path, metavar="FILE",
                        help="TOML file with the other options by their names; options of the command line take "
                             "precedence over it")  # fmt: skip
    parser.add_argument("--data", metavar="ROOT", help="a data set, one of its categories, or a folder with good/ and "
                        f"bad/; {DRAWN}: all kinds of drawn parts")  # fmt: skip
    parser.add_argument("--out", metavar="DIR",
                        help="folder for results.csv, .json, .md and .html; finished measurements in it are not "
                             "repeated")  # fmt: skip
    parser.add_argument("--layout", choices=list(LAYOUTS), help="layout of the data set (default: detected)")
    parser.add_argument("--category", nargs="+", metavar="C", help="measure only these categories (default: all)")
    parser.add_argument("--shots", nargs="+", type=int, metavar="K",
                        help=f"good photos to learn from (default {' '.join(map(str, SHOT_COUNTS))})")  # fmt: skip
    parser.add_argument("--seeds", type=int, metavar="N", help="draws of shots: seeds 0 to N−1 (default 1)")
    parser.add_argument("--method", nargs="+", metavar="M",
                        help=f"rows of the list below, or groups of them (default {' '.join(DEFAULT_METHODS)}); rows "
                             "of PromptAD, AnoPLe and the memory take settings: "
                             "promptad:alignment_weight=0.1,fusion=prompt, or memory:poses=true, which also remembers "
                             "each shot turned and mirrored")  # fmt: skip
    parser.add_argument("--engine", metavar="DIR",
                        help="engine folder, which determines the backbone; made if it does not exist (default: the "
                             "one that ships with goodparts if it suffices, otherwise one in --out)")  # fmt: skip
    parser.add_argument("--backend", help=f"auto (default), {', '.join(BACKENDS)}")
    parser.add_argument("--precision", choices=get_args(Precision), help="precision of the engine (default fp32)")
    parser.add_argument(
        "--threads", type=int, metavar="N", help="threads of the inference library (default: the library chooses)"
    )
    parser.add_argument(
        "--torch", action="store_true", help="measure through torch as well, and the differences from it"
    )
    parser.add_argument("--oracle", action="store_true",
                        help="also measure the learning step that is best on the test data, in separate columns; "
                             "slow")  # fmt: skip
    parser.add_argument("--decide", action="store_true",
                        help="compare fusions and temperatures, and recommend which to use")  # fmt: skip
    parser.add_argument("--official", metavar="DIR",
                        help="reproduce the released evaluation of PromptAD, with the shots that "
                             f"DIR/<category>/{SHOTS_NAME} lists")  # fmt: skip
    parser.add_argument("--workers", type=int, metavar="N", help="processes that share the categories (default 1)")
    parser.add_argument("--ray", metavar="ADDRESS",
                        help="use the workers of the Ray cluster at this address, whose machines have the same files; "
                             "local: start --workers on this machine")  # fmt: skip
    parser.set_defaults(**dict.fromkeys(("backbone", "torch", "oracle", "decide")))


def describe_methods() -> list[str]:
    """Return the lines of help that list the methods and their groups; without torch, a line on how to see them."""
    try:
        from .methods.table import GROUPS, METHODS
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("goodparts"):
            raise
        return [f"rows of --method: listed once {error.name} is installed: {install_line('train,evaluate')}"]
    width = max(map(len, METHODS))
    lines = [f"  {name:{width}}  {method.title}" for name, method in METHODS.items()]
    return ["rows of --method:", *lines, f"groups: {', '.join(GROUPS)}"]


def run(args: argparse.Namespace) -> int:
    from .report.markdown import to_markdown

    options = {name.replace("_", "-"): value for name, value in vars(args).items() if value is not None}
    if "weights" in options:
        options["weights"] = str(args.weights)
    summary, about = run_sweep(read_sweep(options.pop("sweep", None), options))
    print_lines(to_markdown(summary, about).split("\n"))
    return 0


def evaluate(data: str | Path, out: str | Path, **options: Any) -> Summary:
    """Measure how good methods are on a data set, as `goodparts evaluate` does.

    Each method learns from a few good photos of a category and is tested on the category's other photos. The extras
    `train` and `evaluate` are needed. For example:

        summary = goodparts.evaluate("mvtec", "results", shots=[1, 4], method=["memory", "promptad"])
        mean, deviation = summary.find("mean", "promptad", shots=4).values["image_auroc"]

    Args:
        data: A data set, one of its categories, or a folder with good/ and bad/; "drawn" for all kinds of drawn parts.
        out: The folder for results.csv, .json, .md and .html, made if it does not exist. Measurements that an earlier
            run finished there are not repeated.
        options: Further options of the command by their names, with _ instead of -. Options with several values, such
            as `shots`, `method` and `category`, take a list; switches, such as `oracle` and `torch`, take True.
            `goodparts evaluate --help-all` describes all options.

    Returns:
        The metrics, averaged over seeds. Its `rows` are the rows of the tables in results.md, the means over all
        categories first; `evaluation.measurements` are the single measurements.

    Raises:
        SettingsError: An option, a method or a category is unknown, a value is out of range, or nothing could be
            measured.
        FileError: The data set cannot be read, or the results cannot be written.
        ImageError: A photo or a mask cannot be read.
        EngineError: The engine is damaged or does not fit the backbone.
        BackboneError: The backbone is unknown, or its weights cannot be opened.
        BackendError: The inference library is missing, or a worker process died.
    """
    given = {name.replace("_", "-"): value for name, value in options.items()}
    if unknown := sorted(given.keys() - set(Sweep.__struct_encode_fields__)):
        raise SettingsError(f"no option {unknown[0]!r}: the options are {' '.join(Sweep.__struct_encode_fields__)}")
    summary, _ = run_sweep(read_sweep(None, {"data": str(data), "out": str(out), **given}))
    return summary


def run_sweep(sweep: Sweep) -> tuple[Summary, list[str]]:
    """Run the measurements that a sweep asks for, and write the results.

    Args:
        sweep: The options of the evaluation.

    Returns:
        The metrics, and lines that describe the evaluation.
    """
    from .plan import find_categories, open_plan
    from .report.decide import recommend
    from .report.files import write_results
    from .report.gather import gather
    from .report.papers import PUBLISHED_BACKBONE
    from .report.summary import Summary
    from .workers import measure_all

    require_folder(Path(sweep.out))
    plan, engine = open_plan(sweep)
    categories = find_categories(sweep, plan.data)
    evaluation = gather(plan, measure_all(sweep, plan, categories))
    about = describe(plan, len(categories), engine)
    if sweep.decide:
        about += recommend(evaluation.measurements, engine.backend)
    summary = Summary(
        data=printable(Path(plan.data.name)),
        comparable=categories == plan.data.categories and plan.encoder.backbone == PUBLISHED_BACKBONE,
        evaluation=evaluation,
        official=plan.official is not None,
    )
    write_results(Path(sweep.out), summary, plan.encoder, about, plan.methods)
    return summary, about


def describe(plan: EvaluationPlan, categories: int, engine: Engine) -> list[str]:
    """Return lines that describe the evaluation.

    Args:
        plan: The plan of the evaluation.
        categories: The number of measured categories.
        engine: The deployed engine.
    """
    lines = [
        f"{printable(Path(plan.data.name))}: {categories} of {len(plan.data.categories)} categories; "
        f"seeds: {plan.seeds}",
        f"encoder: {plan.encoder}",
        f"through: {engine.backend}",
        "shots are drawn by the hash of file name and seed; results.json lists them with their SHA-256",
    ]
    if engine.spec.note:
        lines.append(engine.spec.note)
    if plan.official:
        lines += DIFFERENCES
        if plan.oracle:
            lines.append("the released code reports the oracle columns: the best step on the test data (D13)")
    if plan.oracle:
        lines.append("oracle columns: the learning step that is best on the test data, which cannot be known on a line")
    return lines
