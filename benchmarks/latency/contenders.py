"""What runs in a process of its own (timing.Worker): each function prepares one contender and returns its call.

Libraries are imported inside, so that a process holds its own and no other.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import numpy as np
from goodparts.runtime import Detector, Engine
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.backends.tensors import Outputs, name_outputs
from goodparts.runtime.core import native
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.errors import BackendError
from goodparts.runtime.core.preprocess import Array8, decode
from goodparts.runtime.core.scorer import EXACT, Scorer
from goodparts.runtime.core.scoring import MAP_SIGMA, MAP_SIZE, Features, Floats, Learned, anomaly_map, score
from goodparts.runtime.engine.spec import Encoder, read_spec

from .camera_load import BACK_TO_BACK, WARM, Burst, Load, Traffic, take_back_to_back

HEIGHT, WIDTH = 1024, 1280
"""Of the camera frame."""
JPEG_QUALITY = 90

Device = Literal["cpu", "cuda"]
Milliseconds = dict[str, float]
Bursts = dict[Load, Burst[Milliseconds]]


def inspect_on_backend(
    folder: Path, recipe: Path, backend: str, precision: Precision, threads: int | None, traffic: Traffic
) -> Callable[[], Bursts]:
    """The product as it ships."""
    return _inspect(Detector.open(folder, recipe, backend=backend, precision=precision, threads=threads), traffic)


def inspect_in_torch(
    folder: Path, recipe: Path, precision: Precision, device: Device, compiled: bool, threads: int | None,
    traffic: Traffic,
) -> Callable[[], Bursts]:  # fmt: skip
    """The same, with the engine's encoder in torch, random weights, in the place of the graph."""
    import torch

    from ..synthetic import open_backbone

    if threads is not None:
        torch.set_num_threads(threads)
    spec = read_spec(folder)
    session = TorchSession(open_backbone(spec.encoder.backbone).visual, precision, device, compiled)
    return _inspect(Detector(Engine(spec, "fp32", {"plain": session}, threads), recipe), traffic)


class TorchSession:
    """An image tower in torch; weights and arithmetic in the precision, outputs in float32 on the host."""

    def __init__(self, tower: Any, precision: Precision, device: Device = "cpu", compiled: bool = False) -> None:
        import torch

        self._torch, self._device = torch, device
        self._tower = tower.to(device, torch_type(precision))
        size = tower.image_size
        if compiled:
            self._tower = torch.compile(self._tower)
            self.run(np.zeros((1, size, size, 3), np.uint8))  # compiles now: what can fail fails before the clock runs
        how = "compiled" if compiled else "eager"
        self.description = f"torch {torch.__version__} {how} {device} {precision}"

    def run(self, views: Array8, conditions: Conditions | None = None) -> Outputs:  # noqa: ARG002
        with self._torch.inference_mode():
            outputs = self._tower(self._torch.from_numpy(views).to(self._device))
            return name_outputs([output.float().cpu().numpy() for output in outputs])


def torch_type(precision: Precision) -> Any:
    """The type of torch's tensors in a precision."""
    import torch

    return {"fp32": torch.float32, "fp16": torch.float16, "bf16": torch.bfloat16, "int8": torch.int8}[precision]


def _inspect(detector: Detector, traffic: Traffic) -> Callable[[], Bursts]:
    """Frames uint8 RGB [1024,1280,3] → inspections and their maps; every call gives the milliseconds of each stage,
    per picture."""
    frame = np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint8)

    def inspect(batch: int) -> Milliseconds:
        inspections = detector.predict_batch([frame] * batch)
        start = time.perf_counter()
        for inspection in inspections:
            _ = inspection.map  # computed when asked for
        spent = (time.perf_counter() - start) * 1e3 / batch
        return {**inspections[0].milliseconds, "map": spent}

    return lambda: traffic.carry(inspect)


def decode_jpeg(count: int) -> Callable[[], Bursts]:
    """What a file costs before it is a frame."""
    data = draw_jpeg()
    return _again(lambda: decode(data, "frame"), count)


