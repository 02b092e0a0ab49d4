"""Methods with an encoder of their own: each against its definition, and all of them through the command."""

from __future__ import annotations

import csv
import dataclasses
import json
import math
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import torch
from goodparts.evaluation.methods import anople as anople_rows
from goodparts.evaluation.methods import multi_promptad
from goodparts.evaluation.methods.clip_encoders import (
    every_block,
    middle_memory,
    ordinary_path,
    plain_vit,
    value_path,
)
from goodparts.evaluation.methods.cnn import open_cnn
from goodparts.evaluation.methods.coop import CoCoOp
from goodparts.evaluation.methods.linear_clip import LinearLearner
from goodparts.evaluation.methods.method import PromptTask, TrainingData
from goodparts.evaluation.methods.multi_promptad import learn_together
from goodparts.evaluation.methods.rwda import known_words
from goodparts.evaluation.methods.table import GROUPS, METHODS, find_method
from goodparts.evaluation.methods.winclip import fit_winclip, window_encoder, window_to_patch_scores, windows
from goodparts.runtime.backends.registry import BACKENDS
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import prompt_scores
from goodparts.trainer.anople.learner import AnoPLeLearner
from goodparts.trainer.anople.model import halved
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.learner import PromptLearner, Prototypes
from goodparts.trainer.promptad.settings import promptad_settings
from goodparts.trainer.promptad.suffixes import GENERIC

from goodparts.cli import main
from tests.conftest import VIT, draw_part

OF_VIT = "--backbone", VIT, "--pretrained", "random"


@pytest.fixture(scope="module")
def views() -> Array8:
    return np.stack([np.asarray(draw_part(seed).resize((192, 192))) for seed in range(2)])


def test_ordinary_path_is_clip_as_open_clip_runs_it(vit: Backbone, views: Array8) -> None:
    visual, features = vit.visual.visual, ordinary_path(vit).encode(views)
    with torch.inference_mode():
        visual.output_tokens, before = True, visual.output_tokens
        whole, _ = visual(vit.visual.standardise(torch.tensor(views, dtype=torch.float32)).permute(0, 3, 1, 2))
        visual.output_tokens = before
    np.testing.assert_allclose(features.global_, torch.nn.functional.normalize(whole, dim=-1).numpy(), atol=1e-5)
    # The whole photo is a window of all patches: its [CLS] is the photo's global feature.
    again = window_encoder(vit).encode(views)
    np.testing.assert_allclose(again.global_, features.global_, atol=1e-5)
    np.testing.assert_allclose(again.local, features.local, atol=1e-5)


def test_value_path_adds_up_attentions_of_each_token_to_itself(vit: Backbone, views: Array8) -> None:
    tower = vit.visual
    with torch.inference_mode():
        local = tokens = tower.embed(torch.tensor(views))  # type: ignore[operator]
        only_itself = torch.full((tokens.shape[1],) * 2, -math.inf).fill_diagonal_(0.0)
        for block in tower.blocks:  # type: ignore[union-attr]
            local = local + block.attention(block.ln_1(tokens), attn_mask=only_itself)
            tokens = block(tokens)
        projected = tower.project(local[:, 1:])  # type: ignore[operator]
    expected = torch.nn.functional.normalize(projected, dim=-1).numpy()
    np.testing.assert_allclose(value_path(vit).encode(views).local, expected, atol=1e-5)


def test_other_memories(vit: Backbone, views: Array8) -> None:
    own = vit.encode(views)
    for make, count in ((middle_memory, 2), (every_block, 5)):
        features = make(vit).encode(views)
        assert len(features.memory) == count
        np.testing.assert_allclose(features.local, own.local, atol=1e-5)
    # CLIP projects the last block's output, so a linear layer that starts as the projection equals CLIP at first.
    tower = vit.visual
    last = torch.from_numpy(every_block(vit).encode(views).memory[-1])
    with torch.inference_mode():
        tokens = tower.embed(torch.tensor(views))  # type: ignore[operator]
        for block in tower.blocks:  # type: ignore[union-attr]
            tokens = block(tokens)
    torch.testing.assert_close(last, torch.nn.functional.normalize(tokens[:, 1:], dim=-1))


def test_windows_and_their_spread() -> None:
    grid, side = (3, 4), 2
    scores = np.random.default_rng(0).random((1, 6), np.float32)
    expected = np.zeros(12)
    for patch in range(12):
        y, x = divmod(patch, 4)
        over = [scores[0, j * 3 + i] for j in range(2) for i in range(3) if j <= y < j + side and i <= x < i + side]
        expected[patch] = len(over) / sum(1 / one for one in over)
    np.testing.assert_allclose(window_to_patch_scores(scores, grid, side)[0], expected, rtol=1e-5)
    assert windows(grid, side)[4].tolist() == [5, 6, 9, 10]


