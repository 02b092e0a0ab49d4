"""The device code: memory search compared with torch, scoring without the search, resizing a frame, a whole frame.

The search has 225 queries of width 896 and banks of 1, 4, 16 and 200 shots. Its peers are torch's matrix product
followed by the maximum, and the matrix product without the maximum. torch writes all similarities to memory, our search
does not. torch gets queries and rows in the precision of the product; for int8, our search gets queries in fp16.
Contenders are captured graphs, so that the host's time to launch kernels does not count, and they take turns. The data
are in device memory, small banks in the cache. The encoder of the whole frame runs in torch, in fp16. It has the shape
of ViT-B-16-plus-240 and random weights, because a bare machine has no other encoder.
"""

from __future__ import annotations

import argparse
import functools
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from goodparts.evaluation.report.report import (
    Findings,
    Report,
    commit,
    describe_machine,
    format_table,
    installed_versions,
)
from goodparts.runtime.core import native
from goodparts.runtime.core.errors import BackendError, GoodpartsError
from goodparts.runtime.core.files import write_atomic
from goodparts.runtime.core.scoring import Floats

from .. import options
from ..timing import Contender, Timing, check_same, interleave

REPEAT = 50
CALLS = 20  # replays of a captured graph in each timed turn
QUERIES, WIDTH, JOINT, GRID = 225, 896, 640, (15, 15)
ROWS = (225, 900, 3600, 45_000)
SMALL = 3600  # the most rows of a small bank, in which the maximum and the launches take most of the time
SHOT_ROWS = 900  # rows of four shots
FRAME_SIZE, SIDE = (2048, 2448), 240
AIMED_ROWS = (900, 3600)
AIM_TORCH, AIM_PRODUCT, AIM_SCORING = 1.2, 0.6, 50.0
BATCHES = (1, 8, 32)
BLOCKS, HEADS = 12, 14
DEVICE = "cuda"
TOLERANCE = {"fp16": 1e-3, "bf16": 6e-3, "int8": 6e-3}  # torch rounds the products of fp16 to fp16

TORCH, PRODUCT = "torch matrix product and max", "the product by itself"


@dataclass(frozen=True)
class Search:
    """Our search and torch's search of one bank.

    Attributes:
        ours: Runs our search.
        peer: Runs torch's product and the maximum.
        product: Runs torch's product without the maximum.
        best: The array to which `ours` writes the largest product of every query, float32 [QUERIES].
        peer_best: The array to which `peer` writes them, [QUERIES].
    """

    ours: Callable[[], None]
    peer: Callable[[], None]
    product: Callable[[], None]
    best: torch.Tensor
    peer_best: torch.Tensor


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_repeat(parser, REPEAT)


def measure(*, repeat: int) -> Findings:
    findings = Findings()
    for step in steps(device_code(), repeat):
        step(findings)
    return findings


def steps(cuda: Any, repeat: int) -> Iterator[Callable[[Findings], None]]:
    """Yield functions that each measure one step and add its rows to findings.

    Args:
        cuda: goodparts._native.cuda.
        repeat: The number of timed rounds.
    """
    for precision in ("fp16", "bf16", "int8"):
        if precision == "bf16" and torch.cuda.get_device_capability()[0] < 8:
            continue
        for rows in ROWS:
            yield functools.partial(add_search, cuda=cuda, rows=rows, precision=precision, repeat=repeat)
    yield functools.partial(add_resize, cuda=cuda, repeat=repeat)
    yield functools.partial(add_scoring, cuda=cuda, repeat=repeat)
    for batch in BATCHES:
        yield functools.partial(add_encoder, batch=batch, repeat=repeat)
    yield functools.partial(add_frame, cuda=cuda, repeat=repeat)


