"""GenICam cameras, with a stand-in for `harvesters` that has the calls and names of version 1.4."""

from __future__ import annotations

import sys
import threading
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import numpy as np
import pytest
from goodparts.runtime.core.errors import SettingsError, SourceError
from goodparts.runtime.line.sources.address import make_source


class Context:
    def __enter__(self) -> Any:
        return self

    def __exit__(self, *_: object) -> None:
        pass


class Camera(Context):
    """A camera that gives one picture, then none."""

    def __init__(self, component: SimpleNamespace) -> None:
        self._buffers: list[Any] = [Context()]
        self._buffers[0].payload = SimpleNamespace(components=[component])

    def start(self) -> None:
        pass

    def try_fetch(self, *, timeout: float) -> Any:
        assert timeout == 2.0
        return self._buffers.pop() if self._buffers else None


@pytest.fixture
def component(monkeypatch: pytest.MonkeyPatch) -> SimpleNamespace:
    component = SimpleNamespace(data_format="BGR8", height=8, width=9, data=np.arange(8 * 9 * 3, dtype=np.uint8))

    class Harvester(Context):
        def add_file(self, path: str, *, check_existence: bool, check_validity: bool) -> None:
            assert check_existence
            assert check_validity
            assert path.endswith(".cti")

        def update(self) -> None:
            pass

        def create(self, key: object) -> Camera:
            if key != {"serial_number": "7"}:
                raise ValueError("no such camera")
            return Camera(component)

    core = ModuleType("harvesters.core")
    core.Harvester = Harvester  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "harvesters", ModuleType("harvesters"))
    monkeypatch.setitem(sys.modules, "harvesters.core", core)
    monkeypatch.delitem(sys.modules, "goodparts.runtime.line.sources.genicam", raising=False)
    return component


@pytest.fixture
def producer(tmp_path: Path) -> Path:
    path = tmp_path / "maker.cti"
    path.touch()
    return path


def test_pictures_are_rgb_and_a_camera_that_falls_silent_is_lost(component: SimpleNamespace, producer: Path) -> None:
    pictures = make_source(f"genicam:{producer}?serial=7", 2.0).pictures(threading.Event(), paced=True)
    np.testing.assert_array_equal(next(pictures).pixels, component.data.reshape(8, 9, 3)[:, :, ::-1])
    with pytest.raises(SourceError, match=r"camera 7 maker.cti: no picture for 2 s"):
        next(pictures)


def test_grey_is_repeated_and_other_formats_are_refused(component: SimpleNamespace, producer: Path) -> None:
    component.data_format, component.data = "Mono8", np.arange(72, dtype=np.uint8)
    source = make_source(f"genicam:{producer}?serial=7", 2.0)
    grey = next(source.pictures(threading.Event(), paced=True)).pixels
    np.testing.assert_array_equal(grey, np.repeat(component.data.reshape(8, 9, 1), 3, axis=2))
    component.data_format = "BayerRG8"
    with pytest.raises(SourceError, match="BayerRG8: set its PixelFormat"):
        next(source.pictures(threading.Event(), paced=True))


@pytest.mark.usefixtures("component")
def test_an_error_of_the_producer_is_one_line(producer: Path) -> None:
    with pytest.raises(SourceError, match="no such camera"):
        next(make_source(f"genicam:{producer}?serial=8", 2.0).pictures(threading.Event(), paced=True))
    with pytest.raises(SettingsError, match=r"genicam:PRODUCER.cti\?serial=NUMBER"):
        make_source("genicam:/nowhere.cti", 2.0)


def test_without_harvesters_the_extra_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "harvesters", None)
    monkeypatch.delitem(sys.modules, "goodparts.runtime.line.sources.genicam", raising=False)
    with pytest.raises(SourceError, match=r'needs harvesters: pip install "\.\[genicam\]"'):
        make_source("genicam:maker.cti", 2.0)
