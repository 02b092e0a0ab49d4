"""What an engine is: engine.json, which describes the encoder, its graphs and how far each is from torch."""

from __future__ import annotations

import hashlib
from pathlib import Path, PureWindowsPath
from typing import get_args

import msgspec

from ..backends.session import WITH_BF16, GraphName, Precision
from ..core.conditions import Conditions
from ..core.errors import EngineError
from ..core.files import NO_DIGEST, is_sealed, read_bytes, seal, sha256

CONTRACT_VERSION = 4

SPEC_NAME = "engine.json"

GONE_BACKBONE = "demo"
"""A backbone of earlier versions: its engines and recipes are refused."""

IMAGE_ONLY = "timm:"
"""The names of backbones without text begin so: their global and local outputs are image features that no prompt
describes, and their recipes are of the memory only."""

_DIGEST_MARK = b'"digest": "'


class Tap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """One memory output: its block, counted from 1, and its width.

    joined: blocks before it whose features lie before the block's own in the same vectors, each l2-normalised by
    itself, and the whole again.

    A ViT's memory is taken after the block's attention; a ResNet's blocks are its four layers. An image-only ViT's is
    taken after the block and the last norm, an image-only CNN's blocks are its feature levels.
    """

    block: int
    width: int
    joined: tuple[int, ...] = ()

    def __str__(self) -> str:
        return "+".join(map(str, (*self.joined, self.block)))


class Encoder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The identity of a visual encoder. A recipe fits the engines that carry an equal one.

    weights: SHA-256 over every tensor of the CLIP model, its activation and pixel scaling (trainer/clip/backbone.py);
    image_size: side of the square input in pixels; grid: patches (rows, columns) of every output; width: of the joint
    space; neighbourhood: odd side of the square of patches that each patch of the memory is averaged over, 1 where it
    stands by itself, as it does in recipes that do not name it.
    """

    backbone: str
    weights: str
    image_size: int
    grid: tuple[int, int]
    width: int
    taps: tuple[Tap, ...]
    neighbourhood: int = 1

    @property
    def has_text(self) -> bool:
        """Whether global and local outputs lie in a joint space with text, so that prompts can be learned."""
        return not self.backbone.startswith(IMAGE_ONLY)

    def __str__(self) -> str:
        taps = ",".join(map(str, self.taps))
        return (
            f"{self.backbone} at {self.image_size} px, weights {self.weights[:12]}, memory taps {taps} on "
            f"{self.grid[0]}×{self.grid[1]} patches, neighbourhood {self.neighbourhood}"
        )


class File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A file of the engine: its name in the folder, its size in bytes, its SHA-256.

    Raises ValueError for a name that leads out of the folder.
    """

    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if self.name in ("", "..") or PureWindowsPath(self.name).name != self.name:  # which knows / and \ and C:
            raise ValueError(f"{self.name!r} is no plain file name")


class Labelled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well a graph tells good photos from bad ones by the memory score (export/labelled.py).

    folder: where the photos are; shots: number of good photos in the memory; good, bad: numbers of scored photos;
    torch, graph: image AUROC with the features of either; tolerance: most that the graph may lose.
    """

    folder: str
    shots: int
    good: int
    bad: int
    torch: float
    graph: float
    tolerance: float


class Parity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """How far a graph on a backend was from torch, as engine/parity.py measures it.

    ran: what really ran (Session.description); images: what the pictures were.
    """

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
        """What computed the operations that an int8 graph does not quantise, and may do so again: fp32 or bf16."""
        return "bf16" if self.ran.endswith(WITH_BF16) else "fp32"


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A graph in one precision.

    graph, weights: names of its files; parity: one record for each backend that may run it; note: what else its user
    must know.
    """

    graph: str
    weights: str
    parity: tuple[Parity, ...]
    note: str = ""


