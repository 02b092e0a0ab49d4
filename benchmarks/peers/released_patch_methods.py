"""Record results of the released AnomalyDINO and SubspaceAD, with weights and pictures that anyone can reproduce.

    python -m goodparts.benchmarks.peers.released_patch_methods --anomalydino DIR --dinov2 DIR --subspacead DIR OUT.npz

The folders are checkouts of dammsi/AnomalyDINO, facebookresearch/dinov2 and CLendering/SubspaceAD. No code is copied
from them. They need cv2, faiss, matplotlib, scikit-learn, tifffile and tqdm. The network is a DINOv2 ViT-S/14 with
seeded random weights, and the pictures are drawn. AnomalyDINO runs from files of photos to scores, without rotations
and masks. SubspaceAD computes the principal components and the scores from the patch features of the same network,
l2-normalised as an engine returns them.
"""

from __future__ import annotations

import argparse
import importlib
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Features
from goodparts.runtime.core.view import View
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.names import RANDOM
from PIL import Image

NETWORK = "timm:vit_small_patch14_dinov2"
SIZE = 210
"""The side of a picture: 15 patches of 14 pixels. A hundredth of all its patches is two patches."""
PICTURE_SIZE = 300, 260
SHOTS, EXPLAINED = 2, 0.99


def open_network() -> Backbone:
    """Open the network with seeded random weights.

    Returns:
        The backbone, for pictures with a side of SIZE pixels.
    """
    return Backbone.open(NETWORK, pretrained=RANDOM, image_size=SIZE)


def draw_pictures() -> tuple[list[Array8], list[Array8]]:
    """Draw pictures to learn from and to test with.

    Returns:
        SHOTS good pictures; and a good and a bad picture. Each is a square, uint8 RGB [260,260,3].
    """
    line = DrawnProduct("gear", seed=5)
    pictures = [line.photo(index, size=PICTURE_SIZE).image for index in range(SHOTS + 1)]
    pictures.append(line.photo(9, "scratch", size=PICTURE_SIZE).image)
    squares = [View().cut(picture, PICTURE_SIZE[1])[0] for picture in pictures]
    return squares[:SHOTS], squares[SHOTS:]


def encode(backbone: Backbone, pictures: list[Array8]) -> Features:
    """Encode pictures as goodparts does.

    Args:
        backbone: The backbone of `open_network`.
        pictures: Square pictures, uint8 RGB [H,W,3] each.

    Returns:
        The features of all pictures, one view for each.
    """
    return backbone.encode(np.concatenate([View().cut(picture, SIZE) for picture in pictures]))


def run_anomalydino(folder: Path, dinov2: Path, backbone: Backbone) -> tuple[Any, Any]:
    """Return image scores [2] and patch distances [2,15,15] of AnomalyDINO's released code.

    Args:
        folder: A checkout of dammsi/AnomalyDINO.
        dinov2: A checkout of facebookresearch/dinov2.
        backbone: The backbone whose weights the released code gets.
    """
    sys.path[:0] = [str(folder), str(dinov2)]
    model = importlib.import_module("dinov2.models.vision_transformer").vit_small(
        patch_size=14, img_size=SIZE, init_values=1.0, block_chunks=0
    )
    missing, unexpected = model.load_state_dict(backbone.visual.visual.model.state_dict(), strict=False)
    assert set(missing) == {"mask_token"}, missing
    assert not unexpected, unexpected
    torch.hub.load = lambda *_, **__: model  # the original downloads the network
    torch.cuda.synchronize = lambda *_: None  # the code calls it for its timing, also without a GPU
    wrapped = importlib.import_module("src.backbones").get_model("dinov2_vits14", "cpu", smaller_edge_size=SIZE)
    detection = importlib.import_module("src.detection")
    shots, tests = draw_pictures()
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "data" / "gear"
        for name, pictures in (("train/good", shots), ("test/good", tests[:1]), ("test/scratch", tests[1:])):
            (root / name).mkdir(parents=True)
            for index, picture in enumerate(pictures):
                Image.fromarray(picture).save(root / name / f"{index}.png")
        scores, _, _ = detection.run_anomaly_detection(
            wrapped, "gear", str(root.parent), SHOTS, {"gear": ["scratch"]}, place, faiss_on_cpu=True
        )
        maps = [np.load(next(Path(place).rglob(f"{kind}/0.npy"))) for kind in ("good", "scratch")]
    return np.array([scores[f"{kind}/0.png"] for kind in ("good", "scratch")], np.float32), np.stack(maps)


def run_subspacead(folder: Path, backbone: Backbone) -> tuple[Any, int]:
    """Return patch scores [2,15,15] of SubspaceAD's released code, and the number of components.

    Args:
        folder: A checkout of CLendering/SubspaceAD.
        backbone: The backbone whose features the released code gets.
    """
    sys.path.insert(0, str(folder / "src"))
    shots, tests = (encode(backbone, pictures).memory[0] for pictures in draw_pictures())
    width = shots.shape[-1]
    model = importlib.import_module("subspacead.core.pca").PCAModel(ev=EXPLAINED)
    fitted = model.fit(lambda: iter(shots), width, shots.shape[0] * shots.shape[1], len(shots))
    calculate = importlib.import_module("subspacead.post_process.scoring").calculate_anomaly_scores
    scores = calculate(tests.reshape(-1, width).astype(np.float64), fitted, "reconstruction")
    side = round(shots.shape[1] ** 0.5)
    return np.asarray(scores, np.float32).reshape(-1, side, side), fitted["k"]


def main() -> None:
    """Run both methods and write their numbers."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("anomalydino", "dinov2", "subspacead"):
        parser.add_argument(f"--{name}", type=Path, required=True, metavar="DIR")
    parser.add_argument("out", type=Path)
    args = parser.parse_args()
    backbone = open_network()
    scores, maps = run_anomalydino(args.anomalydino, args.dinov2, backbone)
    subspace, components = run_subspacead(args.subspacead, backbone)
    np.savez_compressed(
        args.out, anomalydino_scores=scores, anomalydino_maps=maps.astype(np.float32),
        subspacead_maps=subspace, subspacead_components=components,
    )  # fmt: skip


if __name__ == "__main__":
    main()
