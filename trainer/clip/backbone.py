"""The backbone: a frozen CLIP, or an image tower without text, that computes every feature."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import open_clip
import torch
from goodparts.runtime.backends.session import VIEWS_AT_ONCE, in_parts
from goodparts.runtime.backends.tensors import Outputs, name_outputs, to_features
from goodparts.runtime.core.errors import BackboneError, SettingsError, first_line
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import RESIDUAL_WEIGHT, Features
from goodparts.runtime.engine.spec import IMAGE_ONLY, Encoder, Tap
from open_clip.modified_resnet import ModifiedResNet
from open_clip.timm_model import TimmModel
from torch import nn

from ..embedded import model as small
from ..embedded.tower import HybridTower, HybridVisual
from ..image_only.tower import TimmTower, TimmVisual
from ..image_only.weights import ImageOnlyModel, open_timm_model
from .class_token_tower import ClassTokenTower
from .names import RANDOM
from .resnet_tower import ResNetTower
from .text_tower import TextTower, open_tokenizer
from .tower import Taps, Tower
from .vv_tower import VVTower
from .weights import HUB, open_model, read_config


class Backbone:
    """A frozen CLIP on a device: the image tower with V-V attention, the text tower, and the encoder's description.

    An image-only backbone has no text tower.

    Args:
        name: The backbone's name.
        model: An open_clip model, or an ImageOnlyModel.
        known_tokens: The ids of the tokens that the text tower has learned; None for all.
        taps: The blocks that the memory is taken from, counted from 1; a tuple of blocks is joined to one output. None
            for the tower's own choice.
        grid: The side of the grid of patches; None for the tower's own.
        neighbourhood: The odd side of the square of patches that each patch of the memory is averaged over; None for
            the tower's own.
        tap_outputs: Whether a ViT's memory is taken from its blocks' plain outputs, not after their attention
            (docs/promptad.md, D7).
        device: A torch device.

    Raises:
        BackboneError: A tower of the model is not supported.
        SettingsError: The taps are no blocks of the image tower, grid or neighbourhood is out of range, or tap_outputs
            is given for an image tower that is no ViT.
    """

    def __init__(
        self,
        name: str,
        model: Any,
        known_tokens: frozenset[int] | None = None,
        *,
        taps: Taps | None = None,
        grid: int | None = None,
        neighbourhood: int | None = None,
        tap_outputs: bool = False,
        device: str = "cpu",
    ) -> None:
        model.requires_grad_(False).eval()
        self.device = torch.device(device)
        self._known_tokens = known_tokens
        self.visual = wrap(model.visual, taps, grid, neighbourhood).to(self.device).eval()
        self._text: TextTower | None = None
        self.logit_scale = 0.0
        """The logarithm of CLIP's temperature, as the checkpoint stores it: ln 100 for most; 0 without a text tower."""
        if not isinstance(model, ImageOnlyModel):
            self._text = TextTower(getattr(model, "text", model)).to(self.device).eval()
            self.logit_scale = float(model.logit_scale)
        if tap_outputs:
            if not isinstance(self.visual, VVTower):
                raise SettingsError(
                    f"--tap-outputs: {name} is no ViT of CLIP, its taps are plain outputs: leave it out"
                )
            self.visual.tap_block_outputs(own_taps=taps is None)
        self.residual_weight = RESIDUAL_WEIGHT * math.exp(self.logit_scale)
        """The weight of a residual margin in a product's scores (scoring.Learned)."""
        self.is_random = False
        """Whether the weights are random. Random weights serve only for measuring speed and for tests."""
        self.encoder = Encoder(
            backbone=name,
            weights=weights_hash(model, self.visual.describe()),
            image_size=self.visual.image_size,
            grid=self.visual.grid,
            width=self.visual.out_width,
            taps=tuple(map(Tap, self.visual.taps, self.visual.tap_widths, self.visual.joined)),
            neighbourhood=self.visual.neighbourhood,
        )

    @classmethod
    def open(
        cls,
        name: str,
        *,
        pretrained: str | None = None,
        weights: Path | None = None,
        taps: Taps | None = None,
        grid: int | None = None,
        neighbourhood: int | None = None,
        image_size: int | None = None,
        tap_outputs: bool = False,
        device: str = "cpu",
    ) -> Backbone:
        """Open `small`, any open_clip ViT or CLIP ResNet, or one of timm's image-only models.

        Args:
            name: `small`, a name of open_clip, `hf-hub:` and a repository of the Hugging Face hub, or `timm:` and a
                name of timm.
            pretrained: The tag of the weights, or `random`.
            weights: A local file with the weights (safetensors, .pt), instead of a tag.
            taps: The blocks that the memory is taken from, counted from 1; a tuple of blocks is joined to one output.
                None for the backbone's own choice.
            grid: The side of the grid of patches; None for the backbone's own.
            neighbourhood: The odd side of the square of patches that each patch of the memory is averaged over; None
                for the backbone's own.
            image_size: The side of a timm model's square pictures in pixels; None for the model's own size.
            tap_outputs: Whether a ViT's memory is taken from its blocks' plain outputs, not after their attention
                (docs/promptad.md, D7).
            device: A torch device.

        Returns:
            The backbone.

        Raises:
            BackboneError: The name or tag is unknown, the weights are unavailable or do not fit, or a tower is not
                supported.
            SettingsError: The device cannot be used, the taps are no blocks, grid or neighbourhood is out of range, an
                option does not apply to the backbone, or two sources of weights are given.
        """
        check_device(device)
        if name.startswith(IMAGE_ONLY):
            images = open_timm_model(name, pretrained, weights, image_size)
            backbone = cls(
                name, images, taps=taps, grid=grid, neighbourhood=neighbourhood, tap_outputs=tap_outputs, device=device
            )
            backbone.is_random = pretrained == RANDOM
            return backbone
        if image_size is not None:
            raise SettingsError(f"--image-size {image_size}: {name} reads pictures of one size; leave it out")
        if name == "small":
            if pretrained or weights:
                raise SettingsError("the small backbone brings its own weights: leave out --pretrained and --weights")
            model, known_tokens = small.load()
            return cls(
                name, model, known_tokens, taps=taps, grid=grid, neighbourhood=neighbourhood, tap_outputs=tap_outputs,
                device=device,
            )  # fmt: skip
        check_architecture(name, taps, grid, neighbourhood)
        model = open_model(name, pretrained, weights)
        backbone = cls(
            name, model, taps=taps, grid=grid, neighbourhood=neighbourhood, tap_outputs=tap_outputs, device=device
        )
        backbone.is_random = pretrained == RANDOM
        return backbone

    @property
    def has_text(self) -> bool:
        """Whether the backbone has a text tower, which prompts need."""
        return self._text is not None

    @property
    def text(self) -> TextTower:
        """The text tower.

        Raises:
            SettingsError: The backbone has none.
        """
        if self._text is None:
            raise SettingsError(
                f"{self.encoder.backbone} has no text tower, so it learns no prompts: use its memory only (--method "
                "memory, or `goodparts teach`), or another --backbone"
            )
        return self._text

    def encode(self, views: Array8) -> Features:
        """Encode views through torch.

        Args:
            views: [B, S, S, 3], uint8, RGB.

        Returns:
            The features of the views.
        """

        def run(part: Array8) -> Outputs:
            outputs = self.visual(torch.tensor(part, device=self.device))
            return name_outputs([output.float().cpu().numpy() for output in outputs])

        with torch.inference_mode():
            return to_features(in_parts(views, VIEWS_AT_ONCE, run), self.encoder.grid)

    def unknown_words(self, texts: Iterable[str]) -> list[str]:
        """Return the words that the text tower has not learned; for the embedded backbone that is most of CLIP's words.

        Args:
            texts: Texts, in which {} stands for the product.
        """
        if self._known_tokens is None:
            return []
        words = sorted({word for text in texts for word in text.replace("{}", " ").split()})
        tokenizer = open_tokenizer()
        return [word for word in words if not self._known_tokens.issuperset(tokenizer.encode(word))]


