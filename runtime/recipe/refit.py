"""A recipe with photos that were accepted on the line: the memory and calibration that come of them.

Prompts and scales stay as they were learned, and so do the rows of the learned shots. So a score can only fall, and a
threshold set by hand keeps its meaning. What comes out depends on the learned recipe, the photos in their order and the
bound on rows alone, not on what was accepted and taken back in between.
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
from ..core.scoring import nearest
from ..engine.engine import Engine
from .calibrate import Calibration, Encode, calibrate, score_as_new, summarise
from .header import Accepted, Header, Shot
from .memory import Halves, fit_memory
from .recipe import Recipe

log = logging.getLogger(__name__)


def refit(recipe: Recipe, encode: Encode, graph: str, name: str = "recipe") -> Recipe:
    """The same product for another graph: memory, calibration and thresholds computed again from the shots.

    A calibration on further photos, and thresholds set by hand, keep their distance to the shots' own scores.
    """
    if recipe.shots is None:
        raise RecipeError(
            f"{name} was made with another graph and holds no shots to compute its memory from again: "
            "inspect with the engine it was made with, or train without --no-shots"
        )
    if recipe.header.accepted:
        accepted, learned = recipe.header.accepted, recipe.header.learned_shots
        shots, views = recipe.header.shots[learned:], recipe.shots[learned * recipe.header.view.count :]
        again = refit(forget(recipe), encode, graph, name)
        again = remember(again, accepted.accepts, accepted.max_rows, shots, views, encode)
        header = msgspec.structs.replace(again.header, digest=recipe.header.digest)
        return dataclasses.replace(again, header=header)
    before = recipe.header.shot_calibration
    memory = fit_memory(
        recipe.learned(),
        encode(recipe.shots),
        recipe.shots,
        recipe.header.view.count,
        encode,
        fusion=recipe.header.fusion,
        share=recipe.header.memory_share,
    )
    after = memory.calibration
    image, pixel = (
        math.exp(getattr(after, level).location - getattr(before, level).location) for level in ("image", "pixel")
    )
    old = recipe.header.thresholds
    calibration = after
    if recipe.header.calibration != before:
        further = recipe.header.calibration
        calibration = summarise(
            further.source,
            np.array(further.image.scores, np.float32) * image,
            np.array(further.pixel.scores, np.float32) * pixel,
        )
    header = msgspec.structs.replace(
        recipe.header,
        graph=graph,
        scales=memory.scales,
        shot_calibration=after,
        calibration=calibration,
        thresholds=recipe.header.follow(
            calibration, msgspec.structs.replace(old, image=old.image * image, pixel=old.pixel * pixel)
        ),
    )
    return dataclasses.replace(recipe, header=header, banks=memory.banks, shot_of_row=memory.shot_of_row)


def forget(recipe: Recipe) -> Recipe:
    """The recipe as it was before any photo was accepted, byte for byte; changes made to its thresholds since stay."""
    header = recipe.header
    if not header.accepted:
        return recipe
    learned, views = header.learned_shots, recipe.shots
    kept = [shots < learned for shots in recipe.shot_of_row]
    return Recipe(
        _recalibrate(header, header.accepted.learned, header.shots[:learned], msgspec.UNSET),
        recipe.image_prompts,
        recipe.pixel_prompts,
        tuple(bank[rows] for bank, rows in zip(recipe.banks, kept, strict=True)),
        tuple(shots[rows] for shots, rows in zip(recipe.shot_of_row, kept, strict=True)),
        None if views is None else views[: learned * header.view.count],
        recipe.conditions,
    )


def remember(
    learned: Recipe, accepts: Sequence[int], max_rows: int, shots: Sequence[Shot], views: Array8, encode: Encode
) -> Recipe:
    """The recipe `learned`, in which no photo is accepted, with `shots` added: their views uint8 [n·per_photo,S,S,3].

    accepts, max_rows: see Accepted. Every photo, the learned ones too, goes through the encoder once, in a pass of its
    own: so its rows do not depend on its company.
    """
    if learned.shots is None:
        raise RecipeError(
            "the recipe holds no shots to calibrate with again: train without --no-shots to accept photos"
        )
    header, per_photo = learned.header, learned.header.view.count
    together = np.concatenate([learned.shots, views])
    features = [encode(together[start : start + per_photo]) for start in range(0, len(together), per_photo)]
    first = len(header.shots)
    banks, shot_of_row = [], []
    for number, (bank, shots_of_learned) in enumerate(zip(learned.banks, learned.shot_of_row, strict=True)):
        added = [each.memory[number].reshape(-1, bank.shape[1]).astype(np.float16) for each in features[first:]]
        kept = most_novel(bank, added, max_rows - len(bank))
        banks.append(np.concatenate([bank, *(rows[index] for rows, index in zip(added, kept, strict=True))]))
        tags = [np.full(len(index), first + at, np.int32) for at, index in enumerate(kept)]
        shot_of_row.append(np.concatenate([shots_of_learned, *tags]))
    recipe = dataclasses.replace(
        learned,
        banks=tuple(banks),
        shot_of_row=tuple(shot_of_row),
        shots=together,
    )
    product = recipe.learned()
    calibration = calibrate(score_as_new(product, features), product.scales, False, product.combination)
    accepted = Accepted(accepts=tuple(accepts), max_rows=max_rows, learned=header.shot_calibration)
    return dataclasses.replace(recipe, header=_recalibrate(header, calibration, (*header.shots, *shots), accepted))


def most_novel(known: Halves, photos: Sequence[Halves], keep: int) -> list[npt.NDArray[np.intp]]:
    """Which rows of each photo are kept, rising, so that they are `keep` in all: those go first that were least new, by
    their distance to the nearest row of what was known before their photo, `known` [R,W] and the photos before it.
    """
    count = sum(map(len, photos))
    if count <= keep:
        return [np.arange(len(rows)) for rows in photos]
    before, similarity = known.astype(np.float32), []
    for rows in photos:
        similarity.append(nearest(rows.astype(np.float32), before))
        before = np.concatenate([before, rows.astype(np.float32)])
    chosen = np.zeros(count, bool)
    chosen[np.argsort(np.concatenate(similarity), kind="stable")[: max(keep, 0)]] = True
    ends = np.cumsum([len(rows) for rows in photos])
    return [np.flatnonzero(part) for part in np.split(chosen, ends[:-1])]


def _recalibrate(
    header: Header, calibration: Calibration, shots: tuple[Shot, ...], accepted: Accepted | msgspec.UnsetType
) -> Header:
    """Other shots and their calibration; thresholds move with it unless they rest on something else."""
    used = calibration if header.calibration == header.shot_calibration else header.calibration
    return msgspec.structs.replace(
        header,
        shots=shots,
        shot_calibration=calibration,
        calibration=used,
        thresholds=header.follow(used, header.thresholds),
        accepted=accepted,
        digest=NO_DIGEST,
    )


def fit_to(engine: Engine, recipe: Recipe, name: str = "recipe") -> Recipe:
    """The recipe with a memory of this engine's graph, computed again from its shots where it is of another.

    RecipeError for a recipe of another encoder, or without the shots that this needs; EngineError where its conditions
    need a prompted graph that the engine lacks.
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
    """How this engine encodes views of a recipe's product."""
    return functools.partial(engine.encode, conditions=recipe.conditions)
