"""The backbone: a frozen open_clip model, and how to get one."""

from __future__ import annotations

import difflib
import hashlib
import math
import socket
import urllib.parse
import urllib.request
import zlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import huggingface_hub.constants
import numpy as np
import open_clip
import torch
from goodparts.runtime.backends.session import VIEWS_AT_ONCE, in_parts
from goodparts.runtime.backends.tensors import Outputs, name_outputs, to_features
from goodparts.runtime.core.errors import BackboneError, SettingsError, first_line
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Features
from goodparts.runtime.engine.spec import Encoder, Tap
from open_clip.modified_resnet import ModifiedResNet
from torch import nn

from . import embedded as demo
from .resnet_tower import ResNetTower
from .text_tower import TextTower, open_tokenizer
from .tower import Tower
from .vv_tower import VVTower

DEFAULT_NAME = "ViT-B-16-plus-240"
DEFAULT_PRETRAINED = "laion400m_e32"
RANDOM = "random"
"""As a pretrained tag: seeded random weights, for measuring speed and for tests."""


class Backbone:
    """A frozen CLIP on a device: the V-V image tower, the text tower, and what identifies them."""

    def __init__(
        self,
        name: str,
        model: Any,
        known_tokens: frozenset[int] | None = None,
        *,
        taps: tuple[int, ...] | None = None,
        device: str = "cpu",
    ) -> None:
        """known_tokens: ids that the text tower has learned, None for all; taps: see Tower."""
        model.requires_grad_(False).eval()
        self.device = torch.device(device)
        self._known_tokens = known_tokens
        self.visual = wrap(model.visual, taps).to(self.device).eval()
        self.text = TextTower(getattr(model, "text", model)).to(self.device).eval()
        self.logit_scale = float(model.logit_scale)
        """CLIP's temperature as the checkpoint stores it: a logarithm, ln 100 for most."""
        self.is_random = False
        """Whether the weights are random ones: their speed is an encoder's, their features mean nothing."""
        self.encoder = Encoder(
            backbone=name,
            weights=weights_hash(model, self.visual.describe()),
            image_size=self.visual.image_size,
            grid=self.visual.grid,
            width=self.visual.out_width,
            taps=tuple(map(Tap, self.visual.taps, self.visual.tap_widths)),
        )

    @classmethod
    def open(
        cls,
        name: str,
        *,
        pretrained: str | None = None,
        weights: Path | None = None,
        taps: tuple[int, ...] | None = None,
        device: str = "cpu",
    ) -> Backbone:
        """Open `demo`, or any open_clip ViT or CLIP ResNet by pretrained tag or local weights file (safetensors, .pt).

        Raises BackboneError for an unknown name or tag, for weights that cannot be had or do not fit, and
        for other towers.
        """
        check_device(device)
        if name == "demo":
            if pretrained or weights:
                raise SettingsError("the demo backbone brings its own weights: leave out --pretrained and --weights")
            return cls(name, *demo.load(), taps=demo.TAPS if taps is None else taps, device=device)
        made = cls(name, _open_clip_model(name, pretrained, weights), taps=taps, device=device)
        made.is_random = pretrained == RANDOM
        return made

    def encode(self, views: Array8) -> Features:
        """Views uint8 RGB [B,S,S,3] → Features, through torch."""

        def run(part: Array8) -> Outputs:
            outputs = self.visual(torch.tensor(part, device=self.device))
            return name_outputs([output.float().cpu().numpy() for output in outputs])

        with torch.inference_mode():
            return to_features(in_parts(views, VIEWS_AT_ONCE, run), self.encoder.grid)

    def unknown_words(self, texts: Iterable[str]) -> list[str]:
        """Words of these texts that the text tower has not learned: a small one's vocabulary has gaps."""
        if self._known_tokens is None:
            return []
        words = sorted({word for text in texts for word in text.replace("{}", " ").split()})
        tokenizer = open_tokenizer()
        return [word for word in words if not self._known_tokens.issuperset(tokenizer.encode(word))]


def wrap(visual: Any, taps: tuple[int, ...] | None = None) -> Tower:
    """An open_clip image tower with its local path; BackboneError for one that has none here."""
    return ResNetTower(visual, taps) if isinstance(visual, ModifiedResNet) else VVTower(visual, taps)


def check_device(device: str) -> None:
    """SettingsError unless torch can use the device. On a GPU convolutions keep fp32, as the parity gate expects."""
    try:
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        raise SettingsError(
            f"--device {device}: torch {torch.__version__} cannot use it ({first_line(error)[:200]}); cpu or cuda"
        ) from error
    torch.backends.cudnn.allow_tf32 = False


