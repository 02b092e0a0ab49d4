"""Make the engine that ships with goodparts: `python -m goodparts.export.shipped`, after the backbone was trained.

On one machine, the files are byte-identical if the versions of torch, onnx and the inference libraries are the same.
"""

from __future__ import annotations

from pathlib import Path

from goodparts.runtime.engine.shipped import SHIPPED
from goodparts.runtime.engine.spec import EngineSpec
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.names import DEFAULT_NAME

from .engines import make_engine


def make_shipped(folder: Path = SHIPPED) -> EngineSpec:
    """Make the engine of the embedded backbone in fp32 and bf16, with few pictures to compare it on.

    int8 is left out because it does not pass the comparison with torch.

    Args:
        folder: The engine's folder.

    Returns:
        The engine's description.
    """
    return make_engine(Backbone.open(DEFAULT_NAME), folder, ["fp32", "bf16"], few_pictures=True)


if __name__ == "__main__":
    make_shipped()
