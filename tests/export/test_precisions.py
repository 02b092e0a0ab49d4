from __future__ import annotations

import dataclasses
import shutil
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import ml_dtypes
import numpy as np
import onnx
import onnx_ir as ir
import open_clip
import pytest
import torch
from goodparts.benchmarks.nvidia_check import compile_graph
from goodparts.export import int8, mixed
from goodparts.export import precisions as variants
from goodparts.export import reference as parity
from goodparts.export.graph import write_graph
from goodparts.export.precisions import Exporter
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.backends.tensorrt_api import TensorRtApi
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.engine.parity import TOLERANCES, Tolerance
from goodparts.runtime.engine.spec import Variant
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.weights import randomise

from tests.conftest import VIT

FLOAT16 = onnx.TensorProto.FLOAT16


def tiny(outliers: float = 1.0) -> Backbone:
    """Return the first two blocks of a ViT, perhaps with two outlier channels, as large CLIPs have them.

    These channels are `outliers` times larger after each block's first LayerNorm, and their weights are as much
    smaller, so that the features are the same in fp32.
    """
    model = open_clip.create_model(VIT)
    randomise(model, seed=0)
    model.visual.transformer.resblocks = model.visual.transformer.resblocks[:2]
    with torch.no_grad():
        for block in model.visual.transformer.resblocks:
            for product in (block.attn.out_proj, block.mlp.c_proj):
                product.weight *= 0.3  # as small as in a trained block; int8 fails on unscaled random weights
            block.ln_1.weight[[5, 41]] *= outliers
            block.ln_1.bias[[5, 41]] *= outliers
            block.attn.in_proj_weight[:, [5, 41]] /= outliers
    return Backbone("tiny", model)


def exporter_of(backbone: Backbone, folder: Path) -> Exporter:
    return Exporter(*write_graph(backbone.visual, folder), parity.make_reference(backbone), None)


@pytest.mark.parametrize("precision", ["fp32", "fp16", "bf16"])
def test_small_passes_the_gate(small: Exporter, precision: Precision) -> None:
    variant = small.write(precision)
    if variant is None:
        pytest.skip(f"no backend here runs {precision}")
    assert [record.backend for record in variant.parity] == list(variants.PAIRS[precision])


def test_depthwise_filters_keep_their_sums_in_bf16() -> None:
    weights = np.random.default_rng(0).normal(0, 5, (32, 1, 3, 3)).astype(np.float32)
    rounded = mixed.round_to_bf16(weights)
    np.testing.assert_array_equal(rounded, rounded.astype(ml_dtypes.bfloat16).astype(np.float32))
    # The smallest weight of each filter is rounded last, and the sum lacks only that weight's rounding error.
    last = np.abs(weights).min(axis=(1, 2, 3)) + 2**-7 * np.abs(weights).max(axis=(1, 2, 3))
    missing = np.abs(rounded.astype(np.float64).sum((1, 2, 3)) - weights.astype(np.float64).sum((1, 2, 3)))
    assert (missing <= 2**-8 * last + 1e-6).all()


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    return exporter_of(Backbone.open("small"), tmp_path_factory.mktemp("small"))


