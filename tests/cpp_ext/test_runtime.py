"""The runtime in C: it finds what Python's detector finds, within 1e-5, and refuses damaged and unknown files."""

from __future__ import annotations

import dataclasses
import json
import shutil
import subprocess
import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from goodparts.benchmarks.synthetic import make_recipe
from goodparts.export.engines import make_engine
from goodparts.runtime.core.files import seal
from goodparts.runtime.core.view import Box, View, encode_mask
from goodparts.runtime.detector import Detector
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import read_spec
from goodparts.runtime.recipe.product import Product
from goodparts.runtime.recipe.recipe import _DIGEST_MARK, Recipe
from goodparts.runtime.recipe.refit import refit
from goodparts.runtime.recipe.shots import load_shots
from goodparts.runtime.recipe.teach import teach_product
from goodparts.trainer.clip.backbone import Backbone
from PIL import Image

from tests.conftest import draw_part
from tests.cpp_ext.building import ROOT, missing, run
from tests.cpp_ext.runtime_library import Handle, Library, NativeDetector, RefusedError, open_engine, read_recipe

pytestmark = pytest.mark.skipif(
    bool(missing()), reason=f"missing: {missing()}; tests/cpp_ext/headers.sh downloads headers"
)
FRAME = np.asarray(draw_part(9, defect=True))
INVALID, FILE, ENGINE, RECIPE = 1, 4, 5, 6


def ring_mask() -> bytes:
    y, x = np.mgrid[0:240, 0:320]
    return encode_mask(np.hypot(y - 120, x - 160) < 97)


VIEWS = {
    "plain": View(),
    "region": View(roi=Box(60, 21, 211, 203)),
    "letterbox": View(resize="letterbox"),
    "mask": View(mask=ring_mask()),
    "masked region": View(roi=Box(63, 40, 200, 177), mask=ring_mask(), resize="letterbox"),
    "tiles": View(roi=Box(5, 3, 301, 222), tiles=(2, 3), overlap=0.25),
    "many tiles": View(tiles=(4, 5)),  # more than the encoder takes in one pass
    "letterboxed tiles": View(tiles=(1, 3), overlap=0.0, resize="letterbox"),
}


@pytest.fixture(scope="session")
def library(built: Path) -> Library:
    return Library(built / "libgoodparts.so")


@pytest.fixture(scope="session")
def native(library: Library, engine_folder: Path) -> Handle:
    return open_engine(library, engine_folder, verify=True)


@pytest.fixture(scope="session")
def engine(engine_folder: Path) -> Engine:
    return Engine.open(engine_folder, backend="onnxruntime", threads=1)


def changed(recipe: Recipe, **header: Any) -> Recipe:
    """Return the recipe with changes in its header, and without its shots and scene, which may not fit another view."""
    header_now = msgspec.structs.replace(recipe.header, scene=msgspec.UNSET, **header)
    return dataclasses.replace(recipe, header=header_now, shots=None)


def between(scores: np.ndarray, share: float) -> float:
    """Return a threshold near this share of the highest score, as far as possible from all scores."""
    values = np.unique(scores)
    near = int(np.searchsorted(values, share * values[-1]))
    some = values[max(near - 100, 0) : near + 100]
    widest = int(np.diff(some).argmax())
    return float(some[widest : widest + 2].astype(np.float64).mean())


def test_what_python_finds_with_the_small_backbone_is_found(library: Library, tmp_path: Path) -> None:
    folder = tmp_path / "small"
    spec = make_engine(Backbone.open("small"), folder, ["fp32"])
    product = make_recipe(spec.encoder, spec.graph_id("plain", "fp32"), 1)
    python = Detector(Engine.open(folder, backend="onnxruntime", threads=1), product)
    expected, seen = (
        python.predict(FRAME),
        NativeDetector(open_engine(library, folder), product.to_bytes()).inspect(FRAME),
    )
    assert seen.score == pytest.approx(expected.score, abs=1e-5)
    np.testing.assert_allclose(seen.map, expected.map, rtol=0, atol=1e-5)


