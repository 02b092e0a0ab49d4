"""A recipe's memory and calibration computed again: for another graph, or with photos that were accepted on the line.

The learned prompts are not changed. Accepted photos do not change the rows of the learned shots either. So a patch's
distance to the memory can only fall, and a threshold set by hand keeps its meaning. The result depends only on the
learned recipe, on the accepted photos in their order, and on the bound on rows; an undone accept leaves no trace.
"""

from __future__ import annotations

import dataclasses
import functools
import logging
import math
from collections.abc import Sequence

import msgspec
import numpy as np
import numpy.typing as npt

from ..core.errors import RecipeError
from ..core.files import NO_DIGEST
from ..core.preprocess import Array8
from ..core.scoring import nearest, prompt_margins
from ..engine.engine import Engine
from .calibrate import Calibration, Encode, calibrate, score_as_new
from .header import Accepted, RecipeHeader, Shot
from .memory import Halves, encode_poses, fit_memory, scene_of_shots
from .recipe import Recipe

log = logging.getLogger(__name__)


def fit_to(engine: Engine, recipe: Recipe, name: str = "recipe") -> Recipe:
    """Return the recipe with a memory of this engine's graph.

    A memory of another graph is computed again from the recipe's shots.

    Args:
        engine: The engine that will encode pictures for the recipe.
        recipe: The recipe to fit. It is not changed.
        name: The recipe's name in messages.

    Raises:
        RecipeError: The recipe is of another encoder, or of another graph and holds no shots.
        EngineError: The engine lacks the prompted graph that the recipe's conditions need.
    """
    if recipe.header.encoder != engine.encoder:
        raise RecipeError(
            f"{name} was made for {recipe.header.encoder}, this engine is {engine.encoder}: "
            "use the engine it was made with, or train it again on this one"
        )
    graph = engine.graph_id(recipe.conditions)
    if recipe.header.graph == graph:
        return recipe
    log.info("%s was made with another graph: its memory is computed again from its shots", name)
    return refit(recipe, encode_for(engine, recipe), graph, name)


def encode_for(engine: Engine, recipe: Recipe) -> Encode:
    """Return the function by which an engine encodes views of a recipe's product.

    Args:
        engine: The engine that encodes.
        recipe: The recipe, whose conditions are given to the graph.
    """
    return functools.partial(engine.encode, conditions=recipe.conditions)


def refit(recipe: Recipe, encode: Encode, graph: str, name: str = "recipe") -> Recipe:
    """Return the recipe for another graph: memory, calibration and thresholds are computed again from its shots.

    A calibration on other photos, and thresholds set by hand, keep their ratio to the shots' own scores.

    Args:
        recipe: The recipe of the present graph. It is not changed.
        encode: Encodes views, [B,S,S,3], uint8, with the other graph.
        graph: The other graph's id (EngineSpec.graph_id).
        name: The recipe's name in error messages.

    Raises:
        RecipeError: The recipe holds no shots.
    """
    if recipe.shots is None:
        raise RecipeError(
            f"{name} was made with another graph and holds no shots to compute its memory from again: "
            "inspect with the engine it was made with, or train without --no-shots"
        )
    header = recipe.header
    if header.accepted:
        shots, views = header.shots[header.learned_shots :], recipe.shots[header.learned_shots * header.view.count :]
        learned = refit(forget(recipe), encode, graph, name)
        fitted = remember(learned, header.accepted.accepts, header.accepted.max_rows, shots, views, encode)
        return dataclasses.replace(fitted, header=msgspec.structs.replace(fitted.header, digest=header.digest))
    memory = fit_memory(
        recipe.learned(),
        encode(recipe.shots),
        recipe.shots,
        header.view.count,
        encode,
        share=header.memory_share,
        poses=header.poses,
    )
    before, after = header.shot_calibration, memory.calibration
    image_factor = math.exp(after.image.location - before.image.location)
    pixel_factor = math.exp(after.pixel.location - before.pixel.location)
    calibration = after
    if header.calibration != before:
        others = header.calibration
        calibration = msgspec.structs.replace(
            others, image=others.image.scaled(image_factor), pixel=others.pixel.scaled(pixel_factor)
        )
    by_hand = msgspec.structs.replace(
        header.thresholds, image=header.thresholds.image * image_factor, pixel=header.thresholds.pixel * pixel_factor
    )
    fitted_header = msgspec.structs.replace(
        header,
        graph=graph,
        shot_calibration=after,
        calibration=calibration,
        thresholds=header.follow(calibration, by_hand),
        scene=memory.scene,
    )
    return dataclasses.replace(
        recipe, header=fitted_header, banks=memory.banks, shot_of_row=memory.shot_of_row, margins=memory.margins
    )


def forget(recipe: Recipe) -> Recipe:
    """Return the recipe without accepted photos.

    It equals the recipe before any accept, byte for byte, except for thresholds that were set or calibrated since.

    Args:
        recipe: The recipe, with or without accepted photos. It is not changed.
    """
    header = recipe.header
    if not header.accepted:
        return recipe
    kept_rows = [shots < header.learned_shots for shots in recipe.shot_of_row]
    return dataclasses.replace(
        recipe,
        header=msgspec.structs.replace(
            _with_shots(header, header.shots[: header.learned_shots], header.accepted.learned, msgspec.UNSET),
            scene=header.accepted.learned_scene,
        ),
        banks=tuple(bank[rows] for bank, rows in zip(recipe.banks, kept_rows, strict=True)),
        shot_of_row=tuple(shots[rows] for shots, rows in zip(recipe.shot_of_row, kept_rows, strict=True)),
        margins=tuple(margins[rows] for margins, rows in zip(recipe.margins, kept_rows, strict=True)),
        shots=None if recipe.shots is None else recipe.shots[: header.learned_shots * header.view.count],
    )


