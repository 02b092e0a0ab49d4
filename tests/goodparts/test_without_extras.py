"""Every command has its help where only the base packages are installed, and names what it needs when it runs."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest
from goodparts.benchmarks.command import BENCHMARKS

from goodparts.cli import COMMANDS

EXTRAS = ("torch", "torchvision", "open_clip", "onnx", "onnxruntime", "openvino", "scipy", "tqdm", "av", "cryptography")
PROGRAM = f"""
import contextlib, io, json, sys
for name in {EXTRAS!r}:
    sys.modules[name] = None
from goodparts import cli
shown = {{}}
for line in json.loads(sys.argv[1]):
    command, *options = line.split()
    with contextlib.redirect_stdout(io.StringIO()) as out, contextlib.redirect_stderr(io.StringIO()) as err:
        try:
            code = cli.train_and_export(options) if command == "train-and-export" else cli.main([command, *options])
        except SystemExit as stopped:
            code = stopped.code
    shown[line] = [code, out.getvalue(), err.getvalue()]
print(json.dumps(shown))
"""
HELP = [f"{name} --help-all" for name in (*COMMANDS, "train-and-export")]
HELP += [f"{name} --help" for name in (*COMMANDS, "train-and-export", *(f"bench {name}" for name in BENCHMARKS))]
NEED_EXTRAS = {
    "export --engine ENGINE": ("goodparts export: needs ", ".[train]"),
    "evaluate --data drawn --out OUT": ("goodparts evaluate: needs ", ".[train,evaluate]"),
    "bench train": ("goodparts bench: bench train needs ", ".[dev]"),
}


@pytest.fixture(scope="module")
def shown() -> dict[str, tuple[int, str, str]]:
    """Command line → exit code, standard output and standard error, all in one process without the extras."""
    lines = json.dumps([*HELP, *NEED_EXTRAS])
    done = subprocess.run([sys.executable, "-c", PROGRAM, lines], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    results: dict[str, tuple[int, str, str]] = json.loads(done.stdout)
    return results


@pytest.mark.parametrize("line", HELP)
def test_help_needs_no_extra(line: str, shown: dict[str, tuple[int, str, str]]) -> None:
    code, out, err = shown[line]
    assert (code, err) == (0, "")
    assert "usage: " in out
    assert line.partition(" --help")[0] in out


@pytest.mark.parametrize("line", NEED_EXTRAS)
def test_a_command_names_the_extra_that_it_needs(line: str, shown: dict[str, tuple[int, str, str]]) -> None:
    code, _, err = shown[line]
    assert code == 2
    start, extra = NEED_EXTRAS[line]
    library = err.removeprefix(start).partition(":")[0]
    assert library in EXTRAS
    assert err == f'{start}{library}: pip install "{extra}" in the checkout of goodparts\n'


def test_methods_are_described_without_the_libraries_that_learn_them(shown: dict[str, tuple[int, str, str]]) -> None:
    assert "--alignment-weight" in shown["train-and-export --help-all"][1]
    assert "rows of --method: listed once torch is installed" in shown["evaluate --help-all"][1]
