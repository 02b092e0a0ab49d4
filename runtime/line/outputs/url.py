"""The URL of an output, split into parts, with a form that hides its secrets."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import quote, unquote, urlsplit

from ...core.errors import SettingsError
from ..redact import HIDDEN, redact_address

_KEPT_IN_PATH = "/%:@!$&'()*+,;=~"
"""Characters of a path and a query that are not percent-encoded. % is among them, as the input may be encoded."""


@dataclass(frozen=True)
class OutputUrl:
    """The parts of a URL.

    Attributes:
        scheme: The scheme, in lower case.
        host: The host, without brackets.
        port: The port; None if the URL has none.
        path: The path with its first slash, percent-encoded.
        query: The query without the question mark, percent-encoded.
        user: The user name, decoded; None if the URL has none.
        password: The password, decoded; empty if the URL has none.
        shown: The URL without secrets, for messages.
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
        """Split a URL into its parts.

        Args:
            output_name: The name of the output, for messages.
            url: The URL.
            schemes: The schemes that are accepted, in lower case.
            needed: The end of the error's message, which tells what is accepted.
            path_is_secret: Whether `shown` hides the path.

        Returns:
            The parts.

        Raises:
            SettingsError: The URL is ambiguous or of another kind. The message holds no secret.
        """
        scheme, _, rest = url.partition("://")
        host_only = re.split("[/?#]", rest.rpartition("@")[2])[0]
        if "@" in "".join(re.split("([/?#])", rest, maxsplit=1)[1:]):
            raise SettingsError(
                f"{output_name} {scheme}://…@{host_only}: an @ after the first / ? or # makes it unclear where the "
                "password ends; write %40 for @, %2F for /, %3F for ? and %23 for # in user, password and path"
            )
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # the brackets or the port are not valid
            host, port = None, None
        if scheme.lower() not in schemes or not host:
            shown = f"{scheme}://{host_only}" if rest else HIDDEN
            raise SettingsError(f"{output_name} {shown}: {needed}")
        shown = f"{scheme}://{host_only}/{HIDDEN}" if path_is_secret else redact_address(url)
        user = None if parts.username is None else unquote(parts.username)
        path, query = quote(parts.path, _KEPT_IN_PATH), quote(parts.query, _KEPT_IN_PATH + "?")
        return cls(parts.scheme, host, port, path, query, user, unquote(parts.password or ""), shown)
