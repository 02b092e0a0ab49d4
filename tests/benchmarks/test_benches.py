"""Every benchmark runs, on the demo backbone; nothing is said about times."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import numpy as np
import pytest
from goodparts.benchmarks import frame, search
from goodparts.benchmarks.synthetic import describe_encoder, make_recipe, open_backbone
from goodparts.export.engines import find_engine
from goodparts.runtime import Recipe
from goodparts.runtime.engine import EngineSpec
from goodparts.trainer.backbone import Backbone

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
    assert [entry.name for entry in folder.iterdir()] == ["bench.json"]
    return rows


@pytest.mark.parametrize(
    ("name", "first", "compared"),
    [
        ("start", "bare interpreter", 3),
        ("score", "score, 1 shots", 4),
        ("search", "search fp32, 20 rows", 5),
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
    rows = bench(name, tmp_path)
    assert rows[0]["name"] == first
    assert sum("ratio" in row for row in rows) == compared
    lines = capsys.readouterr().out.splitlines()
    assert lines[1].startswith(first)
    assert lines[-1].startswith("aim: ")


def test_frame(
    engine_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def one_pair(backbone: Backbone, folder: Path) -> EngineSpec:
        spec = find_engine(backbone, folder)
        assert spec is not None
        only = next(record for record in spec.variants["fp32"].parity if record.backend == "onnxruntime")
        return msgspec.structs.replace(
            spec, variants={"fp32": msgspec.structs.replace(spec.variants["fp32"], parity=(only,))}
        )

    monkeypatch.setattr(frame, "find_engine", one_pair)
    rows = bench("frame", tmp_path, "--engine", str(engine_folder))
    names = [str(row["name"]).removeprefix("onnxruntime fp32, ") for row in rows]
    assert names == [
        "encoder's work per view",
        *("frame, median", "frame, p99", "preprocess", "encode", "score", "map"),
        "encoder's rate",
    ]
    assert "measured ceiling" in capsys.readouterr().out


def test_options_that_do_not_fit(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, said in (
        (["score", "--repeat", "0"], "--repeat 0"),
        (["score", "--engine", str(tmp_path)], "--engine is for"),
        (["score", "--json", str(tmp_path / "no" / "file")], "does not exist"),
        (["score", "--backbone", "convnext_base"], "no ViT or ResNet"),
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
    assert frame.encoder_flops(tower, full=True) == layers * block + ends
    saved = (tokens - 1) * (4 * tokens * width + 2 * width**2 + 16 * width**2)
    assert frame.encoder_flops(tower) == layers * block + ends - saved
