"""`goodparts keygen`: makes a key pair for signed recipes."""

from __future__ import annotations

import argparse
from pathlib import Path

from ..recipe.signing import generate


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "key", type=Path, metavar="FILE", help="file of the private key; FILE.pub becomes the public key"
    )


def run(args: argparse.Namespace) -> int:
    public = generate(args.key)
    print(f"{args.key}: private key, for `goodparts sign --key`; it has no passphrase, so keep it off the line")
    print(f"{public}: public key, for `--accept-signed` on the line")
    return 0
