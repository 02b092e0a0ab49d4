"""The check of the CUDA kernels: their views and scores are compared with the CPU's before a plan may be used."""

from __future__ import annotations

import dataclasses

import msgspec
import numpy as np

from goodparts import __version__

from ..backends.gpu_scorer import open_gpu_scorer
from ..backends.library import Device
from ..backends.session import DeviceSession, Session
from ..backends.tensors import to_features
from ..core import native
from ..core.errors import ParityError
from ..core.scorer import BankPrecision, Scorer, Search
from ..core.scoring import RESIDUAL_WEIGHT, Learned
from ..core.view import Box, View
from .parity import Reference, largest, parity_product, scores_apart

TOLERANCES: dict[BankPrecision, float] = {
    # A distance is half of 1 minus a cosine. The GPU rounds both vectors of the cosine to the 11 bits of fp16.
    "fp32": 5e-4,
    # Here both vectors are rounded to 8 bits.
    "bf16": 4e-3,
    # Processors without AVX-512 do not round the queries. This is ten times the deviation that the rounding causes.
    "int8": 6e-3,
}
"""Precision of the memory → the largest allowed difference of any score."""

PICTURES = 2
"""The number of the engine's pictures that are scored: first one by itself, then all at once if they fit."""


class KernelCheck(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The difference between the CUDA kernels and the CPU on a plan's GPU.

    Attributes:
        version: The version of goodparts that the kernels belong to. The kernels of another version are checked again.
        score_differences: The largest difference of any score, for each precision of the memory.
    """

    version: str
    score_differences: dict[BankPrecision, float]


def needs_kernel_check(check: KernelCheck | None, session: Session) -> bool:
    """Return whether an open graph would use CUDA kernels that a check does not cover.

    Args:
        check: The last check; None if there was none.
        session: The open graph.
    """
    runs_kernels = native.cuda() is not None and isinstance(session, DeviceSession)
    return runs_kernels and (check is None or check.version != __version__)


def check_kernels(session: Session, reference: Reference, device: Device) -> KernelCheck | None:
    """Compare the CUDA kernels with the CPU on an engine's pictures.

    Both get the same features, those of the open graph. So every difference is due to the kernels.

    Args:
        session: The open graph.
        reference: The engine's pictures. They are enlarged first, so that the kernels must cut out a part and shrink
            it.
        device: The device that the graph runs on.

    Returns:
        The record. None if the graph does not run on a GPU, or there are no kernels here.

    Raises:
        ParityError: The kernels cut other pixels than the CPU, or a score differs by more than TOLERANCES.
    """
    if native.cuda() is None or not isinstance(session, DeviceSession):
        return None
    size = reference.images.shape[1]
    view = View(roi=Box(size // 4, size // 2, size, size + size // 4))
    frames = [image.repeat(2, axis=0).repeat(2, axis=1) for image in reference.images[:PICTURES]]
    views = np.concatenate([view.cut(frame, size) for frame in frames])
    grid, conditions = reference.features.grid, reference.conditions
    learned = _product(reference)
    found: dict[BankPrecision, float] = {}
    for precision, tolerance in TOLERANCES.items():
        if precision == "bf16" and (device.capability or (8, 0)) < (8, 0):
            continue  # such GPUs do not support a memory in bf16
        search = Search(precision)
        on_gpu = open_gpu_scorer(session, learned, grid, view, search, conditions)
        assert on_gpu is not None
        on_cpu = Scorer(learned, grid, search=search)
        differences = []
        for batch in sorted({1, min(len(frames), session.max_batch)}):
            scores, pixels, _ = on_gpu(frames[:batch])
            if pixels is None or not np.array_equal(pixels, views[:batch]):
                raise ParityError(f"the CUDA kernels cut other pixels on {device} than the CPU does")
            features = to_features(session.run(views[:batch], conditions), grid)
            differences.append(scores_apart(scores, on_cpu(features)))
        found[precision] = largest(differences)
        if not found[precision] <= tolerance:  # written so that a NaN fails
            raise ParityError(
                f"the CUDA kernels' scores on {device} differ from the CPU's by {found[precision]:.1e} with a memory "
                f"in {precision} (at most {tolerance:.0e})"
            )
    return KernelCheck(version=__version__, score_differences=found)


def _product(reference: Reference) -> Learned:
    """Return the product of the parity gate, with the residual fusion.

    All margins of a bank are equal, because rounding decides which of two almost equally near rows is found.
    """
    learned = parity_product(reference.features)
    margins = tuple(np.full(len(rows), 0.1, np.float32) for rows in learned.banks)
    return dataclasses.replace(learned, fusion="residual", margins=margins, residual_weight=RESIDUAL_WEIGHT)
