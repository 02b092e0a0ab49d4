"""The V-V image tower: CLIP's ViT with a second stream of value-value attention (PromptAD, eqs. 4-7).

Both attentions of a block read the original stream. The local stream adds up the V-V attentions' projections and has no
LayerNorm or MLP of its own, so it costs one more attention per block and nothing else.
"""

from __future__ import annotations

import math
from typing import Any

import torch
import torch.nn.functional as F
from goodparts.runtime.core.errors import BackboneError
from torch import Tensor, nn

from .tower import Taps, Tower, check_taps


def default_taps(layers: int) -> tuple[int, int]:
    """Return the blocks after whose attention the memory is taken: 4 and 9 of 12 (docs/promptad.md, D7).

    Args:
        layers: The number of the tower's blocks.
    """
    return layers // 4 + 1, 2 * layers // 3 + 1


class VVTower(Tower):
    """Wraps an open_clip VisionTransformer; its memory is taken after the attention of the tapped blocks.

    Attributes:
        tap_outputs: Whether the memory is the tapped blocks' plain outputs instead (`tap_block_outputs`).

    Args:
        visual: The VisionTransformer.
        taps: The blocks that the memory is taken from, counted from 1, in rising order; None for those of
            `default_taps`.
        grid: The side of the grid of patches of every output; None for the grid of the tokens.
        neighbourhood: The odd side of the square of patches that each patch of the memory is averaged over; None for 1.

    Raises:
        BackboneError: The image tower is no plain CLIP ViT, or its images are not square.
        SettingsError: The taps are no blocks of the tower, or grid or neighbourhood is out of range.
    """

    tap_outputs = False

    def __init__(
        self,
        visual: Any,
        taps: Taps | None = None,
        grid: int | None = None,
        neighbourhood: int | None = None,
    ) -> None:
        check_supported(visual)
        super().__init__(visual, visual.transformer.resblocks[0].mlp.gelu)
        self.blocks = visual.transformer.resblocks
        layers = len(self.blocks)
        if taps is None:
            taps = tuple(min(tap, layers) for tap in default_taps(layers))
        self.taps = check_taps(taps, layers)
        height, width = visual.image_size
        if height != width:
            raise BackboneError(f"this tower reads {height}×{width} images: only square ones are supported")
        self.image_size = int(height)
        self.token_side = int(visual.grid_size[0])
        self.set_grid(self.token_side if grid is None else grid, 1 if neighbourhood is None else neighbourhood)
        self.width = int(visual.ln_post.weight.shape[0])
        self.tap_widths = (self.width,) * len(self.taps)
        self.out_width = int(visual.proj.shape[1])

    def tap_block_outputs(self, *, own_taps: bool) -> None:
        """Take the memory from the tapped blocks' plain outputs, as PromptAD's released code intends.

        docs/promptad.md, D7, explains where the released code really takes it; by default this tower does the same.

        Args:
            own_taps: Whether the taps are the tower's own choice. If so, each tap moves one block earlier.
        """
        self.tap_outputs = True
        if own_taps:
            self.taps = tuple(max(1, tap - 1) for tap in self.taps)

    def describe(self) -> str:
        return f"{super().describe()} block outputs" if self.tap_outputs else super().describe()

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        original = self.embed(image)
        local = original
        memory: list[Tensor] = []
        last = len(self.blocks)
        for index, block in enumerate(self.blocks, start=1):
            # After the last block only [CLS] of the original stream is needed, unless the block is tapped.
            queries = 1 if index == last and last not in self.taps else None
            step, local_step = dual_attention(block, original, queries)
            local = local + local_step
            attended = original[:, :queries] + step
            needed = self.tap_outputs and last in self.taps
            rest = attended[:, :1] if index == last and not needed else attended
            original = rest + block.ls_2(block.mlp(block.ln_2(rest)))
            tapped = original if self.tap_outputs else attended
            memory += [self.on_grid(tapped[:, 1:], self.token_side, self.neighbourhood)] * self.taps.count(index)
        return (
            F.normalize(self.project(original[:, 0]), dim=-1),
            self.on_grid(self.project(local[:, 1:]), self.token_side),
            *memory,
        )

    def embed(self, image: Tensor) -> Tensor:
        """Return the tokens before the first block, [B, 1+P, W].

        CLIP's first convolution is computed as a matrix product of patches. A patch's pixels are gathered row by row
        from the camera's layout, and the standardisation runs over whole patches.

        Args:
            image: [B, S, S, 3], uint8, RGB. Pixels beyond the last whole patch are ignored.
        """
        visual = self.visual
        count, side = self.token_side, visual.conv1.kernel_size[0]
        cropped = image[:, : count * side, : count * side].to(self.mean.dtype)
        squares = cropped.reshape(-1, count, side, count, side * 3).transpose(2, 3)
        pixels = squares.reshape(-1, count**2, side**2 * 3)
        kernel = visual.conv1.weight.permute(0, 2, 3, 1).flatten(1)
        patches = F.linear(self.standardise(pixels), kernel, visual.conv1.bias)
        first = visual.class_embedding.expand(patches.shape[0], 1, -1)
        tokens = torch.cat([first, patches], dim=1) + visual.positional_embedding
        normed: Tensor = visual.ln_pre(tokens)
        return normed

    def project(self, tokens: Tensor) -> Tensor:
        """Map tokens into the joint space; [CLS] and patches share LayerNorm and projection.

        Args:
            tokens: […, W].

        Returns:
            […, D].
        """
        projected: Tensor = self.visual.ln_post(tokens) @ self.visual.proj
        return projected


