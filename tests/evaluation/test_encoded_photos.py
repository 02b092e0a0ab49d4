"""Photos are decoded once, and encoded once for each backend, in memory and in a file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from goodparts.evaluation.encoded_photos import EncodedPhotos, Photos
from goodparts.runtime.core.view import View
from goodparts.trainer.clip.backbone import Backbone
from PIL import Image


@pytest.mark.parametrize("in_memory", [10, 1 << 28])
def test_photos_are_decoded_and_encoded_once(
    in_memory: int, ring: Path, small: Backbone, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("goodparts.evaluation.encoded_photos.IN_MEMORY", in_memory)
    paths = sorted(ring.glob("*/*.png"))
    photos = Photos(small.encoder.image_size)
    encoded = EncodedPhotos("torch", small.encode, photos)
    for batch in (paths[:2], paths, paths[::-1], [paths[0], paths[0]]):
        features = encoded.features(batch)
        expected = small.encode(np.concatenate([View().cut(_rgb(path), small.encoder.image_size) for path in batch]))
        np.testing.assert_allclose(features.global_, expected.global_, atol=1e-5)
        for ours, theirs in zip((features.local, *features.memory), (expected.local, *expected.memory), strict=True):
            np.testing.assert_allclose(ours, theirs, atol=1e-5)
    assert photos.decoded == encoded.encoded == len(paths)
    photos.close()
    encoded.close()


def _rgb(path: Path) -> np.ndarray:
    return np.asarray(Image.open(path).convert("RGB"))
