"""Memory search: 225 queries of width 896 and banks of several sizes, compared with other libraries.

The peers are matrix product and maximum in numpy (fp32 only) and in torch, and faiss's flat index if it is installed
(fp32 only). Each contender gets data of the same type and runs in a process of its own. All contenders find the largest
inner product and its row.
"""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from contextlib import ExitStack
from importlib.util import find_spec
from typing import Any

import numpy as np
import numpy.typing as npt
from goodparts.evaluation.report.report import Findings
from goodparts.runtime.core import native
from goodparts.runtime.core.errors import BackendError
from goodparts.runtime.core.scorer import BankPrecision
from goodparts.runtime.core.scoring import Floats

from .. import options
from ..synthetic import unit_vectors
from ..timing import REST, Worker, check_same, interleave

REPEAT = 20
QUERIES, WIDTH = 225, 896
ROWS = (225, 900, 3600, 45_000)
RECALL, CLUSTERS, NOISE = 0.99, 400, 0.6
PRECISIONS: dict[BankPrecision, float] = {"fp32": 1e-5, "bf16": 2e-3, "int8": 1e-2}
"""For each precision of a bank, the accepted difference of its products from those in float32. With typical vectors
the difference is far below the bank's error bound."""

Matches = tuple[Floats, npt.NDArray[Any]]
"""The largest inner product of every query, and the index of its row."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_repeat(parser, REPEAT)


def measure(*, repeat: int) -> Findings:
    findings = Findings()
    for precision, tolerance in PRECISIONS.items():
        for rows in ROWS:
            compare(findings, precision, rows, tolerance, repeat)
        compare_recall(findings, precision, repeat)
    return findings


def compare(findings: Findings, precision: BankPrecision, rows: int, tolerance: float, repeat: int) -> None:
    """Add a row for each peer, in milliseconds, and a row for the rate.

    Args:
        findings: Gets the rows and the aim.
        precision: The precision of the bank.
        rows: The number of rows of the bank.
        tolerance: The accepted difference of a largest product from the one in float32.
        repeat: The number of timed rounds.

    Raises:
        ParityError: Ours or a peer finds other products.
        BackendError: The C++ core cannot be loaded, or a process ended early.
    """
    peers: dict[str, Callable[..., Callable[[], Matches]]] = {f"torch {precision}": search_in_torch}
    if precision == "fp32":
        peers["numpy"] = search_in_numpy
        if find_spec("faiss"):
            peers["faiss flat"] = search_in_faiss
    with ExitStack() as stack:
        workers = {"ours": stack.enter_context(Worker(search_in_core, rows, precision))}
        for name, prepare in peers.items():
            workers[name] = stack.enter_context(Worker(prepare, rows, precision))
        timings = interleave(workers, repeat, warmup=3, settle=2, rest=REST)
    ours = timings["ours"]
    expected = best_product(rows)
    name = f"search {precision}, {rows} rows"
    check_same(name, float(np.abs(ours.results[0][0] - expected).max()), tolerance)
    for peer in peers:
        check_same(f"{name}, {peer}", float(np.abs(timings[peer].results[0][0] - expected).max()), tolerance)
        findings.add(name, ours.median * 1e3, "ms", peer, timings[peer].median * 1e3)
    fastest = min(timings[peer].median for peer in peers)
    findings.aim(f"{name}: ahead of all", fastest / ours.median, 1.0, "times", at_least=True)
    rate = 2 * QUERIES * rows * WIDTH / ours.median / 1e9
    findings.add(f"{name}, rate", rate, "GFLOP/s")


def compare_recall(findings: Findings, precision: BankPrecision, repeat: int) -> None:
    """Add a row for a large bank in cells, compared with the whole bank, and a row for the share of best rows found.

    Args:
        findings: Gets the rows.
        precision: The precision of the bank.
        repeat: The number of timed rounds.

    Raises:
        BackendError: The C++ core cannot be loaded, or a process ended early.
    """
    with ExitStack() as stack:
        cells = stack.enter_context(Worker(search_in_cells, precision, RECALL))
        whole = stack.enter_context(Worker(search_in_cells, precision, 1.0))
        timings = interleave({"cells": cells, "whole": whole}, repeat, warmup=3, settle=2, rest=REST)
    ours, exact = timings["cells"], timings["whole"]
    name = f"search {precision}, {ROWS[-1]} clustered rows, recall {RECALL}"
    findings.add(name, ours.median * 1e3, "ms", "whole", exact.median * 1e3)
    best_found = ours.results[0][0] >= exact.results[0][0] - 1e-6
    findings.add(f"{name}: found", float(best_found.mean()), "share")


def search_in_cells(precision: BankPrecision, recall: float) -> Callable[[], Matches]:
    """Prepare our search of clustered vectors; the patches of one product are clustered too.

    The queries differ from the vectors by which the number of cells was chosen for the recall.

    Args:
        precision: The precision of the bank.
        recall: The share of queries whose best row should be found, above 0 and up to 1; 1 searches the whole bank.

    Returns:
        The call that searches.

    Raises:
        BackendError: The C++ core cannot be loaded.
    """
    rng = np.random.default_rng(0)
    centres = unit_vectors(rng, CLUSTERS, WIDTH)

    def draw(count: int) -> Floats:
        vectors = centres[rng.integers(CLUSTERS, size=count)] + NOISE * unit_vectors(rng, count, WIDTH)
        return np.asarray(vectors / np.linalg.norm(vectors, axis=1, keepdims=True), np.float32)

    bank = make_bank(precision)
    bank.append(draw(ROWS[-1]))
    bank.partition(draw(2000), recall)
    queries = draw(QUERIES)
    search: Callable[[], Matches] = functools.partial(bank.search, queries)
    return search


def make_bank(precision: BankPrecision) -> Any:
    """Make an empty bank of the C++ core.

    Args:
        precision: The precision of the bank.

    Returns:
        The bank, for rows of width WIDTH.

    Raises:
        BackendError: The C++ core cannot be loaded.
    """
    core = native.core()
    if core is None:
        raise BackendError("bench search measures the C++ core, which cannot be loaded: see above")
    return core.Bank(WIDTH, precision)


def draw_vectors(rows: int) -> tuple[Floats, Floats]:
    """Return queries [225,896] and a bank [rows,896] of random unit vectors, float32.

    Args:
        rows: The number of rows of the bank. It is also the seed.
    """
    rng = np.random.default_rng(rows)
    return unit_vectors(rng, QUERIES, WIDTH), unit_vectors(rng, rows, WIDTH)


def best_product(rows: int) -> Floats:
    """Return the largest inner product of every query, computed in float32.

    Args:
        rows: The number of rows of the bank.
    """
    queries, bank = draw_vectors(rows)
    best: Floats = (queries @ bank.T).max(axis=1)
    return best


def search_in_core(rows: int, precision: BankPrecision) -> Callable[[], Matches]:
    """Prepare our search.

    Args:
        rows: The number of rows of the bank.
        precision: The precision of the bank.

    Returns:
        The call that searches.

    Raises:
        BackendError: The C++ core cannot be loaded.
    """
    queries, vectors = draw_vectors(rows)
    bank = make_bank(precision)
    bank.append(vectors)
    search: Callable[[], Matches] = functools.partial(bank.search, queries)
    return search


def search_in_numpy(rows: int, precision: BankPrecision) -> Callable[[], Matches]:
    """Prepare a BLAS product and two passes over the matrix.

    Args:
        rows: The number of rows of the bank.
        precision: Not used: numpy computes in fp32.

    Returns:
        The call that searches.
    """
    del precision
    queries, bank = draw_vectors(rows)

    def search() -> Matches:
        similarity = queries @ bank.T
        return similarity.max(axis=1), similarity.argmax(axis=1)

    return search


def search_in_torch(rows: int, precision: BankPrecision) -> Callable[[], Matches]:
    """Prepare the product in the bank's precision and `max`. In int8, every query and every row has a scale.

    Args:
        rows: The number of rows of the bank.
        precision: The precision of the product.

    Returns:
        The call that searches.
    """
    import torch

    queries, bank = (torch.from_numpy(vectors) for vectors in draw_vectors(rows))
    if precision == "int8":
        # The rows have different scales, so the products must be scaled before the maximum.
        scale = bank.abs().amax(dim=1) / 127
        columns = torch.round(bank / scale[:, None]).to(torch.int8).T

        def search() -> Matches:
            query_scale = queries.abs().amax(dim=1) / 127
            product = torch._int_mm(torch.round(queries / query_scale[:, None]).to(torch.int8), columns)
            best = (product.float() * scale).max(dim=1)
            return (best.values * query_scale).numpy(), best.indices.numpy()

        return search
    dtype = torch.float32 if precision == "fp32" else torch.bfloat16
    transposed = bank.to(dtype).T

    def multiply() -> Matches:
        best = (queries.to(dtype) @ transposed).max(dim=1)
        return best.values.float().numpy(), best.indices.numpy()

    return multiply


def search_in_faiss(rows: int, precision: BankPrecision) -> Callable[[], Matches]:
    """Prepare faiss's IndexFlatIP, which is exact.

    Args:
        rows: The number of rows of the bank.
        precision: Not used: faiss computes in fp32.

    Returns:
        The call that searches.
    """
    del precision
    import faiss

    queries, bank = draw_vectors(rows)
    index = faiss.IndexFlatIP(WIDTH)
    index.add(bank)

    def search() -> Matches:
        products, indices = index.search(queries, 1)
        return products[:, 0], indices[:, 0]

    return search
