"""The text tower, run on token vectors rather than token ids, and packed.

The tower is causal, so what follows [EOS] cannot matter, and prompts that begin alike share what they begin
with. `PackedLayout` (prompts.py) uses both exactly: one row holds a common prefix once, and behind it every
continuation, each of which sees the prefix and itself.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from goodparts.runtime.errors import BackboneError


class TextTower(nn.Module):
    """Wraps the text side of an open_clip CLIP."""

    def __init__(self, text: nn.Module) -> None:
        super().__init__()
        needed = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection", "attn_mask")
        causal = all(hasattr(text, name) for name in needed) and text.attn_mask is not None
        pool = getattr(text, "text_pool_type", getattr(text, "pool_type", "argmax"))
        if not causal or pool not in ("argmax", "eos") or getattr(text, "cls_emb", None) is not None:
            raise BackboneError(f"text tower {type(text).__name__} is not supported: CLIP's causal one is")
        self.token_embedding: nn.Embedding = text.token_embedding  # type: ignore[assignment]
        self.positional_embedding: nn.Parameter = text.positional_embedding  # type: ignore[assignment]
        self.transformer: nn.Module = text.transformer  # type: ignore[assignment]
        self.ln_final: nn.Module = text.ln_final  # type: ignore[assignment]
        self.projection: nn.Parameter | nn.Linear = text.text_projection  # type: ignore[assignment]
        self.width = self.positional_embedding.shape[1]
        self.context_length = self.positional_embedding.shape[0]

    def forward(self, vectors: Tensor, positions: Tensor, mask: Tensor, read: Tensor) -> Tensor:
        """Packed rows of token vectors → raw text features (not normalised).

        vectors [N,T,W]; positions int64 [T]: each token's place in its own prompt; mask [T,T]: 0 where a
        token (row) may see another (column), −inf elsewhere; read int64 [B]: where each prompt's [EOS] is.
        Returns [N,B,D].
        """
        tokens = vectors + self.positional_embedding[positions]
        tokens = self.transformer(tokens, attn_mask=mask)
        tokens = self.ln_final(tokens[:, read])
        if isinstance(self.projection, nn.Linear):
            return self.projection(tokens)  # type: ignore[no-any-return]
        return torch.matmul(tokens, self.projection)
