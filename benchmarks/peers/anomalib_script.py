"""Time anomalib's models. `bench frame --peers anomalib` starts this script with the Python of anomalib's environment.

The environment has no goodparts. The argument is JSON. The script prints a line of JSON when the model is prepared. It
then answers each input line with the seconds of each frame, from uint8 RGB to score and map, all in host memory. The
weights are random, because speed does not depend on them. Resizing is anomalib's own. anomalib's normalisation of
scores is left out, which makes anomalib faster.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import Any


def main() -> None:
    """Prepare the model, then answer the lines of the input until it ends."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print to stderr, so that the pipe has only answers

    def answer(**content: Any) -> None:
        print(json.dumps(content), file=answers, flush=True)

    settings = json.loads(sys.argv[1])
    try:
        inspect, ran = prepare(**settings)
        answer(ran=ran)
        for _ in sys.stdin:
            answer(seconds=time_frames(inspect, settings["warmup"], settings["frames"]))
    except Exception as error:
        answer(error=(str(error).strip().splitlines() or [type(error).__name__])[0])


def time_frames(inspect: Any, warmup: int, frames: int) -> list[float]:
    """Return the seconds of each timed call.

    Args:
        inspect: Inspects one frame; takes no arguments.
        warmup: The number of untimed calls at the start.
        frames: The number of timed calls.
    """
    for _ in range(warmup):
        inspect()
    seconds: list[float] = []
    for _ in range(frames):
        start = time.perf_counter()
        inspect()
        seconds.append(time.perf_counter() - start)
    return seconds


def prepare(*, model: str, shots: int, threads: int | None, height: int, width: int, **_: int) -> tuple[Any, str]:
    """Return the call that inspects one frame, and the versions and threads that run it.

    Args:
        model: "WinCLIP", "PatchCore" or "PatchCore MobileNetV2".
        shots: The number of pictures of noise to learn from.
        threads: The threads of torch; None for torch's own choice.
        height: The height of a frame in pixels.
        width: The width of a frame in pixels.
    """
    from importlib.metadata import version

    import torch

    if threads is not None:
        torch.set_num_threads(threads)
    generator = torch.Generator().manual_seed(0)
    frame = torch.randint(0, 256, (height, width, 3), generator=generator, dtype=torch.uint8)
    makers = {"WinCLIP": make_winclip, "PatchCore": make_patchcore, "PatchCore MobileNetV2": make_small_patchcore}
    network, transform = makers[model]()

    def view(picture: Any) -> Any:
        return transform(picture.permute(2, 0, 1)[None].float() / 255)

    network.eval()
    with torch.no_grad():
        pictures = torch.cat(
            [view(torch.randint(0, 256, frame.shape, generator=generator, dtype=torch.uint8)) for _ in range(shots)]
        )
        learn(network, model, pictures)

    def inspect() -> tuple[Any, Any]:
        with torch.inference_mode():
            prediction = network(view(frame))
            return prediction.pred_score.numpy(), prediction.anomaly_map.numpy()

    return inspect, f"anomalib {version('anomalib')}, torch {torch.__version__}, {torch.get_num_threads()} threads"


def make_winclip() -> tuple[Any, Any]:
    """Make a WinCLIP with random weights.

    Returns:
        The network, and its preprocessing of pictures, float32 [n,3,H,W] from 0 to 1.
    """
    from anomalib.models import WinClip
    from anomalib.models.image.winclip import torch_model

    torch_model.PRETRAINED = None  # random weights
    return torch_model.WinClipModel(), WinClip.configure_pre_processor().transform


def make_patchcore() -> tuple[Any, Any]:
    """Make a PatchCore with random weights.

    Returns:
        The network, and its preprocessing of pictures, float32 [n,3,H,W] from 0 to 1.
    """
    from anomalib.models import Patchcore
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    network = PatchcoreModel(layers=["layer2", "layer3"], pre_trained=False)
    return network, Patchcore.configure_pre_processor().transform


def make_small_patchcore() -> tuple[Any, Any]:
    """Make a PatchCore with the network of the backbone `small`, its taps and its image size.

    Returns:
        The network with random weights, and its preprocessing of pictures, float32 [n,3,H,W] from 0 to 1.
    """
    from anomalib.models import Patchcore
    from anomalib.models.image.patchcore.torch_model import PatchcoreModel

    network = PatchcoreModel(["blocks.2", "blocks.4"], "mobilenetv2_100", pre_trained=False)
    return network, Patchcore.configure_pre_processor(image_size=(240, 240)).transform


def learn(network: Any, model: str, pictures: Any) -> None:
    """Give WinCLIP its reference pictures, or PatchCore its memory, with the default coreset of a tenth.

    Args:
        network: The network, which learns in place.
        model: "WinCLIP", or another name for a PatchCore.
        pictures: Preprocessed pictures, float32 [shots,3,S,S].
    """
    if model == "WinCLIP":
        network.setup("part", pictures)
        return
    network.train()
    for picture in pictures:
        network(picture[None])
    network.eval()
    network.subsample_embedding(0.1)


if __name__ == "__main__":
    main()
