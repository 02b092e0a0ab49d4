"""Compares image-only backbones with anomalib's PatchCore, in one run with the same weights, image size and shots.

goodparts works in the usual way: an engine exported in fp32, and a taught recipe that uses only the memory. Every
category of --data (in MVTec's layout) is learned from four photos. If a category has more photos, four are drawn
--draws times. The time of a frame is measured from uint8 pixels in memory to score and map.
"""

from __future__ import annotations

import argparse
import json
import logging
import subprocess
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from goodparts.evaluation.datasets.folders import read_mvtec
from goodparts.evaluation.datasets.samples import Split
from goodparts.evaluation.datasets.shots import choose_shots
from goodparts.evaluation.datasets.truth import load_truth
from goodparts.evaluation.metrics.image import auroc
from goodparts.evaluation.metrics.pixel import PixelTally
from goodparts.evaluation.report.report import Findings
from goodparts.export.engines import make_engine
from goodparts.runtime.core.errors import BackendError, SettingsError
from goodparts.runtime.core.preprocess import load_rgb
from goodparts.runtime.core.scoring import MAP_SIZE, Floats, upsample
from goodparts.runtime.detector import Detector
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import IMAGE_ONLY
from goodparts.runtime.recipe.teach import teach
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.image_only.weights import load_file, size_options
from safetensors.torch import save_file

from ..options import positive_integer
from ..peers.anomalib import environment
from .products import find_products

log = logging.getLogger(__name__)

SHOTS = 4
SCRIPT = Path(__file__).parents[1] / "peers" / "anomalib_patchcore.py"
PEER = "anomalib PatchCore"
SHARE_OF_TIME = 0.5
"""A frame should take at most this share of the peer's time."""


@dataclass(frozen=True, eq=False)
class Measured:
    """The results on a category.

    Attributes:
        image: The image AUROC, 0 to 1, a mean over the draws.
        pixel: The pixel AUROC, 0 to 1, a mean over the draws.
        seconds: The time of every frame.
    """

    image: float
    pixel: float
    seconds: list[float]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--data", type=Path, required=True, metavar="ROOT", help="categories in MVTec's layout")
    parser.add_argument("--weights", nargs="+", required=True, metavar="NAME=FILE",
                        help="backbones and their weights, such as timm:mobilenetv2_100=FILE")  # fmt: skip
    parser.add_argument("--size", type=positive_integer, default=240, metavar="N",
                        help="side of the pictures in pixels (default: %(default)s)")  # fmt: skip
    parser.add_argument("--draws", type=positive_integer, default=3, metavar="N",
                        help="draws of four photos (default: %(default)s)")  # fmt: skip
    parser.add_argument("--threads", type=positive_integer, default=2, metavar="N",
                        help="threads of each contender (default: %(default)s)")  # fmt: skip


def measure(*, data: Path, weights: list[str], size: int, draws: int, threads: int) -> Findings:
    findings = Findings()
    for entry in weights:
        name, _, file = entry.partition("=")
        if not file:
            raise SettingsError(f"--weights {entry}: give NAME=FILE, as in timm:mobilenetv2_100=FILE")
        compare(findings, name, Path(file), find_products(data), size, draws, threads)
    return findings


def compare(
    findings: Findings, name: str, weights: Path, categories: list[Path], size: int, draws: int, threads: int
) -> None:
    """Add rows "<backbone>, <category>: image | pixel AUROC", their means, and the time of a frame in milliseconds.

    Args:
        findings: Gets the rows and the aims.
        name: A backbone of timm, such as `timm:mobilenetv2_100`.
        weights: The file with its weights.
        categories: The folders of the categories, in MVTec's layout.
        size: The side of the pictures in pixels.
        draws: The number of draws of shots from a category with more photos than SHOTS.
        threads: The threads of each contender.

    Raises:
        BackboneError: The name is unknown, or the file does not hold the weights of the model.
        SettingsError: The size does not suit the backbone.
        ParityError: The exported engine is too far from torch.
        BackendError: OpenVINO is missing, or the peer cannot be run.
        FileError: A photo or a folder of a category is missing or cannot be read.
        ImageError: A photo is damaged, or a bad photo does not have exactly one mask.
    """
    with tempfile.TemporaryDirectory() as place:
        folder = Path(place)
        backbone = Backbone.open(name, weights=weights, image_size=size)
        make_engine(backbone, folder / "engine", ["fp32"])
        engine = Engine.open(folder / "engine", backend="openvino", threads=threads)
        architecture = name.removeprefix(IMAGE_ONLY)
        options = size_options(architecture, size)
        options.pop("side")
        state = load_file(architecture, weights, options).state_dict()
        save_file(state, folder / "weights.safetensors")
        info = backbone.visual.visual.model.feature_info
        levels = [level for tap in backbone.encoder.taps for level in (*tap.joined, tap.block)]
        settings = {
            "network": architecture, "weights": str(folder / "weights.safetensors"), "size": size, "threads": threads,
            "layers": [info[level - 1]["module"] for level in levels],
        }  # fmt: skip
        ours, theirs = [], []
        with Peer(settings, folder) as peer:
            for category in categories:
                log.info("%s: %s", name, category.name)
                split = read_mvtec(category)
                seeds = range(draws if len(split.train) > SHOTS else 1)
                shots = [list(choose_shots(split.train, SHOTS, seed).paths) for seed in seeds]
                ours.append(mean([inspect(engine, split, draw) for draw in shots]))
                theirs.append(mean([peer.inspect(split, draw) for draw in shots]))
                report(findings, f"{name}, {category.name}", ours[-1], theirs[-1])
    report(findings, f"{name}, mean of {len(categories)}", mean(ours), mean(theirs))
    milliseconds = [1000 * float(np.median(measured.seconds)) for measured in (mean(ours), mean(theirs))]
    findings.add(f"{name}: a frame", milliseconds[0], "ms", PEER, milliseconds[1])
    for level in ("image", "pixel"):
        one, other = getattr(mean(ours), level), getattr(mean(theirs), level)
        findings.aim(f"{name}: {level} AUROC", one, other, "", at_least=True)
    findings.aim(f"{name}: a frame", milliseconds[0], SHARE_OF_TIME * milliseconds[1], "ms")


