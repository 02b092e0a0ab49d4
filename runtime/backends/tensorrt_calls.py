"""What running and building TensorRT plans share: its version, its log, and calls that fail with a reason."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import TypeVar

import tensorrt as trt

from ..core.errors import BackendError

VERSION: str = trt.__version__
Created = TypeVar("Created")

log = logging.getLogger(__name__)


class Logger(trt.ILogger):
    """Keeps TensorRT's errors for ours; the rest goes to `logging`, which shows it only when asked to."""

    def __init__(self) -> None:
        trt.ILogger.__init__(self)
        self.errors: list[str] = []

    def log(self, severity: object, msg: str) -> None:
        line = " ".join(msg.split())
        if severity in (trt.ILogger.Severity.ERROR, trt.ILogger.Severity.INTERNAL_ERROR):
            self.errors.append(line)
        log.debug("TensorRT: %s", line)

    @property
    def reason(self) -> str:
        """What went wrong: the first error, of which later ones are mostly the consequence."""
        return self.errors[0] if self.errors else "it gave no reason"


def create(function: Callable[..., Created | None], *arguments: object, logger: Logger, failed: str) -> Created:
    """Call a function of TensorRT that creates an object, and return the object.

    failed: what could not be done, for the error. Raises BackendError with the logged reason where there is no object:
    the bindings then return None, or raise TypeError.
    """
    logger.errors.clear()
    try:
        created = function(*arguments)
    except TypeError as error:
        if "nullptr" not in str(error):
            raise
        created = None
    if created is None:
        raise BackendError(f"TensorRT {VERSION} {failed}: {logger.reason}")
    return created