class Graph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A graph of the encoder in its precisions.

    conditions: the inputs that it has besides `image`, all float32, name → shape; none for the plain graph. Two graphs
    may share files of weights.
    """

    conditions: dict[str, tuple[int, ...]]
    variants: dict[Precision, Variant]

    @property
    def precisions(self) -> list[Precision]:
        """The precisions that there are, fp32 first."""
        return [precision for precision in get_args(Precision) if precision in self.variants]

    def variant(self, precision: Precision) -> Variant:
        """Return the variant of a precision; EngineError where there is none."""
        if precision not in self.variants:
            have = ", ".join(self.precisions)
            raise EngineError(f"this engine has no {precision} graph: it has {have}; export it with --precision")
        return self.variants[precision]


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of engine.json. note: what its user must know of the encoder."""

    contract: int
    encoder: Encoder
    opset: int
    files: tuple[File, ...]
    graphs: dict[GraphName, Graph]
    versions: dict[str, str]
    note: str = ""
    digest: str = NO_DIGEST

    def __post_init__(self) -> None:
        if "plain" not in self.graphs:
            raise ValueError("graphs has no plain graph")
        names = {file.name for file in self.files}
        for graph in self.graphs.values():
            for precision, variant in graph.variants.items():
                if not {variant.graph, variant.weights} <= names:
                    raise ValueError(f"{precision} names {variant.graph!r} and {variant.weights!r}, files has not both")

    def to_bytes(self) -> bytes:
        """Return the bytes of engine.json, its digest filled in (files.seal)."""
        blank = msgspec.structs.replace(self, digest=NO_DIGEST)
        text = msgspec.json.format(msgspec.json.encode(blank, order="sorted"), indent=2)
        return seal(text + b"\n", _DIGEST_MARK)

    def graph(self, name: GraphName) -> Graph:
        """Return a graph; EngineError where there is none of this name."""
        if name not in self.graphs:
            raise EngineError(
                "this engine has no prompted graph, which AnoPLe recipes need: add it with "
                "`goodparts export --prompted`, or train with --method anople on it"
            )
        return self.graphs[name]

    def graph_for(self, conditions: Conditions | None) -> GraphName:
        """Return the name of the graph that reads these conditions: without conditions, the plain one.

        Raises EngineError where there is no prompted graph, or it reads other conditions.
        """
        if conditions is None:
            return "plain"
        expected, given = self.graph("prompted").conditions, conditions.shapes
        for name in sorted({*expected, *given}):
            if expected.get(name) != given.get(name):
                raise EngineError(
                    f"condition {name} has shape {list(given.get(name, ()))}, this engine's prompted graph reads "
                    f"{list(expected.get(name, ()))}: use the engine that the recipe was made with"
                )
        return "prompted"

    def graph_id(self, name: GraphName, precision: Precision) -> str:
        """Return what memories and calibrations are valid for: a hash of the precision and of the graph's files.

        Raises EngineError where there is no such graph.
        """
        variant = self.graph(name).variant(precision)
        own = {variant.graph, variant.weights}
        text = precision + "".join(file.name + file.sha256 for file in self.files if file.name in own)
        return hashlib.sha256(text.encode()).hexdigest()


def read_spec(folder: Path) -> EngineSpec:
    """Read an engine folder's engine.json, check it and the sizes of its files; EngineError where anything is wrong.

    `verify_files` checks the digests of the files too, which would cost a cold start most of its time.
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
    if spec.encoder.backbone == GONE_BACKBONE:
        raise EngineError(
            f"{folder / SPEC_NAME} was made with the backbone demo, which small replaced: export small to another "
            "folder with `goodparts export --engine`"
        )
    for file in spec.files:
        path = folder / file.name
        size = path.stat().st_size if path.is_file() else None
        if size != file.size:
            actual = "missing" if size is None else f"{size} bytes"
            raise EngineError(f"{path} is {actual}, should be {file.size} bytes: export the engine again")
    return spec


def verify_files(folder: Path) -> EngineSpec:
    """Do what read_spec does, and check the SHA-256 of every file."""
    spec = read_spec(folder)
    for file in spec.files:
        digest = sha256(folder / file.name)
        if digest != file.sha256:
            raise EngineError(
                f"{folder / file.name} is damaged: its SHA-256 is {digest[:12]}…, should be {file.sha256[:12]}…; "
                "export the engine again"
            )
    return spec
