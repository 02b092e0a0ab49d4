"""CoOp as PromptAD's ablation has it: a learnable context for the normal prompt, and nothing more.

No concatenation: the anomaly prompts are texts as they stand and do not move with the normal prompt. No margin. What is
left is eq. 12. Sources: Zhou et al., Learning to Prompt for Vision-Language Models, IJCV 2022; the first row of
PromptAD's ablation (CVPR 2024). What its anomaly prompts were the paper does not say: the generic suffixes are our
assumption.
"""

from __future__ import annotations

from goodparts.runtime.core.scoring import Features
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.ensemble import encode_texts
from goodparts.trainer.promptad.learner import PromptLearner
from goodparts.trainer.promptad.prompts import TextFeatures
from goodparts.trainer.promptad.settings import promptad_settings
from goodparts.trainer.promptad.suffixes import GENERIC

NO_MARGIN = -4.0
"""Two directions are at most 2 apart: a margin that is always kept and adds nothing to the loss."""
SETTINGS = promptad_settings("clean", learned_suffixes=0, alignment_weight=0.0, margin=NO_MARGIN)


class CoOp(PromptLearner):
    """Learns the normal prompts of both levels for one product."""

    def __init__(self, backbone: Backbone, features: Features, product: str, seed: int = 0) -> None:
        super().__init__(backbone, features, product, GENERIC[:1], SETTINGS, seed)
        texts = [f"{suffix.replace('{}', product)}." for suffix in GENERIC]
        self._anomalous = encode_texts(backbone.text, texts).clone()

    def text_features(self) -> list[TextFeatures]:
        return [TextFeatures(text.normal, self._anomalous, text.learned) for text in super().text_features()]
