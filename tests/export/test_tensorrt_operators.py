"""Every graph of an engine, by itself and fused with a product, has only what TensorRT's ONNX parser supports.

The parser's documentation lists the operators, types and opsets.
"""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import msgspec
import numpy as np
import onnx
import pytest
from goodparts.export.fused import fuse_model
from goodparts.runtime.engine.spec import read_spec
from goodparts.runtime.recipe.recipe import Recipe
from onnx import TensorProto, numpy_helper

TABLE = json.loads((Path(__file__).parents[1] / "data" / "tensorrt_operators.json").read_text())
NAMES = {
    TensorProto.FLOAT: "FP32",
    TensorProto.FLOAT16: "FP16",
    TensorProto.BFLOAT16: "BF16",
    TensorProto.INT8: "INT8",
    TensorProto.UINT8: "UINT8",
    TensorProto.INT32: "INT32",
    TensorProto.INT64: "INT64",
    TensorProto.BOOL: "BOOL",
}
FIXED = {
    "Slice": (1, 2, 3, 4),
    **dict.fromkeys(("Squeeze", "Unsqueeze", "ReduceL2", "ReduceMax", "ReduceMean"), (1,)),
}
"""Inputs that must be known when the graph is parsed: axes, and the bounds of slices."""


@pytest.fixture(scope="module")
def graphs(prompted_folder: Path, vit_recipe: Recipe, anople_recipe: Recipe) -> list[onnx.ModelProto]:
    engine_folder, spec = prompted_folder, read_spec(prompted_folder)
    variants = *spec.graph("plain").variants.values(), *spec.graph("prompted").variants.values()
    names = {variant.graph for variant in variants}
    official = dataclasses.replace(vit_recipe, header=msgspec.structs.replace(vit_recipe.header, image_maximum="map"))
    return [
        *(onnx.load(str(engine_folder / name)) for name in sorted(names)),
        *(fuse_model(engine_folder, spec, official, precision) for precision in spec.graph("plain").precisions),
        fuse_model(engine_folder, spec, anople_recipe, "fp32"),
    ]


def unsupported(model: onnx.ModelProto) -> list[str]:
    """Return a line for everything that the table does not allow."""
    graph = onnx.shape_inference.infer_shapes(model, data_prop=True).graph
    types = {info.name: info.type.tensor_type.elem_type for info in (*graph.value_info, *graph.input, *graph.output)}
    constants = {tensor.name: tensor for tensor in graph.initializer}
    types |= {name: tensor.data_type for name, tensor in constants.items()}
    constants |= {node.output[0]: node.attribute[0].t for node in graph.node if node.op_type == "Constant"}
    found = []
    for node in graph.node:
        name = f"{node.op_type} {node.name!r}"
        allowed = TABLE["operators"].get(node.op_type)
        if node.domain or allowed is None:
            found.append(f"{name} of domain {node.domain!r} is not in the table")
            continue
        if node.op_type == "Constant":
            continue
        seen = NAMES.get(types.get(node.input[0], 0), "unknown")
        if seen not in allowed:
            found.append(f"{name} reads {seen}, supported are {', '.join(allowed)}")
        fixed = [node.input[index] for index in FIXED.get(node.op_type, ()) if index < len(node.input)]
        if any(value and value not in constants for value in fixed):
            found.append(f"{name} computes its axes or bounds")
        if node.op_type in ("QuantizeLinear", "DequantizeLinear") and len(node.input) > 2:
            zero = constants.get(node.input[2])
            if zero is None or np.any(numpy_helper.to_array(zero)):
                found.append(f"{name} has a zero point other than 0")
    return found


def test_every_operator_is_supported_on_its_type(graphs: list[onnx.ModelProto]) -> None:
    for model in graphs:
        assert unsupported(model) == []


def test_the_opset_is_supported(graphs: list[onnx.ModelProto]) -> None:
    low, high = TABLE["opsets"]
    for model in graphs:
        assert [entry.domain for entry in model.opset_import] == [""]
        assert low <= model.opset_import[0].version <= high


def test_nothing_but_a_cast_reads_the_uint8_input(graphs: list[onnx.ModelProto]) -> None:
    """TensorRT supports uint8 only as an input or output of a network."""
    for model in graphs:
        image, *conditions = model.graph.input
        assert {value.type.tensor_type.elem_type for value in conditions} <= {TensorProto.FLOAT}
        assert image.type.tensor_type.elem_type == TensorProto.UINT8
        assert {node.op_type for node in model.graph.node if image.name in node.input} == {"Cast"}


def test_what_is_not_supported_is_found() -> None:
    helper = onnx.helper
    nodes = [
        helper.make_node("Shape", ["image"], ["shape"], name="one"),
        helper.make_node("NonZero", ["image"], ["places"], name="two"),
        helper.make_node("Squeeze", ["places", "shape"], ["rest"], name="three"),
    ]
    image = helper.make_tensor_value_info("image", TensorProto.UINT8, ["batch", 4])
    rest = helper.make_tensor_value_info("rest", TensorProto.INT64, None)
    model = helper.make_model(helper.make_graph(nodes, "graph", [image], [rest]))
    assert [line.split("'")[1] for line in unsupported(model)] == ["one", "two", "three"]
