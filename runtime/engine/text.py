"""The text features in an engine: features of sentences about good and damaged parts, for learning without torch.

The exporter computes them with the text tower of the encoder's CLIP model (export/text.py).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors
import safetensors.numpy

from ..core.errors import EngineError
from ..core.files import read_bytes, write_atomic
from ..core.scoring import Floats
from .spec import Encoder, EngineSpec

TEXT_NAME = "text.safetensors"
"""The file in the engine's folder that holds its text features."""

_STATES = "part and suffixes"
"""The only key of the file's metadata. There is only one key because the library writes several keys in random
order.
"""


@dataclass(frozen=True, eq=False)
class TextFeatures:
    """The features of sentences about a generic part. Each row is the mean of l2-normalised vectors for one state.

    Attributes:
        normal: [N,D], float32, one row for each expression that the part is in order.
        anomalous: [M,D], float32, one row for each suffix, an expression that the part is damaged.
        scale: The multiplier of cosines that the CLIP model was trained with, exp(logit_scale).
        part: The name of the part in the sentences.
        suffixes: The M suffixes, with {} instead of the part.
    """

    normal: Floats
    anomalous: Floats
    scale: float
    part: str
    suffixes: tuple[str, ...]

    def prototypes(self) -> Floats:
        """Return the normal and the anomalous prototype for views and patches alike, [2,D], float32, l2-normalised."""
        means = np.stack([self.normal.mean(axis=0), self.anomalous.mean(axis=0)])
        prototypes: Floats = means / np.linalg.norm(means, axis=1, keepdims=True)
        return prototypes

    def save(self, path: Path) -> None:
        """Write a safetensors file.

        Args:
            path: The file.
        """
        arrays = {
            "normal": np.ascontiguousarray(self.normal),
            "anomalous": np.ascontiguousarray(self.anomalous),
            "scale": np.array(self.scale, np.float32),
        }
        write_atomic(path, safetensors.numpy.save(arrays, metadata={_STATES: "\n".join([self.part, *self.suffixes])}))


def read_text_features(folder: Path, spec: EngineSpec) -> TextFeatures:
    """Read an engine's text features.

    Args:
        folder: The engine's folder.
        spec: The content of its engine.json.

    Returns:
        The text features.

    Raises:
        EngineError: The engine has none, or they are damaged.
    """
    if not any(file.name == TEXT_NAME for file in spec.files):
        raise EngineError(
            f"{folder} has no text features, which learning without torch needs: export it again, "
            "or learn with train-and-export"
        )
    path = folder / TEXT_NAME
    try:
        arrays = safetensors.numpy.load(read_bytes(path))
        with safetensors.safe_open(path, "numpy") as file:
            part, *suffixes = (file.metadata() or {})[_STATES].split("\n")
        scale = float(arrays["scale"])
        text = TextFeatures(arrays["normal"], arrays["anomalous"], scale, part, tuple(suffixes))
    except (safetensors.SafetensorError, KeyError, TypeError) as error:
        raise EngineError(f"{path} is damaged ({error}): export the engine again") from error
    _check(text, spec.encoder, path)
    return text


def _check(text: TextFeatures, encoder: Encoder, path: Path) -> None:
    """Raise EngineError unless scale and features are finite and the features have the shapes that they must have."""
    if not (math.isfinite(text.scale) and text.scale > 0):
        raise EngineError(f"{path} is damaged: scale is {text.scale}, should be above 0: export the engine again")
    for name, array in (("normal", text.normal), ("anomalous", text.anomalous)):
        fits = array.dtype == np.float32 and array.ndim == 2 and len(array) > 0 and array.shape[1] == encoder.width
        if not fits or not np.isfinite(array).all():
            raise EngineError(
                f"{path} is damaged: {name} is {array.dtype} {list(array.shape)}, should be finite float32 "
                f"[n,{encoder.width}]: export the engine again"
            )
