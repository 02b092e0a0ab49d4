"""Latency of a camera frame, uint8 RGB 1280×1024 → Inspection with its map, for every precision and backend here.

Each contender lives in a process of its own and meets every load in every round: back to back, at the rate that keeps
it half busy, at cameras' rates (pace.py says what latency and a miss are there), and in batches. Rounds go by turns,
so that noise falls on all alike. Peers, back to back alone: the same encoder in torch, eager and compiled, with the
same preprocessing and scoring around it, in the same precision where torch has it here and else in fp32; and
anomalib's models. Ours runs as it ships, torch with its threads set so that it is fastest.

The machine's ceilings are measured in the same rounds: a large matrix product in what the precision is computed in,
and a copy in memory. Rows of their own: decoding a JPEG, which a camera's frame needs not; the search of the memory,
which is part of scoring; and on a GPU the transfer of a view there and of its features back.
"""

from __future__ import annotations

import functools
import logging
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from goodparts.evaluation.report.report import Findings, Options
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import BackendError, first_line
from goodparts.runtime.engine.spec import EngineSpec

from ..peers.anomalib import MODELS, AnomalibPeer, title
from ..synthetic import make_recipe, open_backbone
from ..timing import REST, Turn, Worker, interleave
from . import frame_report as frame_findings
from .camera_load import BACK_TO_BACK, WARM, Traffic, make_traffic, merge
from .contenders import (
    Bursts,
    copy_in_torch,
    decode_jpeg,
    inspect_in_torch,
    inspect_on_backend,
    multiply_in_torch,
    search_memory,
    transfer_in_torch,
)
from .flops import encoder_flops, largest_product
from .frame_report import Work, describe_pair, describe_rest
from .precision_backends import Pair, find_pairs, open_or_make

log = logging.getLogger(__name__)

