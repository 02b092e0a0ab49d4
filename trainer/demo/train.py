"""Train the demo CLIP on drawn parts: `python -m goodparts.trainer.demo.train --out weights.safetensors`.

open_clip's own model, contrastive captions, and one thing more: the pictures come with exact masks, so the
local features of the V-V path are told which patches are defective. The kinds and defects that are held out
(parts.py) are never drawn here.
"""

from __future__ import annotations

import argparse
import math
import multiprocessing
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import open_clip
import torch
import torch.nn.functional as F
from goodparts.runtime.preprocess import Array8
from goodparts.trainer.vv_tower import VVTower
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor

from . import clip
from .captions import Caption, contradict, describe
from .parts import DEFECTS, HELD_OUT_DEFECTS, HELD_OUT_KINDS, KINDS
from .photos import Line

SEED = 20261122
LINES = 60  # per kind
PHOTOS = 32  # per line, half of them defective
STEPS, BATCH = 1600, 96
LR, WARMUP, WEIGHT_DECAY = 1e-3, 200, 0.05
DEFECTIVE, CLEAN = 0.12, 0.005  # share of a patch under the mask from which it counts as defective, up to which as good


@dataclass(frozen=True)
class Pictures:
    """images uint8 [N,S,S,3]; coverage float32 [N,g,g], each patch's share under the mask; kind, state [N]."""

    images: Array8
    coverage: npt.NDArray[np.float32]
    kind: npt.NDArray[np.int64]
    state: npt.NDArray[np.int64]


def draw_line(job: tuple[int, int]) -> Pictures:
    """All photos of one line: (index into KINDS, seed)."""
    kind, seed = job
    size, grid = clip.IMAGE_SIZE, clip.IMAGE_SIZE // clip.PATCH_SIZE
    defects = [defect for defect in DEFECTS if defect not in HELD_OUT_DEFECTS]
    line = Line(KINDS[kind], seed)
    rng = np.random.default_rng([SEED, kind, seed])
    images, coverage, states = [], [], []
    for index in range(PHOTOS):
        defect = str(rng.choice(defects)) if index % 2 else None
        photo = line.photo(index, defect, size=(size, size))
        images.append(photo.image)
        coverage.append(photo.mask.reshape(grid, clip.PATCH_SIZE, grid, clip.PATCH_SIZE).mean(axis=(1, 3)))
        states.append(0 if defect is None else 1 + DEFECTS.index(defect))
    return Pictures(np.stack(images), np.stack(coverage).astype(np.float32), np.full(PHOTOS, kind), np.array(states))


def draw_pictures(lines: int, workers: int) -> Pictures:
    """The training set, drawn by several processes; the same for any number of them."""
    kinds = [index for index, kind in enumerate(KINDS) if kind not in HELD_OUT_KINDS]
    jobs = [(kind, seed) for seed in range(lines) for kind in kinds]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        parts = pool.map(draw_line, jobs, chunksize=4)
    return Pictures(*(np.concatenate([getattr(part, name) for part in parts]) for name in Pictures.__annotations__))


