"""The fused model: encoder and one product in a single ONNX file, from uint8 views to scores and map.

It is for runtimes without goodparts. Its drawback is that a change of product, memory or calibration needs a new
export.
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
"""The value of `format` in the file's metadata."""
LARGEST = 2**31 - 2**20
"""The largest total size of weights and banks in bytes, because a protobuf file holds less than 2³¹ bytes."""

ROUNDING = 1e-6
"""The difference that a score may have because cosines are summed in another order."""


@dataclass(frozen=True)
class Agreement:
    """How far a fused model on a backend was from goodparts' own scores with that backend's features.

    Attributes:
        ran: The library that really ran, with its version and device.
        difference: The largest difference of any score, including those of grid and map. It is a share of the threshold
            that decides on the score, or of the score if the score is larger.
    """

    ran: str
    difference: float


def write_fused(folder: Path, recipe: Recipe | Path, out: Path, precision: Precision = "fp32") -> list[Agreement]:
    """Write the fused model of an engine in one precision and a recipe; an older file is replaced.

    A recipe for another graph is first fitted to this one, as Detector.use does. The file appears only if it agrees
    with goodparts on every installed backend that may run the precision.

    Args:
        folder: The engine's folder.
        recipe: The recipe, or its file.
        out: The file to write, whose name ends in .onnx.
        precision: The precision of the encoder.

    Returns:
        How far the file was from goodparts on each of these backends.

    Raises:
        RecipeError: The recipe is for another encoder.
        EngineError: The engine is damaged or lacks the precision.
        SettingsError: The file would be too large, or the recipe's scoring cannot be exported.
        ParityError: A backend differs too much from goodparts.
        FileError: The file cannot be written, or its name is not accepted.
    """
    _require_place(folder, out)
    spec = verify_files(folder)
    if not isinstance(recipe, Recipe):
        recipe = Recipe.open(recipe)
    variant = spec.graph(spec.graph_for(recipe.conditions)).variant(precision)
    # If ONNX Runtime has a record, it is the first. Most readers of the file use ONNX Runtime.
    backends = [record.backend for record in variant.parity if installed(record.backend)]
    engine = Engine.open(folder, backend=next(iter(backends), "auto"), precision=precision)
    fitted = Detector(engine, recipe).recipe
    data = fuse_model(folder, spec, fitted, precision).SerializeToString(deterministic=True)
    with staged(out.absolute(), ".onnx") as part:  # libraries recognise ONNX by the ending
        part.write_bytes(data)
        return compare(part, folder, spec, fitted, precision)


def fuse_model(folder: Path, spec: EngineSpec, recipe: Recipe, precision: Precision) -> onnx.ModelProto:
    """Join the engine's graph, with its weights, and the recipe's scoring in one model.

    Args:
        folder: The engine's folder.
        spec: The engine's description.
        recipe: A recipe whose memory was computed with this graph. Its conditions of a prompted graph become constants.
        precision: The precision of the graph.

    Returns:
        The model.

    Raises:
        SettingsError: The model would be too large, or the recipe's scoring cannot be exported.
    """
    variant = spec.graph(spec.graph_for(recipe.conditions)).variant(precision)
    sizes = [file.size for file in spec.files if file.name in (variant.graph, variant.weights)]
    size = sum(sizes) + sum(bank.nbytes for bank in recipe.banks)
    if size > LARGEST:
        raise SettingsError(
            f"the fused model would have {size / 1e9:.2f} GB, one ONNX file holds up to {LARGEST / 1e9:.2f}: learn the "
            "product with a smaller --memory-share, or serve only the encoder with --triton"
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
    """Return the file's metadata as text: its identity, the thresholds of the raw scores, and the view to cut.

    `review` is a share of the image threshold, as in Thresholds; it is empty if there is no review band.

    Args:
        spec: The engine's description.
        recipe: The recipe.
        precision: The precision of the graph.
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

    The comparison covers every backend that is installed and has a parity record for the precision.

    Args:
        fused: The fused model's file.
        folder: The engine's folder.
        spec: The engine's description.
        recipe: The recipe that the model contains.
        precision: The precision of the graph.

    Returns:
        How far the model was from goodparts on each of these backends.

    Raises:
        ParityError: A backend differs by more than the precision's tolerance of scores.
    """
    images = Reference.open(folder / REFERENCE_NAMES["plain"]).images
    thresholds = recipe.header.thresholds
    allowed = max(TOLERANCES[precision].score, ROUNDING / min(thresholds.image, thresholds.pixel))
    agreements = []
    variant = spec.graph(spec.graph_for(recipe.conditions)).variant(precision)
    for record in variant.parity:
        if not installed(record.backend):
            log.info("%s is not installed: the fused model was not compared on it", record.backend)
            continue
        encoder = open_session(folder / variant.graph, record.backend, precision, None)
        session = open_session(fused, record.backend, precision, None)
        difference = largest([_apart(session, encoder, recipe, images, batch) for batch in (1, len(images))])
        if not difference <= allowed:  # in this form, a NaN fails too
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
    """Raise FileError if the file has no folder, does not end in .onnx, or would lie in the engine's folder."""
    require_folder_of(out)
    if out.suffix != ".onnx":
        raise FileError(f"cannot write {out}: runtimes recognise ONNX by its ending; name a file that ends in .onnx")
    if folder.resolve() in out.resolve().parents:
        raise FileError(f"cannot write {out}: the engine's folder may hold only the engine; name another place")
