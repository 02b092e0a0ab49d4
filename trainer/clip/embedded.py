"""The embedded backbone, `demo` to its users: a small CLIP trained on drawn parts, its weights beside this file.

It is for trying, testing and CI. It has never seen a photograph. embedded_training.py makes it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import open_clip
import torch
from safetensors.torch import load_file, save_file

IMAGE_SIZE, PATCH_SIZE = 192, 16
CONTEXT_LENGTH = 32

CONFIG: dict[str, Any] = {
    "embed_dim": 128,
    "vision_cfg": {
        "image_size": IMAGE_SIZE,
        "patch_size": PATCH_SIZE,
        "width": 128,
        "head_width": 32,
        "layers": 5,
    },
    "text_cfg": {"context_length": CONTEXT_LENGTH, "vocab_size": 49408, "width": 128, "heads": 4, "layers": 3},
}
"""The arguments of open_clip.CLIP; 0.40 GFLOP per view with the dual path."""

TAPS = 1, 4
"""The memory taps. The rule for larger towers (vv_tower.default_taps) gives 2 and 4. On drawn parts both are alike;
only the first block sees the thin cracks of real photos (docs/accuracy.md)."""

WEIGHTS = Path(__file__).with_name("embedded.safetensors")

_EMBEDDING = "token_embedding.weight"


def save(model: open_clip.CLIP, tokens: list[int], path: Path) -> None:
    """Write the weights in float16; `tokens` are the ids that the rows of the model's embedding stand for."""
    state = {name: tensor.detach().half().contiguous() for name, tensor in model.state_dict().items()}
    rows = state.pop(_EMBEDDING)
    save_file({**state, "token_ids": torch.tensor(tokens, dtype=torch.int32), "token_rows": rows}, path)


def load(path: Path = WEIGHTS) -> tuple[open_clip.CLIP, frozenset[int]]:
    """The model, and the token ids it has learned; every other token has the mean of their rows."""
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    tokens, rows = state.pop("token_ids").long(), state.pop("token_rows")
    model = open_clip.CLIP(**CONFIG)
    embedding = rows.mean(dim=0).expand(model.vocab_size, -1).clone()
    embedding[tokens] = rows
    model.load_state_dict({**state, _EMBEDDING: embedding})
    return model, frozenset(tokens.tolist())
