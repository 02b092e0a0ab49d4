"""Every benchmark runs, on the demo backbone; nothing is said about times."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import numpy as np
import pytest
from goodparts.benchmarks.latency import cold_start as cold
from goodparts.benchmarks.latency import frame, search, start
from goodparts.benchmarks.latency import frame_report as frame_findings
from goodparts.benchmarks.latency import precision_backends as pairs
from goodparts.benchmarks.latency.camera_load import BACK_TO_BACK
from goodparts.benchmarks.latency.contenders import copy_in_torch, decode_jpeg, transfer_in_torch
from goodparts.benchmarks.latency.flops import encoder_flops
from goodparts.benchmarks.peers.anomalib import AnomalibPeer
from goodparts.benchmarks.synthetic import describe_encoder, make_recipe, open_backbone
from goodparts.benchmarks.timing import Worker, interleave
from goodparts.evaluation.report.report import Findings
from goodparts.runtime import Recipe
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import EngineError
from goodparts.runtime.core.scorer import BankPrecision
from goodparts.runtime.engine.spec import read_spec
from goodparts.trainer.clip.backbone import Backbone
from PIL import Image

from goodparts.cli import main

KEYS = {"name", "value", "unit", "peer", "peer_value", "ratio"}


def bench(name: str, folder: Path, *options: str) -> list[dict[str, object]]:
    """Run `goodparts bench`; returns the rows of its JSON."""
    path = folder / "bench.json"
    assert main(["bench", name, "--backbone", "demo", "--repeat", "1", "--json", str(path), *options]) == 0
    rows: list[dict[str, object]] = json.loads(path.read_bytes())["rows"]
    for row in rows:
        assert {"name", "value", "unit"} <= row.keys() <= KEYS
        assert ("peer" in row) == ("peer_value" in row) == ("ratio" in row)
    return rows


def test_bench_prompted(prompted_folder: Path, tmp_path: Path) -> None:
    rows = bench("prompted", tmp_path, "--engine", str(prompted_folder), "--precision", "fp32")
    names = [f"{backend} fp32, AnoPLe, p{rank}" for backend in ("onnxruntime", "openvino") for rank in (50, 90)]
    assert [row["name"] for row in rows] == names
    assert {row["peer"] for row in rows} == {"PromptAD"}


def search_few_in_cells(precision: BankPrecision, recall: float) -> Callable[[], search.Found]:
    """In a worker, where nothing is patched. A bank needs 4096 rows for its cells."""
    search.ROWS = (4200,)
    return search.search_in_cells(precision, recall)


@pytest.mark.usefixtures("forked")
@pytest.mark.parametrize(
    ("name", "first", "compared"),
    [
        ("score", "score, 1 shots", 4),
        ("search", "search fp32, 20 rows", 4),
        ("preprocess", "2448×2048", 12),
        ("train", "training step, both levels", 1),
    ],
)
def test_bench(
    name: str,
    first: str,
    compared: int,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(search, "ROWS", (20,))
    monkeypatch.setattr(search, "PRECISIONS", {"fp32": 1e-5})
    monkeypatch.setattr(search, "search_in_cells", search_few_in_cells)
    rows = bench(name, tmp_path)
    assert [entry.name for entry in tmp_path.iterdir()] == ["bench.json"]
    assert rows[0]["name"] == first
    assert sum("ratio" in row for row in rows) == compared
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(first)
    assert lines[-1].startswith("aim: ")


def test_start(engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Every process is started once: what fills the caches takes as long as what is timed.
    first_verdict, started = cold.first_verdict, {}

    def start_once(settings: dict[str, str | None], folder: Path) -> cold.Seconds:
        asked = tuple(settings.values())
        if asked not in started:
            started[asked] = first_verdict(settings, folder)
        return started[asked]

    monkeypatch.setattr(cold, "first_verdict", start_once)
    monkeypatch.setattr(start, "interleave", functools.partial(interleave, warm=0))
    rows = bench("start", tmp_path, "--engine", str(engine_folder), "--precision", "fp32")
    names = [str(row["name"]) for row in rows]
    assert names[0] == "bare interpreter"
    first = [row for row in rows if cold.WHOLE in str(row["name"])]
    assert [str(row["name"]).split(",")[0] for row in first] == [
        "onnxruntime fp32",
        "openvino fp32",
        "openvino fp32 with a plan",
    ]
    assert all(row["peer"] == cold.TORCH for row in first)
    assert "openvino fp32 with a plan, opening the engine" in names
    assert "openvino fp32, plan" in names
    assert sum("ratio" in row for row in rows) == 3 + 3 * 5


@pytest.mark.usefixtures("forked")
def test_frame(
    engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(frame, "FRAMES", 4)
    monkeypatch.setattr(frame_findings, "SIDE", 64)
    monkeypatch.setattr(frame_findings, "COPIED", 1 << 20)
    monkeypatch.setattr(frame_findings, "MATRICES", 2)
    picture, text = tmp_path / "plot.png", tmp_path / "frame.md"
    outputs = ["--plot", str(picture), "--markdown", str(text)]
    options = ["--precision", "fp32", "--fps", "200", "--batch", "2", "--peers", "torch"]
    rows = bench("frame", tmp_path, "--engine", str(engine_folder), *options, *outputs)
    prefix = "onnxruntime fp32, "
    names = [str(row["name"]).removeprefix(prefix) for row in rows if str(row["name"]).startswith(prefix)]
    assert names == [
        *("back to back, p50", "back to back, p90", "back to back, p99", "back to back, max"),
        *("preprocess", "encode", "score", "map"),
        *("busy 50%, p50", "busy 50%, p90", "busy 50%, p99", "busy 50%, max", "busy 50%, missed"),
        *("200 fps, p50", "200 fps, p90", "200 fps, p99", "200 fps, max", "200 fps, missed"),
        *("batch 2, p50", "batch 2, p90", "batch 2, p99", "batch 2, max", "batch 2, rate"),
        *("encoder's rate", "reading its weights at the rate of a copy", "rate of 145×512×128 products"),
    ]
    assert rows[0]["name"] == "encoder's work per view"
    assert [row["name"] for row in rows][-3:] == [
        "decode a JPEG of the frame",
        "search of the memory, which is part of score",
        "copy in memory",
    ]
    said = capsys.readouterr().out
    assert "1 rounds by turns; in each every load has 3 calls untimed, then 4 frames timed or due" in said
    assert "of the machine's measured ceiling" in said
    assert "times as fast as eager torch fp32, at least 3:" in said
    assert "| openvino fp32 | busy 50% |" in text.read_text(encoding="utf-8")
    with Image.open(picture) as drawn:
        assert drawn.format == "PNG"


@pytest.mark.usefixtures("forked")
def test_what_cannot_be_prepared_is_left_out() -> None:
    findings = Findings()
    with ExitStack() as stack:
        starts = {
            "here": functools.partial(Worker, decode_jpeg, 2),
            "absent": functools.partial(Worker, copy_in_torch, -1, "cpu", None, 2),
            "elsewhere": functools.partial(AnomalibPeer, "WinCLIP", 1, None, python=Path("/nonexistent")),
        }
        turns = frame.enter(stack, findings, starts)
        assert list(turns) == ["here"]
        assert len(turns["here"](0)[1][BACK_TO_BACK].seconds) == 2
    assert [remark.split(":")[0] for remark in findings.remarks] == ["absent is left out", "elsewhere is left out"]


def test_a_transfer_moves_a_view_and_all_features() -> None:
    # The GPU's part of it needs one; here both sides are the host's.
    burst = transfer_in_torch(describe_encoder("demo"), "cpu", 2)()[BACK_TO_BACK]
    assert len(burst.seconds) == 2


def test_engines_of_other_backbones_and_pairs_not_here(
    engine_folder: Path, demo: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = read_spec(engine_folder)
    assert pairs.open_or_make(demo, engine_folder, None) == spec
    other: Any = SimpleNamespace(encoder=msgspec.structs.replace(demo.encoder, backbone="another"))
    with pytest.raises(EngineError, match="give --backbone demo"):
        pairs.open_or_make(other, engine_folder, None)
    remarks: list[str] = []
    monkeypatch.setattr(pairs, "installed", lambda name: name == "openvino")
    assert [str(pair) for pair in pairs.find_pairs(engine_folder, spec, ("fp32",), remarks)] == ["openvino fp32"]
    assert remarks == ["onnxruntime fp32 is left out: onnxruntime is not installed"]
    with pytest.raises(EngineError, match="no fp16 graph"):
        pairs.find_pairs(engine_folder, spec, ("fp16",), remarks)


@pytest.mark.parametrize(
    ("backend", "precision", "arithmetic", "peer"),
    [
        ("onnxruntime", "fp16", "product fp32", "eager torch fp32"),
        ("openvino", "int8", "product int8", "eager torch fp32"),
        ("openvino", "bf16", "product bf16", "eager torch bf16"),
        ("tensorrt", "int8", "product int8 GPU", "eager torch fp16 GPU"),
    ],
)
def test_what_a_pair_is_compared_with(backend: str, precision: Precision, arithmetic: str, peer: str) -> None:
    pair = pairs.Pair(backend, precision)
    assert (pair.product, pair.peer()) == (arithmetic, peer)


def test_options_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, said in (
        (["score", "--repeat", "0"], "--repeat 0"),
        (["score", "--engine", str(tmp_path)], "--engine is for"),
        (["score", "--json", str(tmp_path / "no" / "file")], "does not exist"),
        (["score", "--backbone", "convnext_base"], "no ViT or ResNet"),
        (["score", "--fps", "30"], "--fps is for `bench frame`"),
        (["frame", "--fps", "-1"], "--fps -1: above 0"),
        (["frame", "--batch", "0"], "--batch 0"),
        (["frame", "--threads", "0"], "--threads 0"),
        (["score", "--markdown", str(tmp_path)], "is a folder"),
    ):
        assert main(["bench", *options]) == 2
        assert said in capsys.readouterr().err


@pytest.mark.parametrize("name", ["demo", "RN50"])
def test_encoder_from_the_configuration_is_the_models_own(name: str) -> None:
    own = open_backbone(name).encoder
    assert msgspec.structs.replace(describe_encoder(name), weights=own.weights) == own


def test_recipe_is_a_real_one() -> None:
    encoder = describe_encoder("ViT-B-16-plus-240")
    recipe = make_recipe(encoder, "0" * 64, shots=2)
    again = Recipe.from_bytes(recipe.to_bytes())
    assert again.header.encoder == encoder
    assert [bank.shape for bank in again.banks] == [(450, 896), (450, 896)]
    np.testing.assert_allclose(np.linalg.norm(again.learned().banks[0], axis=1), 1.0, atol=1e-3)


def test_flops_of_the_demo_tower() -> None:
    tower = open_backbone("demo").visual
    tokens, width, layers = 145, 128, 5
    block = 2 * tokens * width * 3 * width + 8 * tokens**2 * width + 4 * tokens * width**2 + 16 * tokens * width**2
    ends = 2 * 144 * 3 * 16**2 * width + 2 * tokens * width * 128
    assert encoder_flops(tower, full=True) == layers * block + ends
    saved = (tokens - 1) * (4 * tokens * width + 2 * width**2 + 16 * width**2)
    assert encoder_flops(tower) == layers * block + ends - saved
