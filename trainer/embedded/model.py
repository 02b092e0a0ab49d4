"""The embedded CLIP `small`: a hybrid image tower, a text tower, and the file that holds their weights."""

from __future__ import annotations

from pathlib import Path

import torch
from goodparts.runtime import engine
from open_clip.transformer import TextTransformer
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from ..clip.text_tower import VOCABULARY
from .tower import HybridShape, HybridVisual

SHAPE = HybridShape()
CONTEXT_LENGTH, TEXT_WIDTH, TEXT_HEADS, TEXT_LAYERS = 32, 128, 4, 3

WEIGHTS = Path(engine.__file__).with_name("embedded") / "small.safetensors"
"""The file of the weights; it lies in the runtime, where programs without torch read it."""

_EMBEDDING = "text.token_embedding.weight"


class HybridCLIP(nn.Module):
    """A CLIP whose parts have the names that open_clip gives them: visual, text and logit_scale.

    Args:
        vocabulary: The number of tokens, which is the number of rows of the text tower's embedding.
    """

    def __init__(self, vocabulary: int = VOCABULARY) -> None:
        super().__init__()
        self.visual = HybridVisual(SHAPE)
        self.text = TextTransformer(
            context_length=CONTEXT_LENGTH,
            vocab_size=vocabulary,
            width=TEXT_WIDTH,
            heads=TEXT_HEADS,
            layers=TEXT_LAYERS,
            output_dim=SHAPE.out_width,
        )
        self.logit_scale = nn.Parameter(torch.tensor(2.659))  # ln(1/0.07), as CLIP starts


def save(state: dict[str, Tensor], tokens: list[int], path: Path) -> None:
    """Write the weights in float16.

    Args:
        state: The model's weights by name.
        tokens: The token ids that the rows of the text tower's embedding stand for.
        path: The file.
    """
    half = {name: tensor.detach().half().contiguous() for name, tensor in state.items() if name != "text.attn_mask"}
    rows = half.pop(_EMBEDDING)
    save_file({**half, "token_ids": torch.tensor(tokens, dtype=torch.int32), "token_rows": rows}, path)


def load(path: Path = WEIGHTS) -> tuple[HybridCLIP, frozenset[int]]:
    """Return the model and the ids of the tokens that it has learned; every other token has the mean of their rows.

    Args:
        path: The file.

    Raises:
        ValueError: The file does not hold the model's weights.
    """
    state = {name: tensor.float() for name, tensor in load_file(path).items()}
    tokens, rows = state.pop("token_ids").long(), state.pop("token_rows")
    model = HybridCLIP()
    embedding = rows.mean(dim=0).expand(VOCABULARY, -1).clone()
    embedding[tokens] = rows
    missing, unexpected = model.load_state_dict({**state, _EMBEDDING: embedding}, strict=False)
    if unexpected or set(missing) - {"text.attn_mask"}:
        raise ValueError(f"{path} does not hold the weights of `small`: missing {missing}, unexpected {unexpected}")
    return model, frozenset(tokens.tolist())
