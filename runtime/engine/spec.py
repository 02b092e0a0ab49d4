"""The engine's description, engine.json: the encoder, its graphs, and the difference of each graph from torch."""

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
"""The version of the format of engine.json."""

SPEC_NAME = "engine.json"
"""The name of the description in an engine's folder."""

GONE_BACKBONE = "demo"
"""A backbone of earlier versions. Its engines and recipes are refused."""

IMAGE_ONLY = "timm:"
"""The beginning of the names of backbones without a text tower. Their global and local outputs are image features that
no prompt describes, so their recipes have only a memory.
"""

_DIGEST_MARK = b'"digest": "'


class Tap(msgspec.Struct, frozen=True, forbid_unknown_fields=True, omit_defaults=True):
    """A memory output: the block that it is taken from, and its width.

    The memory of a ViT is taken after the block's attention. The blocks of a ResNet are its four layers. The memory of
    an image-only ViT is taken after the block and the last norm. The blocks of an image-only CNN are its feature
    levels.

    Attributes:
        block: The block, counted from 1.
        width: The length of the feature vectors.
        joined: Earlier blocks whose features precede the block's own in the same vectors. The features of each block
            are l2-normalised by themselves, and then the joined vector again.
    """

    block: int
    width: int
    joined: tuple[int, ...] = ()

    def __str__(self) -> str:
        return "+".join(map(str, (*self.joined, self.block)))


