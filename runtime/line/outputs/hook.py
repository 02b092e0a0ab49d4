"""The hook: a function of yours that sets a GPIO pin, writes to a PLC, or does anything else with a result.

    # outputs.py, in a folder of PYTHONPATH
    def eject(record: dict) -> None:
        pin.value = record.get("decision") == "reject"

`hook = "outputs:eject"` calls it with each frame's record, those of one source in their order, in a thread of its own.
An exception counts as not delivered: the call is made again with back-off. A record with `error` instead of `decision`
is a frame without verdict; what a line does with such a part is for the function to say.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ...core.errors import SettingsError
from ..results import Result

Function = Callable[[dict[str, Any]], None]


class Hook:
    """Calls a function with each result's record."""

    name = "hook"
    depth = 64  # a pin that is set seconds late is set wrong

    def __init__(self, function: Function) -> None:
        self._function = function

    def wants(self, result: Result) -> bool:  # noqa: ARG002
        return True

    def send(self, result: Result) -> None:
        self._function(result.record)

    def reopen(self) -> None:
        """Do nothing: nothing is kept open."""

    def close(self) -> None:
        """Do nothing: nothing is kept open."""


def load_function(name: str) -> Function:
    """Return the function that "module:function" names. Raises SettingsError where there is none."""
    module, _, attribute = name.partition(":")
    try:
        function: Function = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as error:
        raise SettingsError(f"hook {name!r}: {error}; module:function is needed, on Python's path") from error
    if not callable(function):
        raise SettingsError(f"hook {name!r} is a {type(function).__name__}: a function is needed")
    return function
