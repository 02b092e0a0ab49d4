"""Engines, plans, recipes, changes and inspections in words and as JSON, the same in every command."""

from __future__ import annotations

import itertools
import math
from pathlib import Path
from typing import Any

import numpy as np

from .backends.session import GraphName, Precision
from .core.scoring import Floats
from .engine.plans import Plan, read_plans
from .engine.spec import Encoder, EngineSpec, Parity
from .inspection import Inspection, format_score
from .recipe.accept import Change, Effect
from .recipe.header import RecipeHeader, Thresholds
from .recipe.recalibrate import Recalibration
from .recipe.recipe import Recipe
from .recipe.settle import Settlement

SOUND_PHOTOS = 20
"""A limit from fewer further good photos is rough."""
RATES = (0.01, 0.02, 0.05, 0.1)
"""False-reject rates whose thresholds are described."""
PROVISIONAL = (
    "provisional: the threshold rests on one photo, which tells nothing of how good parts differ; to end that, teach "
    "more photos, or settle in on parts of the line (`goodparts calibrate --unlabelled DIR`, "
    "`goodparts watch --settle 100`)"
)
BAR = 40
"""The longest bar of a histogram, in characters."""
BEYOND_SHOWN = 20
"""So many of the unlabelled parts beyond a threshold are named."""
TURNED_SHOWN = 20
"""So many past rejects that turn good are named."""


def describe_engine(path: Path, spec: EngineSpec) -> list[str]:
    encoder = spec.encoder
    rows, columns = encoder.grid
    taps = ", ".join(f"block {tap} ({tap.width})" for tap in encoder.taps)
    lines = [
        f"{path}: engine for {encoder}",
        f"  {rows}×{columns} patches, {describe_joint(encoder)}, memory of {taps}",
        f"  {sum(file.size for file in spec.files) / 1e6:.1f} MB, ONNX opset {spec.opset}",
    ]
    if spec.note:
        lines.append(f"  {spec.note}")
    lines += describe_graph(path, spec, "plain")
    if "prompted" in spec.graphs:
        inputs = sum(math.prod(shape) for shape in spec.graph("prompted").conditions.values())
        lines.append(f"  prompted graph, for AnoPLe recipes, {inputs * 4 / 1e6:.1f} MB of conditions each:")
        lines += [f"  {line}" for line in describe_graph(path, spec, "prompted")]
    return lines


def describe_joint(encoder: Encoder) -> str:
    """Return what the outputs global and local are."""
    if encoder.has_text:
        return f"joint width {encoder.width}"
    return f"no text (recipes of the memory only; global and local are image features of width {encoder.width})"


def describe_graph(path: Path, spec: EngineSpec, name: GraphName) -> list[str]:
    """Describe every precision of a graph: where it runs and how far it is from torch."""
    lines = []
    graph = spec.graph(name)
    for precision in graph.precisions:
        variant = graph.variants[precision]
        if variant.note:
            lines.append(f"  {precision}: {variant.note}")
        for record in variant.parity:
            lines.append(f"  {precision} on {record.backend} ({record.ran}): {describe_parity(record)}")
        lines += describe_plans(path, spec.graph_id(name, precision), precision)
    return lines


def describe_parity(record: Parity | None) -> str:
    """Return how far a graph is from torch."""
    if record is None:
        return "not checked yet: it is held to torch where it first runs"
    text = (
        f"differs from torch by at most {record.feature_difference:.1e} on features, "
        f"{record.score_difference:.1e} on scores"
    )
    seen = record.labelled
    if seen is not None:
        text += (
            f"; image AUROC {seen.graph:.4f} (torch {seen.torch:.4f}) on {seen.good} good and {seen.bad} bad photos of "
            f"{seen.folder}, memory of {seen.shots}"
        )
    return text


