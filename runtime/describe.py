"""Describes engines, plans, recipes, changes and inspections, in the same words for every command."""

from __future__ import annotations

import itertools
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from .backends.session import GraphName, Precision
from .engine.plans import Plan, read_plans
from .engine.spec import Encoder, EngineSpec, Parity
from .inspection import Inspection, format_score
from .recipe.accept import Change, Effect
from .recipe.header import RecipeHeader, Thresholds
from .recipe.recalibrate import Recalibration
from .recipe.recipe import Recipe
from .recipe.settle import Settlement

SOUND_PHOTOS = 20
"""A threshold from fewer further good photos is rough."""
RATES = (0.01, 0.02, 0.05, 0.1)
"""The false-reject rates whose thresholds are described."""
PROVISIONAL = (
    "provisional: the threshold rests on one photo, which cannot show how good parts differ; teach more photos, or "
    "settle the threshold on parts of the line (`goodparts calibrate --unlabelled DIR`, `goodparts watch --settle 100`)"
)
BAR = 40
"""The longest bar of a histogram, in characters."""
BEYOND_SHOWN = 20
"""At most this many of the unlabelled parts above a threshold are named."""
FAR = 1.5
"""Accepting a part with this score or a higher one gives a warning."""
TURNED_SHOWN = 20
"""At most this many of the past rejects that become good are named."""


def describe_engine(path: Path, spec: EngineSpec) -> list[str]:
    """Return the lines that `goodparts show` prints for an engine.

    Args:
        path: The engine's folder.
        spec: The content of its engine.json.
    """
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
    """Return a description of the outputs `global` and `local`.

    Args:
        encoder: The engine's encoder.
    """
    if encoder.has_text:
        return f"joint width {encoder.width}"
    return f"no text (recipes of the memory only; global and local are image features of width {encoder.width})"


def describe_graph(path: Path, spec: EngineSpec, name: GraphName) -> list[str]:
    """Return lines on every precision of a graph: where it runs, and how far its outputs are from torch's.

    Args:
        path: The engine's folder, which holds its plans too.
        spec: The content of its engine.json.
        name: The graph's name, "plain" or "prompted".
    """
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
    """Return how far a graph's outputs are from torch's.

    Args:
        record: The parity record; None if nothing was measured yet.
    """
    if record is None:
        return "not checked yet: the machine that first runs it compares it with torch"
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
    """Return a line for each plan that was built for a graph, and for each record that cannot be read.

    Args:
        path: The engine's folder.
        graph: The graph's id.
        precision: The precision whose plans are described.
    """
    lines = []
    for _, plan in read_plans(path, graph):
        if not isinstance(plan, Plan):
            lines.append(f"  {plan}")
        elif plan.precision == precision:
            stale = "" if plan.graph == graph else "; of another graph"
            lines.append(f"  {describe_plan(plan)}{stale}")
    return lines


def describe_plan(plan: Plan) -> str:
    """Return a plan's device and size, and how far its outputs are from torch's and its kernels' scores from the CPU's.

    Args:
        plan: The record of the plan.
    """
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
    """Return the lines that `goodparts show` prints for a recipe.

    Args:
        path: The recipe's file.
        recipe: The recipe to describe.
    """
    header = recipe.header
    kept = "kept in the recipe" if recipe.shots is not None else "left out of the recipe"
    learned = header.shots[: header.learned_shots]
    graph = "" if recipe.conditions is None else ", its prompted graph"
    thresholds = header.thresholds
    return [
        f"{path}: recipe for {header.product!r}",
        f"  learned from {len(learned)} photo{'s'[: len(learned) != 1]} ({kept}): "
        f"{', '.join(shot.name for shot in learned)}",
        *_describe_view(header),
        *describe_accepts(header),
        *describe_thresholds(header),
        f"  needs the engine of {header.encoder.backbone}{graph}",
        f"  digest {recipe.digest}" + (", signed" if header.signature else ""),
        "  for researchers:",
        f"    learned by {header.method} ({header.protocol} protocol, seed {header.seed})",
        f"    scores by {_describe_fusion(header)}",
        f"    raw image score to reject from {thresholds.image:.4g}, raw pixel score to outline from "
        f"{thresholds.pixel:.4g}",
        f"    encoder: {header.encoder}",
    ]