def device_code() -> Any:
    """Return goodparts._native.cuda.

    Raises:
        BackendError: The C++ core or torch cannot use a GPU.
    """
    core = native.core()
    cuda = getattr(core, "cuda", None)
    if cuda is None or not cuda.available():
        reason = "the C++ core cannot be loaded" if cuda is None else cuda.why_not()
        raise BackendError(f"bench gpu needs a GPU: {reason}")
    if not torch.cuda.is_available():
        raise BackendError("bench gpu needs torch with CUDA, its peer: this torch has none")
    return cuda


def unit_vectors(rows: int, width: int) -> torch.Tensor:
    """Draw vectors of length 1 on the device.

    Args:
        rows: The number of vectors.
        width: The number of components of each.

    Returns:
        The vectors, float32 [rows,width].
    """
    return torch.nn.functional.normalize(torch.randn(rows, width, device=DEVICE), dim=1)


def add_search(findings: Findings, cuda: Any, rows: int, precision: str, repeat: int) -> None:
    """Add rows for the search of one bank, in microseconds.

    Args:
        findings: Gets the rows and the aim.
        cuda: goodparts._native.cuda.
        rows: The number of rows of the bank.
        precision: The precision of the bank and of the products: fp16, bf16 or int8.
        repeat: The number of timed rounds.

    Raises:
        ParityError: Our search and torch's find different products.
    """
    search = prepare_search(cuda, rows, precision)
    calls = {"ours": search.ours, "peer": search.peer, "product": search.product}
    timings = interleave({name: capture(call) for name, call in calls.items()}, repeat, warmup=2, settle=1)
    difference = float((search.best - search.peer_best).abs().max())
    check_same(f"search of {rows} rows, {precision}", difference, TOLERANCE[precision])
    ours, peer, product = (microseconds(timings[name]) for name in calls)
    name = f"search {QUERIES}×{rows}×{WIDTH}, {precision}"
    findings.add(name, ours, "µs", TORCH, peer)
    findings.add(name, ours, "µs", PRODUCT, product)
    if rows in AIMED_ROWS:
        findings.aim(f"{name} beside torch", peer / ours, AIM_TORCH, "×", at_least=True)
    elif rows > SMALL and precision == "fp16":
        findings.aim(f"{name} beside {PRODUCT}", product / ours, AIM_PRODUCT, "×", at_least=True)


def prepare_search(cuda: Any, rows: int, precision: str) -> Search:
    """Prepare our search and torch's of one bank with random rows.

    Args:
        cuda: goodparts._native.cuda.
        rows: The number of rows of the bank.
        precision: The precision of the bank and of the products: fp16, bf16 or int8.

    Returns:
        The calls and the arrays to which they write.
    """
    bank_rows, queries = unit_vectors(rows, WIDTH), unit_vectors(QUERIES, WIDTH)
    bank = cuda.Bank(WIDTH, precision)
    bank.append(bank_rows)
    search = cuda.Search([bank], QUERIES)
    best, index = (torch.empty(QUERIES, device=DEVICE, dtype=dtype) for dtype in (torch.float32, torch.int64))
    peer_best, peer_index = torch.empty_like(best), torch.empty_like(index)
    features = queries.bfloat16() if precision == "bf16" else queries.half()

    def ours() -> None:
        search.run([features], [(best, index)], stream())

    if precision == "int8":
        return Search(ours, *torch_in_int8(queries, bank_rows, peer_best), best, peer_best)
    right = bank_rows.to(features.dtype).T
    products = torch.empty(QUERIES, rows, device=DEVICE, dtype=features.dtype)
    peer_best = peer_best.to(features.dtype)

    def product() -> None:
        torch.mm(features, right, out=products)

    def product_and_max() -> None:
        product()
        torch.max(products, dim=1, out=(peer_best, peer_index))

    return Search(ours, product_and_max, product, best, peer_best)


