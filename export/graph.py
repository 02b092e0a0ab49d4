"""The image tower as an ONNX graph, with uint8 input, features as outputs, and weights in a separate file."""

from __future__ import annotations

import contextlib
import hashlib
import io
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import onnx_ir as ir
import onnxscript.optimizer
import torch
from goodparts.runtime.backends.tensors import IMAGE, output_names
from goodparts.runtime.core.errors import EngineError
from goodparts.trainer.clip.tower import Tower
from torch import Tensor, nn

OPSET = 18
"""The ONNX opset, which TensorRT 10.3 of JetPack 6 supports. Later opsets introduce a fused Attention that it does not
support."""

LARGEST = 1 << 30
"""Constants with up to this many values are folded during the export. A graph then rearranges no weights when it is
opened, and the conversions to int8 and other precisions find each weight as a direct input of its product."""

SMALL = 1024
"""A tensor of up to this many bytes lies in the graph's file."""


def write_graph(tower: Tower, folder: Path, name: str = "encoder") -> tuple[Path, Path]:
    """Export the tower in fp32.

    Its input is `image`, uint8 [batch,S,S,3]. Its outputs are global [batch,D], local [batch,P,D] and memory_0,
    memory_1, … [batch,P,W_i]. The weights lie in a file of their own.

    Args:
        tower: The image tower.
        folder: The folder for the files.
        name: The files' name without its ending.

    Returns:
        The paths of the graph and of its weights.

    Raises:
        EngineError: The installed exporter writes another opset.
    """
    return save_graph(trace(tower, tower), folder, name)


def trace(encoder: nn.Module, tower: Tower, conditions: Mapping[str, Tensor] | None = None) -> ir.Model:
    """Trace an encoder over a tower into a graph, in fp32.

    Args:
        encoder: The encoder; it takes views uint8 [batch,S,S,3] and, if there are conditions, a list of conditions.
        tower: The image tower that the encoder uses.
        conditions: Examples of further inputs by name, in the encoder's order; their shapes are fixed.

    Returns:
        The graph.

    Raises:
        EngineError: The installed exporter writes another opset.
    """
    device = tower.mean.device
    image = torch.zeros(2, tower.image_size, tower.image_size, 3, dtype=torch.uint8, device=device)
    dynamic: dict[str, Any] = {IMAGE: {0: torch.export.Dim("batch")}}
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
            input_names=[IMAGE, *(conditions or ())],
            output_names=output_names(len(tower.taps)),
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
    traced = ir.from_proto(model)
    onnxscript.optimizer.fold_constants(traced, input_size_limit=LARGEST, output_size_limit=LARGEST)
    return traced


def save_graph(model: ir.Model, folder: Path, name: str) -> tuple[Path, Path]:
    """Write a graph to name.onnx, and its weights to name.weights; files of these names are replaced.

    Args:
        model: The graph.
        folder: The folder for the files.
        name: The files' name without its ending.

    Returns:
        The paths of the graph and of its weights.
    """
    graph, weights = folder / f"{name}.onnx", folder / f"{name}.weights"
    ir.save(model, graph, external_data=weights.name, size_threshold_bytes=SMALL)
    return graph, weights


def save_sharing(model: ir.Model, graph: Path, owner: Path) -> Path:
    """Write a graph whose large tensors are stored in the weights' file of another graph in the same folder.

    Args:
        model: The graph.
        graph: The file to write.
        owner: The file of the other graph.

    Returns:
        The file that was written.

    Raises:
        EngineError: A large tensor is not among the other graph's weights.
    """
    owned = {_digest(tensor): tensor for _, tensor in _large(ir.load(owner))}
    for value, tensor in _large(model):
        same = owned.get(_digest(tensor))
        if not isinstance(same, ir.ExternalTensor):
            raise EngineError(
                f"{graph.name}: {value.name} is not among {owner.name}'s weights: export the engine again"
            )
        shape = ir.Shape(tensor.shape.numpy())  # the same bytes may have another shape
        value.const_value = ir.ExternalTensor(
            same.location, same.offset, same.length, tensor.dtype,
            shape=shape, name=value.name or "", base_dir=graph.parent,
        )  # fmt: skip
    ir.save(model, graph)
    return graph


def _large(model: ir.Model) -> Iterator[tuple[ir.Value, ir.TensorProtocol]]:
    for value in model.graph.initializers.values():
        if value.const_value is not None and value.const_value.nbytes > SMALL:
            yield value, value.const_value


def _digest(tensor: ir.TensorProtocol) -> bytes:
    return hashlib.sha256(tensor.tobytes()).digest()


def _strip(model: onnx.ModelProto) -> None:
    """Remove the exporter's debugging notes: stack traces with local paths, which differ between exports."""
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
    """Let only a Cast read the uint8 input, as TensorRT requires; shapes are read from the Cast's output."""
    nodes = model.graph.node
    cast = next(node for node in nodes if node.op_type == "Cast" and list(node.input) == [IMAGE])
    nodes.remove(cast)
    nodes.insert(0, cast)
    for node in nodes:
        if node.op_type == "Shape" and list(node.input) == [IMAGE]:
            node.input[0] = cast.output[0]


def _name_batch(model: onnx.ModelProto) -> None:
    """Give the one variable dimension the name `batch`; with several inputs the exporter gives it another name."""
    graph = model.graph
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param == batch:
                side.dim_param = "batch"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress the exporter's output and warnings."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
