"""The engine that ships with goodparts, and which backend it runs on."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from goodparts.runtime.backends.session import Session
from goodparts.runtime.core.errors import ParityError
from goodparts.runtime.engine import fastest
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.engine.fastest import Choice, fastest_backend
from goodparts.runtime.engine.parity import Reference
from goodparts.runtime.engine.plans import writable_folder
from goodparts.runtime.engine.shipped import SHIPPED
from goodparts.runtime.engine.spec import read_spec, verify_files

RESTS = {"openvino": "fp32", "onnxruntime": "fp32"}


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the folder where choices are kept, in an empty cache."""
    monkeypatch.setattr(fastest, "cache_folder", lambda: tmp_path)
    return tmp_path / "fastest"


def choose() -> str:
    return fastest_backend(SHIPPED, read_spec(SHIPPED), "fp32", 1, RESTS)


def test_it_is_whole_and_small_and_records_both_backends() -> None:
    spec = verify_files(SHIPPED)
    assert {record.backend for record in spec.graph("plain").variants["fp32"].parity} == set(RESTS)
    assert sum(path.stat().st_size for path in SHIPPED.parent.rglob("*")) < 10e6


def test_the_fastest_backend_is_measured_once_and_remembered(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    chosen = choose()
    [remembered] = cache.iterdir()
    monkeypatch.setattr(fastest, "_measure", lambda *_: pytest.fail("measured again"))
    assert choose() == chosen
    other = next(backend for backend in RESTS if backend != chosen)
    remembered.write_text(f'{{"milliseconds": {{"{chosen}": 2.0, "{other}": 1.0}}}}')
    assert choose() == other


def test_a_choice_that_cannot_be_read_or_kept_is_measured_again(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = []
    monkeypatch.setattr(fastest, "_measure", lambda *_: measured.append(1) or Choice({"onnxruntime": 1.0}))
    choose()
    [remembered] = cache.iterdir()
    remembered.write_text("{}")
    choose()
    file = tmp_path / "no folder"
    file.touch()
    monkeypatch.setattr(fastest, "cache_folder", lambda: file)
    choose()
    assert len(measured) == 3


@pytest.mark.usefixtures("cache")
def test_a_backend_that_differs_from_torch_here_is_not_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    measure = Reference.measure

    def differs(reference: Reference, session: Session, backend: str, precision: object) -> object:
        if backend in broken:
            raise ParityError(f"fp32 on {backend} differs")
        return measure(reference, session, backend, precision)  # type: ignore[arg-type]

    monkeypatch.setattr(Reference, "measure", differs)
    broken = {"openvino", "onnxruntime"}
    with pytest.raises(ParityError, match="differs"):
        choose()
    for backend in RESTS:
        broken = set(RESTS) - {backend}
        shutil.rmtree(fastest.cache_folder() / "fastest", ignore_errors=True)
        assert choose() == backend


@pytest.mark.usefixtures("cache")
def test_it_opens_by_default_on_the_backend_that_was_chosen(monkeypatch: pytest.MonkeyPatch) -> None:
    for backend in RESTS:
        monkeypatch.setattr(fastest, "_measure", lambda *_, backend=backend: Choice({backend: 1.0}))
        shutil.rmtree(fastest.cache_folder() / "fastest", ignore_errors=True)
        assert Engine.open().backend.startswith(backend)


def test_nothing_is_written_into_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("goodparts.runtime.engine.plans.cache_folder", lambda: tmp_path)
    assert writable_folder(SHIPPED, "0" * 64).is_relative_to(tmp_path)
    assert not (SHIPPED / "plans").exists()
