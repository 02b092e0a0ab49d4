"""The V-V image tower over timm's ViTs with a class token, on which open_clip builds EVA's and some other CLIPs."""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from goodparts.runtime.core.errors import BackboneError
from timm.models.eva import Eva, EvaBlockPostNorm
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from .tower import Taps, Tower, check_taps
from .vv_tower import attend, default_taps


class ClassTokenTower(Tower):
    """Wraps an open_clip TimmModel whose trunk is a ViT with a class token.

    It computes what VVTower computes for CLIP's own ViTs (PromptAD, eqs. 4-7): a local stream adds up V-V attentions,
    whose values have no rotary position, and the memory is taken after the attention of the tapped blocks.

    Args:
        visual: The TimmModel.
        taps: The blocks that the memory is taken from, counted from 1, in rising order; None for those of
            `default_taps`.
        grid: The side of the grid of patches of every output; None for the grid of the tokens.
        neighbourhood: The odd side of the square of patches that each patch of the memory is averaged over; None for 1.

    Raises:
        BackboneError: The trunk is not supported.
        SettingsError: The taps are no blocks of the tower, or grid or neighbourhood is out of range.
    """

    def __init__(
        self,
        visual: Any,
        taps: Taps | None = None,
        grid: int | None = None,
        neighbourhood: int | None = None,
    ) -> None:
        self.check_supported(visual)
        super().__init__(visual, visual.trunk.blocks[0].mlp.act)
        self.trunk = visual.trunk
        layers = len(self.trunk.blocks)
        self.taps = check_taps(default_taps(layers) if taps is None else taps, layers)
        self.image_size = int(visual.image_size[0])
        self.token_side = int(self.trunk.patch_embed.grid_size[0])
        self.set_grid(self.token_side if grid is None else grid, 1 if neighbourhood is None else neighbourhood)
        self.width = int(self.trunk.embed_dim)
        self.tap_widths = (self.width,) * len(self.taps)
        self.out_width = int(self.trunk.num_classes)

    @staticmethod
    def check_supported(visual: Any) -> None:
        """Check that the trunk is a ViT with a single class token, which gives the global feature.

        Args:
            visual: A TimmModel of open_clip.

        Raises:
            BackboneError: The trunk is of another kind.
        """
        trunk = visual.trunk
        name = type(trunk).__name__
        if not isinstance(trunk, (Eva, VisionTransformer)):
            raise BackboneError(f"an image tower of timm's {name} is not supported: only ViTs are")
        if trunk.global_pool != "token" or getattr(trunk, "attn_pool", None) is not None:
            raise BackboneError(
                f"an image tower that pools by {trunk.global_pool} is not supported: only pooling by class token is"
            )
        if trunk.num_prefix_tokens != 1 or getattr(trunk, "rope_mixed", False):
            raise BackboneError(f"this variant of timm's {name} is not supported: only ViTs with one class token are")
        if not isinstance(trunk.head, nn.Linear) or len(list(visual.head.children())):
            raise BackboneError("an image tower with a projection of several layers is not supported")
        height, width = visual.image_size
        if height != width:
            raise BackboneError(f"this tower reads {height}×{width} images: only square ones are supported")

    def forward(self, image: Tensor) -> tuple[Tensor, ...]:
        pixels = self.standardise(image.to(self.mean.dtype)).permute(0, 3, 1, 2)
        embedded = self.trunk._pos_embed(self.trunk.patch_embed(pixels))
        tokens, rope = embedded if isinstance(self.trunk, Eva) else (embedded, None)
        original = local = self.trunk.norm_pre(tokens)
        memory: list[Tensor] = []
        for index, block in enumerate(self.trunk.blocks, start=1):
            step, local_step = block_attentions(block, original, rope)
            original, local = original + step, local + local_step
            memory += [self.on_grid(original[:, 1:], self.token_side, self.neighbourhood)] * self.taps.count(index)
            original = original + feed_forward(block, original)
        return (
            F.normalize(self.project(original[:, 0]), dim=-1),
            self.on_grid(self.project(local[:, 1:]), self.token_side),
            *memory,
        )

    def project(self, tokens: Tensor) -> Tensor:
        """Map tokens into the joint space; class token and patches share norm and projection.

        Args:
            tokens: […, W].

        Returns:
            […, D].
        """
        projected: Tensor = self.trunk.head(self.trunk.fc_norm(self.trunk.norm(tokens)))
        return projected


def block_attentions(block: Any, tokens: Tensor, rope: Tensor | None) -> tuple[Tensor, Tensor]:
    """Return the residuals of a block's ordinary attention and of its V-V attention, [B, N, W] each.

    Args:
        block: A block of a timm ViT.
        tokens: [B, N, W].
        rope: The rotary position embedding of the ordinary attention, or None.
    """
    post_norm = isinstance(block, EvaBlockPostNorm)
    read = tokens if post_norm else block.norm1(tokens)
    attention = block.attn
    ordinary = attention(read) if rope is None else attention(read, rope=rope)
    values = project_values(attention, read)
    v = values.reshape(*values.shape[:2], attention.num_heads, -1).transpose(1, 2)
    both = torch.stack([ordinary, attention.proj(attention.norm(attend(v, v, v)))])
    if post_norm:
        both = block.norm1(both)
    scaled = scale(block, 1, both)
    return scaled[0], scaled[1]


def feed_forward(block: Any, tokens: Tensor) -> Tensor:
    """Return the residual of a block's MLP, [B, N, W].

    Args:
        block: A block of a timm ViT.
        tokens: [B, N, W].
    """
    if isinstance(block, EvaBlockPostNorm):
        normed: Tensor = block.norm2(block.mlp(tokens))
        return normed
    return scale(block, 2, block.mlp(block.norm2(tokens)))


def scale(block: Any, number: int, residual: Tensor) -> Tensor:
    """Scale a residual as the block does, by its gamma or its LayerScale if it has one.

    Args:
        block: A block of a timm ViT.
        number: 1 for the attention's residual, 2 for the MLP's.
        residual: […, W].

    Returns:
        […, W].
    """
    gamma = getattr(block, f"gamma_{number}", None)
    layer_scale = getattr(block, f"ls{number}", None)
    if layer_scale is not None:
        residual = layer_scale(residual)
    return residual if gamma is None else gamma * residual


def project_values(attention: Any, tokens: Tensor) -> Tensor:
    """Return the values of an attention, [B, N, W].

    Its queries, keys and values may come from one projection or from three.

    Args:
        attention: The attention of a timm block.
        tokens: [B, N, W].
    """
    if attention.qkv is None:
        separate: Tensor = attention.v_proj(tokens)
        return separate
    bias = attention.qkv.bias
    values_bias = getattr(attention, "v_bias", None) if bias is None else bias.chunk(3)[2]
    return F.linear(tokens, attention.qkv.weight.chunk(3)[2], values_bias)
