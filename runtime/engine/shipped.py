"""The engine that ships with goodparts. Its backbone is `small`."""

from __future__ import annotations

from pathlib import Path

from ..core.errors import EngineError

SHIPPED = Path(__file__).with_name("embedded") / "small"
"""Its folder. Nothing is written into it, because it is part of the installed package and may be shared."""


def is_shipped(folder: Path) -> bool:
    """Return whether a folder is the folder of the engine that ships with goodparts.

    Args:
        folder: The engine folder to compare. Links are resolved.
    """
    return folder.resolve() == SHIPPED.resolve()


def refuse_shipped(folder: Path) -> None:
    """Check that a folder is not the shipped engine's folder. Call this before changing an engine.

    Args:
        folder: The folder to change.

    Raises:
        EngineError: It is the shipped engine's folder.
    """
    if is_shipped(folder):
        raise EngineError(
            f"{folder} ships with goodparts and cannot be changed: make an engine of your own with `goodparts export "
            "--engine DIR`"
        )
