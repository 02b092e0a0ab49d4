"""The tensors of an encoder's graph, by name."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TypeVar

from ..core.errors import EngineError
from ..core.scoring import Features, Floats

IMAGE = "image"
"""The name of the input: views, [B,S,S,3], uint8."""

GLOBAL, LOCAL = "global", "local"
"""The names of the outputs in the joint space: [B,D] and [B,P,D], float32."""

Outputs = dict[str, Floats]
"""The result of a run of a graph: output name → [B,…], float32."""

T = TypeVar("T")


def output_names(taps: int) -> list[str]:
    """Return the names of an encoder's outputs: global, local, and memory_0 and so on, which are [B,P,W], float32.

    Args:
        taps: The number of memory outputs.
    """
    return [GLOBAL, LOCAL, *(f"memory_{index}" for index in range(taps))]


def name_outputs(values: Sequence[T]) -> dict[str, T]:
    """Name the outputs of an encoder that returns them by position.

    Args:
        values: The global output, the local output, and one memory output for each tap.

    Returns:
        The outputs by name.
    """
    return dict(zip(output_names(len(values) - 2), values, strict=True))


def split_outputs(outputs: Mapping[str, T]) -> tuple[T, T, list[T]]:
    """Return the global output, the local output, and the memory outputs in the order of the taps.

    Args:
        outputs: The outputs by name.

    Raises:
        EngineError: The names are not those of an encoder.
    """
    names = output_names(len(outputs) - 2)
    if outputs.keys() != set(names):
        raise EngineError(
            f"the graph gives {', '.join(outputs)}, not global, local, memory_0 …: export or build it again"
        )
    first, second, *memory = (outputs[name] for name in names)
    return first, second, memory


def to_features(outputs: Outputs, grid: tuple[int, int]) -> Features:
    """Make features from an encoder's outputs, without copying them.

    Args:
        outputs: The outputs by name.
        grid: Rows and columns of patches in a view.

    Returns:
        The features.

    Raises:
        EngineError: The names are not those of an encoder.
    """
    global_, local, memory = split_outputs(outputs)
    return Features(global_, local, tuple(memory), grid)