def _describe_view(header: RecipeHeader) -> list[str]:
    """Return a line that tells which part of a photo is inspected, and how; none if it is the whole photo as it is."""
    view, parts = header.view, []
    if view.roi is not None:
        parts.append(f"region {view.roi.x},{view.roi.y},{view.roi.width},{view.roi.height}")
    if (share := view.mask_share()) is not None:
        parts.append(f"mask, {_percent(share)} of the {'photo' if view.roi is None else 'region'}")
    if view.count > 1:
        parts.append(f"tiles {view.tiles[0]}×{view.tiles[1]}")
    if view.resize == "letterbox":
        parts.append("letterbox")
    if header.poses:
        parts.append("seven more poses")
    return [f"  looks at: {'; '.join(parts)}"] if parts else []


def describe_learned(path: Path, recipe: Recipe) -> list[str]:
    """Return the lines that a command prints after it has learned a product: what to expect, and what to do next.

    Args:
        path: The recipe's file.
        recipe: The learned recipe, with its thresholds.
    """
    header = recipe.header
    learned = header.shots[: header.learned_shots]
    calibration, thresholds, rate = header.calibration, header.thresholds, header.false_reject_rate
    lines = [
        f"{path}: recipe for {header.product!r}, learned from {', '.join(shot.name for shot in learned)}",
        *_describe_view(header),
        f"  A part is rejected from score 1.00. {_describe_calibration(header)}.",
    ]
    reaching = [index for index, score in enumerate(calibration.image.scores) if score >= thresholds.image]
    if reaching and calibration.source == "leave-one-out":
        names = ", ".join(learned[index].name for index in reaching)
        lines.append(f"  Photos that reach the threshold themselves: {names}. Check that they are good.")
    elif reaching:
        lines.append(f"  Photos that reach the threshold themselves: {len(reaching)}. Check that they are good.")
    if thresholds.review is not None:
        lines.append(f"  A part gets the verdict review from score {thresholds.review:g}.")
    if header.is_provisional:
        lines.append(f"  {PROVISIONAL}")
    elif missing := calibration.photos_missing(rate):
        further = max(SOUND_PHOTOS, missing + len(calibration.image.scores))  # the shots do not count beside them
        lines += [
            f"  The threshold aims to reject {_percent(rate)} of good parts. {further} further good photos would "
            "verify that, or unsorted ones with --unlabelled instead of --good:",
            f"    goodparts calibrate --recipe {_word(path)} --good DIR",
        ]
    return lines


def _describe_calibration(header: RecipeHeader) -> str:
    """Return which scores the threshold rests on, and how high they are."""
    scores = header.calibration.image.scores
    lowest, highest = (format_score(header.thresholds.score(score)) for score in (min(scores), max(scores)))
    photos = {
        "leave-one-out": f"These {header.learned_shots} photos, each compared with the others,",
        "copies": "Shifted copies of the photo",
        "further photos": f"{len(scores)} further good photos",
        "unlabelled parts": f"{len(scores)} unlabelled parts",
    }[header.calibration.source]
    return f"{photos} score {lowest} to {highest}"


def _describe_fusion(header: RecipeHeader) -> str:
    match header.fusion:
        case "paper":
            return "prompts and memory, half the harmonic mean of their raw scores (paper)"
        case "residual":
            return f"memory and prompts (residual): distance · exp({header.residual_weight:.3g} · residual margin)"
        case "prompt":
            return "the prompts only"
        case "memory":
            return "the memory only"
        case "subspace":
            return "the distance from the subspace of the remembered patches (only the runtime in Python has it)"


def describe_accepts(header: RecipeHeader) -> list[str]:
    """Return one line of text for each accept, oldest first.

    Args:
        header: The recipe's header.
    """
    if not header.accepted:
        return []
    ends = itertools.accumulate(header.accepted.accepts, initial=header.learned_shots)
    return [
        f"  accepted {number}: {', '.join(f'{shot.name} ({shot.sha256[:12]})' for shot in header.shots[start:end])}"
        for number, (start, end) in enumerate(itertools.pairwise(ends), start=1)
    ]


