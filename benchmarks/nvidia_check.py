"""`make nvidia-check`: builds, with NVIDIA's compiler, the graphs that CI does not build with it.

The real TensorRT-RTX parses and builds every kind of graph in every precision. It does not need the GPU that it builds
for. A table lists how many kernels each graph has, and how many of them compute attention fused with its softmax. The
built graphs are not run.
"""

from __future__ import annotations

import argparse
import logging
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import onnx
from goodparts.drawn.photos import DrawnProduct
from goodparts.evaluation.report.tables import Table
from goodparts.export.engines import make_engine
from goodparts.export.fused import fuse_model
from goodparts.export.prompted import add_prompted
from goodparts.runtime.backends import tensorrt_build
from goodparts.runtime.backends.library import BuildSettings
from goodparts.runtime.backends.registry import TENSORRT_RTX, open_library
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.backends.tensorrt_api import TensorRtApi
from goodparts.runtime.core.errors import ParityError
from goodparts.runtime.core.files import write_atomic
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import EngineSpec, read_spec
from goodparts.trainer.anople.encoder import PromptedEncoder
from goodparts.trainer.anople.settings import DEFAULT
from goodparts.trainer.clip.backbone import Backbone
from PIL import Image

from goodparts import teach

log = logging.getLogger(__name__)

BACKBONES: dict[str, tuple[Precision, ...]] = {
    "small": ("fp32", "fp16", "bf16"),
    "RN50": ("fp32", "fp16", "bf16", "int8"),
    "ViT-B-16-plus-240": ("fp32", "fp16", "bf16", "int8"),
}
"""The precisions that are tried for each backbone. `small` does not pass the parity check in int8. The other backbones
have random weights, because the kernels do not depend on the weights' values."""
PROMPTED = "ViT-B-16-plus-240"
RTX_40 = (8, 9)
"""The compute capability that the graphs are built for."""
FUSED_ATTENTION = re.compile(r"_gem[mv]_mha")
"""The beginning of the names of kernels that compute attention with its softmax."""


@dataclass(frozen=True)
class Compiled:
    """A graph that the compiler built.

    Attributes:
        kernels: The names of the kernels.
        size: The size of the plan in bytes.
        seconds: The time that the build took.
    """

    kernels: tuple[str, ...]
    size: int
    seconds: float

    @property
    def fused_attentions(self) -> int:
        """The number of kernels that compute attention with its softmax."""
        return sum(FUSED_ATTENTION.match(name) is not None for name in self.kernels)


class _Lines(logging.Handler):
    """A handler that keeps the messages of a log."""

    def __init__(self) -> None:
        super().__init__()
        self.lines: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.lines.append(record.getMessage())


def compile_graph(api: TensorRtApi, graph: Path, capability: tuple[int, int] = RTX_40) -> Compiled:
    """Build the plan of an ONNX graph and read the kernels from the compiler's log.

    Args:
        api: The library that builds.
        graph: The ONNX file.
        capability: The compute capability of the GPU that the plan is for.

    Returns:
        The kernels, the size of the plan, and the duration of the build.

    Raises:
        EngineError: The library cannot parse the graph.
        BackendError: The library cannot build.
    """
    build_log, lines = logging.getLogger(tensorrt_build.__name__.rpartition(".")[0]), _Lines()
    level, propagate = build_log.level, build_log.propagate
    build_log.addHandler(lines)
    build_log.setLevel(logging.DEBUG)  # the compiler then lists its kernels
    build_log.propagate = False
    began = time.monotonic()
    try:
        settings = BuildSettings(capability=capability)
        plan, _ = tensorrt_build.build(api, graph, settings, tensorrt_build.Progress(f"building {graph.name}"))
    finally:
        build_log.removeHandler(lines)
        build_log.setLevel(level)
        build_log.propagate = propagate
    return Compiled(_kernels(lines.lines), len(plan), time.monotonic() - began)


def _kernels(lines: Sequence[str]) -> tuple[str, ...]:
    """Return the names of the kernels. One line of the log lists them, together with shape calls and waits."""
    layers = next(line for line in reversed(lines) if "Layers: Name: " in line).partition("I/O Tensors")[0]
    found = re.findall(r"Name: ([^,\s]+), LayerType: (\w+)", layers)
    return tuple(name for name, kind in found if kind not in ("shape_call", "signal", "wait"))


