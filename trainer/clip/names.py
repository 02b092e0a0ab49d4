"""Names of backbones and of their weights."""

from __future__ import annotations

DEFAULT_NAME = "ViT-B-16-plus-240"
DEFAULT_PRETRAINED = "laion400m_e32"
RANDOM = "random"
"""The pretrained tag of seeded random weights, which are for measuring speed and for tests."""
