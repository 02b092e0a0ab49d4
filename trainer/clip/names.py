"""Names of backbones and of their weights."""

from __future__ import annotations

DEFAULT_NAME = "small"
LARGE_NAME = "ViT-B-16-plus-240"
LARGE_PRETRAINED = "laion400m_e32"
"""The larger CLIP that goodparts recommends, and the tag of its weights, which are downloaded."""
RANDOM = "random"
"""The pretrained tag of seeded random weights, for measuring speed and for tests."""
