"""CoOp and CoCoOp: a learnable context for the normal prompt, and nothing more.

CoOp is implemented as in PromptAD's ablation. Nothing is concatenated: the anomaly prompts are plain texts, which do
not change with the normal prompt, and there is no margin. The loss is eq. 12 only. Sources: Zhou et al., Learning to
Prompt for Vision-Language Models, IJCV 2022, and Conditional Prompt Learning for Vision-Language Models, CVPR 2022; the
first row of PromptAD's ablation (CVPR 2024). The paper does not state its anomaly prompts; we assume the generic
suffixes.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from goodparts.runtime.core.scoring import Features, Floats, prompt_scores
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.text_tower import INITIAL_SPREAD
from goodparts.trainer.promptad.ensemble import encode_texts
from goodparts.trainer.promptad.learner import PromptLearner
from goodparts.trainer.promptad.prompts import PackedLayout, TextFeatures
from goodparts.trainer.promptad.settings import CLEAN_TEMPERATURE, PROTOCOLS, promptad_settings
from goodparts.trainer.promptad.suffixes import GENERIC
from goodparts.trainer.steps import flushed_denormals
from torch import Tensor, nn

from .method import FittedMethod, TrainingData

CLEAN = PROTOCOLS["clean"]
SETTINGS = promptad_settings("clean", learned_suffixes=0, alignment_weight=0.0, margin=None)
"""PromptAD's settings without learnable suffixes, alignment and margin."""


def _encode_anomaly_texts(backbone: Backbone, product: str) -> Tensor:
    texts = [f"{suffix.replace('{}', product)}." for suffix in GENERIC]
    return encode_texts(backbone.text, texts).clone()


class CoOp(PromptLearner):
    """Learns the normal prompts of both levels (image and patch) for one product.

    Args:
        backbone: The backbone.
        features: The features of the k photos.
        product: The product in words.
        seed: The seed of the learnable context.
    """

    def __init__(self, backbone: Backbone, features: Features, product: str, seed: int = 0) -> None:
        super().__init__(backbone, features, product, GENERIC[:1], SETTINGS, seed)
        self._anomalous = _encode_anomaly_texts(backbone, product)

    def text_features(self) -> list[TextFeatures]:
        return [TextFeatures(text.normal, self._anomalous, text.learned) for text in super().text_features()]


class CoCoOp(nn.Module):
    """A learnable context that a small net shifts for each photo; the anomaly prompts are CoOp's.

    Args:
        backbone: The backbone.
        product: The product in words.
        seed: The seed of the context and of the net.
    """

    def __init__(self, backbone: Backbone, product: str, seed: int) -> None:
        super().__init__()
        self._text = backbone.text
        self._layout = PackedLayout(
            product, (), prefix_length=CLEAN.prefix_length, learned=0, suffix_length=1, suffix_place="after",
            context_length=backbone.text.context_length,
        )  # fmt: skip
        generator = torch.Generator().manual_seed(seed)
        width, joint = backbone.text.width, backbone.encoder.width
        narrow = max(1, joint // 16)
        self.context = nn.Parameter(torch.randn(CLEAN.prefix_length, width, generator=generator) * INITIAL_SPREAD)
        self.inner = nn.Parameter(torch.randn(joint, narrow, generator=generator) / math.sqrt(joint))
        self.outer = nn.Parameter(torch.zeros(narrow, width))
        anomalous = F.normalize(_encode_anomaly_texts(backbone, product), dim=-1)
        self.anomalous = nn.Parameter(anomalous, requires_grad=False)
        self.to(backbone.device)

    def forward(self, global_: Tensor) -> Tensor:
        """Return each photo's normal prompt, l2-normalised [B,D].

        Args:
            global_: The photos' global features [B,D].
        """
        layout, device = self._layout, global_.device
        rows = self._text.embed(layout.ids.to(device)).detach().expand(len(global_), -1, -1).clone()
        rows[:, layout.prefix] = self.context + (torch.relu(global_ @ self.inner) @ self.outer)[:, None]
        prompts = self._text(rows, layout.positions.to(device), layout.mask.to(device), layout.eos.to(device))
        return F.normalize(prompts[:, 0], dim=-1)

    def loss(self, global_: Tensor, z: Tensor) -> Tensor:
        """Return eq. 12 of each photo's features against the photo's own normal prompt and all anomaly prompts.

        Args:
            global_: The photos' global features [B,D].
            z: The photos' features at one level [B,P,D]; P is 1 for whole images.
        """
        normal = (z * self(global_)[:, None]).sum(dim=-1, keepdim=True)
        logits = CLEAN_TEMPERATURE * torch.cat([normal, z @ self.anomalous.T], dim=-1).flatten(0, 1)
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=z.device))


def fit_cocoop(data: TrainingData) -> FittedMethod:
    """Fit one CoCoOp to the images and one to their patches, with PromptAD's optimiser; only prompts are scored.

    Args:
        data: The photos to learn from.

    Returns:
        The fitted method, without a threshold.
    """
    backbone, task = data.task.backbone(), data.task
    global_, local = (
        torch.from_numpy(part).to(backbone.device) for part in (data.features.global_, data.features.local)
    )
    models = []
    for z in (global_[:, None], local):
        model = CoCoOp(backbone, task.text, task.seed)
        trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
        optimiser = torch.optim.SGD(trained, CLEAN.lr, CLEAN.momentum, weight_decay=CLEAN.weight_decay)
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimiser, CLEAN.steps, CLEAN.final_lr)
        with flushed_denormals():
            for _ in range(CLEAN.steps):
                optimiser.zero_grad()
                model.loss(global_, z).backward()  # type: ignore[no-untyped-call]
                optimiser.step()
                schedule.step()
        models.append(model)

    def score_views(features: Features) -> tuple[Floats, Floats]:
        global_ = torch.from_numpy(features.global_).to(backbone.device)
        scores = []
        for model, z in zip(models, (features.global_[:, None], features.local), strict=True):
            with torch.inference_mode():
                normal = model(global_).cpu().numpy()
            anomalous = F.normalize(model.anomalous.mean(dim=0), dim=-1).cpu().numpy()
            scores.append(
                [
                    prompt_scores(photo_z, np.stack([photo_normal, anomalous]), CLEAN_TEMPERATURE)
                    for photo_z, photo_normal in zip(z, normal, strict=True)
                ]
            )
        return np.stack(scores[0])[:, 0], np.stack(scores[1]).reshape(-1, *features.grid)

    return FittedMethod(score_views)
