"""`goodparts evaluate` on a tiny folder: every file it writes, what is encoded how often, and what it refuses."""

from __future__ import annotations

import csv
import json
import math
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from goodparts.evaluation.cache import Cell
from goodparts.evaluation.encoded_photos import Encoded, Photos
from goodparts.evaluation.methods.method import Lesson, Product
from goodparts.evaluation.methods.table import GROUPS, METHODS
from goodparts.evaluation.report import summary
from goodparts.evaluation.report.gather import Evaluation
from goodparts.evaluation.report.summary import MEAN, Summary, read_papers, to_csv, to_markdown
from goodparts.runtime import Engine
from goodparts.runtime.core.scoring import fuse, memory_scores, prompt_scores
from goodparts.runtime.core.view import View
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.learner import PromptLearner, Prototypes
from goodparts.trainer.steps import Progress
from PIL import Image

from goodparts.cli import main
from tests.conftest import draw_part


@pytest.fixture(autouse=True)
def _few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps of learning: nothing here is about how well prompts are learned."""

    def learn(self: PromptLearner, progress: Progress = iter) -> Prototypes:
        for _ in progress(range(2)):
            self.step()
        return self.prototypes()

    monkeypatch.setattr(PromptLearner, "learn", learn)


@pytest.fixture(scope="session")
def ring(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """good/ with 3 photos, bad/ with 2 and their masks."""
    root = tmp_path_factory.mktemp("sets") / "ring"
    for seed in range(5):
        bad = seed > 2
        path = root / ("bad" if bad else "good") / f"{seed}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        photo = draw_part(seed, defect=bad)
        photo.save(path)
        if bad:
            clean = np.asarray(draw_part(seed), np.int16)
            mask = np.abs(np.asarray(photo, np.int16) - clean).max(axis=2) > 40
            (root / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(root / "masks" / f"{seed}.png")
    return root


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
    # vvclip once, the others for two numbers of shots and two seeds; all on two backends
    assert len(cells) == 2 * (1 + 3 * 2 * 2)
    assert {cell["backend"] == "torch" for cell in cells} == {True, False}
    assert {"machine", "versions", "commit", "rows", "cells", "manifests"} <= results.keys()
    by_key = {(c["method"], c["shots"], c["seed"], c["backend"] == "torch"): c for c in cells}
    for key, cell in by_key.items():
        twin = by_key[(*key[:3], not key[3])]
        for metric in summary.METRICS:
            assert 0 <= float(cell[metric]) <= 1
            assert float(cell[metric]) == pytest.approx(float(twin[metric]), abs=1e-2)
    page, text = ((tmp_path / f"results.{ending}").read_text(encoding="utf-8") for ending in ("html", "md"))
    assert page.count("<svg") == len(methods)
    assert "difference" in text
    assert "ring, memory, 2 shots: image_auroc" in {row["name"] for row in results["rows"]}  # type: ignore[attr-defined]


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
    ("options", "said"),
    [
        (["--method", "magic"], "--method magic: there are all exportable"),
        (["--method", "coop:margin=1"], "--method coop:margin=1: there are"),
        (["--method", "promptad:"], "--method promptad:: there are"),
        (["--method", "promptad:beta=1"], "'beta=1': the settings are prefix_length"),
        (["--method", "promptad:alignment_weight=-1"], "alignment_weight is out of range"),
        (["--method", "promptad:temperature=-1"], "temperature -1: a number above 0"),
        (["--method", "anople:margin=1"], "'margin=1': the settings are text_tokens"),
        (["--method", "anople:batch=1"], "batch is out of range"),
        (["--seeds", "0"], "seeds = 0: expected `int` >= 1"),
        (["--shots", "0"], "shots = [0]: expected `int` >= 1"),
        (["--category", "nut"], "--category nut: ring has ring"),
        (["--shots", "9"], "nothing could be measured: ring: left out: 9 shots"),
    ],
)
def test_refusals(
    options: list[str], said: str, ring: Path, engine_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base = ["evaluate", "--data", str(ring), "--engine", str(engine_folder), "--out", str(tmp_path / "out")]
    assert main([*base, "--method", "memory", *options]) == 2
    assert said in capsys.readouterr().err


@pytest.mark.parametrize("in_memory", [10, 1 << 28])
def test_photos_are_decoded_and_encoded_once(
    in_memory: int, ring: Path, demo: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goodparts.evaluation.encoded_photos.IN_MEMORY", in_memory)
    paths = sorted(ring.glob("*/*.png"))
    photos = Photos(demo.encoder.image_size)
    encoded = Encoded("torch", demo.encode, photos)
    for some in (paths[:2], paths, paths[::-1], [paths[0], paths[0]]):
        found = encoded.features(some)
        expected = demo.encode(np.concatenate([View().cut(_rgb(path), demo.encoder.image_size) for path in some]))
        np.testing.assert_allclose(found.global_, expected.global_, atol=1e-5)
        for ours, theirs in zip((found.local, *found.memory), (expected.local, *expected.memory), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert photos.decoded == encoded.encoded == len(paths)
    photos.close()
    encoded.close()


def _rgb(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))


def cannot_learn(product: Product, name: str) -> Prototypes:
    raise AssertionError(f"{name} of {product.text} are not learned yet")


def test_rows_of_branches_are_what_they_say(ring: Path, demo: Backbone, engine_folder: Path) -> None:
    """Each through the runtime's scorer against the branches' own definitions."""
    engine = Engine.open(engine_folder)
    photos = Photos(demo.encoder.image_size)
    encoded = Encoded(engine.backend, engine.encode, photos)
    good, tests = sorted((ring / "good").iterdir()), sorted((ring / "bad").iterdir())
    features, shown = encoded.features(good), encoded.features(tests)
    product = Product(lambda: demo, lambda: features, "ring", "bottle", 0)
    lesson = Lesson(features, photos.views(good), encoded.encode, product)
    banks = tuple(part.reshape(-1, part.shape[-1]).astype(np.float16).astype(np.float32) for part in features.memory)
    distance = memory_scores(shown.memory, banks)
    for name in GROUPS["exportable"]:
        row = METHODS[name]
        image, grid = row.learn(lesson).score(shown)
        assert grid.shape == (len(tests), *engine.encoder.grid)
        if row.prompts is None:
            expected = {"memory": (distance.max(axis=1), distance)}.get(name)
        else:
            prompts = product.prompts(row.prompts, cannot_learn)
            whole = prompt_scores(shown.global_, prompts.image, 4.6052)
            parts = prompt_scores(shown.local, prompts.pixel, 4.6052)
            expected = {
                "promptad-prompt": (whole, parts),
                "coop": (whole, parts),
                "vvclip": (whole, parts),
                "promptad-paper": (fuse(whole, distance.max(axis=1)), fuse(parts, distance)),
            }.get(name)
        if expected is not None:
            np.testing.assert_allclose(image, expected[0], atol=1e-5)
            np.testing.assert_allclose(grid.reshape(len(tests), -1), expected[1], atol=1e-5)
    photos.close()
    encoded.close()


def cell(category: str, seed: int, value: float, backend: str = "engine") -> Cell:
    return Cell(category, "memory", 1, seed, backend, {"image_auroc": value}, {}, None, "")


def test_spread_is_over_seeds_of_the_mean_over_categories() -> None:
    cells = [cell("a", 0, 0.5), cell("b", 0, 0.7), cell("a", 1, 0.7), cell("b", 1, 0.9), cell("b", 2, math.nan)]
    summary = Summary("MVTec AD", True, Evaluation(cells=cells))
    found = summary.find(MEAN, "memory", 1)
    assert found is not None
    assert found.values["image_auroc"] == pytest.approx((0.7, np.std([0.6, 0.8], ddof=1)))
    assert "70.0 ± 14.1" in to_markdown(summary, [])
    assert to_csv(cells, summary.metrics).splitlines()[-1] == b"b,memory,1,2,engine,,,"


def test_papers_stand_beside_the_same_data_method_and_shots_alone() -> None:
    cells = [cell("a", 0, 0.8)]
    whole, part = (Summary("MVTec AD", all_of_it, Evaluation(cells=cells)) for all_of_it in (True, False))
    mean = next(row for row in whole.findings().rows if row.name == "mean, memory, 1 shots: image_auroc")
    assert (mean.peer, mean.peer_value) == ("PromptAD, VAD only (ours: clean)", pytest.approx(0.851))
    assert "85.1 (80.0 clean)" in to_markdown(whole, [])
    assert all(row.peer is None for row in part.findings().rows)
    assert "Beside the papers" not in to_markdown(part, [])


def test_best_steps_of_the_official_protocol_stand_beside_the_papers_best_steps() -> None:
    values = {"image_auroc": 0.9, "oracle_image_auroc": 0.95}
    cells = [msgspec.structs.replace(cell("a", 0, 0.8), method="promptad-objects", values=values)]
    official, clean = (Summary("MVTec AD", True, Evaluation(cells=cells), official) for official in (True, False))
    for one, said, peers in (
        (official, "94.6 (95.0 official, best step)", {"oracle_image_auroc"}),
        (clean, "94.6 (90.0 clean)", {"image_auroc"}),
    ):
        assert said in to_markdown(one, [])
        rows = [row for row in one.findings().rows if row.name.startswith("mean") and row.peer]
        assert {row.name.rpartition(" ")[2] for row in rows} == peers


def test_the_papers_file_is_sound() -> None:
    for paper in read_papers():
        assert paper.row is None or METHODS[paper.row].title
        assert not paper.official or paper.row is None or METHODS[paper.row].official
        assert paper.source
        assert all(20 < value < 100 for values in paper.values.values() for value in values.values())


def test_a_mean_of_some_categories_says_so_and_stands_beside_no_paper() -> None:
    cells = [cell("a", 0, 0.8), msgspec.structs.replace(cell("b", 0, 0.6), method="padim")]
    summary = Summary("MVTec AD", True, Evaluation(cells=cells))
    rows = {row.name: row for row in summary.findings().rows}
    assert rows["mean, memory (1 of 2 categories), 1 shots: image_auroc"].peer is None
    assert "| memory (1 of 2 categories) | 1 | engine | 80.0 |" in to_markdown(summary, [])
    assert "85.1 (" not in to_markdown(summary, [])


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