def augment(images: Tensor, coverage: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flips, quarter turns, light and colour; a batch as float [B,S,S,3] in [0,255] and its coverage."""

    def draw(low: float, high: float, *shape: int) -> Tensor:
        return low + (high - low) * torch.rand(len(images), *shape, generator=generator)

    turns = int(torch.randint(4, (), generator=generator))
    images, coverage = torch.rot90(images, turns, (1, 2)), torch.rot90(coverage, turns, (1, 2))
    if torch.rand((), generator=generator) < 0.5:
        images, coverage = images.flip(2), coverage.flip(2)
    values = images.float() / 255.0
    values = values ** draw(0.7, 1.4, 1, 1, 1) * draw(0.75, 1.25, 1, 1, 1) * draw(0.9, 1.1, 1, 1, 3)
    grey = values.mean(dim=3, keepdim=True)
    values = grey + (values - grey) * draw(0.0, 1.4, 1, 1, 1)
    return (values.clamp(0, 1) * 255.0), coverage


def truth_of(captions: list[Caption], kinds: list[int], states: list[int]) -> Tensor:
    """bool [images, captions]."""
    rows = zip(kinds, states, strict=True)
    return torch.tensor([[caption.is_true_of(kind, state) for caption in captions] for kind, state in rows])


def matching_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Contrastive loss where several captions may be true of a picture, and one caption of several pictures."""

    def one_way(scores: Tensor, positive: Tensor) -> Tensor:
        hits = torch.logsumexp(scores.masked_fill(~positive, -math.inf), dim=1)
        return (torch.logsumexp(scores, dim=1) - hits)[positive.any(dim=1)].mean()

    return (one_way(logits, truth) + one_way(logits.T, truth.T)) / 2


def state_loss(logits: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """Of two captions about a picture's state, one right and one wrong: which is it?"""
    return F.softplus(logits.gather(1, wrong[:, None]) - logits.gather(1, right[:, None])).mean()


def patch_loss(margin: Tensor, coverage: Tensor) -> Tensor:
    """Patches [B,P] by how much more anomalous than normal they look; both classes weigh the same."""
    bad, good = coverage > DEFECTIVE, coverage < CLEAN
    return (F.softplus(-margin[bad]).mean() + F.softplus(margin[good]).mean()) / 2


def train(pictures: Pictures, steps: int, batch: int) -> open_clip.CLIP:
    """Train a new model; the same pictures, steps and batch give the same weights on the same machine.

    Its embedding has rows for the captions' tokens alone, in their order.
    """
    torch.manual_seed(SEED)
    generator, rng = torch.Generator().manual_seed(SEED), np.random.default_rng(SEED)
    model = open_clip.CLIP(**clip.CONFIG)
    vocabulary = torch.tensor(caption_tokens())
    model.token_embedding = torch.nn.Embedding(len(vocabulary), model.token_embedding.embedding_dim)
    torch.nn.init.normal_(model.token_embedding.weight, std=0.02)
    tower = VVTower(model.visual)
    decayed = [weight for weight in model.parameters() if weight.ndim >= 2]
    plain = [weight for weight in model.parameters() if weight.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}],
        lr=LR, betas=(0.9, 0.98),
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )
    images, coverage = torch.from_numpy(pictures.images), torch.from_numpy(pictures.coverage)
    start = time.perf_counter()
    seen = np.zeros(3)
    for step in range(steps):
        rows = rng.choice(len(images), batch, replace=False)
        kinds, states = pictures.kind[rows].tolist(), pictures.state[rows].tolist()
        right = [describe(kind, state, rng) for kind, state in zip(kinds, states, strict=True)]
        wrong = [contradict(kind, state, rng) for kind, state in zip(kinds, states, strict=True)]
        captions = list({caption.text: caption for caption in (*right, *wrong)}.values())
        place = {caption.text: index for index, caption in enumerate(captions)}
        right_at, wrong_at = (torch.tensor([place[one.text] for one in some]) for some in (right, wrong))

        pixels, covered = augment(images[rows], coverage[rows], generator)
        global_, local, *_ = tower(pixels)
        tokens = open_clip.tokenize([caption.text for caption in captions], clip.CONTEXT_LENGTH)
        text = F.normalize(model.encode_text(torch.searchsorted(vocabulary, tokens)), dim=-1)
        scale = model.logit_scale.exp()
        logits = scale * global_ @ text.T
        bad = torch.tensor([state > 0 for state in states])
        anomalous = text[torch.where(bad, right_at, wrong_at)]
        normal = text[torch.where(bad, wrong_at, right_at)]
        margin = scale * torch.einsum("bpc,bc->bp", local, anomalous - normal)
        losses = torch.stack(
            [
                matching_loss(logits, truth_of(captions, kinds, states)),
                state_loss(logits, right_at, wrong_at),
                patch_loss(margin, covered.flatten(1)),
            ]
        )
        optimiser.zero_grad()
        losses.sum().backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            model.logit_scale.clamp_(max=math.log(100.0))
        seen = 0.98 * seen + 0.02 * losses.detach().numpy()
        if step % 100 == 99:
            known = seen / (1 - 0.98 ** (step + 1))
            speed = (time.perf_counter() - start) / (step + 1)
            print(
                f"step {step + 1}/{steps}: matching {known[0]:.3f}, state {known[1]:.3f}, patches {known[2]:.3f}, "
                f"scale {float(model.logit_scale.detach().exp()):.1f}, {speed:.2f} s a step",
                flush=True,
            )
    return model


def caption_tokens() -> list[int]:
    """Ids of every token that a caption can hold, in order; the padding is 0 and [EOS] is the last."""
    from .captions import BAD, FRAMES, GOOD, NOUNS, WITH

    tokenizer = SimpleTokenizer()
    words = " ".join((*FRAMES, *GOOD, *BAD, *WITH, *NOUNS, *KINDS, *DEFECTS)).replace("{defect}", "").replace("{}", "")
    return sorted({0, *tokenizer.encode(words), tokenizer.sot_token_id, tokenizer.eot_token_id})


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the demo CLIP on drawn parts.")
    parser.add_argument("--out", type=Path, default=clip.WEIGHTS, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--lines", type=int, default=LINES, help="lines per kind (default %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="default %(default)s")
    parser.add_argument("--batch", type=int, default=BATCH, help="default %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw (default %(default)s)")
    args = parser.parse_args()
    start = time.perf_counter()
    pictures = draw_pictures(args.lines, args.workers)
    print(f"{len(pictures.images)} pictures drawn in {time.perf_counter() - start:.0f} s", flush=True)
    clip.save(train(pictures, args.steps, args.batch), caption_tokens(), args.out)
    print(f"{args.out} written after {(time.perf_counter() - start) / 60:.0f} min")


if __name__ == "__main__":
    main()
