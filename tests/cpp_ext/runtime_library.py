"""goodparts_runtime.h through ctypes, for tests: a detector with the interface of Python's."""

from __future__ import annotations

import ctypes
from ctypes import POINTER, c_bool, c_char_p, c_double, c_float, c_int, c_int64, c_size_t, c_void_p
from pathlib import Path
from typing import Any

import numpy as np
from goodparts.runtime.core.regions import Region
from goodparts.runtime.core.view import Box
from goodparts.runtime.recipe.header import Thresholds

FORMATS = ("rgb", "bgr", "grey")


class _Error(ctypes.Structure):
    _fields_ = (("code", c_int), ("message", ctypes.c_char * 512))


class _Options(ctypes.Structure):
    _fields_ = (("precision", c_char_p), ("threads", c_int), ("verify", c_bool))


class _Frame(ctypes.Structure):
    _fields_ = (
        ("data", c_void_p), ("chroma", c_void_p), ("width", c_int64), ("height", c_int64), ("stride", c_int64),
        ("chroma_stride", c_int64), ("format", c_int),
    )  # fmt: skip


class _Box(ctypes.Structure):
    _fields_ = tuple((name, c_int64) for name in ("x", "y", "width", "height"))


class _Thresholds(ctypes.Structure):
    _fields_ = tuple((name, c_double) for name in ("image", "pixel", "min_area", "review"))


class _Verdict(ctypes.Structure):
    _fields_ = (
        ("score", c_double), ("raw_score", c_double), ("answer", c_int), ("thresholds", _Thresholds),
        ("preprocess_ms", c_double), ("encode_ms", c_double), ("score_ms", c_double),
    )  # fmt: skip


class _Region(ctypes.Structure):
    _fields_ = (("box", _Box), ("area", c_double), ("peak", c_double))


_FUNCTIONS: dict[str, tuple[Any, ...]] = {  # result, then arguments; of functions that can fail the last is a gp_error
    "gp_engine_open": (c_void_p, c_char_p, POINTER(_Options), POINTER(_Error)),
    "gp_engine_free": (None, c_void_p),
    "gp_engine_graph": (c_char_p, c_void_p),
    "gp_engine_backend": (c_char_p, c_void_p),
    "gp_recipe_open": (c_void_p, c_char_p, POINTER(_Error)),
    "gp_recipe_read": (c_void_p, c_char_p, c_size_t, c_char_p, POINTER(_Error)),
    "gp_recipe_free": (None, c_void_p),
    "gp_recipe_product": (c_char_p, c_void_p),
    "gp_detector_create": (c_void_p, c_void_p, c_void_p, POINTER(_Error)),
    "gp_detector_free": (None, c_void_p),
    "gp_detector_use": (c_bool, c_void_p, c_void_p, POINTER(_Error)),
    "gp_detector_thresholds": (_Thresholds, c_void_p),
    "gp_detector_set_thresholds": (c_bool, c_void_p, POINTER(_Thresholds), POINTER(_Error)),
    "gp_detector_inspect": (c_void_p, c_void_p, POINTER(_Frame), POINTER(_Error)),
    "gp_inspection_free": (None, c_void_p),
    "gp_inspection_verdict": (_Verdict, c_void_p),
    "gp_inspection_recipe": (c_char_p, c_void_p),
    "gp_inspection_map": (POINTER(c_float), c_void_p, POINTER(c_int64), POINTER(c_int64), POINTER(_Error)),
    "gp_inspection_regions": (c_bool, c_void_p, POINTER(_Region), c_int64, POINTER(c_int64), POINTER(_Error)),
}


class RefusedError(Exception):
    """An error that a function of the library reports, with its code."""

    def __init__(self, code: int, message: str) -> None:
        super().__init__(message)
        self.code = code


