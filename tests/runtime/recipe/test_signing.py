"""Signed recipes, and runtimes that accept no others."""

from __future__ import annotations

import dataclasses
import os
import shutil
import stat
import sys
from pathlib import Path

import msgspec
import pytest
from goodparts.runtime import Detector, Recipe, Signer, Trust
from goodparts.runtime.core.errors import FileError, RecipeError, SettingsError
from goodparts.runtime.core.files import NO_DIGEST, put, seal
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.recipe.recipe import _DIGEST_MARK
from goodparts.runtime.recipe.signing import generate
from hypothesis import given, settings
from hypothesis import strategies as st

from goodparts.cli import main


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "line"
    generate(path)
    return path


@pytest.fixture(scope="module")
def trust(key: Path) -> Trust:
    return Trust.read(str(key.with_name("line.pub")))


@pytest.fixture(scope="module")
def signed(recipe: Recipe, key: Path) -> bytes:
    return recipe.to_bytes(Signer.read(str(key)))


def test_a_signed_recipe_opens_with_its_key_and_without(recipe: Recipe, signed: bytes, trust: Trust) -> None:
    opened = Recipe.from_bytes(signed, trust=trust)
    assert opened.header.signature
    bare = dataclasses.replace(opened, header=msgspec.structs.replace(opened.header, signature=msgspec.UNSET))
    assert bare.to_bytes() == recipe.to_bytes()
    assert Recipe.from_bytes(signed).digest == opened.digest != recipe.digest


def test_an_unsigned_recipe_and_one_signed_by_another_key_are_refused(
    recipe: Recipe, trust: Trust, signed: bytes, tmp_path: Path
) -> None:
    with pytest.raises(RecipeError, match=r"nut is not signed: only recipes .*line\.pub are accepted; sign it with"):
        Recipe.from_bytes(recipe.to_bytes(), "nut", trust)
    public = generate(tmp_path / "other")
    other = recipe.to_bytes(Signer.read(tmp_path / "other"))
    with pytest.raises(RecipeError, match=r"nut is refused: no key of .*line\.pub made its signature"):
        Recipe.from_bytes(other, "nut", trust)
    both = tmp_path / "both.pub"
    both.write_bytes(public.read_bytes() + Path(trust.name).read_bytes())
    for data in (other, signed):
        assert Recipe.from_bytes(data, trust=Trust.read(both)).header.signature


def test_a_changed_signed_recipe_is_refused_even_with_a_matching_digest(signed: bytes, trust: Trust) -> None:
    """An attacker can compute a matching digest, but no signature."""

    @settings(max_examples=60)
    @given(st.integers(0, len(signed) - 1), st.integers(0, 7))
    def change(position: int, bit: int) -> None:
        changed = bytearray(signed)
        changed[position] ^= 1 << bit
        forged = bytes(changed)
        if _DIGEST_MARK in forged:
            forged = seal(put(forged, _DIGEST_MARK, NO_DIGEST), _DIGEST_MARK)
        if forged == signed:  # the bit was one of the digest's
            return
        with pytest.raises(RecipeError) as caught:
            Recipe.from_bytes(forged, "nut", trust)
        assert "\n" not in str(caught.value)

    change()


def test_a_signature_of_another_recipe_is_refused(recipe: Recipe, signed: bytes, trust: Trust) -> None:
    signature = Recipe.from_bytes(signed).header.signature
    changed = recipe.with_thresholds(recipe.header.thresholds.__class__(image=9.0, pixel=9.0))
    assert Recipe.from_bytes(changed.to_bytes(lambda _: str(signature)))  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="no key of"):
        Recipe.from_bytes(changed.to_bytes(lambda _: str(signature)), trust=trust)  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match="no key of"):
        Recipe.from_bytes(changed.to_bytes(lambda _: "z" * 128), trust=trust)  # type: ignore[arg-type]


def test_a_detector_with_trust_refuses_an_unsigned_recipe_and_keeps_the_old_one(
    engine_folder: Path, recipe_file: Path, signed: bytes, trust: Trust, tmp_path: Path
) -> None:
    path = tmp_path / "signed.safetensors"
    path.write_bytes(signed)
    detector = Detector(Engine.open(engine_folder), path, trust=trust)
    before = detector.recipe
    with pytest.raises(RecipeError, match="is not signed"):
        detector.use(recipe_file)
    assert detector.recipe is before


def test_a_signed_recipe_is_not_written_unsigned(signed: bytes, key: Path, trust: Trust, tmp_path: Path) -> None:
    path = tmp_path / "nut.safetensors"
    path.write_bytes(signed)
    opened = Recipe.open(path)
    changed = opened.recalibrate(opened.header.calibration, 0.2)
    with pytest.raises(SettingsError, match=r"is signed and would lose its signature: give the key .* \(--key FILE\)"):
        changed.save(path)
    assert path.read_bytes() == signed
    assert changed.digest != opened.digest  # an open recipe can be changed, and has its own digest
    changed.save(path, Signer.read(key))
    assert Recipe.open(path, trust).header.false_reject_rate == 0.2


def test_commands_make_keys_sign_and_refuse(
    engine_folder: Path, recipe_file: Path, photos: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path, key = Path(shutil.copy(recipe_file, tmp_path)), tmp_path / "key"
    assert main(["keygen", str(key)]) == 0
    if os.name == "posix":
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert main(["keygen", str(key)]) == 2
    assert "key exists already: a key is never overwritten" in capsys.readouterr().err
    options = ["--engine", str(engine_folder), "--recipe", str(path)]
    inspect = ["inspect", *options, str(photos / "good" / "1.png"), "--accept-signed", f"{key}.pub"]
    assert main(inspect) == 2
    assert "is not signed: only recipes signed with a key of" in capsys.readouterr().err
    assert main(["sign", "--key", str(key), str(path)]) == 0
    assert main(inspect) == 0
    accept = ["accept", *options, str(photos / "bad" / "4.png"), "--take"]
    assert main(accept) == 2
    refused = capsys.readouterr()
    assert "is signed and would lose its signature: give the key" in refused.err
    assert "threshold" not in refused.out  # The command ends before it scores the photos.
    assert main([*accept, "--key", str(key)]) == 0
    assert main(["show", str(path)]) == 0
    assert ", signed" in capsys.readouterr().out
    assert Recipe.open(path, Trust.read(key.with_name("key.pub"))).header.accepted


def test_a_file_that_is_not_a_key_is_reported_in_one_line(
    key: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")
    for read, path, message in (
        (Trust.read, key, "holds a private key, which stays where recipes are signed"),
        (Trust.read, broken, "is not a PEM file of Ed25519 public keys"),
        (Trust.read, Path(__file__), "is not a PEM file of Ed25519 public keys"),
        (Signer.read, key.with_name("line.pub"), "is not a PEM file of an Ed25519 private key"),
    ):
        with pytest.raises(SettingsError, match=message):
            read(path)
    with pytest.raises(FileError, match="does not exist"):
        generate(tmp_path / "nowhere" / "key")
    monkeypatch.setitem(sys.modules, "cryptography", None)
    with pytest.raises(SettingsError, match=r'pip install "\.\[sign\]"'):
        Trust.read(key.with_name("line.pub"))
