"""Train the embedded CLIP on drawn parts: `python -m goodparts.trainer.clip.embedded_training --out FILE`.

open_clip's own model and contrastive captions, and one thing more: the pictures come in pairs, a piece without
and with its defect, and with exact masks. So the local features of the V-V path are told which patches are
defective, and the memory features which patches another good piece of the same line does not have. The kinds and
defects that are held out (parts.py) are never drawn here.
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
from goodparts.drawn.parts import DEFECTS, HELD_OUT_DEFECTS, HELD_OUT_KINDS, KINDS
from goodparts.drawn.photos import DrawnProduct
from goodparts.runtime.core.preprocess import Array8
from open_clip.tokenizer import SimpleTokenizer
from torch import Tensor
from torch.nn.attention import SDPBackend, sdpa_kernel

from . import embedded
from .captions import NORMAL, Caption, contradict, describe
from .vv_tower import VVTower

SEED = 20261122
LINES = 120  # per kind
PIECES = 8  # per line
STEPS, BATCH = 5000, 16  # lines a step, of each two pieces without and with a defect
LR, WARMUP, WEIGHT_DECAY = 2e-3, 100, 0.05
DEFECTIVE, CLEAN = 0.12, 0.005  # share of a patch under the mask from which it counts as defective, up to which as good


@dataclass(frozen=True)
class Pictures:
    """N lines of n pieces. images uint8 [N,n,2,S,S,3], each without and with its defect; coverage float32
    [N,n,g,g], each patch's share under the mask; kind [N]; defect [N,n], index into DEFECTS."""

    images: Array8
    coverage: npt.NDArray[np.float32]
    kind: npt.NDArray[np.int64]
    defect: npt.NDArray[np.int64]


def draw_line(job: tuple[int, int]) -> Pictures:
    """Draw all photos of one line; job: (index into KINDS, seed)."""
    kind, seed = job
    size, grid = embedded.IMAGE_SIZE, embedded.IMAGE_SIZE // embedded.PATCH_SIZE
    known = [index for index, defect in enumerate(DEFECTS) if defect not in HELD_OUT_DEFECTS]
    line = DrawnProduct(KINDS[kind], seed)
    defects = np.random.default_rng([SEED, kind, seed]).choice(known, PIECES)
    images, coverage = [], []
    for index, defect in enumerate(defects):
        good, bad = (line.photo(index, what, size=(size, size)) for what in (None, DEFECTS[defect]))
        images.append([good.image, bad.image])
        coverage.append(bad.mask.reshape(grid, embedded.PATCH_SIZE, grid, embedded.PATCH_SIZE).mean(axis=(1, 3)))
    return Pictures(np.array(images), np.array(coverage, np.float32), np.array(kind), defects)


def draw_pictures(lines: int, workers: int) -> Pictures:
    """The training set, drawn by several processes; the same for any number of them."""
    kinds = [index for index, kind in enumerate(KINDS) if kind not in HELD_OUT_KINDS]
    jobs = [(kind, seed) for seed in range(lines) for kind in kinds]
    with multiprocessing.get_context("spawn").Pool(workers) as pool:
        parts = pool.map(draw_line, jobs, chunksize=4)
    return Pictures(*(np.stack([getattr(part, name) for part in parts]) for name in Pictures.__annotations__))


