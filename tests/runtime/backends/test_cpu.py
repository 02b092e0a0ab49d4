"""What all sessions on the CPU have in common."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from goodparts.runtime.backends.openvino import OpenVinoSession
from goodparts.runtime.backends.session import in_parts
from goodparts.runtime.backends.tensors import Outputs
from goodparts.runtime.core.errors import BackendError
from goodparts.runtime.engine.engine import Engine
from hypothesis import given
from hypothesis import strategies as st

STARVED = """
import resource, sys
from pathlib import Path
import numpy as np
from goodparts.runtime.engine.engine import Engine
from goodparts.runtime.core.errors import BackendError

engine = Engine.open(sys.argv[1], backend=sys.argv[2], threads=1)
views = np.random.default_rng(0).integers(0, 256, (8, 192, 192, 3), np.uint8)
expected = engine.encode(views[:1]).local
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used, resource.RLIM_INFINITY))
hoard = []
try:
    while True:
        hoard.append(bytes(2**16))  # fills the free part of the heap
except MemoryError:
    pass
try:
    engine.encode(views)
except BackendError as error:
    message = str(error)
resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
del hoard
np.testing.assert_allclose(engine.encode(views).local[:1], expected, atol=1e-5)
print(message)
"""


@given(st.integers(0, 50), st.integers(1, 20))
def test_parts_are_in_order_and_nearly_of_one_size(count: int, at_once: int) -> None:
    views, sizes = np.arange(count, dtype=np.uint8).reshape(-1, 1, 1, 1), []

    def run(part: np.ndarray) -> Outputs:
        sizes.append(len(part))
        return {"first": part[:, 0, 0].astype(np.float32), "second": part[:, 0].astype(np.float32) + 100}

    outputs = in_parts(views, at_once, run)
    np.testing.assert_array_equal(outputs["first"], views[:, 0, 0])
    np.testing.assert_array_equal(outputs["second"], views[:, 0] + 100.0)
    assert max(sizes) <= at_once
    assert max(sizes) - min(sizes) <= 1  # a change of the batch's size takes OpenVINO time


def test_openvino_that_returns_without_having_run_is_not_believed(engine_folder: Path) -> None:
    """This may happen if memory has run out: the outputs are then those of the picture before."""
    views = np.random.default_rng(0).integers(0, 256, (2, 192, 192, 3), np.uint8)
    session = Engine.open(engine_folder, backend="openvino").graphs["plain"]
    assert isinstance(session, OpenVinoSession)
    first, second = session.run(views[:1]), session.run(views[1:])
    request = session._request
    session._request = SimpleNamespace(infer=lambda *_, **__: None, get_output_tensor=request.get_output_tensor)
    with pytest.raises(BackendError, match="cannot run the graph: it gave no reason; memory may have run out"):
        session.run(views[:1])
    session._request = request
    np.testing.assert_array_equal(session.run(views[:1])["global"], first["global"])
    assert not np.array_equal(first["global"], second["global"])


@pytest.mark.skipif(sys.platform != "linux", reason="limits memory in Linux's way")
@pytest.mark.parametrize(("backend", "library"), [("openvino", "OpenVINO"), ("onnxruntime", "ONNX Runtime")])
def test_too_little_memory_gives_one_line_and_the_engine_stays_usable(
    engine_folder: Path, backend: str, library: str
) -> None:
    command = [sys.executable, "-c", STARVED, str(engine_folder), backend]
    seen = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert seen.returncode == 0, seen.stderr

    assert re.fullmatch(rf"{library} \S+ cannot run the graph: .+", seen.stdout.strip())