def torch_in_int8(
    queries: torch.Tensor, rows: torch.Tensor, best: torch.Tensor
) -> tuple[Callable[[], None], Callable[[], None]]:
    """Prepare torch's product with the maximum, and its product without the maximum, in int8.

    Queries and rows are scaled one by one beforehand. Some rows are repeated, because torch needs a multiple of 8.

    Args:
        queries: The queries, float32 [n,W].
        rows: The rows of the bank, float32 [m,W].
        best: The array for the largest product of every query, float32 [n].

    Returns:
        The two calls.
    """
    rows = torch.cat([rows, rows[: -len(rows) % 8]])
    scales = [vectors.abs().amax(dim=1, keepdim=True) / 127 for vectors in (queries, rows)]
    left, right = (
        (vectors / scale).round().to(torch.int8) for vectors, scale in zip((queries, rows), scales, strict=True)
    )
    right, row_scales = right.T, scales[1].T

    def product() -> None:
        torch._int_mm(left, right)

    def product_and_max() -> None:
        largest = (torch._int_mm(left, right) * row_scales).amax(dim=1)
        torch.mul(largest, scales[0][:, 0], out=best)

    return product_and_max, product


def random_prompts() -> Floats:
    """Draw a normal and an anomalous prototype.

    Returns:
        Vectors of length 1, float32 [2,JOINT].
    """
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((2, JOINT)).astype(np.float32)
    return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)


def memory_of_four_shots(cuda: Any) -> list[Any]:
    """Return two banks with the rows of four shots.

    Args:
        cuda: goodparts._native.cuda.
    """
    banks = [cuda.Bank(WIDTH) for _ in range(2)]
    for bank in banks:
        bank.append(unit_vectors(SHOT_ROWS, WIDTH))
    return banks


def empty_scores() -> list[torch.Tensor]:
    """Return arrays for the seven scores that a Scorer writes for one view."""
    return [torch.empty((1, *GRID) if grid else (1,), device=DEVICE) for grid in (0, 1, 0, 0, 1, 1, 1)]


def add_scoring(findings: Findings, cuda: Any, repeat: int) -> None:
    """Add rows for scoring with 4 shots and one view, compared with its search, in microseconds.

    Args:
        findings: Gets the rows and the aim.
        cuda: goodparts._native.cuda.
        repeat: The number of timed rounds.
    """
    banks, out = memory_of_four_shots(cuda), empty_scores()
    patches = GRID[0] * GRID[1]
    global_, local = unit_vectors(1, JOINT).half(), unit_vectors(patches, JOINT).half()[None]
    memory = [unit_vectors(patches, WIDTH).half() for _ in banks]
    matches = [
        (torch.empty(patches, device=DEVICE), torch.empty(patches, device=DEVICE, dtype=torch.int64)) for _ in banks
    ]
    search = cuda.Search(banks, patches)
    scorers = {
        name: cuda.Scorer(random_prompts(), random_prompts(), banks, 4.6, GRID, maximum_of_map=name == "map")
        for name in ("grid", "map")
    }

    def score(name: str) -> None:
        scorers[name].run(global_, local, [features[None] for features in memory], out, stream())

    calls: dict[str, Callable[[], None]] = {
        "search": lambda: search.run(memory, matches, stream()),
        "grid": lambda: score("grid"),
        "map": lambda: score("map"),
    }
    timings = interleave({name: capture(call) for name, call in calls.items()}, repeat, warmup=2, settle=1)
    search_time = microseconds(timings["search"])
    titles = {"grid": "score", "map": "score, maximum of the map"}
    for name, title in titles.items():
        findings.add(f"{title}, 4 shots", microseconds(timings[name]), "µs", "its search", search_time)
    findings.aim("score besides its search", microseconds(timings["grid"]) - search_time, AIM_SCORING, "µs")


