"""`make gpu-check`: on a machine with a GPU, build for it, test the kernels, find bad accesses and races, and measure.

It starts with Python's standard library only, and uses what is installed: nvcc, CMake, PyTorch, compute-sanitizer, ncu.
It downloads nothing. Python packages that are missing can be put into build/gpu_bundle (`make gpu-bundle`). Each stage
has a time limit, writes a row to stages.json when it ends, and does not stop the others. All stages together take at
most six minutes. With --again only the stages run that did not succeed the last time, and ncu profiles the kernels.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
BUNDLE = ROOT / "build" / "gpu_bundle"
ROOMS = "runtime", "drawn", "trainer", "export", "evaluation", "benchmarks"
NEEDED = "numpy", "PIL", "msgspec", "safetensors", "threadpoolctl", "nanobind", "pytest", "hypothesis", "torch"
TOTAL = 360.0
"""Seconds for all stages together."""
NO_DEVICE, SKIPPED, OK = "no device", "skipped", "ok"


class SkippedError(Exception):
    """A stage cannot run here; the message tells why."""


@dataclass(frozen=True)
class Row:
    """The result of a stage: "ok", "failed", "timed out", "no device" or "skipped", and the end of its output."""

    stage: str
    result: str
    seconds: float
    detail: str


class Check:
    """The stages of the check."""

    def __init__(self, out: Path, total: float = TOTAL, patience: float = 1.0) -> None:
        """Start the clock.

        Args:
            out: The folder for builds, logs and results.
            total: Seconds for all stages together.
            patience: Factor of all time limits.
        """
        self.out = out
        self.package, self.module, self.driver = out / "package", out / "module", out / "driver"
        self._patience = patience
        self._until = time.monotonic() + patience * total
        self._log = sys.stdout
        self.has_device = False
        self.architecture = os.environ.get("GOODPARTS_ARCHITECTURES", "90")

    def stages(self) -> dict[str, tuple[float, Callable[[], None]]]:
        """Return the stages in their order, each with its time limit in seconds."""
        return {
            "machine": (40, self.look_at_machine),
            "build driver": (60, self.build_driver),
            "build module": (90, self.build_module),
            "correctness": (60, self.test),
            "capture, threads, tiles": (40, self.test_surroundings),
            "bench": (120, self.bench),
            "memcheck": (60, lambda: self.sanitize("memcheck")),
            "racecheck": (60, lambda: self.sanitize("racecheck")),
            "ncu": (90, self.profile),
        }

    def run(self, name: str) -> Row:
        """Run a stage and return its row. Its whole output is in a log file."""
        limit, stage = self.stages()[name]
        began = time.monotonic()
        self._deadline = min(began + self._patience * limit, self._until)
        log = self.out / f"{name.replace(', ', '_').replace(' ', '_')}.log"
        with log.open("w") as self._log:
            try:
                stage()
                result, detail = OK, ""
            except SkippedError as reason:
                result, detail = (NO_DEVICE if str(reason) == NO_DEVICE else SKIPPED), str(reason)
            except subprocess.TimeoutExpired:
                result, detail = "timed out", f"after {time.monotonic() - began:.0f} s"
            except (OSError, RuntimeError) as error:
                result, detail = "failed", str(error)
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-8:])
        return Row(name, result, round(time.monotonic() - began, 1), "\n".join(filter(None, (detail, tail))))

    def call(self, *command: str | Path, cwd: Path | None = None) -> None:
        """Run a command with all its children under the stage's time limit. Raise RuntimeError if it fails."""
        words = [str(word) for word in command]
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise subprocess.TimeoutExpired(words, 0)
        self._log.write(f"$ {' '.join(words)}\n")
        self._log.flush()
        process = subprocess.Popen(
            words, cwd=cwd or self.out, env=self.environment(), stdout=self._log, stderr=subprocess.STDOUT,
            stdin=subprocess.DEVNULL, start_new_session=True,
        )  # fmt: skip
        try:
            code = process.wait(left)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
            raise
        if code:
            raise RuntimeError(f"{words[0]} exited with {code}")

    def environment(self) -> dict[str, str]:
        """Return the environment of commands: CUDA's tools are in PATH; the build and this tree are in PYTHONPATH."""
        paths = [str(self.package), str(ROOT)]
        if self.bundle is not None:
            paths.append(str(self.bundle))
        paths += filter(None, [os.environ.get("PYTHONPATH")])
        path = os.pathsep.join(filter(None, [os.environ.get("PATH"), "/usr/local/cuda/bin"]))
        return os.environ | {"PYTHONPATH": os.pathsep.join(paths), "PATH": path, "PYTHONUNBUFFERED": "1"}

    @property
    def bundle(self) -> Path | None:
        """The folder of the bundled packages, if a package is missing."""
        missing = [name for name in NEEDED if importlib.util.find_spec(name) is None]
        return BUNDLE if missing and BUNDLE.is_dir() else None

    def need(self, *tools: str) -> None:
        """Skip the stage if a command is not in PATH."""
        path = self.environment()["PATH"]
        missing = [tool for tool in tools if shutil.which(tool, path=path) is None]
        if missing:
            raise SkippedError(f"missing: {', '.join(missing)}")

    def need_modules(self, *names: str) -> None:
        """Skip the stage if Python does not find a module."""
        program = "import importlib.util as u, sys; sys.exit(u.find_spec(sys.argv[1]) is None)"
        for name in names:
            try:
                self.call(sys.executable, "-c", program, name)
            except RuntimeError as error:
                raise SkippedError(f"missing: Python's {name}") from error

    def need_device(self) -> None:
        """Skip the stage if there is no GPU."""
        if not self.has_device:
            raise SkippedError(NO_DEVICE)

    def look_at_machine(self) -> None:
        self.need("nvidia-smi")
        query = "name,driver_version,compute_cap,memory.total"
        self.call("nvidia-smi", f"--query-gpu={query}", "--format=csv,noheader")
        self.has_device = True
        capability = subprocess.run(
            ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout.split()[0]
        self.architecture = os.environ.get("GOODPARTS_ARCHITECTURES", capability.replace(".", ""))
        self.call(sys.executable, "-c", "import torch; print(torch.__version__, torch.version.cuda)")

    def configure(self, folder: Path, *options: str) -> None:
        self.need("nvcc", "cmake")
        self.call(
            "cmake", "-S", ROOT / "cpp_ext", "-B", folder, "-DGOODPARTS_CUDA=ON",
            f"-DCMAKE_CUDA_ARCHITECTURES={self.architecture}-real", *options,
        )  # fmt: skip

    def build_driver(self) -> None:
        self.configure(self.driver)
        self.call("cmake", "--build", self.driver, "--parallel", str(os.cpu_count()), "--target", "check_cuda")

    def build_module(self) -> None:
        self.need_modules("nanobind")
        self.configure(self.module, "-DSKBUILD=2", f"-DPython_EXECUTABLE={sys.executable}")
        self.call("cmake", "--build", self.module, "--parallel", str(os.cpu_count()), "--target", "_native")
        shutil.rmtree(self.package, ignore_errors=True)
        shutil.copytree(ROOT / "goodparts", self.package / "goodparts", ignore=shutil.ignore_patterns("_native"))
        for room in ROOMS:
            (self.package / "goodparts" / room).symlink_to(ROOT / room)
        (extension,) = self.module.rglob("_native*.so")
        shutil.copy(extension, self.package / "goodparts")
        program = (
            "import sys\nfrom goodparts import _native\n"
            "assert _native.__file__.startswith(sys.argv[1]), f'another goodparts comes first: {_native.__file__}'\n"
            "print(_native.cuda.built(), _native.cuda.why_not())\n"
        )
        self.call(sys.executable, "-c", program, self.package)

    def need_module(self) -> None:
        if not list(self.package.glob("goodparts/_native*.so")):
            raise SkippedError("the module was not built")

    def pytest(self, *arguments: str | Path) -> None:
        """Run tests of the kernels. Those of Hypothesis are left out, because they search for minutes."""
        self.need_device()
        self.need_module()
        self.need_modules("torch", "pytest", "hypothesis")
        tests = ROOT / "tests" / "cpp_ext"
        self.call(
            sys.executable, "-m", "pytest", "-q", f"--rootdir={ROOT}", "-c", ROOT / "pyproject.toml",
            f"--confcutdir={tests}", "--import-mode=importlib", "-p", "no:cacheprovider", "-o", "filterwarnings=",
            *arguments,
        )  # fmt: skip

    def test(self) -> None:
        folder = ROOT / "tests" / "cpp_ext" / "cuda"
        files = [folder / f"test_{name}.py" for name in ("resize", "score", "search")]
        self.pytest("-m", "not hypothesis", "-k", "on_gpu", *files)

    def test_surroundings(self) -> None:
        self.pytest(ROOT / "tests" / "cpp_ext" / "cuda" / "test_module.py")

    def bench(self) -> None:
        self.need_device()
        self.need_module()
        self.need_modules("torch", "msgspec", "numpy")
        self.call(sys.executable, "-m", "goodparts.benchmarks.latency.gpu", "--json", self.out / "gpu.json")

    def need_driver(self) -> Path:
        self.need_device()
        driver = self.driver / "check_cuda"
        if not driver.is_file():
            raise SkippedError("the driver was not built")
        return driver

    def sanitize(self, tool: str) -> None:
        driver = self.need_driver()
        self.need("compute-sanitizer")
        self.call("compute-sanitizer", "--tool", tool, "--error-exitcode", "9", driver)

    def profile(self) -> None:
        driver = self.need_driver()
        self.need("ncu")
        self.call(
            "ncu", "--set", "basic", "--section", "MemoryWorkloadAnalysis", "--section", "SpeedOfLight",
            "--kernel-name", "regex:search_kernel|finish_kernel|resize_kernel", driver,
        )  # fmt: skip


def read_rows(file: Path) -> dict[str, Row]:
    """Return the rows of an earlier run by stage; no rows if there was no run."""
    if not file.is_file():
        return {}
    return {row["stage"]: Row(**row) for row in json.loads(file.read_text())}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the stages. Return 0 if all succeeded, 2 if there is no GPU, else 1."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument(
        "--out", type=Path, default=ROOT / "build" / "gpu_check", metavar="DIR", help="the folder for the results"
    )
    parser.add_argument(
        "--again", action="store_true", help="run the stages that did not succeed the last time, and ncu"
    )
    parser.add_argument("--only", nargs="+", metavar="STAGE", help="run only these stages, and `machine`")
    parser.add_argument(
        "--patience", type=float, default=1.0, metavar="N", help="multiply the time limits by N, for slow machines"
    )
    args = parser.parse_args(arguments)
    args.out = args.out.resolve()
    args.out.mkdir(parents=True, exist_ok=True)
    check, file = Check(args.out, patience=args.patience), args.out / "stages.json"
    rows = read_rows(file) if args.again else {}
    names = [name for name in check.stages() if args.again or name != "ncu"]
    unknown = set(args.only or ()) - set(names)
    if unknown:
        parser.error(f"{', '.join(sorted(unknown))}: the stages are {', '.join(names)}")
    for name in names:
        was_right = name in rows and rows[name].result == OK
        if name != "machine" and (was_right or (args.only and name not in args.only)):
            continue
        row = rows[name] = check.run(name)
        file.write_text(json.dumps([asdict(row) for row in rows.values()], indent=2) + "\n")
        print(f"{row.stage}: {row.result}, {row.seconds} s")
        if row.result != OK:
            print("    " + row.detail.replace("\n", "\n    "), flush=True)
    if not check.has_device:
        return 2
    return 0 if all(row.result == OK for row in rows.values()) else 1


if __name__ == "__main__":
    sys.exit(main())
