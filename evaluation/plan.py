"""The plan of an evaluation, opened from its options: the data set, the methods and the backends to measure."""

from __future__ import annotations

import argparse
import contextlib
import functools
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from goodparts.export.engines import make_engine
from goodparts.export.options import open_backbone
from goodparts.export.prompted import add_prompted
from goodparts.runtime.core.errors import BackboneError, EngineError, SettingsError
from goodparts.runtime.core.files import printable, writing
from goodparts.runtime.core.scoring import Features
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import SPEC_NAME, Encoder, read_spec
from goodparts.runtime.recipe.calibrate import Encode
from goodparts.trainer.anople.encoder import PromptedEncoder
from goodparts.trainer.anople.settings import anople_settings
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.names import DEFAULT_NAME

from .cache import FOLDER_NAME, MeasurementCache
from .datasets import DataSet, open_data
from .datasets.drawn import DRAWN, draw_data
from .processes import run_in_process
from .sweep import Sweep

TORCH = "torch"
"""The name of torch as a backend."""


@dataclass(frozen=True)
class PromptedGraph:
    """An engine's second graph, which reads views and conditions.

    Attributes:
        encode: Encodes views uint8 [n,S,S,3] with the keyword argument `conditions`.
        graph_id: Identifies the graph.
        conditions: The shapes of the conditions by name.
    """

    encode: Callable[..., Features]
    graph_id: str
    conditions: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True)
class MeasuredBackend:
    """A backend that encodes photos: an engine's session, or torch.

    Attributes:
        name: The backend's name in reports.
        encode: Encodes views uint8 [n,S,S,3].
        graph_id: Identifies the graph that runs, or torch's weights.
        precision: The precision of the graph.
        prompted: The engine's prompted graph; None if it has none.
    """

    name: str
    encode: Encode
    graph_id: str
    precision: str
    prompted: PromptedGraph | None = None


@dataclass(frozen=True)
class EvaluationPlan:
    """The plan of an evaluation, which is the same for every category.

    Attributes:
        data: The data set.
        shots: The numbers of shots, ascending.
        seeds: The number of draws of shots; their seeds count from 0.
        methods: The names of the methods, in the order of the options.
        encoder: The identity of the engine's encoder.
        backends: The deployed backend first; torch last, if it is measured.
        backbone: Opens the backbone.
        oracle: Whether the learning step that is best on the test data is measured too.
        cache: The finished measurements.
        official: The folder of the lists of shots if PromptAD's released evaluation is reproduced, otherwise None.
    """

    data: DataSet
    shots: tuple[int, ...]
    seeds: int
    methods: tuple[str, ...]
    encoder: Encoder
    backends: tuple[MeasuredBackend, ...]
    backbone: Callable[[], Backbone]
    oracle: bool
    cache: MeasurementCache
    official: Path | None = None


def open_plan(sweep: Sweep) -> tuple[EvaluationPlan, Engine]:
    """Open everything that the measurements need; make the engine if it does not exist.

    Args:
        sweep: The options of the evaluation.

    Returns:
        The plan, and the deployed engine.

    Raises:
        SettingsError: A category or another option is unknown.
        FileError: The data set cannot be read, or the results' folder cannot be written.
        EngineError: The engine does not fit the backbone.
    """
    data = open_sweep_data(sweep)
    find_categories(sweep, data)
    folder = Path(sweep.out) / FOLDER_NAME
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if _lacks_engine(sweep):
        run_in_process(_make_engine, sweep)  # a separate process frees its 0.7 GB when it ends
    engine, backbone = _open_engine(sweep)
    backends = [_engine_backend(engine, sweep)]
    if sweep.torch:
        backends.append(torch_backend(engine.encoder, backbone))
    plan = EvaluationPlan(
        data=data,
        shots=tuple(sorted(set(sweep.shots))),
        seeds=sweep.seeds,
        methods=sweep.methods,
        encoder=engine.encoder,
        backends=tuple(backends),
        backbone=backbone,
        oracle=sweep.oracle,
        cache=MeasurementCache(folder),
        official=None if sweep.official is None else Path(sweep.official),
    )
    return plan, engine


def open_sweep_data(sweep: Sweep) -> DataSet:
    """Open the data set; drawn parts are drawn into the results' folder unless they exist there already.

    Args:
        sweep: The options of the evaluation.

    Returns:
        The data set.

    Raises:
        FileError, SettingsError: As in `open_data`.
    """
    if sweep.data != DRAWN:
        return open_data(Path(sweep.data), sweep.layout)
    return draw_data(Path(sweep.out) / DRAWN)


