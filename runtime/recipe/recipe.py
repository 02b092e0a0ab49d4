"""The recipe: everything learned for one product, in one safetensors file.

The file has one metadata key, `goodparts`, with the header as canonical JSON. The digest in the header is the SHA-256
of the whole file with zeros instead of the digest (files.seal). docs/formats.md describes the file.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import numpy.typing as npt
import safetensors
import safetensors.numpy

from ..core.conditions import Conditions
from ..core.errors import FileError, RecipeError, SettingsError
from ..core.files import NO_DIGEST, is_sealed, printable, put, read_bytes, seal, write_atomic
from ..core.image_files import is_image_name
from ..core.preprocess import Array8
from ..core.scoring import Floats, Learned
from .calibrate import Calibration, check_false_reject_rate
from .header import FORMAT_VERSION, PROMPTED_VERSION, RecipeHeader, Thresholds
from .memory import Halves, ShotOfRow
from .signing import Signer, Trust

METADATA_KEY = "goodparts"
MAX_HEADER = 16 << 20
"""The most bytes that a header may have; a mask's PNG is most of it."""
_CONDITION = "condition."
_DIGEST_MARK = rb"""\"digest\":\""""  # its quotes are escaped: the header is JSON within JSON
_SIGNATURE_MARK = rb"""\"signature\":\""""
_NO_SIGNATURE = "0" * 128
_PICTURES = (b"\x89PNG", b"\xff\xd8\xff", b"BM", b"RIFF", b"II*\0", b"MM\0*")
"""The first bytes of picture files."""