def wrap(visual: Any, taps: Taps | None = None, grid: int | None = None, neighbourhood: int | None = None) -> Tower:
    """Return an image tower with the local path and the memory.

    Args:
        visual: The image tower of open_clip, of the embedded backbone, or of a timm model.
        taps: The blocks that the memory is taken from, counted from 1; None for the tower's own choice.
        grid: The side of the grid of patches; None for the tower's own.
        neighbourhood: The odd side of the square of patches that each patch of the memory is averaged over; None for
            the tower's own.

    Raises:
        BackboneError: The tower is neither a ViT with a class token, nor a ResNet of CLIP, nor the tower of the
            embedded backbone or of an image-only backbone.
        SettingsError: The taps are no blocks of the tower, or grid or neighbourhood is out of range.
    """
    towers: dict[type, type[HybridTower | ResNetTower | TimmTower | ClassTokenTower]] = {
        HybridVisual: HybridTower,
        ModifiedResNet: ResNetTower,
        TimmVisual: TimmTower,
        TimmModel: ClassTokenTower,
    }
    return towers.get(type(visual), VVTower)(visual, taps, grid, neighbourhood)


def check_architecture(
    name: str, taps: Taps | None = None, grid: int | None = None, neighbourhood: int | None = None
) -> None:
    """Check that an open_clip model is supported, before its weights are read or downloaded.

    Args:
        name: The model's name.
        taps: As `wrap` takes them.
        grid: As `wrap` takes it.
        neighbourhood: As `wrap` takes it.

    Raises:
        BackboneError: There is no model of this name, or one of its towers is not supported.
        SettingsError: The taps are no blocks of the image tower, or grid or neighbourhood is out of range.
    """
    config = read_config(name)
    if hugging_face := config["text_cfg"].get("hf_model_name"):
        raise BackboneError(f"{name}: text tower {hugging_face} is not supported: only CLIP's causal one is")
    if name.startswith(HUB):
        return  # open_clip would download its weights too
    try:
        with torch.device("meta"):  # shapes without values: fast even for a large model
            model: Any = open_clip.create_model(name, device="meta")
            wrap(model.visual, taps, grid, neighbourhood)
            TextTower(getattr(model, "text", model))
    except BackboneError as error:
        raise BackboneError(f"{name}: {error}") from error


def check_device(device: str) -> None:
    """Check that torch can use a device.

    On a GPU it also switches TF32 off for convolutions, for as long as the process runs: the parity gate expects fp32.

    Args:
        device: A torch device, such as cpu or cuda.

    Raises:
        SettingsError: Torch cannot use it.
    """
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"--device {device}: torch {torch.__version__} cannot use it ({first_line(error)[:200]}); give cpu or cuda"
        ) from error
    torch.backends.cudnn.allow_tf32 = False


def weights_hash(model: nn.Module, more: str) -> str:
    """Return the SHA-256 of a model's named tensors and of everything else that its features depend on.

    The hash does not depend on the file that the tensors came from.

    Args:
        model: The model.
        more: A description of everything else that the features depend on (`Tower.describe`).
    """
    digest = hashlib.sha256(more.encode())
    state: dict[str, Any] = model.state_dict()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
