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

    Args:
        module: The name of its Python module, which is imported.
        title: Its name in messages.

    Attributes:
        trt: Its Python module.
        title: Its name in messages.
        version: Its version, as in "10.3.0".

    Raises:
        ImportError: The module cannot be imported.
    """

    def __init__(self, module: str, title: str) -> None:
        self.trt = importlib.import_module(module)
        self.title = title
        self.version: str = self.trt.__version__

    def __str__(self) -> str:
        return f"{self.title} {self.version}"

    @functools.cached_property
    def Logger(self) -> type[Any]:  # noqa: N802 - a class, which derives from one of the library's
        """The class of the library's loggers. A logger keeps errors for `create`, and passes all lines to `logging`."""
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
                """The first error. Later errors mostly follow from it."""
                return self.errors[0] if self.errors else "it gave no reason"

        return Logger

    def create(self, function: Callable[..., Created | None], *arguments: object, logger: Any, failed: str) -> Created:
        """Call a function of the library that creates an object.

        Args:
            function: The function, which returns the object, or None on failure.
            arguments: The function's arguments.
            logger: The logger that the library reports to.
            failed: The words after the library's name in the error, such as "has no ONNX parser".

        Returns:
            The created object.

        Raises:
            BackendError: No object was created. The library's Python functions then return None or raise TypeError.
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