@dataclass(frozen=True, eq=False)
class Recipe:
    """Everything learned for one product. `teach` makes one.

        recipe = Recipe.open("nut.safetensors")
        recipe.with_thresholds(recipe.header.thresholds.scaled_by(1.2)).save("nut.safetensors")

    Attributes:
        header: Everything but the arrays: product, encoder, shots, calibration, thresholds.
        image_prompts: The prototypes that the image feature is compared with, [2,D], float32: normal, anomalous.
        pixel_prompts: The prototypes that patches are compared with, [2,D], float32.
        banks: The memory's rows of each tap, [R_m,W_m], float16, in the order of shots, poses and tiles.
        shot_of_row: The index of the shot that each row came from, [R_m], int32, for each bank.
        margins: The prompt margin of the patch that each row came from, [R_m], float32, for each bank.
        shots: The shots as the encoder reads them, [k·tiles,S,S,3], uint8, RGB; None if they were left out.
        conditions: The further inputs of the engine's prompted graph; None for the plain graph.
    """

    header: RecipeHeader
    image_prompts: Floats
    pixel_prompts: Floats
    banks: tuple[Halves, ...]
    shot_of_row: tuple[ShotOfRow, ...]
    margins: tuple[Floats, ...]
    shots: Array8 | None
    conditions: Conditions | None = None

    @functools.cached_property
    def digest(self) -> str:
        """The digest of the recipe's file, 64 hexadecimal digits. A recipe that is not written yet has one too."""
        if self.header.digest != NO_DIGEST:
            return self.header.digest
        unsigned = dataclasses.replace(self, header=msgspec.structs.replace(self.header, signature=msgspec.UNSET))
        return _read_header(unsigned.to_bytes(), "recipe").digest

    def learned(self) -> Learned:
        """Return the part of the recipe that scoring needs, with the banks in float32."""
        return Learned(
            image_prompts=self.image_prompts,
            pixel_prompts=self.pixel_prompts,
            banks=tuple(bank.astype(np.float32) for bank in self.banks),
            shot_of_row=self.shot_of_row,
            temperature=self.header.temperature,
            image_maximum=self.header.image_maximum,
            fusion=self.header.fusion,
            margins=self.margins,
            residual_weight=self.header.residual_weight,
        )

    def recalibrate(self, calibration: Calibration, false_reject_rate: float) -> Recipe:
        """Return the same product with the thresholds of another calibration.

        Args:
            calibration: The calibration that the thresholds follow from.
            false_reject_rate: The share of good parts that may be rejected, above 0 and below 0.5.

        Raises:
            SettingsError: The share is out of range.
        """
        check_false_reject_rate(false_reject_rate)
        thresholds = msgspec.structs.replace(
            self.header.thresholds,
            image=calibration.image.threshold(false_reject_rate),
            pixel=calibration.pixel.threshold(false_reject_rate),
        )
        header = msgspec.structs.replace(
            self.header,
            calibration=calibration,
            thresholds=thresholds,
            false_reject_rate=false_reject_rate,
            digest=NO_DIGEST,
        )
        return dataclasses.replace(self, header=header)

    def with_thresholds(self, thresholds: Thresholds) -> Recipe:
        """Return the same product with thresholds set by hand.

        Args:
            thresholds: The new image, pixel and review thresholds.
        """
        header = msgspec.structs.replace(self.header, thresholds=thresholds, digest=NO_DIGEST)
        return dataclasses.replace(self, header=header)

    def check_key(self, sign: Signer | None) -> None:
        """Check that a key is given if the recipe came from a signed file.

        Args:
            sign: The key; None for none.

        Raises:
            SettingsError: The recipe came from a signed file, and no key is given to sign it again.
        """
        if self.header.signature and sign is None:
            raise SettingsError(
                "the recipe is signed and would lose its signature: give the key to sign it again (--key FILE)"
            )

    def to_bytes(self, sign: Signer | None = None) -> bytes:
        """Return the bytes of the recipe's file. The same recipe gives the same bytes.

        Args:
            sign: The key that signs the recipe; None leaves it unsigned.

        Raises:
            SettingsError: The recipe came from a signed file, and no key is given to sign it again.
        """
        self.check_key(sign)
        tensors: dict[str, npt.NDArray[Any]] = {
            "image_prompts": self.image_prompts,
            "pixel_prompts": self.pixel_prompts,
            **{f"memory_{index}": bank for index, bank in enumerate(self.banks)},
            **{f"photos_{index}": shots for index, shots in enumerate(self.shot_of_row)},
            **{f"margins_{index}": margins for index, margins in enumerate(self.margins)},
        }
        if self.shots is not None:
            tensors["shots"] = self.shots
        if self.conditions is not None:
            tensors |= {_CONDITION + name: tensor for name, tensor in self.conditions.tensors.items()}
        signature = _NO_SIGNATURE if sign else msgspec.UNSET
        header = msgspec.structs.replace(self.header, signature=signature, digest=NO_DIGEST)
        text = msgspec.json.encode(header, order="sorted").decode()
        contiguous = {key: np.ascontiguousarray(value) for key, value in tensors.items()}
        blank = safetensors.numpy.save(contiguous, metadata={METADATA_KEY: text})
        return seal(put(blank, _SIGNATURE_MARK, sign(blank)) if sign else blank, _DIGEST_MARK)

    def save(self, path: str | Path, sign: Signer | None = None) -> None:
        """Write the recipe's file, whole or not at all.

        Args:
            path: The file, as in nut.safetensors. An older file is replaced.
            sign: The key that signs the recipe; None leaves it unsigned.

        Raises:
            SettingsError: The recipe came from a signed file, and no key is given to sign it again.
            FileError: The file cannot be written.
        """
        write_atomic(Path(path), self.to_bytes(sign))

    @classmethod
    def open(cls, path: str | Path, trust: Trust | None = None) -> Recipe:
        """Read a recipe file and check its digest, structure and shapes.

        Args:
            path: The file.
            trust: The accepted public keys; one of them must have signed the file. None does not check the signature.

        Returns:
            The recipe.

        Raises:
            RecipeError: The file is not a recipe, is damaged, has another format version, or is not signed by a trusted
                key. The message gives the reason.
            FileError: The file cannot be read.
        """
        path = Path(path)
        if not path.exists():
            near = difflib.get_close_matches(path.name, [file.name for file in path.parent.glob("*.safetensors")], 1)
            hint = f"did you mean {printable(Path(near[0]))}?" if near else "goodparts teach makes a recipe"
            raise FileError(f"cannot read {printable(path)}: No such file or directory; {hint}")
        if not path.is_file():
            raise RecipeError(f"{path} is not a regular file: give a recipe file")
        return cls.from_bytes(read_bytes(path), str(path), trust)

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "recipe", trust: Trust | None = None) -> Recipe:
        """Read a recipe from bytes in memory, with the checks of `open`.

        Args:
            data: The bytes of a recipe file.
            name: The recipe's name in error messages.
            trust: As in `open`.

        Returns:
            The recipe.

        Raises:
            RecipeError: As in `open`.
        """
        header = _read_header(data, name)
        if not is_sealed(data, _DIGEST_MARK, header.digest):
            raise RecipeError(f"{name} is damaged: its digest does not match its bytes; copy or train it again")
        if trust is not None:
            _check_signature(data, header, name, trust)
        try:
            tensors = safetensors.numpy.load(data)
        except safetensors.SafetensorError as error:
            raise RecipeError(f"{name} is damaged ({error}): copy or train it again") from error
        try:
            banks, shot_of_row, margins = (
                tuple(tensors[f"{kind}_{index}"] for index in range(len(header.encoder.taps)))
                for kind in ("memory", "photos", "margins")
            )
            prompts = tensors["image_prompts"], tensors["pixel_prompts"]
            shots, conditions = tensors.get("shots"), _conditions(header, tensors)
            recipe = cls(header, *prompts, banks, shot_of_row, margins, shots, conditions)
        except KeyError as error:
            raise RecipeError(f"{name} lacks the tensor {error}: train it again") from error
        recipe._check_shapes(name)
        return recipe

    def _check_shapes(self, name: str) -> None:
        encoder, count = self.header.encoder, len(self.header.shots) * self.header.view.count
        rows = len(self.header.shots) * self.header.rows_per_photo
        size = encoder.image_size
        expected: list[tuple[str, npt.NDArray[Any] | None, type, tuple[int, ...]]] = [
            ("image_prompts", self.image_prompts, np.float32, (2, encoder.width)),
            ("pixel_prompts", self.pixel_prompts, np.float32, (2, encoder.width)),
            ("shots", self.shots, np.uint8, (count, size, size, 3)),
        ]
        if self.conditions is not None:
            expected += [
                (_CONDITION + name, tensor, np.float32, tensor.shape)  # the engine checks the shapes
                for name, tensor in self.conditions.tensors.items()
            ]
        for index, (bank, shots, tap) in enumerate(zip(self.banks, self.shot_of_row, encoder.taps, strict=True)):
            kept = min(max(len(shots), 1), rows) if shots.ndim else 1
            expected.append((f"memory_{index}", bank, np.float16, (kept, tap.width)))
            expected.append((f"photos_{index}", shots, np.int32, (kept,)))
            expected.append((f"margins_{index}", self.margins[index], np.float32, (kept,)))
            if shots.size and not 0 <= shots.min() <= shots.max() < len(self.header.shots):
                raise RecipeError(f"{name}: tensor photos_{index} names photos that the recipe lacks: train it again")
        for tensor, array, dtype, shape in expected:
            if array is None:
                continue
            if array.dtype != dtype or array.shape != shape:
                raise RecipeError(
                    f"{name}: tensor {tensor} is {array.dtype} {list(array.shape)}, "
                    f"should be {np.dtype(dtype)} {list(shape)}: train it again"
                )
            if not _all_finite(array):
                raise RecipeError(f"{name}: tensor {tensor} holds values that are not finite: train it again")


