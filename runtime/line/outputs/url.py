"""The URL of an output, taken apart once: what may be shown of it, and what is secret."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from ...core.errors import SettingsError
from ..redact import HIDDEN, redact_address

_KEPT_IN_PATH = "/%:@!$&'()*+,;=~"
"""Letters of a path and a query that are not percent-encoded; % begins what is encoded already."""


@dataclass(frozen=True)
class OutputUrl:
    """A URL in its parts.

    scheme; host (without brackets); port, None where none is given; path, from its slash on, and query (without ?): as
    they are sent, percent-encoded; user: decoded, None where none is given; password: decoded, empty where none is
    given; shown: what messages may hold.
    """

    scheme: str
    host: str
    port: int | None
    path: str
    query: str
    user: str | None
    password: str
    shown: str

    @classmethod
    def parse(
        cls, output_name: str, url: str, schemes: tuple[str, ...], needed: str, *, path_is_secret: bool
    ) -> OutputUrl:
        """Take a URL apart.

        output_name: for messages; schemes: those that are accepted; needed: says what is accepted; path_is_secret:
        leave the path out of what is shown.
        Raises SettingsError, which tells no secret, for a URL that is ambiguous or of another kind.
        """
        scheme, _, rest = url.partition("://")
        host_only = re.split("[/?#]", rest.rpartition("@")[2])[0]
        if "@" in "".join(re.split("([/?#])", rest, maxsplit=1)[1:]):
            raise SettingsError(
                f"{output_name} {scheme}://…@{host_only}: an @ behind the first / ? or # leaves open where the "
                "password ends; write %40 for @, %2F for /, %3F for ? and %23 for # in user, password and path"
            )
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # brackets or a port that are none
            host, port = None, None
        if scheme.lower() not in schemes or not host:
            shown = f"{scheme}://{host_only}" if rest else HIDDEN
            raise SettingsError(f"{output_name} {shown}: {needed}")
        shown = f"{scheme}://{host_only}/{HIDDEN}" if path_is_secret else redact_address(url)
        user = None if parts.username is None else unquote(parts.username)
        path, query = quote(parts.path, _KEPT_IN_PATH), quote(parts.query, _KEPT_IN_PATH + "?")
        return cls(parts.scheme, host, port, path, query, user, unquote(parts.password or ""), shown)
