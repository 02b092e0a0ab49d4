"""Scoring as ONNX operations behind an encoder: what runtime/core/scoring.py does, for runtimes without goodparts.

Opset 18, standard operators that TensorRT parses, in fp32 whatever the encoder's precision. B views, P patches on an
h×w grid, D joint width, W_m width and R_m rows of memory m.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
from goodparts.runtime.core.scoring import MAP_SIGMA, MAP_SIZE, UNIT_SCALES, Floats, map_matrix
from goodparts.runtime.recipe.memory import Halves
from goodparts.runtime.recipe.recipe import Recipe

ROWS_AT_ONCE = 4096
"""Bank rows per matrix product: bounds the similarities [B,P,rows] that exist at one time."""


class Nodes:
    """Appends operations to a graph. Called with an operation and its inputs, gives the name of its output.

    Inputs are names of values, or numbers and arrays, which become constants of the graph (floats as float32).
    """

    def __init__(self, graph: onnx.GraphProto) -> None:
        self._graph = graph

    def __call__(
        self, operation: str, *inputs: str | float | npt.NDArray[Any], output: str = "", **attributes: Any
    ) -> str:
        name = output or f"scoring_{len(self._graph.node)}"
        names = [
            value if isinstance(value, str) else self._constant(f"{name}_input_{index}", value)
            for index, value in enumerate(inputs)
        ]
        self._graph.node.append(onnx.helper.make_node(operation, names, [name], name=f"node_{name}", **attributes))
        return name

    def _constant(self, name: str, value: float | npt.NDArray[Any]) -> str:
        array = np.ascontiguousarray(value) if isinstance(value, np.ndarray) else np.array(value, np.float32)
        self._graph.initializer.append(onnx.numpy_helper.from_array(array, name))
        return name


def append_scoring(graph: onnx.GraphProto, recipe: Recipe) -> None:
    """Replace an encoder's outputs by `score` [B], `grid` [B,h,w] and `map` [B,400,400], all float32.

    Raw values, as scoring.score and scoring.anomaly_map give them for every view.
    """
    learned, grid = recipe.learned(), recipe.header.encoder.grid
    scales = learned.scales or UNIT_SCALES
    nodes = Nodes(graph)
    memory = _memory_scores(nodes, recipe.banks, grid)
    where = _upsample(nodes, memory, grid, 0.0) if learned.image_maximum == "map" else memory
    highest = nodes("ReduceMax", where, np.array([1, 2]), keepdims=0)
    image = _prompt_scores(nodes, "global", learned.image_prompts, learned.temperature, [0])
    local = _prompt_scores(nodes, "local", learned.pixel_prompts, learned.temperature, [0, *grid])
    match learned.combination:
        case "fused":
            _fuse(nodes, image, scales.image_prompt, highest, scales.image_memory, "score")
            _fuse(nodes, local, scales.grid_prompt, memory, scales.grid_memory, "grid")
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


def _prompt_scores(nodes: Nodes, features: str, prototypes: Floats, temperature: float, shape: Sequence[int]) -> str:
    """scoring.prompt_scores: [B,…,D] → [B,…], reshaped (0 is B).

    Not by Sigmoid: ONNX Runtime's is flat below −18, and good parts score less than that at temperature 100. NaN is
    handed on, where OpenVINO's Clip alone would make a score of it.
    """
    cosines = nodes("MatMul", features, (prototypes[1] - prototypes[0])[:, None])
    margin = nodes("Reshape", nodes("Mul", cosines, temperature), np.array(shape))
    opposite = nodes("Exp", nodes("Neg", nodes("Clip", margin, -80.0, 80.0)))
    probability = nodes("Div", 1.0, nodes("Add", opposite, 1.0))
    return nodes("Where", nodes("IsNaN", margin), margin, probability)


def _memory_scores(nodes: Nodes, banks: Sequence[Halves], grid: tuple[int, int]) -> str:
    """scoring.memory_scores: [B,P,W_m] each → [B,h,w]."""
    distances = [nodes("Sub", 1.0, _nearest(nodes, f"memory_{index}", bank)) for index, bank in enumerate(banks)]
    total = distances[0]
    for distance in distances[1:]:
        total = nodes("Add", total, distance)
    mean = nodes("Clip", nodes("Div", total, 2.0 * len(banks)), 0.0, 1.0)
    return nodes("Reshape", mean, np.array([0, *grid]))


def _nearest(nodes: Nodes, queries: str, bank: Halves) -> str:
    """scoring.nearest: [B,P,W] against [R,W] → [B,P]. The rows stay fp16 in the file, as in the recipe."""
    best = []
    for start in range(0, len(bank), ROWS_AT_ONCE):
        rows = nodes("Cast", bank[start : start + ROWS_AT_ONCE].T, to=onnx.TensorProto.FLOAT)
        best.append(nodes("ReduceMax", nodes("MatMul", queries, rows), np.array([2]), keepdims=0))
    return best[0] if len(best) == 1 else nodes("Max", *best)


def _fuse(nodes: Nodes, a: str, a_scale: float, b: str, b_scale: float, output: str) -> str:
    """scoring.fuse of both branches, each divided by its scale; where both are 0 the divisor is 1."""
    a, b = nodes("Div", a, a_scale), nodes("Div", b, b_scale)
    total = nodes("Add", a, b)
    divisor = nodes("Where", nodes("Equal", total, 0.0), 1.0, total)
    return nodes("Div", nodes("Mul", a, b), divisor, output=output)


def _upsample(nodes: Nodes, grids: str, grid: tuple[int, int], sigma: float, output: str = "") -> str:
    """scoring.anomaly_map, or with sigma 0 scoring.upsample: [B,h,w] → [B,400,400]."""
    rows, columns = (map_matrix(side, 1, 0.0, MAP_SIZE, sigma) for side in grid)
    return nodes("MatMul", nodes("MatMul", rows, grids), columns.T, output=output)