def augment(images: Tensor, coverage: Tensor, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Flips, quarter turns, light and colour, alike for all pictures of a line: uint8 [B,n,2,S,S,3] and its
    coverage [B,n,g,g] → float in [0,255] and coverage."""

    def draw(low: float, high: float, channels: int = 1) -> Tensor:
        return low + (high - low) * torch.rand(len(images), 1, 1, 1, 1, channels, generator=generator)

    turns = int(torch.randint(4, (), generator=generator))
    images, coverage = torch.rot90(images, turns, (3, 4)), torch.rot90(coverage, turns, (2, 3))
    if torch.rand((), generator=generator) < 0.5:
        images, coverage = images.flip(4), coverage.flip(3)
    values = images.float() / 255.0
    values = values ** draw(0.7, 1.4) * draw(0.75, 1.25) * draw(0.9, 1.1, 3)
    grey = values.mean(dim=5, keepdim=True)
    values = grey + (values - grey) * draw(0.0, 1.4)
    return values.clamp(0, 1) * 255.0, coverage


def truth_of(captions: list[Caption], kinds: list[int], states: list[int]) -> Tensor:
    """Return which captions are true of which images, bool [images, captions]."""
    rows = zip(kinds, states, strict=True)
    return torch.tensor([[caption.is_true_of(kind, state) for caption in captions] for kind, state in rows])


def matching_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """Return the contrastive loss; several captions may be true of a picture, and one caption of several pictures."""

    def one_way(scores: Tensor, positive: Tensor) -> Tensor:
        hits = torch.logsumexp(scores.masked_fill(~positive, -math.inf), dim=1)
        return (torch.logsumexp(scores, dim=1) - hits)[positive.any(dim=1)].mean()

    return (one_way(logits, truth) + one_way(logits.T, truth.T)) / 2


def state_loss(logits: Tensor, right: Tensor, wrong: Tensor) -> Tensor:
    """Return the loss of choosing between two captions about a picture's state, one right and one wrong."""
    return F.softplus(logits.gather(1, wrong[:, None]) - logits.gather(1, right[:, None])).mean()


def patch_loss(margin: Tensor, coverage: Tensor) -> Tensor:
    """Return the loss of telling defective patches from good ones, by how much more anomalous than normal they look.

    Both classes weigh the same.
    """
    bad, good = coverage > DEFECTIVE, coverage < CLEAN
    return (F.softplus(-margin[bad]).mean() + F.softplus(margin[good]).mean()) / 2


def rank_loss(values: Tensor, scale: Tensor) -> Tensor:
    """Return the loss of values [B,n,2], without and with a defect; it falls as defective ones rise above good ones."""
    good, bad = values.unbind(2)
    return F.softplus(scale * (good[:, None] - bad[:, :, None])).mean()


class Flaw(torch.nn.Module):
    """One direction of the joint space along which good and bad pictures, captions and patches are told to part.

    Without it the text tower has nothing to agree with the pictures about for the first third of the training.
    """

    def __init__(self, width: int) -> None:
        super().__init__()
        self.direction = torch.nn.Parameter(0.05 * torch.randn(width))
        self.offset = torch.nn.Parameter(torch.zeros(()))

    def forward(self, features: Tensor) -> Tensor:
        """Return the components [...] of features [...,D] along the direction."""
        along: Tensor = features @ F.normalize(self.direction, dim=0)
        return along


class Novelty(torch.nn.Module):
    """Reads the distance to a memory as a margin: is this patch unlike every patch of another good piece?"""

    def __init__(self, memories: int) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.full((memories,), 3.0))
        self.offset = torch.nn.Parameter(torch.full((memories,), -1.0))

    def forward(self, memory: tuple[Tensor, ...]) -> Tensor:
        """memory: [B,2,2,P,W] each (line, piece, without or with defect) → margins [memories,B,2,2,P], every
        piece looked up in the other one of its line."""
        margins = []
        for index, features in enumerate(memory):
            other = features[:, :, 0].flip(1)
            nearest = torch.einsum("bisqw,bipw->bisqp", features, other).amax(dim=4)
            margins.append(self.slope[index].exp() * (1.0 - nearest) + self.offset[index])
        return torch.stack(margins)


@dataclass(frozen=True)
class Batch:
    """B lines, of each two pieces without and with a defect: B·2·2 pictures in that order.

    pixels float [B·4,S,S,3] in [0,255]; coverage [B,2,2,P]; the distinct captions; truth bool [B·4,captions]; right
    int [B·4], a true caption of each picture. Of a piece's two pictures, what is right of one is wrong of the other.
    """

    pixels: Tensor
    coverage: Tensor
    captions: list[Caption]
    truth: Tensor
    right: Tensor


def draw_batch(pictures: Pictures, lines: int, rng: np.random.Generator, generator: torch.Generator) -> Batch:
    """Draw a batch from the pictures; the captions include one per line that is wrong of its good pictures."""
    lines_drawn = rng.choice(len(pictures.images), lines, replace=False)[:, None]
    pieces = rng.permuted(np.tile(np.arange(pictures.images.shape[1]), (lines, 1)), axis=1)[:, :2]
    kinds = np.repeat(pictures.kind[lines_drawn[:, 0]], 4).tolist()
    faults = pictures.defect[lines_drawn, pieces]
    states = np.stack([np.full_like(faults, NORMAL), 1 + faults], axis=2).ravel().tolist()
    right = [describe(kind, state, rng) for kind, state in zip(kinds, states, strict=True)]
    wrong = [contradict(kind, NORMAL, rng) for kind in kinds[::4]]
    captions = list({caption.text: caption for caption in (*right, *wrong)}.values())
    place = {caption.text: index for index, caption in enumerate(captions)}
    images, coverage = (torch.from_numpy(part[lines_drawn, pieces]) for part in (pictures.images, pictures.coverage))
    pixels, covered = augment(images, coverage, generator)
    return Batch(
        pixels.flatten(0, 2),
        torch.stack([torch.zeros_like(covered), covered], dim=2).flatten(3),
        captions,
        truth_of(captions, kinds, states),
        torch.tensor([place[caption.text] for caption in right]),
    )


