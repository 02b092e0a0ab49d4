"""The text tower, run on token vectors rather than token ids, and packed.

The tower is causal, so what follows [EOS] cannot matter, and prompts that begin alike share what they begin
with. `PackedLayout` (prompts.py) uses both exactly: one row holds a common prefix once, and behind it every
continuation, each of which sees the prefix and itself.
"""

from __future__ import annotations

import functools
from typing import Any

import torch.nn.functional as F
from goodparts.runtime.core.errors import BackboneError
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor, nn

_PARTS = ("token_embedding", "positional_embedding", "transformer", "ln_final", "text_projection", "attn_mask")
VOCABULARY = 49408
"""The number of tokens of CLIP's byte-pair tokenizer."""
INITIAL_SPREAD = 0.02
"""The standard deviation of CLIP's token vectors, and of learnable ones, before training."""


class TextTower(nn.Module):
    """Wraps the text side of an open_clip CLIP."""

    text: Any  # open_clip is untyped

    def __init__(self, text: Any) -> None:
        super().__init__()
        check_supported(text)
        self.text = nn.ModuleDict(
            {name: getattr(text, name) for name in ("token_embedding", "transformer", "ln_final")}
        )
        self.positional_embedding: Tensor = text.positional_embedding
        self.projection: Any = text.text_projection
        self.context_length, self.width = self.positional_embedding.shape

    def embed(self, ids: Tensor) -> Tensor:
        """Return the token vectors [T,W] of token ids int64 [T]."""
        vectors: Tensor = self.text["token_embedding"](ids)
        return vectors

    def forward(self, vectors: Tensor, positions: Tensor, mask: Tensor, read: Tensor) -> Tensor:
        """Encode packed rows of token vectors as raw text features, which are not normalised.

        vectors [N,T,W]; positions int64 [T]: each token's place in its own prompt; mask [T,T]: 0 where a
        token (row) may see another (column), −inf elsewhere; read int64 [B]: where each prompt's [EOS] is.
        Returns [N,B,D].
        """
        tokens = vectors + self.positional_embedding[positions]
        *blocks, last = self.text["transformer"].resblocks
        for block in blocks:
            tokens = run_block(block, tokens, mask)
        ends = self.text["ln_final"](run_block(last, tokens, mask, read))
        features: Tensor = self.projection(ends) if isinstance(self.projection, nn.Linear) else ends @ self.projection
        return features


def run_block(block: Any, tokens: Tensor, mask: Tensor, read: Tensor | None = None) -> Tensor:
    """Run a residual attention block on tokens [N,T,W]; return only the tokens at the places `read`, all where None.

    The arithmetic is open_clip's, without its way to [T,N,W] and back. A last block need only give what is read.
    """
    attention = block.attn
    mixed = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    q, k, v = mixed.reshape(*tokens.shape[:2], 3, attention.num_heads, -1).permute(2, 0, 3, 1, 4)
    if read is not None:
        q, mask, tokens = q[:, :, read], mask[read], tokens[:, read]
    attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask).transpose(1, 2).flatten(2)
    tokens = tokens + block.ls_1(attention.out_proj(attended))
    output: Tensor = tokens + block.ls_2(block.mlp(block.ln_2(tokens)))
    return output


@functools.cache
def open_tokenizer() -> SimpleTokenizer:
    """Return CLIP's tokenizer, which is opened once: reading its merges takes a tenth of a second."""
    return SimpleTokenizer()


def check_supported(text: Any) -> None:
    """Raise BackboneError unless this is CLIP's causal text tower with CLIP's vocabulary, read at [EOS]."""
    whole = all(hasattr(text, name) for name in _PARTS) and text.attn_mask is not None
    whole = whole and all(isinstance(block.attn, nn.MultiheadAttention) for block in text.transformer.resblocks)
    pool = getattr(text, "text_pool_type", getattr(text, "pool_type", "argmax"))
    if not whole or pool not in ("argmax", "eos") or getattr(text, "cls_emb", None) is not None:
        raise BackboneError(f"text tower {type(text).__name__} is not supported: CLIP's causal one is")
    if text.token_embedding.num_embeddings != VOCABULARY:
        raise BackboneError(
            f"a text vocabulary of {text.token_embedding.num_embeddings} is not supported: CLIP's {VOCABULARY} is"
        )
