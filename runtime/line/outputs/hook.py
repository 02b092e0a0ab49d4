"""The hook: a function of yours that sets a GPIO pin, writes to a PLC, or does anything else with a result.

    # outputs.py, beside the line's settings file or in a folder of PYTHONPATH
    def eject(record: dict) -> None:
        pin.value = record.get("decision") == "reject"

With `hook = "outputs:eject"` the line calls the function with each frame's record, in a thread of its own. The records
of one source come in their order. If the function raises an exception, it is called again with the same record, with
back-off. A record with `error` instead of `decision` belongs to a frame without a verdict: the function decides what to
do with such a part.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import Any

from ...core.errors import SettingsError
from ..results import Result

Function = Callable[[dict[str, Any]], None]


class Hook:
    """Calls a function with each result's record.

    Args:
        function: The function, which receives the contents of the JSON line as a dict.
    """

    name = "hook"
    depth = 64  # small, because a pin that is set seconds late acts on the wrong part

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
    """Return a function by its name.

    Args:
        name: The name as module:function; Python must find the module.

    Raises:
        SettingsError: There is no such function.
    """
    module, _, attribute = name.partition(":")
    try:
        function: Function = getattr(importlib.import_module(module), attribute)
    except (ImportError, ValueError, AttributeError) as error:
        raise SettingsError(
            f"hook {name!r}: {error}; name module:function of a file beside the settings file or on PYTHONPATH"
        ) from error
    if not callable(function):
        raise SettingsError(f"hook {name!r} is a {type(function).__name__}: a function is needed")
    return function
