"""Learning: frozen towers, prompts, prefix and decoder trained to tell painted defects from good parts."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import torch
from goodparts.runtime.backends.session import VIEWS_AT_ONCE, in_parts
from goodparts.runtime.backends.tensors import Outputs, name_outputs, to_features
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.preprocess import Array8, resize
from goodparts.runtime.core.scoring import Features, Floats
from goodparts.runtime.recipe.pseudo import PseudoAnomalies, whole_and_tiles
from torch import Tensor, nn

from ..clip.backbone import Backbone
from ..clip.vv_tower import VVTower
from ..promptad.learner import Progress, flushed_denormals
from . import losses
from .checkpoint import Header, read_checkpoint, write_checkpoint
from .decoder import Decoder
from .prompts import CoupledPrompts, PromptedText
from .settings import Settings
from .tower import PromptedTower
from .variation import vary

WARM_UP = 0.1
"""Share of the steps."""
WRITE_EVERY = 30.0
"""Seconds between two checkpoints: what a kill costs at most, besides a step."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A product to learn: its text, and its shots at twice the encoder's size, uint8 [k,2S,2S,3]."""

    text: str
    shots: Array8


@dataclass(frozen=True, eq=False)
class Batch:
    """Of a step: views uint8 [V,S,S,3]; masks bool [V,h,w], which patches are anomalous; places int [V], 0 the whole
    photo and 1 to 4 its tiles; products int [V]."""

    views: Tensor
    masks: Tensor
    places: Tensor
    products: Tensor


class Model(nn.Module):
    """All that is learned, and the frozen towers it is learned for."""

    def __init__(self, backbone: Backbone, subjects: Sequence[Subject], chosen: Settings, seed: int) -> None:
        super().__init__()
        visual = backbone.visual
        self._tower = PromptedTower(visual, chosen.recompute)  # frozen, and none of the model's own parameters
        assert isinstance(visual, VVTower)  # PromptedTower takes no other
        levels = min(chosen.depth, len(visual.blocks), len(backbone.text.text["transformer"].resblocks))
        with torch.no_grad():
            averages = [
                self._tower.average(torch.from_numpy(halved(subject.shots)).to(backbone.device), levels)
                for subject in subjects
            ]
        self.prompts = CoupledPrompts(backbone.text, torch.stack(averages).mean(dim=0), chosen, seed)
        generator = torch.Generator().manual_seed(seed + 1)
        self.decoder = Decoder(visual.out_width, visual.tap_widths, visual.grid, generator)
        if chosen.decoder == "none":
            self.decoder.requires_grad_(False)
        self.to(backbone.device)
        self.grid = visual.grid
        self._text = PromptedText(
            backbone.text, [subject.text for subject in subjects], self.prompts.of_text().shape[1]
        )

    def text(self) -> Tensor:
        """l2-normalised [products,2,D]: normal, anomalous."""
        return self._text(self.prompts.of_text())

    def forward(self, views: Tensor, places: Tensor) -> tuple[Tensor, ...]:
        """Views uint8 [V,S,S,3] at places int [V] → global [V,D], decoded patches [V,P,D], memory [V,P,W] each."""
        image, local, *taps = self._tower(views, self.prompts.of_visual(), self.prompts.prefix[places])
        return image, self.decoder(local, *taps), *taps


