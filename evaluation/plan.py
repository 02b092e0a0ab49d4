"""What an evaluation is told, on the command line or in a TOML file, and what a worker makes of it."""

from __future__ import annotations

import argparse
import functools
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import msgspec
from goodparts.export.engines import make_engine
from goodparts.export.options import open_backbone
from goodparts.export.prompted import add_prompted
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import EngineError, SettingsError
from goodparts.runtime.core.files import printable, read_toml, writing
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import SPEC_NAME, read_spec
from goodparts.trainer.anople.encoder import PromptedEncoder
from goodparts.trainer.anople.settings import anople_settings
from goodparts.trainer.clip.backbone import Backbone
from goodparts.trainer.clip.weights import DEFAULT_NAME
from msgspec import Meta

from .cache import Cells
from .datasets import SHOT_COUNTS, DataSet, open_data
from .datasets.drawn import DRAWN, draw_data
from .methods.table import METHODS, expand_methods
from .processes import run_aside
from .run import Backend, Plan, PromptedGraph, torch_backend

USUAL = ("memory", "vvclip", "vvclip+", "coop", "promptad", "patchcore")
MAX_SEEDS = 100

Count = Annotated[int, Meta(ge=1)]


class Sweep(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, rename="kebab"):
    """Everything that is told; the keys of a TOML file, and the options, have these names."""

    data: str
    out: str
    layout: str | None = None
    category: tuple[str, ...] | None = None
    shots: tuple[Count, ...] = SHOT_COUNTS
    seeds: Annotated[int, Meta(ge=1, le=MAX_SEEDS)] = 1
    method: tuple[str, ...] = USUAL
    engine: str | None = None
    backend: str = "auto"
    precision: Precision = "fp32"
    threads: Count | None = None
    torch: bool = False
    oracle: bool = False
    official: str | None = None
    backbone: str | None = None
    pretrained: str | None = None
    weights: str | None = None
    memory_taps: str | None = None
    workers: Count = 1
    ray: str | None = None

    @property
    def methods(self) -> tuple[str, ...]:
        return expand_methods(self.method)

    @property
    def engine_folder(self) -> Path:
        """The engine that was named, or the one that belongs to the results."""
        return Path(self.engine or Path(self.out) / "engine")


def read_sweep(file: Path | None, options: dict[str, Any]) -> Sweep:
    """A TOML file, where there is one, with the options that were given beside it, which win.

    SettingsError in one line for a key that there is not, a value of the wrong type or out of range.
    """
    told: dict[str, Any] = {}
    if file is not None:
        told = read_toml(file)
        if unknown := sorted(told.keys() - set(Sweep.__struct_encode_fields__)):
            known = " ".join(Sweep.__struct_encode_fields__)
            raise SettingsError(f"{file}: unknown key {unknown[0]!r}: there are {known}")
    told |= options
    try:
        sweep = msgspec.convert(told, Sweep)
    except msgspec.ValidationError as error:
        raise SettingsError(_explain(file, told, str(error))) from error
    rows = expand_methods(sweep.method)
    if sweep.official is not None and (wrong := [name for name in rows if not METHODS[name].official]):
        raise SettingsError(f"--official: PromptAD's released code has no {wrong[0]}: memory and rows of PromptAD only")
    return sweep


def _explain(file: Path | None, told: dict[str, Any], said: str) -> str:
    """msgspec says "Expected `int`, got `str` - at `$.seeds`"; this says the value as well."""
    text, _, place = said.partition(" - at `$.")
    key = place.rstrip("`").partition("[")[0]
    where = "" if file is None else f"{file}: "
    if not key:
        needed = text.partition("field ")[2].strip("`")
        return f"{where}{needed} is needed: --{needed}, or in the file of --sweep"
    return f"{where}{key} = {told[key]!r}: {text[0].lower()}{text[1:]}"


def find_data(sweep: Sweep) -> DataSet:
    """The data set; drawn parts are drawn beside the results where they are not there yet."""
    if sweep.data != DRAWN:
        return open_data(Path(sweep.data), sweep.layout)
    return draw_data(Path(sweep.out) / DRAWN)


