"""The methods by the names that --method takes."""

from __future__ import annotations

from collections.abc import Mapping

from goodparts.runtime.engine.spec import IMAGE_ONLY

from .anople.method import AnoPLe
from .memory.method import MemoryOnly
from .method import Method
from .promptad.method import PromptAD

METHODS: Mapping[str, type[Method]] = {"promptad": PromptAD, "anople": AnoPLe, "memory": MemoryOnly}


def default_method(backbone: str) -> str:
    """Return the name of the method that a backbone of this name is taken with unless another is asked for."""
    return "memory" if backbone.startswith(IMAGE_ONLY) else "promptad"
