"""What an engine is: `engine.json`, which describes the encoder, its graphs and how far each is from torch."""

from __future__ import annotations

import hashlib
from pathlib import Path, PureWindowsPath
from typing import get_args

import msgspec

from ..backends.session import WITH_BF16, Precision
from ..core.errors import EngineError
from ..core.files import NO_DIGEST, is_sealed, read_bytes, seal, sha256

CONTRACT_VERSION = 2

SPEC_NAME = "engine.json"

_DIGEST_MARK = b'"digest": "'


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
