"""What the bursts of `bench frame` say: rows, tables, aims."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from goodparts.evaluation.report.report import Findings
from goodparts.evaluation.report.tables import Table, show

from ..peers.anomalib import title
from ..timing import percentile
from .camera_load import BACK_TO_BACK, Load
from .contenders import Bursts
from .precision_backends import Pair

SIDE = 2048
"""Of the matrices whose product stands for the machine's ceiling."""
MATRICES = 24
"""Of weights in the products of the encoder's own size: no cache holds them all, as none holds the encoder's."""
COPIED = 1 << 28
"""Bytes of the copy in memory: more than caches hold."""
PROBES = {
    "decode": "decode a JPEG of the frame",
    "search": "search of the memory, which is part of score",
    "transfer": "transfer of a view to the GPU and of its features back, which is part of encode",
}
"""Stages that are measured by themselves."""
RANKS = (50, 90, 99)
ENCODER_AIM = 1.5
"""Encoder's time ÷ that of its own products at the measured rate."""
PACED_AIM = 1.3
"""p99 at a rate that a pair keeps up with ÷ p99 back to back."""
FEW_MISSES = 0.01
"""Share of the frames; a pair that misses more does not keep up, and its latency is that of waiting."""
TORCH_AIM = 3.0
"""Times as fast as eager torch in fp32, the best pair."""
WINCLIP_AIM = 25.0
"""Times as fast as anomalib's WinCLIP, the best pair."""
TORCH, WINCLIP = "eager torch fp32", title("WinCLIP")

Results = Mapping[str, Bursts]
"""Contender → load → its frames in all rounds."""


class Work(NamedTuple):
    """What an encoder has to do: floating point operations per view, bytes of its graph's weights, and the rows,
    columns and depth of its largest product, None for a ResNet."""

    operations: int
    weights: int
    product: tuple[int, int, int] | None


def describe_pair(findings: Findings, results: Results, pair: Pair, work: Work) -> None:
    """Rows and remarks of one pair."""
    ours = results[str(pair)]
    peer = pair.peer() if pair.peer() in results else None
    for rank in RANKS:
        theirs = None if peer is None else milliseconds(results[peer], rank)
        findings.add(f"{pair}, back to back, p{rank}", milliseconds(ours, rank), "ms", peer, theirs)
    findings.add(f"{pair}, back to back, max", milliseconds(ours, 100), "ms")
    for other in (pair.peer(compiled=True), *(name for name in results if name.startswith("anomalib"))):
        if other in results:
            findings.add(
                f"{pair}, back to back, p50", milliseconds(ours, 50), "ms", other, milliseconds(results[other], 50)
            )
    for stage in ours[BACK_TO_BACK].returned[0]:
        theirs = None if peer is None else stage_median(results[peer], stage)
        findings.add(f"{pair}, {stage}", stage_median(ours, stage), "ms", peer, theirs)
    for load in ours:
        if load != BACK_TO_BACK:
            add_load(findings, pair, ours, load)
    add_ceiling(findings, results, pair, work)


def add_load(findings: Findings, pair: Pair, ours: Bursts, load: Load) -> None:
    """One load besides back to back: its percentiles, what was missed or the pictures per second, and the aim."""
    burst, name = ours[load], f"{pair}, {load.title}"
    for rank in RANKS:
        findings.add(f"{name}, p{rank}", milliseconds(ours, rank, load), "ms")
    findings.add(f"{name}, max", milliseconds(ours, 100, load), "ms")
    if burst.fps is None:
        findings.add(f"{name}, rate", load.batch / burst.percentile(50), "pictures/s")
        return
    findings.add(f"{name}, missed", burst.miss_rate * 100, "%")
    if burst.miss_rate <= FEW_MISSES:
        ratio = burst.percentile(99) / ours[BACK_TO_BACK].percentile(99)
        what = f"{name} ({burst.fps:.3g} fps), p99 ÷ p99 back to back,"
        findings.aim(what, ratio, PACED_AIM, "")
    else:
        findings.remarks.append(f"{name}: it does not keep up, and misses {burst.miss_rate:.0%} of the frames")


