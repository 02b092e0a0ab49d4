"""Names for sources that are given by their address only."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import parse_qs

from ..redact import redact_address

_LONGEST = 48


def name_sources(addresses: Sequence[str]) -> list[str]:
    """Return a unique name for each address: the name of its folder, file, device, camera or host.

    A name contains no part of an address that may be a secret.

    Args:
        addresses: The addresses of the sources.
    """
    names: list[str] = []
    for address in addresses:
        name, number = _name(address), 2
        unused = name
        while unused in names:
            unused = f"{name}-{number}"
            number += 1
        names.append(unused)
    return names


def _name(address: str) -> str:
    if address.startswith("genicam:"):
        path, _, query = address.removeprefix("genicam:").partition("?")
        text = parse_qs(query).get("serial", [Path(path).stem])[0]
    elif "://" in address:
        host = re.split("[/?#]", redact_address(address).partition("://")[2])[0]
        text = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    else:
        place = Path(address).resolve()
        text = place.stem if place.is_file() else place.name
    text = re.sub("[^A-Za-z0-9_.-]+", "-", text)[:_LONGEST]
    return re.sub("^[^A-Za-z0-9]+", "", text).rstrip("-.") or "source"
