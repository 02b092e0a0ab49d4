"""The recipe: everything learned for one product, in one safetensors file.

The file has exactly one metadata key, `goodparts`: the header as canonical JSON. Its digest is the SHA-256
of the whole file with the digest itself written as zeros (files.seal).
"""

from __future__ import annotations

import dataclasses
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
from ..core.errors import RecipeError, SettingsError
from ..core.files import NO_DIGEST, is_sealed, put, read_bytes, seal, write_atomic
from ..core.preprocess import Array8
from ..core.scoring import Floats, Learned
from .calibrate import Calibration
from .header import FORMAT_VERSION, PROMPTED_VERSION, RecipeHeader, Thresholds
from .memory import Halves, ShotOfRow
from .signing import Signer, Trust

METADATA_KEY = "goodparts"
MAX_HEADER = 16 << 20
"""Bytes of all that is not arrays; a mask's PNG is most of it."""
_CONDITION = "condition."
_DIGEST_MARK = rb"""\"digest\":\""""  # JSON within JSON
_SIGNATURE_MARK = rb"""\"signature\":\""""
_NO_SIGNATURE = "0" * 128


@dataclass(frozen=True, eq=False)
class Recipe:
    """A product. prompts float32 [2,D] (normal, anomalous); banks float16 [R_m,W_m], one per memory, rows in
    the order of the shots, their poses and their tiles; shot_of_row int32 [R_m], the shot that each row came from;
    margins float32 [R_m], of its patch (scoring.Learned); shots uint8 [k·tiles,S,S,3] as the encoder read them, or None
    where they were left out; conditions: what the engine's prompted graph reads besides views, or None for a product of
    the plain graph.
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
        """The digest of the file, also of one that has not been written yet."""
        if self.header.digest != NO_DIGEST:
            return self.header.digest
        unsigned = dataclasses.replace(self, header=msgspec.structs.replace(self.header, signature=msgspec.UNSET))
        return _read_header(unsigned.to_bytes(), "recipe").digest

    def learned(self) -> Learned:
        """Return what scoring needs, with the banks in float32."""
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
        """Return the same product with thresholds from another calibration."""
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
        """Return the same product with thresholds set by hand."""
        header = msgspec.structs.replace(self.header, thresholds=thresholds, digest=NO_DIGEST)
        return dataclasses.replace(self, header=header)

    def to_bytes(self, sign: Signer | None = None) -> bytes:
        """Return the file's bytes, unsigned or signed: the same recipe gives the same bytes.

        SettingsError for one that came from a signed file and would lose its signature.
        """
        if self.header.signature and sign is None:
            raise SettingsError(
                "the recipe is signed: it is written with the key alone, to be signed again (--key FILE)"
            )
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
        """Write the file, whole or not at all."""
        write_atomic(Path(path), self.to_bytes(sign))

    @classmethod
    def open(cls, path: str | Path, trust: Trust | None = None) -> Recipe:
        """Read and check a recipe file: size, digest, structure, shapes; its signature, where keys to trust are given.

        RecipeError names what is wrong.
        """
        path = Path(path)
        if path.exists() and not path.is_file():
            raise RecipeError(f"{path} is no ordinary file: a recipe is one")
        return cls.from_bytes(read_bytes(path), str(path), trust)

    @classmethod
    def from_bytes(cls, data: bytes, name: str = "recipe", trust: Trust | None = None) -> Recipe:
        """Read a recipe from bytes in memory, as `open` does from a file; errors call them `name`."""
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
                (_CONDITION + name, tensor, np.float32, tensor.shape)  # what shapes fit is the engine's to say
                for name, tensor in self.conditions.tensors.items()
            ]
        for index, (bank, shots, tap) in enumerate(zip(self.banks, self.shot_of_row, encoder.taps, strict=True)):
            kept = min(max(len(shots), 1), rows) if shots.ndim else 1
            expected.append((f"memory_{index}", bank, np.float16, (kept, tap.width)))
            expected.append((f"photos_{index}", shots, np.int32, (kept,)))
            expected.append((f"margins_{index}", self.margins[index], np.float32, (kept,)))
            if shots.size and not 0 <= shots.min() <= shots.max() < len(self.header.shots):
                raise RecipeError(f"{name}: tensor photos_{index} names photos that there are not: train it again")
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
    if array.dtype == np.float16:  # numpy's own test converts; an exponent of ones is quicker to see
        return not ((array.view(np.uint16) & 0x7C00) == 0x7C00).any()
    return bool(np.isfinite(array).all())


def _check_signature(data: bytes, header: RecipeHeader, name: str, trust: Trust) -> None:
    """Raise RecipeError unless one of the keys signed these bytes, all but the header's signature and digest."""
    blank = bytearray(data)
    for mark, value in ((_SIGNATURE_MARK, header.signature or ""), (_DIGEST_MARK, header.digest)):
        start = data.find(mark) + len(mark)
        if data[start : start + len(value)] == value.encode():  # else it stands, and no signature fits
            blank[start : start + len(value)] = b"0" * len(value)
    trust.check(bytes(blank), header.signature or None, name)


def _read_header(data: bytes, name: str) -> RecipeHeader:
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
