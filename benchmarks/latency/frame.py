"""Latency of a camera frame, from uint8 RGB 1280×1024 to an Inspection with its map, for every precision and backend.

Each contender runs in a process of its own and is timed under every arrival pattern in every round: back to back, at
half its capacity, at the rates of cameras, and in batches (arrivals.py defines latency and missed frames).
Contenders take turns, so that noise disturbs all of them equally. The peers run back to back only. They are anomalib's
models, and the same encoder in torch, eager and compiled, with the same preprocessing and scoring around it. torch runs
in the same precision if it supports it here, and otherwise in fp32. Our detector runs with its default settings, and
torch with the settings of its threads that make it fastest.

The machine's ceilings are measured in the same rounds: a large matrix product in the arithmetic of the precision, and a
copy in memory. Three stages have rows of their own. They are the decoding of a JPEG, which a camera's frame does not
need; the search of the memory, which is part of scoring; and on a GPU the transfer of a view and its features.

Without torch, the peers in torch, the ceilings and the encoder's work are left out.
"""

from __future__ import annotations

import argparse
import functools
import logging
import tempfile
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from goodparts.evaluation.report.report import Findings
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import first_line
from goodparts.runtime.core.files import write_atomic
from goodparts.runtime.engine.spec import EngineSpec
from goodparts.trainer.clip.names import DEFAULT_NAME

from .. import options
from ..arrivals import (
    BACK_TO_BACK,
    WARMUP_CALLS,
    LatenciesByPattern,
    LatencyTest,
    make_latency_test,
    merge_rounds,
)
from ..peers.anomalib import MODELS, SMALL_MODELS, AnomalibPeer, title
from ..peers.torch_encoder import torch_installed
from ..synthetic import make_recipe
from ..timing import REST, Contender, Worker, interleave
from . import ceilings
from .engines import PrecisionOnBackend, engine_folder, find_precisions_on_backends, nothing_runs, open_or_make_engine
from .frame_inspection import decode_jpeg, inspect_in_torch, inspect_on_backend, search_memory, transfer_in_torch
from .frame_plot import draw_distributions, to_png
from .frame_report import EncoderWork, add_all_contenders, add_precision_on_backend, distributions

log = logging.getLogger(__name__)

REPEAT = 5
FRAMES = 20
"""The number of frames of each arrival pattern in one round. Five rounds time a hundred frames."""
SHOTS = 4
CALLS = 5
"""The number of calls of every ceiling and stage in one round."""
DEFAULT_FPS = (30.0, 60.0, 120.0)
DEFAULT_BATCH = 4
PEERS = {
    "torch": "the same encoder, eager",
    "compile": "the same encoder by torch.compile, which needs a C++ compiler",
    "anomalib": "WinCLIP and PatchCore, or PatchCore with small's network; their environment takes gigabytes",
}
DEFAULT_PEERS = ("torch", "compile")
WITHOUT_TORCH = (
    "torch or open_clip is not installed: peers in torch, the machine's ceilings and the encoder's work are left out"
)
TORCH_AT_ITS_BEST = {"OPENBLAS_NUM_THREADS": "1", "GOMP_SPINCOUNT": "10000", "TORCHINDUCTOR_COMPILE_THREADS": "1"}
"""Environment variables for torch. Without them the threads of numpy and torch block each other in one process, and
torch is many times slower on two cores."""

