"""`goodparts evaluate` on a tiny folder: the files that it writes, and the options that it refuses."""

from __future__ import annotations

import csv
import json
import shutil
from pathlib import Path

import pytest
from goodparts.evaluation.report.summary import METRICS

from goodparts.cli import main

pytestmark = pytest.mark.usefixtures("few_steps")


def run(ring: Path, engine: Path, out: Path, *options: str) -> dict[str, object]:
    command = ["evaluate", "--data", str(ring), "--engine", str(engine), "--out", str(out), *options]
    assert main(command) == 0
    results: dict[str, object] = json.loads((out / "results.json").read_bytes())
    return results


def read_cells(folder: Path) -> list[dict[str, str]]:
    return list(csv.DictReader((folder / "results.csv").read_text(encoding="utf-8").splitlines()))


def test_the_whole_command(ring: Path, engine_folder: Path, tmp_path: Path) -> None:
    methods = ["memory", "vvclip", "promptad", "padim"]
    results = run(
        ring, engine_folder, tmp_path, "--shots", "1", "2", "--seeds", "2", "--torch", "--method", *methods
    )  # fmt: skip
    cells = read_cells(tmp_path)
    # vvclip is measured once, the others for two numbers of shots and two seeds; all on two backends.
    assert len(cells) == 2 * (1 + 3 * 2 * 2)
    assert {cell["backend"] == "torch" for cell in cells} == {True, False}
    assert {"machine", "versions", "commit", "rows", "cells", "manifests"} <= results.keys()
    by_key = {(cell["method"], cell["shots"], cell["seed"], cell["backend"] == "torch"): cell for cell in cells}
    for key, cell in by_key.items():
        twin = by_key[(*key[:3], not key[3])]
        for metric in METRICS:
            assert 0 <= float(cell[metric]) <= 1
            assert float(cell[metric]) == pytest.approx(float(twin[metric]), abs=1e-2)
    page, text = ((tmp_path / f"results.{ending}").read_text(encoding="utf-8") for ending in ("html", "md"))
    assert page.count("<svg") == len(methods)
    assert "difference" in text
    names = {row["name"] for row in results["rows"]}  # type: ignore[attr-defined]
    assert "ring, memory, 2 shots: image_auroc" in names


def test_a_backbone_without_text_leaves_out_the_rows_that_need_it(
    ring: Path, images_engine: Path, tmp_path: Path
) -> None:
    methods = ["memory-top", "subspace", "anomalydino", "vvclip", "promptad", "anople"]
    backbone = ["--backbone", "timm:resnet10t", "--pretrained", "random"]
    results = run(ring, images_engine, tmp_path, "--shots", "2", "--method", *methods, *backbone)
    assert {cell["method"] for cell in results["cells"]} == set(methods[:3])  # type: ignore[attr-defined]
    remarks = "\n".join(results["remarks"])  # type: ignore[arg-type]
    for method in ("vvclip", "promptad"):
        assert f"ring, {method}: left out: timm:resnet10t has no text tower" in remarks
    assert "anople: left out: timm:resnet10t is no ViT: this method needs a ViT's blocks" in remarks


def test_what_cannot_be_done_is_remarked(ring: Path, engine_folder: Path, tmp_path: Path) -> None:
    results = run(
        ring, engine_folder, tmp_path, "--shots", "1", "8", "--method", "memory", "promptad-objects"
    )  # fmt: skip
    remarks = "\n".join(results["remarks"])  # type: ignore[arg-type]
    assert "8 shots: there are 3 good photos" in remarks
    assert "ring is no benchmark object" in remarks
    assert {cell["method"] for cell in results["cells"]} == {"memory"}  # type: ignore[attr-defined]


