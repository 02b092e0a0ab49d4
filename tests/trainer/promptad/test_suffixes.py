from __future__ import annotations

from pathlib import Path

import pytest
from goodparts.runtime.core.errors import FileError, SettingsError
from goodparts.trainer.promptad.suffixes import GENERIC, OBJECTS, find_object, resolve


def test_benchmark_objects_add_their_own_to_the_generic_ones() -> None:
    assert len(GENERIC) == 8
    assert resolve("carpet")[8:] == (
        "{} with hole",
        "{} with color stain",
        "{} with metal contamination",
        "{} with thread residue",
        "{} with thread",
        "{} with cut",
    )
    assert OBJECTS["capsule"][-1] == "{} squeezed with compression"
    assert OBJECTS["fryum"].count("{} with colour spot") == 2  # counts twice in the published mean


def test_published_counts() -> None:
    visa = ("candle", "capsules", "cashew", "chewinggum", "fryum", "macaroni1", "macaroni2", "pipe_fryum")
    in_visa = {*visa, "pcb1", "pcb2", "pcb3", "pcb4"}
    assert len(OBJECTS) == 15 + 12
    assert sum(len(texts) for name, texts in OBJECTS.items() if name not in in_visa) == 68
    assert sum(len(texts) for name, texts in OBJECTS.items() if name in in_visa) == 63


def test_a_file_replaces_the_generic_ones(tmp_path: Path) -> None:
    path = tmp_path / "mine.txt"
    path.write_text("# what goes wrong here\nscratch\n\nbent {}\n")
    assert resolve(str(path)) == ("{} with scratch", "bent {}")


def test_wrong_choices_are_named_in_the_error(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="--suffixes nothing: neither a file, nor generic, nor a benchmark object"):
        resolve("nothing")
    empty = tmp_path / "empty.txt"
    empty.write_text("# nothing\n")
    with pytest.raises(SettingsError, match="holds no suffix: write one per line"):
        resolve(str(empty))
    binary = tmp_path / "binary.txt"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(FileError, match="cannot read"):
        resolve(str(binary))


@pytest.mark.parametrize(
    ("text", "name"),
    [
        ("metal_nut", "metal_nut"),
        ("Metal Nut", "metal_nut"),
        ("chewing gum", "chewinggum"),
        ("macaroni", "macaroni1"),
        ("pcb4", "pcb4"),
        ("printed circuit board", None),  # pcb1 to pcb4 differ
        ("flange", None),
    ],
)
def test_a_product_text_names_an_object_by_folder_or_in_words(text: str, name: str | None) -> None:
    assert find_object(text) == name
