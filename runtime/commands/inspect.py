"""`goodparts inspect`: gives the verdict on each photo."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator, Set
from pathlib import Path
from typing import Any, NamedTuple, TextIO, get_args

import msgspec

from ..core.errors import GoodpartsError, SettingsError
from ..core.files import printable, require_folder, sha256, visible, write_atomic
from ..core.image_files import find_images
from ..core.outputs import require_output
from ..core.preprocess import Array8, load_rgb
from ..core.scene import SceneReason
from ..core.scorer import BankPrecision, Search
from ..describe import PROVISIONAL, as_record
from ..detector import Detector
from ..inspection import Inspection, format_score
from ..recipe.header import Verdict
from ..recipe.signing import Trust
from .options import add_backend, add_engine, add_recipe, add_threads, add_threshold, add_trust
from .overlay_writer import SHEET_PICTURES, OverlayWriter
from .printing import print_lines

SHOT_SCORE = 0.05
"""A photo that scores less may be one that the recipe was learned from."""


class Inspected(NamedTuple):
    """A picture, and what was found in it.

    Attributes:
        path: The picture's file.
        frame: Its pixels, uint8 RGB [height, width, 3]; None if it could not be read.
        outcome: The inspection, or the error if the picture could not be inspected.
    """

    path: Path
    frame: Array8 | None
    outcome: Inspection | GoodpartsError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("paths", nargs="+", type=Path, metavar="PATH", help="pictures, or folders of pictures")
    add_recipe(parser)
    add_engine(parser)
    add_trust(parser)
    add_backend(parser)
    add_threads(parser)
    parser.add_argument(
        "--memory-precision",
        default="fp32",
        choices=get_args(BankPrecision),
        help="precision of the memory's rows (default %(default)s)",
    )
    parser.add_argument(
        "--recall", type=float, default=1.0, metavar="SHARE",
        help="share of patches that must find their nearest row in the memory; below 1 is faster (default 1: exact)",
    )  # fmt: skip
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="pictures per encoder pass (default 1)")
    add_threshold(parser)
    parser.add_argument(
        "--json",
        metavar="FILE",
        help="write one JSON line per picture, instead of those of an earlier run; - is standard output",
    )
    parser.add_argument(
        "--overlays", type=Path, metavar="DIR", help="write each picture with its heat-map and verdict into this folder"
    )
    parser.add_argument(
        "--sheet", type=Path, metavar="FILE", help=f"write a contact sheet of the {SHEET_PICTURES} highest scores"
    )
    parser.add_argument(
        "--fail-on-reject",
        action="store_true",
        help="exit with 1 if a part is rejected, else with 3 if one is to be reviewed",
    )


def run(args: argparse.Namespace) -> int:
    if args.batch < 1:
        raise SettingsError(f"--batch {args.batch}: at least 1 is needed")
    if args.sheet is not None:
        require_output(args.sheet, "picture")
    if args.json not in (None, "-"):
        require_output(Path(args.json), "JSON lines")
    if args.overlays is not None:
        require_folder(args.overlays)
    detector = Detector.open(
        args.engine, args.recipe, backend=args.backend, precision=args.precision, threads=args.threads, verify=True,
        search=Search(args.memory_precision, args.recall),
        trust=None if args.accept_signed is None else Trust.read(args.accept_signed),
    )  # fmt: skip
    if args.threshold is not None:
        detector.thresholds = detector.thresholds.scaled_by(args.threshold)
    _print_what_runs(detector)
    images = find_images(args.paths)
    overlays = OverlayWriter(args.overlays, args.sheet, args.paths)
    inspected, print_line = _with_progress(inspect_all(detector, images, args.batch), len(images))
    verdicts = Verdicts(args.json, print_line, {shot.sha256 for shot in detector.recipe.header.shots})
    try:
        for path, frame, outcome in inspected:
            if frame is not None and isinstance(outcome, Inspection):
                overlays.add(path, frame, outcome)
            verdicts.add(path, outcome)
    finally:  # An interrupt, too, must not lose the results so far.
        verdicts.close()
        overlays.close()
    verdicts.print_totals()
    written = [target for target in (args.overlays, args.sheet) if target is not None]
    if written:
        print_lines([f"pictures: {' and '.join(map(printable, written))}"], sys.stderr)
    if verdicts.unreadable:
        return 2
    if args.fail_on_reject and verdicts.counts["reject"]:
        return 1
    return 3 if args.fail_on_reject and verdicts.counts["review"] else 0


def inspect_all(detector: Detector, images: list[Path], batch: int) -> Iterator[Inspected]:
    """Inspect pictures.

    Args:
        detector: The detector that inspects them.
        images: The pictures' files.
        batch: How many pictures are encoded in one pass, 1 or more.

    Yields:
        Each picture with its inspection, or with the error if it could not be read. An error does not stop the others.
    """
    for start in range(0, len(images), batch):
        readable: list[tuple[Path, Array8]] = []
        for path in images[start : start + batch]:
            try:
                frame = load_rgb(path)
                detector.recipe.header.view.check(frame.shape[0], frame.shape[1], printable(path))
                readable.append((path, frame))
            except GoodpartsError as error:
                yield Inspected(path, None, error)
        inspections = detector.predict_batch([frame for _, frame in readable])
        for (path, frame), inspection in zip(readable, inspections, strict=True):
            yield Inspected(path, frame, inspection)


class Verdicts:
    """Prints a line for each picture, writes its JSON record, and counts the verdicts.

    Args:
        json: The file of the records, which `close` writes. "-" is standard output; the lines then go to standard
            error. None writes no records.
        print_line: Prints a line to a stream, as `print` does.
        shots: The SHA-256 of each photo that the recipe was learned from.
    """

    def __init__(self, json: str | None, print_line: Callable[..., None], shots: Set[str]) -> None:
        self.counts = dict.fromkeys(get_args(Verdict), 0)
        self.unreadable = 0
        self._shots, self._shots_inspected = shots, 0
        self._scenes: dict[SceneReason, list[str]] = {}
        self._json, self._print_line = json, print_line
        self._table: TextIO = sys.stderr if json == "-" else sys.stdout
        self._records: list[bytes] = []

    def add(self, path: Path, outcome: Inspection | GoodpartsError) -> None:
        """Print and record what was found in a picture, or why it could not be inspected.

        Args:
            path: The picture's file.
            outcome: The inspection, or the error.
        """
        name = printable(path)
        record: dict[str, Any]
        if isinstance(outcome, Inspection):
            self.counts[outcome.verdict] += 1
            self._shots_inspected += outcome.score < SHOT_SCORE and sha256(path) in self._shots
            record = {"path": name, **as_record(outcome)}
            score = format_score(outcome.score)
            scene = ""
            if outcome.scene is not None:
                scene = f"  scene changed: {outcome.scene.reason}"
                self._scenes.setdefault(outcome.scene.reason, []).append(outcome.scene.sentence)
            self._print_line(f"{outcome.verdict:6}  {score:>6}  {visible(name)}{scene}", file=self._table)
        else:
            self.unreadable += 1
            record = {"path": name, "error": str(outcome)}
            self._print_line(f"goodparts: {visible(str(outcome))}", file=sys.stderr)
        line = msgspec.json.encode(record) + b"\n"
        if self._json == "-":
            sys.stdout.write(line.decode())
            sys.stdout.flush()
        elif self._json is not None:
            self._records.append(line)

    def close(self) -> None:
        """Write the JSON file, if there is one."""
        if self._json not in (None, "-"):
            write_atomic(Path(str(self._json)), b"".join(self._records))

    def print_totals(self) -> None:
        """Print how many pictures got each verdict or were unreadable, and how many show a changed scene and why."""
        good, review, rejected = (self.counts[verdict] for verdict in get_args(Verdict))
        to_review = f"{review} to review, " if review else ""
        print(
            f"{good + review + rejected + self.unreadable} inspected: {good} good, {to_review}{rejected} rejected, "
            f"{self.unreadable} unreadable",
            file=self._table,
        )
        if self._shots_inspected:
            print(
                f"the recipe was learned from {self._shots_inspected} of them, which therefore score about 0: inspect "
                "other parts",
                file=self._table,
            )
        for sentences in self._scenes.values():
            print(f"the scene has changed in {len(sentences)} of them: {sentences[0]}", file=self._table)


def _print_what_runs(detector: Detector) -> None:
    header = detector.recipe.header
    lines = [f"{header.product}: {detector.engine.encoder.backbone} on {detector.engine.backend}"]
    if header.protocol == "official":
        lines.append("note: trained with --protocol official, which reproduces the released code with its faults")
    if detector.is_provisional:
        lines.append(f"note: {PROVISIONAL}")
    print_lines(lines, sys.stderr)


def _with_progress(inspected: Iterator[Inspected], total: int) -> tuple[Iterator[Inspected], Callable[..., None]]:
    """Put a progress bar around the pictures, and return a function that prints a line above it.

    There is a bar only on a terminal, and only if tqdm (the extra cli) is installed.
    """
    try:
        from tqdm import tqdm
    except ImportError:
        return inspected, print
    bar = tqdm(inspected, total=total, unit="picture", file=sys.stderr, disable=None, leave=False)
    return iter(bar), tqdm.write
