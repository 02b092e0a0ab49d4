"""Search, scoring and resizing on an NVIDIA GPU."""

from collections.abc import Sequence

import numpy
import numpy.typing


def built() -> bool:
    """Return whether this module was built with CUDA."""

def available() -> bool:
    """Return whether this module was built with CUDA and a GPU can be used."""

def why_not() -> str:
    """Return why no GPU can be used; an empty text if one can."""

def device_name() -> str:
    """Return the name of the current device."""

class Bank:
    """
    Rows in the GPU's memory to search for the largest inner product with a query.

    A bank belongs to the device that is current when it is created.
    """

    def __init__(self, width: int, precision: str = 'fp16') -> None:
        """
        Create an empty bank.

        Args:
            width: Components of a row, from 1 to 65536.
            precision: fp16, bf16 (from compute capability 8.0), or int8 with a scale for each row.

        Raises:
            RuntimeError: No GPU can be used.
            ValueError: An argument is out of range, or the module was built without CUDA.
        """

    def append(self, rows: object, stream: int = 0) -> None:
        """
        Append rows, which are copied, and wait for the stream.

        Captured graphs search the new rows too. No search may be in progress meanwhile.

        Args:
            rows: [n,width], float32, float16 or bfloat16, finite, in the memory of the device or of the CPU.
            stream: A cudaStream_t as an integer; 0 for the default stream.

        Raises:
            TypeError: The array has another dtype.
            ValueError: The array has another shape, gaps or another device, or a value is not finite.
        """

    @property
    def rows(self) -> int:
        """The number of rows."""

    @property
    def width(self) -> int:
        """The number of components of a row."""

    @property
    def precision(self) -> str:
        """How rows are stored: fp16, bf16 or int8."""

    @property
    def nbytes(self) -> int:
        """The bytes of device memory that the rows occupy."""

class Search:
    """Searches several banks of one device and precision in one launch."""

    def __init__(self, banks: Sequence[object], max_queries: int) -> None:
        """
        Create a search and allocate its memory.

        Args:
            banks: From 1 to 8 banks.
            max_queries: The most queries of one call, for each bank.

        Raises:
            TypeError: A bank is not a cuda.Bank.
            ValueError: An argument is out of range, or the banks differ in device or precision.
        """

    def run(self, queries: Sequence[object], out: Sequence[tuple[object, object]] | None = None, stream: int = 0) -> list[tuple[object, object]]:
        """
        Find for each query the row with the largest inner product.

        The call enqueues kernels and does not wait for them. Calls of one Search must be ordered on the device:
        on one stream, or by events.

        Args:
            queries: For each bank [n,width] on the device, all float32, float16 or bfloat16.
            out: For each bank a pair of arrays to write to, as returned. It is needed while a graph is captured.
            stream: A cudaStream_t as an integer; 0 for the default stream.

        Returns:
            For each bank the largest product of each query, [n], float32, and the number of its row, [n], int64,
            which is the first of equal ones. A query with a value that is not finite gets NaN and -1.

        Raises:
            TypeError: An array has another dtype or is not on a GPU.
            ValueError: An array has another shape, gaps or another device, or a bank is empty.
        """

class Scorer:
    """
    Scores the views of one product on the device, as goodparts.runtime.core.scoring.score does.
    """

    def __init__(self, image_prompts: numpy.typing.NDArray[numpy.float32], pixel_prompts: numpy.typing.NDArray[numpy.float32], banks: Sequence[Bank], temperature: float, grid: tuple[int, int], maximum_of_map: bool = False, fusion: str = "paper", margins: Sequence[numpy.typing.NDArray[numpy.float32]] = (), residual_weight: float = 0.0, max_views: int = 1) -> None:
        """
        Create a scorer and allocate its memory.

        The arguments are those of goodparts._native.Scorer. The banks are cuda.Banks; the prompts and the margins
        are in the CPU's memory and are copied. max_views is the most views of one call.

        Raises:
            RuntimeError: No GPU can be used.
            TypeError: An array is not float32 or not in the CPU's memory, or a bank is not a cuda.Bank.
            ValueError: An argument is out of range, or the module was built without CUDA.
        """

    def run(self, global_: object, local: object, memory: Sequence[object], out: Sequence[object] | None = None, stream: int = 0) -> list[object]:
        """
        Score B views of h·w = P patches.

        The call enqueues kernels and does not wait for them. Calls of one Scorer must be ordered on the device:
        on one stream, or by events. All features are of one dtype: float32, float16 or bfloat16.

        Args:
            global_: [B,width] on the device.
            local: [B,P,width] on the device.
            memory: For each bank [B,P,width of the bank] on the device.
            out: The seven arrays to write to, as returned. It is needed while a graph is captured.
            stream: A cudaStream_t as an integer; 0 for the default stream.

        Returns:
            The arrays that goodparts._native.Scorer.run returns, on the device.

        Raises:
            TypeError: An array has another dtype or is not on a GPU.
            ValueError: An array has another shape, gaps or another device, or a bank with margins has grown.
        """

def resize(frame: object, size: tuple[int, int], box: Sequence[int] | None = None, format: str = 'rgb', out: object | None = None, stream: int = 0) -> object:
    """
    Crop a box out of a frame on the device and resample it to an RGB image.

    The result equals that of goodparts._native.resize. The call enqueues a kernel and does not wait for it.

    Args:
        frame: uint8 on the device, of the shapes that goodparts._native.resize accepts. There may be gaps between
            its rows.
        size: (height, width) of the result in pixels.
        box: (x, y, width, height) of the part to crop, in pixels of the frame; None takes the whole frame.
        format: rgb, bgr, grey, yuyv or nv12.
        out: [height,width,3], uint8, on the device, to write to. It is needed while a graph is captured, and a
            call with the same sizes must have run before the capture.
        stream: A cudaStream_t as an integer; 0 for the default stream.

    Returns:
        The array [height,width,3], uint8, RGB, on the device.

    Raises:
        RuntimeError: No GPU can be used.
        TypeError: An array is not uint8 or not on a GPU.
        ValueError: An argument is out of range, or the module was built without CUDA.
    """
