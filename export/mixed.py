"""Mixed precision: an fp32 graph with its matrix products in fp16 or bf16, and every cast as a node.

Values whose digits the scores need stay in fp32: LayerNorm and softmax, the residual stream, the pixels up to the patch
embedding, and the normalisation of the features. Because every type is explicit, all backends compute such a graph in
the same precisions.
"""

from __future__ import annotations

from collections.abc import Collection
from typing import Literal

import ml_dtypes
import numpy as np
import onnx_ir as ir
from goodparts.runtime.core.errors import EngineError
from goodparts.runtime.core.scoring import Floats

LowPrecision = Literal["fp16", "bf16"]

TYPES = {"fp16": ir.DataType.FLOAT16, "bf16": ir.DataType.BFLOAT16}
"""The ONNX type of each precision."""
PRODUCTS = {"fp16": frozenset({"MatMul", "Gemm", "Conv"}), "bf16": frozenset({"MatMul", "Gemm"})}
"""The operations that are always converted. Opset 18 has no convolution in bf16."""
EXACT = frozenset({"LayerNormalization", "BatchNormalization", "Softmax", "ReduceL2", "ReduceMean", "QuantizeLinear"})
"""The operations that always stay in fp32; QuantizeLinear does, because opset 18 quantises no other type. Every other
operation is converted if all its inputs except constants are already in the low precision. A sum of the residual stream
therefore stays in fp32, because one of its inputs does not come from a matrix product."""


def lower(model: ir.Model, precision: LowPrecision, in_fp32: Collection[ir.Node] = ()) -> None:
    """Convert a graph to a low precision, in place; its inputs and outputs keep their types.

    Args:
        model: The fp32 graph, which is changed.
        precision: The low precision.
        in_fp32: Operations that are not converted.

    Raises:
        EngineError: An output would be in the low precision.
    """
    if precision == "bf16":
        round_depthwise(model)
    low = TYPES[precision]
    graph = model.graph
    casts: dict[tuple[str | None, ir.DataType], ir.Value] = {}

    def cast(value: ir.Value, to: ir.DataType, before: ir.Node) -> ir.Value:
        if (value.name, to) not in casts:
            name = f"{value.name}.{to.name.lower()}"
            if value.const_value is not None:
                converted = ir.Value(
                    name=name, const_value=ir.tensor(value.const_value.numpy().astype(to.numpy()), name=name)
                )
                converted.dtype, converted.shape = to, value.shape
                graph.register_initializer(converted)
            else:
                node = ir.node("Cast", [value], {"to": ir.AttrInt64("to", to)}, name=f"cast {name}")
                converted = node.outputs[0]
                converted.name, converted.dtype, converted.shape = name, to, value.shape
                graph.insert_before(before, node)
            casts[value.name, to] = converted
        return casts[value.name, to]

    for node in list(graph):
        floats = [value for value in node.inputs if value is not None and value.dtype in (ir.DataType.FLOAT, low)]
        computed = [value for value in floats if value.const_value is None]
        is_lowered = node not in in_fp32 and (
            node.op_type in PRODUCTS[precision]
            or (node.op_type not in EXACT and bool(computed) and all(value.dtype == low for value in computed))
        )
        target = low if is_lowered else ir.DataType.FLOAT
        for index, value in enumerate(node.inputs):
            if value in floats and value.dtype != target:
                node.replace_input_with(index, cast(value, target, node))
        for value in node.outputs if is_lowered else ():
            if value.dtype == ir.DataType.FLOAT:
                value.dtype = low
    for value in graph.outputs:
        if value.dtype == low:
            raise EngineError(f"output {value.name} would be {precision}: this tower does not end in a normalisation")
    for name, value in list(graph.initializers.items()):
        if not value.uses():
            del graph.initializers[name]


def round_depthwise(model: ir.Model) -> None:
    """Round the weights of depthwise convolutions to values that bf16 can represent, in place; their type stays fp32.

    A backend that computes in bf16 would round each weight separately. The sum of a filter's weights would then change
    by the sum of their rounding errors. Neighbouring values of a channel are nearly equal, so a filter that takes their
    differences would be wrong by this sum times the channel's mean.

    Args:
        model: The graph, which is changed.
    """
    for node in model.graph:
        if node.op_type != "Conv" or node.attributes.get_int("group", 1) == 1:
            continue
        weight = node.inputs[1]
        if weight is not None and weight.const_value is not None:
            weight.const_value = ir.tensor(round_to_bf16(weight.const_value.numpy()), name=weight.name)


def round_to_bf16(weights: Floats) -> Floats:
    """Round weights to values that bf16 can represent, so that the sum of each filter's weights is kept.

    Each filter's weights are rounded from the largest to the smallest. Each rounding error is added to the next weight.

    Args:
        weights: The weights of N filters, float32 [N,...].

    Returns:
        The rounded weights, float32 [N,...].
    """
    exact = weights.reshape(len(weights), -1)
    rounded = np.empty_like(exact)
    filters, lost = np.arange(len(exact)), np.zeros(len(exact), np.float32)
    for column in np.argsort(-np.abs(exact), axis=1).T:
        wanted = exact[filters, column] + lost
        rounded[filters, column] = wanted.astype(ml_dtypes.bfloat16)
        lost = wanted - rounded[filters, column]
    return rounded.reshape(weights.shape)
