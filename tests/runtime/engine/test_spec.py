"""engine.json: what is refused, and which graph is chosen."""

from __future__ import annotations

import re
import shutil
from pathlib import Path

import msgspec
import numpy as np
import pytest
from goodparts.runtime.core.conditions import Conditions
from goodparts.runtime.core.errors import EngineError
from goodparts.runtime.core.files import NO_DIGEST, seal
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import CONTRACT_VERSION, SPEC_NAME, read_spec, verify_files


@pytest.fixture
def copy(engine_folder: Path, tmp_path: Path) -> Path:
    """Return a copy of the engine that a test may damage."""
    return Path(shutil.copytree(engine_folder, tmp_path / "engine"))


def forge(folder: Path, **fields: object) -> None:
    """Replace fields of engine.json and seal it again: the digest does not prove who wrote the file."""
    data = msgspec.json.decode((folder / SPEC_NAME).read_bytes()) | fields | {"digest": NO_DIGEST}
    (folder / SPEC_NAME).write_bytes(seal(msgspec.json.format(msgspec.json.encode(data)), b'"digest": "'))


def test_precisions_have_ids_of_their_own(engine_folder: Path) -> None:
    spec = read_spec(engine_folder)
    plain = spec.graph("plain")
    one_file = msgspec.structs.replace(plain, variants=dict.fromkeys(("fp32", "bf16"), plain.variant("fp32")))
    both = msgspec.structs.replace(spec, graphs={"plain": one_file})
    assert both.graph_id("plain", "fp32") != both.graph_id("plain", "bf16")


def test_a_missing_folder_and_a_folder_without_engine_have_different_errors(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no engine at"):
        read_spec(tmp_path / "nothing")
    with pytest.raises(EngineError, match=r"is not an engine: it has no engine\.json"):
        read_spec(tmp_path)


def test_a_file_is_no_engine(engine_folder: Path) -> None:
    with pytest.raises(EngineError, match=r"engine\.json is a file: an engine is a folder"):
        read_spec(engine_folder / SPEC_NAME)


def test_a_short_or_missing_file_is_found_when_opening(copy: Path) -> None:
    weights = copy / "encoder.weights"
    weights.write_bytes(weights.read_bytes()[:-1])
    with pytest.raises(EngineError, match=r"encoder\.weights is \d+ bytes, should be"):
        read_spec(copy)
    weights.unlink()
    with pytest.raises(EngineError, match=r"encoder\.weights is missing"):
        read_spec(copy)


@pytest.mark.parametrize("position", [0, 300, 1000, -2])
def test_a_flipped_byte_in_engine_json_is_found_when_opening(copy: Path, position: int) -> None:
    spec = copy / SPEC_NAME
    data = bytearray(spec.read_bytes())
    data[position] ^= 1
    spec.write_bytes(bytes(data))
    with pytest.raises(EngineError, match=r"engine\.json"):
        read_spec(copy)


@pytest.mark.parametrize("name", ["../encoder.onnx", "/etc/passwd", "..", "", "a\\b", "C:encoder.onnx"])
def test_a_name_that_leads_out_of_the_folder_is_refused(copy: Path, name: str) -> None:
    (first, *files) = msgspec.json.decode((copy / SPEC_NAME).read_bytes())["files"]
    forge(copy, files=[{**first, "name": name}, *files])
    with pytest.raises(EngineError, match=rf"engine\.json is damaged \({re.escape(repr(name))} is no plain file name"):
        read_spec(copy)


def test_a_graph_that_is_not_among_the_files_is_refused(copy: Path) -> None:
    text = (copy / SPEC_NAME).read_bytes().replace(b'"graph": "encoder.onnx"', b'"graph": "../../evil.onnx"')
    (copy / SPEC_NAME).write_bytes(text)
    with pytest.raises(
        EngineError, match=r"fp32 names '\.\./\.\./evil\.onnx' and 'encoder\.weights': files needs both"
    ):
        read_spec(copy)


@pytest.mark.parametrize("name", ["encoder.onnx", "encoder.weights"])
def test_a_flipped_byte_in_a_file_is_found_by_verify(copy: Path, name: str) -> None:
    verify_files(copy)
    path = copy / name
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(EngineError, match=f"{name} is damaged: its SHA-256"):
        verify_files(copy)
    with pytest.raises(EngineError, match=f"{name} is damaged"):
        Engine.open(copy, verify=True)


def test_another_contract_is_refused_in_one_line(copy: Path) -> None:
    forge(copy, contract=CONTRACT_VERSION - 1)
    with pytest.raises(EngineError, match=r"engine\.json has contract 3; this version reads 4: export again$"):
        read_spec(copy)


def test_an_engine_of_the_backbone_demo_names_what_replaced_it(copy: Path) -> None:
    encoder = msgspec.json.decode((copy / SPEC_NAME).read_bytes())["encoder"]
    forge(copy, encoder={**encoder, "backbone": "demo"})
    with pytest.raises(EngineError, match="backbone demo, which small replaced: export small to another folder with"):
        read_spec(copy)


def test_an_engine_without_a_plain_graph_is_refused(copy: Path) -> None:
    forge(copy, graphs={})
    with pytest.raises(EngineError, match=r"engine\.json is damaged \(graphs has no plain graph"):
        read_spec(copy)


def test_the_conditions_choose_the_graph(vit_engine: Path, prompted_folder: Path) -> None:
    plain, both = read_spec(vit_engine), read_spec(prompted_folder)
    shapes = both.graph("prompted").conditions
    conditions = Conditions({name: np.zeros(shape, np.float32) for name, shape in shapes.items()})
    assert (both.graph_for(None), both.graph_for(conditions)) == ("plain", "prompted")
    with pytest.raises(EngineError, match="no prompted graph, which AnoPLe recipes need: add it with"):
        plain.graph_for(conditions)
    with pytest.raises(
        EngineError, match=r"condition prefix has shape \[\], this engine's prompted graph reads \[1, 128\]"
    ):
        both.graph_for(Conditions({name: tensor for name, tensor in conditions.tensors.items() if name != "prefix"}))
