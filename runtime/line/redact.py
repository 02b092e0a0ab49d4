"""Addresses and texts as they may be shown: without the secrets of addresses."""

from __future__ import annotations

import re
from collections.abc import Iterable
from urllib.parse import quote, unquote

HIDDEN = "…"
_SHORTEST = 4
"""Letters that a secret has to be replaced wherever it stands; a shorter one would be found in every other word."""


def redact_address(address: str) -> str:
    """Return an address without user name, password and query, however odd they are; a path stays as it is.

    Where an @ behind the host leaves open what is a password and what a path, only the scheme is left.
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
    """Return a text with every address in it redacted: libraries quote what they were given."""
    return re.sub(r"\w+://\S+", lambda match: redact_address(match[0]), text)


class Redactor:
    """Replaces the secrets of known addresses in texts, in whatever form a library quotes them.

    addresses: what may hold secrets: user name and password, and query; private_addresses: those whose path is a secret
    as well, as a webhook's often is. Other addresses in a text are redacted by redact_address.
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
        """Return a text without secrets."""
        return redact_text(self._pattern.sub(lambda match: self._replacements[match[0]], text))


def _find_secrets(address: str) -> set[str]:
    """Return user name with password, password, and query with its values; nothing of an address that is no URL."""
    _, separator, rest = address.partition("://")
    if not separator:
        return set()
    user_and_password, _, place = rest.rpartition("@")
    queries = {text.partition("#")[0].partition("?")[2] for text in (place, rest)}  # also where a query holds an @
    values = {pair.partition("=")[2] for query in queries for pair in re.split("[&;]", query)}
    return _forms({user_and_password, user_and_password.partition(":")[2], *queries, *values})


def _forms(secrets: set[str]) -> set[str]:
    """Return secrets as they stand, percent-encoded, and percent-decoded."""
    return {form for secret in secrets for form in (secret, quote(secret), quote(secret, safe=""), unquote(secret))}
