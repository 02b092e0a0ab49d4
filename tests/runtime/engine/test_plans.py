from __future__ import annotations

from pathlib import Path
from typing import get_args

import pytest
from goodparts.runtime.backends.registry import open_library
from goodparts.runtime.backends.session import GraphName
from goodparts.runtime.core.errors import EngineError
from goodparts.runtime.engine.plans import find_plan, graph_files
from goodparts.runtime.engine.spec import read_spec


@pytest.mark.parametrize("name", get_args(GraphName))
def test_without_a_plan_the_error_gives_the_command_that_builds_it(
    prompted_folder: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, name: GraphName
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    graph = graph_files(prompted_folder, read_spec(prompted_folder), name, "fp32")
    option = " --prompted" if name == "prompted" else ""
    library = open_library("openvino")
    with pytest.raises(EngineError, match=rf"--backend openvino --precision fp32{option}`$"):
        find_plan(prompted_folder, graph, library, library.device())
