"""Published numbers, beside which an evaluation's may stand."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

PAPERS = Path(__file__).with_name("papers.json")
PUBLISHED_BACKBONE = "ViT-B-16-plus-240"
"""The backbone of all published numbers of a method that is ours too."""


class Paper(msgspec.Struct, frozen=True):
    """Published means over all categories of a data set.

    row is our method that is the same, or None. note states what differs from how we measure. values are in percent, by
    shots and metric. official tells whether PromptAD's released evaluation made them: --official reproduces it, and it
    reports the best step on the test data.
    """

    data: str
    method: str
    row: str | None
    source: str
    note: str
    values: dict[int, dict[str, float]]
    official: bool = False


@cache
def read_papers() -> tuple[Paper, ...]:
    """Read all published numbers."""
    return msgspec.json.decode(PAPERS.read_bytes(), type=tuple[Paper, ...])
