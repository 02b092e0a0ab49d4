"""The webhook output, which sends rejects and parts to review to a URL by POST."""

from __future__ import annotations

import base64
import http.client
import urllib.error
import urllib.request
from typing import Any

from ..redact import redact_address
from ..results import Result
from .output import DeliveryError
from .url import OutputUrl

_TIMEOUT = 5.0
"""The most seconds for one delivery."""


class Webhook:
    """Sends the JSON line of each reject and each part to review to a URL by POST.

    An answer with a status of 2xx counts as delivered. A redirect counts as a failure.

    Args:
        url: An http:// or https:// URL. A user name and a password in it are sent as Basic authentication.

    Raises:
        SettingsError: The URL has another form.
    """

    name = "webhook"
    depth = 1024

    def __init__(self, url: str) -> None:
        parts = OutputUrl.parse(self.name, url, ("http", "https"), "http:// or https:// is needed", path_is_secret=True)
        host = f"[{parts.host}]" if ":" in parts.host else parts.host
        port = "" if parts.port is None else f":{parts.port}"
        query = f"?{parts.query}" if parts.query else ""
        self._url, self._shown_url = f"{parts.scheme}://{host}{port}{parts.path}{query}", parts.shown
        self._headers = {"Content-Type": "application/json"}
        if parts.user is not None:
            credentials = base64.b64encode(f"{parts.user}:{parts.password}".encode()).decode()
            self._headers["Authorization"] = f"Basic {credentials}"
        self._opener = urllib.request.build_opener(_NoRedirect)

    def wants(self, result: Result) -> bool:
        return result.decision in ("review", "reject")

    def send(self, result: Result) -> None:
        request = urllib.request.Request(self._url, result.line, self._headers, method="POST")
        try:
            with self._opener.open(request, timeout=_TIMEOUT):
                pass
        except urllib.error.HTTPError as error:
            location = error.headers.get("Location")
            error.close()  # to release the connection
            reason = f"HTTP {error.code} {error.reason}".rstrip()
            if 300 <= error.code < 400 and location:
                reason += f" to {redact_address(location).partition('?')[0]}, which is not followed; set that URL"
            raise DeliveryError(f"{self._shown_url}: {reason}") from error
        except (OSError, http.client.HTTPException) as error:
            raise DeliveryError(f"{self._shown_url}: {getattr(error, 'reason', None) or error}") from error

    def reopen(self) -> None:
        """Do nothing: no connection is kept open."""

    def close(self) -> None:
        """Do nothing: no connection is kept open."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Treats every redirect as a failure, because a POST that is redirected would become an empty GET."""

    def redirect_request(self, *_: Any) -> None:
        return None
