"""
The C++ core of goodparts. It computes the same results as the numpy code in goodparts.runtime, faster.
"""

from collections.abc import Sequence
from typing import Annotated

import numpy
import numpy.typing
from numpy.typing import NDArray

from goodparts._native import cuda as cuda


def isa() -> str:
    """
    Return the instruction set in use: generic, avx2, avx512 or amx.

    It is the best one that the processor and the operating system support. The environment variable
    GOODPARTS_ISA can name a lower one; it is read once.
    """

def resize(frame: numpy.typing.NDArray[numpy.uint8], size: tuple[int, int], box: tuple[int, int, int, int] | None = None, format: str = 'rgb', threads: int = 0) -> numpy.typing.NDArray[numpy.uint8]:
    """
    Crop a box out of a frame and resample it to an RGB image.

    The filter is bicubic with antialiasing, and the result equals that of Pillow, bit for bit.

    Args:
        frame: uint8: [H,W,3] for rgb and bgr, [H,W] for grey, [H,W,2] for yuyv, [H*3/2,W] for nv12. There may
            be gaps between its rows.
        size: (height, width) of the result, each from 1 to 65535 pixels.
        box: (x, y, width, height) of the part to crop, in pixels of the frame; None takes the whole frame.
        format: rgb, bgr, grey, yuyv or nv12. The last two are converted as BT.601 with limited range.
        threads: The most threads to use; 0 for one per processor.

    Returns:
        A new array [height,width,3], uint8, RGB.

    Raises:
        TypeError: An argument has another type, or the frame is not uint8 or not in the CPU's memory.
        ValueError: An argument is out of range, or the frame has another shape or gaps inside a row.
    """

class Bank:
    """
    Rows to search for the largest inner product with a query.

    Several threads may call search at once. While one thread calls append or partition,
    no other thread may use the bank.
    """

    def __init__(self, width: int, precision: str = 'fp32') -> None:
        """
        Create an empty bank.

        Args:
            width: Components of a row, from 1 to 65536.
            precision: How rows are stored: fp32 (exact), bf16, or int8 with a scale for each row.

        Raises:
            ValueError: An argument is out of range.
        """

    def append(self, rows: Annotated[NDArray, dict(writable=False)]) -> None:
        """
        Append rows, which are copied.

        Args:
            rows: [n,width], float32, finite.

        Raises:
            TypeError: The array is not float32 or not in the CPU's memory.
            ValueError: The array has another shape or gaps, or a value is not finite.
        """

    def search(self, queries: Annotated[NDArray, dict(writable=False)], threads: int = 0) -> tuple[NDArray[numpy.float32], NDArray[numpy.int64]]:
        """
        Find for each query the row with the largest inner product.

        Args:
            queries: [n,width], float32.
            threads: The most threads to use; 0 for one per processor.

        Returns:
            The largest product of each query, [n], float32, and the number of its row, [n], int64, which is the
            first of equal ones. A query with a value that is not finite gets NaN and -1.

        Raises:
            TypeError: The array is not float32 or not in the CPU's memory.
            ValueError: The array has another shape or gaps, or the bank is empty.
        """

    def partition(self, queries: Annotated[NDArray, dict(writable=False)], recall: float, threads: int = 0) -> float:
        """
        Divide a large bank into cells of neighbouring rows: later searches are faster and no longer exact.

        A later search compares a query only with the rows of the cells nearest to it. The number of cells is
        the smallest with which the share `recall` of the given queries finds the same row as an exact search.
        The bank stays whole if recall is 1, if it has fewer than 4096 rows, or if a search would need more than
        half of the cells. A bank can be divided only once.

        Args:
            queries: [n,width], float32, finite, at least one: a sample of the queries of later searches.
            recall: Above 0, up to 1.
            threads: The most threads to use; 0 for one per processor.

        Returns:
            The share of the queries that find their row, as measured; 1.0 if the bank stays whole.

        Raises:
            TypeError: The array is not float32 or not in the CPU's memory.
            ValueError: An argument is out of range, or the bank is already divided.
        """

    def error_bound(self, peak: float) -> float:
        """
        Return an upper bound on the absolute error of a product, for rows and queries of length 1.

        The bound does not cover rows that a divided bank does not search.

        Args:
            peak: The largest absolute value of a component of the queries.
        """

    @property
    def rows(self) -> int:
        """The number of rows."""

    @property
    def width(self) -> int:
        """The number of components of a row."""

    @property
    def precision(self) -> str:
        """How rows are stored: fp32, bf16 or int8."""

    @property
    def nbytes(self) -> int:
        """The bytes that the rows occupy."""

