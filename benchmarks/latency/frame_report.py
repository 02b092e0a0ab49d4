"""The report of `bench frame`: rows, aims, tables and distributions, computed from the contenders' latencies."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from goodparts.evaluation.report.report import Findings
from goodparts.evaluation.report.tables import Table, show

from ..arrivals import BACK_TO_BACK, ArrivalPattern, LatenciesByPattern
from ..peers.anomalib import title
from ..timing import percentile
from . import ceilings
from .ceilings import copy_rate, product_rate
from .engines import PrecisionOnBackend

STAGES = {
    "decode": "decode a JPEG of the frame",
    "search": "search of the memory, which is part of score",
    "transfer": "transfer of a view to the GPU and of its features back, which is part of encode",
}
"""The stages that are measured separately, with their names in the report."""
RANKS = (50, 90, 99)
ENCODER_AIM = 1.5
"""The aim for the encoder's time ÷ the time of its products at the measured rate."""
PACED_AIM = 1.3
"""The aim for p99 at a rate that the line keeps up with ÷ p99 back to back."""
FEW_MISSES = 0.01
"""The share of frames that a line may miss. If it misses more, it does not keep up, and latency is mostly waiting."""
TORCH_AIM = 3.0
"""The aim for the speed of our fastest contender, as a multiple of the speed of eager torch in fp32."""
WINCLIP_AIM = 25.0
"""The aim for the speed of our fastest contender, as a multiple of the speed of anomalib's WinCLIP."""
TORCH, WINCLIP = "eager torch fp32", title("WinCLIP")

AllLatencies = Mapping[str, LatenciesByPattern]
"""The latencies of all rounds, by contender and arrival pattern."""


class EncoderWork(NamedTuple):
    """The operations of an encoder.

    Attributes:
        operations: The floating-point operations per view.
        product: Rows, columns and depth of its largest matrix product; None for a ResNet.
    """

    operations: int
    product: tuple[int, int, int] | None


def add_precision_on_backend(
    findings: Findings,
    latencies: AllLatencies,
    precision_on_backend: PrecisionOnBackend,
    work: EncoderWork | None,
    weights: int,
) -> None:
    """Add rows and remarks about one of our contenders, compared with its peers.

    Args:
        findings: Gets the rows, the aims and the remarks.
        latencies: The latencies of all contenders.
        precision_on_backend: Our contender.
        work: The encoder's operations; None if they are unknown.
        weights: The size of the graph's weights in bytes.
    """
    name = str(precision_on_backend)
    ours = latencies[name]
    peer = precision_on_backend.peer() if precision_on_backend.peer() in latencies else None
    for rank in RANKS:
        peer_value = None if peer is None else milliseconds(latencies[peer], rank)
        findings.add(f"{name}, back to back, p{rank}", milliseconds(ours, rank), "ms", peer, peer_value)
    findings.add(f"{name}, back to back, max", milliseconds(ours, 100), "ms")
    further_peers = [precision_on_backend.peer(compiled=True)]
    further_peers += [contender for contender in latencies if contender.startswith("anomalib")]
    for further in further_peers:
        if further in latencies:
            peer_value = milliseconds(latencies[further], 50)
            findings.add(f"{name}, back to back, p50", milliseconds(ours, 50), "ms", further, peer_value)
    for stage in ours[BACK_TO_BACK].stages[0]:
        peer_value = None if peer is None else stage_median(latencies[peer], stage)
        findings.add(f"{name}, {stage}", stage_median(ours, stage), "ms", peer, peer_value)
    for pattern in ours:
        if pattern != BACK_TO_BACK:
            add_pattern(findings, name, ours, pattern)
    if work is not None:
        add_ceilings(findings, latencies, precision_on_backend, work, weights)