def test_an_image_only_product_is_scored_and_its_subspace_is_refused(
    library: Library, images_engine: Path, tmp_path: Path
) -> None:
    opened = Engine.open(images_engine, backend="onnxruntime", threads=1)
    for seed in range(2):
        draw_part(seed).save(tmp_path / f"{seed}.png")
    shots = load_shots(sorted(tmp_path.glob("*.png")), View(), [64])
    product = teach_product(opened, Product("ring", (), View(), shots))
    native = open_engine(library, images_engine)
    expected, seen = Detector(opened, product).predict(FRAME), NativeDetector(native, product.to_bytes()).inspect(FRAME)
    assert seen.score == pytest.approx(expected.score, abs=1e-5)
    np.testing.assert_allclose(seen.map, expected.map, rtol=0, atol=1e-5)
    with pytest.raises(RefusedError, match="'subspace', which only the runtime in Python scores"):
        NativeDetector(native, changed(product, fusion="subspace").to_bytes())


@pytest.mark.parametrize(
    ("view", "fusion", "maximum"),
    [
        ("plain", "paper", "map"),
        ("plain", "memory", "map"),
        ("region", "residual", "grid"),
        ("letterbox", "prompt", "grid"),
        ("mask", "residual", "map"),
        ("masked region", "memory", "grid"),
        ("tiles", "residual", "grid"),
        ("many tiles", "residual", "grid"),
        ("letterboxed tiles", "paper", "map"),
    ],
)
def test_what_python_finds_is_found(
    engine: Engine, native: Handle, recipe: Recipe, view: str, fusion: str, maximum: str
) -> None:
    product = changed(recipe, view=VIEWS[view], fusion=fusion, image_maximum=maximum)
    python, other = Detector(engine, product), NativeDetector(native, product.to_bytes())
    pixel = between(python.predict(FRAME).map, 0.4)
    thresholds = msgspec.structs.replace(python.thresholds, pixel=pixel, min_area=30.0)
    python.thresholds = thresholds
    other.set_thresholds(thresholds)
    expected, seen = python.predict(FRAME), other.inspect(FRAME)
    assert seen.raw_score == pytest.approx(expected.raw_score, abs=1e-5)
    assert seen.score == seen.raw_score / seen.raw_threshold
    assert (seen.verdict, seen.raw_threshold) == (expected.verdict, expected.raw_threshold)
    assert seen.recipe == expected.recipe
    np.testing.assert_allclose(seen.map, expected.map, rtol=0, atol=1e-5)
    assert expected.regions
    assert [region.box for region in seen.regions] == [region.box for region in expected.regions]
    np.testing.assert_allclose(
        [(region.area, region.peak) for region in seen.regions],
        [(region.area, region.peak) for region in expected.regions],
        rtol=0, atol=1e-5,
    )  # fmt: skip


def test_a_memory_with_poses_is_eight_times_as_large(
    engine: Engine, native: Handle, library: Library, small: Backbone, recipe: Recipe
) -> None:
    posed = dataclasses.replace(recipe, header=msgspec.structs.replace(recipe.header, poses=True))
    posed = dataclasses.replace(refit(posed, small.encode, recipe.header.graph), shots=None)
    expected = Detector(engine, posed).predict(FRAME)
    assert NativeDetector(native, posed.to_bytes()).inspect(FRAME).score == pytest.approx(expected.score, abs=1e-5)
    with pytest.raises(RefusedError, match=r"ring is damaged \(tensor photos_0 is \[21600\]"):
        read_recipe(library, forged(posed, poses=False), "ring")


def test_a_frame_may_come_in_another_order_with_rows_apart(engine: Engine, native: Handle, recipe: Recipe) -> None:
    view = View(roi=Box(63, 40, 200, 177), mask=ring_mask())
    product = changed(recipe, view=view)
    python, other = Detector(engine, product), NativeDetector(native, product.to_bytes())
    padded = np.zeros((240, 400, 3), np.uint8)
    padded[:, :320] = FRAME[..., ::-1]
    assert other.inspect(padded[:, :320], "bgr").raw_score == pytest.approx(python.predict(FRAME).raw_score, abs=1e-5)
    grey = FRAME[..., 1].copy()
    assert other.inspect(grey, "grey").raw_score == pytest.approx(python.predict(grey).raw_score, abs=1e-5)


