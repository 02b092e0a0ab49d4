from __future__ import annotations

import importlib.util
import re
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import numpy as np
import pytest
from goodparts.runtime.backends.registry import AUTO
from goodparts.runtime.backends.session import Precision
from goodparts.runtime.core.errors import BackendError, EngineError, SettingsError
from goodparts.runtime.core.files import NO_DIGEST, seal
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.spec import SPEC_NAME, read_spec, verify_files
from goodparts.trainer.clip.backbone import Backbone


@pytest.fixture
def copy(engine_folder: Path, tmp_path: Path) -> Path:
    """A copy to damage."""
    return Path(shutil.copytree(engine_folder, tmp_path / "engine"))


@pytest.mark.parametrize("backend", AUTO)
@pytest.mark.parametrize("batch", [1, 5])
def test_features_are_torchs(engine_folder: Path, demo: Backbone, backend: str, batch: int) -> None:
    views = np.random.default_rng(batch).integers(0, 256, (batch, 192, 192, 3), np.uint8)
    engine = Engine.open(engine_folder, backend=backend)
    assert backend in engine.backend
    assert "fp32" in engine.backend
    seen, expected = engine.encode(views), demo.encode(views)
    for one, other in zip(
        (seen.global_, seen.local, *seen.memory), (expected.global_, expected.local, *expected.memory), strict=True
    ):
        np.testing.assert_allclose(one, other, atol=1e-5)  # fp32 over six blocks


@pytest.mark.parametrize("backend", AUTO)
def test_results_stay_when_the_next_frame_comes(engine_folder: Path, backend: str) -> None:
    engine = Engine.open(engine_folder, backend=backend)
    black, white = (np.full((1, 192, 192, 3), value, np.uint8) for value in (0, 255))
    first = engine.encode(black)
    kept = first.global_.copy()
    engine.encode(white)
    np.testing.assert_array_equal(first.global_, kept)


def test_bf16_is_enforced_and_reported(engine_folder: Path) -> None:
    if "bf16" not in read_spec(engine_folder).graph("plain").variants:
        pytest.skip("this processor has no bf16")
    assert "bf16" in Engine.open(engine_folder, precision="bf16").backend
    with pytest.raises(EngineError, match="bf16 on onnxruntime has no parity record"):
        Engine.open(engine_folder, backend="onnxruntime", precision="bf16")


def test_precisions_have_ids_of_their_own(engine_folder: Path) -> None:
    spec = read_spec(engine_folder)
    assert spec.graph_id("plain", "fp32") != spec.graph_id("plain", "bf16")


def test_a_missing_library_is_named_with_its_extra(engine_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "goodparts.runtime.backends.openvino", None)
    with pytest.raises(BackendError, match=r'openvino is not installed: pip install "goodparts\[openvino\]"'):
        Engine.open(engine_folder, backend="openvino")
    monkeypatch.setattr(importlib.util, "find_spec", lambda _: None)
    with pytest.raises(BackendError, match=r'pip install "goodparts\[openvino\]" or pip install "goodparts\[cpu\]"'):
        Engine.open(engine_folder)
    with pytest.raises(BackendError, match="unknown backend 'tpu': choose auto, openvino, onnxruntime"):
        Engine.open(engine_folder, backend="tpu")


@pytest.mark.parametrize(("missing", "chosen"), [(None, "openvino"), ("openvino", "onnxruntime")])
def test_auto_takes_the_first_that_is_installed(
    engine_folder: Path, monkeypatch: pytest.MonkeyPatch, missing: str | None, chosen: str
) -> None:
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    assert Engine.open(engine_folder).backend.startswith(chosen)


@pytest.mark.parametrize("precision", ["int8"])
def test_an_unknown_precision_is_named(engine_folder: Path, precision: Precision) -> None:
    with pytest.raises(EngineError, match="has no int8 graph: it has bf16, fp32|has no int8 graph: it has fp32"):
        Engine.open(engine_folder, precision=precision)


def test_views_of_another_size_are_refused(engine_folder: Path) -> None:
    with pytest.raises(EngineError, match=r"uint8 \[1, 64, 64, 3\]: this encoder reads uint8 \[B,192,192,3\]"):
        Engine.open(engine_folder).encode(np.zeros((1, 64, 64, 3), np.uint8))


def test_no_folder_and_no_engine_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(EngineError, match="no engine at"):
        read_spec(tmp_path / "nothing")
    with pytest.raises(EngineError, match=r"is not an engine: it has no engine\.json"):
        read_spec(tmp_path)


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
    """Sealed as it should be: a digest says who wrote a file no more than a name does."""
    text = read_spec(copy).to_bytes()
    data = msgspec.json.decode(text) | {"digest": NO_DIGEST}
    data["files"][0]["name"] = name
    (copy / SPEC_NAME).write_bytes(seal(msgspec.json.format(msgspec.json.encode(data)), b'"digest": "'))
    with pytest.raises(EngineError, match=rf"engine\.json is damaged \({re.escape(repr(name))} is no plain file name"):
        read_spec(copy)


def test_a_graph_that_is_not_among_the_files_is_refused(copy: Path) -> None:
    text = (copy / SPEC_NAME).read_bytes().replace(b'"graph": "encoder.onnx"', b'"graph": "../../evil.onnx"')
    (copy / SPEC_NAME).write_bytes(text)
    with pytest.raises(
        EngineError, match=r"fp32 names '\.\./\.\./evil\.onnx' and 'encoder\.weights', files has not both"
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


def test_a_graph_the_library_cannot_read_is_one_line(copy: Path) -> None:
    graph = copy / "encoder.onnx"
    graph.write_bytes(b"\xff" * graph.stat().st_size)
    for backend in AUTO:
        with pytest.raises(BackendError, match="cannot open") as caught:
            Engine.open(copy, backend=backend)
        assert "\n" not in str(caught.value)


@pytest.mark.parametrize("backend", AUTO)
def test_threads_that_share_an_engine_get_their_own_results(engine_folder: Path, backend: str) -> None:
    engine = Engine.open(engine_folder, backend=backend)
    views = np.random.default_rng(0).integers(0, 256, (6, 1, 192, 192, 3), np.uint8)
    alone = [engine.encode(view).global_ for view in views]
    with ThreadPoolExecutor(6) as pool:
        together = list(pool.map(lambda view: engine.encode(view).global_, np.concatenate([views] * 5)))
    for index, seen in enumerate(together):
        np.testing.assert_allclose(seen, alone[index % 6], atol=1e-6)


@pytest.mark.parametrize("threads", [0, -3])
def test_impossible_thread_counts_are_refused(engine_folder: Path, threads: int) -> None:
    with pytest.raises(SettingsError, match=f"threads {threads}: at least 1"):
        Engine.open(engine_folder, threads=threads)


def test_a_file_is_no_engine(engine_folder: Path) -> None:
    with pytest.raises(EngineError, match=r"engine\.json is a file: an engine is a folder"):
        read_spec(engine_folder / SPEC_NAME)
