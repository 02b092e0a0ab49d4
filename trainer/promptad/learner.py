"""PromptAD: learn prompts for one product from the features of a few good photos.

A hundred steps of SGD move a handful of token vectors so that normal features lie nearer to the normal prompt
prototype than to any anomaly prompt. The image tower is frozen, so the photos are encoded once; the prompts
of both levels go through the text tower together.
"""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import msgspec
import numpy as np
import torch
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.scoring import Features, Floats
from msgspec import Meta
from torch import Tensor

from ..clip.backbone import Backbone
from . import losses
from .prompts import PackedLayout, PromptEncoder, Prompts, TextFeatures
from .suffixes import GENERIC

CLEAN_TEMPERATURE = 4.6052
"""Default multiplier of the cosine: ln 100, what the released code makes of CLIP's 100 (D10). With 100 itself the
prompt score is so far below the memory's that harmonic fusion hears nothing else."""

Progress = Callable[[range], Iterable[int]]


class Settings(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Every setting of the method. D numbers count the differences between paper and released code."""

    prefix_length: Annotated[int, Meta(ge=1, description="tokens of a learnable prefix, E_N")] = 4
    image_prefixes: Annotated[int, Meta(ge=1, description="normal prompts at image level, N (D17)")] = 3
    pixel_prefixes: Annotated[int, Meta(ge=1, description="normal prompts at pixel level, N (D17)")] = 1
    learned_suffixes: Annotated[int, Meta(ge=0, description="learnable anomaly suffixes, L")] = 4
    suffix_length: Annotated[int, Meta(ge=1, description="tokens of a learnable suffix, E_A")] = 1
    suffix_place: Annotated[
        Literal["after", "before"],
        Meta(description="learnable suffix after (paper) or before the product text (D8)"),
    ] = "after"
    pairing: Annotated[
        Literal["product", "cyclic"], Meta(description="prefixes × suffixes, all pairs or cyclic (D9)")
    ] = "product"
    temperature: Annotated[
        Literal["exp", "log"] | float,
        Meta(
            description='multiplier of the cosine: a number, "exp" of CLIP\'s logit scale (100), or the scale as it '
            'stands, "log" (D10)'
        ),
    ] = CLEAN_TEMPERATURE
    margin: Annotated[float, Meta(description="of the explicit anomaly margin")] = 0.0
    margin_distance: Annotated[
        Literal["euclidean", "squared"], Meta(description="distance in the margin loss (D11)")
    ] = "euclidean"
    margin_axis: Annotated[Literal["channels", "second"], Meta(description="axis the margin loss sums over (D12)")] = (
        "channels"
    )
    alignment_weight: Annotated[float, Meta(ge=0, description="λ of the alignment loss")] = 0.001
    image_maximum: Annotated[
        Literal["grid", "map"],
        Meta(description="where the image score takes the memory's maximum: patch grid or 400×400 map (D14)"),
    ] = "grid"
    fusion: Annotated[
        Literal["paper", "balanced", "prompt", "memory"],
        Meta(
            description="fuse the branches' raw scores, or each divided by what good parts score on it (D18), or use "
            "one alone"
        ),
    ] = "balanced"
    memory_share: Annotated[
        float, Meta(gt=0, le=1, description="of the shots' patches to remember, the most different first (coreset)")
    ] = 1.0
    steps: Annotated[int, Meta(ge=1, description="steps of SGD over all shots")] = 100
    lr: Annotated[float, Meta(gt=0, description="learning rate at the start")] = 0.002
    final_lr: Annotated[float, Meta(ge=0, description="learning rate at the end of the cosine")] = 1e-5
    momentum: Annotated[float, Meta(ge=0, lt=1, description="of SGD")] = 0.9
    weight_decay: Annotated[float, Meta(ge=0, description="of SGD")] = 0.0005


Protocol = Literal["clean", "official"]

PROTOCOLS: dict[Protocol, Settings] = {
    "clean": Settings(),
    "official": Settings(
        suffix_place="before",
        pairing="cyclic",
        temperature="log",
        fusion="paper",
        margin_distance="squared",
        margin_axis="second",
        image_maximum="map",
    ),
}
"""What each protocol means in settings: clean follows the paper, official does what the released code does."""


def settings(protocol: Protocol, **changes: Any) -> Settings:
    """A protocol's settings with some of them changed; SettingsError names one that is out of range."""
    merged = {**msgspec.structs.asdict(PROTOCOLS[protocol]), **changes}
    for name, value in merged.items():
        if isinstance(value, float) and not math.isfinite(value):
            raise SettingsError(f"{name} {value}: a finite number is needed")
    if isinstance(merged["temperature"], int | float) and merged["temperature"] <= 0:
        raise SettingsError(f"temperature {merged['temperature']}: a number above 0 is needed")
    try:
        return msgspec.convert(merged, Settings)
    except msgspec.ValidationError as error:
        text, _, place = str(error).partition(" - at `$.")
        raise SettingsError(f"{place.rstrip('`')} is out of range: {text}") from error


def resolve_temperature(chosen: Settings, logit_scale: float) -> float:
    """The multiplier t of the cosine for a backbone whose checkpoint holds this logit scale."""
    if isinstance(chosen.temperature, str):
        return math.exp(logit_scale) if chosen.temperature == "exp" else logit_scale
    return chosen.temperature


def lay_out(product: str, suffixes: tuple[str, ...], chosen: Settings, context_length: int) -> PackedLayout:
    """The prompts' layout; SettingsError where there is no anomaly prompt, or one that does not fit."""
    if not suffixes and not chosen.learned_suffixes:
        raise SettingsError("no anomaly prompt is left: give suffixes, or learned_suffixes of at least 1")
    return PackedLayout(
        product,
        suffixes,
        prefix_length=chosen.prefix_length,
        learned=chosen.learned_suffixes,
        suffix_length=chosen.suffix_length,
        suffix_place=chosen.suffix_place,
        context_length=context_length,
    )


@dataclass(frozen=True)
class Prototypes:
    """What was learned: float32 [2,D] per level (normal, anomalous), l2-normalised."""

    image: Floats
    pixel: Floats


@dataclass(frozen=True)
class Losses:
    """Of one task in one step: eq. 12, eq. 13, and eq. 15 before λ."""

    contrastive: Tensor
    margin: Tensor
    alignment: Tensor


@contextlib.contextmanager
def flushed_denormals() -> Iterator[None]:
    """Numbers nearer to 0 than float32's normal ones, 1e-38, count as 0. The gradients behind a GELU hold many, and a
    matrix product of them alone takes 400 times as long: they were a third of a training step."""
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)