def export(name: str, folder: Path) -> EngineSpec:
    """Export a backbone's engine, or the parts of it that the folder lacks.

    If a precision is too far from torch, the engine is made without the last one, with a warning.

    Args:
        name: A key of BACKBONES.
        folder: The engine's folder.

    Returns:
        The description of the engine.

    Raises:
        EngineError: The folder exists and holds no engine, or a damaged one.
        ParityError: Another precision than the last is too far from torch.
        FileError: The folder cannot be written.
    """
    backbone = Backbone.open(name, pretrained=None if name == "small" else "random")
    precisions = BACKBONES[name]
    if folder.is_dir():
        spec = read_spec(folder)
    else:
        try:
            spec = make_engine(backbone, folder, precisions)
        except ParityError as error:
            log.warning("%s without %s: %s", name, precisions[-1], error)
            spec = make_engine(backbone, folder, precisions[:-1])
    if name == PROMPTED:
        spec = add_prompted(folder, backbone, PromptedEncoder(backbone, DEFAULT))
    return spec


def graphs(name: str, folder: Path) -> Iterator[tuple[str, Precision, Path]]:
    """Yield every graph of an engine, and its plain graphs fused with a product.

    A fused graph's file exists only until the next graph is asked for.

    Args:
        name: A key of BACKBONES.
        folder: The engine's folder. Photos and fused graphs lie beside it.

    Yields:
        The title, the precision and the ONNX file of each graph.

    Raises:
        EngineError: The folder exists and holds no engine, or a damaged one.
        ParityError: Another precision than the last is too far from torch.
        FileError: The folder cannot be written.
    """
    spec = export(name, folder)
    for kind, graph in spec.graphs.items():
        for precision in graph.precisions:
            yield f"{name}, {kind}", precision, folder / graph.variant(precision).graph
    photos = folder.with_name(f"{name}.photos")
    photos.mkdir(exist_ok=True)
    for seed in range(2):
        Image.fromarray(DrawnProduct("gear", 0).photo(seed, size=(400, 400)).image).save(photos / f"{seed}.png")
    recipe = teach(photos, "gear", engine=Engine.open(folder))
    for precision in spec.graph("plain").precisions:
        fused = folder.with_name(f"{name}.{precision}.fused.onnx")
        onnx.save(fuse_model(folder, spec, recipe, precision), fused)
        yield f"{name}, fused with a product", precision, fused
        fused.unlink()


def main() -> None:
    """Build all graphs and write the table after each of them.

    Raises:
        BackendError: TensorRT-RTX is not installed, or cannot build a graph.
        EngineError: TensorRT-RTX cannot parse a graph, or the folder of an engine is damaged.
        ParityError: Another precision than the last is too far from torch.
        FileError: A file cannot be written.
    """
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder for the engines")
    parser.add_argument("--results", type=Path, required=True, metavar="FILE.md", help="file for the table")
    args = parser.parse_args()
    logging.basicConfig(level=logging.WARNING, format="%(message)s")
    open_library(TENSORRT_RTX)  # raises an error that names what is missing
    api = TensorRtApi("tensorrt_rtx_bindings", "TensorRT-RTX")
    args.out.mkdir(parents=True, exist_ok=True)
    rows = []
    for name in BACKBONES:
        for title, precision, graph in graphs(name, args.out / name):
            made = compile_graph(api, graph)
            cells = [len(made.kernels), made.fused_attentions, f"{made.size / 1e6:.1f}", f"{made.seconds:.1f}"]
            rows.append([title, precision, *map(str, cells)])
            print(*rows[-1], sep="\t", flush=True)
            write_atomic(args.results, describe(api, rows).encode())


def describe(api: TensorRtApi, rows: Sequence[Sequence[str]]) -> str:
    """Return the table as Markdown, with a text on the facts that it proves or does not prove.

    Args:
        api: The library that built the graphs.
        rows: The cells of each graph: its title, its precision, the numbers of kernels and of fused attentions, the
            size of the plan in MB, and the seconds of the build.
    """
    head = ("graph", "precision", "kernels", "fused attentions", "plan, MB", "build, s")
    table = Table("", head, rows, left=(0, 1)).as_markdown()
    return f"""# What NVIDIA's compiler makes of the graphs

{api} built each of them without a GPU, for compute capability {".".join(map(str, RTX_40))} and batches of 1 to 8
(`make nvidia-check`). The ViT and the ResNet have random weights. A *fused attention* is one kernel for both products
and the softmax between them. Builds were timed on two shared cores.

The table shows that the real parser reads every graph and that the real compiler builds it. **No graph was run**: the
table shows neither results nor speed, and nothing about Jetson Orin (8.7), the H100 and H200 (9.0), or TensorRT 10 and
11.

{table}
"""


if __name__ == "__main__":
    main()
