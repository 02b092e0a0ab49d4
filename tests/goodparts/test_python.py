"""The functions and classes that `goodparts` exports to Python programs."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from goodparts.runtime.core.errors import EngineError, SettingsError
from goodparts.runtime.engine.spec import read_spec
from goodparts.trainer.clip.backbone import Backbone

import goodparts
from goodparts import Detector, Engine, Recipe


def test_importing_goodparts_imports_no_submodule() -> None:
    program = "import sys, goodparts; print(*(name for name in sys.modules if name.startswith('goodparts.')), 'end')"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert run.stdout.split() == ["end"]
    assert all(getattr(goodparts, name) is not None for name in goodparts.__all__)
    assert dir(goodparts) == goodparts.__all__
    with pytest.raises(AttributeError, match="has no attribute 'teech'"):
        _ = goodparts.teech


def test_a_missing_library_is_named_with_its_extra() -> None:
    program = "import sys; sys.modules['open_clip'] = None; import goodparts; goodparts.train"
    run = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert 'goodparts.train needs open_clip: pip install ".[train]"' in run.stderr.splitlines()[-1]


def test_three_lines_from_photos_to_a_verdict_that_a_notebook_shows(photos: Path) -> None:
    recipe = goodparts.teach(photos / "good", "ring")
    detector = Detector(recipe)
    inspection = detector.predict(photos / "bad" / "4.png")
    assert inspection.verdict == "reject"
    assert repr(inspection).startswith("Inspection(reject, score ")
    assert "\n" not in repr(inspection)
    shown = inspection._repr_png_()
    assert shown is not None
    assert shown.startswith(b"\x89PNG")
    [of_a_batch] = detector.predict_batch([photos / "bad" / "4.png"])
    assert of_a_batch._repr_png_() is None
    assert repr(of_a_batch) == repr(inspection)


def test_a_detector_reports_a_missing_recipe_and_a_wrong_engine(engine_folder: Path, recipe: Recipe) -> None:
    engine = Engine.open(engine_folder)
    with pytest.raises(SettingsError, match="a Detector needs a recipe"):
        Detector(engine)  # type: ignore[arg-type]
    with pytest.raises(SettingsError, match="engine is a str: open a folder with Engine.open"):
        Detector(str(engine_folder), recipe)  # type: ignore[call-overload]


def test_training_writes_a_recipe_for_an_engine(
    engine_folder: Path, photos: Path, small: Backbone, vit: Backbone
) -> None:
    trained = goodparts.train(
        photos / "good", "ring", engine=engine_folder, backbone=small, settings={"steps": 3}, shots=2
    )
    assert (trained.header.method, len(trained.header.shots)) == ("promptad", 2)
    assert trained.header.graph == read_spec(engine_folder).graph_id("plain", "fp32")
    assert trained.header.settings["steps"] == 3
    with pytest.raises(SettingsError, match="method 'prompt' is unknown: there are promptad, anople, memory"):
        goodparts.train(photos / "good", "ring", backbone=small, method="prompt")
    with pytest.raises(EngineError, match="holds an engine for small"):
        goodparts.train(photos / "good", "ring", backbone=vit)


def test_methods_are_measured_on_a_data_set(engine_folder: Path, photos: Path, tmp_path: Path) -> None:
    summary = goodparts.evaluate(photos, tmp_path, method=["memory"], shots=[1], engine=str(engine_folder))
    assert {(row.method, row.shots) for row in summary.rows} == {("memory", 1)}
    assert (tmp_path / "results.csv").is_file()
    with pytest.raises(SettingsError, match="no option 'shot': the options are data out layout"):
        goodparts.evaluate(photos, tmp_path, shot=[1])
