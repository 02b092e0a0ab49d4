"""Published numbers, with which an evaluation's numbers are compared."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec

PAPERS = Path(__file__).with_name("papers.json")
PUBLISHED_BACKBONE = "ViT-B-16-plus-240"
"""The backbone of all published numbers of methods that we have too."""


class Paper(msgspec.Struct, frozen=True):
    """Published means over all categories of a data set.

    Attributes:
        data: The data set's published name.
        method: The method's name in the paper.
        row: The name of the same method in our table, or None if we do not have it.
        source: The paper.
        note: How the paper's measurement differs from ours.
        values: Percentages by number of shots and metric.
        official: Whether PromptAD's released evaluation made the numbers. --official reproduces it; it reports the best
            step on the test data.
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
    """Read all published numbers.

    Returns:
        The papers, in the file's order.
    """
    return msgspec.json.decode(PAPERS.read_bytes(), type=tuple[Paper, ...])
