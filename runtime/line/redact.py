"""Removes the secrets of addresses from addresses and texts before they are shown."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

HIDDEN = "…"
"""Replaces a secret."""
_SHORTEST = 4
"""The fewest letters of a secret that is replaced everywhere in a text. A shorter one may occur in ordinary words."""


def redact_address(address: str) -> str:
    """Return an address without user name, password and query; the path stays.

    If an @ after the host makes it unclear where the password ends, only the scheme stays.

    Args:
        address: A URL; any other text is returned unchanged.
    """
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    authority = re.split("[/?#]", rest)[0]
    later = rest[len(authority) :].count("@")
    if later > 1 or (later and ("@" in authority or re.fullmatch(r"[^:]*(:\d*)?", authority))):
        return scheme + separator + HIDDEN
    return scheme + separator + re.split("[?#]", rest.rpartition("@")[2])[0]


def redact_text(text: str) -> str:
    """Return a text with every URL in it redacted, because libraries quote the addresses they were given.

    Args:
        text: Any text, such as the message of an error.
    """
    return re.sub(r"\w+://\S+", lambda match: redact_address(match[0]), text)


class Redactor:
    """Replaces the secrets of known addresses in texts, as they stand, percent-encoded, or decoded.

    Other addresses in a text are redacted by redact_address.

    Args:
        addresses: Addresses whose user name, password and query may be secret.
        private_addresses: Addresses whose path is secret as well, as a webhook's often is.
    """

    def __init__(self, addresses: Iterable[str], private_addresses: Iterable[str] = ()) -> None:
        replacements: dict[str, str] = {}
        for address in addresses:
            replacements[address] = redact_address(address)
            replacements |= dict.fromkeys(_find_secrets(address), HIDDEN)
        for address in private_addresses:
            scheme, _, rest = address.partition("://")
            host, slash, path = rest.rpartition("@")[2].partition("/")
            replacements[address] = f"{scheme}://{host}{slash}{HIDDEN if path else ''}"
            paths = {slash + path, slash + path.partition("?")[0]}
            replacements |= dict.fromkeys({*_find_secrets(address), *_forms(paths)}, HIDDEN)
        self._replacements = {
            secret: shown for secret, shown in replacements.items() if len(secret) >= _SHORTEST and secret != shown
        }
        longest_first = sorted(self._replacements, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, longest_first)) or "(?!)")

    def redact(self, text: str) -> str:
        """Return a text without secrets.

        Args:
            text: Any text.
        """
        return redact_text(self._pattern.sub(lambda match: self._replacements[match[0]], text))


def _find_secrets(address: str) -> set[str]:
    """Return user name with password, password, and query with its values; nothing for an address that is no URL."""
    _, separator, rest = address.partition("://")
    if not separator:
        return set()
    user_and_password, _, place = rest.rpartition("@")
    queries = {text.partition("#")[0].partition("?")[2] for text in (place, rest)}  # a query may hold an @
    values = {pair.partition("=")[2] for query in queries for pair in re.split("[&;]", query)}
    return _forms({user_and_password, user_and_password.partition(":")[2], *queries, *values})


def _forms(secrets: set[str]) -> set[str]:
    """Return secrets as they stand, percent-encoded, and percent-decoded."""
    return {form for secret in secrets for form in (secret, quote(secret), quote(secret, safe=""), unquote(secret))}
