"""Scoring as ONNX operations after an encoder: the formulas of runtime/core/scoring.py for runtimes without goodparts.

The operations are standard operators of opset 18 that TensorRT supports. They compute in fp32 in every precision of the
encoder. Shapes: B views, P patches on an h×w grid, joint width D, and width W_m and R_m rows of memory m.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import MAP_SIGMA, MAP_SIZE, TOP_PART, Floats, map_matrix
from goodparts.runtime.recipe.memory import Halves
from goodparts.runtime.recipe.recipe import Recipe

ROWS_AT_ONCE = 4096
"""The number of a bank's rows in one matrix product. It bounds the similarities [B,P,rows] that exist at one time."""


class Nodes:
    """Appends operations to a graph. A call takes an operation and its inputs, and returns the name of its output.

    Inputs are names of values, or numbers and arrays, which become constants of the graph (floats as float32).

    Args:
        graph: The graph, which is changed.
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph

    def __call__(
        self, operation: str, *inputs: str | float | npt.NDArray[Any], output: str = "", **attributes: Any
    ) -> str:
        name = output or f"scoring_{len(self._graph.node)}"
        outputs = [name, f"{name}_indices"] if operation == "TopK" else [name]
        names = [
            value if isinstance(value, str) else self._constant(f"{name}_input_{index}", value)
            for index, value in enumerate(inputs)
        ]
        self._graph.node.append(onnx.helper.make_node(operation, names, outputs, name=f"node_{name}", **attributes))
        return name

    def _constant(self, name: str, value: float | npt.NDArray[Any]) -> str:
        array = np.ascontiguousarray(value) if isinstance(value, np.ndarray) else np.array(value, np.float32)
        self._graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        return name


def append_scoring(graph: onnx.GraphProto, recipe: Recipe) -> None:
    """Replace an encoder's outputs by `score` [B], `grid` [B,h,w] and `map` [B,400,400], all float32.

    They are the raw values that scoring.score and scoring.anomaly_map compute for every view.

    Args:
        graph: The encoder's graph, which is changed.
        recipe: The recipe whose scoring is appended.

    Raises:
        SettingsError: The recipe scores with a subspace.
    """
    learned, grid = recipe.learned(), recipe.header.encoder.grid
    if learned.fusion == "subspace":
        raise SettingsError(
            "recipes of a subspace are scored by the runtime in Python only: learn the product without --subspace"
        )
    nodes = Nodes(graph)
    memory, remembered = _search(nodes, recipe, grid)
    if learned.image_maximum == "top":
        highest = _mean_of_top(nodes, memory, max(1, grid[0] * grid[1] // TOP_PART))
    else:
        where = _upsample(nodes, memory, grid, 0.0) if learned.image_maximum == "map" else memory
        highest = nodes("ReduceMax", where, np.array([1, 2]), keepdims=0)
    image_margins = _prompt_margins(nodes, "global", learned.image_prompts, [0])
    margins = _prompt_margins(nodes, "local", learned.pixel_prompts, [0, *grid])
    image, local = (_prompt_scores(nodes, values, learned.temperature) for values in (image_margins, margins))
    match learned.fusion:
        case "paper":
            _fuse(nodes, image, highest, "score")
            _fuse(nodes, local, memory, "grid")
        case "residual":
            weighted = nodes("Mul", nodes("Sub", margins, remembered), learned.residual_weight)
            nodes("Mul", memory, nodes("Exp", weighted), output="grid")
            nodes("ReduceMax", "grid", np.array([1, 2]), keepdims=0, output="score")
        case "prompt":
            nodes("Identity", image, output="score")
            nodes("Identity", local, output="grid")
        case "memory":
            nodes("Identity", highest, output="score")
            nodes("Identity", memory, output="grid")
    _upsample(nodes, "grid", grid, MAP_SIGMA, "map")
    graph.value_info.extend(graph.output)
    del graph.output[:]
    shapes: dict[str, list[str | int]] = {"score": [], "grid": [*grid], "map": [MAP_SIZE, MAP_SIZE]}
    for name, shape in shapes.items():
        graph.output.append(onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, ["batch", *shape]))


def _mean_of_top(nodes: Nodes, grids: str, count: int) -> str:
    """Compute scoring.mean_of_top: [B,h,w] → [B]."""
    flat = nodes("Reshape", grids, np.array([0, -1]))
    return nodes("ReduceMean", nodes("TopK", flat, np.array([count]), axis=1), np.array([1]), keepdims=0)


def _prompt_margins(nodes: Nodes, features: str, prototypes: Floats, shape: Sequence[int]) -> str:
    """Compute scoring.prompt_margins: [B,…,D] → [B,…], reshaped (0 is B)."""
    cosines = nodes("MatMul", features, (prototypes[1] - prototypes[0])[:, None])
    return nodes("Reshape", cosines, np.array(shape))


def _prompt_scores(nodes: Nodes, margins: str, temperature: float) -> str:
    """Compute scoring.prompt_scores from margins: [B,…] → [B,…].

    ONNX's Sigmoid is not used, because it is constant below −18 in ONNX Runtime, and good parts reach lower values at
    temperature 100. A NaN is passed on; OpenVINO's Clip would turn it into a score.
    """
    log_odds = nodes("Mul", margins, temperature)
    opposite = nodes("Exp", nodes("Neg", nodes("Clip", log_odds, -80.0, 80.0)))
    probability = nodes("Div", 1.0, nodes("Add", opposite, 1.0))
    return nodes("Where", nodes("IsNaN", log_odds), log_odds, probability)


def _search(nodes: Nodes, recipe: Recipe, grid: tuple[int, int]) -> tuple[str, str]:
    """Compute scoring.memory_scores and the mean margin of the nearest rows, one of each bank, [B,h,w] each."""
    found = [
        _nearest(nodes, f"memory_{index}", *rows)
        for index, rows in enumerate(zip(recipe.banks, recipe.margins, strict=True))
    ]
    distances = _sum(nodes, [nodes("Sub", 1.0, similarity) for similarity, _ in found])
    mean = nodes("Clip", nodes("Div", distances, 2.0 * len(found)), 0.0, 1.0)
    margin = nodes("Div", _sum(nodes, [margin for _, margin in found]), float(len(found)))
    shape = np.array([0, *grid])
    return nodes("Reshape", mean, shape), nodes("Reshape", margin, shape)


def _sum(nodes: Nodes, terms: Sequence[str]) -> str:
    return functools.reduce(lambda total, term: nodes("Add", total, term), terms)


def _nearest(nodes: Nodes, queries: str, bank: Halves, margins: Floats) -> tuple[str, str]:
    """Compute scoring.nearest and the margin of the nearest row: [B,P,W] against [R,W] → [B,P], [B,P].

    The rows stay fp16 in the file, as in the recipe.
    """
    best, margin = "", ""
    for start in range(0, len(bank), ROWS_AT_ONCE):
        part = slice(start, start + ROWS_AT_ONCE)
        rows = nodes("Cast", bank[part].T, to=onnx.TensorProto.FLOAT)
        similarity = nodes("MatMul", queries, rows)
        largest = nodes("ReduceMax", similarity, np.array([2]), keepdims=0)
        found = nodes("Gather", margins[part], nodes("ArgMax", similarity, axis=2, keepdims=0))
        if best:
            found = nodes("Where", nodes("Greater", largest, best), found, margin)
            largest = nodes("Max", best, largest)
        best, margin = largest, found
    return best, margin


def _fuse(nodes: Nodes, a: str, b: str, output: str) -> str:
    """Compute scoring.fuse; the divisor is 1 where both scores are 0."""
    total = nodes("Add", a, b)
    divisor = nodes("Where", nodes("Equal", total, 0.0), 1.0, total)
    return nodes("Div", nodes("Mul", a, b), divisor, output=output)


def _upsample(nodes: Nodes, grids: str, grid: tuple[int, int], sigma: float, output: str = "") -> str:
    """Compute scoring.anomaly_map or, with sigma 0, scoring.upsample: [B,h,w] → [B,400,400]."""
    rows, columns = (map_matrix(side, 1, 0.0, MAP_SIZE, sigma) for side in grid)
    return nodes("MatMul", nodes("MatMul", rows, grids), columns.T, output=output)
