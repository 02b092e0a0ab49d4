from __future__ import annotations

import json
from pathlib import Path

import pytest
from goodparts.runtime.core.errors import FileError
from goodparts.runtime.line.outputs.json_lines import JsonLines

from tests.runtime.line.outputs.results import make_result


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs Linux's /dev/full")
def test_a_full_disk_is_one_line() -> None:
    output = JsonLines(Path("/dev/full"))
    with pytest.raises(FileError, match="disk full while writing /dev/full"):
        output.send(make_result(0))
    output.close()


@pytest.mark.parametrize("half", [b'{"source":"le', b'{"so'])
def test_a_half_line_of_an_earlier_run_is_removed(tmp_path: Path, half: bytes) -> None:
    path = tmp_path / "out.jsonl"
    path.write_bytes(b'{"source":"left"}\n' + half)
    output = JsonLines(path)
    output.send(make_result(1))
    output.close()
    assert [json.loads(line).get("frame") for line in path.read_text().splitlines()] == [None, 1]