class Trainee(torch.nn.Module):
    """The model, and what only its training needs.

    Its embedding has rows for the captions' tokens alone, in their order.
    """

    LOSSES = "matching", "state", "patches", "flaw", "memory"

    def __init__(self) -> None:
        super().__init__()
        self.clip = open_clip.CLIP(**embedded.CONFIG)
        self.tokens = torch.tensor(caption_tokens())
        self.clip.token_embedding = torch.nn.Embedding(len(self.tokens), self.clip.token_embedding.embedding_dim)
        torch.nn.init.normal_(self.clip.token_embedding.weight, std=0.02)
        self.tower = VVTower(self.clip.visual)
        self.novelty = Novelty(len(self.tower.taps))
        self.flaw = Flaw(self.clip.visual.output_dim)

    def forward(self, batch: Batch) -> Tensor:
        """Batch → the LOSSES."""
        tokens = open_clip.tokenize([caption.text for caption in batch.captions], embedded.CONTEXT_LENGTH)
        with torch.autocast("cpu", torch.bfloat16), sdpa_kernel(SDPBackend.MATH):
            global_, local, *memory = (output.float() for output in self.tower(batch.pixels))
            text = F.normalize(self.clip.encode_text(torch.searchsorted(self.tokens, tokens)).float(), dim=-1)
        scale, covered, right = self.clip.logit_scale.exp(), batch.coverage, batch.right
        logits = scale * global_ @ text.T
        good, bad = right.view(-1, 2).T
        direction = (text[bad] - text[good]).repeat_interleave(2, dim=0)
        margin = scale * torch.einsum("bpc,bc->bp", local, direction)
        pieces = covered.shape[:3]
        novelty = self.novelty(tuple(features.unflatten(0, pieces) for features in memory))
        return torch.stack(
            [
                matching_loss(logits, batch.truth),
                state_loss(logits, right, right.view(-1, 2).flip(1).flatten()),
                patch_loss(margin, covered.flatten(0, 2)),
                rank_loss(self.flaw(global_).view(pieces), scale)
                + rank_loss(self.flaw(text)[right].view(-1, 1, 2), scale)
                + patch_loss(scale * (self.flaw(local) - self.flaw.offset), covered.flatten(0, 2)),
                patch_loss(novelty, covered.expand_as(novelty)),
            ]
        )


def train(pictures: Pictures, steps: int, batch: int) -> open_clip.CLIP:
    """Train a new model; the same pictures, steps and batch give the same weights on the same machine."""
    torch.manual_seed(SEED)
    torch.backends.cuda.allow_fp16_bf16_reduction_math_sdp(True)  # halves an attention's time; on CPUs too
    generator, rng = torch.Generator().manual_seed(SEED), np.random.default_rng(SEED)
    trainee = Trainee()
    weights = list(trainee.parameters())
    decayed = [weight for weight in weights if weight.ndim >= 2]
    plain = [weight for weight in weights if weight.ndim < 2]
    optimiser = torch.optim.AdamW(
        [{"params": decayed, "weight_decay": WEIGHT_DECAY}, {"params": plain, "weight_decay": 0.0}],
        lr=LR, betas=(0.9, 0.98),
    )  # fmt: skip
    schedule = torch.optim.lr_scheduler.LambdaLR(
        optimiser, lambda step: min((step + 1) / WARMUP, 0.5 + 0.5 * math.cos(math.pi * step / steps))
    )
    start = time.perf_counter()
    smoothed = np.zeros(len(Trainee.LOSSES))
    for step in range(1, steps + 1):
        losses = trainee(draw_batch(pictures, batch, rng, generator))
        optimiser.zero_grad()
        losses.sum().backward()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimiser.step()
        schedule.step()
        with torch.no_grad():
            trainee.clip.logit_scale.clamp_(max=math.log(100.0))
        smoothed = 0.98 * smoothed + 0.02 * losses.detach().numpy()
        if step % 100 == 0:
            means = zip(Trainee.LOSSES, smoothed / (1 - 0.98**step), strict=True)
            speed = (time.perf_counter() - start) / step
            print(f"step {step}/{steps}:", *(f"{name} {value:.3f}," for name, value in means), f"{speed:.2f} s a step",
                  flush=True)  # fmt: skip
    return trainee.clip


def caption_tokens() -> list[int]:
    """Ids of every token that a caption can hold, in order; the padding is 0 and [EOS] is the last."""
    from .captions import BAD, FRAMES, GOOD, NOUNS, WITH

    tokenizer = SimpleTokenizer()
    words = " ".join((*FRAMES, *GOOD, *BAD, *WITH, *NOUNS, *KINDS, *DEFECTS)).replace("{defect}", "").replace("{}", "")
    return sorted({0, *tokenizer.encode(words), tokenizer.sot_token_id, tokenizer.eot_token_id})


def main() -> None:
    parser = argparse.ArgumentParser(description="Train the embedded CLIP on drawn parts.")
    parser.add_argument("--out", type=Path, default=embedded.WEIGHTS, metavar="FILE", help="default: %(default)s")
    parser.add_argument("--lines", type=int, default=LINES, help="lines per kind (default %(default)s)")
    parser.add_argument("--steps", type=int, default=STEPS, help="default %(default)s")
    parser.add_argument("--batch", type=int, default=BATCH, help="default %(default)s")
    parser.add_argument("--workers", type=int, default=2, help="processes that draw (default %(default)s)")
    args = parser.parse_args()
    start = time.perf_counter()
    pictures = draw_pictures(args.lines, args.workers)
    print(f"{pictures.defect.size * 2} pictures drawn in {time.perf_counter() - start:.0f} s", flush=True)
    embedded.save(train(pictures, args.steps, args.batch), caption_tokens(), args.out)
    print(f"{args.out} written after {(time.perf_counter() - start) / 60:.0f} min")


if __name__ == "__main__":
    main()
