"""anomalib's models as peers. They run in an environment of their own, because anomalib needs another torch than ours.

pip makes the environment once, in the user's cache; it takes gigabytes and some minutes. anomalib_script.py runs in it,
one process per model, and answers every turn with the seconds of its frames. A turn has few frames: on two quiet cores
WinCLIP takes four seconds for each, because it encodes the whole picture and hundreds of windows.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
from pathlib import Path
from types import TracebackType
from typing import Any

from goodparts.runtime.core.errors import BackendError
from goodparts.runtime.core.files import cache_folder

from ..arrivals import BACK_TO_BACK, Latencies, LatenciesByPattern
from ..synthetic import FRAME_SIZE

log = logging.getLogger(__name__)

MODELS = ("WinCLIP", "PatchCore")
SMALL_MODELS = ("PatchCore MobileNetV2",)
"""Peers of the backbone `small`: PatchCore with the same network, the same image size and the same taps."""
WARMUP_FRAMES, FRAMES = 1, 4
"""The numbers of untimed and of timed frames of a turn."""
REQUIREMENTS = ("anomalib>=2.3,<3", "torch", "torchvision", "open_clip_torch>=2.23,<2.26.1")
"""The packages of the environment. The bounds of open_clip come from anomalib's extra `clip`."""
SCRIPT = Path(__file__).with_name("anomalib_script.py")


def title(model: str) -> str:
    """Return the name of a model in a report.

    Args:
        model: One of MODELS or SMALL_MODELS.
    """
    return f"anomalib {model}, random weights"


class AnomalibPeer:
    """One of MODELS or SMALL_MODELS with random weights and a few shots, which inspects frames back to back.

    It is a contender, as timing.Worker is.

    Attributes:
        ran: The versions and threads that run the model, and the number of frames of a round. `check` sets it.
    """

    def __init__(self, model: str, shots: int, threads: int | None, python: Path | None = None) -> None:
        """Start the process.

        Args:
            model: One of MODELS or SMALL_MODELS.
            shots: The number of pictures that the model learns from.
            threads: The threads of torch; None for torch's own choice.
            python: The Python of the environment; None for our environment, which is made if it does not exist.

        Raises:
            BackendError: The environment cannot be made.
        """
        self._model = model
        self.ran = "not prepared yet"  # check() replaces this with versions and threads
        height, width = FRAME_SIZE
        settings = {
            "model": model, "shots": shots, "threads": threads, "frames": FRAMES, "warmup": WARMUP_FRAMES,
            "height": height, "width": width,
        }  # fmt: skip
        self._process = subprocess.Popen(
            [str(python or environment()), "-I", str(SCRIPT), json.dumps(settings)],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
        )  # fmt: skip

    def check(self) -> None:
        """Wait until the model is prepared, which can take some minutes.

        Raises:
            BackendError: The model does not run, or the process has ended.
        """
        log.info("preparing anomalib %s", self._model)
        self.ran = f"{self._read()['ran']}; {FRAMES} frames a round"

    def __call__(self, settle: int) -> tuple[float, LatenciesByPattern]:
        """Take a turn.

        Args:
            settle: Not used, because the script makes the untimed calls itself.

        Returns:
            The sum of the seconds of all timed frames, and the latency of each of them back to back.

        Raises:
            BackendError: The model does not run, or the process has ended.
        """
        del settle
        try:
            assert self._process.stdin is not None
            self._process.stdin.write("\n")
            self._process.stdin.flush()
        except OSError as error:
            raise self._ended() from error
        seconds = [float(value) for value in self._read()["seconds"]]
        return sum(seconds), {BACK_TO_BACK: Latencies(seconds, [{} for _ in seconds])}

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise self._ended()
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise BackendError(f"anomalib {self._model} does not run: {answer['error']}")
        return answer

    def _ended(self) -> BackendError:
        return BackendError(f"the process of anomalib {self._model} ended early: see its message above")

    def __enter__(self) -> AnomalibPeer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the pipes, so that the process ends."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                pipe.close()
        try:
            self._process.wait(10)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


def environment(folder: Path | None = None) -> Path:
    """Return the Python of the environment. Make the environment first if it does not exist or is incomplete.

    Args:
        folder: The environment's folder; None for ours in the user's cache.

    Raises:
        BackendError: The environment cannot be made.
    """
    folder = folder or cache_folder() / "peers" / "anomalib"
    python = folder / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    marker = folder / "whole"
    requirements = "\n".join(REQUIREMENTS)
    if marker.is_file() and marker.read_text(encoding="utf-8") == requirements and python.exists():
        return python
    log.info("installing anomalib in %s: gigabytes, some minutes", folder)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.parent.mkdir(parents=True, exist_ok=True)
        for command in (
            [sys.executable, "-m", "venv", str(folder)],
            [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", *REQUIREMENTS],
        ):
            subprocess.run(command, check=True, stdout=sys.stderr)
        marker.write_text(requirements, encoding="utf-8")
    except (OSError, subprocess.CalledProcessError) as error:
        raise BackendError(f"no environment for anomalib could be made in {folder} ({error}): see above") from error
    return python
