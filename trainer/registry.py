"""The methods by the names that --method takes."""

from __future__ import annotations

from collections.abc import Mapping

from .anople.method import AnoPLe
from .method import Method
from .promptad.method import PromptAD

METHODS: Mapping[str, type[Method]] = {"promptad": PromptAD, "anople": AnoPLe}
