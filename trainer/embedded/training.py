"""Train the embedded CLIP `small`: `python -m goodparts.trainer.embedded.training --trunk FILE --cache DIR --out F`.

The trunk is frozen. Its features of the drawn pictures are kept in --cache, so an interrupted run continues from there
and from the last checkpoint. The pictures come in pairs, a piece without and with its defect, with exact masks.
"""

from __future__ import annotations

import argparse
import copy
import hashlib
import logging
import math
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import open_clip
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..promptad.ensemble import compose
from . import model as small
from .captions import Caption, caption_tokens, contradict, describe
from .features import HELD_OUT_FROM, Cache, open_cache
from .losses import Flaw, matching_loss, pair_loss, patch_loss, state_loss
from .mobilenet import MobileNetV2Trunk, fold_torchvision
from .pictures import SEED
from .probes import fit_bent_probe, fit_linear_probe, sample_patches

log = logging.getLogger(__name__)

TRUNK_SHA256 = "b03531047ffacf1e2488318dcd2aba1126cde36e3bfe1aa5cb07700aeeee9889"
PRODUCTS, HELD_OUT_PRODUCTS = 2000, 300
STEPS, BATCH = 150, 12
LR, WARMUP, WEIGHT_DECAY = 1e-3, 30, 0.05
VISUAL_SHARE = 0.3
"""The image tower's learning rate, as a share of the learning rate of all other weights."""
AVERAGED = 0.97
"""The share of the weights' running mean that each step keeps."""
CHECK_EVERY = 50
LOSSES = {"matching": 0.3, "state": 1.0, "patches": 1.0, "flaw": 1.0, "pairs": 1.0}
"""The losses' names and weights."""
PROBE_CONSTANT = 6.0
"""The constant component of local features that start from the probes (`Trainee.start_from_probes`)."""


def load_trunk(path: Path | None) -> MobileNetV2Trunk:
    """Return the first blocks of torchvision's MobileNetV2, frozen.

    Args:
        path: The file of torchvision's weights; None for those in the embedded file, which are rounded to float16.

    Raises:
        ValueError: The file is not the file that torchvision publishes.
    """
    if path is None:
        return small.load()[0].visual.trunk.requires_grad_(False).eval()
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    if digest != TRUNK_SHA256:
        raise ValueError(f"{path} has SHA-256 {digest}: give torchvision's mobilenet_v2-b0353104.pth, {TRUNK_SHA256}")
    trunk = MobileNetV2Trunk(small.SHAPE.taps)
    trunk.load_state_dict(fold_torchvision(torch.load(path, weights_only=True), small.SHAPE.taps[-1]))
    return trunk.requires_grad_(False).eval()


@dataclass(frozen=True, eq=False)
class Batch:
    """B products of two pieces, each without and with its defect: 4·B pictures in this order.

    Attributes:
        taps: [4·B, W, h, w] for each tap, float32.
        coverage: [4·B, P], 0 to 1: the share of each patch that lies under the mask, on the grid of the prompts.
        captions: Captions, all different.
        truth: [4·B, captions], bool: whether a caption is true of a picture.
        right: [4·B], int64: for each picture, the index of a caption that is true of it and false of the other picture
            of the same piece.
    """

    taps: tuple[Tensor, ...]
    coverage: Tensor
    captions: list[Caption]
    truth: Tensor
    right: Tensor


def draw_batch(cache: Cache, products: int, rng: np.random.Generator) -> Batch:
    """Draw random products of the cache and captions for them.

    Every picture gets a true caption. Every product gets one further caption, which calls a good picture damaged.

    Args:
        cache: The trunk's features.
        products: How many products to draw; all if the cache has fewer.
        rng: The source of randomness.

    Returns:
        The batch.
    """
    drawn = rng.choice(len(cache.kinds), min(products, len(cache.kinds)), replace=False)
    faults = [(cache.kinds[product], fault) for product in drawn for fault in cache.defects[product]]
    named = [(kind, defect) for kind, fault in faults for defect in (None, fault)]
    right = [describe(kind, defect, rng) for kind, defect in named]
    wrong = [contradict(cache.kinds[product], rng) for product in drawn]
    captions = list({caption.text: caption for caption in (*right, *wrong)}.values())
    place = {caption.text: index for index, caption in enumerate(captions)}
    taps = tuple(torch.from_numpy(maps[drawn]).flatten(0, 2).permute(0, 3, 1, 2).float() for maps in cache.taps)
    damaged = torch.from_numpy(cache.coverage[drawn]).flatten(0, 1)
    damaged = F.adaptive_avg_pool2d(damaged.float() / 255, taps[-1].shape[2]).flatten(1)
    return Batch(
        taps,
        torch.stack([torch.zeros_like(damaged), damaged], dim=1).flatten(0, 1),
        captions,
        torch.tensor([[caption.is_true_of(*name) for caption in captions] for name in named]),
        torch.tensor([place[caption.text] for caption in right]),
    )


