"""The text features that every engine carries, so that a product can be learned without the text tower."""

from __future__ import annotations

import math

from goodparts.runtime.engine.text import TextFeatures
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.promptad.ensemble import NORMAL, encode_states
from goodparts.trainer.promptad.suffixes import GENERIC

PART = "part"
"""What the sentences call a product, because the engine knows no product by name."""


def make_text_features(backbone: Backbone) -> TextFeatures:
    """Encode what the prompt ensemble says of a good part, and of one with each generic suffix."""
    normal, anomalous = (encode_states(backbone.text, PART, states) for states in (NORMAL, GENERIC))
    return TextFeatures(normal, anomalous, math.exp(backbone.logit_scale), PART, GENERIC)
