from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.core.errors import BackboneError, FileError, SettingsError
from goodparts.trainer.anople import learner as anople_learner
from goodparts.trainer.anople.decoder import Decoder
from goodparts.trainer.anople.learner import AnoPLeLearner
from goodparts.trainer.anople.model import Subject
from goodparts.trainer.anople.prompts import CoupledPrompts, PromptedText
from goodparts.trainer.anople.settings import AnoPLeSettings, anople_settings
from goodparts.trainer.anople.tower import PromptedTower
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.ensemble import encode_texts

from tests.conftest import open_vit

QUICK = anople_settings(steps=2, batch=2)


@pytest.fixture(scope="module")
def backbone() -> Backbone:
    return open_vit()


@pytest.fixture(scope="module")
def shots(backbone: Backbone) -> np.ndarray:
    size = backbone.encoder.image_size
    return np.stack([DrawnProduct("gear", 1).photo(number, size=(size, size)).image for number in range(2)])


def doubled(shots: np.ndarray) -> np.ndarray:
    """Return views [k,S,S,3] at twice their size, [k,2S,2S,3]."""
    return shots.repeat(2, axis=1).repeat(2, axis=2)


def learner(backbone: Backbone, shots: np.ndarray, settings: AnoPLeSettings = QUICK, seed: int = 0) -> AnoPLeLearner:
    return AnoPLeLearner(backbone, [Subject("gear", doubled(shots))], settings, seed)


def test_without_prompts_the_towers_are_clips_own(backbone: Backbone, shots: np.ndarray) -> None:
    width = backbone.encoder.taps[0].width
    with torch.inference_mode():
        outputs = PromptedTower(backbone.visual)(
            torch.tensor(shots), torch.empty(0, 0, width), torch.empty(2, 0, width)
        )
    plain = backbone.encode(shots)
    for seen, expected in zip(outputs, (plain.global_, plain.local, *plain.memory), strict=True):
        assert np.abs(seen.numpy() - expected).max() < 1e-5  # fp32 sums in another order
    text = PromptedText(backbone.text, ["gear", "metal nut"], 0)
    found = text(torch.empty(1, 0, backbone.text.width)).flatten(0, 1)
    words = ["gear.", "abnormal gear.", "metal nut.", "abnormal metal nut."]
    expected = torch.nn.functional.normalize(encode_texts(backbone.text, words), dim=-1)
    assert torch.allclose(found, expected, atol=1e-5)


@pytest.mark.parametrize(
    ("coupling", "to_text", "to_visual"),
    [("both", True, True), ("text-to-visual", False, True), ("visual-to-text", True, False), ("none", False, False)],
)
def test_prompts_go_where_the_coupling_says(backbone: Backbone, coupling: str, to_text: bool, to_visual: bool) -> None:
    prompts = CoupledPrompts(backbone.text, torch.zeros(3, 128), anople_settings(coupling=coupling), 0)
    assert prompts.of_text().shape == (3, 8 if to_text else 4, 128)
    assert prompts.of_visual().shape == (3, 8 if to_visual else 4, 128)
    with torch.no_grad():
        before = prompts.of_text().clone(), prompts.of_visual().clone()
        prompts.visual += 1
        assert torch.equal(prompts.of_text(), before[0]) != to_text
        prompts.visual -= 1
        prompts.text += 1
        assert torch.equal(prompts.of_visual()[:, 4:], before[1][:, 4:]) != to_visual


def test_visual_prompts_start_where_they_hardly_change_the_features(backbone: Backbone, shots: np.ndarray) -> None:
    plain = backbone.encode(shots).global_
    drift = {
        start: 1.0
        - (learner(backbone, shots, anople_settings(visual_start=start)).encode(shots).global_ * plain).sum(axis=-1)
        for start in ("patches", "normal")
    }
    assert drift["patches"].max() < 0.3 * drift["normal"].min()


def test_a_new_decoder_returns_the_patches_and_is_light() -> None:
    decoder = Decoder(640, (896, 896), (15, 15), torch.Generator().manual_seed(0))  # ViT-B-16-plus-240
    patches = torch.nn.functional.normalize(torch.randn(1, 225, 640), dim=-1)
    assert torch.allclose(decoder(patches, *torch.randn(2, 1, 225, 896)), patches, atol=1e-6)
    assert decoder.flops() < 1e9


def test_learning_changes_the_learned_tensors_and_nothing_else(backbone: Backbone, shots: np.ndarray) -> None:
    frozen = [parameter.detach().clone() for parameter in backbone.visual.parameters()]
    made = learner(backbone, shots)
    before = {name: value.clone() for name, value in made.model.state_dict().items()}
    made.learn()
    after = made.model.state_dict()
    assert all(torch.equal(*pair) for pair in zip(frozen, backbone.visual.parameters(), strict=True))
    assert all(not torch.equal(before[name], after[name]) for name in before)


@pytest.mark.parametrize("changes", [{}, {"tiles": True, "latent_noise": 1.0}])
def test_every_learned_row_has_a_gradient(backbone: Backbone, shots: np.ndarray, changes: dict[str, object]) -> None:
    made = learner(backbone, shots, anople_settings(steps=2, batch=2, **changes))
    made.step()  # the decoder starts at zero, so layers before it have no gradient in the first step
    made.losses(made.batches.draw(1)).sum().backward()  # type: ignore[no-untyped-call]
    assert len(made.model.prompts.prefix) == (5 if changes else 1)
    for name, parameter in made.model.prompts.named_parameters():
        assert parameter.grad is not None
        assert (parameter.grad.flatten(1) != 0).any(dim=1).all(), name