def dual_attention(
    block: Any, tokens: Tensor, queries: int | None = None, local: int | None = None
) -> tuple[Tensor, Tensor]:
    """Return the residuals of a block's ordinary attention and of its V-V attention (PromptAD, eqs. 4-7).

    Both share the output projection, so their results go through it as one matrix product.

    Args:
        block: The block.
        tokens: [B, N, W].
        queries: How many of the first tokens the ordinary attention is computed for; None for all.
        local: How many of the first tokens the V-V attention is computed for; None for all.
    """
    attention = block.attn
    mixed = F.linear(block.ln_1(tokens), attention.in_proj_weight, attention.in_proj_bias)
    heads = *tokens.shape[:2], attention.num_heads, -1
    q, k, v = (part.reshape(heads).transpose(1, 2) for part in mixed.chunk(3, dim=2))
    ordinary = attend(q[:, :, :queries], k, v)
    both = torch.cat([ordinary, attend(v[:, :, :local], v, v)], dim=1)
    projected = block.ls_1(attention.out_proj(both))
    return projected[:, : ordinary.shape[1]], projected[:, ordinary.shape[1] :]


def attend(q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Return the attention of all heads, [B, N, H·d].

    In an exported graph the attention is written out, with the scale on the keys, because OpenVINO then passes over the
    tensors least often. torch's own function would be exported with two scales, one for each factor of the product.
    Otherwise torch's function is used, because it keeps no [N, N] matrix for the gradient.

    Args:
        q: [B, H, N, d], the queries.
        k: [B, H, M, d], the keys.
        v: [B, H, M, d], the values.
    """
    if torch.compiler.is_exporting():
        mixed = (q @ (k * (1 / math.sqrt(q.shape[3]))).transpose(2, 3)).softmax(dim=-1) @ v
    else:
        mixed = F.scaled_dot_product_attention(q, k, v)
    return mixed.transpose(1, 2).flatten(2)


def check_supported(visual: Any) -> None:
    """Check that an image tower is a plain CLIP ViT, with a class token and standard attention blocks.

    Args:
        visual: The image tower.

    Raises:
        BackboneError: The image tower is of another kind.
    """
    blocks = getattr(getattr(visual, "transformer", None), "resblocks", None)
    if blocks is None or not hasattr(visual, "class_embedding"):
        raise BackboneError(f"image tower {type(visual).__name__} is not supported: only CLIP's ViTs and ResNets are")
    if getattr(visual, "attn_pool", None) is not None or getattr(visual, "pool_type", "tok") != "tok":
        raise BackboneError("image towers that pool otherwise than by class token are not supported")
    if not all(isinstance(block.attn, nn.MultiheadAttention) for block in blocks):
        raise BackboneError("image towers with custom attention blocks are not supported")