REPEAT = 5
FRAMES = 20
"""Of every load in every round: a hundred in all."""
SHOTS = 4
PROBES = 5
"""Calls in every round of what takes one number to say."""
TORCH_AT_ITS_BEST = {"OPENBLAS_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
"""Left alone, numpy's threads and torch's stall one another in one process: many times slower on two cores."""

Start = Callable[[], "Worker[Bursts] | AnomalibPeer"]
"""Starts a contender's process."""


def measure(options: Options) -> Findings:
    findings = Findings()
    traffic = make_traffic(options.fps, options.batch, FRAMES)
    log.info("building %s", options.backbone)
    backbone = open_backbone(options.backbone)
    work, full = encoder_flops(backbone.visual), encoder_flops(backbone.visual, full=True)
    product = largest_product(backbone.visual)
    findings.add("encoder's work per view", work / 1e9, "GFLOP", "dual path in full", full / 1e9)
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = options.engine or Path(temporary) / "engine"
        spec = open_or_make(backbone, folder, options.precisions)
        del backbone  # the workers build their own
        scene = Scene(folder, spec, Path(temporary), options.threads, traffic, product)
        pairs = find_pairs(folder, spec, options.precisions, findings.remarks)
        turns = enter(stack, findings, {str(pair): scene.ours(pair) for pair in pairs})
        pairs = [pair for pair in pairs if str(pair) in turns]
        if not pairs:
            raise BackendError("; ".join(["no pair of precision and backend runs here", *findings.remarks]))
        turns |= enter(stack, findings, scene.peers(pairs, options.peers))
        turns |= enter(stack, findings, scene.probes(pairs))
        repeat = options.repeat or REPEAT
        log.info("timing %s: %d rounds", ", ".join(turns), repeat)
        timings = interleave(turns, repeat, warm=0, rest=REST)
    findings.remarks.append(
        f"{repeat} rounds by turns; in each every load has {WARM} calls untimed, then {FRAMES} frames timed or due; "
        f"threads: {options.threads or 'as each library likes'}"
    )
    results = {name: gather(timing.returned) for name, timing in timings.items()}
    sizes = {file.name: file.size for file in spec.files}
    for pair in pairs:
        weights = sizes[spec.graph("plain").variants[pair.precision].weights]
        describe_pair(findings, results, pair, Work(work, weights, product))
    describe_rest(findings, results, pairs)
    return findings


def enter(stack: ExitStack, findings: Findings, contenders: Mapping[str, Start]) -> dict[str, Turn[Bursts]]:
    """Start those that can be prepared here, one after another; the others become remarks."""
    turns: dict[str, Turn[Bursts]] = {}
    for name, start in contenders.items():
        try:
            contender = start()
            stack.enter_context(contender)
            contender.check()
        except Exception as error:  # torch.compile's, a library's own: whatever keeps one from running stops no other
            reason = first_line(error)
            log.warning("%s is left out: %s", name, reason)
            findings.remarks.append(f"{name} is left out: {reason}")
        else:
            turns[name] = contender
            if isinstance(contender, AnomalibPeer):
                findings.remarks.append(f"{name}: {contender.ran}")
    return turns


def gather(turns: list[Bursts]) -> Bursts:
    """Of every load, the bursts of all rounds as one."""
    return {load: merge(turn[load] for turn in turns) for load in turns[0]}


@dataclass(frozen=True)
class Scene:
    """What the contenders share: an engine, a place for recipes, a bound on threads, what is done to ours, and the
    shape of the encoder's largest product."""

    folder: Path
    spec: EngineSpec
    temporary: Path
    threads: int | None
    traffic: Traffic
    product: tuple[int, int, int] | None

    def recipe(self, precision: Precision) -> Path:
        path = self.temporary / f"{precision}.safetensors"
        if not path.exists():
            make_recipe(self.spec.encoder, self.spec.graph_id("plain", precision), SHOTS).save(path)
        return path

    def ours(self, pair: Pair) -> Start:
        recipe = self.recipe(pair.precision)
        arguments = self.folder, recipe, pair.backend, pair.precision, self.threads, self.traffic
        return functools.partial(Worker, inspect_on_backend, *arguments)

    def peers(self, pairs: list[Pair], asked: tuple[str, ...]) -> dict[str, Start]:
        """Those asked for, each once per precision and device of ours."""
        traffic = Traffic((BACK_TO_BACK,), self.traffic.frames)
        recipe = self.recipe("fp32")
        starts: dict[str, Start] = {}
        for name, compiled in (("torch", False), ("compile", True)):
            if name not in asked:
                continue
            for pair in pairs:
                arguments = self.folder, recipe, pair.in_torch, pair.device, compiled, self.threads, traffic
                starts[pair.peer(compiled)] = functools.partial(
                    Worker, inspect_in_torch, *arguments, environment=TORCH_AT_ITS_BEST
                )
        if "anomalib" in asked:
            for model in MODELS:
                starts[title(model)] = functools.partial(AnomalibPeer, model, SHOTS, self.threads)
        return starts

    def probes(self, pairs: list[Pair]) -> dict[str, Start]:
        """The machine's ceilings, and the stages that the detector does not know as its own."""
        memory = self.spec.encoder, SHOTS, self.threads, PROBES
        starts: dict[str, Start] = {
            "decode": functools.partial(Worker, decode_jpeg, PROBES),
            "search": functools.partial(Worker, search_memory, *memory),
        }
        if any(pair.device == "cuda" for pair in pairs):
            starts["transfer"] = functools.partial(Worker, transfer_in_torch, self.spec.encoder, "cuda", PROBES)
        for pair in pairs:
            where = pair.device, self.threads, PROBES
            large = pair.arithmetic, (frame_findings.SIDE,) * 3, 1, *where
            starts[pair.product] = functools.partial(Worker, multiply_in_torch, *large)
            if self.product is not None:
                own = pair.arithmetic, self.product, frame_findings.MATRICES, *where
                starts[pair.own_product] = functools.partial(Worker, multiply_in_torch, *own)
            starts[pair.copy] = functools.partial(Worker, copy_in_torch, frame_findings.COPIED, *where)
        return starts