def test_the_example_prints_what_goodparts_inspect_prints(
    built: Path, engine: Engine, engine_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    from goodparts.runtime.describe import as_record

    paths = [tmp_path / "bad.png", tmp_path / "good.ppm"]
    Image.fromarray(FRAME).save(paths[0])
    draw_part(3).save(paths[1])
    lines = run(built / "inspect", engine_folder, recipe_file, *paths, "--threads", "1").splitlines()
    detector = Detector(engine, recipe_file)
    for line, path in zip(lines, paths, strict=True):
        seen = json.loads(line)
        expected = {"path": str(path), **json.loads(msgspec.json.encode(as_record(detector.predict(path))))}
        del expected["scene"], expected["provisional"]  # the runtime in C does not report them
        assert list(seen) == list(expected)
        assert all(seen["milliseconds"].pop(stage) >= 0 for stage in expected.pop("milliseconds"))
        assert seen.pop("milliseconds") == {}
        assert [region.pop("box") for region in seen["regions"]] == [
            region.pop("box") for region in expected["regions"]
        ]
        for one, other in zip(seen.pop("regions"), expected.pop("regions"), strict=True):
            assert one == pytest.approx(other, abs=1e-5)
        for name in ("score", "raw_score"):
            assert seen.pop(name) == pytest.approx(expected.pop(name), rel=1e-4)  # raw scores differ by at most 1e-5
        assert seen == expected
    assert json.loads(lines[0])["verdict"] == "reject"


def test_the_example_tells_a_missing_picture_from_one_that_it_cannot_read(
    built: Path, engine_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    text = tmp_path / "text.png"
    text.write_text("no picture")
    for path, message in (("no.png", "cannot read no.png: no such file"), (text, f"{text} cannot be read: PNG of 8")):
        done = subprocess.run([built / "inspect", engine_folder, recipe_file, path], capture_output=True, check=False)
        assert done.returncode == 2
        assert done.stderr.decode().startswith(f"goodparts: {message}")


def test_a_recipe_is_swapped_between_two_frames(native: Handle, recipe: Recipe) -> None:
    """Threads that inspect while the product changes use one product or the other, never a mixture."""
    files = [product.to_bytes() for product in (recipe, changed(recipe, view=VIEWS["tiles"], fusion="memory"))]
    detector = NativeDetector(native, files[0])
    expected = {}
    for data in files:
        detector.use(data)
        found = detector.inspect(FRAME)
        expected[found.recipe] = found.score
    stop, seen, wrong = threading.Event(), set(), []

    def inspect() -> None:
        while not stop.is_set():
            found = detector.inspect(FRAME)
            seen.add(found.recipe)
            if found.score != pytest.approx(expected[found.recipe], abs=1e-5):
                wrong.append(found.score)

    threads = [threading.Thread(target=inspect) for _ in range(2)]
    for thread in threads:
        thread.start()
    for turn in range(1000):
        if turn >= 30 and len(seen) == 2:
            break
        detector.use(files[turn % 2])
        with pytest.raises(RefusedError):
            detector.use(files[0][:-1])
    stop.set()
    for thread in threads:
        thread.join()
    assert not wrong
    assert seen == set(expected)


def test_a_part_is_to_be_reviewed_if_the_recipe_has_a_review_threshold(native: Handle, recipe: Recipe) -> None:
    raw = NativeDetector(native, recipe.to_bytes()).inspect(FRAME).raw_score
    for limit, verdict in ((1.0, "reject"), (1.2, "review"), (1.3, "good")):
        thresholds = msgspec.structs.replace(recipe.header.thresholds, image=raw * limit, review=0.8)
        detector = NativeDetector(native, recipe.with_thresholds(thresholds).to_bytes())
        assert detector.inspect(FRAME).verdict == verdict
    with pytest.raises(RefusedError, match=r"review 1\.0+: a score below 1 is needed, as in 0\.8, or 0 for no band"):
        detector.set_thresholds(msgspec.structs.replace(thresholds, review=1.0))


def test_a_refused_recipe_leaves_the_one_in_use(native: Handle, recipe: Recipe) -> None:
    detector = NativeDetector(native, recipe.to_bytes())
    other = msgspec.structs.replace(recipe.header.encoder, weights="0" * 64)
    made = "the recipe was made for small at 240 px, weights 000000000000, memory taps 6,13 on 30×30 patches"
    averaged = msgspec.structs.replace(recipe.header.encoder, neighbourhood=1)
    for change, message in [
        ({"encoder": other}, made),
        ({"encoder": averaged}, "neighbourhood 1, this engine is small .* neighbourhood 3: use the engine it was made"),
        ({"graph": "0" * 64}, "made with another graph of this encoder: fit it to this one in Python"),
    ]:
        with pytest.raises(RefusedError, match=message) as caught:
            detector.use(changed(recipe, **change).to_bytes())
        assert caught.value.code == RECIPE
    assert detector.inspect(FRAME).recipe == recipe.digest
    with pytest.raises(RefusedError, match=r"image threshold 0\.0+: a finite number above 0 is needed"):
        detector.set_thresholds(msgspec.structs.replace(recipe.header.thresholds, image=0.0))
    assert detector.image_threshold == recipe.header.thresholds.image


def forged(recipe: Recipe, **fields: Any) -> bytes:
    """Return the bytes of a recipe with changed or added header fields and a matching digest."""
    data = changed(recipe).to_bytes()
    length = int.from_bytes(data[:8], "little")
    outer = json.loads(data[8 : 8 + length])
    header = {**json.loads(outer["__metadata__"]["goodparts"]), **fields, "digest": "0" * 64}
    outer["__metadata__"]["goodparts"] = json.dumps(header, separators=(",", ":"))
    text = json.dumps(outer, separators=(",", ":")).encode()
    return seal(len(text).to_bytes(8, "little") + text + data[8 + length :], _DIGEST_MARK)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"version": 99}, "ring: its format version is 99; this version of goodparts reads 3: inspect it in Python"),
        ({"version": 4, "conditions": {}}, "ring: its format version is 4; this version of goodparts reads 3: inspect"),
        ({"decoder": {"layers": 2}}, "ring: the header has the field 'decoder', which this version does not know"),
        (
            {"view": {"tiles": [1, 1], "resize": "squash", "overlap": 0.1, "roi": {"angle": 3}}},
            "ring: the region of interest has the field 'angle', which this version does not know",
        ),
        (
            {"thresholds": {"image": 1.0, "pixel": 1.0, "min_area": 0.0, "unit": "mm"}},
            "ring: the header's field thresholds has the field 'unit', which this version does not know",
        ),
        ({"fusion": "other"}, "ring: fusion is 'other', which this version does not know"),
        ({"temperature": "hot"}, r"ring is damaged \(the header.temperature is not a number\)"),
        ({"view": {"tiles": [16, 17], "resize": "squash", "overlap": 0.1}}, r"ring is damaged \(more than 256 tiles\)"),
        ({"view": {"tiles": [1, 1], "resize": "squash", "overlap": 0.1, "mask": "AAAA"}}, "mask cannot be read"),
        ({"shots": []}, r"ring is damaged \(tensor photos_0 is \[2700\]"),
        ({"poses": 8}, r"ring is damaged \(the header.poses is not true or false\)"),
        ({"product": "a\n\x1b[31m", "encoder": 3}, r"ring is damaged \(the header.encoder is not an object\)"),
    ],
)
def test_unknown_and_wrong_fields_are_refused(
    library: Library, recipe: Recipe, fields: dict[str, Any], message: str
) -> None:
    for known in ({}, {"signature": "0" * 128}, {"accepted": {}}):
        assert read_recipe(library, forged(recipe, **known)).call("product") == b"ring"
    with pytest.raises(RefusedError, match=message) as caught:
        read_recipe(library, forged(recipe, **fields), "ring")
    assert caught.value.code == RECIPE


