"""The peer of a graph: the same encoder in torch, eager or compiled. torch is imported only when it is used."""

from __future__ import annotations

import importlib.util
from typing import Any, Literal

import numpy as np
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.backends.tensors import Outputs, name_outputs
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.preprocess import Array8

Device = Literal["cpu", "cuda"]


def torch_installed() -> bool:
    """Return whether torch and open_clip are installed, which the encoder in torch needs."""
    return all(importlib.util.find_spec(package) is not None for package in ("torch", "open_clip"))


class TorchSession:
    """An image tower in torch that replaces an engine's graph.

    Weights and arithmetic have the given precision. The outputs are float32 in the host's memory.

    Attributes:
        description: The version of torch, the mode, the device and the precision.
    """

    def __init__(self, tower: Any, precision: Precision, device: Device = "cpu", compiled: bool = False) -> None:
        """Prepare the tower.

        Args:
            tower: The image tower of a backbone, which is moved to the device in place.
            precision: The precision of weights and arithmetic.
            device: The device, by its name in torch.
            compiled: Whether to compile the tower now with torch.compile, so that errors occur before the timing.
        """
        import torch

        self._torch, self._device = torch, device
        self._tower = tower.to(device, torch_type(precision))
        if compiled:
            self._tower = torch.compile(self._tower)
            self.run(np.zeros((1, tower.image_size, tower.image_size, 3), np.uint8))
        mode = "compiled" if compiled else "eager"
        self.description = f"torch {torch.__version__} {mode} {device} {precision}"

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:  # noqa: ARG002
        """Encode views.

        Args:
            views: The views, uint8 RGB [n,S,S,3].
            conditions: Not used.

        Returns:
            The outputs by name, float32.
        """
        with self._torch.inference_mode():
            outputs = self._tower(self._torch.from_numpy(views).to(self._device))
            return name_outputs([output.float().contiguous().cpu().numpy() for output in outputs])


def torch_type(precision: Precision) -> Any:
    """Return the type of torch's tensors in a precision.

    Args:
        precision: fp32, fp16, bf16 or int8.
    """
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.int8}[precision]