def describe_plans(path: Path, graph: str, precision: Precision) -> list[str]:
    """Return the plans that were built for a graph, and records too damaged to tell."""
    lines = []
    for _, plan in read_plans(path, graph):
        if not isinstance(plan, Plan):
            lines.append(f"  {plan}")
        elif plan.precision == precision:
            stale = "" if plan.graph == graph else "; of another graph"
            lines.append(f"  {describe_plan(plan)}{stale}")
    return lines


def describe_plan(plan: Plan) -> str:
    """What a plan is for, how large, how far from torch, and how far the CUDA kernels are from the CPU."""
    kernels = ""
    if plan.kernels is not None:
        worst = max(plan.kernels.score_differences.values(), default=0.0)
        kernels = f"; scores of the CUDA kernels differ from the CPU's by at most {worst:.1e}"
    size = "" if plan.file is None else f", {plan.file.size / 1e6:.1f} MB"
    return (
        f"{plan.precision} plan for {plan.backend} {plan.version} on {plan.device}, {plan.batches}{size} "
        f"({plan.name}): {describe_parity(plan.parity)}{kernels}"
    )


def describe_recipe(path: Path, recipe: Recipe) -> list[str]:
    header = recipe.header
    kept = "kept" if recipe.shots is not None else "left out"
    learned = header.shots[: header.learned_shots]
    posed = ", also turned and mirrored" if header.poses else ""
    graph = "" if recipe.conditions is None else ", by its prompted graph"
    return [
        f"{path}: recipe for {header.product!r}, {header.method} ({header.protocol} protocol), seed {header.seed}",
        f"  made for {header.encoder}{graph}",
        f"  {len(learned)} shots ({kept}{posed}): {', '.join(shot.name for shot in learned)}",
        f"  scored by {_describe_fusion(header)}",
        *describe_accepts(header),
        *describe_thresholds(header),
        f"  digest {recipe.digest}" + (", signed" if header.signature else ""),
    ]


def _describe_fusion(header: RecipeHeader) -> str:
    match header.fusion:
        case "paper":
            return "prompts and memory, the harmonic mean of their raw scores (paper)"
        case "residual":
            return f"memory and prompts (residual): distance · exp({header.residual_weight:.3g} · residual margin)"
        case "prompt":
            return "the prompts only"
        case "memory":
            return "the memory only"
        case "subspace":
            return "the distance from the subspace of the remembered patches (the runtime in Python only)"


def describe_accepts(header: RecipeHeader) -> list[str]:
    """Return what was accepted on the line, oldest first."""
    if not header.accepted:
        return []
    ends = itertools.accumulate(header.accepted.accepts, initial=header.learned_shots)
    return [
        f"  accepted {number}: {', '.join(f'{shot.name} ({shot.sha256[:12]})' for shot in header.shots[start:end])}"
        for number, (start, end) in enumerate(itertools.pairwise(ends), start=1)
    ]


def describe_thresholds(header: RecipeHeader) -> list[str]:
    """Return the thresholds and what they rest on."""
    calibration, rate, thresholds = header.calibration, header.false_reject_rate, header.thresholds
    scores = calibration.image.scores
    lines = [
        f"  rejects from score 1.00 (raw {thresholds.image:.4g}), outlines from raw pixel score {thresholds.pixel:.4g}",
        f"  calibrated on {len(scores)} scores of good parts ({calibration.source}), "
        f"{format_score(thresholds.score(min(scores)))} to {format_score(thresholds.score(max(scores)))}, "
        f"for a false-reject rate of {_percent(rate)}",
        *_describe_rates(header, thresholds.image),
    ]
    if thresholds.review is not None:
        lines.insert(1, f"  to review from score {thresholds.review:g}")
    if header.is_provisional:
        lines.append(f"  {PROVISIONAL}")
    elif missing := calibration.photos_missing(rate):
        lines.append(
            f"  {len(scores)} photos cannot verify a {_percent(rate)} rate; about {missing} more would "
            "(--good, `goodparts calibrate --good`, or settling: `goodparts calibrate --unlabelled`)"
        )
    return lines


