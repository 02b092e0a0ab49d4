"""The machine's ceilings, measured in torch: the rate of a matrix product and the rate of a copy in memory.

The functions that prepare a call run in processes of their own and import torch themselves.
"""

from __future__ import annotations

import math
from collections.abc import Callable

from goodparts.runtime.backends.session import Precision

from ..arrivals import BACK_TO_BACK, LatenciesByPattern
from ..peers.torch_encoder import Device, torch_type
from .frame_inspection import time_calls

SIDE = 2048
"""The side of the two square matrices whose product measures the machine's ceiling."""
MATRICES = 24
"""The number of weight matrices of the encoder's size. Like the encoder's weights, they do not all fit into a cache."""
COPIED_BYTES = 1 << 28
"""The bytes that are copied, more than caches hold."""


def multiply_in_torch(
    precision: Precision, shape: tuple[int, int, int], matrices: int, device: Device, threads: int | None, count: int
) -> Callable[[], LatenciesByPattern]:
    """Prepare products [m,k]·[k,n] of one left matrix with several right matrices. The sums of int8 are int32.

    Args:
        precision: The precision of the matrices.
        shape: m, n and k.
        matrices: The number of right matrices.
        device: The device, by its name in torch.
        threads: The threads of torch; None for torch's own choice.
        count: The number of timed calls, each of which computes the products with all right matrices.

    Returns:
        The call that times one round.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    rows, columns, depth = shape

    def draw(*size: int) -> torch.Tensor:
        if precision == "int8":
            return torch.randint(-127, 128, size, generator=generator, dtype=torch.int8).to(device)
        return torch.randn(size, generator=generator).to(device, torch_type(precision))

    left, *rights = draw(rows, depth), *(draw(depth, columns) for _ in range(matrices))
    out = torch.empty(rows, columns, dtype=torch.int32 if precision == "int8" else left.dtype, device=device)
    product = torch._int_mm if precision == "int8" else torch.mm

    def multiply() -> None:
        for right in rights:
            product(left, right, out=out)
        if device == "cuda":
            torch.cuda.synchronize()

    return time_calls(multiply, count)


def copy_in_torch(size: int, device: Device, threads: int | None, count: int) -> Callable[[], LatenciesByPattern]:
    """Prepare a copy within the device's memory.

    Args:
        size: The number of bytes to copy.
        device: The device, by its name in torch.
        threads: The threads of torch; None for torch's own choice.
        count: The number of timed copies.

    Returns:
        The call that times one round.
    """
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    source, target = (torch.ones(size, dtype=torch.uint8, device=device) for _ in range(2))

    def copy() -> None:
        target.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()

    return time_calls(copy, count)


def product_rate(latencies: LatenciesByPattern, shape: tuple[int, ...], matrices: int = 1) -> float:
    """Return the floating-point operations per second of timed products.

    Args:
        latencies: The latencies of `multiply_in_torch`.
        shape: m, n and k.
        matrices: The number of right matrices.
    """
    return 2 * matrices * math.prod(shape) / latencies[BACK_TO_BACK].percentile(50)


def copy_rate(latencies: LatenciesByPattern) -> float:
    """Return the bytes per second, both read and written, of timed copies of COPIED_BYTES.

    Args:
        latencies: The latencies of `copy_in_torch`.
    """
    return 2 * COPIED_BYTES / latencies[BACK_TO_BACK].percentile(50)
