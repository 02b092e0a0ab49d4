"""Parts that all methods' settings share: the options of a run, and the function that changes and checks settings."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeVar

import msgspec
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.recipe.product import LearningOptions

Protocol = Literal["clean", "official"]
"""clean is goodparts' own, recommended protocol; official reproduces the released code of a method's authors."""

LIBRARIES = ("torch", "open_clip_torch")
"""The packages that every method with prompts learns with."""

SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)


@dataclass(frozen=True)
class RunOptions(LearningOptions):
    """The options of a run that do not depend on its products.

    Attributes:
        textures: Picture files of textures for painted defects; if empty, textures are drawn or cut out of the shots.
        resume: A file that keeps the state of learning, from which a killed run continues; None keeps none.
    """

    textures: Sequence[Path] = ()
    resume: Path | None = None


def change_settings(defaults: SettingsT, changes: Mapping[str, Any]) -> SettingsT:
    """Return settings with some fields changed.

    Args:
        defaults: The settings to start from.
        changes: Field → its value.

    Raises:
        SettingsError: A value is not finite, has the wrong type or is out of range.
    """
    values = {**msgspec.structs.asdict(defaults), **changes}
    for name, value in values.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingsError(f"{name} {value}: a finite number is needed")
    try:
        return msgspec.convert(values, type(defaults))
    except msgspec.ValidationError as error:
        reason, _, field = str(error).partition(" - at `$.")
        raise SettingsError(f"{field.rstrip('`')} is out of range: {reason}") from error