class Encoder(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The identity of a visual encoder. A recipe fits every engine whose encoder is equal.

    Attributes:
        backbone: The name of the backbone.
        weights: The SHA-256 over every tensor of the CLIP model, its activation and its pixel scaling
            (trainer/clip/backbone.py).
        image_size: The side of the square input, in pixels.
        grid: Rows and columns of patches, the same for every output.
        width: The width of the joint space.
        taps: The memory outputs.
        neighbourhood: The odd side of the square of patches over which each patch of the memory is averaged. 1 means no
            averaging; it is also the value of recipes that do not name it.
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
    """A file of the engine.

    Attributes:
        name: Its name in the folder.
        size: Its size, in bytes.
        sha256: Its SHA-256, in hexadecimal.

    Raises:
        ValueError: The name leads out of the folder.
    """

    name: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        if self.name in ("", "..") or PureWindowsPath(self.name).name != self.name:  # this detects / and \ and C:
            raise ValueError(f"{self.name!r} is no plain file name")


class Labelled(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How well a graph's memory score separates good photos from bad ones (export/labelled.py).

    Attributes:
        folder: The folder of the photos.
        shots: The number of good photos in the memory.
        good: The number of good photos that were scored.
        bad: The number of bad photos that were scored.
        torch: The image AUROC with torch's features.
        graph: The image AUROC with the graph's features.
        tolerance: The largest allowed loss of the graph.
    """

    folder: str
    shots: int
    good: int
    bad: int
    torch: float
    graph: float
    tolerance: float


class Parity(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, omit_defaults=True):
    """The parity record: the difference of a graph on a backend from torch (engine/parity.py).

    Attributes:
        backend: The backend's name.
        ran: The library, device and precision that ran (Session.description).
        images: A description of the pictures.
        feature_difference: The largest difference of a feature.
        feature_tolerance: The largest allowed difference of a feature.
        score_difference: The largest difference of a score.
        score_tolerance: The largest allowed difference of a score.
        labelled: The comparison on labelled photos; None without photos.
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
        """The precision of the operations that an int8 graph does not quantise, "fp32" or "bf16"."""
        return "bf16" if self.ran.endswith(WITH_BF16) else "fp32"


class Variant(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A graph in one precision.

    Attributes:
        graph: The name of its ONNX file.
        weights: The name of the file with its weights.
        parity: One record for each backend that may run it.
        note: A note for the user; empty if there is none.
    """

    graph: str
    weights: str
    parity: tuple[Parity, ...]
    note: str = ""


class Graph(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A graph of the encoder, in all its precisions. Two graphs may share files of weights.

    Attributes:
        conditions: The inputs other than `image`, name → shape, all float32. The plain graph has none.
        variants: The graph in each precision.
    """

    conditions: dict[str, tuple[int, ...]]
    variants: dict[Precision, Variant]

    @property
    def precisions(self) -> list[Precision]:
        """The precisions of the graph, fp32 first."""
        return [precision for precision in get_args(Precision) if precision in self.variants]

    def variant(self, precision: Precision) -> Variant:
        """Return the graph in a precision.

        Args:
            precision: The precision to look up.

        Raises:
            EngineError: The engine does not have it.
        """
        if precision not in self.variants:
            have = ", ".join(self.precisions)
            raise EngineError(f"this engine has no {precision} graph: it has {have}; export it with --precision")
        return self.variants[precision]


class EngineSpec(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The content of engine.json.

    Attributes:
        contract: The version of the format.
        encoder: The identity of the visual encoder that all graphs compute.
        opset: The ONNX opset of the graphs.
        files: The files of the engine.
        graphs: The graphs by name. There is always a plain one.
        versions: The versions of the packages that made the engine, by name.
        note: A note for the user on the encoder; empty if there is none.
        digest: The description's own SHA-256 (files.seal).

    Raises:
        ValueError: There is no plain graph, or a graph's file is not in `files`.
    """

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
                    raise ValueError(f"{precision} names {variant.graph!r} and {variant.weights!r}: files needs both")

    def to_bytes(self) -> bytes:
        """Return the bytes of engine.json, with its digest filled in (files.seal)."""
        blank = msgspec.structs.replace(self, digest=NO_DIGEST)
        text = msgspec.json.format(msgspec.json.encode(blank, order="sorted"), indent=2)
        return seal(text + b"\n", _DIGEST_MARK)

    def graph(self, name: GraphName) -> Graph:
        """Return a graph.

        Args:
            name: The graph's name, "plain" or "prompted".

        Raises:
            EngineError: The engine does not have it.
        """
        if name not in self.graphs:
            raise EngineError(
                "this engine has no prompted graph, which AnoPLe recipes need: add it with "
                "`goodparts export --prompted`, or train with --method anople on it"
            )
        return self.graphs[name]

    def graph_for(self, conditions: Conditions | None) -> GraphName:
        """Return the name of the graph that reads these conditions; without conditions, "plain".

        Args:
            conditions: A product's conditions; None for the plain graph.

        Raises:
            EngineError: There is no prompted graph, or it reads other conditions.
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
        """Return the id of a graph in a precision, for which memories and calibrations are valid.

        It is a hash of the precision and of the graph's files.

        Args:
            name: The graph's name, "plain" or "prompted".
            precision: The precision of the graph.

        Raises:
            EngineError: There is no such graph.
        """
        variant = self.graph(name).variant(precision)
        own = {variant.graph, variant.weights}
        text = precision + "".join(file.name + file.sha256 for file in self.files if file.name in own)
        return hashlib.sha256(text.encode()).hexdigest()


def read_spec(folder: Path) -> EngineSpec:
    """Read the engine.json of a folder, and check it and the sizes of the engine's files.

    Their digests are checked only by `verify_files`, because that would take most of the time of a cold start.

    Args:
        folder: The engine's folder.

    Returns:
        The content of engine.json.

    Raises:
        EngineError: The folder is no engine, is of another version, or is damaged.
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
    """Read the engine.json of a folder as read_spec does, and check the SHA-256 of every file.

    Args:
        folder: The engine's folder.

    Returns:
        The content of engine.json.

    Raises:
        EngineError: The folder is no engine, is of another version, or is damaged.
    """
    spec = read_spec(folder)
    for file in spec.files:
        digest = sha256(folder / file.name)
        if digest != file.sha256:
            raise EngineError(
                f"{folder / file.name} is damaged: its SHA-256 is {digest[:12]}…, should be {file.sha256[:12]}…; "
                "export the engine again"
            )
    return spec
