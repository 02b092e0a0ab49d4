"""Addresses as they may be shown: without user name, password and query."""

from __future__ import annotations

import re


def redact_address(address: str) -> str:
    """Return an address without user name, password and query, however odd they are; a path stays as it is."""
    scheme, separator, rest = address.partition("://")
    if not separator:
        return address
    return scheme + separator + re.split("[?#]", rest.rpartition("@")[2])[0]


def redact_text(text: str) -> str:
    """Return a text with every address in it redacted: libraries quote what they were given."""
    return re.sub(r"\w+://\S+", lambda match: redact_address(match[0]), text)
