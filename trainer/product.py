"""Learning a product: from photos of good parts to a recipe."""

from __future__ import annotations

import hashlib
import logging
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.files import printable, read_bytes
from goodparts.runtime.core.image_files import find_images
from goodparts.runtime.core.preprocess import Array8, decode
from goodparts.runtime.core.scoring import Features, Learned
from goodparts.runtime.core.view import View
from goodparts.runtime.recipe.calibrate import FALSE_REJECT_RATE, Encode
from goodparts.runtime.recipe.header import FORMAT_VERSION, PROMPTED_VERSION, RecipeHeader, Shot, Thresholds
from goodparts.runtime.recipe.memory import Fusion, fit_memory
from goodparts.runtime.recipe.recipe import Recipe

from .anople import settings as anople
from .clip.backbone import Backbone
from .promptad import learner as promptad
from .promptad.learner import Progress, PromptLearner

log = logging.getLogger(__name__)

MAX_SHOTS = 64
"""More than this is no longer few-shot: the memory would grow past what the runtime is built for."""


@dataclass(frozen=True)
class Order:
    """What is to be learned and how: the product in words, where to look, what can be wrong, the method's settings."""

    text: str
    view: View
    suffixes: tuple[str, ...]
    protocol: promptad.Protocol
    settings: promptad.Settings | anople.Settings
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
    """Read the photos: their manifest, and what the encoder reads, uint8 [k·tiles,size,size,3].

    Two photos that look the same to the encoder are an error, whatever their files: the second would teach
    nothing and falsify the calibration.
    """
    shots: list[Shot] = []
    views: list[Array8] = []
    seen: dict[bytes, Path] = {}
    for path in paths:
        data = read_bytes(path)
        seen_as = view.cut(decode(data, printable(path)), size)
        same = seen.setdefault(seen_as.tobytes(), path)
        if same is not path:
            raise SettingsError(f"{printable(path)} is the same photo as {printable(same)}: remove one of them")
        shots.append(Shot(printable(Path(path.name)), hashlib.sha256(data).hexdigest()))
        views.append(seen_as)
    return shots, np.concatenate(views)


def learn_product(
    backbone: Backbone,
    order: Order,
    shots: list[Shot],
    views: Array8,
    graph: str,
    progress: Progress = iter,
) -> Recipe:
    """Learn prompts and memory by PromptAD, calibrate, and put it all into a recipe for the graph `graph`."""
    assert isinstance(order.settings, promptad.Settings)
    if unknown := backbone.unknown_words([order.text, *order.suffixes]):
        log.info("%s has no meaning for: %s", backbone.encoder.backbone, ", ".join(unknown))
    features = backbone.encode(views)
    learner = PromptLearner(backbone, features, order.text, order.suffixes, order.settings, order.seed)
    prototypes = learner.learn(progress)
    prompts = Learned(
        image_prompts=prototypes.image,
        pixel_prompts=prototypes.pixel,
        banks=(),
        temperature=learner.temperature,
        image_maximum=order.settings.image_maximum,
    )
    return compose_recipe(
        backbone, order, shots, views, graph, prompts, features, backbone.encode,
        method="promptad", settings={**msgspec.structs.asdict(order.settings), "suffixes": list(order.suffixes)},
        fusion=order.settings.fusion, share=order.settings.memory_share,
    )  # fmt: skip


def compose_recipe(
    backbone: Backbone,
    order: Order,
    shots: list[Shot],
    views: Array8,
    graph: str,
    learned: Learned,
    features: Features,
    encode: Encode,
    *,
    method: str,
    settings: dict[str, Any],
    fusion: Fusion,
    share: float = 1.0,
    conditions: Conditions | None = None,
) -> Recipe:
    """Fill the memory of learned prompts, calibrate, and put it all into a recipe for the graph `graph`.

    features: of the shots' views, as `encode` gives them.
    """
    memory = fit_memory(learned, features, views, order.view.count, encode, fusion=fusion, share=share)
    calibration = memory.calibration
    header = RecipeHeader(
        version=FORMAT_VERSION if conditions is None else PROMPTED_VERSION,
        product=order.text,
        method=method,
        protocol=order.protocol,
        settings=settings,
        encoder=backbone.encoder,
        graph=graph,
        view=order.view,
        temperature=learned.temperature,
        image_maximum=learned.image_maximum,
        fusion=fusion,
        scales=memory.scales,
        memory_share=share,
        shots=tuple(shots),
        shot_calibration=calibration,
        calibration=calibration,
        false_reject_rate=order.false_reject_rate,
        thresholds=Thresholds(
            image=calibration.image.threshold(order.false_reject_rate),
            pixel=calibration.pixel.threshold(order.false_reject_rate),
        ),
        seed=order.seed,
        versions={name: version(name) for name in ("goodparts", "torch", "open_clip_torch", "numpy", "pillow")},
    )
    return Recipe(
        header, learned.image_prompts, learned.pixel_prompts, memory.banks, memory.shot_of_row, views, conditions
    )
