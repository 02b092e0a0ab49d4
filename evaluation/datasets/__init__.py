"""Inspection data sets with their published splits, all behind one interface: `open_data(root)`."""

from __future__ import annotations

from .checks import check_split, find_duplicates
from .layouts import DataSet, open_data
from .samples import Sample, Saturation, Split
from .shots import SHOT_COUNTS, ChosenShots, choose_shots
from .truth import Truth, load_truth, resize_mask

__all__ = [
    "SHOT_COUNTS",
    "ChosenShots",
    "DataSet",
    "Sample",
    "Saturation",
    "Split",
    "Truth",
    "check_split",
    "choose_shots",
    "find_duplicates",
    "load_truth",
    "open_data",
    "resize_mask",
]