class Trainee(nn.Module):
    """The model with the parts that only training needs. Its text tower embeds the captions' tokens only.

    Args:
        trunk: The frozen trunk.
    """

    tokens: Tensor

    def __init__(self, trunk: MobileNetV2Trunk) -> None:
        super().__init__()
        tokens = caption_tokens()
        self.register_buffer("tokens", torch.tensor(tokens))
        self.clip = small.HybridCLIP(len(tokens))
        self.clip.visual.trunk = trunk
        self.flaw = Flaw(small.SHAPE.out_width)

    def standardise_on(self, cache: Cache, products: int = 500) -> None:
        """Set the patches' mean and scale to the mean and the scale of a cache's patches.

        Args:
            cache: The trunk's features.
            products: How many of the cache's first products to measure.
        """
        visual = self.clip.visual
        taps = (torch.from_numpy(maps[:products]).flatten(0, 2).permute(0, 3, 1, 2).float() for maps in cache.taps)
        patches = visual.patches(tuple(taps)).flatten(0, 1)
        visual.patch_mean.copy_(patches.mean(dim=0))
        visual.patch_scale.copy_(1 / patches.std(dim=0).clamp(min=1e-3))

    def start_from_probes(self, cache: Cache, products: int) -> None:
        """Set the maps to the mean of a linear and a bent probe, along the flaw's direction of the joint space.

        Another direction gets a constant, so that the probes' value survives the normalisation. The pool over patches
        starts as a soft maximum of that value.

        Args:
            cache: The trunk's features.
            products: How many of the cache's first products the probes are fitted to.
        """
        visual = self.clip.visual
        patches, damaged = sample_patches(visual, cache, products, np.random.default_rng(SEED))
        straight = fit_linear_probe(patches, damaged)
        hidden, out = fit_bent_probe(patches, damaged, visual.shape.hidden)
        with torch.no_grad():
            self.flaw.direction.zero_()[0] = 1.0
            visual.linear.weight.normal_(0, 0.2 * patches.shape[1] ** -0.5)
            visual.linear.weight[0] = straight.weight[0] / 2
            visual.linear.bias.zero_()[0] = (straight.bias[0] + out.bias[0]) / 2
            visual.linear.bias[1] = PROBE_CONSTANT
            visual.hidden.load_state_dict(hidden.state_dict())
            visual.bent.weight.zero_()[0] = out.weight[0] / 2
            visual.attend.weight.zero_()[0, 0] = 1.0
        visual.attend.bias.requires_grad_(False)  # a softmax does not depend on it

    def encode_text(self, captions: list[Caption]) -> Tensor:
        """Return the text features of captions, [captions, D], l2-normalised.

        Args:
            captions: The captions.
        """
        ids = open_clip.tokenize([caption.text for caption in captions], small.CONTEXT_LENGTH)
        features: Tensor = self.clip.text(torch.searchsorted(self.tokens, ids))
        return F.normalize(features.float(), dim=-1)

    def forward(self, batch: Batch) -> Tensor:
        """Return the losses of a batch before their weights, [5], in the order of LOSSES.

        Args:
            batch: The batch.
        """
        visual = self.clip.visual
        patches = visual.patches(batch.taps)
        with torch.autocast("cpu", torch.bfloat16):
            global_, local = (F.normalize(one.float(), dim=-1) for one in visual(patches))
            text = self.encode_text(batch.captions)
        scale, right = self.clip.logit_scale.exp(), batch.right
        logits = scale * global_ @ text.T
        good, bad = right.view(-1, 2).T
        direction = (text[bad] - text[good]).repeat_interleave(2, dim=0)
        margin = scale * torch.einsum("bpc,bc->bp", local, direction)
        flaw = scale * self.flaw(global_)
        return torch.stack(
            [
                matching_loss(logits, batch.truth),
                state_loss(logits, right, right.view(-1, 2).flip(1).flatten()),
                patch_loss(margin, batch.coverage),
                pair_loss((scale * self.flaw(text))[right].view(-1, 1, 2))
                + patch_loss(scale * (self.flaw(local) - self.flaw.offset), batch.coverage),
                pair_loss(flaw.view(-1, 2, 2)),
            ]
        )