def add_pattern(findings: Findings, name: str, ours: LatenciesByPattern, pattern: ArrivalPattern) -> None:
    """Add one pattern other than back to back.

    The rows are its percentiles, and the missed frames at a rate or the pictures per second in batches. The aim is for
    a rate that the contender keeps up with.

    Args:
        findings: Gets the rows, the aim and a remark on a contender that does not keep up.
        name: The contender's name.
        ours: The contender's latencies.
        pattern: A pattern other than back to back.
    """
    latencies, name = ours[pattern], f"{name}, {pattern.title}"
    for rank in RANKS:
        findings.add(f"{name}, p{rank}", milliseconds(ours, rank, pattern), "ms")
    findings.add(f"{name}, max", milliseconds(ours, 100, pattern), "ms")
    if latencies.fps is None:
        findings.add(f"{name}, rate", pattern.batch / latencies.percentile(50), "pictures/s")
        return
    findings.add(f"{name}, missed", latencies.miss_rate * 100, "%")
    if latencies.miss_rate <= FEW_MISSES:
        ratio = latencies.percentile(99) / ours[BACK_TO_BACK].percentile(99)
        findings.aim(f"{name} ({latencies.fps:.3g} fps), p99 ÷ p99 back to back,", ratio, PACED_AIM, "")
    else:
        findings.remarks.append(f"{name}: it does not keep up, and misses {latencies.miss_rate:.0%} of the frames")


def add_ceilings(
    findings: Findings, latencies: AllLatencies, ours: PrecisionOnBackend, work: EncoderWork, weights: int
) -> None:
    """Add rows that compare the encoder with the machine's ceilings. Add nothing if no product was measured.

    Args:
        findings: Gets the rows, the aim and the remarks.
        latencies: The latencies of all contenders, ceilings included.
        ours: Our contender.
        work: The encoder's operations.
        weights: The size of the graph's weights in bytes.
    """
    if ours.product not in latencies:
        return
    encode = stage_median(latencies[str(ours)], "encode") / 1e3
    rate, ceiling = work.operations / encode, product_rate(latencies[ours.product], (ceilings.SIDE,) * 3)
    large_product = f"{ceilings.SIDE}³ {ours.product}"
    findings.add(f"{ours}, encoder's rate", rate / 1e9, "GFLOP/s", large_product, ceiling / 1e9, higher=True)
    if ours.copy in latencies:
        seconds = weights / copy_rate(latencies[ours.copy])
        findings.add(f"{ours}, reading its weights at the rate of a copy", seconds * 1e3, "ms")
    findings.remarks.append(f"{ours}: the encoder reaches {rate / ceiling:.0%} of the machine's measured ceiling")
    findings.aim(f"{ours}, encoder ÷ its own products at that rate,", ceiling / rate, ENCODER_AIM, "")
    if work.product is not None and ours.encoder_product in latencies:
        own_rate = product_rate(latencies[ours.encoder_product], work.product, ceilings.MATRICES)
        size = "×".join(map(str, work.product))
        name = f"{ours}, rate of {size} products"
        findings.add(name, own_rate / 1e9, "GFLOP/s", large_product, ceiling / 1e9, higher=True)
        findings.remarks.append(
            f"{ours}: products of the encoder's size, {size}, reach {own_rate / ceiling:.0%} of that ceiling; at their "
            f"rate the encoder takes {own_rate / rate:.2f} times its products"
        )


def add_all_contenders(findings: Findings, latencies: AllLatencies, ours: Sequence[PrecisionOnBackend]) -> None:
    """Add the findings on all contenders: single stages, copies, the aims of our fastest contender, and the tables.

    Args:
        findings: Gets them.
        latencies: The latencies of all contenders.
        ours: Our contenders; at least one.
    """
    for stage, name in STAGES.items():
        if stage in latencies:
            findings.add(name, milliseconds(latencies[stage], 50), "ms")
    if all(precision_on_backend.device == "cpu" for precision_on_backend in ours):
        findings.remarks.append("transfer: none; views and features lie in the memory that the processor computes in")
    for copy in dict.fromkeys(precision_on_backend.copy for precision_on_backend in ours):
        if copy in latencies:
            findings.add(copy, copy_rate(latencies[copy]) / 1e9, "GB/s")
    best = min(map(str, ours), key=lambda name: milliseconds(latencies[name], 50))
    for peer, aim in ((TORCH, TORCH_AIM), (WINCLIP, WINCLIP_AIM)):
        if peer in latencies:
            speed_up = milliseconds(latencies[peer], 50) / milliseconds(latencies[best], 50)
            findings.aim(f"{best}, p50, times as fast as {peer},", speed_up, aim, "", at_least=True)
    names = inspecting(latencies, ours)
    findings.tables += [latency_table(latencies, names), stage_table(latencies, names)]


