"""examples/read_recipe.py, written from docs/formats.md, reads what Recipe.open reads."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from types import ModuleType

import msgspec
import numpy as np
import pytest
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from goodparts.runtime.recipe import signing

from goodparts import Recipe

EXAMPLE = Path(__file__).parents[2] / "examples" / "read_recipe.py"


@pytest.fixture(scope="module")
def example() -> ModuleType:
    spec = importlib.util.spec_from_file_location("read_recipe", EXAMPLE)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("fixture", ["recipe", "anople_recipe"])
def test_header_and_tensors_are_those_of_the_library(
    example: ModuleType, fixture: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    path = tmp_path / "ring.safetensors"
    request.getfixturevalue(fixture).save(path)
    header, tensors = example.read_recipe(path.read_bytes())
    recipe = Recipe.open(path)
    assert header == msgspec.json.decode(msgspec.json.encode(recipe.header))
    expected = {"image_prompts": recipe.image_prompts, "pixel_prompts": recipe.pixel_prompts, "shots": recipe.shots}
    for index, rows in enumerate(zip(recipe.banks, recipe.shot_of_row, recipe.margins, strict=True)):
        expected |= {
            f"{name}_{index}": array for name, array in zip(("memory", "photos", "margins"), rows, strict=True)
        }
    if recipe.conditions is not None:
        expected |= {f"condition.{name}": tensor for name, tensor in recipe.conditions.tensors.items()}
    assert tensors.keys() == expected.keys()
    for name, tensor in tensors.items():
        np.testing.assert_array_equal(tensor, expected[name], strict=True)


def test_a_changed_byte_is_refused(example: ModuleType, recipe_file: Path) -> None:
    data = bytearray(recipe_file.read_bytes())
    data[-1] ^= 1
    with pytest.raises(ValueError, match="digest"):
        example.read_recipe(bytes(data))


def test_the_signed_message_is_what_the_key_signed(example: ModuleType, recipe: Recipe, tmp_path: Path) -> None:
    public = signing.generate(tmp_path / "line.key")
    data = recipe.to_bytes(signing.Signer.read(tmp_path / "line.key"))
    header, _ = example.read_recipe(data)
    key = load_pem_public_key(public.read_bytes())
    key.verify(bytes.fromhex(header["signature"]), example.signed_message(data))  # type: ignore[union-attr, call-arg]


def test_the_script_prints_every_tensor(
    example: ModuleType, recipe_file: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    example.main(str(recipe_file))
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].startswith("ring: promptad, 3 photos")
    assert [line.split()[0] for line in lines[2:]] == sorted(example.read_recipe(recipe_file.read_bytes())[1])