def test_at_least_one_photo_of_a_step_stays_good(backbone: Backbone, shots: np.ndarray) -> None:
    made = learner(backbone, shots, anople_settings(anomaly_share=0.9, latent_noise=1.0))
    for step in range(3):
        assert not made.batches.draw(step).masks.flatten(1).any(dim=1).all()
    assert made.step().isfinite().all()


def test_latent_noise_of_the_papers_row_makes_anomalies(backbone: Backbone, shots: np.ndarray) -> None:
    """A disturbed patch is farther from a good photo than the other good photos' patches are."""
    made = learner(backbone, shots, anople_settings(latent_noise=1.0))
    first, other = (torch.from_numpy(part) for part in backbone.encode(shots).memory[0])
    [disturbed] = made._disturb([other])
    good, bad = ((part @ first.T).max(dim=1).values for part in (other, disturbed))
    assert bad.max() < good.min()


def test_the_decoder_reads_the_latent_noise(backbone: Backbone, shots: np.ndarray) -> None:
    made = learner(backbone, shots, anople_settings(anomaly_share=0.0, latent_noise=1.0, batch=2))
    read: list[int] = []
    made.model.decoder.register_forward_pre_hook(lambda _, inputs: read.append(len(inputs[0])))
    made.step()
    assert read == [4]  # two good photos, and both once more with noise


def test_the_same_seed_learns_the_same(backbone: Backbone, shots: np.ndarray) -> None:
    first, second, other = (learner(backbone, shots, seed=seed) for seed in (0, 0, 1))
    for made in (first, second, other):
        made.learn()
    assert np.array_equal(first.prototypes(), second.prototypes())
    assert np.array_equal(first.encode(shots).local, second.encode(shots).local)
    assert not np.array_equal(first.prototypes(), other.prototypes())


def test_killed_learning_resumes_to_the_same_result(
    backbone: Backbone, shots: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(anople_learner, "WRITE_EVERY", 0.0)
    settings, kept = anople_settings(steps=3, batch=2), tmp_path / "kept.checkpoint"
    whole = learner(backbone, shots, settings)
    whole.learn()

    def killed(steps: range) -> Iterator[int]:
        yield from steps[:2]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        learner(backbone, shots, settings).learn(killed, kept)
    left: list[int] = []
    resumed = learner(backbone, shots, settings)
    resumed.learn(lambda steps: left.extend(steps) or steps, kept)
    assert left == [2]
    assert all(map(torch.equal, whole.model.state_dict().values(), resumed.model.state_dict().values()))

    with pytest.raises(SettingsError, match="kept.checkpoint is from a run with other photos"):
        learner(backbone, shots, settings, seed=1).learn(checkpoint=kept)
    kept.write_bytes(kept.read_bytes()[:-1])
    with pytest.raises(FileError, match="is damaged"):
        learner(backbone, shots, settings).learn(checkpoint=kept)


def test_recomputed_activations_give_the_same_gradient(backbone: Backbone, shots: np.ndarray) -> None:
    gradients = []
    for recompute in (False, True):
        made = learner(backbone, shots, anople_settings(steps=1, batch=2, recompute=recompute))
        made.losses(made.batches.draw(0)).sum().backward()
        gradients.append(made.model.prompts.visual.grad)
    assert torch.allclose(*gradients, atol=1e-6)


def test_many_products_share_prompts_and_differ_in_their_text(backbone: Backbone, shots: np.ndarray) -> None:
    subjects = [Subject("gear", doubled(shots)), Subject("nut", doubled(shots[::-1, ::-1]))]
    made = AnoPLeLearner(backbone, subjects, anople_settings(steps=1, batch=6))
    assert set(made.batches.draw(0).products.tolist()) == {0, 1}
    made.learn()
    assert made.prototypes().shape == (2, 2, backbone.encoder.width)
    assert not np.allclose(*made.prototypes(), atol=1e-3)


@pytest.mark.parametrize(
    "changes",
    [
        {"coupling": "none", "visual_tokens": 0, "prefix": "none"},
        {"coupling": "none", "text_tokens": 0},
        {"tiles": False, "prefix": "none", "decoder": "none", "projection": "shared", "start": "words"},
        {"latent_noise": 0.5, "align": "all", "normalise_alignment": False, "memory": "plain"},
        {"anomaly_share": 0.0},
    ],
)
def test_every_part_can_be_left_out(backbone: Backbone, shots: np.ndarray, changes: dict[str, object]) -> None:
    made = learner(backbone, shots, anople_settings(steps=1, batch=2, **changes))
    made.learn()
    features = made.encode(shots)
    plain = backbone.encode(shots)
    assert np.isfinite(features.local).all()
    assert np.allclose(features.memory[0], plain.memory[0], atol=1e-5) == (
        changes.get("visual_tokens") == 0 or "latent_noise" in changes
    )


def test_impossible_settings_are_one_line_errors() -> None:
    with pytest.raises(SettingsError, match="batch is out of range"):
        anople_settings(batch=1)
    with pytest.raises(SettingsError, match="text_tokens 0 with coupling both"):
        anople_settings(text_tokens=0)
    with pytest.raises(SettingsError, match="lr nan"):
        anople_settings(lr=float("nan"))


def test_a_resnet_and_a_long_name_are_refused(backbone: Backbone) -> None:
    with pytest.raises(BackboneError, match="whose image tower is a ViT"):
        PromptedTower(torch.nn.Identity())  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="use a shorter"):
        PromptedText(backbone.text, ["gear " * 40], 8)


def test_divergence_is_an_error(backbone: Backbone, shots: np.ndarray) -> None:
    made = learner(backbone, shots, anople_settings(steps=3, batch=2, lr=1e30))
    with pytest.raises(SettingsError, match="diverged"):
        made.learn()