def test_damaged_files_are_refused(library: Library, recipe: Recipe, engine_folder: Path, tmp_path: Path) -> None:
    whole = recipe.to_bytes()
    broken = bytearray(whole)
    broken[-100] ^= 1
    for data, message in [
        (bytes(broken), "ring is damaged .its digest does not match its bytes.: copy or train it again"),
        (whole[:-1], "ring is damaged .its digest does not match"),
        (whole[:100], "ring is damaged .its end is missing"),
        (b"", "ring is damaged .its end is missing"),
        (b'name = "line"\n', "ring is no recipe: it does not begin as a safetensors file does; goodparts teach makes"),
    ]:
        with pytest.raises(RefusedError, match=message):
            read_recipe(library, data, "ring")
    with pytest.raises(RefusedError, match=r"cannot read .*none: no such file") as caught:
        library.call("gp_recipe_open", str(tmp_path / "none").encode())
    assert caught.value.code == FILE

    copy = tmp_path / "engine"
    with pytest.raises(RefusedError, match="no engine at"):
        open_engine(library, copy)
    shutil.copytree(engine_folder, copy)
    with pytest.raises(RefusedError, match=r"has no bf16 graph with a parity record for onnxruntime \(has: fp32\)"):
        open_engine(library, copy, precision="bf16")
    weights = copy / read_spec(engine_folder).graph("plain").variants["fp32"].weights
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(data)
    with pytest.raises(RefusedError, match="its SHA-256 does not match") as caught:
        open_engine(library, copy, verify=True)
    assert caught.value.code == ENGINE
    weights.write_bytes(data[:-1])
    with pytest.raises(RefusedError, match="bytes, should be"):
        open_engine(library, copy)
    spec = copy / "engine.json"
    spec.write_bytes(spec.read_bytes().replace(b"small", b"Small"))
    with pytest.raises(RefusedError, match="engine.json is damaged .its digest does not match"):
        open_engine(library, copy)
    spec.write_bytes(spec.read_bytes().replace(b'"contract": 4', b'"contract": 3'))
    with pytest.raises(RefusedError, match="engine.json has contract 3; this version reads 4: export again"):
        open_engine(library, copy)


