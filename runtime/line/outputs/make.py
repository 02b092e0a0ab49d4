"""Makes the outputs of a line from its settings."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from ..settings import OutputSettings
from .hook import Hook, load_function
from .json_lines import JsonLines, StandardOutput
from .mqtt import Mqtt
from .output import Output
from .rejects import Rejects
from .webhook import Webhook


def make_outputs(settings: OutputSettings, on_reader_gone: Callable[[], None]) -> list[Output]:
    """Make the outputs that the settings name, and open their files.

    Args:
        settings: The settings of the outputs.
        on_reader_gone: Called when standard output is no longer read, if results go there.

    Returns:
        The outputs.

    Raises:
        SettingsError: An address or a function cannot be used.
        FileError: A file cannot be written.
    """
    outputs: list[Output] = []
    if settings.json == "-":
        outputs.append(StandardOutput(sys.stdout.buffer, on_reader_gone))
    elif settings.json is not None:
        outputs.append(JsonLines(Path(settings.json)))
    if settings.rejects is not None:
        outputs.append(Rejects(Path(settings.rejects), int(settings.rejects_limit_mb * 1e6)))
    if settings.webhook is not None:
        outputs.append(Webhook(settings.webhook))
    if settings.mqtt is not None:
        outputs.append(Mqtt(settings.mqtt))
    if settings.hook is not None:
        outputs.append(Hook(load_function(settings.hook)))
    return outputs