def test_a_window_is_encoded_without_its_surroundings(vit: Backbone, views: Array8) -> None:
    """What lies outside a window does not change its feature."""
    grid = vit.encoder.grid
    patch = views.shape[1] // grid[0]
    other = views[:1].copy()
    other[:, 2 * patch :] = 0
    ours, theirs = (window_encoder(vit).encode(some).memory[1][0, 0] for some in (views[:1], other))
    np.testing.assert_allclose(ours, theirs, atol=1e-5)


@pytest.fixture(scope="module")
def data(vit: Backbone, views: Array8) -> TrainingData:
    features = vit.encode(views)
    return TrainingData(features, views, vit.encode, PromptTask(lambda: vit, lambda: features, "ring", "ring", 0))


def test_winclip_of_a_shot_remembers_it(vit: Backbone, views: Array8, data: TrainingData) -> None:
    features = window_encoder(vit).encode(views)
    of_windows = dataclasses.replace(data, features=features)
    (image, grid), (zero_shot, patches) = (fit_winclip(of_windows, memory).score(features) for memory in (True, False))
    np.testing.assert_allclose(image, zero_shot / 2, atol=1e-5)
    np.testing.assert_allclose(grid, patches, atol=1e-4)
    prototypes = of_windows.task.prompts("ensemble", lambda *_: pytest.fail("not learned yet"))
    expected = prompt_scores(features.global_, prototypes.image, math.exp(vit.logit_scale))
    np.testing.assert_allclose(zero_shot, expected, atol=1e-6)


def test_linear_layers_and_prompts_are_learned_together(vit: Backbone, views: Array8) -> None:
    features = every_block(vit).encode(views)
    learner = LinearLearner(vit, features, "ring", 0)
    before = [layer.detach().clone() for layer in learner.layers]
    losses = [sum(loss.contrastive.item() for loss in learner.step()) for _ in range(5)]
    assert losses[-1] < losses[0]
    assert all(not torch.equal(layer, old) for layer, old in zip(learner.layers, before, strict=True))


def test_cocoop_shifts_the_context_by_the_photo(vit: Backbone, data: TrainingData) -> None:
    model = CoCoOp(vit, "ring", 0)
    whole = torch.from_numpy(data.features.global_)
    same = model(whole).detach()
    torch.testing.assert_close(same[0], same[1])  # the net shifts nothing at first
    optimiser = torch.optim.SGD([parameter for parameter in model.parameters() if parameter.requires_grad], lr=0.1)
    losses = []
    for _ in range(3):
        optimiser.zero_grad()
        loss = model.loss(whole, torch.from_numpy(data.features.local))
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
        losses.append(loss.item())
    assert losses[-1] < losses[0]
    assert not torch.equal(*model(whole).detach())


def test_rwda_tells_normal_from_anomalous_prompts(vit: Backbone, data: TrainingData) -> None:
    assert not vit.unknown_words(known_words(vit)[::20])
    first, again = (METHODS["rwda"].fit(data).score(data.features)[0] for _ in range(2))
    np.testing.assert_array_equal(first, again)


def test_the_cnn_is_the_trunk_of_small_where_there_is_no_wide_resnet(
    vit: Backbone, small: Backbone, views: Array8, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: None)
    open_cnn.cache_clear()
    encoder = open_cnn(vit)
    open_cnn.cache_clear()
    features = encoder.encode(views)
    assert [part.shape for part in features.memory] == [(2, 24 * 24, width) for width in (24, 32, 96)]
    assert encoder.name == "torch only, MobileNetV2, blocks 1 to 13"
    with torch.inference_mode():
        pixels = small.visual.standardise(torch.tensor(views, dtype=torch.float32)).permute(0, 3, 1, 2)
        [middle] = small.visual.visual.trunk(pixels, (6,))
    expected = torch.nn.functional.normalize(middle.flatten(2).transpose(1, 2), dim=-1)
    np.testing.assert_allclose(features.memory[1], expected.numpy(), atol=1e-5)