def test_oracle_has_columns_of_its_own_and_is_no_worse(ring: Path, engine_folder: Path, tmp_path: Path) -> None:
    run(ring, engine_folder, tmp_path, "--shots", "1", "--method", "promptad-prompt", "memory", "--oracle")
    learned, memory = read_cells(tmp_path)
    for metric in ("image_auroc", "pixel_auroc"):
        assert float(learned[f"oracle_{metric}"]) >= float(learned[metric])
        assert memory[f"oracle_{metric}"] == ""


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--method", "magic"], "--method magic is not accepted: give a group (all exportable"),
        (["--method", "coop:margin=1"], "--method coop:margin=1 is not accepted: give"),
        (["--method", "promptad:"], "--method promptad: is not accepted: give"),
        (["--method", "promptad:beta=1"], "'beta=1' is no setting of this row: the settings are prefix_length"),
        (["--method", "promptad:alignment_weight=-1"], "alignment_weight is out of range"),
        (["--method", "promptad:temperature=-1"], "temperature -1: a number above 0"),
        (["--method", "anople:margin=1"], "'margin=1' is no setting of this row: the settings are text_tokens"),
        (["--method", "anople:batch=1"], "batch is out of range"),
        (["--seeds", "0"], "seeds = 0: expected `int` >= 1"),
        (["--shots", "0"], "shots = [0]: expected `int` >= 1"),
        (["--category", "nut"], "--category nut: the categories of ring are ring"),
        (["--shots", "9"], "nothing could be measured: ring: left out: 9 shots"),
    ],
)
def test_refusals(
    options: list[str],
    message: str,
    ring: Path,
    engine_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
) -> None:
    base = ["evaluate", "--data", str(ring), "--engine", str(engine_folder), "--out", str(tmp_path / "out")]
    assert main([*base, "--method", "memory", *options]) == 2
    assert message in capsys.readouterr().err


def test_a_folder_without_masks_has_no_pixel_metrics(ring: Path, engine_folder: Path, tmp_path: Path) -> None:
    plain = tmp_path / "ring <b>"
    for kind in ("good", "bad"):
        shutil.copytree(ring / kind, plain / kind)
    results = run(plain, engine_folder, tmp_path / "out", "--shots", "1", "--method", "memory")
    (only,) = results["cells"]  # type: ignore[misc]
    assert only["values"]["pixel_pro"] is None
    assert "no pixel is defective" in only["missing"]["pixel_pro"]
    assert 0 <= only["values"]["image_auroc"] <= 1
    assert "2 bad photos have no mask" in results["remarks"][0]  # type: ignore[index]
    page = (tmp_path / "out" / "results.html").read_text(encoding="utf-8")
    assert "ring &lt;b&gt;" in page
    assert "<b>" not in page


@pytest.mark.parametrize("kind", ["good", "bad"])
def test_with_photos_of_one_kind_the_rest_is_computed_and_what_cannot_be_is_reported(
    kind: str, ring: Path, engine_folder: Path, tmp_path: Path
) -> None:
    category = tmp_path / "one_kind"
    shutil.copytree(ring / "good", category / "train" / "good")
    shutil.copytree(ring / kind, category / "test" / kind)
    shutil.copytree(ring / "masks", category / "ground_truth" / "bad")
    results = run(
        category, engine_folder, tmp_path / "out", "--shots", "1", "--method", "promptad-prompt", "--oracle"
    )  # fmt: skip
    (only,) = results["cells"]  # type: ignore[misc]
    missing = {"image_auroc", "image_aupr", "image_f1max", "oracle_image_auroc"}
    if kind == "good":
        missing |= {"pixel_auroc", "pixel_aupr", "pixel_pro", "oracle_pixel_auroc"}
    assert {name for name, value in only["values"].items() if value is None} == missing
    assert set(only["missing"]) == missing
    remarks = "\n".join(results["remarks"])  # type: ignore[arg-type]
    images = "image_auroc, image_aupr, image_f1max, oracle_image_auroc"
    assert f"{images} cannot be computed: both kinds are needed: all" in remarks
    page = (tmp_path / "out" / "results.html").read_text(encoding="utf-8")
    assert "cannot be computed" in page


def test_rows_that_need_a_vit_are_left_out_for_another_backbone(
    photos: Path,
    engine_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    shutil.copytree(engine_folder, tmp_path / "engine")
    command = ["evaluate", "--data", str(photos), "--out", str(tmp_path), "--shots", "1"]
    assert main([*command, "--method", "anople", "winclip", "cnn-patchcore", "memory"]) == 0
    output = capsys.readouterr().out
    assert "anople: left out: small is no ViT" in output
    assert "winclip: left out: small is no ViT" in output
    cells = json.loads((tmp_path / "results.json").read_bytes())["cells"]
    assert [(cell["method"], cell["backend"].partition(", ")[2]) for cell in cells] == [
        ("memory", ""),
        ("cnn-patchcore", "MobileNetV2, blocks 1 to 13"),
    ]
