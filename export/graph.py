"""The image tower as an ONNX graph: uint8 in, features out, weights in a file beside it."""

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
"""What JetPack 6's TensorRT 10.3 parses; later opsets bring a fused Attention it does not know."""

LARGEST = 1 << 30
"""A weight with up to this many values is rearranged here, not each time that a graph is opened: int8 and the
precisions look for weights beside products."""

SMALL = 1024
"""A tensor of up to this many bytes lies in the graph's file."""


def write_graph(tower: Tower, folder: Path, name: str = "encoder") -> tuple[Path, Path]:
    """Export the tower into a folder, in fp32, and return the paths of the graph and of its weights.

    Input `image` uint8 [batch,S,S,3]; outputs global [batch,D], local [batch,P,D], memory_0, memory_1
    [batch,P,W_i]. The weights lie in a file of their own.
    """
    return save_graph(trace(tower, tower), folder, name)


def trace(encoder: nn.Module, tower: Tower, conditions: Mapping[str, Tensor] | None = None) -> ir.Model:
    """Trace an encoder over a tower into a graph, in fp32.

    conditions: more inputs by name, of fixed shapes; the encoder takes them, in this order, as a list.
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
    """Write name.onnx and, in a file of their own, name.weights; files of those names are replaced."""
    graph, weights = folder / f"{name}.onnx", folder / f"{name}.weights"
    ir.save(model, graph, external_data=weights.name, size_threshold_bytes=SMALL)
    return graph, weights


def save_sharing(model: ir.Model, graph: Path, owner: Path) -> Path:
    """Write a graph whose large tensors lie, byte for byte, in the weights of another graph in the same folder.

    owner: that graph. Raises EngineError where one of the tensors is not among its weights.
    """
    owned = {_digest(tensor): tensor for _, tensor in _large(ir.load(owner))}
    for value, tensor in _large(model):
        same = owned.get(_digest(tensor))
        if not isinstance(same, ir.ExternalTensor):
            raise EngineError(f"{graph.name}: {value.name} is none of {owner.name}'s weights: export the engine again")
        shape = ir.Shape(tensor.shape.numpy())  # which may differ where the bytes do not
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
    """Drop what the exporter notes for debugging: stack traces with local paths, which differ between exports."""
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
    """Let only a Cast read the uint8 input, as TensorRT demands; shapes are taken from its output."""
    nodes = model.graph.node
    cast = next(node for node in nodes if node.op_type == "Cast" and list(node.input) == [IMAGE])
    nodes.remove(cast)
    nodes.insert(0, cast)
    for node in nodes:
        if node.op_type == "Shape" and list(node.input) == [IMAGE]:
            node.input[0] = cast.output[0]


def _name_batch(model: onnx.ModelProto) -> None:
    """Call the one dimension that varies `batch`; with more inputs the exporter gives it another name."""
    graph = model.graph
    batch = graph.input[0].type.tensor_type.shape.dim[0].dim_param
    for value in (*graph.input, *graph.output, *graph.value_info):
        for side in value.type.tensor_type.shape.dim:
            if side.dim_param == batch:
                side.dim_param = "batch"


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Hide what the exporter prints and warns about itself."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