def test_the_cnn_is_the_wide_resnet_where_its_weights_are(
    vit: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(b"")
    stages = [torch.ones(1, 4, side, side) for side in (8, 4, 2, 1)]
    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", lambda *_: str(weights))
    monkeypatch.setattr("goodparts.evaluation.methods.cnn.open_wide_resnet", lambda *_: lambda _: stages)
    open_cnn.cache_clear()
    encoder = open_cnn(vit)
    open_cnn.cache_clear()
    assert encoder.name == "torch only, Wide ResNet-50-2"
    assert [part.shape for part in encoder.encode(np.zeros((1, 8, 8, 3), np.uint8)).memory] == [(1, 16, 4)] * 3


def test_a_resnet_has_no_blocks_for_these_rows(vit: Backbone, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vit, "visual", torch.nn.Identity())
    for make in (window_encoder, every_block, ordinary_path, value_path, plain_vit):
        with pytest.raises(SettingsError, match="ViT-tiny is no ViT"):
            make(vit)


def test_every_torch_only_row_through_the_command(
    photos: Path, vit_engine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goodparts.evaluation.methods.rwda.STEPS", 2)
    monkeypatch.setattr("goodparts.evaluation.methods.coop.CLEAN", promptad_settings("clean", steps=2))
    monkeypatch.setattr(
        "goodparts.trainer.promptad.learner.PromptLearner.learn", lambda self, _=iter: self.prototypes()
    )
    monkeypatch.setattr("goodparts.trainer.anople.learner.AnoPLeLearner.learn", lambda _: None)
    command = ["evaluate", "--data", str(photos), "--engine", str(vit_engine), "--out", str(tmp_path), *OF_VIT]
    assert main([*command, "--shots", "1", "--method", "torch-only", "promptad:image_prefixes=1"]) == 0
    cells = list(csv.DictReader((tmp_path / "results.csv").read_text(encoding="utf-8").splitlines()))
    assert {cell["method"] for cell in cells} == {*GROUPS["torch-only"], "promptad:image_prefixes=1"}
    for cell in cells:
        assert cell["backend"].startswith("torch only") == (cell["method"] in GROUPS["torch-only"])
        assert 0 <= float(cell["image_auroc"]) <= 1


def test_anople_runs_through_the_engine_where_its_graph_reads_what_is_learned(
    photos: Path, prompted_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    learned: list[AnoPLeLearner] = []
    monkeypatch.setattr(AnoPLeLearner, "learn", lambda self: learned.append(self))
    monkeypatch.setattr(anople_rows, "_LEARNERS", OrderedDict())  # without learners of other tests
    command = ["evaluate", "--data", str(photos), "--engine", str(prompted_folder), "--out", str(tmp_path), *OF_VIT]
    assert main([*command, "--shots", "1", "--torch", "--method", "anople", "anople-text"]) == 0
    cells = json.loads((tmp_path / "results.json").read_bytes())["cells"]
    deployed, in_torch, text = cells
    assert [cell["method"] for cell in cells] == ["anople", "anople", "anople-text"]
    assert (in_torch["backend"], text["backend"]) == ("torch", "torch only")
    assert deployed["backend"].partition(" ")[0] in BACKENDS
    assert 0 < in_torch["difference"] < 1e-4  # a fused score may differ by more than the fp32 gate's 1e-5
    assert len(learned) == 2  # once for each method, although anople runs on two backends


def test_one_model_learns_all_categories_once(vit: Backbone, views: Array8, monkeypatch: pytest.MonkeyPatch) -> None:
    learned: list[int] = []
    monkeypatch.setattr(AnoPLeLearner, "learn", lambda self: learned.append(len(self.prototypes())))
    large = views.repeat(2, axis=1).repeat(2, axis=2)
    known = {"nut": ("nut", large[:1]), "ring": ("ring", large)}
    mirrored = np.ascontiguousarray(views[:, :, ::-1])
    features = vit.encode(views)
    scores = {}
    for name in ("anople", "anople-multi"):
        for category in known:
            task = PromptTask(
                lambda: vit, lambda: features, category, category, 0,
                large_shots=lambda together, own=category: known if together else {own: known[own]},
            )  # fmt: skip
            method = find_method(f"{name}:tiles=false,prefix=none")
            fitted = method.fit(TrainingData(features, views, vit.encode, task))
            assert fitted.encode is not None
            scores[name, category], _ = fitted.score(fitted.encode(mirrored))  # the photos themselves score 0
    assert learned == [1, 1, 2]
    assert not np.array_equal(scores["anople-multi", "nut"], scores["anople-multi", "ring"])


def test_prompts_for_all_categories_are_learned_once_and_from_all(
    vit: Backbone, views: Array8, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(multi_promptad, "_PROMPTS", OrderedDict())
    large = views.repeat(2, axis=1).repeat(2, axis=2)
    known = {"nut": ("nut", large[:1]), "ring": ("ring", large)}

    def learn(category: str, shots: dict[str, tuple[str, Array8]]) -> Prototypes:
        task = PromptTask(
            lambda: vit, lambda: pytest.fail("not of this encoder"), category, category, 0,
            large_shots=lambda together: shots if together else {},
        )  # fmt: skip
        return learn_together(task, promptad_settings("clean", steps=2)).prototypes

    learned = {category: learn(category, known) for category in known}
    assert len(multi_promptad._PROMPTS) == 1
    assert not np.array_equal(learned["nut"].pixel, learned["ring"].pixel)
    by_itself = learn("ring", {"ring": known["ring"]})
    assert not np.array_equal(by_itself.pixel, learned["ring"].pixel)
    single = PromptLearner(
        vit, vit.encode(halved(large)), "ring", GENERIC, promptad_settings("clean", steps=2)
    ).learn()  # fmt: skip
    np.testing.assert_allclose(by_itself.pixel, single.pixel, atol=1e-6)
