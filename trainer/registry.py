"""The methods, by the names that --method accepts."""

from __future__ import annotations

from collections.abc import Mapping

from goodparts.runtime.engine.spec import IMAGE_ONLY

from .anople.method import AnoPLe
from .memory.method import MemoryOnly
from .method import Method
from .promptad.method import PromptAD

METHODS: Mapping[str, type[Method]] = {"promptad": PromptAD, "anople": AnoPLe, "memory": MemoryOnly}


def default_method(backbone: str) -> str:
    """Return the name of a backbone's default method.

    Args:
        backbone: The backbone's name.
    """
    return "memory" if backbone.startswith(IMAGE_ONLY) else "promptad"
