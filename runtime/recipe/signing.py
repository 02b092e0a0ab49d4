"""Signed recipes: an Ed25519 signature of all of a recipe's bytes, stored in the recipe itself.

A runtime that is given a `Trust` accepts only signed recipes. Keys are PEM files, as openssl writes them too.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ..core.errors import FileError, RecipeError, SettingsError, install_line
from ..core.files import read_bytes, require_folder_of, write_atomic

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

_CONTEXT = b"goodparts recipe\n"
"""The first bytes of the message that a key signs. So a signature made for something else does not fit a recipe."""
_PUBLIC = re.compile(rb"-----BEGIN PUBLIC KEY-----.*?-----END PUBLIC KEY-----", re.DOTALL)


class Trust:
    """The public keys whose signatures are accepted.

        detector = Detector("nut.safetensors", trust=Trust.read("line.key.pub"))

    Args:
        keys: The keys, at least one.
        name: The origin of the keys, for error messages.
    """

    def __init__(self, keys: Sequence[Ed25519PublicKey], name: str) -> None:
        self._keys, self.name = tuple(keys), name

    @classmethod
    def read(cls, path: str | Path) -> Trust:
        """Read one or more public keys from a PEM file.

        Args:
            path: The file.

        Returns:
            The keys.

        Raises:
            SettingsError: The file holds anything but Ed25519 public keys, or cryptography is not installed.
            FileError: The file cannot be read.
        """
        data = read_bytes(Path(path))
        exceptions, ed25519, serialization = _cryptography()
        if b"PRIVATE KEY" in data:
            raise SettingsError(
                f"{path} holds a private key, which stays where recipes are signed: give the public one"
            )
        try:
            keys = [serialization.load_pem_public_key(pem) for pem in _PUBLIC.findall(data)]
        except (ValueError, exceptions.UnsupportedAlgorithm):
            keys = []
        public_keys = [key for key in keys if isinstance(key, ed25519.Ed25519PublicKey)]
        if not public_keys or len(public_keys) != len(keys):
            raise SettingsError(f"{path} is not a PEM file of Ed25519 public keys: `goodparts keygen` makes one")
        return cls(public_keys, str(path))

    def check(self, blank: bytes, signature: str | None, name: str) -> None:
        """Check that one of the keys made a signature.

        Args:
            blank: The recipe's bytes, with zeros for signature and digest.
            signature: The signature in hexadecimal digits; None for an unsigned recipe.
            name: The recipe's name in error messages.

        Raises:
            RecipeError: There is no signature, or none of the keys made it.
        """
        from cryptography.exceptions import InvalidSignature

        if signature is None:
            raise RecipeError(
                f"{name} is not signed: only recipes signed with a key of {self.name} are accepted; "
                "sign it with `goodparts sign`"
            )
        message = _message(blank)
        for key in self._keys:
            try:
                key.verify(bytes.fromhex(signature), message)
                return
            except (InvalidSignature, ValueError):
                continue
        raise RecipeError(
            f"{name} is refused: no key of {self.name} made its signature, or it was changed after it was signed"
        )


class Signer:
    """A private key that signs recipes.

    Called with a recipe's bytes, with zeros for signature and digest, it returns the signature, 128 hexadecimal digits.

    Args:
        key: The Ed25519 private key.
    """

    def __init__(self, key: Ed25519PrivateKey) -> None:
        self._key = key

    @classmethod
    def read(cls, path: str | Path) -> Signer:
        """Read a private key from a PEM file without a passphrase.

        Args:
            path: The file.

        Returns:
            The key.

        Raises:
            SettingsError: The file does not hold such a key, or cryptography is not installed.
            FileError: The file cannot be read.
        """
        data = read_bytes(Path(path))
        exceptions, ed25519, serialization = _cryptography()
        try:
            key = serialization.load_pem_private_key(data, None)
        except (ValueError, TypeError, exceptions.UnsupportedAlgorithm):
            key = None
        if not isinstance(key, ed25519.Ed25519PrivateKey):
            raise SettingsError(
                f"{path} is not a PEM file of an Ed25519 private key without a passphrase: `goodparts keygen` makes one"
            )
        return cls(key)

    def __call__(self, blank: bytes) -> str:
        return self._key.sign(_message(blank)).hex()


def generate(path: Path) -> Path:
    """Write a new private key, which only its owner may read, and its public key beside it.

    Args:
        path: The private key's file; the public key's name ends in .pub after it.

    Returns:
        The public key's file.

    Raises:
        FileError: One of the files exists already, or cannot be written.
        SettingsError: cryptography is not installed.
    """
    _, ed25519, serialization = _cryptography()
    public = path.with_name(f"{path.name}.pub")
    require_folder_of(path)
    for file in (path, public):
        if file.exists():
            raise FileError(f"{file} exists already: a key is never overwritten; name another file")
    key = ed25519.Ed25519PrivateKey.generate()
    pem = serialization.Encoding.PEM
    private = key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as opened:
        opened.write(private)
    write_atomic(public, key.public_key().public_bytes(pem, serialization.PublicFormat.SubjectPublicKeyInfo))
    return public


def _cryptography() -> tuple[ModuleType, ModuleType, ModuleType]:
    """Return cryptography's modules of exceptions, Ed25519 and PEM files; raise SettingsError without cryptography."""
    try:
        from cryptography import exceptions
        from cryptography.hazmat.primitives import serialization
        from cryptography.hazmat.primitives.asymmetric import ed25519
    except ImportError as error:
        raise SettingsError(f"signatures need cryptography: {install_line('sign')}") from error
    return exceptions, ed25519, serialization


def _message(blank: bytes) -> bytes:
    return _CONTEXT + hashlib.sha256(blank).digest()
