"""NVIDIA's two libraries behind one Python API: TensorRT, and TensorRT-RTX for the GPUs of PCs."""

from __future__ import annotations

import functools
import importlib
import logging
from collections.abc import Callable
from typing import Any, TypeVar

from ..core.errors import BackendError

Created = TypeVar("Created")

log = logging.getLogger(__name__)


class TensorRtApi:
    """One of the two libraries.

    Attributes:
        trt: Its Python module.
        title: Its name as messages give it.
        version: Its version, as in "10.3.0".
    """

    def __init__(self, module: str, title: str) -> None:
        """Import the module; ImportError where it cannot be imported."""
        self.trt = importlib.import_module(module)
        self.title = title
        self.version: str = self.trt.__version__

    def __str__(self) -> str:
        return f"{self.title} {self.version}"

    @functools.cached_property
    def Logger(self) -> type[Any]:  # noqa: N802 - a class, which derives from one of the library's
        """Create a logger with it: it keeps errors for `create`, and hands the rest to `logging`."""
        trt = self.trt

        class Logger(trt.ILogger):  # type: ignore[misc,name-defined]
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
                """The first error, of which later ones are mostly the consequence."""
                return self.errors[0] if self.errors else "it gave no reason"

        return Logger

    def create(self, function: Callable[..., Created | None], *arguments: object, logger: Any, failed: str) -> Created:
        """Call a function of the library that creates an object, and return the object.

        Args:
            function: What creates the object.
            arguments: The function's arguments.
            logger: The logger that the library reports to.
            failed: What could not be done, for the error.

        Raises:
            BackendError: There is no object; the bindings then return None or raise TypeError.
        """
        logger.errors.clear()
        try:
            created = function(*arguments)
        except TypeError as error:
            if "nullptr" not in str(error):
                raise
            created = None
        if created is None:
            raise BackendError(f"{self} {failed}: {logger.reason}")
        return created
