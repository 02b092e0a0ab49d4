"""The faults of months within minutes, for one line.

`goodparts watch` is killed with SIGKILL at random moments. Meanwhile its camera is lost and comes back, its recipe is
replaced and corrupted, and its disk fills up. Afterwards nothing that was written may be lost or incomplete, and no
verdict may be wrong.

    python -m tests.runtime.line.faults --engine DIR --recipe FILE --kills 200

A watched folder with `backlog` gets pictures all the time, and each must have a line in the end. Every verdict is
compared with that of a plain Detector for the same picture and recipe, and the recipe must have been on disk at that
time. The camera sends FRAMES pictures again and again; a verdict of one of them must agree. The disk is a small tmpfs
if one may be mounted, otherwise a limit on the size of the process's files.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import json
import random
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from goodparts.runtime import Detector, Engine, Inspection, Recipe
from goodparts.runtime.core.preprocess import Array8
from PIL import Image

from tests.conftest import draw_part
from tests.runtime.line.sources.camera import Camera, read_stream, record_stream

FRAMES = 6
POOL = 8
"""Number of pictures that are put into the folder again and again, under new names."""
SLACK = 6.0
"""Most seconds from the writing of a recipe to its first verdict, on a busy machine."""
DISK = 8_000_000
"""Bytes of the small disk."""
PROGRAM = "import sys; from goodparts.cli import main; sys.exit(main())"


class Faults:
    """One line, the faults that it meets, and the checks of what is left. `seed` is that of all random choices."""

    def __init__(self, folder: Path, engine: Path, recipe: Recipe, seed: int, has_disk: bool) -> None:
        self.rng = random.Random(seed)
        self.folder, self.disk, self.has_disk = folder, folder / "disk", has_disk
        self.engine, self.recipe_file = engine, folder / "part.safetensors"
        self.out, self.rejects = self.disk / "out.jsonl", self.disk / "rejects"
        self.incoming = folder / "in"
        self.incoming.mkdir()
        self.pool = [np.asarray(draw_part(100 + number, defect=number % 2 == 0)) for number in range(POOL)]
        for number, pixels in enumerate(self.pool):
            Image.fromarray(pixels).save(folder / f"pool-{number}.png")
        self.recipes = {each.digest: each for each in variants(recipe)}
        self.installed: list[tuple[float, str]] = []
        self.put: dict[str, int] = {}
        self.broken: set[str] = set()
        self.written = b""
        self.done: Counter[str] = Counter()
        stream = record_stream(folder / "camera.ts", self.pool[:FRAMES])
        self.seen = read_stream(stream)
        self.camera = Camera(stream)
        self.install()
        (folder / "line.toml").write_text(
            f"""
            engine = "{engine}"
            [output]
            json = "disk/out.jsonl"
            rejects = "disk/rejects"
            rejects_limit_mb = 3.0
            [[source]]
            name = "folder"
            address = "in"
            recipe = "part.safetensors"
            backlog = true
            [[source]]
            name = "camera"
            address = "tcp://127.0.0.1:{self.camera.port}"
            recipe = "part.safetensors"
            timeout = 0.5
            """
        )

    # Faults and other events.

    def install(self) -> None:
        """Install a good recipe: renamed into place, or written over the old one, as `cp` does."""
        digest = self.rng.choice(list(self.recipes))
        data = self.recipes[digest].to_bytes()
        if self.installed and self.rng.random() < 0.3:
            self.recipe_file.write_bytes(data)
        else:
            self._replace(data)
        self.installed.append((time.time(), digest))

    def corrupt(self) -> None:
        """Install a recipe that must be refused, so that the old one stays in use."""
        data = bytearray(self.recipes[self.rng.choice(list(self.recipes))].to_bytes())
        kind = self.rng.choice(("cut", "flipped", "empty", "other", "gone"))
        if kind == "cut":
            del data[self.rng.randrange(len(data)) :]
        elif kind == "flipped":
            data[self.rng.randrange(len(data))] ^= 1 << self.rng.randrange(8)
        elif kind == "gone":
            self.recipe_file.unlink(missing_ok=True)
            return
        self._replace({"empty": b"", "other": b"no recipe"}.get(kind, bytes(data)))

    def picture(self) -> None:
        """Put a picture into the folder: renamed into place, or written slowly."""
        number = self.rng.randrange(POOL)
        name = f"{len(self.put):06d}.png"
        data = (self.folder / f"pool-{number}.png").read_bytes()
        path = self.incoming / name
        if self.rng.random() < 0.7:
            part = self.incoming / f".{name}"
            part.write_bytes(data)
            part.rename(path)
        else:
            half = self.rng.randrange(len(data))
            with path.open("wb", buffering=0) as file:
                file.write(data[:half])
                time.sleep(self.rng.uniform(0.0, 0.3))
                file.write(data[half:])
        self.put[name] = number

    def break_picture(self) -> None:
        """Put a picture into the folder that will never be whole."""
        name = f"broken-{len(self.broken)}.png"
        (self.incoming / name).write_bytes((self.folder / "pool-0.png").read_bytes()[:500])
        self.broken.add(name)

    def fill(self, process: subprocess.Popen[bytes]) -> None:
        """Make the disk full from now on."""
        if self.has_disk:
            with contextlib.suppress(OSError), (self.disk / "filler").open("ab", buffering=0) as file:
                for size in (1 << 16, 1 << 8, 1):
                    with contextlib.suppress(OSError):
                        while file.write(b"x" * size) == size:
                            pass
        else:
            size = self.out.stat().st_size if self.out.exists() else 0
            limit = size + self.rng.randrange(400)
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (limit, resource.RLIM_INFINITY))

    def free(self, process: subprocess.Popen[bytes] | None = None) -> None:
        """Make room on the disk again."""
        (self.disk / "filler").unlink(missing_ok=True)
        if not self.has_disk and process is not None:
            with contextlib.suppress(ProcessLookupError):
                resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))

    def harm(self, process: subprocess.Popen[bytes]) -> None:
        """Let one random event happen while the line runs."""
        happenings: dict[str, tuple[int, Callable[[], None]]] = {
            "pictures": (8, self.picture),
            "recipes replaced": (2, self.install),
            "recipes corrupted": (2, self.corrupt),
            "cameras lost": (1, self.camera.lose),
            "cameras stalled": (1, self.camera.stall),
            "cameras revived": (3, self.camera.revive),
            "disk filled": (1, lambda: self.fill(process)),
            "disk freed": (2, lambda: self.free(process)),
        }
        (name,) = self.rng.choices(list(happenings), [weight for weight, _ in happenings.values()])
        self.done[name] += 1
        happenings[name][1]()

    # Starts and ends.

    def start(self) -> subprocess.Popen[bytes]:
        """Start the line, with its messages in a file."""
        with (self.folder / "said").open("ab") as said:
            return subprocess.Popen([sys.executable, "-c", PROGRAM, "watch", "--line", "line.toml"], cwd=self.folder,
                                    stderr=said, stdout=said)  # fmt: skip

    def live(self) -> None:
        """Start, harm and kill the line once: most times after it is ready, sometimes before."""
        said = self.folder / "said"
        before = said.stat().st_size if said.exists() else 0
        process = self.start()
        try:
            if self.rng.random() < 0.9:
                deadline = time.monotonic() + 600
                while b"folder, camera: " not in said.read_bytes()[before:] and process.poll() is None:
                    assert time.monotonic() < deadline, said.read_text()[before:]
                    time.sleep(0.01)
            end = time.monotonic() + self.rng.uniform(0.0, 1.5)
            while (left := end - time.monotonic()) > 0 and process.poll() is None:
                self.harm(process)
                time.sleep(min(left, self.rng.uniform(0.0, 0.2)))
        finally:
            process.kill()
            code = process.wait()
        if code == 2:  # at its start it refuses a bad recipe or a full disk, in one line
            (line,) = said.read_text()[before:].splitlines()
            assert line.startswith("goodparts watch: "), line
            self.install()
            self.free()
        else:
            assert code == -9, (code, said.read_text()[before:])
        self.check_prefix()

    def finish(self) -> None:
        """End all faults, wait until every picture is inspected, and end the line in order."""
        self.free()
        self.install()
        self.camera.revive()
        process = self.start()
        try:
            deadline = time.monotonic() + 600
            wanted = set(self.put) | self.broken
            while not wanted <= {Path(record.get("path", "")).name for record in self.records(whole=False)}:
                assert time.monotonic() < deadline, "pictures without a line"
                assert process.poll() is None, (self.folder / "said").read_text()[-1000:]
                time.sleep(0.1)
            process.terminate()
            assert process.wait(600) == 0
        finally:
            process.kill()
            process.wait()
            self.camera.close()

    # Checks.

    def check_prefix(self) -> None:
        """Check that no earlier line is lost or changed, and that at most the last one is half."""
        now = self.out.read_bytes() if self.out.exists() else b""
        whole = now[: now.rfind(b"\n") + 1]
        assert whole.startswith(self.written), "lines were lost or changed"
        self.written = whole

    def records(self, whole: bool = True) -> list[dict[str, Any]]:
        data = self.out.read_bytes() if self.out.exists() else b""
        if whole:
            assert data.endswith(b"\n"), "half a line"
        return [json.loads(line) for line in data[: data.rfind(b"\n") + 1].splitlines()]

    def check(self) -> dict[str, int]:
        """Check everything that is left, and return the counts."""
        self.check_prefix()
        records = self.records()
        expected = Expected(self.engine, self.recipes, self.pool, self.seen)
        for record in records:
            name = Path(record.get("path", "")).name
            assert ("error" in record) == (name in self.broken), record
            if name not in self.broken:
                self.check_recipe(record)
                assert expected.agrees(record, self.put.get(name)), record
        rejects = self.check_rejects()
        leftovers = [path.name for path in self.folder.rglob("*.part")]
        assert not leftovers, leftovers
        assert "Traceback" not in (self.folder / "said").read_text()
        Recipe.open(self.recipe_file)
        lines = {"folder": 0, "camera": 0}
        for record in records:
            lines[record["source"]] += 1
        return {**{f"lines of the {name}": count for name, count in lines.items()},
                "rejects": rejects, **self.done}  # fmt: skip

    def check_recipe(self, record: dict[str, Any]) -> None:
        """Check that the recipe was the newest good one on disk, with a tolerance of SLACK."""
        taken = datetime.fromisoformat(record["time"].replace("Z", "+00:00")).timestamp()
        before = [digest for moment, digest in self.installed if moment <= taken - SLACK][-1:]
        near = [digest for moment, digest in self.installed if abs(moment - taken) <= SLACK]
        assert record["recipe"] in before + near, "a recipe that was not there at that time"

    def check_rejects(self) -> int:
        """Check that each reject has its three files, and that they are whole; return the number of rejects."""
        stems = {path.name.split(".frame.png")[0] for path in self.rejects.glob("*.frame.png")}
        for stem in stems:
            record = json.loads((self.rejects / f"{stem}.json").read_bytes())
            assert record["decision"] == "reject"
            for kind in ("frame", "map"):
                with Image.open(self.rejects / f"{stem}.{kind}.png") as picture:
                    pixels = np.asarray(picture)
                if kind == "frame" and "path" in record:
                    assert (pixels == self.pool[self.put[Path(record["path"]).name]]).all()
        assert len(list(self.rejects.iterdir())) == 3 * len(stems), "half a reject"
        return len(stems)

    def _replace(self, data: bytes) -> None:
        part = self.folder / "part.new"
        part.write_bytes(data)
        part.rename(self.recipe_file)


class Expected:
    """The inspections by a plain Detector of each picture with each recipe."""

    def __init__(self, engine: Path, recipes: dict[str, Recipe], pool: list[Array8], stream: list[Array8]) -> None:
        detector = Detector(Engine.open(engine), next(iter(recipes.values())))
        self._found: dict[str, tuple[list[Inspection], list[Inspection]]] = {}
        for digest, recipe in recipes.items():
            detector.use(recipe)
            self._found[digest] = [detector.predict(each) for each in pool], [detector.predict(each) for each in stream]

    def agrees(self, record: dict[str, Any], number: int | None) -> bool:
        """Return whether a record agrees with an inspection of the same picture and recipe.

        `number` is that of the picture in the pool; None allows any picture of the stream. The scores may differ a
        little, because a batch may add up in another order.
        """
        pool, stream = self._found[record["recipe"]]
        return any(
            record["raw_threshold"] == found.raw_threshold
            and record["verdict"] == record["decision"] == ("reject" if record["score"] >= 1 else "good")
            and abs(record["score"] - found.score) <= 1e-4 * found.score
            for found in (stream if number is None else [pool[number]])
        )


def variants(recipe: Recipe) -> list[Recipe]:
    """Return recipes of one product that score and decide differently."""
    thresholds = recipe.header.thresholds
    low = msgspec.structs.replace(thresholds, image=thresholds.image * 0.5)
    header = msgspec.structs.replace(recipe.header, temperature=recipe.header.temperature * 1.2)
    return [
        recipe,
        recipe.with_thresholds(low),
        dataclasses.replace(recipe, header=header).with_thresholds(thresholds),
    ]


@contextlib.contextmanager
def small_disk(place: Path) -> Iterator[bool]:
    """Mount a tmpfs of DISK bytes at `place`; yield False if that is not allowed."""
    place.mkdir()
    mount = shutil.which("mount")
    mounted = (
        mount is not None
        and not subprocess.run(
            [mount, "-t", "tmpfs", "-o", f"size={DISK}", "tmpfs", str(place)], capture_output=True, check=False
        ).returncode
    )
    try:
        yield mounted
    finally:
        if mounted:
            subprocess.run(["umount", "-l", str(place)], check=True)


def run(folder: Path, engine: Path, recipe: Recipe, kills: int, seed: int) -> dict[str, int]:
    """Kill a line a number of times, check what is left, and return the counts."""
    with small_disk(folder / "disk") as has_disk:
        faults = Faults(folder, engine, recipe, seed, has_disk)
        if kills >= 20:  # a broken picture is reported only after seconds
            faults.break_picture()
        for done in range(1, kills + 1):
            faults.live()
            if done % 20 == 0:
                print(f"{done} kills", file=sys.stderr, flush=True)
        faults.finish()
        return {"kills": kills, "a small tmpfs": has_disk, **faults.check()}


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--engine", type=Path, required=True)
    parser.add_argument("--recipe", type=Path, required=True)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0)
    told = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        print(run(Path(name), told.engine.resolve(), Recipe.open(told.recipe), told.kills, told.seed))
