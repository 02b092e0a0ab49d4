"""The text features that an engine carries, so that a product can be learned without the text tower."""

from __future__ import annotations

import math

from goodparts.runtime.engine.text import TextFeatures
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.ensemble import NORMAL, encode_states
from goodparts.trainer.promptad.suffixes import GENERIC

PART = "part"
"""The word for the product in the prompts, because an engine is not made for one product."""


def make_text_features(backbone: Backbone) -> TextFeatures:
    """Encode the prompt ensemble's sentences about a good part, and about a part with each generic suffix.

    Args:
        backbone: A backbone with a text tower.

    Returns:
        The text features.
    """
    normal, anomalous = (encode_states(backbone.text, PART, states) for states in (NORMAL, GENERIC))
    return TextFeatures(normal, anomalous, math.exp(backbone.logit_scale), PART, GENERIC)
