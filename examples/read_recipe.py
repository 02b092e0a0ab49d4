"""Read a recipe without goodparts, as docs/formats.md describes the file: read_recipe.py FILE prints what it holds."""

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
DIGEST, SIGNATURE = rb"\"digest\":\"", rb"\"signature\":\""


def read_recipe(data: bytes) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """Return the header and the tensors of a recipe file's bytes; raise ValueError where they are damaged."""
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
    """Return the message that a signed recipe's Ed25519 signature is of."""
    blank = with_zeros(with_zeros(data, SIGNATURE, 128), DIGEST, 64)
    return b"goodparts recipe\n" + hashlib.sha256(blank).digest()


def with_zeros(data: bytes, mark: bytes, digits: int) -> bytes:
    """Return the bytes with so many zeros in the place of the digits behind the first mark."""
    start = data.index(mark) + len(mark)
    return data[:start] + b"0" * digits + data[start + digits :]


def main(path: str) -> None:
    """Print what a recipe holds."""
    header, tensors = read_recipe(Path(path).read_bytes())
    encoder, limit = header["encoder"], header["thresholds"]["image"]
    print(f"{header['product']}: {header['method']}, {len(header['shots'])} photos, rejects from raw score {limit:.4g}")
    print(f"encoder {encoder['backbone']}, {encoder['image_size']} pixels, patches {encoder['grid']}")
    for name, tensor in sorted(tensors.items()):
        print(f"{name:16} {tensor.dtype!s:8} {list(tensor.shape)}")


if __name__ == "__main__":
    main(*sys.argv[1:2])