def _describe_rates(header: RecipeHeader, today: float) -> list[str]:
    """Return what other rates would mean: their thresholds, 1.00 being today's, and what would verify them."""
    calibration = header.calibration
    lines = ["  the limit for each share of good parts rejected (today's limit is 1.00):"]
    for rate in RATES:
        missing = calibration.photos_missing(rate)
        verified = f"needs about {missing} more good photos to be sure" if missing else "sure enough with these photos"
        relative = calibration.image.threshold(rate) / today
        lines.append(f"    {_percent(rate):>4}  {format_score(relative)}, {verified}")
    return lines


def describe_proposal(path: Path, recalibration: Recalibration, taken: bool) -> list[str]:
    """Return what a recalibration would change, what it rests on, and what it would reject of the photos at hand.

    Args:
        path: The recipe's file.
        recalibration: What is proposed.
        taken: Whether the proposal is written without asking, so that later thresholds are relative to it.
    """
    before, after = recalibration.before.header, recalibration.recipe.header
    old, new = before.thresholds, after.thresholds
    calibration, scores = after.calibration, recalibration.good_scores
    rejected = [int((scores >= threshold).sum()) for threshold in (old.image, new.image)]
    lines = [
        f"{path}: {after.product!r}",
        f"  limit: 1.00 today → {format_score(old.score(new.image))} (raw image score {old.image:.4g} → "
        f"{new.image:.4g}), outlines from raw pixel score {old.pixel:.4g} → {new.pixel:.4g}",
        f"  calibrated on {len(scores)} scores ({calibration.source}) for a false-reject rate of "
        f"{_percent(after.false_reject_rate)}",
        f"  of these, {rejected[0]} are rejected today and {rejected[1]} with the proposed threshold",
        *_describe_rates(after, old.image),
    ]
    if after.is_provisional:
        lines.append(f"  {PROVISIONAL}")
    if calibration.source == "further photos" and len(scores) < SOUND_PHOTOS:
        lines.append(
            f"  warning: a limit from {len(scores)} photos is rough, and one odd part moves it far: give "
            f"{SOUND_PHOTOS} or more"
        )
    if recalibration.settlement is not None:
        lines += describe_settlement(recalibration.settlement)
    return lines + describe_seen(recalibration, old, new if taken else old)


def describe_settlement(settlement: Settlement) -> list[str]:
    """Return a histogram of unlabelled parts' scores, 1.00 being rejected today, and the parts to look at."""
    edges, counts = settlement.histogram()
    proposed, highest = settlement.threshold / settlement.today, int(counts.max())
    lines = [f"  scores of {len(settlement.scores)} unlabelled parts; {format_score(proposed)} is proposed:"]
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        low, high = low / settlement.today, high / settlement.today
        marks = [name for name, value in (("proposed", proposed), ("today", 1.0)) if low <= value < high]
        bar = "#" * math.ceil(BAR * count / highest)
        lines.append(f"    {low:5.2f} to {high:5.2f} {bar:{BAR}} {count:4d}  {', '.join(marks)}".rstrip())
    beyond = settlement.beyond()
    expected = settlement.rate * len(settlement.scores)
    lines.append(f"  {len(beyond)} of them reach it, about {expected:.0f} good ones are expected to; look at them:")
    for index in beyond[:BEYOND_SHOWN]:
        lines.append(f"    {format_score(settlement.scores[index] / settlement.today):>5}  {settlement.names[index]}")
    if len(beyond) > BEYOND_SHOWN:
        lines.append(f"    and {len(beyond) - BEYOND_SHOWN} more")
    return lines


