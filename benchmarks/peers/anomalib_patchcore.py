"""Run anomalib's PatchCore with given weights on given photos. The Python of anomalib's environment runs this script.

The environment has no goodparts. The argument is JSON with these fields: network, a name of timm; weights, a file of
safetensors with timm's names; layers; size, the side of the pictures; threads. Each line of the input is JSON with
shots and tests, which are paths of photos, and out, a file for the results: scores float32 [N] and maps float32
[N,size,size] of the tests. The answer to a line is the seconds of each test, from uint8 RGB in memory to score and
map. The normalisation of scores is left out.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any

import numpy as np
import torch
from anomalib.models import Patchcore
from anomalib.models.image.patchcore.torch_model import PatchcoreModel
from PIL import Image
from safetensors.torch import load_file

CORESET = 0.1
"""anomalib's default share of the patches that are kept."""


def main() -> None:
    """Answer the lines of the input until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print to stderr, so that the pipe has only answers
    settings = json.loads(sys.argv[1])
    torch.set_num_threads(settings["threads"])
    size = settings["size"]
    transform = Patchcore.configure_pre_processor(image_size=(size, size)).transform
    for line in sys.stdin:
        task = json.loads(line)
        network = open_network(settings)
        with torch.inference_mode():
            network.train()
            for path in task["shots"]:
                network(transform(read(path)))
            network.eval()
            network.subsample_embedding(CORESET)
            scores, maps, seconds = [], [], []
            for path in task["tests"]:
                picture = read_bytes(path)
                start = time.perf_counter()
                prediction = network(transform(to_floats(picture)))
                score, anomaly_map = prediction.pred_score.numpy(), prediction.anomaly_map.numpy()
                seconds.append(time.perf_counter() - start)
                scores.append(float(score.squeeze()))
                maps.append(anomaly_map.reshape(size, size))
        np.savez(task["out"], scores=np.array(scores, np.float32), maps=np.stack(maps).astype(np.float32))
        print(json.dumps(seconds), file=answers, flush=True)


def open_network(settings: dict[str, Any]) -> Any:
    """Make a PatchCore with the weights and an empty memory.

    Args:
        settings: The JSON argument of this script; `layers`, `network` and `weights` are read.

    Returns:
        The network, whose feature extractor is in evaluation mode.

    Raises:
        ValueError: The file lacks weights of the network.
    """
    network = PatchcoreModel(settings["layers"], settings["network"], pre_trained=False)
    trunk = network.feature_extractor.feature_extractor
    missing, _ = trunk.load_state_dict(load_file(settings["weights"]), strict=False)
    if missing:
        raise ValueError(f"the weights lack {missing[:3]}")
    network.feature_extractor.eval()
    return network


def read_bytes(path: str) -> torch.Tensor:
    """Read a photo.

    Args:
        path: The photo's file.

    Returns:
        The photo, uint8 RGB [H,W,3].
    """
    with Image.open(path) as image:
        return torch.from_numpy(np.asarray(image.convert("RGB")).copy())


def to_floats(picture: torch.Tensor) -> torch.Tensor:
    """Convert a photo to the input of the preprocessing.

    Args:
        picture: The photo, uint8 RGB [H,W,3].

    Returns:
        The photo, float32 [1,3,H,W], from 0 to 1.
    """
    return picture.permute(2, 0, 1)[None].float() / 255


def read(path: str) -> torch.Tensor:
    """Read a photo as the input of the preprocessing.

    Args:
        path: The photo's file.

    Returns:
        The photo, float32 RGB [1,3,H,W], from 0 to 1.
    """
    return to_floats(read_bytes(path))


if __name__ == "__main__":
    main()
