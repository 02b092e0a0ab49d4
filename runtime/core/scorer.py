"""A scorer for one product: it uses the C++ core if that is installed, otherwise scoring.py.

For the fusion "subspace" it always uses scoring.py.
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
    """How the C++ core searches a product's memory. numpy always searches it exactly, in fp32.

    Attributes:
        precision: The precision of the rows that are searched.
        recall: The share of a good photo's patches that must find their nearest row, above 0, up to 1. Below 1, only a
            part of a large bank is searched.

    Raises:
        SettingsError: A value is not accepted.
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
    """A function from features to scores, for one product. The product's banks are prepared once.

    It gives the same scores as scoring.score, to 1e-5 if the search is exact.

    Args:
        learned: The product.
        grid: Rows and columns of patches in a view.
        search: How the C++ core searches the memory.
        threads: The most threads that work on a call; None means one for each processor.
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
        """Score a batch of views. Several threads may call at once.

        Args:
            features: The features of the views.

        Returns:
            The scores of the views.
        """
        if self._run is None:
            with one_blas_thread():
                return score(features, self._learned)
        image, grid, *branches = self._run(features.global_, features.local, list(features.memory), self._threads)
        return with_image_maximum(Scores(image, grid, Branches(*branches)), self._learned)


def with_image_maximum(scores: Scores, learned: Learned) -> Scores:
    """Return a kernel's scores. For "top" the image scores are computed here, because no kernel computes them.

    Args:
        scores: The kernel's scores. They are returned unchanged if `learned.image_maximum` is not "top".
        learned: The product.
    """
    if learned.image_maximum != "top":
        return scores
    return combine(dataclasses.replace(scores.branches, image_memory=mean_of_top(scores.branches.grid_memory)), learned)


def kernel_arguments(
    learned: Learned, banks: Sequence[Any], margins: Sequence[Floats], grid: tuple[int, int]
) -> tuple[Any, ...]:
    """Return the arguments of the constructors of the C++ core's scorers, for CPU and GPU.

    Args:
        learned: The product.
        banks: The C++ core's banks, filled.
        margins: One array for each bank, [rows], float32, in the order of the bank's rows; empty without margins.
        grid: Rows and columns of patches in a view.
    """
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
    """Append rows to a bank, and prepare the bank so that a search covers only as much of it as the recall needs.

    The recall is measured with held-out rows: the rows of one photo are searched for among the rows of the others. If
    there is only one photo, one row in 16 is held out.

    Args:
        bank: An empty bank of the C++ core.
        rows: The rows, [rows, width], float32, l2-normalised.
        shot_of_row: The shot that each row came from, [rows]; None if unknown.
        recall: The share of held-out rows that must find their nearest row, above 0, up to 1; 1 searches every row.

    Returns:
        The index in `rows` of each row of the bank, in the bank's order, [rows].
    """
    held_out = np.arange(len(rows)) % 16 == 0
    if shot_of_row is not None and shot_of_row.min() < shot_of_row.max():
        held_out = shot_of_row == shot_of_row.max()
    if recall == 1 or held_out.all():
        bank.append(rows)
        return np.arange(len(rows))
    bank.append(rows[~held_out])
    reached = bank.partition(rows[held_out], recall)
    bank.append(rows[held_out])
    log.info("memory of %d rows: %.1f %% of a good photo's patches find their nearest row", len(rows), 100 * reached)
    return np.concatenate([np.flatnonzero(~held_out), np.flatnonzero(held_out)])
