"""The image tower as an ONNX graph: uint8 in, features out, weights in a file beside it."""

from __future__ import annotations

import contextlib
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import onnxscript.optimizer
import torch
from goodparts.runtime.core.errors import EngineError
from goodparts.trainer.clip.tower import Tower
from torch import Tensor, nn

OPSET = 18
"""What JetPack 6's TensorRT 10.3 parses; later opsets bring a fused Attention it does not know."""


LARGEST = 1 << 30
"""Values of a weight that is rearranged here, not each time that a graph is opened: int8 and the precisions look for
weights beside products."""


def write_graph(tower: Tower, folder: Path, name: str = "encoder") -> tuple[Path, Path]:
    """Export the tower into a folder, in fp32; returns the graph's path and its weights' path.

    Input `image` uint8 [batch,S,S,3]; outputs global [batch,D], local [batch,P,D], memory_0, memory_1
    [batch,P,W_i]. The weights lie in a file of their own.
    """
    return save_graph(trace(tower, tower), folder, name)


def trace(encoder: nn.Module, tower: Tower, conditions: Mapping[str, Tensor] | None = None) -> ir.Model:
    """An encoder over a tower as a graph, in fp32.

    conditions: further inputs by name, of fixed shapes; the encoder takes them, in this order, as a list.
    """
    device = tower.mean.device
    image = torch.zeros(2, tower.image_size, tower.image_size, 3, dtype=torch.uint8, device=device)
    outputs = ["global", "local", *(f"memory_{index}" for index in range(len(tower.taps)))]
    dynamic: dict[str, Any] = {"image": {0: torch.export.Dim("batch")}}
    arguments: tuple[Any, ...] = (image,)
    if conditions:
        dynamic["conditions"] = [None] * len(conditions)
        arguments = image, list(conditions.values())
    with _quiet():
        program = torch.onnx.export(
            encoder,
            arguments,
            dynamo=True,
            opset_version=OPSET,
            input_names=["image", *(conditions or ())],
            output_names=outputs,
            dynamic_shapes=dynamic,
            verbose=False,
        )
    assert program is not None
    model = program.model_proto
    opset = next(entry.version for entry in model.opset_import if not entry.domain)
    if opset != OPSET:
        raise EngineError(f"the exporter wrote opset {opset}, {OPSET} is needed: use torch 2.9 or later")
    _strip(model)
    _cast_first(model)
    _name_batch(model)
    made = ir.from_proto(model)
    onnxscript.optimizer.fold_constants(made, input_size_limit=LARGEST, output_size_limit=LARGEST)
    return made


def save_graph(model: ir.Model, folder: Path, name: str) -> tuple[Path, Path]:
    """Write name.onnx and, in a file of their own, name.weights; files of those names are replaced."""
    graph, weights = folder / f"{name}.onnx", folder / f"{name}.weights"
    ir.save(model, graph, external_data=weights.name, size_threshold_bytes=1024)
    return graph, weights


def _strip(model: onnx.ModelProto) -> None:
    """Drop what the exporter notes for debugging: stack traces with local paths, and no two alike."""
    graph = model.graph
    for part in (
        model,
        graph,
        *graph.node,
        *graph.input,
        *graph.output,
        *graph.value_info,
        *graph.initializer,
    ):
        part.ClearField("metadata_props")
        part.ClearField("doc_string")


def _cast_first(model: onnx.ModelProto) -> None:
    """Let nothing but a Cast read the uint8 input, which TensorRT demands: shapes are taken from what it gives."""
    nodes = model.graph.node
    cast = next(node for node in nodes if node.op_type == "Cast" and list(node.input) == ["image"])
    nodes.remove(cast)
    nodes.insert(0, cast)
    for node in nodes:
        if node.op_type == "Shape" and list(node.input) == ["image"]:
            node.input[0] = cast.output[0]


def _name_batch(model: onnx.ModelProto) -> None:
    """Call the one dimension that varies `batch`; with further inputs the exporter finds a name of its own."""
    graph = model.graph
    found = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param == found:
                side.dim_param = "batch"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """The exporter talks about itself on stdout and in warnings; neither is for our users."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