def describe_thresholds(header: RecipeHeader) -> list[str]:
    """Return the thresholds and the scores that they rest on.

    Args:
        header: The recipe's header.
    """
    calibration, rate, thresholds = header.calibration, header.false_reject_rate, header.thresholds
    scores = calibration.image.scores
    lines = [
        "  rejects parts from score 1.00",
        f"  aims to reject {_percent(rate)} of good parts. {_describe_calibration(header)}",
        *_describe_rates(header, thresholds.image),
    ]
    if thresholds.review is not None:
        lines.insert(1, f"  review from score {thresholds.review:g}")
    if not header.has_calibrated_threshold:
        calibrated = format_score(calibration.image.threshold(rate) / thresholds.image)
        lines.insert(1, f"  set by hand; the calibrated threshold is {calibrated}")
    if header.is_provisional:
        lines.append(f"  {PROVISIONAL}")
    elif missing := calibration.photos_missing(rate):
        lines.append(
            f"  {len(scores)} photos cannot verify a rate of {_percent(rate)}; about {missing} more would "
            "(`goodparts calibrate`, with --good or --unlabelled)"
        )
    return lines


def _describe_rates(header: RecipeHeader, today: float) -> list[str]:
    """Return the threshold for each of RATES, as a multiple of today's, and how many photos would verify it."""
    calibration = header.calibration
    scores = np.array(calibration.image.scores)
    lines = ["  threshold for each share of good parts rejected (1.00 is today's):"]
    for rate in RATES:
        threshold = calibration.image.threshold(rate)
        reached = f"{int((scores >= threshold).sum())} of {len(scores)} scores reach it"
        missing = calibration.photos_missing(rate)
        verified = f"; about {missing} more good photos would verify it" if missing else ""
        lines.append(f"    {_percent(rate):>4}  {format_score(threshold / today)}; {reached}{verified}")
    return lines


def describe_proposal(path: Path, recalibration: Recalibration, taken: bool) -> list[str]:
    """Return the changes of a recalibration, the photos that it rests on, and how many of them it would reject.

    Args:
        path: The recipe's file.
        recalibration: The proposed recipe, and the photos that its thresholds rest on.
        taken: Whether the proposal is written without asking, so that later thresholds are relative to it.
    """
    before, after = recalibration.before.header, recalibration.recipe.header
    old, new = before.thresholds, after.thresholds
    calibration, scores = after.calibration, recalibration.good_scores
    rejected = [int((scores >= threshold).sum()) for threshold in (old.image, new.image)]
    lines = [
        f"{path}: recipe for {after.product!r}",
        f"  proposed threshold: {format_score(old.score(new.image))}, where 1.00 is today's, to reject "
        f"{_percent(after.false_reject_rate)} of good parts",
        f"  of {len(scores)} scores ({calibration.source}), today's threshold rejects {rejected[0]}, the proposed one "
        f"{rejected[1]}",
        *_describe_rates(after, old.image),
    ]
    if after.is_provisional:
        lines.append(f"  {PROVISIONAL}")
    if calibration.source == "further photos" and len(scores) < SOUND_PHOTOS:
        lines.append(
            f"  warning: a threshold from so few photos ({len(scores)}) is rough, and one odd part moves it far: give "
            f"{SOUND_PHOTOS} or more"
        )
    if recalibration.settlement is not None:
        lines += describe_settlement(recalibration.settlement)
    return lines + describe_seen(path, recalibration, old, new if taken else old)


def describe_settlement(settlement: Settlement) -> list[str]:
    """Return a histogram of unlabelled parts' scores, and the parts that a person should look at.

    Args:
        settlement: The threshold that the parts propose; a score of 1.00 is the threshold in use.
    """
    edges, counts = settlement.histogram()
    proposed, highest = settlement.threshold / settlement.today, int(counts.max())
    lines = [f"  scores of {len(settlement.scores)} unlabelled parts; {format_score(proposed)} is proposed:"]
    for low, high, count in zip(edges[:-1], edges[1:], counts, strict=True):
        low, high = low / settlement.today, high / settlement.today
        marks = [name for name, value in (("proposed", proposed), ("today", 1.0)) if low <= value < high]
        bar = "#" * math.ceil(BAR * count / highest)
        span = f"{format_score(low):>5} to {format_score(high):>5}"
        lines.append(f"    {span} {bar:{BAR}} {count:4d}  {', '.join(marks)}".rstrip())
    beyond = settlement.beyond()
    expected = settlement.rate * len(settlement.scores)
    lines.append(
        f"  {len(beyond)} of them reach it; expected good parts among these: about {expected:.0f}. Look at them:"
    )
    for index in beyond[:BEYOND_SHOWN]:
        lines.append(f"    {format_score(settlement.scores[index] / settlement.today):>5}  {settlement.names[index]}")
    if len(beyond) > BEYOND_SHOWN:
        lines.append(f"    and {len(beyond) - BEYOND_SHOWN} more")
    return lines


