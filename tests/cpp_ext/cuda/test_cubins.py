"""The machine code that nvcc makes of the kernels. To read it needs no GPU.

Three GPUs represent all: those of Jetson Orin, of GeForce RTX 40, whose blocks have the least shared memory, and the
H100.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sysconfig
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

import pytest

SOURCE = Path(__file__).parents[3] / "cpp_ext"
FILES = ("bank", "resize", "score", "search")
SHARED_BYTES = {"sm_87": 163 << 10, "sm_89": 99 << 10, "sm_90": 227 << 10}
"""The largest shared memory of a block in bytes, by architecture (CUDA C++ Programming Guide, compute capabilities)."""
STATIC_SHARED_BYTES = 48 << 10
REGISTERS = 64 << 10
"""The registers of a multiprocessor. A thread gets a multiple of eight."""
PRODUCTS = {"Half": r"HMMA\.16816\.F32", "Bfloat": r"HMMA\.16816\.F32\.BF16", "Int8": r"IMMA\.16832\.S8\.S8"}
"""The instruction that multiplies each format of the memory on tensor cores."""


@dataclass(frozen=True)
class Kernel:
    """What ptxas reports of a kernel. The name is mangled; memory is in bytes."""

    architecture: str
    name: str
    stack: int
    spilled: int
    registers: int
    shared: int


@dataclass(frozen=True)
class Search:
    """What the mangled name of search_kernel<Format, Shape<…>> tells. search_kernel.h explains the shape's numbers."""

    form: str
    threads: int
    blocks: int
    shared: int


def search_of(name: str) -> Search | None:
    found = re.search(r"search_kernelINS\d_\d+(\w+?)ENS\d_5ShapeI((?:Li\d+E)+)E", name)
    if found is None:
        return None
    queries, rows, down, across, segments, stages, blocks = map(int, re.findall(r"Li(\d+)E", found[2]))
    return Search(found[1], down * across * 32, blocks, stages * (queries + rows) * segments * 16)


def find_nvcc() -> str:
    nvcc = shutil.which("nvcc", path=f"{os.environ.get('PATH', '')}:/usr/local/cuda/bin")
    if nvcc is None:
        pytest.skip("nvcc is needed to compile the kernels")
    return nvcc


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[Kernel]]:
    """Return the folder of the machine code, and what ptxas reports of every kernel on every architecture."""
    nvcc, folder = find_nvcc(), tmp_path_factory.mktemp("cubins")
    kernels: list[Kernel] = []
    for file in FILES:
        command = [
            nvcc,
            "-std=c++17",
            "-O3",
            "-fatbin",
            "-Xptxas",
            "-v",
            f"-I{SOURCE / 'include'}",
            f"-I{SOURCE / 'src'}",
        ]
        for architecture in SHARED_BYTES:
            command += ["-gencode", f"arch={architecture.replace('sm', 'compute')},code={architecture}"]
        command += ["-o", str(folder / f"{file}.fatbin"), str(SOURCE / "cuda" / f"{file}.cu")]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        kernels += [read_kernel(part) for part in done.stderr.split("Compiling entry function ")[1:]]
    return folder, kernels


def read_kernel(report: str) -> Kernel:
    def number(pattern: str) -> int:
        found = re.search(pattern, report)
        return int(found[1]) if found else 0

    start = re.match(r"'(\w+)' for '(sm_\d+)'", report)
    assert start is not None
    spilled = number(r"(\d+) bytes spill stores") + number(r"(\d+) bytes spill loads")
    stack, registers, shared = (
        number(pattern) for pattern in (r"(\d+) bytes stack frame", r"Used (\d+) registers", r"(\d+) bytes smem")
    )
    return Kernel(start[2], start[1], stack, spilled, registers, shared)


def test_every_kernel_is_there_on_every_architecture(compiled: tuple[Path, list[Kernel]]) -> None:
    _, kernels = compiled
    names = {architecture: {k.name for k in kernels if k.architecture == architecture} for architecture in SHARED_BYTES}
    assert names["sm_87"] == names["sm_89"] == names["sm_90"]
    text = "".join(path.read_text() for path in (SOURCE / "cuda").glob("*.*") if path.suffix in (".cu", ".h"))
    written = set(re.findall(r"__global__ void (?:__launch_bounds__\(.*?\)\s+)?(\w+)\(", text))
    assert written
    assert all(any(kernel in name for name in names["sm_87"]) for kernel in written), written
    searches = Counter(search.form for name in names["sm_87"] if (search := search_of(name)))
    assert searches == dict.fromkeys(PRODUCTS, 3)  # large, medium and small tiles


def test_nothing_spills(compiled: tuple[Path, list[Kernel]]) -> None:
    _, kernels = compiled
    assert kernels
    assert not [kernel for kernel in kernels if kernel.spilled or kernel.stack or not kernel.registers]


def test_as_many_blocks_fit_as_the_search_counts_on(compiled: tuple[Path, list[Kernel]]) -> None:
    _, kernels = compiled
    for kernel in kernels:
        search = search_of(kernel.name)
        shared = kernel.shared
        if search is not None:
            shared += search.shared
            registers = -(-kernel.registers // 8) * 8 * search.threads * search.blocks
            assert registers <= REGISTERS, kernel
        assert kernel.shared <= STATIC_SHARED_BYTES, kernel
        assert shared <= SHARED_BYTES[kernel.architecture], kernel


def find_disassembler(nvcc: str) -> Path | None:
    """Return cuobjdump of the toolkit or of NVIDIA's Python packages. It needs nvdisasm in the same folder."""
    folders = [Path(nvcc).resolve().parent, *Path(sysconfig.get_path("purelib")).glob("nvidia/*/bin")]
    folders += [Path(folder) for folder in os.environ.get("PATH", "").split(os.pathsep)]
    for folder in folders:
        if all((folder / tool).is_file() for tool in ("cuobjdump", "nvdisasm")):
            return folder / "cuobjdump"
    return None


@pytest.mark.parametrize("architecture", SHARED_BYTES)
def test_products_are_made_on_tensor_cores(compiled: tuple[Path, list[Kernel]], architecture: str) -> None:
    cuobjdump = find_disassembler(find_nvcc())
    if cuobjdump is None:
        pytest.skip(
            "machine code is read by cuobjdump and nvdisasm: pip install nvidia-cuda-cuobjdump nvidia-cuda-nvdisasm"
        )
    command = [str(cuobjdump), "-arch", architecture, "-sass", str(compiled[0] / "search.fatbin")]
    listing = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    seen = 0
    for part in listing.split("Function : ")[1:]:
        search = search_of(part.split(maxsplit=1)[0])
        if search is None:
            continue
        products = set(re.findall(r"\b[HI]MMA\.[\w.]+", part))
        assert len(products) == 1, products
        assert re.fullmatch(PRODUCTS[search.form], products.pop()), part[:200]
        assert "LDSM.16.M88.4" in part, "fragments are loaded by one instruction"
        assert "LDGSTS.E.BYPASS.128" in part, "slices are copied to shared memory without a detour through registers"
        seen += 1
    assert seen == 3 * len(PRODUCTS)
