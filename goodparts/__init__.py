"""Few-shot visual inspection: learn a product from a few photos of good parts, find bad ones without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goodparts.runtime import Detector

__version__ = "0.1.0"
__all__ = ["Detector", "__version__"]


def __getattr__(name: str) -> Any:
    if name == "Detector":
        from goodparts.runtime import Detector

        return Detector
    raise AttributeError(f"module 'goodparts' has no attribute {name!r}")
