"""The tensors of an encoder's graph, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from ..core.errors import EngineError
from ..core.scoring import Features, Floats

IMAGE = "image"
"""The input: views, uint8 [B,S,S,3]."""

GLOBAL, LOCAL = "global", "local"
"""The outputs of the joint space, float32 [B,D] and [B,P,D]."""

Outputs = dict[str, Floats]
"""What a run of a graph gives: output name → float32 [B,…]."""

T = TypeVar("T")


def output_names(taps: int) -> list[str]:
    """Return the names of an encoder's outputs: global, local and, float32 [B,P,W] each, memory_0 and so on.

    taps: how many memory outputs the encoder has.
    """
    return [GLOBAL, LOCAL, *(f"memory_{index}" for index in range(taps))]


def name_outputs(values: Sequence[T]) -> dict[str, T]:
    """Name the outputs of an encoder that gives them by position: global, local, then one per tap."""
    return dict(zip(output_names(len(values) - 2), values, strict=True))


def split_outputs(outputs: Mapping[str, T]) -> tuple[T, T, list[T]]:
    """Return the global output, the local output, and the memory outputs in the order of the taps.

    Raises EngineError where the names are not those of an encoder.
    """
    names = output_names(len(outputs) - 2)
    if outputs.keys() != set(names):
        raise EngineError(
            f"the graph gives {', '.join(outputs)}, not global, local, memory_0 …: export or build it again"
        )
    first, second, *memory = (outputs[name] for name in names)
    return first, second, memory


def to_features(outputs: Outputs, grid: tuple[int, int]) -> Features:
    """Make features of an encoder's outputs, without a copy.

    grid: rows and columns of patches. Raises EngineError where the names are not those of an encoder.
    """
    global_, local, memory = split_outputs(outputs)
    return Features(global_, local, tuple(memory), grid)
