"""Scoring one product again and again: through the C++ core where it is there, else as scoring.py has it."""

from __future__ import annotations

from typing import Literal

from . import native
from .scoring import UNIT_SCALES, Branches, Features, Learned, Scores, score
from .threads import one_blas_thread

BankPrecision = Literal["fp32", "bf16", "int8"]


class Scorer:
    """Calling it gives what scoring.score gives, to 1e-5 with banks in fp32.

    The product's banks are laid out once. precision: of the banks in the C++ core (numpy knows fp32 alone);
    threads: bound on those that work on a call, None for all processors.
    """

    def __init__(
        self, learned: Learned, grid: tuple[int, int], *, precision: BankPrecision = "fp32", threads: int | None = None
    ) -> None:
        self._learned = learned
        self._threads = threads or 0
        self._run = None
        core = native.core()
        if core is None:
            return
        banks = []
        for rows in learned.banks:
            bank = core.Bank(rows.shape[1], precision)
            bank.append(rows)
            banks.append(bank)
        scales = learned.scales or UNIT_SCALES
        self._run = core.Scorer(
            learned.image_prompts,
            learned.pixel_prompts,
            banks,
            learned.temperature,
            grid,
            learned.image_maximum == "map",
            (scales.image_prompt, scales.image_memory, scales.grid_prompt, scales.grid_memory),
        ).run

    def __call__(self, features: Features) -> Scores:
        """All scores of a batch of views. Several threads may call at once."""
        if self._run is None:
            with one_blas_thread():
                return score(features, self._learned)
        image, grid, *branches = self._run(features.global_, features.local, list(features.memory), self._threads)
        return Scores(image, grid, Branches(*branches))
