"""Sweeps from TOML files: faults in a file are reported, and options take precedence over the file."""

from __future__ import annotations

from pathlib import Path

import pytest
from goodparts.evaluation.methods.table import METHODS, find_method
from goodparts.evaluation.sweep import read_sweep
from goodparts.runtime.engine.shipped import SHIPPED

from goodparts.cli import main


@pytest.mark.parametrize(
    ("lines", "message"),
    [
        (['data = "x"', "seed = 3"], "sweep.toml: unknown key 'seed': the keys are data out"),
        (['data = "x"', 'out = "y"', 'seeds = "3"'], "sweep.toml: seeds = '3': expected `int`, got `str`"),
        (['data = "x"', 'out = "y"', "shots = [1, 0]"], "sweep.toml: shots = [1, 0]: expected `int` >= 1"),
        (['data = "x"', 'out = "y"', 'precision = "fp64"'], "sweep.toml: precision = 'fp64': invalid enum value"),
        (['data = "x"'], "sweep.toml: out is needed: --out"),
        (["data = x"], "sweep.toml is no TOML: "),
        (['data = "x"', 'out = "y"', 'method = ["magic"]'], "--method magic is not accepted: give a group (all"),
        (['data = "nowhere"', 'out = "out"'], "nowhere is no folder: name the folder that the data set was unpacked"),
    ],
)
def test_what_is_wrong_with_a_file_is_reported_in_one_line(
    lines: list[str], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("sweep.toml").write_text("\n".join(lines), encoding="utf-8")
    assert main(["evaluate", "--sweep", "sweep.toml"]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_the_memory_takes_settings() -> None:
    sweep = read_sweep(None, {"data": "drawn", "out": "a", "method": ("memory:poses=true,memory_share=0.125",)})
    (name,) = sweep.methods
    assert find_method(name).title == "memory only, as in PromptAD; poses=true,memory_share=0.125"


@pytest.mark.parametrize(
    ("options", "shipped"),
    [
        ({}, True),
        ({"backbone": "small", "precision": "bf16"}, True),
        ({"precision": "int8"}, False),
        ({"memory-taps": "2,3"}, False),
        ({"backbone": "ViT-B-16"}, False),
    ],
)
def test_the_shipped_engine_is_used_where_it_has_what_is_asked_for(
    options: dict[str, str], shipped: bool, tmp_path: Path
) -> None:
    sweep = read_sweep(None, {"data": "drawn", "out": str(tmp_path), "method": ("memory",), **options})
    assert sweep.engine_folder == (SHIPPED if shipped else tmp_path / "engine")


def test_an_engine_beside_the_results_is_used_again(tmp_path: Path) -> None:
    (tmp_path / "engine").mkdir()
    sweep = read_sweep(None, {"data": "drawn", "out": str(tmp_path), "method": ("memory",)})
    assert sweep.engine_folder == tmp_path / "engine"


def test_options_take_precedence_over_the_file(tmp_path: Path) -> None:
    file = tmp_path / "sweep.toml"
    file.write_text('data = "drawn"\nout = "a"\nmethod = ["all"]\nmemory-taps = "2,3"\n', encoding="utf-8")
    sweep = read_sweep(file, {"out": "b", "seeds": 3})
    assert (sweep.out, sweep.seeds, sweep.memory_taps, sweep.methods) == ("b", 3, "2,3", tuple(METHODS))
