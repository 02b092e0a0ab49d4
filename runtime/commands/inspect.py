"""`goodparts inspect`: photos in, verdicts out."""

from __future__ import annotations

import argparse
import heapq
import io
import itertools
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TextIO, get_args

import msgspec
from PIL import Image

from ..backends.registry import BACKENDS
from ..backends.session import Precision
from ..core.errors import GoodpartsError, SettingsError
from ..core.files import printable, require_folder_of, write_atomic, writing
from ..core.image_files import find_images
from ..core.preprocess import Array8, load_rgb
from ..core.scorer import BankPrecision, Search
from ..describe import as_record
from ..detector import Detector
from ..inspection import Inspection
from ..overlay import TILE, draw_contact_sheet, draw_overlay
from ..recipe.signing import Trust
from .sign import add_trust

SHEET_PICTURES = 60
"""A contact sheet shows the pictures with the highest scores, up to this many."""

Outcomes = Iterator[tuple[Path, Inspection | GoodpartsError]]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="pictures, or folders of pictures")
    parser.add_argument("--engine", type=Path, required=True, metavar="DIR", help="engine folder")
    parser.add_argument("--recipe", type=Path, required=True, metavar="FILE", help="recipe of the product")
    add_trust(parser)
    parser.add_argument("--backend", default="auto", help=f"auto (default), {', '.join(BACKENDS)}")
    parser.add_argument("--precision", default="fp32", choices=get_args(Precision))
    parser.add_argument("--threads", type=int, metavar="N", help="of the inference library")
    parser.add_argument(
        "--memory-precision", default="fp32", choices=get_args(BankPrecision), help="of the memory's rows"
    )
    parser.add_argument(
        "--recall", type=float, default=1.0, metavar="SHARE",
        help="of patches that must find their nearest row in a large memory; below 1 is faster (default 1: exact)",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="pictures per encoder pass (default 1)")
    parser.add_argument("--threshold", type=float, metavar="T", help="raw image score from which a part is rejected")
    parser.add_argument("--json", metavar="FILE", help="one JSON line per picture; - is standard output")
    parser.add_argument("--overlays", type=Path, metavar="DIR", help="write the pictures with heat-map and verdict")
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help=f"write a contact sheet of the {SHEET_PICTURES} highest scores"
    )
    parser.add_argument("--fail-on-reject", action="store_true", help="exit with 1 if any part is rejected")


def run(args: argparse.Namespace) -> int:
    if args.batch < 1:
        raise SettingsError(f"--batch {args.batch}: at least 1 is needed")
    for target in (args.sheet, None if args.json in (None, "-") else Path(args.json)):
        if target is not None:
            require_folder_of(target)
    detector = Detector.open(
        args.engine, args.recipe, backend=args.backend, precision=args.precision, threads=args.threads, verify=True,
        search=Search(args.memory_precision, args.recall),
        trust=None if args.accept_signed is None else Trust.read(args.accept_signed),
    )  # fmt: skip
    if args.threshold is not None:
        detector.thresholds = msgspec.structs.replace(detector.thresholds, image=args.threshold)
    _say_what_runs(detector)
    images = find_images(args.paths)
    gallery = Gallery(args.overlays, args.sheet, args.paths)
    table: TextIO = sys.stderr if args.json == "-" else sys.stdout
    outcomes, say = _progress(_inspect_all(detector, images, args.batch, gallery), len(images))
    lines: list[bytes] = []
    rejected = broken = 0
    try:
        for path, outcome in outcomes:
            record: dict[str, Any]
            if isinstance(outcome, Inspection):
                rejected += outcome.verdict == "reject"
                record = {"path": printable(path), **as_record(outcome)}
                say(f"{outcome.verdict:6}  {outcome.calibrated:.3f}  {printable(path)}", file=table)
            else:
                broken += 1
                record = {"path": printable(path), "error": str(outcome)}
                say(f"goodparts: {outcome}", file=sys.stderr)
            lines.append(msgspec.json.encode(record) + b"\n")
            if args.json == "-":
                sys.stdout.write(lines[-1].decode())
                sys.stdout.flush()
    finally:  # an interrupt keeps what was found before it
        if args.json not in (None, "-"):
            write_atomic(Path(args.json), b"".join(lines))
        gallery.close()
    good = len(images) - rejected - broken
    print(f"{len(images)} inspected: {good} good, {rejected} rejected, {broken} unreadable", file=table)
    if broken:
        return 2
    return 1 if args.fail_on_reject and rejected else 0


