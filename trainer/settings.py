"""What the settings of every method share: how they are changed and checked."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, Literal, TypeVar

import msgspec
from goodparts.runtime.core.errors import SettingsError

Protocol = Literal["clean", "official"]
"""clean: as the paper describes a method; official: as its authors' released code does it."""

SettingsT = TypeVar("SettingsT", bound=msgspec.Struct)


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
