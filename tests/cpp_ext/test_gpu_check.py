"""`make gpu-check` without a GPU: its report, its time limits, and its driver on the emulation of CUDA."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.cpp_ext import gpu_check
from tests.cpp_ext.building import SOURCE, run
from tests.cpp_ext.gpu_check import NO_DEVICE, OK, Check


def results(out: Path) -> dict[str, str]:
    return {row["stage"]: row["result"] for row in json.loads((out / "stages.json").read_text())}


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU")
def test_without_a_gpu_every_stage_tells_so(tmp_path: Path) -> None:
    stages = ("correctness", "capture, threads, tiles", "bench", "memcheck", "racecheck")
    done = subprocess.run(
        [sys.executable, gpu_check.__file__, "--out", tmp_path, "--only", *stages],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 2
    assert "machine: skipped" in done.stdout
    assert "missing: nvidia-smi" in done.stdout
    assert results(tmp_path) == {"machine": "skipped", **dict.fromkeys(stages, NO_DEVICE)}


class Three(Check):
    """Three stages: one takes too long and has a child that must be ended, one fails, one succeeds."""

    runs: list[str]

    def stages(self) -> dict[str, tuple[float, Callable[[], None]]]:
        self.has_device = True
        return {
            "slow": (0.5, lambda: self.call("sh", "-c", f"(sleep 2; touch {self.out}/late) & wait")),
            "wrong": (20, lambda: self.call("sh", "-c", "echo the reason; exit 3")),
            "right": (20, lambda: self.call("sh", "-c", f"echo once >> {self.out}/right")),
        }


def test_no_stage_stops_the_others_and_again_repeats_those_that_failed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(gpu_check, "Check", Three)
    for arguments in ([], ["--again"]):
        assert gpu_check.main(["--out", str(tmp_path), *arguments]) == 1
        assert results(tmp_path) == {"slow": "timed out", "wrong": "failed", "right": OK}
    assert (tmp_path / "right").read_text() == "once\n"
    assert "sh exited with 3" in capsys.readouterr().out
    assert "the reason" in (tmp_path / "wrong.log").read_text()
    time.sleep(2)
    assert not (tmp_path / "late").exists(), "what a stage started ends with it"


def test_no_stage_begins_after_the_time_for_all(tmp_path: Path) -> None:
    check = Three(tmp_path, total=0)
    assert check.run("right").result == "timed out"
    assert not (tmp_path / "right").exists()


@pytest.mark.skipif(not shutil.which("g++") or sys.platform != "linux", reason="g++ on Linux is needed")
def test_the_driver_succeeds_on_the_emulation(tmp_path: Path) -> None:
    cuda = SOURCE / "cuda"
    kernels = [cuda / f"{name}.cu" for name in ("bank", "resize", "score", "search")]
    folders = [cuda / "on_cpu", cuda, SOURCE / "include", SOURCE / "src"]
    driver = tmp_path / "check_cuda"
    run("g++", "-std=c++17", "-O1", *(f"-I{folder}" for folder in folders), "-o", driver, "-xc++", *kernels,
        SOURCE / "tests" / "check_cuda.cu")  # fmt: skip
    lines = run(driver, "small").splitlines()
    assert len(lines) == 5
    assert lines[-1] == "resize: right"