def describe_seen(
    path: Path, recalibration: Recalibration, scale: Thresholds, written: Thresholds | None = None
) -> list[str]:
    """Return the scores of bad and of good photos, and a warning if no photo reaches the threshold.

    Args:
        path: The recipe's file.
        recalibration: The calibrated recipe, and the photos that its thresholds rest on.
        scale: The thresholds whose score 1.00 is the scale of the scores.
        written: The thresholds that the file will hold, which a later `--threshold` multiplies; None means `scale`.
    """
    photos = recalibration.bad_photos
    seen = recalibration.good_scores.max() if photos is None else max(photos.good_scores.max(), photos.bad_scores.max())
    lines = []
    thresholds = recalibration.recipe.header.thresholds
    if seen < thresholds.image:
        lines.append(
            "  No part seen so far reaches this threshold. Try it on bad parts: "
            f"goodparts calibrate --recipe {_word(path)} --bad DIR"
        )
    if photos is not None:
        proposal, mistakes = photos.proposal, photos.rejected + photos.missed
        best_score = f"{scale.score(proposal.threshold):.4g}"
        factor = f"{(written or scale).score(proposal.threshold):.4g}"
        best = (
            f"  a threshold of {best_score} makes the fewest mistakes, "
            f"{proposal.rejected} rejected and {proposal.missed} missed: goodparts calibrate --recipe {_word(path)} "
            f"--threshold {factor}"
        )
        lines += [
            f"  good photos score {_spread(photos.good_scores, scale)}, bad ones {_spread(photos.bad_scores, scale)}",
            f"  a threshold of {format_score(scale.score(thresholds.image))} rejects {photos.rejected} of "
            f"{len(photos.good_scores)} good photos and misses {photos.missed} of {len(photos.bad_scores)} bad ones",
            "  no threshold makes fewer mistakes" if proposal.rejected + proposal.missed == mistakes else best,
        ]
    return lines


def _word(path: Path) -> str:
    """Return a path as a word of a command line."""
    return shlex.quote(str(path))


def _percent(rate: float) -> str:
    return f"{100 * rate:.3g} %"


def _spread(raw_scores: npt.NDArray[np.floating], thresholds: Thresholds) -> str:
    """Return lowest, highest and median score."""
    spread = (raw_scores.min(), raw_scores.max(), np.median(raw_scores))
    lowest, highest, median = (format_score(thresholds.score(float(raw))) for raw in spread)
    return f"{lowest} to {highest} (median {median})"


def describe_change(path: Path, change: Change) -> list[str]:
    """Return the effects that accepting photos, or taking them back, has on a recipe and on past rejects.

    Args:
        path: The recipe's file.
        change: The change that `preview` or `undo` returned.
    """
    before, after = change.before.header, change.after.header
    lines = [f"{path}: recipe for {before.product!r}", *map(_describe_effect, change.photos)]
    lines += [
        f"  warning: {effect.name} scores far above the threshold: accept it only if the part is good, because "
        "parts like it will pass from then on"
        for effect in change.photos
        if len(after.shots) > len(before.shots) and effect.before >= FAR
    ]
    for what, level in (("rejecting parts", "image"), ("outlines", "pixel")):
        old, new = getattr(before.thresholds, level), getattr(after.thresholds, level)
        becomes = "stays" if old == new else f"becomes {format_score(new / old)} times today's"
        lines.append(f"  the threshold for {what} {becomes}")
    rows = [max(map(len, recipe.banks)) for recipe in (change.before, change.after)]
    bound = f", at most {after.accepted.max_rows}" if after.accepted else ""
    lines.append(f"  photos: {len(before.shots)} → {len(after.shots)}; rows of memory: {rows[0]} → {rows[1]}{bound}")
    if change.rejects:
        turned = [effect for effect in change.rejects if effect.turns_good]
        lines.append(f"  of {len(change.rejects)} past rejects, {len(turned)} become good")
        lines += map(_describe_effect, turned[:TURNED_SHOWN])
        if len(turned) > TURNED_SHOWN:
            lines.append(f"  and {len(turned) - TURNED_SHOWN} more")
    return lines


def _describe_effect(effect: Effect) -> str:
    before, after = format_score(effect.before), format_score(effect.after)
    return f"  {before} {effect.was} → {after} {effect.becomes}  {effect.name}"


def as_record(inspection: Inspection) -> dict[str, Any]:
    """Return an inspection's fields for msgspec.json.encode; docs/formats.md describes them.

    Args:
        inspection: The inspection of one picture.
    """
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
