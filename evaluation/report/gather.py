"""What the cells of all categories say together, with the pictures that a report shows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

import msgspec
import numpy as np
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Floats

from ..cache import Cell, Finished, Manifest
from ..datasets import Sample, Split
from ..metrics.image import Flags
from ..run import Outcome, Plan


@dataclass(frozen=True, eq=False)
class Mistake:
    """A photo on the wrong side: a good one that scores as high as bad ones, or the other way round.

    size: the share of the other kind that it is wrong beside, above 0 and up to 1; view uint8 [S,S,3], grid [h,w].
    """

    sample: Sample
    score: float
    size: float
    view: Array8
    grid: Floats


@dataclass(frozen=True, eq=False)
class Shown:
    """A cell's image scores [N] and which are bad [N], and its worst mistakes, of one method a category."""

    cell: Cell
    scores: Floats
    bad: Flags
    mistakes: tuple[Mistake, ...]


@dataclass
class Evaluation:
    """Everything that was found."""

    cells: list[Cell] = field(default_factory=list)
    manifests: list[Manifest] = field(default_factory=list)
    shown: list[Shown] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)


def gather(plan: Plan, outcomes: Iterable[Outcome]) -> Evaluation:
    """Read the cells of all categories; SettingsError where nothing could be measured."""
    found = Evaluation()
    for outcome in outcomes:
        found.manifests += outcome.manifests
        found.remarks += outcome.remarks
        split, deployed = plan.data.split(outcome.category), dict[tuple[str, int, int], Floats]()
        with_views = next((name for name in plan.methods if name in outcome.shown), None)
        for digest in outcome.cells:
            finished = plan.cells.read(digest)
            cell, scores = finished.cell, finished.image
            assert cell is not None  # left out ones are no part of an outcome
            first = deployed.setdefault((cell.method, cell.shots, cell.seed), scores)
            if first is not scores:
                cell = msgspec.structs.replace(cell, difference=float(np.abs(first - scores).max()))
            found.cells.append(cell)
            if outcome.shown.get(cell.method) == digest:
                mistakes = _mistakes(plan, split, finished, outcome) if cell.method == with_views else ()
                found.shown.append(Shown(cell, scores, np.array(finished.bad, np.bool_), mistakes))
    if not found.cells:
        raise SettingsError(f"nothing could be measured: {'; '.join(found.remarks) or 'no method and no shots'}")
    return found


def _mistakes(plan: Plan, split: Split, finished: Finished, outcome: Outcome) -> tuple[Mistake, ...]:
    size = plan.encoder.image_size
    return tuple(
        Mistake(
            split.test[wrong.number],
            wrong.score,
            wrong.size,
            np.frombuffer(outcome.views[wrong.number], np.uint8).reshape(size, size, 3),
            np.frombuffer(wrong.grid, np.float32).reshape(wrong.shape),
        )
        for wrong in finished.worst
    )
