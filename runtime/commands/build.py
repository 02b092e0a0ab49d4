"""`goodparts build`: build the plan of an engine's graph for this machine."""

from __future__ import annotations

import argparse
from typing import get_args

from ..backends.library import BuildSettings, Hardware
from ..backends.registry import BACKENDS, TENSORRT
from ..backends.session import GraphName
from ..core.errors import SettingsError
from ..describe import describe_plan
from ..engine.build import build_plan, trtexec_commands
from ..engine.spec import read_spec
from .options import add_engine, add_precision, add_renamed
from .printing import print_lines

PLANNED = [name for name in BACKENDS if name != "onnxruntime"]  # ONNX Runtime runs graphs without a plan.


def add_arguments(parser: argparse.ArgumentParser) -> None:
    defaults = BuildSettings()
    add_engine(parser)
    parser.add_argument("--backend", required=True, choices=PLANNED, help="inference library to build the plan for")
    add_renamed(parser, "--device", "--backend")
    add_precision(parser)
    parser.add_argument("--max-batch", type=int, default=defaults.max_batch, metavar="N",
                        help=f"most views in one run (default {defaults.max_batch})")  # fmt: skip
    parser.add_argument("--opt-batch", type=int, default=defaults.opt_batch, metavar="N",
                        help=f"batch size to be fastest at (default {defaults.opt_batch})")  # fmt: skip
    parser.add_argument("--hardware", default=defaults.hardware, choices=get_args(Hardware),
                        help="GPUs that may use the plan: the model it is built on (default), every model of its "
                             "compute capability, or every model from 8.0 on; more models make it slower")  # fmt: skip
    parser.add_argument("--later-versions", action="store_true", help="later versions of TensorRT may use the plan")
    parser.add_argument("--level", type=int, default=defaults.level, choices=range(6), metavar="0-5",
                        help=f"how long to look for fast kernels (default {defaults.level})")  # fmt: skip
    parser.add_argument("--workspace", type=int, metavar="MIB", help="most scratch memory (default: all of the GPU's)")
    parser.add_argument("--capability", type=_capability, metavar="X.Y",
                        help="build for GPUs of this compute capability, such as 8.9, also on a machine without one; "
                             "the plan is compared with torch in its first run (tensorrt-rtx; default: this "
                             "machine's GPU)")  # fmt: skip
    parser.add_argument("--force", action="store_true", help="build even if there is a plan that fits")
    parser.add_argument("--prompted", action="store_true",
                        help="build the prompted graph, which AnoPLe recipes need, not the plain one")  # fmt: skip
    parser.add_argument("--print-trtexec", action="store_true",
                        help="print a trtexec command for each graph, build nothing (needs no TensorRT)")  # fmt: skip


def _capability(text: str) -> tuple[int, int]:
    major, dot, minor = text.partition(".")
    if not (dot and major.isdecimal() and minor.isdecimal()):
        raise argparse.ArgumentTypeError(f"{text!r}: a compute capability is two numbers, as in 8.9")
    return int(major), int(minor)


def run(args: argparse.Namespace) -> int:
    settings = BuildSettings(
        args.max_batch,
        args.opt_batch,
        args.hardware,
        args.later_versions,
        args.level,
        args.workspace,
        args.capability,
    )
    if args.print_trtexec:
        if args.backend != TENSORRT:
            raise SettingsError(f"--print-trtexec with --backend {args.backend}: it is for {TENSORRT}")
        print_lines(trtexec_commands(args.engine, read_spec(args.engine), settings))
        return 0
    graph: GraphName = "prompted" if args.prompted else "plain"
    plan, built = build_plan(args.engine, args.precision, settings, args.backend, replace=args.force, name=graph)
    if built:
        print_lines([describe_plan(plan)])
    else:
        print_lines([f"{plan.name}, for {plan.batches}, exists and fits: nothing was built (--force builds again)"])
    return 0