def report(findings: Findings, name: str, ours: Measured, theirs: Measured) -> None:
    """Add rows with the image and the pixel AUROC, compared with the peer.

    Args:
        findings: Gets the rows.
        name: The beginning of the rows' names.
        ours: Our results.
        theirs: The peer's results.
    """
    for level in ("image", "pixel"):
        findings.add(f"{name}: {level}", getattr(ours, level), "AUROC", PEER, getattr(theirs, level), higher=True)


def mean(parts: list[Measured]) -> Measured:
    """Return the means of several draws, or of several categories.

    Args:
        parts: The results of each of them; at least one.
    """
    return Measured(
        float(np.mean([part.image for part in parts])),
        float(np.mean([part.pixel for part in parts])),
        [second for part in parts for second in part.seconds],
    )


def inspect(engine: Engine, split: Split, shots: list[Path]) -> Measured:
    """Learn the shots and inspect the test photos.

    Args:
        engine: The engine of the backbone, in fp32.
        split: The category, whose test photos are scored.
        shots: The good photos to learn from.

    Returns:
        The results of this draw. The time of a frame includes its map.

    Raises:
        FileError: A photo cannot be read.
        ImageError: A photo is damaged, or a bad photo has no fitting mask.
    """
    detector = Detector(engine, teach(shots, split.text, engine=engine))
    frames = [load_rgb(sample.path) for sample in split.test]
    detector.predict(frames[0])
    scores, maps, seconds = [], [], []
    for frame in frames:
        start = time.perf_counter()
        found = detector.predict(frame)
        anomaly_map = found.map
        seconds.append(time.perf_counter() - start)
        scores.append(found.raw_score)
        maps.append(anomaly_map)
    return judge(split, np.array(scores, np.float32), np.stack(maps), seconds)


def judge(split: Split, scores: Floats, maps: Floats, seconds: list[float]) -> Measured:
    """Return the AUROC of the scores and of the maps, with the seconds of the frames.

    Args:
        split: The category, whose test photos are scored.
        scores: The image scores of the test photos, float32 [N].
        maps: The maps of the test photos, float32 [N,400,400].
        seconds: The time of each frame.

    Raises:
        FileError: A mask cannot be read.
        ImageError: A bad photo has no fitting mask.
    """
    with PixelTally() as tally:
        for sample, anomaly_map in zip(split.test, maps, strict=True):
            tally.add(anomaly_map, load_truth(sample).resized(MAP_SIZE, MAP_SIZE).mask)
        pixel = tally.measure().values["pixel_auroc"]
    return Measured(auroc(np.array([sample.bad for sample in split.test]), scores), pixel, seconds)


class Peer:
    """anomalib's PatchCore in a process of its own.

    Args:
        settings: The JSON argument of anomalib_patchcore.py.
        folder: A folder for the results that the process writes.

    Raises:
        BackendError: The environment of anomalib cannot be made.
    """

    def __init__(self, settings: dict[str, Any], folder: Path) -> None:
        self._out = folder / "peer.npz"
        self._process = subprocess.Popen(
            [str(environment()), "-I", str(SCRIPT), json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def inspect(self, split: Split, shots: list[Path]) -> Measured:
        """Learn the shots and score the test photos.

        Args:
            split: The category, whose test photos are scored.
            shots: The good photos to learn from.

        Returns:
            The results of this draw.

        Raises:
            BackendError: The process has ended.
            FileError: A mask cannot be read.
            ImageError: A bad photo has no fitting mask.
        """
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        tests = [str(sample.path.resolve()) for sample in split.test]
        task = {"shots": [str(path.resolve()) for path in shots], "tests": tests, "out": str(self._out)}
        self._process.stdin.write(json.dumps(task) + "\n")
        self._process.stdin.flush()
        line = self._process.stdout.readline()
        if not line:
            raise BackendError("the process of anomalib ended early: see its message above")
        with np.load(self._out) as found:
            return judge(split, found["scores"], upsample(found["maps"], MAP_SIZE), json.loads(line))

    def __enter__(self) -> Peer:
        return self

    def __exit__(self, *_: object) -> None:
        """Close the pipes, so that the process ends."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        self._process.wait(60)