class Scorer:
    """
    Scores the views of one product, as goodparts.runtime.core.scoring.score does.

    Several threads may call run at once.
    """

    def __init__(self, image_prompts: numpy.typing.NDArray[numpy.float32], pixel_prompts: numpy.typing.NDArray[numpy.float32], banks: Sequence[Bank], temperature: float, grid: tuple[int, int], maximum_of_map: bool = False, fusion: str = "paper", margins: Sequence[numpy.typing.NDArray[numpy.float32]] = (), residual_weight: float = 0.0) -> None:
        """
        Create a scorer. It copies the prompts and the margins and refers to the banks.

        Args:
            image_prompts: [2,width], float32: the normal, then the anomalous prototype, for the whole image.
            pixel_prompts: [2,width], float32: the same for patches.
            banks: The memory, from 1 to 8 banks.
            temperature: Factor of the cosine margin in the prompt score.
            grid: (height, width) of a view in patches.
            maximum_of_map: Take the memory's image score from the un-smoothed 400×400 map instead of the grid.
            fusion: paper, residual, prompt or memory; see goodparts.runtime.core.scoring.Fusion.
            margins: For each bank [rows], float32: the margin of the pixel prompts for each row. The fusion
                residual needs them. A bank with margins must not grow afterwards.
            residual_weight: Factor of the residual margin; 0 or more.

        Raises:
            TypeError: An array is not float32 or not in the CPU's memory.
            ValueError: An argument is out of range, or an array has another shape or gaps.
        """

    def run(self, global_: Annotated[NDArray, dict(writable=False)], local: Annotated[NDArray, dict(writable=False)], memory: Sequence[Annotated[NDArray, dict(writable=False)]], threads: int = 0) -> tuple[NDArray[numpy.float32], NDArray[numpy.float32], NDArray[numpy.float32], NDArray[numpy.float32], NDArray[numpy.float32], NDArray[numpy.float32], NDArray[numpy.float32]]:
        """
        Score B views of h·w = P patches.

        Args:
            global_: [B,width], float32: one feature vector of length 1 per view.
            local: [B,P,width], float32: one per patch and view.
            memory: For each bank [B,P,width of the bank], float32.
            threads: The most threads to use; 0 for one per processor.

        Returns:
            New float32 arrays: image [B], grid [B,h,w], image_prompt [B], image_memory [B],
            grid_prompt [B,h,w], grid_memory [B,h,w] and grid_residual [B,h,w], which are explained at
            goodparts.runtime.core.scoring.Branches.

        Raises:
            TypeError: An array is not float32 or not in the CPU's memory.
            ValueError: An array has another shape or gaps, or a bank is empty or has grown beyond its margins.
        """

def anomaly_map(grid: Annotated[NDArray, dict(writable=False)], size: int = 400, sigma: float = 4.0) -> NDArray[numpy.float32]:
    """
    Turn the patch scores of one view into an anomaly map: bilinear interpolation, then a Gaussian filter.

    Args:
        grid: [h,w], float32, finite.
        size: Side of the map in pixels, from 1 to 16384.
        sigma: Standard deviation of the Gaussian in pixels of the map, from 0 to 1000.

    Returns:
        A new array [size,size], float32.

    Raises:
        TypeError: The grid is not float32 or not in the CPU's memory.
        ValueError: An argument is out of range, or the grid has gaps.
    """
