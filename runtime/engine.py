"""The engine: the visual encoder as graph files for one backbone, and `engine.json`, which describes them."""

from __future__ import annotations

import hashlib
import logging
import threading
from collections.abc import Callable
from pathlib import Path, PureWindowsPath
from typing import Literal, get_args

import msgspec
import numpy as np

from .backends import AUTO, WITH_BF16, Session, check_name, choose_backend, open_session
from .conditions import Conditions
from .errors import BackendError, EngineError, SettingsError
from .files import NO_DIGEST, is_sealed, read_bytes, seal, sha256
from .preprocess import Array8
from .scoring import Features

log = logging.getLogger(__name__)

CONTRACT_VERSION = 2
SPEC_NAME = "engine.json"
_DIGEST_MARK = b'"digest": "'

Precision = Literal["fp32", "fp16", "bf16", "int8"]


class Tap(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One memory output: of which block, counted from 1, and its width.

    A ViT's is taken after the block's attention; a ResNet's blocks are its four layers.
    """

    block: int
    width: int


class Encoder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The identity of a visual encoder. A recipe fits the engines that carry an equal one.

    weights: SHA-256 over every tensor of the CLIP model, its activation and pixel scaling (trainer/backbone.py);
    image_size: side of the square input in pixels; grid: patches (rows, columns); width: of the joint space.
    """

    backbone: str
    weights: str
    image_size: int
    grid: tuple[int, int]
    width: int
    taps: tuple[Tap, ...]

    def __str__(self) -> str:
        taps = ",".join(str(tap.block) for tap in self.taps)
        return f"{self.backbone} at {self.image_size} px, weights {self.weights[:12]}, memory taps {taps}"


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the engine: name in the folder, size in bytes, SHA-256. ValueError for a name that leads out of it."""

    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if self.name in ("", "..") or PureWindowsPath(self.name).name != self.name:  # which knows / and \ and C:
            raise ValueError(f"{self.name!r} is no plain file name")


class Labelled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well a graph tells good photos from bad ones, by the memory score alone (export/labelled.py).

    folder: of the photos; shots: good photos in the memory; good, bad: photos that were scored; torch, graph: image
    AUROC through either; tolerance: most that the graph may lose.
    """

    folder: str
    shots: int
    good: int
    bad: int
    torch: float
    graph: float
    tolerance: float


class Parity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How far a graph on a backend was from torch, measured at export (export/parity.py); ran: what really ran."""

    backend: str
    ran: str
    images: str
    feature_difference: float
    feature_tolerance: float
    score_difference: float
    score_tolerance: float
    labelled: Labelled | None = None

    @property
    def rest(self) -> str:
        """What an int8 graph's other operations were computed in, and may be where this record is relied on."""
        return "bf16" if self.ran.endswith(WITH_BF16) else "fp32"


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One precision: its graph and that graph's weights, the backends that may run it, each with its own parity
    record, and what else is to be said of it."""

    graph: str
    weights: str
    parity: tuple[Parity, ...]
    note: str = ""


class Prompted(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A second graph of the encoder, for recipes that condition it: the shapes of the inputs that it has besides
    `image`, all float32, and its variants. What weights it shares with the plain graph lie in that one's files."""

    conditions: dict[str, tuple[int, ...]]
    variants: dict[Precision, Variant]


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of engine.json. note: what its user must know of the encoder."""

    contract: int
    encoder: Encoder
    opset: int
    files: tuple[File, ...]
    variants: dict[Precision, Variant]
    versions: dict[str, str]
    note: str = ""
    prompted: Prompted | msgspec.UnsetType = msgspec.UNSET
    digest: str = NO_DIGEST

    def __post_init__(self) -> None:
        listed = {file.name for file in self.files}
        further = self.prompted.variants if self.prompted else {}
        for precision, variant in (*self.variants.items(), *further.items()):
            if not {variant.graph, variant.weights} <= listed:
                raise ValueError(f"{precision} names {variant.graph!r} and {variant.weights!r}, files has not both")

    def to_bytes(self) -> bytes:
        """The bytes of engine.json, its digest filled in (files.seal)."""
        blank = msgspec.structs.replace(self, digest=NO_DIGEST)
        text = msgspec.json.format(msgspec.json.encode(blank, order="sorted"), indent=2)
        return seal(text + b"\n", _DIGEST_MARK)

    @property
    def precisions(self) -> list[Precision]:
        """Those that there are, fp32 first."""
        return [precision for precision in get_args(Precision) if precision in self.variants]

    def variant(self, precision: Precision) -> Variant:
        """The variant of a precision; EngineError where there is none."""
        if precision not in self.variants:
            have = ", ".join(self.precisions)
            raise EngineError(f"this engine has no {precision} graph: it has {have}; export it with --precision")
        return self.variants[precision]

    def of_prompted(self) -> EngineSpec:
        """This engine with its prompted graph in the place of the plain one; EngineError where it has none."""
        if not self.prompted:
            raise EngineError(
                "this engine has no prompted graph, which AnoPLe recipes need: add it with "
                "`goodparts export --prompted`, or train with --method anople on it"
            )
        return msgspec.structs.replace(self, variants=self.prompted.variants)

    def graph_id(self, precision: Precision) -> str:
        """What banks and calibration are valid for: the precision and every byte of its graph's files."""
        variant = self.variant(precision)
        used = {variant.graph, variant.weights}
        text = precision + "".join(file.name + file.sha256 for file in self.files if file.name in used)
        return hashlib.sha256(text.encode()).hexdigest()


def read_spec(folder: Path) -> EngineSpec:
    """Read and check an engine folder's engine.json and the sizes of its files; EngineError otherwise.

    The digests of those files are for `verify_files`: they would cost a cold start most of its time.
    """
    if folder.is_file():
        raise EngineError(f"{folder} is a file: an engine is a folder; make one with `goodparts export`")
    if not folder.is_dir():
        raise EngineError(f"no engine at {folder}: make one with `goodparts export --engine {folder}`")
    if not (folder / SPEC_NAME).is_file():
        raise EngineError(f"{folder} is not an engine: it has no {SPEC_NAME}; make one with `goodparts export`")
    try:
        text = read_bytes(folder / SPEC_NAME)
        data = msgspec.json.decode(text)
        contract = data.get("contract") if isinstance(data, dict) else None
        if contract != CONTRACT_VERSION:
            raise EngineError(
                f"{folder / SPEC_NAME} has contract {contract!r}; this version reads {CONTRACT_VERSION}: export again"
            )
        spec = msgspec.convert(data, EngineSpec)
    except msgspec.MsgspecError as error:
        raise EngineError(f"{folder / SPEC_NAME} is damaged ({error}): export the engine again") from error
    if not is_sealed(text, _DIGEST_MARK, spec.digest):
        raise EngineError(f"{folder / SPEC_NAME} is damaged: its digest does not match: export the engine again")
    for file in spec.files:
        path = folder / file.name
        size = path.stat().st_size if path.is_file() else None
        if size != file.size:
            seen = "missing" if size is None else f"{size} bytes"
            raise EngineError(f"{path} is {seen}, should be {file.size} bytes: export the engine again")
    return spec


def verify_files(folder: Path) -> EngineSpec:
    """Like read_spec, and every file's SHA-256 as well."""
    spec = read_spec(folder)
    for file in spec.files:
        seen = sha256(folder / file.name)
        if seen != file.sha256:
            raise EngineError(
                f"{folder / file.name} is damaged: its SHA-256 is {seen[:12]}…, should be {file.sha256[:12]}…; "
                "export the engine again"
            )
    return spec


class Engine:
    """An open engine: uint8 views in, features out. Knows nothing of products.

    Its prompted graph is opened by the first who needs it.
    """

    def __init__(
        self,
        spec: EngineSpec,
        precision: Precision,
        session: Session,
        threads: int | None = None,
        open_prompted: Callable[[], Session] | None = None,
    ) -> None:
        """open_prompted: opens the prompted graph; None where only the plain one is used."""
        self.spec = spec
        self.encoder = spec.encoder
        self.precision = precision
        self.graph_id = spec.graph_id(precision)
        self.session = session
        self.threads = threads
        self.open_prompted = open_prompted or self._lacks_prompted
        self._prompted: Session | None = None
        self._opening = threading.Lock()

    @classmethod
    def open(
        cls,
        folder: str | Path,
        *,
        backend: str = "auto",
        precision: Precision = "fp32",
        threads: int | None = None,
        verify: bool = False,
    ) -> Engine:
        """Open an engine folder.

        backend: one of backends.BACKENDS, or "auto": the first of backends.AUTO that is installed and supports the
        precision. Those of AUTO run the graph, or the plan of it that `goodparts build` made for them; the others run
        plans alone. threads: bound on those of the inference library and of what runs beside it; None for no bound.
        verify: check the digest of every file, a third of a second for half a gigabyte.

        Raises EngineError for a damaged folder or an unsupported pair, BackendError for a missing library.
        """
        folder = Path(folder)
        if threads is not None and threads < 1:
            raise SettingsError(f"threads {threads}: at least 1 is needed")
        spec = verify_files(folder) if verify else read_spec(folder)
        backend, session = _open_session(folder, spec, backend, precision, threads)

        def open_prompted() -> Session:
            return _open_session(folder, spec.of_prompted(), backend, precision, threads)[1]

        return cls(spec, precision, session, threads, open_prompted)

    def _lacks_prompted(self) -> Session:
        raise EngineError("this engine was opened without its prompted graph: open it with Engine.open")

    @property
    def backend(self) -> str:
        """What really runs: library, device and precision, as the library reports them."""
        return self.session.description

    def graph_id_for(self, conditions: Conditions | None) -> str:
        """Of the graph that reads these, `graph_id` for None; EngineError where there is none that does."""
        if conditions is None:
            return self.graph_id
        prompted = self.spec.of_prompted()
        assert prompted.prompted  # or there would be none
        wanted, seen = prompted.prompted.conditions, conditions.shapes
        for name in sorted({*wanted, *seen}):
            if wanted.get(name) != seen.get(name):
                raise EngineError(
                    f"condition {name} has shape {list(seen.get(name, ()))}, this engine's prompted graph reads "
                    f"{list(wanted.get(name, ()))}: use the engine that the recipe was made with"
                )
        return prompted.graph_id(self.precision)

    def graph_for(self, conditions: Conditions | None) -> Session:
        """The open graph that reads these; the prompted one is opened now if it is not yet."""
        if conditions is None:
            return self.session
        with self._opening:
            if self._prompted is None:
                self._prompted = self.open_prompted()
            return self._prompted

    def encode(self, views: Array8, conditions: Conditions | None = None) -> Features:
        """Views uint8 RGB [B,S,S,3] → Features; by the prompted graph where there are conditions."""
        size = self.encoder.image_size
        if views.dtype != np.uint8 or views.ndim != 4 or views.shape[1:] != (size, size, 3):
            raise EngineError(
                f"views are {views.dtype} {list(views.shape)}: this encoder reads uint8 [B,{size},{size},3]"
            )
        outputs = self.graph_for(conditions).run(views, conditions)
        return Features(outputs[0], outputs[1], tuple(outputs[2:]), self.encoder.grid)


def _open_session(
    folder: Path, spec: EngineSpec, backend: str, precision: Precision, threads: int | None
) -> tuple[str, Session]:
    """The backend that was chosen and the graph open in it."""
    from .plans import open_plan, planned_backends  # which know what an engine is

    variant = spec.variant(precision)
    if backend not in ("auto", *AUTO):
        check_name(backend)
        return backend, open_plan(folder, spec, backend, precision, threads)
    recorded = {record.backend: record for record in variant.parity}
    planned = planned_backends(folder, spec, precision)
    backend = choose_backend(backend, [*recorded, *planned], precision)
    if backend in planned:
        try:
            return backend, open_plan(folder, spec, backend, precision, threads)
        except (BackendError, EngineError) as error:
            if backend not in recorded:
                raise
            log.warning("%s: until then the graph itself is opened, which takes longer", error)
    return backend, open_session(folder / variant.graph, backend, precision, threads, recorded[backend].rest)
