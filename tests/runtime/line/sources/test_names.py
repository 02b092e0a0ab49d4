from __future__ import annotations

from pathlib import Path

import pytest
from goodparts.runtime.line.settings import SourceSettings
from goodparts.runtime.line.sources.names import name_sources


@pytest.mark.parametrize(
    ("address", "name"),
    [
        ("rtsp://op:secret@camera-3.local:554/live?token=secret", "camera-3.local"),
        ("http://[::1]:80/x", "1"),
        ("/dev/video0", "video0"),
        ("photos/top view/", "top-view"),
        ("v1.2", "v1.2"),
        ("genicam:/opt/maker.cti?serial=1234", "1234"),
        ("genicam:/opt/maker.cti", "maker"),
        ("/", "source"),
    ],
)
def test_a_name_is_that_of_the_host_device_or_folder(address: str, name: str) -> None:
    assert name_sources([address]) == [name]
    SourceSettings(name=name, address=address, recipe="")  # raises an error for an invalid name


def test_the_name_of_a_file_leaves_out_its_ending(tmp_path: Path) -> None:
    (tmp_path / "parts.mp4").touch()
    assert name_sources([str(tmp_path / "parts.mp4")]) == ["parts"]


def test_no_two_sources_have_the_same_name() -> None:
    assert name_sources(["a/in", "b/in", "in-2", "c/in"]) == ["in", "in-2", "in-2-2", "in-3"]
