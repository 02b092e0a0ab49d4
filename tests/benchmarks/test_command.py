"""`goodparts bench`: every benchmark has its own options and is imported only when it is chosen."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from goodparts.benchmarks.command import BENCHMARKS, import_benchmark

from goodparts.cli import main


def test_help_lists_every_benchmark(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="0"):
        main(["bench", "--help"])
    first_words = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("    ")]
    assert {*BENCHMARKS, "compare"} <= set(first_words)


def test_help_of_a_benchmark_has_its_own_options(capsys: pytest.CaptureFixture[str]) -> None:
    for name, options, others in (
        ("frame", ("--engine", "--fps", "--plot", "--repeat", "--json", "--markdown"), ("--data", "--frames")),
        ("accuracy", ("--data", "--json"), ("--fps", "--engine", "--repeat")),
        ("compare", ("A.json", "B.json", "--markdown"), ("--json FILE", "--repeat")),
    ):
        with pytest.raises(SystemExit, match="0"):
            main(["bench", name, "--help"])
        text = capsys.readouterr().out
        assert all(option in text for option in options), name
        assert not [option for option in others if option in text], name


@pytest.mark.parametrize("name", BENCHMARKS)
def test_every_benchmark_measures(name: str) -> None:
    benchmark = import_benchmark(name)
    assert callable(benchmark.measure)
    assert callable(benchmark.add_arguments)


def test_no_benchmark_is_imported_before_it_is_chosen() -> None:
    program = "import sys, goodparts.benchmarks.command; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout.split()
    assert "goodparts.benchmarks.compare" in loaded
    assert not {"torch", "open_clip", "onnx", "goodparts.benchmarks.latency.frame"} & set(loaded)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["score", "--repeat", "0"], "argument --repeat: 0: an integer of at least 1 is needed"),
        (["frame", "--batch", "0"], "argument --batch: 0: an integer"),
        (["frame", "--threads", "two"], "argument --threads: two: an integer"),
        (["frame", "--fps", "-1"], "argument --fps: -1: a number above 0 is needed"),
        (["frame", "--fps", "nan"], "argument --fps: nan: a number"),
        (["score", "--engine", "engine"], "there is no option --engine"),
        (["score", "--fps", "30"], "there is no option --fps"),
        (["compare", "only.json"], "the following arguments are required: B.json"),
        (["compare", "a.json", "b.json", "--json", "c.json"], "there is no option --json"),
        (["unknown"], "invalid choice: 'unknown'"),
        ([], "the following arguments are required: NAME"),
    ],
)
def test_options_that_are_refused(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["bench", *options])
    assert message in capsys.readouterr().err.splitlines()[-1]


def test_what_cannot_be_measured_or_written(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for options, message in (
        (["score", "--json", str(tmp_path / "no" / "file")], "does not exist"),
        (["score", "--markdown", str(tmp_path)], "is a folder"),
        (["frame", "--plot", str(tmp_path)], "is a folder"),
        (["score", "--backbone", "convnext_base"], "is not a ViT or a ResNet"),
    ):
        assert main(["bench", *options]) == 2
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line
