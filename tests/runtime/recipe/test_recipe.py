from __future__ import annotations

import copy
import dataclasses
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import safetensors.numpy
from goodparts.runtime.core.errors import FileError, RecipeError, SettingsError
from goodparts.runtime.core.files import seal
from goodparts.runtime.core.view import Box
from goodparts.runtime.recipe.recipe import _DIGEST_MARK, Recipe
from hypothesis import example, given
from hypothesis import strategies as st


def test_round_trip_keeps_everything(recipe: Recipe, recipe_file: Path) -> None:
    again = Recipe.open(recipe_file)
    assert msgspec.structs.replace(again.header, digest=recipe.header.digest) == recipe.header
    for one, other in zip(again.banks, recipe.banks, strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(again.image_prompts, recipe.image_prompts)
    np.testing.assert_array_equal(again.pixel_prompts, recipe.pixel_prompts)
    assert again.shots is not None
    np.testing.assert_array_equal(again.shots, recipe.shots)
    assert again.to_bytes() == recipe_file.read_bytes()


def test_the_file_has_one_metadata_key_and_no_date(recipe: Recipe) -> None:
    data = recipe.to_bytes()
    header = json.loads(data[8 : 8 + int.from_bytes(data[:8], "little")])
    assert list(header["__metadata__"]) == ["goodparts"]
    assert not {"time", "date", "created"} & set(json.loads(header["__metadata__"]["goodparts"]))


def test_any_flipped_bit_is_found(recipe: Recipe) -> None:
    data = recipe.to_bytes()
    tiles = data.index(rb"\"tiles\":[1") + len(rb"\"tiles\":[")

    @given(st.integers(0, len(data) - 1), st.integers(0, 7))
    @example(tiles, 0)  # [1,1] becomes [0,1], which no view has
    def flip(position: int, bit: int) -> None:
        broken = bytearray(data)
        broken[position] ^= 1 << bit
        with pytest.raises(RecipeError, match=r"ring\.safetensors (is|has)") as caught:
            Recipe.from_bytes(bytes(broken), "ring.safetensors")
        assert "\n" not in str(caught.value)

    flip()


def test_any_cut_is_found(recipe: Recipe) -> None:
    data = recipe.to_bytes()

    @given(st.integers(0, len(data) - 1))
    def cut(length: int) -> None:
        with pytest.raises(RecipeError):
            Recipe.from_bytes(data[:length], "ring.safetensors")

    cut()


@given(st.binary(max_size=200))
def test_no_bytes_raise_anything_but_a_recipe_error(data: bytes) -> None:
    with pytest.raises(RecipeError):
        Recipe.from_bytes(data)


def test_a_newer_format_is_named(recipe: Recipe) -> None:
    newer = dataclasses.replace(recipe, header=msgspec.structs.replace(recipe.header, version=99))
    with pytest.raises(RecipeError, match="format version 99, this version reads 3 and 4: train it again"):
        Recipe.from_bytes(newer.to_bytes())


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"image_prompts": np.zeros((3, 128), np.float32)}, r"image_prompts is float32 \[3, 128\], should be"),
        ({"image_prompts": np.full((2, 128), np.nan, np.float32)}, "image_prompts holds values that are not finite"),
        ({"shots": np.zeros((1, 8, 8, 3), np.uint8)}, "shots is uint8"),
        ({"banks": (np.zeros((5, 128), np.float16),) * 2}, r"memory_0 is float16 \[5, 128\], should be"),
    ],
)
def test_arrays_that_do_not_fit_the_header_are_refused(
    recipe: Recipe, change: dict[str, np.ndarray], message: str
) -> None:
    data = dataclasses.replace(recipe, **change).to_bytes()  # type: ignore[arg-type]
    with pytest.raises(RecipeError, match=message):
        Recipe.from_bytes(data)


def test_a_missing_tensor_is_named(recipe: Recipe) -> None:
    data = dataclasses.replace(recipe, banks=recipe.banks[:1]).to_bytes()
    with pytest.raises(RecipeError, match="lacks the tensor 'memory_1'"):
        Recipe.from_bytes(data)


def test_a_missing_file_is_named_with_the_command_that_makes_one(tmp_path: Path) -> None:
    with pytest.raises(
        FileError, match=r"cannot read .*none\.safetensors: No such file or directory; goodparts teach makes"
    ):
        Recipe.open(tmp_path / "none.safetensors")
    (tmp_path / "nut.safetensors").touch()
    with pytest.raises(FileError, match=r"No such file or directory; did you mean nut\.safetensors\?"):
        Recipe.open(tmp_path / "nut.safetensor")


