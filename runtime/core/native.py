"""The C++ core, where it is there: faster ways to the results that the numpy code of this package defines."""

from __future__ import annotations

import functools
import logging
from types import ModuleType

log = logging.getLogger(__name__)


@functools.cache
def core() -> ModuleType | None:
    """Return goodparts._native; None, logged once, where it cannot be loaded: numpy and Pillow then do its work."""
    try:
        from goodparts import _native
    except ImportError as error:
        log.warning("the C++ core cannot be loaded (%s): numpy and Pillow do its work, slower", error)
        return None
    return _native


@functools.cache
def cuda() -> ModuleType | None:
    """Return the native code for NVIDIA GPUs, goodparts._native.cuda; None where it or a GPU is not there."""
    loaded = core()
    module: ModuleType | None = getattr(loaded, "cuda", None)
    return module if module is not None and module.available() else None