def _inspect_all(detector: Detector, images: list[Path], batch: int, gallery: Gallery) -> Outcomes:
    """Inspect in batches; what cannot be read is handed on as its error, the rest goes on."""
    for start in range(0, len(images), batch):
        readable: list[tuple[Path, Array8]] = []
        for path in images[start : start + batch]:
            try:
                frame = load_rgb(path)
                detector.recipe.header.view.check(*frame.shape[:2])
                readable.append((path, frame))
            except GoodpartsError as error:
                yield path, error
        for (path, frame), inspection in zip(
            readable, detector.predict_batch([frame for _, frame in readable]), strict=True
        ):
            gallery.add(path, frame, inspection)
            yield path, inspection


class Gallery:
    """Overlays in a folder, and a contact sheet of the highest scores; either, both or neither."""

    def __init__(self, folder: Path | None, sheet: Path | None, roots: list[Path]) -> None:
        self._folder, self._sheet, self._roots = folder, sheet, roots
        self._highest: list[tuple[float, int, str, Image.Image]] = []
        self._names: set[str] = set()
        self._count = itertools.count()  # of equal scores the later goes first
        if folder:
            with writing(folder):
                folder.mkdir(parents=True, exist_ok=True)

    def add(self, path: Path, frame: Array8, inspection: Inspection) -> None:
        name = self._unused(overlay_name(path, self._roots))
        if self._folder:
            _save_png(self._folder / name, draw_overlay(frame, inspection))
        if self._sheet:
            entry = inspection.calibrated, next(self._count), name, draw_overlay(frame, inspection, longest=TILE)
            (heapq.heappush if len(self._highest) < SHEET_PICTURES else heapq.heappushpop)(self._highest, entry)

    def _unused(self, name: str) -> str:
        taken, stem = name, name.removesuffix(".png")
        for number in itertools.count(2):
            if taken not in self._names:
                break
            taken = f"{stem}_{number}.png"
        self._names.add(taken)
        return taken

    def close(self) -> None:
        """Write the sheet, highest score first."""
        if self._sheet and self._highest:
            ordered = sorted(self._highest, key=lambda entry: (-entry[0], entry[1]))
            _save_png(self._sheet, draw_contact_sheet([(name, picture) for *_, name, picture in ordered]))


def overlay_name(path: Path, roots: list[Path]) -> str:
    """A flat file name that shows the folders on the way to the picture."""
    inside = next((path.relative_to(root) for root in roots if root.is_dir() and path.is_relative_to(root)), None)
    name = printable(Path("_".join((inside or Path(path.name)).parts)))
    return name if path.suffix.lower() == ".png" else f"{name}.png"


def _save_png(target: Path, picture: Image.Image) -> None:
    buffer = io.BytesIO()
    picture.save(buffer, "PNG")
    write_atomic(target, buffer.getvalue())


def _say_what_runs(detector: Detector) -> None:
    header = detector.recipe.header
    print(f"{header.product}: {detector.engine.encoder.backbone} on {detector.engine.backend}", file=sys.stderr)
    if header.protocol == "official":
        print(
            "note: trained with --protocol official, which reproduces the released code, quirks included",
            file=sys.stderr,
        )
    if header.encoder.backbone == "demo":
        print("note: the demo backbone has only seen drawn parts; it is for trying and testing", file=sys.stderr)


def _progress(outcomes: Outcomes, total: int) -> tuple[Outcomes, Callable[..., None]]:
    """A progress bar where there is a terminal to see it and tqdm (the extra cli) to draw it, and the
    function that prints a line beside it."""
    try:
        from tqdm import tqdm
    except ImportError:
        return outcomes, print
    bar = tqdm(outcomes, total=total, unit="picture", file=sys.stderr, disable=None, leave=False)
    return iter(bar), tqdm.write