def _open_clip_model(name: str, pretrained: str | None, weights: Path | None) -> Any:
    known = open_clip.list_models()
    if name not in known:
        close = difflib.get_close_matches(name, [*known, "demo"], n=3)
        hint = f"did you mean {', '.join(close)}?" if close else "see open_clip.list_models()"
        raise BackboneError(f"unknown backbone {name!r}: demo, or a model of open_clip {open_clip.__version__}; {hint}")
    if weights is not None and pretrained is not None:
        raise SettingsError("--weights and --pretrained both given: choose one")
    if weights is not None:
        return _from_file(name, weights)
    if pretrained == RANDOM:
        model = open_clip.create_model(name)
        randomise(model, seed=0)
        return model
    tags = open_clip.list_pretrained_tags_by_model(name)
    if pretrained is None:
        if name != DEFAULT_NAME:
            raise BackboneError(f"{name} needs --pretrained TAG ({', '.join(tags) or 'none known'}) or --weights FILE")
        pretrained = DEFAULT_PRETRAINED
    if pretrained not in tags:
        raise BackboneError(f"{name} has no pretrained tag {pretrained!r}: {', '.join(tags) or 'none'}, or {RANDOM}")
    return _from_hub(name, pretrained)


def _from_file(name: str, path: Path) -> Any:
    if not path.is_file():
        raise BackboneError(f"weights file {path} does not exist")
    try:
        # open_clip reads .pt files with weights_only: tensors come in, no code from the file is run.
        return open_clip.create_model(name, pretrained=str(path))
    except Exception as error:  # torch, safetensors and zipfile each raise their own
        raise BackboneError(f"{path} does not hold weights for {name}: {first_line(error)[:200]}") from error


def _from_hub(name: str, tag: str) -> Any:
    """From the hub's local cache, or over the network where there is one."""
    online = _hub_answers()
    hub = huggingface_hub.constants
    offline_before, hub.HF_HUB_OFFLINE = hub.HF_HUB_OFFLINE, hub.HF_HUB_OFFLINE or not online
    try:
        # Some tags were trained with QuickGELU under a name whose configuration does not say so.
        quick = bool((open_clip.get_pretrained_cfg(name, tag) or {}).get("quick_gelu"))
        return open_clip.create_model(name, pretrained=tag, force_quick_gelu=quick)
    except Exception as error:  # whatever the download raises
        cause = first_line(error)[:200] if online else "they are not in the local cache and there is no network"
        raise BackboneError(
            f"cannot get the weights {tag} of {name}: {cause}; connect once, or copy the file from a machine "
            "that has it and give --weights FILE, or try --backbone demo, which needs neither"
        ) from error
    finally:
        hub.HF_HUB_OFFLINE = offline_before


def _hub_answers() -> bool:
    """Whether the hub can be reached: asked once and briefly, where its client would retry for a minute."""
    if urllib.request.getproxies():
        return True
    try:
        with socket.create_connection((urllib.parse.urlparse(huggingface_hub.constants.ENDPOINT).hostname, 443), 5):
            return True
    except OSError:
        return False


def randomise(model: nn.Module, seed: int) -> None:
    """Replace every weight by one that depends on nothing but the seed, the tensor's name and its shape.

    n ~ Normal(0,1) from numpy: LayerNorm and BatchNorm weights 1 + 0.1·n, a BatchNorm's variances exp(0.1·n),
    other tensors of two or more dimensions n / √fan-in, the rest 0.1·n; logit_scale = ln 100.
    """
    batch_norms = {name for name, part in model.named_modules() if isinstance(part, nn.BatchNorm2d)}
    with torch.no_grad():
        for name, tensor in model.state_dict().items():
            if name == "attn_mask":
                continue
            if name == "logit_scale":
                tensor.fill_(math.log(100.0))
                continue
            owner, _, part = name.rpartition(".")
            if part == "num_batches_tracked":
                tensor.zero_()
                continue
            shape = tuple(tensor.shape)
            noise = np.random.default_rng([seed, zlib.crc32(name.encode())]).standard_normal(shape)
            normal = np.asarray(noise, np.float32)
            if ".ln_" in name or name.startswith("ln_") or owner in batch_norms:
                value = np.exp(0.1 * normal) if part == "running_var" else 0.1 * normal + float(part == "weight")
            elif len(shape) >= 2:
                value = normal / math.sqrt(math.prod(shape[1:]))
            else:
                value = 0.1 * normal
            tensor.copy_(torch.from_numpy(np.asarray(value, np.float32)))


def weights_hash(model: nn.Module, more: str) -> str:
    """SHA-256 over every tensor of a model, by name, and over what else its features depend on.

    Independent of the file they came from.
    """
    digest = hashlib.sha256(more.encode())
    state: dict[str, Any] = model.state_dict()
    for name in sorted(state):
        tensor = state[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.flatten().view(torch.uint8).numpy().data)
    return digest.hexdigest()
