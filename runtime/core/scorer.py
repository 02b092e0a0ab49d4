"""Scoring one product again and again: through the C++ core where it is there, else as scoring.py has it.

Subspaces are scored as scoring.py has it, whether the core is there or not.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from . import native
from .errors import SettingsError
from .scoring import Branches, Features, Floats, Learned, Scores, combine, mean_of_top, score
from .threads import one_blas_thread

log = logging.getLogger(__name__)

BankPrecision = Literal["fp32", "bf16", "int8"]


@dataclass(frozen=True)
class Search:
    """How the C++ core searches a product's memory; numpy always does it exactly.

    precision: of the rows that are kept. recall, above 0 and up to 1: the share of a good photo's patches that must
    find their nearest row; below 1, a search of a large bank looks at some of its rows alone.
    """

    precision: BankPrecision = "fp32"
    recall: float = 1.0

    def __post_init__(self) -> None:
        if self.precision not in get_args(BankPrecision):
            accepted = ", ".join(get_args(BankPrecision))
            raise SettingsError(f"memory precision {self.precision!r}: {accepted} are accepted")
        if not 0 < self.recall <= 1:
            raise SettingsError(f"recall {self.recall}: above 0, up to 1 is accepted")


EXACT = Search()


class Scorer:
    """Calling it gives what scoring.score gives, to 1e-5 where the search is exact.

    The product's banks are laid out once. threads: bound on those that work on a call, None for all processors.
    """

    def __init__(
        self, learned: Learned, grid: tuple[int, int], *, search: Search = EXACT, threads: int | None = None
    ) -> None:
        self._learned = learned
        self._threads = threads or 0
        self._run = None
        core = native.core()
        if core is None or learned.fusion == "subspace":
            return
        banks, margins = [], []
        for number, rows in enumerate(learned.banks):
            banks.append(core.Bank(rows.shape[1], search.precision))
            shots = learned.shot_of_row[number] if learned.shot_of_row else None
            order = fill(banks[-1], rows, shots, search.recall)
            margins += [learned.margins[number][order]] if learned.margins else []
        self._run = core.Scorer(*kernel_arguments(learned, banks, margins, grid)).run

    def __call__(self, features: Features) -> Scores:
        """Score a batch of views. Several threads may call at once."""
        if self._run is None:
            with one_blas_thread():
                return score(features, self._learned)
        image, grid, *branches = self._run(features.global_, features.local, list(features.memory), self._threads)
        return with_image_maximum(Scores(image, grid, Branches(*branches)), self._learned)


def with_image_maximum(scores: Scores, learned: Learned) -> Scores:
    """Return what a kernel scored with the image score that it does not know, the mean of the largest patches."""
    if learned.image_maximum != "top":
        return scores
    return combine(dataclasses.replace(scores.branches, image_memory=mean_of_top(scores.branches.grid_memory)), learned)


def kernel_arguments(
    learned: Learned, banks: Sequence[Any], margins: Sequence[Floats], grid: tuple[int, int]
) -> tuple[Any, ...]:
    """Return what the C++ core's Scorer is made of, on CPU and GPU; margins are in the order of the banks' rows."""
    return (
        learned.image_prompts,
        learned.pixel_prompts,
        banks,
        learned.temperature,
        grid,
        learned.image_maximum == "map",
        learned.fusion,
        list(margins),
        learned.residual_weight,
    )


def fill(bank: Any, rows: Floats, shot_of_row: npt.NDArray[np.int32] | None, recall: float) -> npt.NDArray[np.intp]:
    """Append rows [R,W], of `shot_of_row` [R], and reach the recall asked for, as measured on the rows of one photo in
    those of the others; of a single photo, on one row in 16. Returns the rows' order in the bank."""
    held_out = np.arange(len(rows)) % 16 == 0
    if shot_of_row is not None and shot_of_row.min() < shot_of_row.max():
        held_out = shot_of_row == shot_of_row.max()
    if recall == 1 or held_out.all():
        bank.append(rows)
        return np.arange(len(rows))
    bank.append(rows[~held_out])
    reached = bank.partition(rows[held_out], recall)
    bank.append(rows[held_out])
    log.info("memory of %d rows: %.1f %% of a good photo's patches find their nearest one", len(rows), 100 * reached)
    return np.concatenate([np.flatnonzero(~held_out), np.flatnonzero(held_out)])
