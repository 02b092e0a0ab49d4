"""Captions for drawn parts and surfaces: random descriptions of a picture, and which captions are true of it."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from goodparts.drawn import parts
from open_clip.tokenizer import SimpleTokenizer

from ..promptad.ensemble import ANOMALOUS, TEMPLATES
from ..promptad.ensemble import NORMAL as FLAWLESS
from ..promptad.suffixes import GENERIC

FRAMES = ("{}", "{}.", "a photo of a {}", "a photo of the {}.", "a picture of one {}", "a close-up photo of a {}",
          "an inspection image of a {}.", "this is a {}", *TEMPLATES)  # fmt: skip
GOOD = ("good {}", "intact {}", "normal {}", "clean {}", *FLAWLESS)
BAD = (*GENERIC, "broken {}", "defective {}", "bad {}", "{} with an anomaly", "faulty {}", *ANOMALOUS)
WITH = ("{} with {defect}", "{} with a {defect}", "{defect} on the {}", "a {defect} in the {}",
        "damaged {} with {defect}")  # fmt: skip
ADJECTIVES = ("", "", "metal ", "plastic ", "grey ", "dark ", "bright ", "rough ", "smooth ", "small ", "large ")
THINGS = ("part", "object", "item", "product", "surface", "component", "piece", "fabric", "texture", "material",
          "screw", "bolt", "bottle", "tire", "grid", "hazelnut", "toothbrush", "transistor", "zipper", "candle",
          "steel sheet", "commutator", "magnetic tile", "nut", "solar cell", "panel", "casting", "paper", "stone",
          "rubber", "glass", "rail", "weld", "wafer", "printed circuit board", *parts.HELD_OUT_KINDS,
          *parts.HELD_OUT_SURFACES)  # fmt: skip
NOUNS = tuple(adjective + thing for adjective, thing in itertools.product(dict.fromkeys(ADJECTIVES), THINGS))
"""Names that fit any product, so a caption with such a name describes only the product's state.

They teach the text tower to read the state next to a product's name that it has not learned from pictures.
"""
NAMED = tuple(dict.fromkeys(parts.KINDS + tuple(parts.SURFACES)))
"""Kinds of products that captions may name. They are parts and surfaces, not crops of photographs."""
DEFECTS = parts.DEFECTS + parts.BLEMISHES


@dataclass(frozen=True)
class Caption:
    """A text and its claims about a picture.

    Attributes:
        text: The text.
        kind: The kind of product that the text names; None if it fits any kind.
        damaged: Whether the product is damaged.
        defect: The defect that the text names; None if it names none.
    """

    text: str
    kind: str | None
    damaged: bool
    defect: str | None = None

    def is_true_of(self, kind: str, defect: str | None) -> bool:
        """Return whether the caption is true of a picture.

        Args:
            kind: The kind of the product in the picture.
            defect: The product's defect; None for a good one.
        """
        if self.kind not in (None, kind) or self.damaged != (defect is not None):
            return False
        return self.defect in (None, defect)


def describe(kind: str, defect: str | None, rng: np.random.Generator) -> Caption:
    """Return a random caption that is true of a picture.

    Args:
        kind: The kind of the product in the picture.
        defect: The product's defect; None for a good one.
        rng: The source of randomness.
    """
    anonymous = kind not in NAMED or rng.random() < 0.5
    name = str(rng.choice(NOUNS)) if anonymous else kind
    claimed = None
    if defect is None:
        phrase = str(rng.choice(GOOD))
    elif rng.random() < 0.65:
        phrase = str(rng.choice(BAD))
    else:
        phrase, claimed = str(rng.choice(WITH)).replace("{defect}", defect), defect
    text = str(rng.choice(FRAMES)).replace("{}", phrase.replace("{}", name))
    return Caption(text, None if anonymous else kind, defect is not None, claimed)


def contradict(kind: str, rng: np.random.Generator) -> Caption:
    """Return a random caption that calls a good product damaged.

    Its defect may be held out: the text tower also learns the words of held-out defects, though no picture shows them.

    Args:
        kind: The kind of the product in the picture.
        rng: The source of randomness.
    """
    return describe(kind, str(rng.choice(DEFECTS)), rng)


def caption_tokens() -> list[int]:
    """Return the sorted ids of every token that a caption can hold; the padding, 0, is the first and [EOS] the last."""
    tokenizer = SimpleTokenizer()
    words = " ".join((*FRAMES, *GOOD, *BAD, *WITH, *NOUNS, *NAMED, *DEFECTS)).replace("{defect}", "").replace("{}", "")
    return sorted({0, *tokenizer.encode(words), tokenizer.sot_token_id, tokenizer.eot_token_id})