@torch.no_grad()
def measure_held_out(trainee: Trainee, held_out: Cache) -> dict[str, float]:
    """Measure the prompt ensemble of the word "surface" on kinds and defects that no training picture shows.

    Args:
        trainee: The model.
        held_out: The trunk's features of held-out products.

    Returns:
        How often a product's damaged picture scores above a good one, 0 to 1: by its global feature (`global`), and by
        its largest patch (`patch`).
    """
    normal, anomalous = compose("surface")
    phrases = [Caption(text, None, False) for text in (*normal, *anomalous)]
    text = trainee.encode_text(phrases)
    flawless, damaged = text[: len(normal)].mean(dim=0), text[len(normal) :].mean(dim=0)
    direction = F.normalize(damaged, dim=-1) - F.normalize(flawless, dim=-1)
    visual, scores = trainee.clip.visual, []
    for start in range(0, len(held_out.kinds), 50):
        batch = (torch.from_numpy(maps[start : start + 50]).flatten(0, 2) for maps in held_out.taps)
        taps = tuple(maps.permute(0, 3, 1, 2).float() for maps in batch)
        global_, local = (F.normalize(one, dim=-1) for one in visual(visual.patches(taps)))
        scores.append(torch.stack([global_ @ direction, (local @ direction).amax(dim=1)]).view(2, -1, 2, 2))
    good, bad = torch.cat(scores, dim=1).unbind(3)
    right = (bad[:, :, :, None] > good[:, :, None, :]).float().mean(dim=(1, 2, 3))
    return {"global": float(right[0]), "patch": float(right[1])}