def draw_jpeg() -> bytes:
    """A drawn part of the frame's size."""
    from goodparts.drawn.photos import DrawnProduct
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(DrawnProduct("gear", seed=0).photo(1, size=(HEIGHT, WIDTH)).image).save(
        buffer, "JPEG", quality=JPEG_QUALITY
    )
    return buffer.getvalue()


def search_memory(encoder: Encoder, shots: int, threads: int | None, count: int) -> Callable[[], Bursts]:
    """A view's patches in a memory of `shots` photos, every bank of it: what most of the stage `score` is."""
    from ..synthetic import make_features, make_recipe

    core = native.core()
    if core is None:
        raise BackendError("the search of the memory is the C++ core's, which cannot be loaded: see above")
    queries = [memory[0] for memory in make_features(encoder).memory]
    banks = []
    for rows in make_recipe(encoder, "0" * 64, shots).learned().banks:
        banks.append(core.Bank(rows.shape[1], EXACT.precision))
        banks[-1].append(rows)

    def search() -> None:
        for bank, patches in zip(banks, queries, strict=True):
            bank.search(patches, threads or 0)

    return _again(search, count)


def transfer_in_torch(encoder: Encoder, device: Device, count: int) -> Callable[[], Bursts]:
    """A view to the device and its features back, by way of pinned memory where that is a GPU."""
    import torch

    from ..synthetic import make_features, make_views

    is_gpu = device == "cuda"
    features = make_features(encoder)
    results = [torch.from_numpy(array) for array in (features.global_, features.local, *features.memory)]
    here = [torch.empty_like(result, pin_memory=is_gpu) for result in results]
    there = [result.to(device) for result in results]
    view = torch.from_numpy(make_views(encoder, 1))
    pinned = view.pin_memory() if is_gpu else view
    seen = torch.empty_like(view, device=device)

    def transfer() -> None:
        seen.copy_(pinned, non_blocking=True)
        for out, result in zip(here, there, strict=True):
            out.copy_(result, non_blocking=True)
        if is_gpu:
            torch.cuda.synchronize()

    return _again(transfer, count)


def multiply_in_torch(
    precision: Precision, shape: tuple[int, int, int], matrices: int, device: Device, threads: int | None, count: int
) -> Callable[[], Bursts]:
    """Products [m,k]·[k,n], shape (m, n, k), of one left matrix and so many right ones; int8 adds up in int32."""
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

    return _again(multiply, count)


def copy_in_torch(size: int, device: Device, threads: int | None, count: int) -> Callable[[], Bursts]:
    """`size` bytes from one place in memory to another."""
    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    source, out = (torch.ones(size, dtype=torch.uint8, device=device) for _ in range(2))

    def copy() -> None:
        out.copy_(source)
        if device == "cuda":
            torch.cuda.synchronize()

    return _again(copy, count)


def _again(call: Callable[[], object], count: int) -> Callable[[], Bursts]:
    """A contender that knows no load but back to back, and no stages."""

    def once() -> Milliseconds:
        call()
        return {}

    def turn() -> Bursts:
        for _ in range(WARM):
            once()
        return {BACK_TO_BACK: take_back_to_back(once, count)}

    return turn


def score_in_core(features: Features, learned: Learned) -> Callable[[], Floats]:
    """Ours, as the detector does it; returns the image scores."""
    scorer = Scorer(learned, features.grid)
    return lambda: scorer(features).image


def score_in_numpy(features: Features, learned: Learned) -> Callable[[], Floats]:
    """The readable definition, with as many threads as numpy likes."""
    return lambda: score(features, learned).image


def map_in_numpy(grid: Floats) -> Callable[[], Floats]:
    """Ours: [h,w] → [400,400] in two matrix products."""
    return lambda: anomaly_map(grid)


def map_in_torch_and_scipy(grid: Floats) -> Callable[[], Floats]:
    """As the released code does it: bilinear interpolation in torch, then scipy's Gaussian."""
    import torch
    from scipy.ndimage import gaussian_filter

    image = torch.from_numpy(grid)[None, None]

    def draw() -> Floats:
        large = torch.nn.functional.interpolate(image, (MAP_SIZE, MAP_SIZE), mode="bilinear", align_corners=False)
        smooth: Floats = gaussian_filter(large[0, 0].numpy(), sigma=MAP_SIGMA)
        return smooth

    return draw
