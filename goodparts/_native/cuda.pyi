"""Search, scoring and resizing on an NVIDIA GPU."""

from collections.abc import Sequence

import numpy
import numpy.typing


def built() -> bool:
    """Whether this module was built with CUDA."""

def available() -> bool:
    """Whether it was, and a GPU can be used."""

def why_not() -> str:
    """Why no GPU can be used; empty where one can."""

def device_name() -> str: ...

class Bank:
    """
    Rows in device memory to search for the largest inner product with a query.
    """

    def __init__(self, width: int, precision: str = 'fp16') -> None:
        """
        precision: fp16, bf16 (compute capability 8.0), or int8 with a scale per row.
        """

    def append(self, rows: object, stream: int = 0) -> None:
        """
        Remember more rows, [n,width] of float32, float16 or bfloat16, finite, on the device or not. Waits for the stream. Captured graphs see the new rows too; no search may be under way.
        """

    @property
    def rows(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def precision(self) -> str: ...

    @property
    def nbytes(self) -> int: ...

class Search:
    """Searches banks of one precision in one launch."""

    def __init__(self, banks: Sequence[object], max_queries: int) -> None: ...

    def run(self, queries: Sequence[object], out: Sequence[tuple[object, object]] | None = None, stream: int = 0) -> list[tuple[object, object]]:
        """
        Per bank queries [n,width], float32, float16 or bfloat16 on the device → per bank the largest product of each with any row, float32 [n], and that row, int64 [n].

        The first of equal rows; NaN and -1 for a query that is not finite. out: per bank a pair of arrays to write to, needed while a graph is captured. Calls of one Search must be ordered on the device.
        """

class Scorer:
    """
    Scores a product's views on the device: what goodparts.runtime.core.scoring.score does.
    """

    def __init__(self, image_prompts: numpy.typing.NDArray[numpy.float32], pixel_prompts: numpy.typing.NDArray[numpy.float32], banks: Sequence[Bank], temperature: float, grid: tuple[int, int], maximum_of_map: bool = False, fusion: str = "paper", margins: Sequence[numpy.typing.NDArray[numpy.float32]] = (), residual_weight: float = 0.0, max_views: int = 1) -> None:
        """
        As goodparts._native.Scorer; prompts and margins are in the CPU's memory. A bank with margins may not grow.
        """

    def run(self, global_: object, local: object, memory: Sequence[object], out: Sequence[object] | None = None, stream: int = 0) -> list[object]:
        """
        Features [B,width], [B,P,width], one [B,P,W] per bank, all float32, float16 or bfloat16 on the device → image [B], grid [B,h,w], and the branches: image prompt, image memory [B], grid prompt, grid memory, grid residual [B,h,w].

        out: these seven, to write to; needed while a graph is captured. Calls of one Scorer must be ordered on the device.
        """

def resize(frame: object, size: tuple[int, int], box: Sequence[int] | None = None, format: str = 'rgb', out: object | None = None, stream: int = 0) -> object:
    """
    goodparts._native.resize of a frame on the device, whose rows may be apart: the same bytes, uint8 RGB [h,w,3] there. out: where to write, needed while a graph is captured, after a first call with these sizes.
    """
