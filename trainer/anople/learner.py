"""Learning: frozen towers, prompts, prefix and decoder trained to tell painted defects from good parts."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import hashlib
import time
from collections.abc import Sequence
from pathlib import Path

import msgspec
import numpy as np
import torch
from goodparts.runtime.backends.session import VIEWS_AT_ONCE, in_parts
from goodparts.runtime.backends.tensors import Outputs, name_outputs, to_features
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Features, Floats
from torch import Tensor, nn

from ..clip.backbone import Backbone
from ..steps import Progress, flushed_denormals
from . import losses
from .batches import Batch, BatchSource
from .checkpoint import CheckpointHeader, read_checkpoint, write_checkpoint
from .model import Model, Subject
from .settings import AnoPLeSettings

WARM_UP = 0.1
"""The share of the steps over which the learning rate rises."""
WRITE_EVERY = 30.0
"""Seconds between two checkpoints: a kill costs as much at most, and a step more."""


class AnoPLeLearner:
    """Learns one set of prompts and one decoder for one product or many; `step` once, or `learn` to the end."""

    def __init__(
        self,
        backbone: Backbone,
        subjects: Sequence[Subject],
        settings: AnoPLeSettings,
        seed: int = 0,
        textures: Sequence[Path] = (),
    ) -> None:
        """Make everything ready for the first step.

        Args:
            backbone: The backbone with the frozen towers, whose image tower is a ViT.
            subjects: The products.
            settings: The method's settings.
            seed: The seed of everything that is drawn.
            textures: Pictures that painted defects are filled with; without any, drawn ones and pieces of the shots.

        Raises:
            BackboneError: The image tower is no ViT.
            SettingsError: A product's text does not fit into the text tower.
        """
        self.settings = settings
        self.done = 0
        """Steps so far."""
        self.model = Model(backbone, subjects, settings, seed)
        self.batches = BatchSource(subjects, settings, self.model.grid, seed, textures, backbone.device)
        self._backbone = backbone
        self._subjects = subjects
        self._seed = seed
        self._textures = textures
        self.optimiser = torch.optim.AdamW(
            [
                {"params": [*self.model.prompts.parameters()], "peak": settings.lr},
                {"params": [*self.model.decoder.parameters()], "peak": settings.decoder_lr},
            ],
            weight_decay=settings.weight_decay,
        )

    @functools.cached_property
    def digest(self) -> str:
        """The SHA-256 of everything that learning depends on; of textures it covers the file names only."""
        weights, texts = self._backbone.encoder.weights, [subject.text for subject in self._subjects]
        names = [path.name for path in self._textures]
        digest = hashlib.sha256(msgspec.json.encode([weights, self.settings, self._seed, texts, names]))
        for subject in self._subjects:
            digest.update(subject.shots.tobytes())
        return digest.hexdigest()

    def losses(self, batch: Batch) -> Tensor:
        """Return L_pixel, L_img, and L_align before its weight, [3], with gradients."""
        settings, temperature = self.settings, self.settings.temperature
        with self._precision():
            features = self.model.encode(batch.views, batch.places)
            text, masks = self.model.text()[batch.products], batch.masks
            if settings.latent_noise:
                good = ~masks.flatten(1).any(dim=1)
                disturbed = self._disturb([part[good] for part in features])
                features = tuple(torch.cat(pair) for pair in zip(features, disturbed, strict=True))
                text = torch.cat([text, text[good]])
                masks = torch.cat([masks, torch.ones_like(masks[good])])
            image, *inputs = features
            decoded = self.model.decoder(*inputs)
        image, decoded, text = image.float(), decoded.float(), text.float()
        patches = decoded.unflatten(1, self.model.grid)
        logits = losses.logits(patches, text, temperature)
        probability = logits.sigmoid()
        bad = masks.flatten(1).any(dim=1)
        pixel_loss = losses.dice(probability, masks) + losses.focal(logits, masks)
        image_loss = losses.contrastive(image, text, bad, temperature)
        aligned = bad if settings.align == "anomalous" else torch.ones_like(bad)
        alignment_loss = losses.alignment(
            image[aligned], patches[aligned], probability[aligned], settings.normalise_alignment
        )
        return torch.stack([pixel_loss, image_loss, alignment_loss])

    def _disturb(self, features: Sequence[Tensor]) -> list[Tensor]:
        """Make anomalies of good photos' features as SimpleNet does: add Gaussian noise and normalise again.

        features: what the image tower puts out, l2-normalised: global [G,D], and what the decoder reads, [G,P,W] each.
        """
        generator = torch.Generator().manual_seed(self._seed + self.done)
        disturbed = []
        for part in features:
            noise = torch.randn(part.shape, generator=generator).to(part) / part.shape[-1] ** 0.5  # of length 1
            disturbed.append(nn.functional.normalize(part + self.settings.latent_noise * noise, dim=-1))
        return disturbed

    def step(self) -> Tensor:
        """Take one step of AdamW and return the losses before it, [3]."""
        settings = self.settings
        warm = max(1, round(WARM_UP * settings.steps))
        progress = (self.done - warm) / max(1, settings.steps - warm)
        rate = (self.done + 1) / warm if self.done < warm else 0.5 * (1 + np.cos(np.pi * progress))
        for group in self.optimiser.param_groups:
            group["lr"] = group["peak"] * rate
        step_losses = self.losses(self.batches.draw(self.done))
        pixel_loss, image_loss, alignment_loss = step_losses
        total = pixel_loss + image_loss + settings.alignment_weight * alignment_loss
        self.optimiser.zero_grad()
        total.backward()
        self.optimiser.step()
        self.done += 1
        return step_losses.detach()

    def learn(self, progress: Progress = iter, checkpoint: Path | None = None) -> None:
        """Take all steps that are left.

        Args:
            progress: Shows how many steps are done.
            checkpoint: A file in which the state is kept; if it exists, learning goes on from what it holds.

        Raises:
            SettingsError: Learning diverged, or the checkpoint belongs to another run.
            FileError: The checkpoint is damaged, or cannot be written.
        """
        if checkpoint is not None and checkpoint.exists():
            self.done = read_checkpoint(checkpoint, self.digest, self.model, self.optimiser)
        written = time.monotonic()
        with flushed_denormals():
            for _ in progress(range(self.done, self.settings.steps)):
                self.step()
                if checkpoint is not None and time.monotonic() - written >= WRITE_EVERY:
                    header = CheckpointHeader(self.done, self.digest)
                    write_checkpoint(checkpoint, header, self.model, self.optimiser)
                    written = time.monotonic()
        with torch.no_grad():
            finite = all(bool(tensor.isfinite().all()) for tensor in self.model.state_dict().values())
        if not finite:
            raise SettingsError(f"learning diverged at a learning rate of {self.settings.lr}: lower it")

    def encode(self, views: Array8) -> Features:
        """Encode views uint8 RGB [B,S,S,3] through torch with the prompts as they stand; `local` is decoded."""
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
        """Return the prototypes, which are the same for both levels: l2-normalised float32 [products,2,D]."""
        with torch.inference_mode():
            return np.asarray(self.model.text().float().cpu().numpy())

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        """Use bf16 on a GPU, with the learned weights in fp32; fp32 on a CPU."""
        if self._backbone.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()
