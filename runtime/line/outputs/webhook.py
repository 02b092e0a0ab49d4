"""A webhook: rejects POSTed to a URL."""

from __future__ import annotations

import urllib.error
import urllib.request
from urllib.parse import urlsplit

from ...core.errors import SettingsError
from ..redact import redact_address
from ..results import Result
from .output import DeliveryError

_TIMEOUT = 5.0
"""Seconds for one delivery."""


class Webhook:
    """POSTs the JSON line of each reject to a URL; any answer of 2xx counts as delivered.

    Raises SettingsError for a URL that is neither http:// nor https://.
    """

    name = "webhook"
    depth = 1024

    def __init__(self, url: str) -> None:
        if urlsplit(url).scheme not in ("http", "https"):
            raise SettingsError(f"webhook {redact_address(url)}: http:// or https:// is needed")
        self._url = url

    def wants(self, result: Result) -> bool:
        return result.decision == "reject"

    def send(self, result: Result) -> None:
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(self._url, result.line, headers, method="POST")
        try:
            with urllib.request.urlopen(request, timeout=_TIMEOUT):
                pass
        except OSError as error:
            if isinstance(error, urllib.error.HTTPError):
                error.close()  # it holds the connection
            raise DeliveryError(f"{redact_address(self._url)}: {getattr(error, 'reason', None) or error}") from error

    def close(self) -> None:
        """Nothing is kept open."""
