"""The compositional prompt ensemble (CPE): prompts that need no learning (Jeong et al., WinCLIP, CVPR 2023, §4.1).

Each state (a part is good, or it is damaged) has several wordings, and each wording is put into every template of a
sentence about a photo. The features of a state's sentences are averaged. The words are WinCLIP's. With V-V attention's
local features instead of windows, the ensemble is the row "CPE + VV-CLIP" of PromptAD's tables.
"""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
import torch
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import Floats
from torch import Tensor, nn

from ..clip.text_tower import TextTower, open_tokenizer
from .learner import Prototypes

NORMAL = ("{}", "flawless {}", "perfect {}", "unblemished {}", "{} without flaw", "{} without defect",
          "{} without damage")  # fmt: skip
ANOMALOUS = ("damaged {}", "{} with flaw", "{} with defect", "{} with damage")
_KINDS = ("cropped ", "close-up ", "bright ", "dark ", "jpeg corrupted ", "blurry ", "")
_SIZES = ("small ", "large ")
_PURPOSES = (" for visual inspection", " for anomaly detection")
_ARTICLES = ("a", "the")
TEMPLATES = (
    *(f"a {kind}photo of {article} {{}}" for kind, article in itertools.product(_KINDS, _ARTICLES)),
    *(f"a photo of {article} {size}{{}}" for size, article in itertools.product(_SIZES, _ARTICLES)),
    *(f"a photo of {article} {{}}{purpose}" for purpose, article in itertools.product(_PURPOSES, _ARTICLES)),
)
"""The 22 templates of sentences, with {} for the product in its state."""


def compose(product: str) -> tuple[list[str], list[str]]:
    """Return all normal and all anomalous prompts for a product.

    Args:
        product: The product in words.
    """
    normal, anomalous = (
        [template.format(state.format(product)) for state in states for template in TEMPLATES]
        for states in (NORMAL, ANOMALOUS)
    )
    return normal, anomalous


def encode_states(text: TextTower, product: str, states: Sequence[str]) -> Floats:
    """Return the mean of the l2-normalised features of each state's sentences, [states, D], float32.

    Args:
        text: The text tower.
        product: The product in words.
        states: Templates that name the state of the product, with {} for the product.

    Raises:
        SettingsError: A sentence has more tokens than the tower reads.
    """
    texts = [template.format(state.format(product)) for state in states for template in TEMPLATES]
    features = nn.functional.normalize(encode_texts(text, texts), dim=-1)
    means: Floats = features.reshape(len(states), len(TEMPLATES), -1).mean(dim=1).float().cpu().numpy()
    return np.ascontiguousarray(means)


def ensemble(text: TextTower, product: str) -> Prototypes:
    """Return the prototypes, which are the same at image level and at pixel level.

    Each is the l2-normalised mean of its sentences' l2-normalised features.

    Args:
        text: The text tower.
        product: The product in words.
    """
    means = [nn.functional.normalize(encode_texts(text, texts), dim=-1).mean(dim=0) for texts in compose(product)]
    prototypes: Floats = nn.functional.normalize(torch.stack(means), dim=-1).float().cpu().numpy()
    return Prototypes(np.ascontiguousarray(prototypes), np.ascontiguousarray(prototypes))


def encode_texts(text: TextTower, texts: Sequence[str]) -> Tensor:
    """Return the raw text features of texts, [N, D], not normalised.

    Texts of the same length go through the tower together.

    Args:
        text: The text tower.
        texts: The N texts.

    Raises:
        SettingsError: A text has more tokens than the tower reads.
    """
    tokenizer = open_tokenizer()
    by_length: defaultdict[int, list[tuple[int, list[int]]]] = defaultdict(list)
    for number, line in enumerate(texts):
        ids = [tokenizer.sot_token_id, *tokenizer.encode(line), tokenizer.eot_token_id]
        if len(ids) > text.context_length:
            raise SettingsError(f"{line[:40]!r} has {len(ids)} tokens, {text.context_length} fit: use a shorter text")
        by_length[len(ids)].append((number, ids))
    device = text.positional_embedding.device
    features_of: dict[int, Tensor] = {}
    with torch.inference_mode():
        for length, group in by_length.items():
            vectors = torch.stack([text.embed(torch.tensor(ids, device=device)) for _, ids in group])
            causal = torch.full((length, length), float("-inf"), device=device).triu(1)
            places = torch.arange(length, device=device)
            features = text(vectors, places, causal, places[-1:])[:, 0]
            features_of |= {number: feature for (number, _), feature in zip(group, features, strict=True)}
    return torch.stack([features_of[number] for number in range(len(texts))])
