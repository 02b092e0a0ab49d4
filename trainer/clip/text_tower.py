"""The text tower, which reads token vectors instead of token ids, in packed rows.

The tower is causal, so tokens after [EOS] do not change a prompt's feature, and prompts can share the computation of a
common beginning. `PackedLayout` (promptad/prompts.py) uses both properties without changing the features: a row holds
the common beginning once, then several continuations; each attends to the common beginning and to itself.
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
"""The standard deviation of CLIP's token vectors, and of learnable token vectors, before training."""


class TextTower(nn.Module):
    """Wraps the text side of an open_clip CLIP.

    Args:
        text: The open_clip model, or its text tower.

    Raises:
        BackboneError: The text tower is not CLIP's causal text tower.
    """

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
        """Return the token vectors of token ids, [T, W].

        Args:
            ids: [T], int64.
        """
        vectors: Tensor = self.text["token_embedding"](ids)
        return vectors

    def forward(self, vectors: Tensor, positions: Tensor, mask: Tensor, read: Tensor) -> Tensor:
        """Encode packed rows of token vectors.

        Args:
            vectors: [N, T, W].
            positions: [T], int64: each token's position in its own prompt.
            mask: [T, T]: 0 where a token (row) may attend to another (column), −inf elsewhere.
            read: [B], int64: where each prompt's [EOS] is in a row.

        Returns:
            [N, B, D], the raw text features, which are not normalised.
        """
        tokens = vectors + self.positional_embedding[positions]
        *blocks, last = self.text["transformer"].resblocks
        for block in blocks:
            tokens = run_block(block, tokens, mask)
        ends = self.text["ln_final"](run_block(last, tokens, mask, read))
        features: Tensor = self.projection(ends) if isinstance(self.projection, nn.Linear) else ends @ self.projection
        return features


def run_block(block: Any, tokens: Tensor, mask: Tensor, read: Tensor | None = None) -> Tensor:
    """Run a residual attention block.

    The result equals the result of open_clip's block, without transposing the tokens to [T, N, W] and back.

    Args:
        block: The block.
        tokens: [N, T, W].
        mask: [T, T], which is added to the attention's logits.
        read: [B], int64: the positions of the tokens that are returned, which saves work in a last block; None for all.

    Returns:
        [N, B, W], or [N, T, W] for all.
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
    """Return CLIP's tokenizer. It is opened once, since reading its merges takes a tenth of a second."""
    return SimpleTokenizer()


def check_supported(text: Any) -> None:
    """Check that a text tower is CLIP's causal one, with CLIP's vocabulary, and that its feature is read at [EOS].

    Args:
        text: The open_clip model, or its text tower.

    Raises:
        BackboneError: The text tower is of another kind.
    """
    whole = all(hasattr(text, name) for name in _PARTS) and text.attn_mask is not None
    whole = whole and all(isinstance(block.attn, nn.MultiheadAttention) for block in text.transformer.resblocks)
    pool = getattr(text, "text_pool_type", getattr(text, "pool_type", "argmax"))
    if not whole or pool not in ("argmax", "eos") or getattr(text, "cls_emb", None) is not None:
        raise BackboneError(f"text tower {type(text).__name__} is not supported: only CLIP's causal one is")
    if text.token_embedding.num_embeddings != VOCABULARY:
        raise BackboneError(
            f"a text vocabulary of {text.token_embedding.num_embeddings} is not supported: only CLIP's {VOCABULARY} is"
        )