StartContender = Callable[[], "Worker[LatenciesByPattern] | AnomalibPeer"]
"""A function that starts the process of a contender."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    options.add_engine(parser)
    options.add_repeat(parser, REPEAT)
    parser.add_argument(
        "--fps",
        nargs="*",
        type=options.positive_number,
        default=DEFAULT_FPS,
        metavar="RATE",
        help=f"frame rates of the cameras (default: {' '.join(f'{rate:g}' for rate in DEFAULT_FPS)})",
    )
    parser.add_argument(
        "--batch",
        type=options.positive_integer,
        default=DEFAULT_BATCH,
        metavar="N",
        help="the largest batch (default: %(default)s)",
    )
    options.add_threads(parser, "threads of the inference library and of torch (default: the choice of each library)")
    peers = "; ".join(f"{name}: {text}" for name, text in PEERS.items())
    parser.add_argument(
        "--peers",
        nargs="*",
        choices=PEERS,
        default=DEFAULT_PEERS,
        metavar="PEER",
        help=f"{peers} (default: {' '.join(DEFAULT_PEERS)})",
    )
    parser.add_argument("--plot", type=options.output_file, metavar="FILE", help="draw the latencies as a PNG")


def measure(
    *,
    engine: Path | None,
    backbone: str | None,
    precisions: Sequence[Precision] | None,
    repeat: int,
    fps: Sequence[float],
    batch: int,
    threads: int | None,
    peers: Sequence[str],
    plot: Path | None,
) -> Findings:
    findings = Findings()
    with tempfile.TemporaryDirectory() as temporary, ExitStack() as stack:
        folder = engine_folder(engine, backbone, Path(temporary))
        spec = open_or_make_engine(folder, backbone, precisions)
        work = add_encoder_work(findings, spec)
        test = make_latency_test(fps, batch, FRAMES)
        all_contenders = FrameContenders(folder, spec, Path(temporary), threads, test)
        candidates = find_precisions_on_backends(folder, spec, precisions, findings.remarks)
        contenders = start_contenders(
            stack, findings, {str(candidate): all_contenders.ours(candidate) for candidate in candidates}
        )
        ours = [candidate for candidate in candidates if str(candidate) in contenders]
        if not ours:
            raise nothing_runs(findings.remarks)
        contenders |= start_contenders(stack, findings, all_contenders.peers(ours, peers))
        contenders |= start_contenders(stack, findings, all_contenders.stages(ours))
        if work is not None:
            contenders |= start_contenders(stack, findings, all_contenders.ceilings(ours, work.product))
        log.info("timing %s: %d rounds", ", ".join(contenders), repeat)
        timings = interleave(contenders, repeat, warmup=0, rest=REST)
    findings.remarks.append(
        f"{repeat} rounds, in which contenders take turns; each arrival pattern has {WARMUP_CALLS} untimed calls, then "
        f"{FRAMES} frames that are timed or due; threads: {threads or 'the choice of each library'}"
    )
    latencies = {name: merge_patterns(timing.results) for name, timing in timings.items()}
    sizes = {file.name: file.size for file in spec.files}
    for precision_on_backend in ours:
        weights = sizes[spec.graph("plain").variants[precision_on_backend.precision].weights]
        add_precision_on_backend(findings, latencies, precision_on_backend, work, weights)
    add_all_contenders(findings, latencies, ours)
    if plot is not None:
        write_atomic(plot, to_png(draw_distributions(distributions(latencies, ours))))
    return findings


def add_encoder_work(findings: Findings, spec: EngineSpec) -> EncoderWork | None:
    """Add the row of the encoder's work, which needs the model in torch. Without torch, add a remark.

    Args:
        findings: Gets the row or the remark.
        spec: The engine's description.

    Returns:
        The work of the tower per view; None without torch.
    """
    if not torch_installed():
        findings.remarks.append(WITHOUT_TORCH)
        return None
    from ..backbones import open_backbone
    from .encoder_work import encoder_flops, largest_product

    log.info("building %s", spec.encoder.backbone)
    tower = open_backbone(spec.encoder.backbone).visual
    work = EncoderWork(encoder_flops(tower), largest_product(tower))
    in_full = encoder_flops(tower, full=True)
    findings.add("encoder's work per view", work.operations / 1e9, "GFLOP", "dual path in full", in_full / 1e9)
    return work


def start_contenders(
    stack: ExitStack, findings: Findings, starts: Mapping[str, StartContender]
) -> dict[str, Contender[LatenciesByPattern]]:
    """Start the contenders one after another. For a contender that cannot be prepared here, add a remark.

    Args:
        stack: Ends their processes.
        findings: Gets the remarks.
        starts: The functions that start the contenders, by name.

    Returns:
        The contenders that are prepared, by name.
    """
    contenders: dict[str, Contender[LatenciesByPattern]] = {}
    for name, start in starts.items():
        try:
            contender = start()
            stack.enter_context(contender)
            contender.check()
        except Exception as error:  # of many kinds, from torch.compile and libraries; none may stop other contenders
            reason = first_line(error)
            log.warning("%s is left out: %s", name, reason)
            findings.remarks.append(f"{name} is left out: {reason}")
        else:
            contenders[name] = contender
            if isinstance(contender, AnomalibPeer):
                findings.remarks.append(f"{name}: {contender.ran}")
    return contenders


def merge_patterns(rounds: list[LatenciesByPattern]) -> LatenciesByPattern:
    """Merge the rounds of each arrival pattern.

    Args:
        rounds: The latencies of each round; all rounds have the same patterns.

    Returns:
        The latencies of all rounds under each pattern.
    """
    return {pattern: merge_rounds(latencies[pattern] for latencies in rounds) for pattern in rounds[0]}


@dataclass(frozen=True)
class FrameContenders:
    """The contenders of this benchmark: ours, the peers, single stages, and the machine's ceilings.

    Attributes:
        folder: The engine's folder.
        spec: The engine's description.
        temporary: A folder for recipes.
        threads: The largest number of threads; None for the choice of each library.
        test: The arrival patterns of our detector.
    """

    folder: Path
    spec: EngineSpec
    temporary: Path
    threads: int | None
    test: LatencyTest

    def recipe(self, precision: Precision) -> Path:
        """Return the file of a recipe for the graph of a precision. The first call makes it.

        Args:
            precision: A precision of the engine's plain graph.
        """
        path = self.temporary / f"{precision}.safetensors"
        if not path.exists():
            make_recipe(self.spec.encoder, self.spec.graph_id("plain", precision), SHOTS).save(path)
        return path

    def ours(self, candidate: PrecisionOnBackend) -> StartContender:
        """Return our detector on a precision and backend.

        Args:
            candidate: The precision on a backend.
        """
        recipe = self.recipe(candidate.precision)
        arguments = self.folder, recipe, candidate.backend, candidate.precision, self.threads, self.test
        return functools.partial(Worker, inspect_on_backend, *arguments)

    def peers(self, ours: Sequence[PrecisionOnBackend], names: Sequence[str]) -> dict[str, StartContender]:
        """Return the peers by name. Peers in torch, one per precision and device, are left out without torch.

        Args:
            ours: The precisions on backends that are measured.
            names: The kinds of peers, which are keys of PEERS.
        """
        test = LatencyTest((BACK_TO_BACK,), self.test.frames)
        recipe = self.recipe("fp32")
        starts: dict[str, StartContender] = {}
        for name, compiled in (("torch", False), ("compile", True)):
            if name not in names or not torch_installed():
                continue
            for candidate in ours:
                precision, device = candidate.torch_precision, candidate.device
                arguments = self.folder, recipe, precision, device, compiled, self.threads, test
                starts[candidate.peer(compiled)] = functools.partial(
                    Worker, inspect_in_torch, *arguments, environment=TORCH_AT_ITS_BEST
                )
        if "anomalib" in names:
            for model in SMALL_MODELS if self.spec.encoder.backbone == DEFAULT_NAME else MODELS:
                starts[title(model)] = functools.partial(AnomalibPeer, model, SHOTS, self.threads)
        return starts

    def stages(self, ours: Sequence[PrecisionOnBackend]) -> dict[str, StartContender]:
        """Return the stages that the detector does not time separately, by their keys in frame_report.STAGES.

        Args:
            ours: The precisions on backends that are measured. The transfer is a stage only if one of them runs on a
                GPU.
        """
        starts: dict[str, StartContender] = {
            "decode": functools.partial(Worker, decode_jpeg, CALLS),
            "search": functools.partial(Worker, search_memory, self.spec.encoder, SHOTS, self.threads, CALLS),
        }
        if torch_installed() and any(candidate.device == "cuda" for candidate in ours):
            starts["transfer"] = functools.partial(Worker, transfer_in_torch, self.spec.encoder, "cuda", CALLS)
        return starts

    def ceilings(
        self, ours: Sequence[PrecisionOnBackend], product: tuple[int, int, int] | None
    ) -> dict[str, StartContender]:
        """Return the machine's ceilings by name.

        Args:
            ours: The precisions on backends that are measured.
            product: Rows, columns and depth of the encoder's largest product; None to leave it out.
        """
        starts: dict[str, StartContender] = {}
        for candidate in ours:
            settings = candidate.device, self.threads, CALLS
            starts[candidate.product] = functools.partial(
                Worker, ceilings.multiply_in_torch, candidate.arithmetic, (ceilings.SIDE,) * 3, 1, *settings
            )
            if product is not None:
                starts[candidate.encoder_product] = functools.partial(
                    Worker, ceilings.multiply_in_torch, candidate.arithmetic, product, ceilings.MATRICES, *settings
                )
            starts[candidate.copy] = functools.partial(Worker, ceilings.copy_in_torch, ceilings.COPIED_BYTES, *settings)
        return starts