class PromptLearner:
    """Learns the prompts of both levels for one product; `step` once, or `learn` to the end."""

    def __init__(
        self,
        backbone: Backbone,
        features: Features,
        product: str,
        suffixes: tuple[str, ...] = GENERIC,
        chosen: Settings = PROTOCOLS["clean"],
        seed: int = 0,
        initial: tuple[Prompts, Prompts] | None = None,
    ) -> None:
        """features: of the shots; initial: image- and pixel-level prompts to start from, drawn by the seed
        where none are given."""
        device = backbone.device
        self.settings = chosen
        self.temperature = resolve_temperature(chosen, backbone.logit_scale)
        self._encode = PromptEncoder(
            backbone.text, lay_out(product, suffixes, chosen, backbone.text.context_length), chosen.pairing
        )
        if initial is None:
            generator = torch.Generator().manual_seed(seed)

            def draw(prefixes: int) -> Prompts:
                shape = (prefixes, chosen.prefix_length, chosen.learned_suffixes, chosen.suffix_length)
                return Prompts.initial((*shape, backbone.text.width), generator, device)

            initial = draw(chosen.image_prefixes), draw(chosen.pixel_prefixes)
        self.tasks = initial
        self._targets = tuple(torch.from_numpy(part).to(device) for part in (features.global_, features.local))
        parameters = [parameter for task in self.tasks for parameter in task.parameters()]
        self._optimiser = torch.optim.SGD(
            parameters, lr=chosen.lr, momentum=chosen.momentum, weight_decay=chosen.weight_decay
        )
        self._schedule = torch.optim.lr_scheduler.CosineAnnealingLR(
            self._optimiser, T_max=chosen.steps, eta_min=chosen.final_lr
        )

    def text_features(self) -> list[TextFeatures]:
        """Of the image-level and of the pixel-level prompts, as they stand."""
        return self._encode(*self.tasks)

    def targets(self) -> tuple[Tensor, ...]:
        """The shots' features that the image-level [k,D] and pixel-level [k,P,D] prompts are learned from."""
        return self._targets

    def losses(self) -> list[Losses]:
        """Of both tasks, with gradients to their prompts."""
        chosen = self.settings
        found = []
        for z, text in zip(self.targets(), self.text_features(), strict=True):
            prototypes = text.prototypes()
            found.append(
                Losses(
                    losses.contrastive(z, text, prototypes, self.temperature),
                    losses.margin(z, prototypes, chosen.margin, chosen.margin_distance, chosen.margin_axis),
                    losses.alignment(text),
                )
            )
        return found

    def step(self) -> list[Losses]:
        """One step of SGD for both tasks; returns the losses before it."""
        found = self.losses()
        weight = self.settings.alignment_weight
        # The tasks share no parameter, so the gradient of the sum is each task's own.
        total = torch.stack([loss.contrastive + loss.margin + weight * loss.alignment for loss in found]).sum()
        self._optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self._optimiser.step()
        self._schedule.step()
        return found

    def learn(self, progress: Progress = iter) -> Prototypes:
        """All steps; the last one counts (D13)."""
        with flushed_denormals():
            for _ in progress(range(self.settings.steps)):
                self.step()
        return self.prototypes()

    def prototypes(self) -> Prototypes:
        """The prototypes of both levels, as the prompts stand."""
        with torch.no_grad():
            image, pixel = (text.prototypes().float().cpu().numpy() for text in self.text_features())
        if not (np.isfinite(image).all() and np.isfinite(pixel).all()):
            raise SettingsError(f"learning diverged at a learning rate of {self.settings.lr}: lower --lr")
        return Prototypes(image, pixel)