def add_resize(findings: Findings, cuda: Any, repeat: int) -> None:
    """Add a row for resizing a frame that is already on the device, compared with copying the frame there.

    Args:
        findings: Gets the row, in microseconds.
        cuda: goodparts._native.cuda.
        repeat: The number of timed rounds.
    """
    host = pinned(torch.randint(0, 256, (*FRAME_SIZE, 3), dtype=torch.uint8))
    frame = host.to(DEVICE)
    small = torch.empty(SIDE, SIDE, 3, device=DEVICE, dtype=torch.uint8)

    def resize() -> None:
        cuda.resize(frame, (SIDE, SIDE), out=small, stream=stream())

    def copy() -> None:
        frame.copy_(host, non_blocking=True)

    timings = interleave({"ours": capture(resize), "copy": capture(copy)}, repeat, warmup=2, settle=1)
    height, width = FRAME_SIZE
    ours, floor = microseconds(timings["ours"]), microseconds(timings["copy"])
    findings.add(f"resize {width}×{height} → {SIDE}", ours, "µs", "copying the frame to the device", floor)


class Encoder(torch.nn.Module):
    """An encoder with the shape of ViT-B-16-plus-240 and random weights: from uint8 [B,240,240,3] to unit vectors."""

    def __init__(self) -> None:
        super().__init__()
        self.patches = torch.nn.Conv2d(3, WIDTH, SIDE // GRID[0], SIDE // GRID[0], bias=False)
        self.blocks = torch.nn.ModuleList(
            torch.nn.TransformerEncoderLayer(
                WIDTH, HEADS, 4 * WIDTH, 0.0, torch.nn.functional.gelu, batch_first=True, norm_first=True
            )
            for _ in range(BLOCKS)
        )
        self.project = torch.nn.Linear(WIDTH, JOINT, bias=False)

    def forward(self, views: torch.Tensor) -> list[torch.Tensor]:
        """Return the global features, the local features and the features of two memories.

        With B views and P patches they are [B,JOINT], [B,P,JOINT] and twice [B,P,WIDTH], of length 1.

        Args:
            views: The views, uint8 RGB [B,240,240,3].
        """
        pixels = views.permute(0, 3, 1, 2).to(self.project.weight.dtype) / 255
        tokens = self.patches(pixels).flatten(2).transpose(1, 2)
        memory = []
        for number, block in enumerate(self.blocks):
            tokens = block(tokens)
            memory += [tokens] if number in (BLOCKS // 3, 3 * BLOCKS // 4) else []
        local = self.project(tokens)
        return [torch.nn.functional.normalize(some, dim=-1) for some in (local.mean(dim=1), local, *memory)]


def make_encoder() -> Encoder:
    """Make the encoder on the device, in fp16.

    Returns:
        The encoder in evaluation mode.
    """
    return Encoder().to(DEVICE, torch.float16).eval()


@torch.inference_mode()
def add_encoder(findings: Findings, batch: int, repeat: int) -> None:
    """Add a row for the encoder with one batch size, in microseconds per view.

    Args:
        findings: Gets the row.
        batch: The number of views.
        repeat: The number of timed rounds.
    """
    encoder = make_encoder()
    views = torch.randint(0, 256, (batch, SIDE, SIDE, 3), dtype=torch.uint8, device=DEVICE)
    timings = interleave({"ours": capture(lambda: encoder(views))}, repeat, warmup=2, settle=1)
    findings.add(f"encoder in torch, fp16, {batch} views, each", microseconds(timings["ours"]) / batch, "µs")


@torch.inference_mode()
def add_frame(findings: Findings, cuda: Any, repeat: int) -> None:
    """Add a row for a whole frame, from host memory to scores in host memory, compared with its encoder.

    The time includes the waits for the copies.

    Args:
        findings: Gets the row, in microseconds.
        cuda: goodparts._native.cuda.
        repeat: The number of timed rounds.
    """
    encoder, banks, out = make_encoder(), memory_of_four_shots(cuda), empty_scores()
    host = pinned(torch.randint(0, 256, (*FRAME_SIZE, 3), dtype=torch.uint8))
    frame, views = host.to(DEVICE), torch.empty(1, SIDE, SIDE, 3, device=DEVICE, dtype=torch.uint8)
    scores = [pinned(torch.empty(some.shape)) for some in out]
    scorer = cuda.Scorer(random_prompts(), random_prompts(), banks, 4.6, GRID)

    def whole() -> None:
        frame.copy_(host, non_blocking=True)
        cuda.resize(frame, (SIDE, SIDE), out=views[0], stream=stream())
        global_, local, *memory = encoder(views)
        scorer.run(global_, local, memory, out, stream())
        for to, some in zip(scores, out, strict=True):
            to.copy_(some, non_blocking=True)

    calls = {"whole": capture(whole), "encoder": capture(lambda: encoder(views))}
    timings = interleave(calls, repeat, warmup=2, settle=1)
    height, width = FRAME_SIZE
    whole_time, encoder_time = microseconds(timings["whole"]), microseconds(timings["encoder"])
    findings.add(f"whole frame {width}×{height}, one view, 4 shots", whole_time, "µs", "its encoder", encoder_time)


def pinned(array: torch.Tensor) -> torch.Tensor:
    """Return a copy of an array in page-locked memory of the host.

    Args:
        array: The array, in the host's memory.
    """
    return array.pin_memory()


def stream() -> int:
    """Return the address of torch's current CUDA stream."""
    return torch.cuda.current_stream().cuda_stream


def capture(call: Callable[[], None]) -> Contender[None]:
    """Capture the kernels of a call in a graph.

    Args:
        call: Launches kernels on torch's current stream, always with the same arrays.

    Returns:
        A contender, of which a turn times CALLS replays with events and returns their mean in seconds.
    """
    cuda: Any = torch.cuda  # torch's types are incomplete
    side = cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):
        for _ in range(3):
            call()
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        call()

    def replay(settle: int) -> tuple[float, None]:
        start, end = cuda.Event(enable_timing=True), cuda.Event(enable_timing=True)
        for _ in range(settle):
            graph.replay()
        start.record()
        for _ in range(CALLS):
            graph.replay()
        end.record()
        end.synchronize()
        return start.elapsed_time(end) / 1e3 / CALLS, None

    return replay


def microseconds(timing: Timing[None]) -> float:
    """Return the median in microseconds.

    Args:
        timing: The timed calls of one contender.
    """
    return timing.median * 1e6


def gpu_versions() -> dict[str, str]:
    """Return the names and versions of the GPU, its driver, and the CUDA that torch uses."""
    versions = {"gpu": torch.cuda.get_device_name(), "cuda of torch": torch.version.cuda or "none"}
    command = ["nvidia-smi", "--query-gpu=driver_version", "--format=csv,noheader"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=True)
        versions["driver"] = done.stdout.splitlines()[0].strip()
    except (OSError, subprocess.CalledProcessError, IndexError):
        versions["driver"] = "unknown"
    return versions


def main() -> int:
    """Measure as `goodparts bench gpu` does, and write the rows with the GPU's name to a JSON file after each step.

    A step that fails does not stop the other steps.

    Returns:
        1 if a step failed, else 0.

    Raises:
        BackendError: The C++ core or torch cannot use a GPU.
        FileError: The JSON file cannot be written.
    """
    parser = argparse.ArgumentParser(description=(main.__doc__ or "").splitlines()[0])
    parser.add_argument("--json", type=Path, required=True, metavar="FILE")
    add_arguments(parser)
    args = parser.parse_args()
    findings, failed = Findings(), False
    cuda, versions = device_code(), installed_versions() | gpu_versions()
    for step in steps(cuda, args.repeat):
        try:
            step(findings)
        except (GoodpartsError, RuntimeError, TypeError, ValueError) as error:
            findings.remarks.append(f"failed: {error}")
            failed = True
        report = Report(describe_machine(), versions, commit(), findings.rows)
        write_atomic(args.json, msgspec.json.format(msgspec.json.encode(report), indent=2) + b"\n")
    print("\n".join([format_table(findings.rows), *findings.remarks]))
    return int(failed)


if __name__ == "__main__":
    sys.exit(main())
