"""The engine that ships with goodparts, of the embedded backbone `small`."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import EngineError

SHIPPED = Path(__file__).with_name("embedded") / "small"
"""Its folder, in which nothing is written: it is part of the installed package, and others may use it."""


def is_shipped(folder: Path) -> bool:
    """Return whether this is the folder of the engine that ships with goodparts."""
    return folder.resolve() == SHIPPED.resolve()


def refuse_shipped(folder: Path) -> None:
    """Raise EngineError for the folder of the engine that ships with goodparts: asked before it would be changed."""
    if is_shipped(folder):
        raise EngineError(
            f"{folder} ships with goodparts and stays as it is: make an engine of your own with `goodparts export "
            "--engine DIR`"
        )
