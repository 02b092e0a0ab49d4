"""Accepting parts on the line: photos of good parts that were rejected are added to a recipe, or taken back.

    change = preview(recipe, engine, [Photo.read(path)], rejects)
    apply(change, file)  # a running `goodparts watch` takes the new recipe within a second
    apply(undo(Recipe.open(file), engine), file)

Only `apply` writes a file. refit.py computes memory and calibration.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from ..core.errors import RecipeError, SettingsError
from ..core.files import printable, read_bytes
from ..core.preprocess import Array8, decode
from ..core.scoring import score
from ..core.view import View
from ..engine.engine import Engine
from .header import Shot, Verdict
from .recipe import Recipe
from .refit import encode_for, fit_to, forget, remember
from .signing import Signer

PHOTOS_MORE = 12
"""By default a bank may grow by as many rows as this many photos have."""


@dataclass(frozen=True, eq=False)
class Photo:
    """A photo, with the digest that identifies it.

    Attributes:
        name: Its name in messages.
        sha256: The SHA-256 of its file's bytes, or of its pixels if it has no file.
        pixels: Its pixels, [H,W,3], uint8, RGB.
    """

    name: str
    sha256: str
    pixels: Array8 = field(repr=False)

    @classmethod
    def read(cls, path: Path) -> Photo:
        """Read a picture file.

        Args:
            path: The file.

        Returns:
            The photo.

        Raises:
            ImageError: The file is not a picture, or is damaged.
            FileError: The file cannot be read.
        """
        return cls.decode(printable(Path(path.name)), read_bytes(path))

    @classmethod
    def decode(cls, name: str, data: bytes) -> Photo:
        """Decode a picture file's bytes.

        Args:
            name: The photo's name in messages.
            data: The bytes, whose SHA-256 identifies the photo.

        Returns:
            The photo.

        Raises:
            ImageError: The bytes are not a picture, or are damaged.
        """
        return cls(name, hashlib.sha256(data).hexdigest(), decode(data, name))

    @classmethod
    def of_pixels(cls, name: str, pixels: Array8) -> Photo:
        """Make a photo from a frame that has no file.

        Args:
            name: The photo's name in messages.
            pixels: The frame, [H,W,3], uint8, RGB; the SHA-256 of its bytes identifies the photo.

        Returns:
            The photo.
        """
        return cls(name, hashlib.sha256(pixels.tobytes()).hexdigest(), pixels)


@dataclass(frozen=True)
class Effect:
    """The effect of a change of the recipe on one photo's score and verdict.

    Attributes:
        name: The photo's name.
        before: Its score before the change, by the thresholds before it.
        after: Its score after the change, by the thresholds after it.
        was: Its verdict before.
        becomes: Its verdict after.
    """

    name: str
    before: float
    after: float
    was: Verdict
    becomes: Verdict

    @property
    def turns_good(self) -> bool:
        """Whether the part was rejected or to be reviewed, and is good after the change."""
        return self.was != "good" and self.becomes == "good"


@dataclass(frozen=True, eq=False)
class Change:
    """A change of a recipe that is not written yet.

    Attributes:
        before: The present recipe.
        after: The changed recipe.
        photos: The effects on the photos that are accepted or taken back.
        rejects: The effects on other rejected photos.
    """

    before: Recipe
    after: Recipe
    photos: tuple[Effect, ...]
    rejects: tuple[Effect, ...]


Accept = list[tuple[Shot, Array8]]
"""The photos of one accept, each with its views, [tiles,S,S,3], uint8, RGB."""


def preview(
    recipe: Recipe,
    engine: Engine,
    photos: Sequence[Photo],
    rejects: Iterable[Photo] = (),
    max_rows: int | None = None,
    view: View | None = None,
) -> Change:
    """Return the change that accepting photos would make.

    Args:
        recipe: The recipe that the photos are added to. It is not changed.
        engine: The engine that encodes the photos. If the recipe's memory is of another graph, it is computed again
            first.
        photos: The photos to accept, at least one.
        rejects: Other photos whose scores are compared before and after.
        max_rows: The most rows that a bank may hold from now on; `refit.most_novel` chooses them. None keeps the
            recipe's bound. At the first accept the bound is the learned rows plus the rows of PHOTOS_MORE photos.
        view: The view of the photos and rejects, if their source has its own region or mask; None takes the recipe's
            view.

    Raises:
        RecipeError: The recipe does not fit the engine, holds no shots, or does not use its memory.
        SettingsError: There is no photo, a photo is in the recipe already, the view does not fit a photo, or `max_rows`
            is too small.
    """
    if recipe.header.fusion == "prompt":
        raise RecipeError(
            "the recipe scores with its prompts only, not with its memory: accepting a photo would change nothing; "
            "set its thresholds with `goodparts calibrate --good`"
        )
    if not photos:
        raise SettingsError("no photo to accept: give at least one")
    known = {shot.sha256: shot.name for shot in recipe.header.shots}
    for photo in photos:
        if photo.sha256 in known:
            raise SettingsError(f"{photo.name} is already in the recipe, as {known[photo.sha256]}: leave it out")
        known[photo.sha256] = photo.name
    recipe = fit_to(engine, recipe)
    view = view or recipe.header.view
    added = [(Shot(photo.name, photo.sha256), _cut(view, engine, photo)) for photo in photos]
    after = _remember(recipe, engine, [*history(recipe), added], max_rows)
    return _compare(recipe, after, engine, added, rejects, view)


def undo(
    recipe: Recipe,
    engine: Engine | None,
    which: str | None = None,
    rejects: Iterable[Photo] = (),
    view: View | None = None,
) -> Change:
    """Return the change that taking one accept back would make.

    Args:
        recipe: The recipe that an accept is taken from. It is not changed.
        engine: The engine that encodes photos. None is accepted if no other accepted photo remains; then no photo is
            scored.
        which: The accept: its number from 1 on, the name of a photo of it, or at least 8 digits of a photo's SHA-256.
            None takes the last one.
        rejects: Other photos whose scores are compared before and after.
        view: The view of the rejects, as in `preview`.

    Raises:
        SettingsError: No photo was accepted, `which` does not name one accept, or the engine is needed and missing.
        RecipeError: The recipe does not fit the engine, or lacks the photos that were accepted.
    """
    accepts = history(recipe)
    at = _find(accepts, which)
    gone, remaining = accepts[at], accepts[:at] + accepts[at + 1 :]
    if engine is None:
        if remaining:
            raise SettingsError("other accepted photos remain: give the engine, to calibrate with them again")
        return Change(recipe, forget(recipe), (), ())
    recipe = fit_to(engine, recipe)
    after = _remember(recipe, engine, remaining, None)
    return _compare(recipe, after, engine, gone, rejects, view or recipe.header.view)


def apply(change: Change, path: Path, sign: Signer | None = None) -> None:
    """Write a change into the recipe file, whole or not at all.

    Args:
        change: The change that `preview` or `undo` returned.
        path: The recipe file.
        sign: The key that signs the file; a signed recipe needs one.

    Raises:
        RecipeError: The file no longer holds the recipe that the change was made from.
        SettingsError: The recipe is signed and no key is given.
        FileError: The file cannot be read or written.
    """
    if Recipe.open(path).digest != change.before.digest:
        raise RecipeError(f"{path} has changed since the preview: preview the change again")
    change.after.save(path, sign)


def history(recipe: Recipe) -> list[Accept]:
    """Return the accepts, oldest first.

    Args:
        recipe: The recipe whose accepted photos are listed.

    Raises:
        RecipeError: The recipe lists accepted photos but does not hold them.
    """
    header = recipe.header
    if not header.accepted:
        return []
    if recipe.shots is None:
        raise RecipeError("the recipe lists accepted photos but does not hold them: train it again")
    photos = list(zip(header.shots, np.split(recipe.shots, len(header.shots)), strict=True))[header.learned_shots :]
    ends = itertools.accumulate(header.accepted.accepts)
    return [photos[end - count : end] for count, end in zip(header.accepted.accepts, ends, strict=True)]


def _remember(recipe: Recipe, engine: Engine, accepts: list[Accept], max_rows: int | None) -> Recipe:
    """Return the recipe with these accepts instead of its own."""
    learned = forget(recipe)
    if not accepts:
        return learned
    header, before = learned.header, recipe.header.accepted
    most = max(map(len, learned.banks))
    if max_rows is None:
        default = most + PHOTOS_MORE * header.rows_per_photo
        max_rows = before.max_rows if before else default
    if max_rows <= most:
        raise SettingsError(f"max_rows {max_rows}: the {most} rows of the learned shots stay; give a larger number")
    photos = list(itertools.chain(*accepts))
    views = np.concatenate([views for _, views in photos])
    shots = [shot for shot, _ in photos]
    return remember(learned, list(map(len, accepts)), max_rows, shots, views, encode_for(engine, learned))


def _find(accepts: list[Accept], which: str | None) -> int:
    if not accepts:
        raise SettingsError("no photo was accepted into this recipe: there is nothing to take back")
    if which is None:
        return len(accepts) - 1
    if which.isdecimal() and 1 <= int(which) <= len(accepts):
        return int(which) - 1
    matching = [
        number
        for number, photos in enumerate(accepts)
        if any(which == shot.name or (len(which) >= 8 and shot.sha256.startswith(which)) for shot, _ in photos)
    ]
    if len(matching) != 1:
        numbers = ", ".join(str(number + 1) for number in matching) or "none"
        raise SettingsError(
            f"{which!r} names {numbers} of the {len(accepts)} accepts: give a number from 1 to {len(accepts)}, "
            "or the name or SHA-256 of a photo of one of them"
        )
    return matching[0]


def _cut(view: View, engine: Engine, photo: Photo) -> Array8:
    view.check(photo.pixels.shape[0], photo.pixels.shape[1], photo.name)
    return view.cut(photo.pixels, engine.encoder.image_size, engine.threads)


def _compare(
    before: Recipe, after: Recipe, engine: Engine, photos: Accept, rejects: Iterable[Photo], view: View
) -> Change:
    encode = encode_for(engine, after)
    sides = [(recipe.learned(), recipe.header.thresholds) for recipe in (before, after)]

    def effect(name: str, views: Array8) -> Effect:
        features = encode(views)
        raw_before, raw_after = (float(score(features, learned).image.max()) for learned, _ in sides)
        (_, old), (_, new) = sides
        return Effect(
            name, old.score(raw_before), new.score(raw_after), old.verdict(raw_before), new.verdict(raw_after)
        )

    return Change(
        before,
        after,
        tuple(effect(shot.name, views) for shot, views in photos),
        tuple(effect(photo.name, _cut(view, engine, photo)) for photo in rejects),
    )
