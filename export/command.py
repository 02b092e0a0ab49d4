"""`goodparts export`: make an engine for a backbone.

Modules that need torch or onnx are imported where they are used, so that the command can print its help without them.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, get_args

import numpy as np
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.commands.options import add_renamed
from goodparts.runtime.commands.printing import print_lines
from goodparts.runtime.core.errors import EngineError, SettingsError
from goodparts.runtime.core.files import require_folder
from goodparts.runtime.core.image_files import find_images
from goodparts.runtime.core.preprocess import Array8, load_rgb
from goodparts.runtime.core.view import View
from goodparts.runtime.describe import describe_engine
from goodparts.runtime.engine.shipped import refuse_shipped
from goodparts.trainer.anople.settings import DEFAULT

from .options import USUAL, add_backbone_arguments, add_check_argument, open_backbone
from .triton import Device, write_repository

if TYPE_CHECKING:
    from goodparts.trainer.clip.backbone import Backbone

CALIBRATION_PHOTOS = 16
"""The largest number of photos that int8 is calibrated on."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--engine", type=Path, required=True, metavar="DIR", help="the engine's folder")
    parser.add_argument("--force", action="store_true", help="replace an existing engine")
    parser.add_argument(
        "--precision", nargs="+", choices=get_args(Precision), metavar="P",
        help=f"precisions in addition to fp32: {', '.join(get_args(Precision)[1:])} (default {' '.join(USUAL)}); with "
             "--fused, the precision of the file (default fp32)",
    )  # fmt: skip
    parser.add_argument(
        "--int8-photos", nargs="+", type=Path, metavar="PATH",
        help="good photos, or folders of them, that int8 is calibrated on: 1 to 16 are used (default: drawn parts)",
    )  # fmt: skip
    add_renamed(parser, "--calibrate-on", "--int8-photos")
    add_check_argument(parser)
    parser.add_argument("--prompted", action="store_true",
                        help="also make the graph of AnoPLe recipes, or add it to an existing engine")  # fmt: skip
    parser.add_argument("--triton", type=Path, metavar="DIR",
                        help="make no engine: add the existing engine to this Triton model repository")  # fmt: skip
    parser.add_argument(
        "--triton-device", default="gpu", choices=get_args(Device), help="where Triton runs the engine (default gpu)"
    )
    parser.add_argument("--max-batch", type=int, default=8, metavar="N",
                        help="largest batch of views that Triton runs (default 8)")  # fmt: skip
    parser.add_argument("--fused", type=Path, metavar="OUT.onnx",
                        help="make no engine: write the existing engine and --recipe as one ONNX file")  # fmt: skip
    parser.add_argument("--recipe", type=Path, metavar="FILE", help="the recipe that --fused writes into the file")
    add_backbone_arguments(parser)


def run(args: argparse.Namespace) -> int:
    """Make an engine, or export an existing one as the options ask.

    Args:
        args: The command's options.

    Returns:
        The exit code.
    """
    if args.fused is not None or args.recipe is not None:
        return run_fused(args)
    if args.triton is not None:
        return run_triton(args)
    return run_engine(args)


def run_engine(args: argparse.Namespace) -> int:
    """Make an engine, or add the prompted graph to an existing one.

    Args:
        args: The command's options.

    Returns:
        The exit code.
    """
    from goodparts.trainer.anople.encoder import PromptedEncoder

    from .engines import find_engine, make_engine
    from .labelled import LabelledPhotos
    from .prompted import add_prompted

    adding = args.prompted and args.engine.exists() and not args.force
    check_engine_options(args, adding)
    backbone = open_backbone(args)
    encoder = PromptedEncoder(backbone, DEFAULT) if args.prompted else None
    photos = read_calibration_photos(args.int8_photos, backbone) if args.int8_photos else None
    labelled = None if args.check_on is None else LabelledPhotos.open(args.check_on, backbone)
    spec = find_engine(backbone, args.engine) if adding else None
    if spec is None:
        spec = make_engine(backbone, args.engine, args.precision, photos, labelled)
    if encoder is not None:
        spec = add_prompted(args.engine, backbone, encoder, photos)
    print_lines(describe_engine(args.engine, spec))
    return 0


def check_engine_options(args: argparse.Namespace, adding: bool) -> None:
    """Check the options, and the place of the engine, before slow work begins.

    Args:
        args: The command's options.
        adding: Whether the prompted graph is added to an existing engine.

    Raises:
        SettingsError: Two options clash.
        EngineError: The engine exists already, or ships with goodparts.
        FileError: The engine's folder cannot be written.
    """
    refuse_shipped(args.engine)
    if adding and (args.precision or args.check_on):
        raise SettingsError(f"--prompted: {args.engine} exists already; leave --precision and --check-on out")
    if args.engine.exists() and not (args.force or adding):
        raise EngineError(f"{args.engine} exists: name another folder, or replace it with --force")
    require_folder(args.engine if adding else args.engine.absolute().parent)
    if args.int8_photos and not adding and "int8" not in (args.precision or ()):
        raise SettingsError("--int8-photos without --precision int8: nothing else is calibrated")


def read_calibration_photos(paths: Sequence[Path], backbone: Backbone) -> Array8:
    """Return up to CALIBRATION_PHOTOS photos as the backbone reads them, uint8 [n,S,S,3], RGB.

    Args:
        paths: Photos, or folders of them.
        backbone: The backbone, which determines the size S.
    """
    frames = [load_rgb(path) for path in find_images(paths)[:CALIBRATION_PHOTOS]]
    return np.concatenate([View().cut(frame, backbone.encoder.image_size) for frame in frames])


def run_triton(args: argparse.Namespace) -> int:
    """Add an existing engine to a Triton model repository.

    Args:
        args: The command's options.

    Returns:
        The exit code.
    """
    folders = write_repository(args.engine, args.triton, device=args.triton_device, max_batch=args.max_batch)
    print_lines(f"{folder}: tritonserver --model-repository={args.triton.resolve()}" for folder in folders)
    return 0


def run_fused(args: argparse.Namespace) -> int:
    """Write the encoder of an existing engine and a recipe as one ONNX file.

    Args:
        args: The command's options.

    Returns:
        The exit code.

    Raises:
        SettingsError: One of --fused and --recipe is missing, --triton is given too, or there are several precisions.
    """
    from .fused import write_fused

    if args.fused is None or args.recipe is None:
        raise SettingsError("--fused OUT.onnx and --recipe FILE belong together: give both, or neither")
    if args.triton is not None:
        raise SettingsError("--fused and --triton are two exports: run the command once for each")
    precision, *more = args.precision or ["fp32"]
    if more:
        raise SettingsError(f"--fused with --precision {' '.join(args.precision)}: a file has one precision, give one")
    agreements = write_fused(args.engine, args.recipe, args.fused, precision)
    lines = [f"{args.fused}: {args.fused.stat().st_size / 1e6:.1f} MB, {precision}, with {args.recipe}"]
    for agreement in agreements:
        lines.append(
            f"  on {agreement.ran}: differs from goodparts by at most {agreement.difference:.1e} of the threshold"
        )
    print_lines(lines)
    return 0
