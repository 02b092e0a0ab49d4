"""int8: an fp32 graph with explicit QuantizeLinear and DequantizeLinear, and with attention in fp16.

NNCF quantises its matrix products and convolutions: per-channel weights, symmetric activations (TensorRT supports no
others), outlier channels smoothed into the weights, biases corrected. NNCF needs photos to measure the ranges of the
values. Other quantisers were measured too: benchmarks/results/quantisers.md.
"""

from __future__ import annotations

import contextlib
import io
import logging
import warnings
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
from goodparts.runtime.core.errors import BackendError, install_line
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Floats

from . import mixed


def calibration_views(photos: Array8) -> Array8:
    """Return photos unchanged, mirrored horizontally, mirrored vertically, and darker: uint8 [4·n,S,S,3].

    Args:
        photos: The photos, uint8 [n,S,S,3].
    """
    darker = (photos.astype(np.float32) * 0.7).astype(np.uint8)
    return np.concatenate([photos, photos[:, :, ::-1], photos[:, ::-1], darker])


def quantise(
    graph: Path, views: Array8, in_fp32: Sequence[str], conditions: Mapping[str, Floats] | None = None
) -> onnx.ModelProto:
    """Quantise a graph to int8.

    Args:
        graph: The file of the fp32 graph.
        views: The views to calibrate on, uint8 [n,S,S,3].
        in_fp32: The names of nodes that stay in fp32.
        conditions: The conditions of a prompted graph by name; None for the plain graph.

    Returns:
        The quantised graph.

    Raises:
        BackendError: NNCF is not installed.
    """
    try:
        with _quiet():
            import nncf
    except ImportError as error:
        raise BackendError(f"int8 needs NNCF: {install_line('int8')}") from error
    model = onnx.load(str(graph))
    ignored = [*in_fp32, *_unfit(model)]
    with _quiet():
        quantised: onnx.ModelProto = nncf.quantize(
            model,
            nncf.Dataset(list(views[:, None]), lambda view: {model.graph.input[0].name: view, **(conditions or {})}),
            preset=nncf.QuantizationPreset.PERFORMANCE,
            model_type=nncf.ModelType.TRANSFORMER,
            subset_size=len(views),
            ignored_scope=nncf.IgnoredScope(names=ignored, validate=False),
        )
    _make_signed(quantised)
    mixed_model = ir.from_proto(quantised)
    _lower_attention(mixed_model)
    return ir.to_proto(mixed_model)


def _unfit(model: onnx.ModelProto) -> list[str]:
    """Return the names of the matrix products that are not quantised, where int8 gains little and loses much.

    They are the products of attention, whose two inputs are both computed, and the first product, which reads the
    pixels. A flat softmax over hundreds of tokens lies below int8's first step. The pixels would lose some of their 256
    levels.
    """
    constants = {tensor.name for tensor in model.graph.initializer}
    products = [node for node in model.graph.node if node.op_type in ("MatMul", "Conv")]
    attention = [node.name for node in products if not constants & set(node.input)]
    return [products[0].name, *attention]


def _make_signed(model: onnx.ModelProto) -> None:
    """Quantise values that are never negative (after ReLU) to half of int8's range, because TensorRT has no uint8."""
    constants = {tensor.name: tensor for tensor in model.graph.initializer}
    names = {
        (node.input[1], node.input[2])
        for node in model.graph.node
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2
    }
    for scale, zero in names:
        if constants[zero].data_type != onnx.TensorProto.UINT8:
            continue
        wider = onnx.numpy_helper.to_array(constants[scale]) * np.float32(255 / 127)
        signed = np.zeros(tuple(constants[zero].dims), np.int8)
        constants[scale].CopyFrom(onnx.numpy_helper.from_array(np.asarray(wider, np.float32), scale))
        constants[zero].CopyFrom(onnx.numpy_helper.from_array(signed, zero))
    for value in model.graph.value_info:
        if value.type.tensor_type.elem_type == onnx.TensorProto.UINT8:
            value.type.tensor_type.elem_type = onnx.TensorProto.INT8


def quantised_products(model: ir.Model) -> dict[str, str]:
    """Return the matrix products and convolutions that are quantised: the node's name → a name for messages.

    Args:
        model: The quantised graph.
    """
    titles = {}
    for node in model.graph:
        if node.op_type in ("MatMul", "Gemm", "Conv") and any(_is_dequantised(value) for value in node.inputs):
            titles[node.name or ""] = _title(node)
    return titles


def release(model: ir.Model, name: str) -> None:
    """Let one matrix product or convolution compute with the unquantised activations; its weights stay rounded.

    Args:
        model: The quantised graph, which is changed.
        name: The name of its node.
    """
    (node,) = (node for node in model.graph if node.name == name)
    for index, value in enumerate(node.inputs):
        if not _is_dequantised(value):
            continue
        quantised = value.producer().inputs[0]  # type: ignore[union-attr]
        source = quantised.producer() if quantised is not None else None
        if source is not None and source.op_type == "QuantizeLinear":
            node.replace_input_with(index, source.inputs[0])


def _lower_attention(model: ir.Model) -> None:
    """Convert the matrix products of a quantised graph that read no weights to fp16, in place.

    They are the two products of each attention. NVIDIA's compilers fuse them with the softmax between them only in
    fp16. The weights do not change.
    """
    with_weights = [node for node in model.graph if any(_is_weight(value) for value in node.inputs)]
    mixed.lower(model, "fp16", in_fp32=with_weights)


def _is_weight(value: ir.Value | None) -> bool:
    constant = value.const_value if value is not None else None
    is_tensor = constant is not None and constant.size > 1 and constant.dtype == ir.DataType.FLOAT
    return is_tensor or _is_dequantised(value)


def _is_dequantised(value: ir.Value | None) -> bool:
    producer = value.producer() if value is not None else None
    return producer is not None and producer.op_type == "DequantizeLinear"


def _title(node: ir.Node) -> str:
    """Return the layer's name, taken from the bias that is added to its product, otherwise the node's own name."""
    for user in node.outputs[0].consumers():
        for value in user.inputs:
            if value is not None and value.const_value is not None and (value.name or "").endswith("bias"):
                return (value.name or "").removesuffix("bias").rstrip("._")
    return node.name or node.op_type


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Suppress NNCF's progress bars on stdout and the warnings of its dependencies."""
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(logging.NOTSET)