def find_categories(sweep: Sweep, data: DataSet) -> tuple[str, ...]:
    """SettingsError for a category that there is not."""
    unknown = [name for name in sweep.category or () if name not in data.categories]
    if unknown:
        known = " ".join(printable(Path(name)) for name in data.categories)
        raise SettingsError(f"--category {unknown[0]}: {data.name} has {known}")
    return tuple(name for name in data.categories if sweep.category is None or name in sweep.category)


def open_plan(sweep: Sweep) -> tuple[Plan, Engine]:
    """Open everything that measuring needs; the engine is made where there is none."""
    data = find_data(sweep)
    find_categories(sweep, data)
    folder = Path(sweep.out) / "cells"
    with writing(folder):
        folder.mkdir(parents=True, exist_ok=True)
    if _lacks_engine(sweep):
        run_aside(_make_engine, sweep)  # which takes 0.7 GB
    engine, backbone = open_both(sweep)
    prompted = None
    graph = engine.spec.graphs.get("prompted")
    if graph is not None and sweep.precision in graph.variants:
        graph_id = engine.spec.graph_id("prompted", sweep.precision)
        prompted = PromptedGraph(engine.encode, graph_id, graph.conditions)
    backends = [Backend(engine.backend, engine.encode, engine.graph_id(), sweep.precision, prompted)]
    if sweep.torch:
        backends.append(torch_backend(engine.encoder, backbone))
    plan = Plan(
        data, tuple(sorted(set(sweep.shots))), sweep.seeds, sweep.methods, engine.encoder, tuple(backends), backbone,
        sweep.oracle, Cells(folder), None if sweep.official is None else Path(sweep.official),
    )  # fmt: skip
    return plan, engine


def _lacks_engine(sweep: Sweep) -> bool:
    """Whether there is none yet, or none with a prompted graph for methods that need it; one that was named stays as
    it is."""
    folder = sweep.engine_folder
    if not (folder / SPEC_NAME).is_file():
        return True
    return sweep.engine is None and _needs_prompted(sweep) and "prompted" not in read_spec(folder).graphs


def _needs_prompted(sweep: Sweep) -> bool:
    return any(METHODS[name].conditions for name in sweep.methods)


def _make_engine(sweep: Sweep) -> None:
    """In a process of its own."""
    folder = sweep.engine_folder
    backbone = _open_backbone(sweep, sweep.backbone or DEFAULT_NAME, sweep.memory_taps)
    if not (folder / SPEC_NAME).is_file():
        make_engine(backbone, folder, (sweep.precision,))
    if _needs_prompted(sweep):
        add_prompted(folder, backbone, PromptedEncoder(backbone, anople_settings()))


def _open_backbone(sweep: Sweep, name: str, taps: str | None) -> Backbone:
    weights = None if sweep.weights is None else Path(sweep.weights)
    return open_backbone(
        argparse.Namespace(backbone=name, pretrained=sweep.pretrained, weights=weights, memory_taps=taps)
    )


def open_both(sweep: Sweep) -> tuple[Engine, Callable[[], Backbone]]:
    """The engine, and its backbone, opened when it is first needed.

    Raises EngineError where the two do not belong together.
    """
    folder = sweep.engine_folder
    engine = Engine.open(
        folder, backend=sweep.backend, precision=sweep.precision, threads=sweep.threads, verify=sweep.engine is not None
    )
    wanted = engine.encoder
    if sweep.backbone not in (None, wanted.backbone):
        raise EngineError(f"{folder} holds an engine for {wanted}, --backbone is {sweep.backbone}: name its own")

    @functools.cache
    def fitting() -> Backbone:
        taps = sweep.memory_taps or ",".join(str(tap.block) for tap in wanted.taps)
        opened = _open_backbone(sweep, sweep.backbone or wanted.backbone, taps)
        if opened.encoder != wanted:
            raise EngineError(f"{folder} holds an engine for {wanted}, the backbone is {opened.encoder}: name its own")
        return opened

    return engine, fitting
