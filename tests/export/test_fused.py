"""The fused model against the detector: the same engine, recipe and photos in one ONNX file."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from goodparts.export import fused
from goodparts.export.engines import make_engine
from goodparts.export.fused import write_fused
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import (
    EngineError,
    FileError,
    GoodpartsError,
    ParityError,
    RecipeError,
    SettingsError,
)
from goodparts.runtime.core.files import NO_DIGEST
from goodparts.runtime.core.preprocess import Array8, load_rgb
from goodparts.runtime.core.scoring import Floats
from goodparts.runtime.core.view import View
from goodparts.runtime.detector import Detector
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import read_spec
from goodparts.runtime.recipe.recipe import Recipe
from goodparts.trainer.clip.backbone import Backbone

from goodparts.cli import main


def changed(recipe: Recipe, **header: Any) -> Recipe:
    return dataclasses.replace(recipe, header=msgspec.structs.replace(recipe.header, digest=NO_DIGEST, **header))


def first_photos(recipe: Recipe, count: int) -> Recipe:
    """Return the same product with the memory of only its first photos."""
    kept = [shots < count for shots in recipe.shot_of_row]
    banks = tuple(bank[rows] for bank, rows in zip(recipe.banks, kept, strict=True))
    return dataclasses.replace(
        recipe,
        banks=banks,
        shot_of_row=tuple(shots[rows] for shots, rows in zip(recipe.shot_of_row, kept, strict=True)),
        margins=tuple(margins[rows] for margins, rows in zip(recipe.margins, kept, strict=True)),
    )


def run(path: Path, views: Array8) -> list[Floats]:
    found: list[Floats] = ort.InferenceSession(str(path)).run(["score", "grid", "map"], {"image": views})
    return found


def assert_like_the_detector(path: Path, detector: Detector, photos: Path) -> None:
    """Compare every output for good photos and a bad one, one at a time and three at once."""
    frames = [load_rgb(photo) for photo in sorted(photos.rglob("*.png"))]
    view, size = detector.recipe.header.view, detector.engine.encoder.image_size
    for batch in (1, 3):
        for start in range(len(frames) - batch + 1):
            some = frames[start : start + batch]
            parts = run(path, np.concatenate([view.cut(frame, size) for frame in some]))
            for wanted, score, grid, heat in zip(detector.predict_batch(some), *parts, strict=True):
                assert score == pytest.approx(wanted.raw_score, rel=1e-5, abs=1e-5)
                np.testing.assert_allclose(grid, wanted.grids[0], rtol=1e-5, atol=1e-5)
                np.testing.assert_allclose(heat, wanted.map, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("fusion", "image_maximum", "temperature", "photo_count"),
    [
        ("residual", "grid", 100.0, 3),
        ("paper", "map", 4.6052, 3),
        ("residual", "map", 4.6052, 1),
        ("paper", "grid", 100.0, 2),
    ],
)
def test_scores_are_the_detectors(
    engine_folder: Path,
    recipe: Recipe,
    photos: Path,
    tmp_path: Path,
    fusion: str,
    image_maximum: str,
    temperature: float,
    photo_count: int,
) -> None:
    product = changed(recipe, fusion=fusion, image_maximum=image_maximum, temperature=temperature)
    product = first_photos(product, photo_count)
    agreements = write_fused(engine_folder, product, tmp_path / "ring.onnx")
    assert [agreement.ran.split()[0] for agreement in agreements] == ["onnxruntime", "openvino"]
    detector = Detector(Engine.open(engine_folder, backend="onnxruntime"), product)
    assert_like_the_detector(tmp_path / "ring.onnx", detector, photos)


@pytest.fixture(scope="module")
def low_engine(vit: Backbone, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An engine of the tiny ViT, which passes the gate in int8; `small` does not."""
    folder = tmp_path_factory.mktemp("engines") / "low"
    make_engine(vit, folder, ("fp16", "int8"))
    return folder


