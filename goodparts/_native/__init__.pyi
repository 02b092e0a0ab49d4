"""
The C++ core of goodparts: the same results as goodparts.runtime's numpy, sooner.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy
import numpy.typing
from numpy.typing import NDArray

from goodparts._native import cuda as cuda


def isa() -> str:
    """
    Instruction set in use: generic, avx2, avx512 or amx; GOODPARTS_ISA asks for a lower one.
    """

def resize(frame: numpy.typing.NDArray[numpy.uint8], size: tuple[int, int], box: tuple[int, int, int, int] | None = None, format: str = 'rgb', threads: int = 0) -> numpy.typing.NDArray[numpy.uint8]:
    """
    Crop box (x, y, width, height) out of a frame and resample it to size (height, width), uint8 RGB [h,w,3]: bicubic, antialiased, as Pillow does it, across first and then down.

    frame: uint8, format rgb or bgr [H,W,3], grey [H,W], yuyv [H,W,2], nv12 [H*3/2,W]; its rows may be apart. threads: 0 for all processors.
    """

class Bank:
    """Rows to search for the largest inner product with a query."""

    def __init__(self, width: int, precision: str = 'fp32') -> None: ...

    def append(self, rows: Annotated[NDArray, dict(writable=False)]) -> None:
        """Remember more rows, float32 [n,width], finite."""

    def search(self, queries: Annotated[NDArray, dict(writable=False)], threads: int = 0) -> tuple[NDArray[numpy.float32], NDArray[numpy.int64]]:
        """
        The largest product of each query, float32 [n,width], with any row, and that row: float32 [n], int64 [n].

        The first of equal rows; NaN and -1 for a query that is not finite.
        """

    def partition(self, queries: Annotated[NDArray, dict(writable=False)], recall: float, threads: int = 0) -> float:
        """
        Make later searches of a large bank faster and no longer exact: only as many cells of rows are looked into as give the share `recall` of these queries, float32 [n,width], their best row.

        Returns the share measured; 1.0 where the bank is searched as a whole, because it has few rows or because a search would look into more than half of the cells. Give queries such as will come.
        """

    def error_bound(self, peak: float) -> float:
        """
        How far a product of unit vectors may be off, for queries of which no component is larger than peak.
        """

    @property
    def rows(self) -> int: ...

    @property
    def width(self) -> int: ...

    @property
    def precision(self) -> str: ...

    @property
    def nbytes(self) -> int: ...

class Scorer:
    """
    Scores a product's views: what goodparts.runtime.core.scoring.score does.
    """

    def __init__(self, image_prompts: numpy.typing.NDArray[numpy.float32], pixel_prompts: numpy.typing.NDArray[numpy.float32], banks: Sequence[Bank], temperature: float, grid: tuple[int, int], maximum_of_map: bool = False, fusion: str = "paper", margins: Sequence[numpy.typing.NDArray[numpy.float32]] = (), residual_weight: float = 0.0) -> None:
        """
        Prompts float32 [2,width], normal and anomalous. fusion: paper, residual, prompt or memory. margins: float32 [R] of each bank's rows, needed for residual; residual_weight: of the residual margin.
        """

    def run(self, global_: Annotated[NDArray, dict(writable=False)], local: Annotated[NDArray, dict(writable=False)], memory: Sequence[Annotated[NDArray, dict(writable=False)]], threads: int = 0) -> tuple[NDArray[numpy.float32], NDArray[numpy.float32], NDArray[numpy.float32], NDArray[numpy.float32], NDArray[numpy.float32], NDArray[numpy.float32], NDArray[numpy.float32]]:
        """
        Features float32 [B,width], [B,P,width], one [B,P,W] per bank → image [B], grid [B,h,w], and the branches: image prompt, image memory [B], grid prompt, grid memory, grid residual [B,h,w].
        """

def anomaly_map(grid: Annotated[NDArray, dict(writable=False)], size: int = 400, sigma: float = 4.0) -> NDArray[numpy.float32]:
    """Bilinear, then a Gaussian: float32 [h,w] → [size,size]."""