def inspecting(latencies: AllLatencies, ours: Sequence[PrecisionOnBackend]) -> list[str]:
    """Return the names of the contenders that inspect frames: ours, then the peers.

    Args:
        latencies: The latencies of all contenders.
        ours: Our contenders.
    """
    peers = [name for name in latencies if name.startswith(("eager", "torch.compile", "anomalib"))]
    return [*map(str, ours), *peers]


def latency_table(latencies: AllLatencies, names: Sequence[str]) -> Table:
    """Make a table with a row per contender and arrival pattern.

    Args:
        latencies: The latencies of all contenders.
        names: The contenders that have rows.

    Returns:
        The table, in milliseconds.
    """
    rows = [
        (
            name,
            pattern.title,
            *(show(milliseconds(latencies[name], rank, pattern)) for rank in (*RANKS, 100)),
            f"{of_pattern.miss_rate:.0%}" if pattern.paced else "",
            str(len(of_pattern.seconds)),
        )
        for name in names
        for pattern, of_pattern in latencies[name].items()
    ]
    head = ("", "frames come", "p50", "p90", "p99", "max", "missed", "calls")
    return Table("Latency of a call, ms", head, rows, left=(0, 1))


def stage_table(latencies: AllLatencies, names: Sequence[str]) -> Table:
    """Make a table of the stages' medians back to back, with a row per contender that has stages.

    Args:
        latencies: The latencies of all contenders.
        names: The contenders that inspect frames.

    Returns:
        The table, in milliseconds.
    """
    staged = [name for name in names if latencies[name][BACK_TO_BACK].stages[0]]
    stages = list(dict.fromkeys(stage for name in staged for stage in latencies[name][BACK_TO_BACK].stages[0]))
    rows = [
        (
            name,
            *(show(stage_median(latencies[name], stage)) for stage in stages),
            show(milliseconds(latencies[name], 50)),
        )
        for name in staged
    ]
    return Table("Stages of a frame back to back, median ms", ("", *stages, "whole"), rows)


def distributions(latencies: AllLatencies, ours: Sequence[PrecisionOnBackend]) -> dict[str, list[float]]:
    """Return the milliseconds of every frame, by contender and arrival pattern, without the batches.

    Args:
        latencies: The latencies of all contenders.
        ours: Our contenders.
    """
    return {
        f"{name}, {pattern.title}": [seconds * 1e3 for seconds in of_pattern.seconds]
        for name in inspecting(latencies, ours)
        for pattern, of_pattern in latencies[name].items()
        if pattern.batch == 1
    }


def milliseconds(latencies: LatenciesByPattern, rank: float, pattern: ArrivalPattern = BACK_TO_BACK) -> float:
    """Return a percentile of the latency in milliseconds.

    Args:
        latencies: The latencies of one contender.
        rank: The percentile, 0 to 100; 100 is the largest latency.
        pattern: The arrival pattern.
    """
    return latencies[pattern].percentile(rank) * 1e3


def stage_median(latencies: LatenciesByPattern, stage: str) -> float:
    """Return the median milliseconds of a stage back to back, or 0 if the contender does not have the stage.

    Args:
        latencies: The latencies of one contender.
        stage: The name of a stage, such as "encode".
    """
    return percentile([stages.get(stage, 0.0) for stages in latencies[BACK_TO_BACK].stages], 50)
