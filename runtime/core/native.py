"""Access to the C++ core, if it is installed. It computes the same as the numpy code of this package, but faster."""

from __future__ import annotations

import functools
import logging
from types import ModuleType

log = logging.getLogger(__name__)


@functools.cache
def core() -> ModuleType | None:
    """Return the C++ core, goodparts._native. None if it cannot be loaded; numpy and Pillow then do its work.

    A failure to load it is logged once.
    """
    try:
        from goodparts import _native
    except ImportError as error:
        log.warning("the C++ core cannot be loaded (%s): numpy and Pillow do its work, slower", error)
        return None
    return _native


@functools.cache
def cuda() -> ModuleType | None:
    """Return the C++ core's code for NVIDIA GPUs, goodparts._native.cuda. None without this code, or without a GPU."""
    loaded = core()
    module: ModuleType | None = getattr(loaded, "cuda", None)
    return module if module is not None and module.available() else None
