"""Memory search: 225 queries of width 896 against banks of several sizes, beside what else there is.

Peers, each with data of the same type and in a process of its own: numpy's matrix product and maximum, torch's,
and faiss's flat index where it is installed (fp32 alone). All find the largest inner product and its row.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from goodparts.evaluation.report.report import Findings, Options, check_same
from goodparts.runtime.core.errors import BackendError
from goodparts.runtime.core.scorer import BankPrecision
from goodparts.runtime.core.scoring import Floats

from ..synthetic import unit_vectors
from ..timing import REST, Worker, interleave

REPEAT = 20
QUERIES, WIDTH = 225, 896
ROWS = (225, 900, 3600, 45_000)
RECALL, CLUSTERS, NOISE = 0.99, 400, 0.6
PRECISIONS: dict[BankPrecision, float] = {"fp32": 1e-5, "bf16": 2e-3, "int8": 1e-2}
"""And how far products may lie from float32's: typical vectors stay far below a precision's bound."""

Found = tuple[Floats, npt.NDArray[Any]]


def measure(options: Options) -> Findings:
    findings = Findings()
    for precision, tolerance in PRECISIONS.items():
        for rows in ROWS:
            compare(findings, precision, rows, tolerance, options.repeat or REPEAT)
        compare_recall(findings, precision, options.repeat or REPEAT)
    return findings


def compare(findings: Findings, precision: BankPrecision, rows: int, tolerance: float, repeat: int) -> None:
    """A row for every peer, and for the memory that the search takes."""
    peers: dict[str, Callable[..., Callable[[], Found]]] = {f"torch {precision}": search_in_torch}
    if precision == "fp32":
        peers["numpy"] = search_in_numpy
        if find_spec("faiss"):
            peers["faiss flat"] = search_in_faiss
    with ExitStack() as stack:
        workers = {"ours": stack.enter_context(Worker(search_here, rows, precision))}
        for name, prepare in peers.items():
            workers[name] = stack.enter_context(Worker(prepare, rows, precision))
        timings = interleave(workers, repeat, warm=3, settle=2, rest=REST)
    ours = timings["ours"]
    expected = best_product(rows)
    name = f"search {precision}, {rows} rows"
    check_same(name, float(np.abs(ours.returned[0][0] - expected).max()), tolerance)
    for peer in peers:
        check_same(f"{name}, {peer}", float(np.abs(timings[peer].returned[0][0] - expected).max()), tolerance)
        findings.add(name, ours.median * 1e3, "ms", peer, timings[peer].median * 1e3)
    fastest = min(timings[peer].median for peer in peers)
    findings.aim(f"{name}: ahead of all", fastest / ours.median, 1.0, "times", at_least=True)
    rate = 2 * QUERIES * rows * WIDTH / ours.median / 1e9
    findings.add(f"{name}, rate", rate, "GFLOP/s")


def compare_recall(findings: Findings, precision: BankPrecision, repeat: int) -> None:
    """A row for a large bank in cells beside itself whole, and one for the share of best rows that are found."""
    with ExitStack() as stack:
        cells = stack.enter_context(Worker(search_in_cells, precision, RECALL))
        whole = stack.enter_context(Worker(search_in_cells, precision, 1.0))
        timings = interleave({"cells": cells, "whole": whole}, repeat, warm=3, settle=2, rest=REST)
    ours, exact = timings["cells"], timings["whole"]
    name = f"search {precision}, {ROWS[-1]} clustered rows, recall {RECALL}"
    findings.add(name, ours.median * 1e3, "ms", "whole", exact.median * 1e3)
    found = ours.returned[0][0] >= exact.returned[0][0] - 1e-6
    findings.add(f"{name}: found", float(found.mean()), "share")


def search_in_cells(precision: BankPrecision, recall: float) -> Callable[[], Found]:
    """Ours, on vectors around CLUSTERS directions, as patches of photos of one product are; other queries than the
    recall is measured with."""
    from goodparts.runtime.core import native

    core = native.core()
    if core is None:
        raise BackendError("bench search measures the C++ core, which cannot be loaded: see above")
    rng = np.random.default_rng(0)
    ways = unit_vectors(rng, CLUSTERS, WIDTH)

    def around(count: int) -> Floats:
        vectors = ways[rng.integers(CLUSTERS, size=count)] + NOISE * unit_vectors(rng, count, WIDTH)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    bank = core.Bank(WIDTH, precision)
    bank.append(around(ROWS[-1]))
    bank.partition(around(2000), recall)
    queries = around(QUERIES)

    def search() -> Found:
        found: Found = bank.search(queries)
        return found

    return search


def data(rows: int) -> tuple[Floats, Floats]:
    """Queries and a bank: what an encoder might say."""
    rng = np.random.default_rng(rows)
    return unit_vectors(rng, QUERIES, WIDTH), unit_vectors(rng, rows, WIDTH)


def best_product(rows: int) -> Floats:
    queries, bank = data(rows)
    best: Floats = (queries @ bank.T).max(axis=1)
    return best


def search_here(rows: int, precision: BankPrecision) -> Callable[[], Found]:
    """Ours."""
    from goodparts.runtime.core import native

    core = native.core()
    if core is None:
        raise BackendError("bench search measures the C++ core, which cannot be loaded: see above")
    queries, vectors = data(rows)
    bank = core.Bank(WIDTH, precision)
    bank.append(vectors)

    def search() -> Found:
        found: Found = bank.search(queries)
        return found

    return search


def search_in_numpy(rows: int, precision: BankPrecision) -> Callable[[], Found]:
    """BLAS and two passes over the matrix."""
    del precision
    queries, bank = data(rows)

    def search() -> Found:
        similarity = queries @ bank.T
        return similarity.max(axis=1), similarity.argmax(axis=1)

    return search


def search_in_torch(rows: int, precision: BankPrecision) -> Callable[[], Found]:
    """The product in the bank's type and `max`; int8 with a scale per row on both sides."""
    import torch

    queries, bank = (torch.from_numpy(vectors) for vectors in data(rows))
    if precision == "int8":
        # A row's scale cannot wait until after the maximum.
        scale = bank.abs().amax(dim=1) / 127
        columns = torch.round(bank / scale[:, None]).to(torch.int8).T

        def search() -> Found:
            own = queries.abs().amax(dim=1) / 127
            product = torch._int_mm(torch.round(queries / own[:, None]).to(torch.int8), columns)
            best = (product.float() * scale).max(dim=1)
            return (best.values * own).numpy(), best.indices.numpy()

        return search
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    transposed = bank.to(dtype).T

    def multiply() -> Found:
        best = (queries.to(dtype) @ transposed).max(dim=1)
        return best.values.float().numpy(), best.indices.numpy()

    return multiply


def search_in_faiss(rows: int, precision: BankPrecision) -> Callable[[], Found]:
    """IndexFlatIP: exact."""
    del precision
    import faiss

    queries, bank = data(rows)
    index = faiss.IndexFlatIP(WIDTH)
    index.add(bank)

    def search() -> Found:
        product, where = index.search(queries, 1)
        return product[:, 0], where[:, 0]

    return search