def add_ceiling(findings: Findings, results: Results, pair: Pair, work: Work) -> None:
    """The encoder beside the machine's ceilings; without a product to measure there is nothing to say."""
    if pair.product not in results:
        return
    encode = stage_median(results[str(pair)], "encode") / 1e3
    rate, ceiling = work.operations / encode, product_rate(results[pair.product], (SIDE,) * 3)
    name = f"{SIDE}³ {pair.product}"
    findings.add(f"{pair}, encoder's rate", rate / 1e9, "GFLOP/s", name, ceiling / 1e9, higher=True)
    if pair.copy in results:
        read = work.weights / copy_rate(results, pair)
        findings.add(f"{pair}, reading its weights at the rate of a copy", read * 1e3, "ms")
    findings.remarks.append(f"{pair}: the encoder reaches {rate / ceiling:.0%} of the machine's measured ceiling")
    findings.aim(f"{pair}, encoder ÷ its own products at that rate,", ceiling / rate, ENCODER_AIM, "")
    if work.product is not None and pair.own_product in results:
        own = product_rate(results[pair.own_product], work.product, MATRICES)
        size = "×".join(map(str, work.product))
        findings.add(f"{pair}, rate of {size} products", own / 1e9, "GFLOP/s", name, ceiling / 1e9, higher=True)
        findings.remarks.append(
            f"{pair}: products of the encoder's size, {size}, reach {own / ceiling:.0%} of that ceiling; at their rate "
            f"the encoder takes {own / rate:.2f} times its products"
        )


def product_rate(bursts: Bursts, shape: tuple[int, ...], matrices: int = 1) -> float:
    """Floating point operations per second."""
    return 2 * matrices * math.prod(shape) / bursts[BACK_TO_BACK].percentile(50)


def copy_rate(results: Results, pair: Pair) -> float:
    """Bytes per second, those read and those written."""
    return 2 * COPIED / results[pair.copy][BACK_TO_BACK].percentile(50)


def describe_rest(findings: Findings, results: Results, pairs: Sequence[Pair]) -> None:
    """What is of no single pair: stages by themselves, copies, the best pair's aims, the tables and what is drawn."""
    for probe, name in PROBES.items():
        if probe in results:
            findings.add(name, milliseconds(results[probe], 50), "ms")
    if all(pair.device == "cpu" for pair in pairs):
        findings.remarks.append("transfer: none; views and features lie in the memory that the processor computes in")
    for pair in {pair.copy: pair for pair in pairs if pair.copy in results}.values():
        findings.add(pair.copy, copy_rate(results, pair) / 1e9, "GB/s")
    best = min(pairs, key=lambda pair: milliseconds(results[str(pair)], 50))
    for peer, aim in ((TORCH, TORCH_AIM), (WINCLIP, WINCLIP_AIM)):
        if peer in results:
            times = milliseconds(results[peer], 50) / milliseconds(results[str(best)], 50)
            findings.aim(f"{best}, p50, times as fast as {peer},", times, aim, "", at_least=True)
    names = [str(pair) for pair in pairs]
    names += [name for name in results if name.startswith(("eager", "torch.compile", "anomalib"))]
    findings.tables += [latencies(results, names), stages(results, names)]
    for name in names:
        for load, burst in results[name].items():
            if load.batch == 1:
                findings.distributions[f"{name}, {load.title}"] = [seconds * 1e3 for seconds in burst.seconds]


def latencies(results: Results, names: Sequence[str]) -> Table:
    """A row per contender and load."""
    rows = [
        (
            name,
            load.title,
            *(show(milliseconds(results[name], rank, load)) for rank in (*RANKS, 100)),
            f"{burst.miss_rate:.0%}" if load.paced else "",
            str(len(burst.seconds)),
        )
        for name in names
        for load, burst in results[name].items()
    ]
    head = ("", "frames come", "p50", "p90", "p99", "max", "missed", "calls")
    return Table("Latency of a call, ms", head, rows, left=(0, 1))


def stages(results: Results, names: Sequence[str]) -> Table:
    """A row per contender that knows its stages; medians, back to back."""
    known = [name for name in names if results[name][BACK_TO_BACK].returned[0]]
    head = list(dict.fromkeys(stage for name in known for stage in results[name][BACK_TO_BACK].returned[0]))
    rows = [
        (name, *(show(stage_median(results[name], stage)) for stage in head), show(milliseconds(results[name], 50)))
        for name in known
    ]
    return Table("Stages of a frame back to back, median ms", ("", *head, "whole"), rows)


def milliseconds(bursts: Bursts, rank: float, load: Load = BACK_TO_BACK) -> float:
    """A percentile of the latency; 100 is the largest."""
    return bursts[load].percentile(rank) * 1e3


def stage_median(bursts: Bursts, stage: str) -> float:
    """Milliseconds of a stage, back to back; 0 where this contender does not know it."""
    return percentile([times.get(stage, 0.0) for times in bursts[BACK_TO_BACK].returned], 50)
