"""Learning a product: from photos of good parts to a recipe."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from goodparts.runtime.calibrate import FALSE_REJECT_RATE
from goodparts.runtime.errors import SettingsError
from goodparts.runtime.files import find_images, read_bytes
from goodparts.runtime.preprocess import Array8, decode
from goodparts.runtime.recipe import FORMAT_VERSION, Header, Recipe, Shot, Thresholds, fit_memory, halves
from goodparts.runtime.scoring import Learned
from goodparts.runtime.view import View

from . import promptad
from .backbone import Backbone
from .promptad import Progress, PromptLearner

MAX_SHOTS = 64
"""More than this is no longer few-shot: the memory would grow past what the runtime is built for."""


@dataclass(frozen=True)
class Product:
    """What the user says about a product, and how it is to be learned."""

    text: str
    view: View
    suffixes: tuple[str, ...]
    protocol: promptad.Protocol
    settings: promptad.Settings
    seed: int
    false_reject_rate: float = FALSE_REJECT_RATE


def choose_shots(folder: list[Path], count: int | None) -> list[Path]:
    """The photos to learn from: the first `count` of the sorted list, or all.

    Raises SettingsError where there are fewer than asked for, or far more than few-shot learning is for.
    """
    found = find_images(folder)
    if count is None and len(found) > MAX_SHOTS:
        raise SettingsError(f"{len(found)} photos: learn from up to {MAX_SHOTS}, for example with --shots 16")
    if count is not None and not 1 <= count <= min(len(found), MAX_SHOTS):
        raise SettingsError(
            f"--shots {count}: there are {len(found)} photos; 1 to {min(len(found), MAX_SHOTS)} can be used"
        )
    return found[:count]


def load_shots(paths: list[Path], view: View, size: int) -> tuple[list[Shot], Array8]:
    """Read the photos: their manifest, and what the encoder reads, uint8 [k,size,size,3].

    Two photos with the same bytes are an error: the second would teach nothing and falsify the calibration.
    """
    shots: list[Shot] = []
    views: list[Array8] = []
    seen: dict[str, Path] = {}
    for path in paths:
        data = read_bytes(path)
        digest = hashlib.sha256(data).hexdigest()
        if digest in seen:
            raise SettingsError(f"{path} is the same photo as {seen[digest]}: remove one of them")
        seen[digest] = path
        shots.append(Shot(path.name, digest))
        views.append(view.cut(decode(data, str(path)), size))
    return shots, np.concatenate(views)


def learn_product(
    backbone: Backbone,
    product: Product,
    shots: list[Shot],
    views: Array8,
    graph: str,
    progress: Progress = iter,
) -> Recipe:
    """Learn prompts and memory, calibrate, and put it all into a recipe for the graph `graph`."""
    features = backbone.encode(views)
    learner = PromptLearner(backbone, features, product.text, product.suffixes, product.settings, product.seed)
    prototypes = learner.learn(progress)
    prompts = Learned(
        image_prompts=prototypes.image,
        pixel_prompts=prototypes.pixel,
        banks=(),
        temperature=learner.temperature,
        image_maximum=product.settings.image_maximum,
    )
    learned, calibration = fit_memory(prompts, features, views, backbone.encode)
    settings: dict[str, Any] = {
        **msgspec.structs.asdict(product.settings),
        "suffixes": list(product.suffixes),
    }
    header = Header(
        version=FORMAT_VERSION,
        product=product.text,
        method="promptad",
        protocol=product.protocol,
        settings=settings,
        encoder=backbone.encoder,
        graph=graph,
        view=product.view,
        temperature=learned.temperature,
        image_maximum=learned.image_maximum,
        shots=tuple(shots),
        calibration=calibration,
        thresholds=Thresholds(
            image=calibration.image.threshold(product.false_reject_rate),
            pixel=calibration.pixel.threshold(product.false_reject_rate),
        ),
        seed=product.seed,
        versions={name: version(name) for name in ("goodparts", "torch", "open_clip_torch", "numpy", "pillow")},
    )
    return Recipe(header, prototypes.image, prototypes.pixel, halves(learned.banks), views)
