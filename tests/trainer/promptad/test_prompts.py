from __future__ import annotations

import itertools
from typing import Literal

import open_clip
import pytest
import torch
from goodparts.runtime.core.errors import BackboneError, SettingsError
from goodparts.trainer.clip.text_tower import TextTower
from goodparts.trainer.clip.weights import randomise
from goodparts.trainer.promptad.prompts import PackedLayout, PromptEncoder, Prompts
from open_clip.tokenizer import tokenize
from torch import Tensor

SUFFIXES = ("damaged {}", "{} with hole")
PREFIX, LEARNED, LENGTH = 4, 2, 2


@pytest.fixture(scope="module")
def model() -> open_clip.CLIP:
    model = open_clip.CLIP(
        embed_dim=12,
        vision_cfg={"image_size": 24, "patch_size": 8, "width": 16, "head_width": 8, "layers": 1},
        text_cfg={"context_length": 77, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 3},
    )
    randomise(model, seed=5)
    return model.requires_grad_(False).eval()


def layout(place: Literal["after", "before"], context: int = 77, product: str = "metal nut") -> PackedLayout:
    return PackedLayout(
        product,
        SUFFIXES,
        prefix_length=PREFIX,
        learned=LEARNED,
        suffix_length=LENGTH,
        suffix_place=place,
        context_length=context,
    )


def unpacked(model: open_clip.CLIP, text: str, learnable: dict[int, Tensor]) -> Tensor:
    """Encode one prompt by itself, at the full context of 77, with open_clip's own text tower."""
    ids = tokenize([text])
    vectors = model.token_embedding(ids)
    for place, vector in learnable.items():
        vectors[0, place] = vector
    tokens = model.transformer(vectors + model.positional_embedding, attn_mask=model.attn_mask)
    return (model.ln_final(tokens)[0, ids.argmax()] @ model.text_projection).detach()


@pytest.mark.parametrize("place", ["after", "before"])
def test_packing_changes_nothing(model: open_clip.CLIP, place: Literal["after", "before"]) -> None:
    prompts = Prompts.initial((3, PREFIX, LEARNED, LENGTH, 32), torch.Generator(), torch.device("cpu"))
    with torch.no_grad():
        (seen,) = PromptEncoder(TextTower(model), layout(place), "product")(prompts)
    blank = " ".join(["X"] * PREFIX)
    free = " ".join(["X"] * LENGTH)
    prefixes = [{1 + i: vector for i, vector in enumerate(rows)} for rows in prompts.normal_ctx]
    normal = [unpacked(model, f"{blank} metal nut.", prefix) for prefix in prefixes]
    manual = [
        unpacked(model, f"{blank} {text}.", prefix)
        for text in ("damaged metal nut", "metal nut with hole")
        for prefix in prefixes
    ]
    own = f"metal nut {free}." if place == "after" else f"{free} metal nut."
    first = 1 + PREFIX + (2 if place == "after" else 0)
    learned = [
        unpacked(model, f"{blank} {own}", prefix | {first + i: vector for i, vector in enumerate(rows)})
        for rows, prefix in itertools.product(prompts.abnormal_ctx, prefixes)
    ]
    for name, expected in (("normal", normal), ("manual", manual), ("learned", learned)):
        torch.testing.assert_close(getattr(seen, name), torch.stack(expected), atol=2e-5, rtol=1e-5)


def test_cyclic_pairing_walks_both_lists_together() -> None:
    # Each feature holds the numbers of its prefix (row) and of its continuation (column).
    features = torch.stack(torch.meshgrid(torch.arange(2), torch.arange(1 + 1 + 4), indexing="ij"), dim=-1)
    prompts = Prompts(torch.zeros(2, 1, 1), torch.zeros(4, 1, 1))
    pairs = [(int(prefix), int(column) - 2) for prefix, column in prompts.by_kind(features, "cyclic").learned]
    assert pairs == [(j % 2, j % 4) for j in range(8)]  # 4 distinct pairs of 8 (docs/promptad.md, D9)
    assert len({tuple(pair) for pair in prompts.by_kind(features, "product").learned.tolist()}) == 8


def test_a_product_text_that_does_not_fit_is_refused() -> None:
    layout("after", context=20)
    with pytest.raises(SettingsError, match="has 2[0-9] tokens, 20 fit: use a shorter product text"):
        layout("after", context=20, product="a very long name of a product that nobody would ever give to a part")


def test_braces_in_a_product_text_are_harmless() -> None:
    assert layout("after", product="nut {1}").eos.shape == (1 + 2 + LEARNED,)


def test_other_text_towers_are_refused() -> None:
    with pytest.raises(BackboneError, match="text tower Linear is not supported"):
        TextTower(torch.nn.Linear(1, 1))


def test_tokens_that_span_the_full_stop_are_those_of_the_whole_text() -> None:
    tokens = layout("before", product="nut (M8)").ids.tolist()
    expected = [token for token in tokenize(["nut (M8)."])[0].tolist() if token][1:]  # without [SOS]
    first = 1 + PREFIX
    assert tokens[first : first + len(expected)] == expected
    learned = tokens[-len(expected) :]
    assert learned == expected