@pytest.fixture(scope="module")
def exporter(tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    return exporter_of(tiny(), tmp_path_factory.mktemp("variants"))


@pytest.fixture(scope="module")
def outliers(tmp_path_factory: pytest.TempPathFactory) -> Exporter:
    return exporter_of(tiny(100.0), tmp_path_factory.mktemp("outliers"))


@pytest.fixture(scope="module")
def whole(exporter: Exporter) -> Variant:
    """The variant with all products in int8."""
    pytest.importorskip("nncf")
    variant = exporter.write("int8")
    assert variant is not None
    return variant


def types_of(graph: Path) -> dict[str, Counter[int]]:
    """Return the output types of each kind of operation, as ONNX infers them."""
    model = onnx.shape_inference.infer_shapes(onnx.load(str(graph)), strict_mode=True)
    known = {value.name: value.type.tensor_type.elem_type for value in (*model.graph.value_info, *model.graph.output)}
    found: dict[str, Counter[int]] = {}
    for node in model.graph.node:
        found.setdefault(node.op_type, Counter())[known[node.output[0]]] += 1
    return found


@pytest.mark.parametrize(
    ("precision", "low"), [("fp16", onnx.TensorProto.FLOAT16), ("bf16", onnx.TensorProto.BFLOAT16)]
)
def test_products_are_lowered_and_exact_operations_are_not(exporter: Exporter, precision: Precision, low: int) -> None:
    variant = exporter.write(precision)
    if variant is None:
        pytest.skip(f"no backend here runs {precision}")
    graph = exporter.graph.with_name(variant.graph)
    onnx.checker.check_model(str(graph), full_check=True)
    types = types_of(graph)
    assert set(types["MatMul"]) == {low}
    for exact in ("LayerNormalization", "Softmax", "ReduceL2", "Div"):
        assert onnx.TensorProto.FLOAT in types[exact]
        assert exact == "Div" or low not in types[exact]
    assert {
        value.type.tensor_type.elem_type for value in onnx.load(str(graph), load_external_data=False).graph.output
    } == {onnx.TensorProto.FLOAT}
    assert graph.with_name(variant.weights).stat().st_size < 0.7 * exporter.weights.stat().st_size


def test_int8_is_explicit_symmetric_and_runs_everywhere(exporter: Exporter, whole: Variant) -> None:
    assert [record.backend for record in whole.parity] == list(variants.PAIRS["int8"])
    assert whole.note.startswith("calibrated on drawn parts")
    model = onnx.load(str(exporter.graph.with_name(whole.graph)))
    constants = {tensor.name: onnx.numpy_helper.to_array(tensor) for tensor in model.graph.initializer}
    quantisers = [node for node in model.graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert quantisers
    for node in quantisers:
        if len(node.input) > 2:
            assert constants[node.input[2]].dtype == np.int8
            assert not constants[node.input[2]].any(), "TensorRT accepts no zero point"


def test_int8_leaves_attention_in_fp16(exporter: Exporter, whole: Variant) -> None:
    graph = exporter.graph.with_name(whole.graph)
    onnx.checker.check_model(str(graph), full_check=True)
    types = types_of(graph)
    assert types["MatMul"][FLOAT16] == 2 * types["Softmax"].total()
    assert types["MatMul"][onnx.TensorProto.FLOAT] > 0, "the products with weights, which are dequantised"
    assert set(types["Softmax"]) == {onnx.TensorProto.FLOAT}
    halves = [tensor for tensor in onnx.load(str(graph)).graph.initializer if tensor.data_type == FLOAT16]
    assert all(tensor.dims in ([], [1]) for tensor in halves), "no weight is there twice"


def test_nvidias_compiler_fuses_the_attention_of_int8(exporter: Exporter, whole: Variant) -> None:
    pytest.importorskip("tensorrt_rtx_bindings", reason='TensorRT-RTX is not installed: pip install ".[tensorrt-rtx]"')
    graph = exporter.graph.with_name(whole.graph)
    made = compile_graph(TensorRtApi("tensorrt_rtx_bindings", "TensorRT-RTX"), graph)
    assert made.fused_attentions >= types_of(graph)["Softmax"].total()


def test_what_harms_most_stays_in_fp32(
    exporter: Exporter, whole: Variant, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    graph, weights = (Path(shutil.copy(path, tmp_path)) for path in (exporter.graph, exporter.weights))
    strict = dataclasses.replace(exporter, graph=graph, weights=weights)
    loosest = max(record.score_difference for record in whole.parity)
    first = exporter.graph.with_name(whole.graph)
    products = int8.quantised_products(ir.load(first))
    quantise = int8.quantise

    def again(graph: Path, views: Array8, kept: Sequence[str], *conditions: None) -> onnx.ModelProto:
        return quantise(graph, views, kept, *conditions) if kept else onnx.load(str(first))

    monkeypatch.setattr(int8, "quantise", again)
    monkeypatch.setitem(TOLERANCES, "int8", Tolerance(feature=1.0, score=0.85 * loosest, auroc=1.0))
    variant = strict.write("int8")
    assert variant is not None
    kept = variant.note.split("; in fp32: ")[1].split(", ")
    left = int8.quantised_products(ir.load(tmp_path / variant.graph))
    assert kept
    assert len(left) < len(products)
    assert all(record.score_difference <= 0.85 * loosest for record in variant.parity)
    assert not list(tmp_path.glob("*trial*"))


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_outlier_channels_do_not_cost_the_gate(exporter: Exporter, outliers: Exporter, precision: Precision) -> None:
    if precision == "int8":
        pytest.importorskip("nncf")
    np.testing.assert_allclose(
        outliers.reference.features.local, exporter.reference.features.local, atol=1e-5, err_msg="the same in fp32"
    )
    variant = outliers.write(precision)
    assert variant is not None
    assert "in fp32" not in variant.note, "smoothed, not left out"


def test_lowering_leaves_no_unused_weights(exporter: Exporter) -> None:
    model = ir.load(exporter.graph)
    mixed.lower(model, "fp16")
    assert all(value.uses() for value in model.graph.initializers.values())