class Library:
    """The shared library. `call` turns its errors into RefusedError."""

    def __init__(self, path: Path) -> None:
        self._library = ctypes.CDLL(str(path))
        for name, (result, *arguments) in _FUNCTIONS.items():
            function = getattr(self._library, name)
            function.restype, function.argtypes = result, arguments

    def call(self, name: str, *arguments: Any) -> Any:
        if POINTER(_Error) not in _FUNCTIONS[name]:
            return getattr(self._library, name)(*arguments)
        error = _Error()
        result = getattr(self._library, name)(*arguments, ctypes.byref(error))
        if not result:
            raise RefusedError(error.code, error.message.decode())
        return result


class Handle:
    """A handle of the library, which is freed with this object."""

    def __init__(self, library: Library, kind: str, pointer: int) -> None:
        self.library, self.kind, self.pointer = library, kind, pointer

    def __del__(self) -> None:
        self.library.call(f"gp_{self.kind}_free", self.pointer)

    def call(self, name: str, *arguments: Any) -> Any:
        return self.library.call(f"gp_{self.kind}_{name}", self.pointer, *arguments)


def open_engine(library: Library, folder: Path, *, precision: str | None = None, verify: bool = False) -> Handle:
    options = _Options(precision.encode() if precision else None, 1, verify)
    return Handle(library, "engine", library.call("gp_engine_open", str(folder).encode(), ctypes.byref(options)))


def read_recipe(library: Library, data: bytes, name: str = "recipe") -> Handle:
    return Handle(library, "recipe", library.call("gp_recipe_read", data, len(data), name.encode()))


class NativeInspection:
    """An inspection, in Python's types."""

    def __init__(self, handle: Handle) -> None:
        self._handle = handle
        verdict = handle.call("verdict")
        self.score, self.raw_score = verdict.score, verdict.raw_score
        self.verdict = ("good", "review", "reject")[verdict.answer]
        self.raw_threshold = verdict.thresholds.image
        self.recipe = handle.call("recipe").decode()

    @property
    def map(self) -> np.ndarray:
        height, width = c_int64(), c_int64()
        scores = self._handle.call("map", ctypes.byref(height), ctypes.byref(width))
        return np.ctypeslib.as_array(scores, (height.value, width.value)).copy()

    @property
    def regions(self) -> list[Region]:
        count = c_int64()
        self._handle.call("regions", None, 0, ctypes.byref(count))
        found = (_Region * count.value)()
        self._handle.call("regions", found, count, ctypes.byref(count))
        return [Region(Box(one.box.x, one.box.y, one.box.width, one.box.height), one.area, one.peak) for one in found]


class NativeDetector:
    """A detector made from an engine and a recipe. The recipe's handle is freed at once."""

    def __init__(self, engine: Handle, recipe: bytes) -> None:
        self.library = engine.library
        opened = read_recipe(self.library, recipe)
        pointer = self.library.call("gp_detector_create", engine.pointer, opened.pointer)
        self._handle = Handle(self.library, "detector", pointer)

    def use(self, recipe: bytes) -> None:
        opened = read_recipe(self.library, recipe)
        self._handle.call("use", opened.pointer)

    def set_thresholds(self, thresholds: Thresholds) -> None:
        given = _Thresholds(thresholds.image, thresholds.pixel, thresholds.min_area, thresholds.review or 0.0)
        self._handle.call("set_thresholds", ctypes.byref(given))

    @property
    def image_threshold(self) -> float:
        threshold: float = self._handle.call("thresholds").image
        return threshold

    def inspect(self, frame: np.ndarray, pixel_format: str = "rgb") -> NativeInspection:
        """Inspect a frame, uint8 [H,W,3], or [H,W] if it is grey. There may be gaps between its rows."""
        described = _Frame(
            frame.ctypes.data, None, frame.shape[1], frame.shape[0], frame.strides[0], 0, FORMATS.index(pixel_format)
        )
        pointer = self._handle.call("inspect", ctypes.byref(described))
        return NativeInspection(Handle(self.library, "inspection", pointer))
