"""The torch module of an engine's prompted graph."""

from __future__ import annotations

from abc import ABC, abstractmethod

from goodparts.runtime.core.conditions import Conditions
from torch import Tensor, nn


class ConditionedEncoder(nn.Module, ABC):
    """An image tower that also reads a method's learned tensors, for an engine's prompted graph."""

    shapes: dict[str, tuple[int, ...]]
    """Name of a condition → its shape, in the order in which `forward` takes them."""

    @abstractmethod
    def forward(self, image: Tensor, conditions: list[Tensor]) -> tuple[Tensor, ...]:
        """Encode images under conditions.

        Args:
            image: [B, S, S, 3], uint8, RGB.
            conditions: The learned tensors, float32, in the order of `shapes`.

        Returns:
            Global [B, D], local [B, P, D], and memory [B, P, W] for each tap, all l2-normalised.
        """

    @abstractmethod
    def example(self, seed: int = 0) -> Conditions:
        """Return random conditions with about the magnitude of learned conditions.

        Args:
            seed: The seed of the random numbers.
        """