def remember(
    learned: Recipe, accepts: Sequence[int], max_rows: int, shots: Sequence[Shot], views: Array8, encode: Encode
) -> Recipe:
    """Return a recipe without accepted photos, with these photos accepted.

    Every photo, the learned ones too, is encoded in its own pass, so that its rows do not depend on other photos.

    Args:
        learned: The recipe, which has no accepted photo.
        accepts: How many of the photos each accept added, oldest first.
        max_rows: The most rows that a bank may hold; `most_novel` chooses the rows.
        shots: The photos' names and digests.
        views: Their views, [photos·tiles,S,S,3], uint8, RGB.
        encode: Encodes views with the graph of the recipe's memory.

    Raises:
        RecipeError: The recipe holds no shots to calibrate with.
    """
    if learned.shots is None:
        raise RecipeError(
            "the recipe holds no shots to calibrate with again: train without --no-shots to accept photos"
        )
    header, per_photo = learned.header, learned.header.view.count
    all_views = np.concatenate([learned.shots, views])
    photos = [all_views[start : start + per_photo] for start in range(0, len(all_views), per_photo)]
    features = [encode(photo) for photo in photos]
    first = len(header.shots)
    remembered = [
        list(encode_poses(upright, photo, encode, header.poses))
        for upright, photo in zip(features[first:], photos[first:], strict=True)
    ]
    added_margins = [
        np.concatenate([prompt_margins(pose.local, learned.pixel_prompts).ravel() for pose in poses])
        for poses in remembered
    ]
    banks, shot_of_row, margins = [], [], []
    for tap, (bank, learned_shots) in enumerate(zip(learned.banks, learned.shot_of_row, strict=True)):
        added = [
            np.concatenate([pose.memory[tap].reshape(-1, bank.shape[1]) for pose in poses]).astype(np.float16)
            for poses in remembered
        ]
        kept = most_novel(bank, added, max_rows - len(bank))
        banks.append(np.concatenate([bank, *(rows[index] for rows, index in zip(added, kept, strict=True))]))
        added_shots = [np.full(len(index), first + number, np.int32) for number, index in enumerate(kept)]
        shot_of_row.append(np.concatenate([learned_shots, *added_shots]))
        kept_margins = [margin[index] for margin, index in zip(added_margins, kept, strict=True)]
        margins.append(np.concatenate([learned.margins[tap], *kept_margins]))
    recipe = dataclasses.replace(
        learned, banks=tuple(banks), shot_of_row=tuple(shot_of_row), margins=tuple(margins), shots=all_views
    )
    product = recipe.learned()
    good = score_as_new(product, features)
    calibration = calibrate(good, product, False)
    accepted = Accepted(
        accepts=tuple(accepts), max_rows=max_rows, learned=header.shot_calibration, learned_scene=header.scene
    )
    header = msgspec.structs.replace(
        _with_shots(header, (*header.shots, *shots), calibration, accepted),
        scene=scene_of_shots(all_views, per_photo, good),
    )
    return dataclasses.replace(recipe, header=header)


def most_novel(known: Halves, photos: Sequence[Halves], keep: int) -> list[npt.NDArray[np.intp]]:
    """Choose which rows of accepted photos a bounded memory keeps.

    These are the rows that are farthest from the learned rows and from the rows of earlier photos.

    Args:
        known: The rows of the learned shots, [R,W], float16.
        photos: The rows of each accepted photo, [n,W], float16, oldest first.
        keep: How many rows are kept in all.

    Returns:
        The indices of the kept rows in ascending order, for each photo.
    """
    count = sum(map(len, photos))
    if count <= keep:
        return [np.arange(len(rows)) for rows in photos]
    before, similarity = known.astype(np.float32), []
    for rows in photos:
        similarity.append(nearest(rows.astype(np.float32), before)[0])
        before = np.concatenate([before, rows.astype(np.float32)])
    is_kept = np.zeros(count, bool)
    is_kept[np.argsort(np.concatenate(similarity), kind="stable")[: max(keep, 0)]] = True
    ends = np.cumsum([len(rows) for rows in photos])
    return [np.flatnonzero(part) for part in np.split(is_kept, ends[:-1])]


def _with_shots(
    header: RecipeHeader, shots: tuple[Shot, ...], calibration: Calibration, accepted: Accepted | msgspec.UnsetType
) -> RecipeHeader:
    """Return the header with other shots and their calibration. Thresholds that rest on other photos stay."""
    is_on_shots = header.calibration == header.shot_calibration
    thresholds_rest_on = calibration if is_on_shots else header.calibration
    return msgspec.structs.replace(
        header,
        shots=shots,
        shot_calibration=calibration,
        calibration=thresholds_rest_on,
        thresholds=header.follow(thresholds_rest_on, header.thresholds),
        accepted=accepted,
        digest=NO_DIGEST,
    )