def test_a_changed_recipe_has_another_digest(recipe_file: Path) -> None:
    opened = Recipe.open(recipe_file)
    changed = opened.with_thresholds(msgspec.structs.replace(opened.header.thresholds, image=0.5))
    assert changed.digest != opened.digest
    assert Recipe.from_bytes(changed.to_bytes()).digest == changed.digest
    assert opened.recalibrate(opened.header.calibration, 0.2).digest != opened.digest
    for rate in (0.0, 0.5, 2.0):
        with pytest.raises(SettingsError, match=f"{rate}: between 0 and 0.5"):
            opened.recalibrate(opened.header.calibration, rate)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"false_reject_rate": 1.0}, "between 0 and 0.5"),
        ({"residual_weight": -0.1}, "from 0 to 20"),
        ({"residual_weight": 21.0}, "from 0 to 20"),
        ({"shots": []}, "one that was not accepted later"),
        ({"accepted": {"accepts": [3], "max_rows": 9, "learned": "CALIBRATION"}}, "one that was not accepted later"),
        ({"accepted": {"accepts": [], "max_rows": 9, "learned": "CALIBRATION"}}, "each is of one photo or more"),
        ({"calibration": "CALIBRATION", "spread": 0.0}, "the spread above 0"),
        ({"calibration": "CALIBRATION", "location": 1e300}, "numbers up to 100"),
        ({"calibration": "CALIBRATION", "scores": []}, "at least one score"),
        ({"settings": {"deep": "DEEP"}}, "is not a goodparts recipe, or is damaged|recursion"),
    ],
)
def test_hostile_numbers_are_refused_before_they_decide_anything(
    recipe: Recipe, change: dict[str, Any], message: str
) -> None:
    """Anyone can write such a file with a matching digest."""
    header = json.loads(msgspec.json.encode(recipe.header))
    calibration = header["calibration"]
    level = {name: change.pop(name) for name in ("spread", "location", "scores") if name in change}
    calibration["image"] = calibration["image"] | level
    header |= change
    text = json.dumps(header, sort_keys=True, separators=(",", ":")).replace('"DEEP"', "[" * 50_000 + "]" * 50_000)
    text = text.replace('"CALIBRATION"', json.dumps(calibration))
    tensors = {name: getattr(recipe, name) for name in ("image_prompts", "pixel_prompts")}
    data = safetensors.numpy.save(tensors, metadata={"goodparts": text})
    with pytest.raises(RecipeError, match=message) as caught:
        Recipe.from_bytes(seal(data, _DIGEST_MARK))
    assert "\n" not in str(caught.value)


def test_an_unknown_field_is_refused_at_any_depth(recipe: Recipe) -> None:
    view = msgspec.structs.replace(recipe.header.view, roi=Box(8, 8, 32, 32))
    data = dataclasses.replace(recipe, header=msgspec.structs.replace(recipe.header, view=view)).to_bytes()
    tensors = safetensors.numpy.load(data)
    length = int.from_bytes(data[:8], "little")
    whole = json.loads(json.loads(data[8 : 8 + length])["__metadata__"]["goodparts"])

    def objects(value: Any) -> Iterator[dict[str, Any]]:
        if isinstance(value, dict):
            yield value
            yield from (found for key in value.keys() - {"settings", "versions"} for found in objects(value[key]))
        elif isinstance(value, list):
            yield from (found for item in value for found in objects(item))

    def write(header: Any) -> bytes:
        text = json.dumps(header | {"digest": "0" * 64}, separators=(",", ":"))
        return seal(safetensors.numpy.save(tensors, metadata={"goodparts": text}), _DIGEST_MARK)

    Recipe.from_bytes(write(whole))
    assert len(list(objects(whole))) > 8
    for place in range(len(list(objects(whole)))):
        header = copy.deepcopy(whole)
        list(objects(header))[place]["surprise"] = 1
        with pytest.raises(RecipeError, match="unknown field `surprise`"):
            Recipe.from_bytes(write(header))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x", b"\x89PNG\r\n\x1a\n" + bytes(99), "x is no recipe: it is a picture; goodparts teach makes a recipe"),
        ("x.jpg", b"something else", "x.jpg is no recipe: it is a picture"),
        ("x", b"something else", "x is no recipe: it does not begin as a safetensors file does; goodparts teach"),
    ],
)
def test_a_file_of_another_kind_is_named_as_what_it_is(name: str, data: bytes, message: str) -> None:
    with pytest.raises(RecipeError, match=message):
        Recipe.from_bytes(data, name)


def test_a_huge_header_and_a_pipe_are_refused(tmp_path: Path) -> None:
    data = (1 << 40).to_bytes(8, "little") + b"{}"
    with pytest.raises(RecipeError, match="its header would have 1099511627776 bytes, up to 16777216 are read"):
        Recipe.from_bytes(data)
    if hasattr(os, "mkfifo"):
        os.mkfifo(tmp_path / "pipe")
        with pytest.raises(RecipeError, match="pipe is not a regular file"):
            Recipe.open(tmp_path / "pipe")