@pytest.mark.parametrize("precision", ["fp16", "int8"])
def test_a_precision_has_a_memory_of_its_own(
    low_engine: Path, vit_recipe: Recipe, photos: Path, tmp_path: Path, precision: Precision
) -> None:
    pytest.importorskip("nncf")
    engine = Engine.open(low_engine, backend="onnxruntime", precision=precision)
    assert vit_recipe.header.graph != engine.graph_id()
    write_fused(low_engine, vit_recipe, tmp_path / "ring.onnx", precision)
    detector = Detector(engine, vit_recipe)
    assert_like_the_detector(tmp_path / "ring.onnx", detector, photos)
    facts = ort.InferenceSession(str(tmp_path / "ring.onnx")).get_modelmeta().custom_metadata_map
    assert (facts["precision"], facts["graph"]) == (precision, engine.graph_id())
    assert float(facts["image_threshold"]) == detector.thresholds.image


def test_conditions_become_constants(
    prompted_folder: Path, anople_recipe: Recipe, photos: Path, tmp_path: Path
) -> None:
    write_fused(prompted_folder, anople_recipe, tmp_path / "ring.onnx")
    assert [value.name for value in ort.InferenceSession(str(tmp_path / "ring.onnx")).get_inputs()] == ["image"]
    detector = Detector(Engine.open(prompted_folder, backend="onnxruntime"), anople_recipe)
    assert_like_the_detector(tmp_path / "ring.onnx", detector, photos)


def test_tiles_are_rows_of_a_batch(engine_folder: Path, recipe: Recipe, photos: Path, tmp_path: Path) -> None:
    product = changed(recipe, view=View(tiles=(1, 2)), scene=msgspec.UNSET)
    write_fused(engine_folder, product, tmp_path / "ring.onnx")
    frame = load_rgb(photos / "bad" / "4.png")
    scores, grids, _ = run(tmp_path / "ring.onnx", product.header.view.cut(frame, 240))
    wanted = Detector(Engine.open(engine_folder), product).predict(frame)
    assert len(scores) == 2
    assert scores.max() == pytest.approx(wanted.raw_score, rel=1e-5)
    np.testing.assert_allclose(product.header.view.stitch(grids, *frame.shape[:2]), wanted.map, atol=1e-5)


