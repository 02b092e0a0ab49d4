"""What every method shares: the options of a run, and how settings are changed and checked."""

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
"""clean: what we stand behind; official: as a method's authors' released code does it."""

LIBRARIES = ("torch", "open_clip_torch")
"""The packages that every method learns with."""

SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)


@dataclass(frozen=True)
class RunOptions(LearningOptions):
    """How a run learns, whatever its products are.

    Attributes:
        textures: Pictures that painted defects are filled with; without any, drawn ones and pieces of the shots.
        resume: The file in which the state of learning is kept, from which a killed run goes on; None keeps none.
    """

    textures: Sequence[Path] = ()
    resume: Path | None = None


def change_settings(defaults: SettingsT, changes: Mapping[str, Any]) -> SettingsT:
    """Return the defaults with some fields changed.

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