@pytest.mark.parametrize(
    ("view", "frame", "message"),
    [
        (View(), FRAME[:7, :7], "frame is 7×7 pixels: at least 8×8 is needed"),
        (View(roi=Box(0, 0, 320, 200)), FRAME[:, :300], "region 0,0,320,200 does not lie inside a 300×240 frame"),
        (View(mask=ring_mask()), FRAME[:100], "the mask is 320×240 pixels, the frame 320×100"),
    ],
)
def test_a_frame_that_does_not_fit_is_refused(
    native: Handle, recipe: Recipe, view: View, frame: np.ndarray, message: str
) -> None:
    detector = NativeDetector(native, changed(recipe, view=view).to_bytes())
    with pytest.raises(RefusedError, match=message) as caught:
        detector.inspect(frame)
    assert caught.value.code == INVALID


def test_hostile_files_under_the_address_sanitizer(
    sanitized: Path, recipe: Recipe, engine_folder: Path, tmp_path: Path
) -> None:
    small = dataclasses.replace(
        changed(recipe, view=VIEWS["tiles"]),
        banks=tuple(bank[:8] for bank in recipe.banks),
        shot_of_row=tuple(shots[:8] for shots in recipe.shot_of_row),
        margins=tuple(margins[:8] for margins in recipe.margins),
    )
    (tmp_path / "tiles").write_bytes(small.to_bytes())
    masked = dataclasses.replace(small, header=msgspec.structs.replace(small.header, view=VIEWS["masked region"]))
    (tmp_path / "mask").write_bytes(masked.to_bytes())
    files = [tmp_path / "tiles", tmp_path / "mask", engine_folder / "engine.json"]
    runs, accepted = run(sanitized / "fuzz_runtime", "2000", *files).split(" runs, ")
    assert runs == "2000"
    assert 20 < int(accepted.split()[0]) < 1500  # some damage passes the check of the digest


def test_the_quick_start(built: Path, engine_folder: Path, recipe_file: Path, tmp_path: Path) -> None:
    """Build and run the program of docs/cpp.md, whose project finds the installed package."""
    text = (ROOT / "docs" / "cpp.md").read_text(encoding="utf-8")
    for name, language in (("CMakeLists.txt", "cmake"), ("main.cpp", "cpp")):
        (tmp_path / name).write_text(text.split(f"```{language}\n")[1].split("```")[0], encoding="utf-8")
    run("cmake", "--install", built, "--prefix", tmp_path / "installed")
    made = tmp_path / "made"
    run("cmake", "-S", tmp_path, "-B", made, f"-DCMAKE_PREFIX_PATH={tmp_path / 'installed'}")
    run("cmake", "--build", made)
    lines = run(made / "first", engine_folder, recipe_file).splitlines()
    assert lines[0].startswith("ring on onnxruntime ")
    assert lines[1].startswith(("good: ", "reject: "))
    assert lines[-1] == "map of 400×400"
