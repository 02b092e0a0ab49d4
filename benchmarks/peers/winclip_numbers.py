"""Record results of anomalib's WinCLIP with given weights: `python -m goodparts.benchmarks.peers.winclip_numbers`.

tests/data/winclip_anomalib.npz was recorded with tests/data/ViT-tiny.json and the seeded random weights of that tower.
tests/evaluation/methods/test_winclip.py compares our WinCLIP with it.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import open_clip
import torch
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Floats
from goodparts.trainer.clip.backbone import Backbone
from safetensors.torch import save_file

from .anomalib import environment

SCRIPT = Path(__file__).with_name("anomalib_winclip.py")
CHANNELS = slice(None, None, 8)
"""The channels of the features that are recorded."""


def draw_pictures(size: int) -> Array8:
    """Return three pictures of coloured squares, uint8 RGB [3,size,size,3]: a query and two good pictures.

    Args:
        size: The side of a picture in pixels, a multiple of 8.
    """
    squares = np.random.default_rng(0).integers(0, 256, (3, size // 8, size // 8, 3), np.uint8)
    return squares.repeat(8, axis=1).repeat(8, axis=2)


def draw_prototypes(width: int) -> Floats:
    """Return a normal and an anomalous direction of length 1, float32 [2,width].

    Args:
        width: The width of the joint space.
    """
    directions = np.random.default_rng(1).standard_normal((2, width)).astype(np.float32)
    normalised: Floats = directions / np.linalg.norm(directions, axis=1, keepdims=True)
    return normalised


def record(config: Path, out: Path, python: Path | None = None) -> None:
    """Write the numbers that anomalib computes.

    Args:
        config: A configuration of open_clip.
        out: The file to write.
        python: The Python of anomalib's environment; None for our environment, which is made if it does not exist.

    Raises:
        BackendError: The environment cannot be made.
    """
    open_clip.add_model_config(config)
    backbone = Backbone.open(config.stem, pretrained="random")
    model = open_clip.create_model(config.stem)
    state = {f"visual.{name}": part for name, part in backbone.visual.visual.state_dict().items()}
    size = backbone.encoder.image_size
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode():
        weights, inputs, found = (Path(folder) / name for name in ("weights.safetensors", "inputs.npz", "found.npz"))
        save_file({name: part.clone() for name, part in (model.state_dict() | state).items()}, weights)
        pictures = backbone.visual.standardise(torch.from_numpy(draw_pictures(size)).float()).permute(0, 3, 1, 2)
        np.savez(inputs, pictures=pictures.numpy(), prototypes=draw_prototypes(backbone.encoder.width))
        command = [str(python or environment()), "-I", str(SCRIPT), *map(str, (config, weights, inputs, found))]
        subprocess.run(command, check=True)
        numbers = dict(np.load(found))
    for name in ("image", "windows_2", "windows_3"):
        numbers[name] = numbers[name][..., CHANNELS] / np.linalg.norm(numbers[name], axis=-1, keepdims=True)
    np.savez_compressed(out, **numbers)


if __name__ == "__main__":
    record(*map(Path, sys.argv[1:]))
