"""Captions for drawn parts and surfaces: what a picture shows, in many ways, and which captions are true of it."""

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
"""Names that fit any picture as well or as badly as any other: a caption with one of them speaks only of the state.

They teach the text tower to read the state beside a name that it has no picture of.
"""
NAMED = tuple(dict.fromkeys(parts.KINDS + tuple(parts.SURFACES)))
"""Kinds of products whose captions name them; of crops of other people's pictures they do not."""
DEFECTS = parts.DEFECTS + parts.BLEMISHES


@dataclass(frozen=True)
class Caption:
    """A text and what it claims: its kind (None for any), whether it is damaged, and its defect (None for any)."""

    text: str
    kind: str | None
    damaged: bool
    defect: str | None = None

    def is_true_of(self, kind: str, defect: str | None) -> bool:
        """Return whether it is true of a picture of this kind with this defect, None for a good one."""
        if self.kind not in (None, kind) or self.damaged != (defect is not None):
            return False
        return self.defect in (None, defect)


def describe(kind: str, defect: str | None, rng: np.random.Generator) -> Caption:
    """Return a random caption that is true of a picture of this kind with this defect, None for a good one."""
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
    """Return a random caption that calls a good picture of this kind damaged.

    Held-out defects are among them: their words are read here, though no picture shows one.
    """
    return describe(kind, str(rng.choice(DEFECTS)), rng)


def caption_tokens() -> list[int]:
    """Return the ids of every token that a caption can hold, in order; the padding is 0 and [EOS] is the last."""
    tokenizer = SimpleTokenizer()
    words = " ".join((*FRAMES, *GOOD, *BAD, *WITH, *NOUNS, *NAMED, *DEFECTS)).replace("{defect}", "").replace("{}", "")
    return sorted({0, *tokenizer.encode(words), tokenizer.sot_token_id, tokenizer.eot_token_id})
