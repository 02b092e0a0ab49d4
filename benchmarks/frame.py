"""A whole camera frame, uint8 RGB 1280×1024 → Inspection with its map, batch 1, on every backend the engine allows.

The peer is the same torch tower, eager, in the same precision, with the same preprocessing and scoring
around it, and with its threads set so that it is fastest; ours runs as it ships. Per backend: median and 99th
percentile of the whole, and the median of every stage. The encoder's rate is set beside a large matrix
product that torch runs in the same precision in the same rounds: their ratio is the share of the machine's
measured ceiling, median by median, so that noise falls on both alike.
"""

from __future__ import annotations

import logging
import tempfile
from contextlib import ExitStack
from pathlib import Path

import torch
from goodparts.export.engines import find_engine, make_engine
from goodparts.runtime.engine import EngineSpec, Precision
from goodparts.trainer.tower import Tower
from goodparts.trainer.vv_tower import VVTower
from torch.utils.flop_counter import FlopCounterMode

from .contenders import SIDE, Milliseconds, inspect_in_torch, inspect_on_backend, multiply_in_torch
from .report import Findings, Options
from .synthetic import make_recipe, open_backbone
from .timing import REST, Timing, Worker, interleave, percentile

log = logging.getLogger(__name__)

REPEAT = 20
SHOTS = 4
TORCH_AT_ITS_BEST = {"OPENBLAS_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000"}
"""Left alone, numpy's threads and torch's stall one another in one process: many times slower on two cores."""

Timings = dict[str, Timing[Milliseconds]]


def measure(options: Options) -> Findings:
    findings = Findings()
    log.info("building %s", options.backbone)
    backbone = open_backbone(options.backbone)
    work, full = encoder_flops(backbone.visual), encoder_flops(backbone.visual, full=True)
    findings.add("encoder's work per view", work / 1e9, "GFLOP", "dual path in full", full / 1e9)
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.engine or Path(temporary) / "engine"
        spec = find_engine(backbone, folder) or make_engine(backbone, folder)
        del backbone  # the workers build their own
        timings = time_all(options, spec, folder, Path(temporary))
    for precision, variant in spec.variants.items():
        for record in variant.parity:
            add_backend(findings, timings, record.backend, precision, work)
    return findings


def time_all(options: Options, spec: EngineSpec, folder: Path, temporary: Path) -> Timings:
    """Every backend, eager torch and the matrix product, in every precision of the engine, by turns."""
    with ExitStack() as stack:
        contenders: dict[str, Worker[Milliseconds]] = {}

        def enter(name: str, worker: Worker[Milliseconds]) -> None:
            contenders[name] = stack.enter_context(worker)

        for precision, variant in spec.variants.items():
            recipe = temporary / f"{precision}.safetensors"
            make_recipe(spec.encoder, spec.graph_id(precision), SHOTS).save(recipe)
            for record in variant.parity:
                worker = Worker(inspect_on_backend, folder, recipe, record.backend, precision)
                enter(f"{record.backend} {precision}", worker)
            arguments = folder, recipe, options.backbone, precision
            enter(f"torch {precision}", Worker(inspect_in_torch, *arguments, environment=TORCH_AT_ITS_BEST))
            enter(f"product {precision}", Worker(multiply_in_torch, precision))
        repeat = options.repeat or REPEAT
        log.info("timing %s: %d rounds", ", ".join(contenders), repeat)
        return interleave(contenders, repeat, warm=3, settle=1, rest=REST)


def add_backend(findings: Findings, timings: Timings, backend: str, precision: Precision, work: int) -> None:
    """The rows of one backend, beside eager torch in the same precision."""
    name, peer = f"{backend} {precision}", f"eager torch {precision}"
    ours, torch, product = timings[name], timings[f"torch {precision}"], timings[f"product {precision}"]
    findings.add(f"{name}, frame, median", ours.median * 1e3, "ms", peer, torch.median * 1e3)
    findings.add(f"{name}, frame, p99", ours.p99 * 1e3, "ms", peer, torch.p99 * 1e3)
    for stage in ours.returned[0]:
        findings.add(f"{name}, {stage}", median_of(ours, stage), "ms", peer, median_of(torch, stage))
    rate = work / median_of(ours, "encode") / 1e6
    ceiling = 2 * SIDE**3 / product.median / 1e9
    findings.add(f"{name}, encoder's rate", rate, "GFLOP/s", f"{SIDE}³ product {precision}", ceiling, higher=True)
    findings.remarks.append(f"{name}: the encoder reaches {rate / ceiling:.0%} of the machine's measured ceiling")


def median_of(timing: Timing[Milliseconds], stage: str) -> float:
    return percentile([stages[stage] for stages in timing.returned], 50)


def encoder_flops(tower: Tower, full: bool = False) -> int:
    """Floating point operations per view, 2 per multiply-add, in matrix products, convolutions and attentions.

    As the tower does it: a ViT's last block works on [CLS] alone in its ordinary attention and its MLP. `full`:
    as if every block did all of both attentions and the MLP; a ResNet has no blocks to save in.
    """
    if not isinstance(tower, VVTower):
        with FlopCounterMode(display=False) as counter, torch.inference_mode():
            tower(torch.zeros(1, tower.image_size, tower.image_size, 3, dtype=torch.uint8))
        return int(counter.get_total_flops())
    width = tower.width
    patches = tower.grid[0] * tower.grid[1]
    tokens = patches + 1
    total = 2 * patches * int(tower.visual.conv1.weight.numel()) + 2 * tokens * width * tower.out_width
    for number, block in enumerate(tower.blocks, start=1):
        last = number == len(tower.blocks) and not full
        queries = 1 if last and number not in tower.taps else tokens  # of the ordinary attention
        through_mlp = 1 if last else tokens
        mlp = sum(int(parameter.numel()) for parameter in block.mlp.parameters() if parameter.dim() == 2)
        total += 2 * tokens * width * 3 * width  # queries, keys, values
        total += 4 * (queries + tokens) * tokens * width  # both attentions
        total += 2 * (queries + tokens) * width * width  # their output projection
        total += 2 * through_mlp * mlp
    return total
