"""`goodparts keygen`: makes a key pair for signed recipes."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..recipe.signing import generate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "key", type=Path, metavar="FILE", help="file for the private key; the public key is written to FILE.pub"
    )


def run(args: argparse.Namespace) -> int:
    public = generate(args.key)
    print(f"{args.key}: private key, for `goodparts sign --key`; it has no passphrase, so keep it away from the line")
    print(f"{public}: public key, for `--accept-signed` on the line")
    return 0
