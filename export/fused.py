"""The fused model: encoder and one product in a single ONNX file, from uint8 views to scores and map.

For runtimes that have no goodparts. What it loses by it: a change of product, memory or calibration is another export.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np
import onnx
from goodparts.runtime.backends.registry import installed, open_session
from goodparts.runtime.backends.session import Precision, Session
from goodparts.runtime.backends.tensors import to_features
from goodparts.runtime.core.errors import FileError, ParityError, SettingsError
from goodparts.runtime.core.files import require_folder_of, staged
from goodparts.runtime.core.preprocess import Array8
from goodparts.runtime.core.scoring import Floats, anomaly_map, score
from goodparts.runtime.detector import Detector
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.parity import REFERENCE_NAMES, TOLERANCES, Reference, largest
from goodparts.runtime.engine.spec import EngineSpec, verify_files
from goodparts.runtime.recipe.recipe import Recipe

from .fused_scoring import append_scoring

log = logging.getLogger(__name__)

FORMAT = "goodparts fused 1"
LARGEST = 2**31 - 2**20
"""Bytes of weights and banks: a protobuf file holds less than 2³¹ in all."""

ROUNDING = 1e-6
"""A score may change by this much where a cosine is summed in another order."""


@dataclass(frozen=True)
class Agreement:
    """How far a fused model on a backend was from goodparts' own scores with that backend's features.

    ran: what really ran; difference: the largest difference of any score, in grid and map too, as a share of the
    threshold that decides on it, or of the score where that is larger.
    """

    ran: str
    difference: float


def write_fused(folder: Path, recipe: Recipe | Path, out: Path, precision: Precision = "fp32") -> list[Agreement]:
    """Write the fused model of an engine's precision and a recipe; an older file is replaced.

    A recipe of another graph is fitted to this one first, as Detector.use does. The file appears only if every backend
    here that may run the precision gives what goodparts gives.

    Raises RecipeError for a recipe of another encoder, EngineError for a damaged engine or a precision that it lacks,
    SettingsError where the file would be too large, ParityError where a backend differs.
    """
    _require_place(folder, out)
    spec = verify_files(folder)
    if not isinstance(recipe, Recipe):
        recipe = Recipe.open(recipe)
    variant = spec.graph(spec.graph_for(recipe.conditions)).variant(precision)
    # The first record is ONNX Runtime's where it has one: what most readers of the file run on.
    backends = [record.backend for record in variant.parity if installed(record.backend)]
    engine = Engine.open(folder, backend=next(iter(backends), "auto"), precision=precision)
    fitted = Detector(engine, recipe).recipe
    data = fuse_model(folder, spec, fitted, precision).SerializeToString(deterministic=True)
    with staged(out.absolute(), ".onnx") as part:  # libraries go by the ending
        part.write_bytes(data)
        return compare(part, folder, spec, fitted, precision)


def fuse_model(folder: Path, spec: EngineSpec, recipe: Recipe, precision: Precision) -> onnx.ModelProto:
    """Join the engine's graph in a precision, with its weights, and the recipe's scoring in one model.

    recipe: one whose memory was computed with this graph; its conditions of a prompted graph become constants. Raises
    SettingsError where the model would be too large.
    """
    variant = spec.graph(spec.graph_for(recipe.conditions)).variant(precision)
    sizes = [file.size for file in spec.files if file.name in (variant.graph, variant.weights)]
    size = sum(sizes) + sum(bank.nbytes for bank in recipe.banks)
    if size > LARGEST:
        raise SettingsError(
            f"the fused model would have {size / 1e9:.2f} GB, one ONNX file holds up to {LARGEST / 1e9:.2f}: learn the "
            "product with a smaller --memory-share, or serve the encoder alone with --triton"
        )
    model = onnx.load(str(folder / variant.graph))
    if recipe.conditions is not None:
        del model.graph.input[1:]
        model.graph.initializer.extend(
            onnx.numpy_helper.from_array(tensor, name) for name, tensor in recipe.conditions.tensors.items()
        )
    append_scoring(model.graph, recipe)
    onnx.helper.set_model_props(model, metadata(spec, recipe, precision))
    return model


def metadata(spec: EngineSpec, recipe: Recipe, precision: Precision) -> dict[str, str]:
    """Return what the file's reader must know, as text: identity, thresholds of the raw scores, and which view to cut.

    review is a share of the image threshold, as in Thresholds; an empty text where there is no such band.
    """
    header = recipe.header
    thresholds = header.thresholds
    return {
        "format": FORMAT,
        "product": header.product,
        "image_threshold": repr(thresholds.image),
        "pixel_threshold": repr(thresholds.pixel),
        "min_area": repr(thresholds.min_area),
        "review": "" if thresholds.review is None else repr(thresholds.review),
        "view": msgspec.json.encode(header.view, order="sorted").decode(),
        "recipe": recipe.digest,
        "graph": spec.graph_id(spec.graph_for(recipe.conditions), precision),
        "precision": precision,
        "encoder": str(spec.encoder),
        "note": spec.note,
    }


def compare(fused: Path, folder: Path, spec: EngineSpec, recipe: Recipe, precision: Precision) -> list[Agreement]:
    """Compare a fused model with goodparts on the engine's reference pictures, one at a time and all at once.

    It is compared on every backend that has a parity record for the precision and is installed. Raises ParityError
    where one differs by more than the precision's tolerance of scores.
    """
    images = Reference.open(folder / REFERENCE_NAMES["plain"]).images
    thresholds = recipe.header.thresholds
    allowed = max(TOLERANCES[precision].score, ROUNDING / min(thresholds.image, thresholds.pixel))
    agreements = []
    variant = spec.graph(spec.graph_for(recipe.conditions)).variant(precision)
    for record in variant.parity:
        if not installed(record.backend):
            log.info("%s is not installed here: the fused model was not tried on it", record.backend)
            continue
        encoder = open_session(folder / variant.graph, record.backend, precision, None)
        session = open_session(fused, record.backend, precision, None)
        difference = largest([_apart(session, encoder, recipe, images, batch) for batch in (1, len(images))])
        if not difference <= allowed:  # so that a NaN fails
            raise ParityError(
                f"the fused {precision} model on {record.backend} differs from goodparts by {difference:.1e} of the "
                f"threshold (at most {allowed:.0e}): nothing was written; try another --precision"
            )
        agreements.append(Agreement(session.description, difference))
    return agreements


def _apart(fused: Session, encoder: Session, recipe: Recipe, images: Array8, batch: int) -> float:
    """Return the largest difference of any output, as a share of the threshold that decides on it or of the score."""
    learned, grid, thresholds = recipe.learned(), recipe.header.encoder.grid, recipe.header.thresholds
    differences = []
    for start in range(0, len(images), batch):
        views = images[start : start + batch]
        outputs = fused.run(views)
        scores = score(to_features(encoder.run(views, recipe.conditions), grid), learned)
        maps = np.stack([anomaly_map(scored) for scored in scores.grid])
        differences += [
            _share(outputs["score"], scores.image, thresholds.image),
            _share(outputs["grid"], scores.grid, thresholds.pixel),
            _share(outputs["map"], maps, thresholds.pixel),
        ]
    return largest(differences)


def _share(values: Floats, expected: Floats, threshold: float) -> float:
    return float((np.abs(values - expected) / np.maximum(expected, threshold)).max())


def _require_place(folder: Path, out: Path) -> None:
    """Raise FileError for a file that could not be opened as ONNX afterwards, or would get lost with the engine."""
    require_folder_of(out)
    if out.suffix != ".onnx":
        raise FileError(f"cannot write {out}: runtimes know ONNX by its ending; name a file that ends in .onnx")
    if folder.resolve() in out.resolve().parents:
        raise FileError(f"cannot write {out}: an engine's folder holds nothing but the engine; name another place")
