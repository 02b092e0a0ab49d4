"""The demo backbone's shape. Its weights are seeded random numbers: it shows the workflow, not the accuracy."""

from __future__ import annotations

from typing import Any

CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {"image_size": 128, "patch_size": 16, "width": 192, "head_width": 64, "layers": 6},
    "text_cfg": {"context_length": 77, "vocab_size": 49408, "width": 128, "heads": 2, "layers": 4},
}
"""As open_clip.CLIP takes it; about 0.35 GFLOP per frame with the dual path."""

SEED = 0