def _conditions(header: RecipeHeader, tensors: Mapping[str, npt.NDArray[Any]]) -> Conditions | None:
    if header.version == FORMAT_VERSION:
        return None
    conditions = {
        name.removeprefix(_CONDITION): array for name, array in tensors.items() if name.startswith(_CONDITION)
    }
    if not conditions:
        raise KeyError(f"{_CONDITION}…")
    return Conditions(conditions)


def _all_finite(array: npt.NDArray[Any]) -> bool:
    if array.dtype == np.float16:  # isfinite converts, which is slower than a test for an exponent of ones
        return not ((array.view(np.uint16) & 0x7C00) == 0x7C00).any()
    return bool(np.isfinite(array).all())


def _check_signature(data: bytes, header: RecipeHeader, name: str, trust: Trust) -> None:
    """Raise RecipeError unless one of the keys signed these bytes without the header's signature and digest."""
    blank = bytearray(data)
    for mark, value in ((_SIGNATURE_MARK, header.signature or ""), (_DIGEST_MARK, header.digest)):
        start = data.find(mark) + len(mark)
        if data[start : start + len(value)] == value.encode():  # otherwise it stays, and no signature matches
            blank[start : start + len(value)] = b"0" * len(value)
    trust.check(bytes(blank), header.signature or None, name)


def _read_header(data: bytes, name: str) -> RecipeHeader:
    if data[8:9] not in (b"{", b""):
        is_picture = is_image_name(Path(name).name) or data.startswith(_PICTURES)
        what = "it is a picture" if is_picture else "it does not begin as a safetensors file does"
        raise RecipeError(f"{name} is no recipe: {what}; goodparts teach makes a recipe")
    length = int.from_bytes(data[:8], "little")
    if length > MAX_HEADER:
        raise RecipeError(f"{name} is not a recipe: its header would have {length} bytes, up to {MAX_HEADER} are read")
    if len(data) < 8 or length > len(data) - 8:
        raise RecipeError(f"{name} is not a whole recipe: {len(data)} bytes; copy or train it again")
    try:
        metadata = json.loads(data[8 : 8 + length]).get("__metadata__", {})
        text = metadata[METADATA_KEY]
        version = json.loads(text)["version"]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        raise RecipeError(f"{name} is not a goodparts recipe, or is damaged: train it with train-and-export") from None
    if version not in (FORMAT_VERSION, PROMPTED_VERSION):
        raise RecipeError(
            f"{name} has format version {version!r}, this version reads {FORMAT_VERSION} and {PROMPTED_VERSION}: "
            "train it again"
        )
    try:
        return msgspec.json.decode(text, type=RecipeHeader)
    except (msgspec.MsgspecError, SettingsError, RecursionError) as error:
        raise RecipeError(f"{name} is damaged ({error}): copy or train it again") from error