class Run:
    """A training that can be interrupted: its checkpoint holds everything that the next step depends on.

    Args:
        trainee: The model, which is changed.
        cache: The trunk's features of the training products.
        held_out: The trunk's features of the held-out products.
        steps: The number of steps.
        batch: Products per step.
    """

    def __init__(self, trainee: Trainee, cache: Cache, held_out: Cache, steps: int, batch: int) -> None:
        self.trainee, self.cache, self.held_out, self.steps, self.batch = trainee, cache, held_out, steps, batch
        self.averaged = copy.deepcopy(trainee).requires_grad_(False)
        """The model with the running mean of the weights, which is measured and kept."""
        self.weights = [weight for weight in trainee.parameters() if weight.requires_grad]
        # The image side starts from the probes and needs only small changes.
        visual = {id(weight) for weight in trainee.clip.visual.parameters()}
        groups = [
            {
                "params": [one for one in self.weights if (id(one) in visual) == inside and (one.ndim >= 2) == decayed],
                "weight_decay": WEIGHT_DECAY * decayed,
                "share": VISUAL_SHARE if inside else 1.0,
            }
            for inside in (False, True)
            for decayed in (False, True)
        ]
        self.optimiser = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.98))
        self.step, self.best, self.best_step = 0, -1.0, 0
        self.best_state: dict[str, Tensor] = {}
        self.seen = torch.zeros(len(LOSSES))
        self.loss_weights = torch.tensor(list(LOSSES.values()))

    def rate(self) -> float:
        """Return the next step's learning rate, which warms up and then falls along a cosine."""
        return LR * min((self.step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * self.step / self.steps))

    def advance(self) -> None:
        """Take one step, whose pictures and captions depend on the seed and the step's number only."""
        for group in self.optimiser.param_groups:
            group["lr"] = self.rate() * group["share"]
        losses = self.trainee(draw_batch(self.cache, self.batch, np.random.default_rng([SEED, self.step])))
        self.optimiser.zero_grad()
        (losses * self.loss_weights).sum().backward()
        torch.nn.utils.clip_grad_norm_(self.weights, 1.0)
        self.optimiser.step()
        self.step += 1
        with torch.no_grad():
            self.trainee.clip.logit_scale.clamp_(max=math.log(100.0))
            keep = min(AVERAGED, self.step / (self.step + 9))
            for mean, weight in zip(self.averaged.parameters(), self.trainee.parameters(), strict=True):
                mean.lerp_(weight, 1 - keep)
        self.seen = 0.98 * self.seen + 0.02 * losses.detach()

    def check(self) -> None:
        """Measure the held-out products, log the result, and keep the weights if they are the best so far."""
        found = measure_held_out(self.averaged, self.held_out)
        quality = sum(found.values())
        if quality > self.best:
            self.best, self.best_step = quality, self.step
            self.best_state = {name: tensor.clone() for name, tensor in self.averaged.clip.state_dict().items()}
        losses = zip(LOSSES, (self.seen / (1 - 0.98**self.step)).tolist(), strict=True)
        log.info("step %d of %d: %s; held out: %s", self.step, self.steps,
                 ", ".join(f"{name} {value:.3f}" for name, value in losses),
                 ", ".join(f"{name} {value:.3f}" for name, value in found.items()))  # fmt: skip

    def state(self) -> dict[str, object]:
        """Return the content of a checkpoint."""
        return {
            "trainee": self.trainee.state_dict(),
            "averaged": self.averaged.state_dict(),
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "best": self.best,
            "best_step": self.best_step,
            "best_state": self.best_state,
            "seen": self.seen,
        }

    def resume(self, path: Path) -> None:
        """Continue from a checkpoint.

        Args:
            path: The checkpoint.
        """
        state = torch.load(path, weights_only=True)
        self.trainee.load_state_dict(state["trainee"])
        self.averaged.load_state_dict(state["averaged"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.best, self.best_step = state["step"], state["best"], state["best_step"]
        self.best_state, self.seen = state["best_state"], state["seen"]


def train(run: Run, checkpoint: Path | None = None) -> dict[str, Tensor]:
    """Train to the end.

    Args:
        run: The training.
        checkpoint: A file that keeps the training's state; if it exists, the training continues from it.

    Returns:
        The weights by name that were best on the held-out products.
    """
    if checkpoint is not None and checkpoint.is_file():
        run.resume(checkpoint)
        log.info("continuing from step %d", run.step)
    while run.step < run.steps:
        run.advance()
        if run.step % CHECK_EVERY == 0 or run.step == run.steps:
            run.check()
            if checkpoint is not None:
                torch.save(run.state(), checkpoint.with_suffix(".part"))
                checkpoint.with_suffix(".part").replace(checkpoint)
    log.info("best on the held-out products at step %d", run.best_step)
    return run.best_state


def main() -> None:
    """Run the command line."""
    parser = argparse.ArgumentParser(description="Train the embedded CLIP.")
    parser.add_argument(
        "--trunk",
        type=Path,
        metavar="FILE",
        help="torchvision's mobilenet_v2-b0353104.pth (default: the embedded weights, rounded to float16)",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help="weights to write (.safetensors)")
    parser.add_argument(
        "--cache", type=Path, required=True, metavar="DIR", help="folder for the trunk's features (100 KB per picture)"
    )
    parser.add_argument(
        "--products", type=int, default=PRODUCTS, help="products to train on, with four pictures (default %(default)s)"
    )
    parser.add_argument(
        "--held-out-products", type=int, default=HELD_OUT_PRODUCTS, help="products to test on (default %(default)s)"
    )
    parser.add_argument("--steps", type=int, default=STEPS, help="training steps (default %(default)s; 10 for a trial)")
    parser.add_argument("--batch", type=int, default=BATCH, help="products per step (default %(default)s)")
    args = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    start = time.perf_counter()
    trunk = load_trunk(args.trunk)
    cache = open_cache(args.cache, args.products, trunk)
    held_out = open_cache(args.cache, args.held_out_products, trunk, HELD_OUT_FROM)
    log.info("features of %d pictures are ready after %.0f s", 4 * args.products, time.perf_counter() - start)
    torch.manual_seed(SEED)
    trainee = Trainee(trunk)
    trainee.standardise_on(cache)
    trainee.start_from_probes(cache, args.products)
    run = Run(trainee, cache, held_out, args.steps, args.batch)
    small.save(train(run, args.cache / "checkpoint.pt"), caption_tokens(), args.out)
    log.info("%s written after %.0f min", args.out, (time.perf_counter() - start) / 60)


if __name__ == "__main__":
    main()
