from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import numpy as np
import onnx
import pytest
from goodparts.export import engines
from goodparts.export.engines import find_engine, make_engine
from goodparts.runtime.core.errors import EngineError, FileError, ParityError
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.parity import TOLERANCES, Reference, Tolerance
from goodparts.runtime.engine.spec import read_spec
from goodparts.trainer.clip.backbone import Backbone

from tests.trainer.clip.test_vv_tower import small_clip


def test_graph_follows_the_contract(engine_folder: Path) -> None:
    model = onnx.load(str(engine_folder / "encoder.onnx"), load_external_data=False)
    onnx.checker.check_model(str(engine_folder / "encoder.onnx"))
    assert [(entry.domain, entry.version) for entry in model.opset_import] == [("", 18)]
    assert "Attention" not in {node.op_type for node in model.graph.node}

    def shape(value: onnx.ValueInfoProto) -> list[str | int]:
        return [side.dim_param or side.dim_value for side in value.type.tensor_type.shape.dim]

    (image,) = model.graph.input
    assert (image.name, image.type.tensor_type.elem_type) == ("image", onnx.TensorProto.UINT8)
    assert shape(image) == ["batch", 240, 240, 3]
    assert [(output.name, shape(output)) for output in model.graph.output] == [
        ("global", ["batch", 128]),
        ("local", ["batch", 900, 128]),
        ("memory_0", ["batch", 900, 32]),
        ("memory_1", ["batch", 900, 96]),
    ]


def test_an_engine_has_the_grid_and_neighbourhood_that_were_asked_for(tmp_path: Path) -> None:
    backbone = Backbone("tiny", small_clip(2).eval(), taps=(1, 1, 2), grid=5, neighbourhood=3)
    make_engine(backbone, tmp_path / "engine", ["fp32"])
    spec = find_engine(backbone, tmp_path / "engine")
    assert spec is not None
    assert (spec.encoder.grid, spec.encoder.neighbourhood, len(spec.encoder.taps)) == ((5, 5), 3, 3)
    with pytest.raises(EngineError, match="on 5×5 patches, neighbourhood 3, the backbone is tiny .* neighbourhood 1"):
        find_engine(Backbone("tiny", small_clip(2).eval(), taps=(1, 1, 2), grid=5), tmp_path / "engine")
    views = np.random.default_rng(0).integers(0, 256, (3, 24, 24, 3), np.uint8)
    expected = backbone.encode(views)
    for backend in ("onnxruntime", "openvino"):
        seen = Engine.open(tmp_path / "engine", backend=backend).encode(views)
        for one, other in zip((seen.local, *seen.memory), (expected.local, *expected.memory), strict=True):
            # Two libraries compute in float32; features are unit vectors.
            np.testing.assert_allclose(one, other, atol=2e-6)


def test_graph_contains_no_local_path(engine_folder: Path) -> None:
    data = (engine_folder / "encoder.onnx").read_bytes()
    assert os.fsencode(Path(engines.__file__).parents[1]) not in data
    assert b"vv_tower" not in data


def test_every_installed_pair_has_a_parity_record(engine_folder: Path) -> None:
    spec = read_spec(engine_folder)
    assert [record.backend for record in spec.graph("plain").variants["fp32"].parity] == ["onnxruntime", "openvino"]
    for variant in spec.graph("plain").variants.values():
        for record in variant.parity:
            assert 0 <= record.feature_difference <= record.feature_tolerance
            assert 0 <= record.score_difference <= record.score_tolerance


def test_same_backbone_same_bytes(engine_folder: Path, small: Backbone, tmp_path: Path) -> None:
    make_engine(small, tmp_path / "again")
    for path in sorted(engine_folder.iterdir()):
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


@pytest.mark.usefixtures("_exported")
def test_a_failed_gate_leaves_nothing(small: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise ParityError("too far")

    monkeypatch.setattr(Reference, "measure", fail)
    with pytest.raises(ParityError):
        make_engine(small, tmp_path / "engine")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("_exported")
def test_a_usual_precision_that_fails_its_gate_is_left_out_and_an_asked_one_is_an_error(
    small: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES, "bf16", Tolerance(1e-12, 1e-12, 1.0))
    spec = make_engine(small, tmp_path / "usual")
    assert spec.graph("plain").precisions == ["fp32"]
    assert not list((tmp_path / "usual").glob("*bf16*"))
    monkeypatch.setitem(TOLERANCES, "fp16", Tolerance(1e-12, 1e-12, 1.0))
    with pytest.raises(ParityError, match="fp16 on onnxruntime differs"):
        make_engine(small, tmp_path / "asked", ["fp16"])
    assert not (tmp_path / "asked").exists()


def test_a_full_disk_leaves_nothing(small: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(engines, "write_graph", full)
    with pytest.raises(FileError, match="disk full while writing"):
        make_engine(small, tmp_path / "engine")
    assert list(tmp_path.iterdir()) == []


def test_a_fitting_engine_is_kept_and_another_is_not_overwritten(
    small: Backbone, engine_folder: Path, tmp_path: Path
) -> None:
    before = {path: path.stat().st_mtime_ns for path in engine_folder.iterdir()}
    seen = find_engine(small, engine_folder)
    assert seen is not None
    assert seen.encoder == small.encoder
    assert {path: path.stat().st_mtime_ns for path in engine_folder.iterdir()} == before
    stranger = Backbone.open("small")
    stranger.encoder = type(small.encoder)(
        backbone="other", weights="0" * 64, image_size=240, grid=(30, 30), width=128, taps=small.encoder.taps
    )
    with pytest.raises(EngineError, match=r"holds an engine for small .* the backbone is other .* name another folder"):
        find_engine(stranger, engine_folder)
    (tmp_path / "notes.txt").touch()
    with pytest.raises(EngineError, match="is not an engine"):
        find_engine(small, tmp_path)


@pytest.mark.usefixtures("_exported")
def test_an_older_engine_is_replaced_whole(small: Backbone, engine_folder: Path, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(engine_folder, tmp_path / "engine"))
    (folder / "left over").touch()
    make_engine(small, folder)
    assert not (folder / "left over").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["engine"]
    assert Engine.open(folder).encode(np.zeros((1, 240, 240, 3), np.uint8)).grid == (30, 30)


def test_nothing_but_an_engine_is_replaced(small: Backbone, tmp_path: Path) -> None:
    folder = tmp_path / "photos"
    folder.mkdir()
    (folder / "precious.png").touch()
    with pytest.raises(EngineError, match="photos exists and is not an engine: name another folder"):
        make_engine(small, folder)
    with pytest.raises(EngineError, match=r"precious\.png exists and is not an engine"):
        make_engine(small, folder / "precious.png")
    assert (folder / "precious.png").exists()


@pytest.mark.usefixtures("_exported")
def test_an_empty_folder_a_link_and_the_current_folder_take_an_engine(
    small: Backbone, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real, link = tmp_path / "real", tmp_path / "link"
    real.mkdir()
    link.symlink_to(real, target_is_directory=True)
    assert find_engine(small, link) is None
    make_engine(small, link)
    assert link.is_symlink()
    assert read_spec(real).encoder == small.encoder
    here = tmp_path / "here"
    here.mkdir()
    monkeypatch.chdir(here)
    make_engine(small, Path())
    assert read_spec(here).encoder == small.encoder
    assert sorted(path.name for path in tmp_path.iterdir()) == ["here", "link", "real"]