def test_the_file_is_complete_and_describes_itself(engine_folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    write_fused(engine_folder, recipe, tmp_path / "ring.onnx")
    assert [path.name for path in tmp_path.iterdir()] == ["ring.onnx"]
    model = onnx.load(str(tmp_path / "ring.onnx"))
    onnx.checker.check_model(model, full_check=True)
    facts = {entry.key: entry.value for entry in model.metadata_props}
    header, spec = recipe.header, read_spec(engine_folder)
    assert (facts["format"], facts["product"]) == ("goodparts fused 1", header.product)
    assert (facts["recipe"], facts["graph"]) == (recipe.digest, spec.graph_id("plain", "fp32"))
    assert (facts["precision"], facts["encoder"]) == ("fp32", str(spec.encoder))
    for name, value in (
        ("image_threshold", header.thresholds.image),
        ("pixel_threshold", header.thresholds.pixel),
        ("min_area", header.thresholds.min_area),
    ):
        assert float(facts[name]) == value
    assert msgspec.json.decode(facts["view"], type=View) == header.view
    outputs = {
        value.name: [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]
        for value in model.graph.output
    }
    assert outputs == {"score": ["batch"], "grid": ["batch", 30, 30], "map": ["batch", 400, 400]}


def test_same_engine_and_recipe_same_bytes(engine_folder: Path, recipe_file: Path, tmp_path: Path) -> None:
    for name in ("one.onnx", "two.onnx"):
        write_fused(engine_folder, recipe_file, tmp_path / name)
    data = (tmp_path / "one.onnx").read_bytes()
    assert data == (tmp_path / "two.onnx").read_bytes()
    assert str(tmp_path).encode() not in data


@pytest.mark.parametrize("seen", [1.0, float("nan")])
def test_a_failed_gate_keeps_what_was_there(
    engine_folder: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, seen: float
) -> None:
    (tmp_path / "ring.onnx").write_bytes(b"older")
    monkeypatch.setattr(fused, "_share", lambda *_: seen)
    with pytest.raises(
        ParityError, match=r"fused fp32 model on onnxruntime differs .* \(at most \de-05\): nothing was"
    ):
        write_fused(engine_folder, recipe, tmp_path / "ring.onnx")
    assert [path.read_bytes() for path in tmp_path.iterdir()] == [b"older"]


def test_what_cannot_be_fused_is_refused(
    engine_folder: Path, recipe: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoder = msgspec.structs.replace(recipe.header.encoder, backbone="other")
    stranger, shotless = (
        changed(recipe, encoder=encoder),
        dataclasses.replace(changed(recipe, graph="0" * 64), shots=None),
    )
    out = tmp_path / "ring.onnx"
    refusals: list[tuple[Recipe, Path, Precision, type[GoodpartsError], str]] = [
        (stranger, out, "fp32", RecipeError, r"made for other .* this engine is small"),
        (shotless, out, "fp32", RecipeError, r"holds no shots to compute its memory from again"),
        (recipe, out, "int8", EngineError, r"no int8 graph: it has fp32.* export it with --precision"),
        (recipe, tmp_path / "ring", "fp32", FileError, r"name a file that ends in \.onnx"),
        (recipe, tmp_path / "no" / "ring.onnx", "fp32", FileError, r"does not exist; create it first"),
        (recipe, engine_folder / "encoder.onnx", "fp32", FileError, r"may hold only the engine; name another place"),
    ]
    for product, place, precision, kind, line in refusals:
        with pytest.raises(kind, match=line):
            write_fused(engine_folder, product, place, precision)
    monkeypatch.setattr(fused, "LARGEST", 1_000_000)
    with pytest.raises(SettingsError, match=r"would have 0\.00 GB, one ONNX file holds up to 0\.00: learn the product"):
        write_fused(engine_folder, recipe, out)
    assert not list(tmp_path.iterdir())


def test_the_command(
    engine_folder: Path, recipe_file: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "ring.onnx"
    command = ["export", "--engine", str(engine_folder), "--fused", str(out), "--recipe", str(recipe_file)]
    assert main(command) == 0
    output = capsys.readouterr().out
    assert f"{out}: " in output
    assert "on onnxruntime" in output
    for more, line in (
        (["--precision", "fp32", "bf16"], "a file has one precision, give one"),
        (["--triton", str(tmp_path)], "two exports"),
    ):
        assert main([*command, *more]) == 2
        assert line in capsys.readouterr().err
    assert main(command[:-2]) == 2
    assert "--recipe FILE belong together" in capsys.readouterr().err


def test_the_documented_reader_decides_like_the_detector(
    engine_folder: Path, recipe_file: Path, photos: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_fused(engine_folder, recipe_file, tmp_path / "nut.onnx")
    text = (Path(__file__).parents[2] / "docs" / "serving.md").read_text()
    blocks = [block.split("```")[0] for block in text.split("```python\n")[1:]]
    (code,) = (block for block in blocks if "nut.onnx" in block)
    detector = Detector.open(engine_folder, recipe_file, backend="onnxruntime")
    monkeypatch.chdir(tmp_path)
    for photo in sorted(photos.rglob("*.png")):
        (tmp_path / "photo.png").write_bytes(photo.read_bytes())
        space: dict[str, Any] = {}
        exec(code, space)
        wanted = detector.predict(photo)
        assert space["verdict"] == wanted.verdict
        assert space["score"] == pytest.approx(wanted.score, rel=1e-5)
