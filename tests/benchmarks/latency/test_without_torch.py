"""Without torch, open_clip and onnx, `bench frame` and `bench start` measure an existing engine."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

BLOCK = 'import sys\nfor name in ("torch", "open_clip", "onnx"):\n    sys.modules[name] = None\n'
"""Code that every Python process runs when it starts, also those of the contenders."""


@pytest.fixture
def environment(tmp_path: Path) -> dict[str, str]:
    (tmp_path / "sitecustomize.py").write_text(BLOCK)
    return {**os.environ, "PYTHONPATH": str(tmp_path)}


def bench(environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    program = "import sys; from goodparts.cli import main; sys.exit(main())"
    command = [sys.executable, "-c", program, "bench", *options]
    return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)


def test_frame(engine_folder: Path, environment: dict[str, str], tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    options = ["--precision", "fp32", "--repeat", "1", "--batch", "1", "--json", str(report), "--fps"]
    done = bench(environment, "frame", "--engine", str(engine_folder), *options)
    assert done.returncode == 0, done.stderr
    rows = json.loads(report.read_bytes())["rows"]
    names = {row["name"] for row in rows}
    assert {"onnxruntime fp32, encode", "openvino fp32, busy 50%, missed", "decode a JPEG of the frame"} <= names
    assert not [row for row in rows if "peer" in row]
    assert "torch or open_clip is not installed: peers in torch, the machine's ceilings and the encoder" in done.stdout


def test_start(engine_folder: Path, environment: dict[str, str], tmp_path: Path) -> None:
    report = tmp_path / "report.json"
    options = ["--precision", "fp32", "--repeat", "1", "--json", str(report)]
    done = bench(environment, "start", "--engine", str(engine_folder), *options)
    assert done.returncode == 0, done.stderr
    rows = json.loads(report.read_bytes())["rows"]
    names = {row["name"] for row in rows}
    assert {"openvino fp32, process start to first verdict", "change product, recipe file"} <= names
    assert not [row for row in rows if "peer" in row]
    assert "torch or open_clip is not installed: the peers" in done.stdout


def test_making_an_engine_needs_torch(environment: dict[str, str], tmp_path: Path) -> None:
    done = bench(environment, "frame", "--engine", str(tmp_path / "engine"))
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert f"no engine at {tmp_path / 'engine'}" in line
    assert "which makes one, is not installed: give --engine with an engine, or pip install" in line


def test_a_benchmark_that_needs_torch_names_it(environment: dict[str, str]) -> None:
    done = bench(environment, "train")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert "bench train needs torch: pip install" in line
