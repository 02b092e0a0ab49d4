from __future__ import annotations

from pathlib import Path

import numpy as np
from goodparts.runtime import Detector
from goodparts.runtime.line.outputs.rejects import Rejects
from goodparts.runtime.line.results import Result

from tests.conftest import draw_part
from tests.runtime.line.outputs.results import make_result

MEGABYTE = 1_000_000


def test_rejects_stay_within_their_limit_and_the_oldest_go_first(
    engine_folder: Path, recipe_file: Path, tmp_path: Path
) -> None:
    pixels = np.asarray(draw_part(1, defect=True))
    inspection = Detector.open(engine_folder, recipe_file).predict(pixels)
    results = [Result("left", "reject", make_result(number).record, b"{}\n", pixels, inspection) for number in range(5)]
    (tmp_path / "notes.txt").write_text("stays")
    Rejects(tmp_path, MEGABYTE).send(results[0])
    one = sum(path.stat().st_size for path in tmp_path.glob("*_left_0.*"))
    rejects = Rejects(tmp_path, 2 * one + one // 2)
    for result in results[1:]:
        rejects.send(result)
    left = {path.name.partition("_left_")[2] for path in tmp_path.iterdir()} - {""}
    assert left == {f"{number}.{end}" for number in (3, 4) for end in ("frame.png", "map.png", "json")}
    assert (tmp_path / "notes.txt").exists()


def test_what_a_killed_run_left_half_is_removed_and_nothing_else(tmp_path: Path) -> None:
    whole, half = "20260102T030405678Z_left_1", "20260102T030405678Z_left_2"
    kept = {f"{whole}.{end}" for end in ("frame.png", "map.png", "json")} | {"notes.txt", ".other.png.0a1b.part"}
    gone = {f"{half}.frame.png", f"{half}.map.png", f".{half}.json.00ff00ff00ff.part"}
    for name in kept | gone:
        (tmp_path / name).write_bytes(b"x")
    Rejects(tmp_path, MEGABYTE)
    assert {path.name for path in tmp_path.iterdir()} == kept
