"""A line of four sources while everything around it fails at random.

Its cameras and recorders stall and are lost, its webhook refuses results, its JSON file is rotated, its disk fills up,
and pictures arrive slowly or broken. Afterwards every picture that was put into a folder must have exactly one line,
and every loss of a stream must have been reported.
"""

from __future__ import annotations

import contextlib
import json
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from tests.conftest import draw_part
from tests.runtime.line.sources.camera import Camera, record_stream
from tests.runtime.line.sources.rtsp_server import RtspServer

PROGRAM = "import sys; from goodparts.cli import main; sys.exit(main())"
SETTLE = 1.0
PAUSE = 0.3
"""Most seconds between two pieces of a file that is written slowly; well below SETTLE."""
POOL = 6


class Webhook:
    """A web server that accepts or refuses what is sent to it."""

    def __init__(self) -> None:
        self.refuses = False
        webhook = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                self.rfile.read(int(self.headers["Content-Length"]))
                self.send_response(503 if webhook.refuses else 204)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


class Soak:
    """The line, the faults that it meets, and the checks of what is left. `seed` is that of all random choices."""

    def __init__(self, folder: Path, engine: Path, recipe: Path, seed: int) -> None:
        self._rng, self._folder = random.Random(seed), folder
        self._out, self._log = folder / "results.jsonl", folder / "log"
        self._put: set[str] = set()
        self._broken: set[str] = set()
        self._done: Counter[str] = Counter()
        self._rotations = 0
        pictures = [np.asarray(draw_part(100 + number, defect=number % 2 == 0)) for number in range(POOL)]
        self._pool: list[tuple[str, bytes]] = []
        for number, pixels in enumerate(pictures):
            for ending in (".png", ".bmp", ".tif", ".jpg"):
                path = folder / f"pool-{number}{ending}"
                Image.fromarray(pixels).save(path)
                self._pool.append((ending, path.read_bytes()))
        stream = record_stream(folder / "camera.ts", pictures)
        self._camera, self._recorder, self._webhook = Camera(stream), RtspServer(stream, 5.0), Webhook()
        sources = {
            "first": f'address = "first"\nbacklog = true\nsettle = {SETTLE}',
            "second": f'address = "second"\nbacklog = true\nsettle = {SETTLE}',
            "camera": f'address = "tcp://127.0.0.1:{self._camera.port}"\ntimeout = 0.5',
            "recorder": f'address = "{self._recorder.address}"\ntimeout = 2.0',
        }
        self._incoming = [folder / "first", folder / "second"]
        for incoming in self._incoming:
            incoming.mkdir()
        (folder / "line.toml").write_text(
            f'engine = "{engine}"\n[output]\njson = "results.jsonl"\n'
            f'webhook = "http://127.0.0.1:{self._webhook.port}/"\n'
            'rejects = "rejects"\nrejects_limit_mb = 5.0\n'
            + "".join(f'[[source]]\nname = "{name}"\nrecipe = "{recipe}"\n{rest}\n' for name, rest in sources.items())
        )

    def run(self, seconds: float) -> dict[str, int]:
        """Run the line for a number of seconds, end it in order, check what is left, and return the counts."""
        with self._log.open("wb") as log:
            process = subprocess.Popen(
                [sys.executable, "-c", PROGRAM, "watch", "--line", "line.toml"],
                cwd=self._folder,
                stdout=log,
                stderr=log,
            )
        try:
            self._wait(process, lambda: b"first, second, camera, recorder: " in self._log.read_bytes())
            end = time.monotonic() + seconds
            while time.monotonic() < end:
                self._harm(process)
                time.sleep(self._rng.uniform(0.0, 0.3))
            self._heal(process)
            self._wait(process, lambda: self._put | self._broken <= set(self._lines()))
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0, self._told()
        finally:
            process.kill()
            process.wait()
            for server in (self._camera, self._recorder, self._webhook):
                server.close()
        return self._check()

    def _wait(self, process: subprocess.Popen[bytes], done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + 300
        while not done():
            assert process.poll() is None, self._told()
            assert time.monotonic() < deadline, self._told()
            time.sleep(0.1)

    # Faults and other events.

    def _harm(self, process: subprocess.Popen[bytes]) -> None:
        happenings: dict[str, tuple[int, Callable[[], None]]] = {
            "pictures": (8, self._put_picture),
            "broken pictures": (1, self._put_broken),
            "cameras lost": (1, self._camera.lose),
            "cameras stalled": (1, self._camera.stall),
            "cameras revived": (3, self._camera.revive),
            "webhooks refused": (1, lambda: setattr(self._webhook, "refuses", True)),
            "webhooks taken": (2, lambda: setattr(self._webhook, "refuses", False)),
            "rotations": (1, self._rotate),
            "disks filled": (1, lambda: self._limit_files(process, self._rng.randrange(400))),
            "disks freed": (2, lambda: self._limit_files(process, None)),
            "rights changed": (1, self._change_rights),
        }
        (name,) = self._rng.choices(list(happenings), [weight for weight, _ in happenings.values()])
        self._done[name] += 1
        happenings[name][1]()

    def _heal(self, process: subprocess.Popen[bytes]) -> None:
        self._limit_files(process, None)
        self._camera.revive()
        self._webhook.refuses = False

    def _put_picture(self) -> None:
        """Put a picture into a folder: renamed into place, written in pieces, or preallocated with zeros and filled."""
        ending, data = self._rng.choice(self._pool)
        path = self._rng.choice(self._incoming) / f"{len(self._put):06d}{ending}"
        way = self._rng.choice(("renamed", "pieces", "preallocated"))
        if way == "renamed":
            part = path.with_name(f".{path.name}")
            part.write_bytes(data)
            part.rename(path)
        else:
            with path.open("wb", buffering=0) as file:
                if way == "preallocated":
                    file.write(bytes(len(data)))
                    file.seek(0)
                for piece in (data[: len(data) // 3], data[len(data) // 3 :]):
                    file.write(piece)
                    time.sleep(self._rng.uniform(0.0, PAUSE))
        self._put.add(str(path.relative_to(self._folder)))

    def _put_broken(self) -> None:
        path = self._rng.choice(self._incoming) / f"broken-{len(self._broken)}.png"
        path.write_bytes(self._pool[0][1][:500])
        self._broken.add(str(path.relative_to(self._folder)))

    def _change_rights(self) -> None:
        if self._put:
            (self._folder / self._rng.choice(sorted(self._put))).chmod(self._rng.choice((0o600, 0o644)))

    def _rotate(self) -> None:
        """Rename the JSON file, as logrotate does."""
        with contextlib.suppress(FileNotFoundError):
            self._out.rename(f"{self._out}.{self._rotations + 1}")
            self._rotations += 1

    def _limit_files(self, process: subprocess.Popen[bytes], more: int | None) -> None:
        """Let the line's files grow by at most `more` bytes; None removes the limit."""
        size = resource.RLIM_INFINITY
        if more is not None:
            size = max((path.stat().st_size for path in self._folder.glob("results.jsonl*")), default=0) + more
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

    # Checks.

    def _records(self) -> list[dict[str, Any]]:
        lines = b"".join(path.read_bytes() for path in self._folder.glob("results.jsonl*")).splitlines(keepends=True)
        return [json.loads(line) for line in lines if line.endswith(b"\n")]

    def _lines(self) -> Counter[str]:
        """Return the number of lines of each picture in the folders."""
        paths = [Path(record["path"]) for record in self._records() if "path" in record]
        return Counter(f"{path.parent.name}/{path.name}" for path in paths)

    def _told(self) -> str:
        return self._log.read_text(errors="replace")[-3000:]

    def _check(self) -> dict[str, int]:
        lines, told = self._lines(), self._log.read_text(errors="replace")
        assert lines == Counter(self._put | self._broken), lines - Counter(self._put | self._broken)
        for record in self._records():
            if "path" in record:
                assert ("error" in record) == ("broken" in record["path"]), record
        assert "Traceback" not in told, told[-3000:]
        reported = told.count(": the stream ended; will keep trying")
        returned = told.count("recorder: pictures arrive again")
        assert returned > 0, told[-3000:]
        assert reported > 0, told[-3000:]
        assert self._recorder.connections - 1 <= returned + 1
        frames = Counter(record["source"] for record in self._records())
        return {**{f"lines of {name}": count for name, count in frames.items()}, **self._done}
