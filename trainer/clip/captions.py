"""Captions for drawn parts: what a picture shows, said in many ways, and which captions are true of it."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from goodparts.drawn.parts import DEFECTS, HELD_OUT_KINDS, KINDS

from ..promptad.suffixes import GENERIC

NORMAL = 0
"""State of a good part; defect d of DEFECTS is 1 + d, and in a caption ANY stands for every defect."""
ANY = -1

FRAMES = ("{}", "{}.", "a photo of a {}", "a photo of the {}.", "a picture of one {}", "a close-up photo of a {}",
          "an inspection image of a {}.", "a cropped photo of the {}", "this is a {}")  # fmt: skip
GOOD = ("{}", "good {}", "flawless {}", "perfect {}", "unblemished {}", "intact {}", "{} without flaw",
        "{} without defect", "{} without damage", "normal {}", "clean {}")  # fmt: skip
BAD = (*GENERIC, "broken {}", "defective {}", "bad {}", "{} with an anomaly", "faulty {}")
WITH = (
    "{} with {defect}",
    "{} with a {defect}",
    "{defect} on the {}",
    "a {defect} in the {}",
    "damaged {} with {defect}",
)
NOUNS = ("part", "object", "item", "product", "surface", "component", "piece", "metal part", "plastic part",
         "fabric", "texture", "material", "screw", "bolt", "bottle", "tire", "grid", "hazelnut", "toothbrush",
         "transistor", "zipper", "candle", "steel sheet", "commutator", "magnetic tile", "metal nut",
         "printed circuit board", *HELD_OUT_KINDS)  # fmt: skip
"""Names that fit any picture as well or as badly as any other: a caption with one of them speaks of the state
alone. They teach the text tower to read the state beside a name that it has no picture of."""


@dataclass(frozen=True)
class Caption:
    """A text and what it claims. kind: index into KINDS, or ANY; state: NORMAL, ANY (defect), or 1 + defect."""

    text: str
    kind: int
    state: int

    def is_true_of(self, kind: int, state: int) -> bool:
        """Return whether the caption is true of a picture of this kind in this state (NORMAL or 1 + defect)."""
        if self.kind not in (ANY, kind):
            return False
        return state != NORMAL if self.state == ANY else self.state == state


def describe(kind: int, state: int, rng: np.random.Generator) -> Caption:
    """Return a random caption that is true of a picture."""
    anonymous = rng.random() < 0.35
    name = str(rng.choice(NOUNS)) if anonymous else KINDS[kind]
    claimed = state
    if state == NORMAL:
        phrase = str(rng.choice(GOOD))
    elif rng.random() < 0.6:
        phrase, claimed = str(rng.choice(BAD)), ANY
    else:
        phrase = str(rng.choice(WITH)).replace("{defect}", DEFECTS[state - 1])
    text = str(rng.choice(FRAMES)).replace("{}", phrase.replace("{}", name))
    return Caption(text, ANY if anonymous else kind, claimed)


def contradict(kind: int, state: int, rng: np.random.Generator) -> Caption:
    """Return a random caption about the same part that is wrong about whether it is good."""
    if state != NORMAL:
        return describe(kind, NORMAL, rng)
    # Held-out defects among them: their words are read here, though no picture shows one.
    return describe(kind, 1 + int(rng.integers(len(DEFECTS))), rng)
