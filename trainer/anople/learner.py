"""AnoPLe's learning: prompts, prefix and decoder learn to tell painted defects from good parts, with frozen towers."""

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
"""Seconds between two checkpoints; a killed run loses at most this time and one step."""


class AnoPLeLearner:
    """Learns one set of prompts and one decoder for one or more products: `learn` takes all remaining steps.

    Args:
        backbone: The backbone with the frozen towers, whose image tower has to be a ViT.
        subjects: The products.
        settings: The method's settings.
        seed: The seed of everything that is drawn.
        textures: Picture files of textures for painted defects; if empty, textures are drawn or cut out of the shots.

    Raises:
        BackboneError: The image tower is no ViT.
        SettingsError: A product's text does not fit into the text tower.
    """

    def __init__(
        self,
        backbone: Backbone,
        subjects: Sequence[Subject],
        settings: AnoPLeSettings,
        seed: int = 0,
        textures: Sequence[Path] = (),
    ) -> None:
        self.settings = settings
        self.done = 0
        """The number of steps taken."""
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
        """The SHA-256 of everything that learning depends on; of the textures it covers only the file names."""
        weights, texts = self._backbone.encoder.weights, [subject.text for subject in self._subjects]
        names = [path.name for path in self._textures]
        digest = hashlib.sha256(msgspec.json.encode([weights, self.settings, self._seed, texts, names]))
        for subject in self._subjects:
            digest.update(subject.shots.tobytes())
        return digest.hexdigest()

    def losses(self, batch: Batch) -> Tensor:
        """Compute the three losses of a batch, with gradients.

        Args:
            batch: The views of a step.

        Returns:
            [3]: L_pixel (Dice and focal loss of the map), L_img (contrastive), and L_align before its weight.
        """
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
        """Turn good views' features into anomalies as SimpleNet does: add Gaussian noise and l2-normalise them again.

        docs/anople.md describes it as A8. The features are the image tower's outputs for G views: global [G, D], local
        [G, P, D], and memory [G, P, W] for each tap.
        """
        generator = torch.Generator().manual_seed(self._seed + self.done)
        disturbed = []
        for part in features:
            noise = torch.randn(part.shape, generator=generator).to(part) / part.shape[-1] ** 0.5  # length about 1
            disturbed.append(nn.functional.normalize(part + self.settings.latent_noise * noise, dim=-1))
        return disturbed

    def step(self) -> Tensor:
        """Take one step of AdamW.

        Returns:
            [3]: the losses before the step, in the order of `losses`.
        """
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
        """Take all remaining steps.

        Args:
            progress: Shows how many steps are done.
            checkpoint: A file that keeps the state of learning; if it exists, learning continues from it.

        Raises:
            SettingsError: Learning diverged, or the checkpoint belongs to another run.
            FileError: The checkpoint is damaged or cannot be written.
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
        """Encode views through torch with the current prompts.

        Args:
            views: [B, S, S, 3], uint8, RGB.

        Returns:
            The features, where `local` holds the decoded patches. With the setting memory="plain", the memory comes
            from a second pass without prompts.
        """
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
        """Return each product's prototypes, [products, 2, D], float32, l2-normalised; photos and patches share them.

        A product's first prototype is normal, its second anomalous.
        """
        with torch.inference_mode():
            return np.asarray(self.model.text().float().cpu().numpy())

    def _precision(self) -> contextlib.AbstractContextManager[object]:
        """Return a context that computes in bf16 on a GPU and fp32 on a CPU; the learned weights are always fp32."""
        if self._backbone.device.type == "cuda":
            return torch.autocast("cuda", torch.bfloat16)
        return contextlib.nullcontext()