def describe_seen(recalibration: Recalibration, limit: Thresholds, written: Thresholds | None = None) -> list[str]:
    """Return a warning where no photo reaches the threshold, and how bad photos score beside good ones.

    Args:
        recalibration: What was calibrated, and on which photos.
        limit: The thresholds on whose scale scores are given.
        written: The thresholds that the file will hold, which a later `--threshold` multiplies; `limit` where None.
    """
    photos = recalibration.bad_photos
    seen = recalibration.good_scores.max() if photos is None else max(photos.good_scores.max(), photos.bad_scores.max())
    lines = []
    thresholds = recalibration.recipe.header.thresholds
    if seen < thresholds.image:
        lines.append(
            "  warning: no bad part was shown that reaches the limit (the highest score seen is "
            f"{format_score(thresholds.score(float(seen)))} of it): check it with --bad PHOTOS"
        )
    if photos is not None:
        proposal = photos.proposal
        factor = f"{(written or limit).score(proposal.threshold):.4g}"
        lines += [
            f"  good photos score {_spread(photos.good_scores, limit)}, bad ones {_spread(photos.bad_scores, limit)}",
            f"  a limit of {format_score(limit.score(thresholds.image))} rejects {photos.rejected} of "
            f"{len(photos.good_scores)} good photos and misses {photos.missed} of {len(photos.bad_scores)} bad ones",
            f"  the fewest mistakes: a limit of {format_score(limit.score(proposal.threshold))}, {proposal.rejected} "
            f"rejected and {proposal.missed} missed; to take it: --threshold {factor} with `goodparts calibrate` or "
            "`inspect`",
        ]
    return lines


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"


def _spread(raw_scores: Floats, thresholds: Thresholds) -> str:
    """Return lowest, median and highest score."""
    spread = (raw_scores.min(), np.median(raw_scores), raw_scores.max())
    return " … ".join(format_score(thresholds.score(float(raw))) for raw in spread)


def describe_change(path: Path, change: Change) -> list[str]:
    """Say what accepting photos, or taking them back, does to the recipe in a file and to past rejects."""
    before, after = change.before.header, change.after.header
    lines = [f"{path}: {before.product!r}", *map(_describe_effect, change.photos)]
    for action, level in (("rejects", "image"), ("outlines", "pixel")):
        old, new = getattr(before.thresholds, level), getattr(after.thresholds, level)
        outcome = " stays" if old == new else f" → {new:.4g}"
        lines.append(f"  {action} from raw {level} score {old:.4g}{outcome}")
    rows = [max(map(len, recipe.banks)) for recipe in (change.before, change.after)]
    bound = f", at most {after.accepted.max_rows}" if after.accepted else ""
    lines.append(f"  memory of {rows[0]} → {rows[1]} rows{bound}; {len(before.shots)} → {len(after.shots)} photos")
    if change.rejects:
        turned = [effect for effect in change.rejects if effect.turns_good]
        lines.append(f"  of {len(change.rejects)} past rejects {len(turned)} turn good")
        lines += map(_describe_effect, turned[:TURNED_SHOWN])
        if len(turned) > TURNED_SHOWN:
            lines.append(f"  and {len(turned) - TURNED_SHOWN} more")
    return lines


def _describe_effect(effect: Effect) -> str:
    before, after = format_score(effect.before), format_score(effect.after)
    return f"  {before} {effect.was} → {after} {effect.becomes}  {effect.name}"


def as_record(inspection: Inspection) -> dict[str, Any]:
    """Return an inspection's fields for msgspec.json.encode."""
    return {
        "score": inspection.score,
        "verdict": inspection.verdict,
        "raw_score": inspection.raw_score,
        "raw_threshold": inspection.raw_threshold,
        "raw_pixel_threshold": inspection.thresholds.pixel,
        "regions": inspection.regions,
        "scene": inspection.scene,
        "milliseconds": {stage: round(ms, 3) for stage, ms in inspection.milliseconds.items()},
        "recipe": inspection.recipe,
        "graph": inspection.graph,
        "backend": inspection.backend,
        "provisional": inspection.provisional,
    }
