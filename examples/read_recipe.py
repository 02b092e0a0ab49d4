"""Read a recipe without goodparts, from the description in docs/formats.md.

read_recipe.py FILE prints the content of a recipe.
"""

from __future__ import annotations

import hashlib
import json
import struct
import sys
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

DTYPES = {"F32": "<f4", "F16": "<f2", "I32": "<i4", "U8": "u1"}
"""The file's name of a type → numpy's name of the type, with little-endian numbers."""
DIGEST, SIGNATURE = rb"\"digest\":\"", rb"\"signature\":\""
"""The bytes before the digits of digest and signature. The quotes are escaped: the header is JSON within JSON."""


def read_recipe(data: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Read a recipe file.

    Args:
        data: The file's bytes.

    Returns:
        The header, and the tensors by name.

    Raises:
        ValueError: The file has another version, or its digest does not match its bytes.
    """
    (length,) = struct.unpack_from("<Q", data)
    directory = json.loads(data[8 : 8 + length])
    header = json.loads(directory.pop("__metadata__")["goodparts"])
    if header["version"] not in (3, 4):
        raise ValueError(f"version {header['version']}: 3 and 4 are described")
    if hashlib.sha256(with_zeros(data, DIGEST, 64)).hexdigest() != header["digest"]:
        raise ValueError("the digest does not match: the file is damaged")
    values = data[8 + length :]
    tensors = {}
    for name, entry in directory.items():
        start, stop = entry["data_offsets"]
        tensors[name] = np.frombuffer(values[start:stop], DTYPES[entry["dtype"]]).reshape(entry["shape"])
    return header, tensors


def signed_message(data: bytes) -> bytes:
    """Return the message that the Ed25519 signature of a recipe signs.

    Args:
        data: The file's bytes.
    """
    blank = with_zeros(with_zeros(data, SIGNATURE, 128), DIGEST, 64)
    return b"goodparts recipe\n" + hashlib.sha256(blank).digest()


def with_zeros(data: bytes, mark: bytes, digits: int) -> bytes:
    """Return bytes with zeros instead of some digits.

    Args:
        data: The bytes.
        mark: The bytes before the digits; its first occurrence counts.
        digits: The number of digits.
    """
    start = data.index(mark) + len(mark)
    return data[:start] + b"0" * digits + data[start + digits :]


def main(path: str) -> None:
    """Print the content of a recipe.

    Args:
        path: The recipe file.
    """
    header, tensors = read_recipe(Path(path).read_bytes())
    encoder, threshold = header["encoder"], header["thresholds"]["image"]
    shots = len(header["shots"])
    print(f"{header['product']}: {header['method']}, {shots} photos, rejects from raw score {threshold:.4g}")
    print(f"encoder {encoder['backbone']}, {encoder['image_size']} pixels, patches {encoder['grid']}")
    for name, tensor in sorted(tensors.items()):
        print(f"{name:16} {tensor.dtype!s:8} {list(tensor.shape)}")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: read_recipe.py FILE")
    main(*sys.argv[1:])
