"""The calls that `bench frame` times in separate processes: whole inspections of a frame, and single stages.

Each function prepares a call and returns it. It imports its libraries itself, so that a process imports no others.
"""

from __future__ import annotations

import io
import time
from collections.abc import Callable
from pathlib import Path

from goodparts.runtime import Detector, Engine
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core import native
from goodparts.runtime.core.errors import BackendError
from goodparts.runtime.core.preprocess import decode
from goodparts.runtime.core.scorer import EXACT
from goodparts.runtime.engine.spec import Encoder, read_spec

from ..arrivals import (
    BACK_TO_BACK,
    WARMUP_CALLS,
    LatenciesByPattern,
    LatencyTest,
    StageMilliseconds,
    call_back_to_back,
)
from ..peers.torch_encoder import Device, TorchSession
from ..synthetic import FRAME_SIZE, make_features, make_frame, make_recipe, make_views

JPEG_QUALITY = 90


def inspect_on_backend(
    folder: Path, recipe: Path, backend: str, precision: Precision, threads: int | None, test: LatencyTest
) -> Callable[[], LatenciesByPattern]:
    """Prepare inspections by the detector with its default settings.

    Args:
        folder: The engine's folder.
        recipe: The recipe file.
        backend: The backend's name.
        precision: The precision of the graph.
        threads: The largest number of threads; None for the choice of the library.
        test: The arrival patterns.

    Returns:
        The call that times one round.

    Raises:
        EngineError: The engine folder is damaged, or does not support the backend with the precision.
        BackendError: The inference library is missing or fails.
        ParityError: The graph or the plan differs from torch on this machine by more than its precision allows.
    """
    return _time_inspections(Detector.open(folder, recipe, backend=backend, precision=precision, threads=threads), test)


def inspect_in_torch(
    folder: Path, recipe: Path, precision: Precision, device: Device, compiled: bool, threads: int | None,
    test: LatencyTest,
) -> Callable[[], LatenciesByPattern]:  # fmt: skip
    """Prepare the same inspections with the encoder in torch, with random weights, instead of the graph.

    Args:
        folder: The engine's folder, which tells the backbone.
        recipe: The recipe file.
        precision: The precision of weights and arithmetic in torch.
        device: The device, by its name in torch.
        compiled: Whether torch.compile compiles the encoder.
        threads: The largest number of threads of torch and of scoring; None for the choice of each library.
        test: The arrival patterns.

    Returns:
        The call that times one round.

    Raises:
        EngineError: The engine folder is damaged.
    """
    import torch

    from ..backbones import open_backbone

    if threads is not None:
        torch.set_num_threads(threads)
    spec = read_spec(folder)
    session = TorchSession(open_backbone(spec.encoder.backbone).visual, precision, device, compiled)
    return _time_inspections(Detector(Engine(spec, "fp32", {"plain": session}, threads), recipe), test)


def _time_inspections(detector: Detector, test: LatencyTest) -> Callable[[], LatenciesByPattern]:
    """Return a call that runs the test on inspections of a frame and their maps."""
    frame = make_frame()

    def inspect(batch: int) -> StageMilliseconds:
        inspections = detector.predict_batch([frame] * batch)
        start = time.perf_counter()
        for inspection in inspections:
            _ = inspection.map  # the first access computes it
        map_milliseconds = (time.perf_counter() - start) * 1e3 / batch
        return {**inspections[0].milliseconds, "map": map_milliseconds}

    return lambda: test.run(inspect)


def decode_jpeg(count: int) -> Callable[[], LatenciesByPattern]:
    """Prepare the decoding of a JPEG, which a camera's frame does not need.

    Args:
        count: The number of timed calls.

    Returns:
        The call that times one round.
    """
    data = draw_jpeg()
    return time_calls(lambda: decode(data, "frame"), count)


def draw_jpeg() -> bytes:
    """Return a picture of a drawn part as a JPEG, in the size of a frame."""
    from goodparts.drawn.photos import DrawnProduct
    from PIL import Image

    buffer = io.BytesIO()
    image = DrawnProduct("gear", seed=0).photo(1, size=FRAME_SIZE).image
    Image.fromarray(image).save(buffer, "JPEG", quality=JPEG_QUALITY)
    return buffer.getvalue()


def search_memory(encoder: Encoder, shots: int, threads: int | None, count: int) -> Callable[[], LatenciesByPattern]:
    """Prepare the search of a view's patches in a memory, which is most of the stage `score`.

    Args:
        encoder: The encoder, which gives the numbers of patches and their widths.
        shots: The number of photos in the memory.
        threads: The largest number of threads; None for the core's own choice.
        count: The number of timed calls.

    Returns:
        The call that times one round.

    Raises:
        BackendError: The C++ core cannot be loaded.
    """
    core = native.core()
    if core is None:
        raise BackendError("the search of the memory needs the C++ core, which cannot be loaded: see above")
    queries = [memory[0] for memory in make_features(encoder).memory]
    banks = []
    for rows in make_recipe(encoder, "0" * 64, shots).learned().banks:
        bank = core.Bank(rows.shape[1], EXACT.precision)
        bank.append(rows)
        banks.append(bank)

    def search() -> None:
        for bank, patches in zip(banks, queries, strict=True):
            bank.search(patches, threads or 0)

    return time_calls(search, count)


def transfer_in_torch(encoder: Encoder, device: Device, count: int) -> Callable[[], LatenciesByPattern]:
    """Prepare the transfer of a view to the device and of its features back; for a GPU through pinned memory.

    Args:
        encoder: The encoder, which gives the shapes of the view and of the features.
        device: The device, by its name in torch.
        count: The number of timed calls.

    Returns:
        The call that times one round.
    """
    import torch

    is_gpu = device == "cuda"
    features = make_features(encoder)
    arrays = [torch.from_numpy(array) for array in (features.global_, features.local, *features.memory)]
    on_host = [torch.empty_like(array, pin_memory=is_gpu) for array in arrays]
    on_device = [array.to(device) for array in arrays]
    view = torch.from_numpy(make_views(encoder, 1))
    host_view = view.pin_memory() if is_gpu else view
    device_view = torch.empty_like(view, device=device)

    def transfer() -> None:
        device_view.copy_(host_view, non_blocking=True)
        for target, source in zip(on_host, on_device, strict=True):
            target.copy_(source, non_blocking=True)
        if is_gpu:
            torch.cuda.synchronize()

    return time_calls(transfer, count)


def time_calls(call: Callable[[], object], count: int) -> Callable[[], LatenciesByPattern]:
    """Return a call that times one round of calls without stages, back to back only.

    Args:
        call: The function that is timed.
        count: The number of timed calls in a round, which follow WARMUP_CALLS untimed calls.
    """

    def call_without_stages() -> StageMilliseconds:
        call()
        return {}

    def time_round() -> LatenciesByPattern:
        for _ in range(WARMUP_CALLS):
            call()
        return {BACK_TO_BACK: call_back_to_back(call_without_stages, count)}

    return time_round
