"""RWDA (Tamura, BMVC 2023): random words in prompts teach a small net to tell normal from anomalous.

This is the paper's idea in the few-shot setting of PromptAD's tables, which give only its name.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F
from goodparts.runtime.core.scoring import Features, Floats, fuse, memory_scores
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.ensemble import compose, encode_texts
from open_clip.tokenizer import SimpleTokenizer
from torch import nn

from .method import FittedMethod, PromptTask, TrainingData

COPIES = 4
"""The number of copies of every prompt, each of which is followed by a random word."""
VOCABULARY = 256
"""The number of words from which the random words are drawn."""
STEPS = 200
"""The number of Adam's steps."""


def fit_rwda(data: TrainingData, memory: bool) -> FittedMethod:
    """Train a small net on prompts with random words, to tell good from bad image features.

    Nothing is learned from photos unless a memory is used.

    Args:
        data: The product and the photos.
        memory: Whether the net's score is fused with the distance to the photos' patches.

    Returns:
        The fitted method, without a threshold.
    """
    backbone, task = data.task.backbone(), data.task
    net = _train(backbone, task)
    banks = tuple(part.reshape(-1, part.shape[-1]) for part in data.features.memory)

    def probability(z: Floats) -> Floats:
        with torch.inference_mode():
            probabilities: Floats = torch.sigmoid(net(torch.from_numpy(z).to(backbone.device)))[..., 0].cpu().numpy()
        return probabilities

    def score_views(features: Features) -> tuple[Floats, Floats]:
        image, patches = probability(features.global_), probability(features.local)
        if memory:
            distance = memory_scores(features.memory, banks)
            image, patches = fuse(image, distance.max(axis=1)), fuse(patches, distance)
        return image, patches.reshape(-1, *features.grid)

    return FittedMethod(score_views)


def _train(backbone: Backbone, task: PromptTask) -> nn.Module:
    """Train the net on the ensemble's texts; one seed always gives the same net."""
    generator = np.random.default_rng(task.seed)
    known = known_words(backbone)
    words = [known[index] for index in generator.permutation(len(known))[:VOCABULARY]]
    texts: list[str] = []
    labels: list[float] = []
    for label, group in enumerate(compose(task.text)):
        for text in group:
            texts += [f"{text} {words[index]}" for index in generator.integers(len(words), size=COPIES)]
            labels += [float(label)] * COPIES
    z = F.normalize(encode_texts(backbone.text, texts).clone(), dim=-1)
    targets = torch.tensor(labels, device=z.device)[:, None]
    weight = (targets == 0).sum() / (targets == 1).sum()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(task.seed)
        net = nn.Sequential(nn.Linear(z.shape[1], 128), nn.ReLU(), nn.Linear(128, 1)).to(z.device)
    optimiser = torch.optim.Adam(net.parameters(), lr=1e-3)
    for _ in range(STEPS):
        optimiser.zero_grad()
        loss = F.binary_cross_entropy_with_logits(net(z), targets, pos_weight=weight)
        loss.backward()  # type: ignore[no-untyped-call]
        optimiser.step()
    return net


@functools.lru_cache(maxsize=1)
def known_words(backbone: Backbone) -> Sequence[str]:
    """Return the words of CLIP's vocabulary that have at least three letters and that the text tower has learned.

    Args:
        backbone: The backbone.
    """
    tokens = (token.removesuffix("</w>") for token in SimpleTokenizer().encoder if token.endswith("</w>"))
    words = [token for token in tokens if token.isascii() and token.isalpha() and len(token) > 2]
    unknown = set(backbone.unknown_words(words))
    return [word for word in words if word not in unknown]