def find_categories(sweep: Sweep, data: DataSet) -> tuple[str, ...]:
    """Return the categories to measure, in the data set's order.

    Args:
        sweep: The options of the evaluation.
        data: The data set.

    Raises:
        SettingsError: The data set has no category of a name that was given.
    """
    unknown = [name for name in sweep.category or () if name not in data.categories]
    if unknown:
        known = " ".join(printable(Path(name)) for name in data.categories)
        raise SettingsError(f"--category {unknown[0]}: the categories of {data.name} are {known}")
    return tuple(name for name in data.categories if sweep.category is None or name in sweep.category)


def torch_backend(encoder: Encoder, backbone: Callable[[], Backbone]) -> MeasuredBackend:
    """Return the backend that encodes through torch; it opens the backbone when it first encodes.

    Args:
        encoder: The identity of the backbone.
        backbone: Opens the backbone.
    """
    return MeasuredBackend(TORCH, lambda views: backbone().encode(views), encoder.weights, "fp32")


def _engine_backend(engine: Engine, sweep: Sweep) -> MeasuredBackend:
    prompted = None
    graph = engine.spec.graphs.get("prompted")
    if graph is not None and sweep.precision in graph.variants:
        graph_id = engine.spec.graph_id("prompted", sweep.precision)
        prompted = PromptedGraph(engine.encode, graph_id, graph.conditions)
    return MeasuredBackend(engine.backend, engine.encode, engine.graph_id(), sweep.precision, prompted)


def _lacks_engine(sweep: Sweep) -> bool:
    """Return whether the engine does not exist, or lacks the prompted graph that a method needs.

    An engine that the user named is never changed.
    """
    folder = sweep.engine_folder
    if not (folder / SPEC_NAME).is_file():
        return True
    return sweep.engine is None and sweep.needs_prompted_graph and "prompted" not in read_spec(folder).graphs


def _make_engine(sweep: Sweep) -> None:
    """Make the engine if it does not exist, and its prompted graph if a method needs it."""
    folder = sweep.engine_folder
    backbone = _open_backbone(sweep)
    if not (folder / SPEC_NAME).is_file():
        make_engine(backbone, folder, (sweep.precision,))
    if sweep.needs_prompted_graph:
        with contextlib.suppress(BackboneError):  # the backbone is no ViT: methods that need one get a remark later
            encoder = PromptedEncoder(backbone, anople_settings())
            add_prompted(folder, backbone, encoder)


def _open_engine(sweep: Sweep) -> tuple[Engine, Callable[[], Backbone]]:
    """Open the engine, and return it with a function that opens its backbone on the first call.

    Raises EngineError if engine and backbone do not belong together.
    """
    folder = sweep.engine_folder
    engine = Engine.open(
        folder, backend=sweep.backend, precision=sweep.precision, threads=sweep.threads, verify=sweep.engine is not None
    )
    encoder = engine.encoder
    if sweep.backbone not in (None, encoder.backbone):
        raise EngineError(
            f"{folder} holds an engine for {encoder}, --backbone is {sweep.backbone}: name another --engine"
        )

    @functools.cache
    def backbone() -> Backbone:
        opened = _open_backbone(sweep, encoder)
        if opened.encoder != encoder:
            raise EngineError(
                f"{folder} holds an engine for {encoder}, the backbone is {opened.encoder}: name another --engine"
            )
        return opened

    return engine, backbone


def _open_backbone(sweep: Sweep, encoder: Encoder | None = None) -> Backbone:
    """Open the backbone that the options name; options that are missing are taken from the encoder, if there is one."""
    options = argparse.Namespace(
        backbone=sweep.backbone or (encoder.backbone if encoder else DEFAULT_NAME),
        pretrained=sweep.pretrained,
        weights=None if sweep.weights is None else Path(sweep.weights),
        memory_taps=sweep.memory_taps,
        tap_outputs=sweep.tap_outputs,
        memory_grid=sweep.memory_grid,
        neighbourhood=sweep.neighbourhood,
        image_size=sweep.image_size,
    )
    if encoder is not None:
        options.memory_taps = options.memory_taps or ",".join(map(str, encoder.taps))
        options.memory_grid = options.memory_grid or encoder.grid[0]
        options.neighbourhood = options.neighbourhood or encoder.neighbourhood
        if not encoder.has_text:
            options.image_size = options.image_size or encoder.image_size
    return open_backbone(options)