class AnoPLeLearner:
    """Learns one set of prompts and one decoder for one product or many; `step` once, or `learn` to the end."""

    def __init__(
        self,
        backbone: Backbone,
        subjects: Sequence[Subject],
        chosen: Settings,
        seed: int = 0,
        textures: Sequence[Path] = (),
    ) -> None:
        """textures: pictures that painted defects are filled with; without any, drawn ones and pieces of the shots."""
        self.settings = chosen
        self.done = 0
        """Steps so far."""
        self.model = Model(backbone, subjects, chosen, seed)
        self._backbone = backbone
        self._subjects = subjects
        self._seed = seed
        self._textures = textures
        # Tiles show a photo at twice the resolution of the whole, which alone does not need it.
        self._shots = [subject.shots if chosen.tiles else halved(subject.shots) for subject in subjects]
        self._painters = [PseudoAnomalies(shots, textures, foreground=chosen.foreground) for shots in self._shots]
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [*self.model.prompts.parameters()], "peak": chosen.lr},
                {"params": [*self.model.decoder.parameters()], "peak": chosen.decoder_lr},
            ],
            weight_decay=chosen.weight_decay,
        )

    @functools.cached_property
    def digest(self) -> str:
        """Of everything that learning depends on, but of textures the names alone."""
        encoder = self._backbone.encoder
        named = [encoder.weights, self.settings, self._seed, [subject.text for subject in self._subjects]]
        found = hashlib.sha256(msgspec.json.encode([*named, [path.name for path in self._textures]]))
        for subject in self._subjects:
            found.update(subject.shots.tobytes())
        return found.hexdigest()

    def draw(self, step: int) -> Batch:
        """The batch of a step: it depends on the seed and the step alone, whatever came before."""
        chosen, rng = self.settings, np.random.default_rng((self._seed, step))
        count = round(chosen.anomaly_share * chosen.batch)
        rows, columns = self.model.grid
        views, masks, places, products = [], [], [], []
        for number in range(chosen.batch):
            product = int(rng.integers(len(self._subjects)))
            shots = self._shots[product]
            shot = int(rng.integers(len(shots)))
            if number < count:
                photo, mask = self._painters[product](shot, rng)
            else:
                photo, mask = shots[shot], np.zeros(shots.shape[1:3], np.bool_)
            photo, mask = vary(photo, mask, chosen.variation, rng)
            some, where = whole_and_tiles(photo, mask) if chosen.tiles else (photo[None], mask[None])
            cells = where.reshape(len(some), rows, where.shape[1] // rows, columns, -1)
            views.append(some)
            masks.append(cells.any(axis=(2, 4)))
            places.append(np.arange(len(some)))
            products.append(np.full(len(places[-1]), product))
        device = self._backbone.device
        return Batch(*(torch.from_numpy(np.concatenate(part)).to(device) for part in (views, masks, places, products)))

    def losses(self, batch: Batch) -> Tensor:
        """L_pixel, L_img and L_align before its weight, [3], with gradients."""
        chosen, t = self.settings, self.settings.temperature
        with self._precision():
            image, decoded, *_ = self.model(batch.views, batch.places)
            text = self.model.text()
        image, decoded, text = image.float(), decoded.float(), text.float()[batch.products]
        patches = decoded.unflatten(1, self.model.grid)
        logits = losses.logits(patches, text, t)
        probability = logits.sigmoid()
        bad = batch.masks.flatten(1).any(dim=1)
        pixel = losses.dice(probability, batch.masks) + losses.focal(logits, batch.masks)
        whole = losses.contrastive(image, text, bad, t)
        if chosen.latent_noise:
            noisy = [self._disturb(part[~bad]) for part in (image, patches)]
            for part in noisy:
                found = losses.logits(part, text[~bad], t)
                whole = whole + losses.focal(found, torch.ones_like(found))
        used = bad if chosen.align == "anomalous" else torch.ones_like(bad)
        aligned = losses.alignment(image[used], patches[used], probability[used], chosen.normalise_alignment)
        return torch.stack([pixel, whole, aligned])

    def _disturb(self, good: Tensor) -> Tensor:
        """Features of good photos as SimpleNet makes anomalies of them: with Gaussian noise, normalised again."""
        generator = torch.Generator().manual_seed(self._seed + self.done)
        noise = torch.randn(good.shape, generator=generator).to(good)
        spread = self.settings.latent_noise * good.detach().std()
        return nn.functional.normalize(good + spread * noise, dim=-1)

    def step(self) -> Tensor:
        """One step of AdamW; returns the losses before it."""
        chosen = self.settings
        warm = max(1, round(WARM_UP * chosen.steps))
        progress = (self.done - warm) / max(1, chosen.steps - warm)
        rate = (self.done + 1) / warm if self.done < warm else 0.5 * (1 + np.cos(np.pi * progress))
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * rate
        found = self.losses(self.draw(self.done))
        total = found[0] + found[1] + chosen.alignment_weight * found[2]
        self.optimiser.zero_grad()
        total.backward()  # type: ignore[no-untyped-call]
        self.optimiser.step()
        self.done += 1
        return found.detach()

    def learn(self, progress: Progress = iter, checkpoint: Path | None = None) -> None:
        """All steps that are left; with a file for checkpoints, those that it does not hold yet."""
        if checkpoint is not None and checkpoint.exists():
            self.done = read_checkpoint(checkpoint, self.digest, self.model, self.optimiser)
        written = time.monotonic()
        with flushed_denormals():
            for _ in progress(range(self.done, self.settings.steps)):
                self.step()
                if checkpoint is not None and time.monotonic() - written >= WRITE_EVERY:
                    write_checkpoint(checkpoint, Header(self.done, self.digest), self.model, self.optimiser)
                    written = time.monotonic()
        with torch.no_grad():
            finite = all(bool(part.isfinite().all()) for part in self.model.state_dict().values())
        if not finite:
            raise SettingsError(f"learning diverged at a learning rate of {self.settings.lr}: lower it")

    def encode(self, views: Array8) -> Features:
        """Views uint8 RGB [B,S,S,3] → Features, through torch, with the prompts as they stand: `local` is decoded."""
        device = self._backbone.device

        def run(part: Array8) -> Outputs:
            places = torch.zeros(len(part), dtype=torch.long, device=device)
            outputs = self.model(torch.tensor(part, device=device), places)
            return name_outputs([output.float().cpu().numpy() for output in outputs])

        with torch.inference_mode():
            features = to_features(in_parts(views, VIEWS_AT_ONCE, run), self.model.grid)
        if self.settings.memory == "plain":
            features = dataclasses.replace(features, memory=self._backbone.encode(views).memory)
        return features

    def prototypes(self) -> Floats:
        """l2-normalised float32 [products,2,D]: normal, anomalous, of both levels."""
        with torch.inference_mode():
            return np.asarray(self.model.text().float().cpu().numpy())

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        """bf16 on a GPU, with the learned weights in fp32; on a CPU fp32."""
        if self._backbone.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()


def halved(shots: Array8) -> Array8:
    """Shots uint8 [k,2S,2S,3] as the encoder sees them whole, [k,S,S,3]."""
    size = shots.shape[1] // 2
    return np.stack([resize(shot, (size, size)) for shot in shots])
