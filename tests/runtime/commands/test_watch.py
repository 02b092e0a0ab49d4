"""The line as a command: recordings and folders in, JSON lines out."""

from __future__ import annotations

import argparse
import io
import json
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import av
import pytest
from goodparts.runtime import Detector
from goodparts.runtime.commands.screen import Screen
from goodparts.runtime.commands.watch import add_arguments, make_settings
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.line.settings import SettlingSettings, read_settings

from goodparts.cli import main
from tests.runtime.conftest import BAD, FRAMES


def read_lines(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_every_frame_of_two_recordings_is_judged_as_by_the_detector(
    engine_folder: Path, recipe_file: Path, recording: Path, tmp_path: Path
) -> None:
    out = tmp_path / "out.jsonl"
    common = ["--engine", str(engine_folder), "--recipe", str(recipe_file), "--json", str(out)]
    assert main(["watch", *common, "--source", str(recording), "--source", str(recording)]) == 0
    records = read_lines(out)
    detector = Detector.open(engine_folder, recipe_file)
    with av.open(str(recording)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    expected = [detector.predict(frame).score for frame in frames]
    for source in ("parts", "parts-2"):
        mine = [record for record in records if record["source"] == source]
        assert [record["frame"] for record in mine] == list(range(FRAMES))
        # Other sources in the same batch change the order of sums, not what is summed.
        assert [record["score"] for record in mine] == pytest.approx(expected, rel=1e-4)
        assert {"time", "verdict", "decision", "regions", "milliseconds", "recipe", "graph"} <= set(mine[0])


def test_a_line_file_sets_thresholds_and_smoothing_of_each_source(
    engine_folder: Path, recipe_file: Path, recording: Path, tmp_path: Path
) -> None:
    detector = Detector.open(engine_folder, recipe_file)
    with av.open(str(recording)) as container:
        scores = [detector.predict(frame.to_ndarray(format="rgb24")).score for frame in container.decode(video=0)]
    good = max(score for number, score in enumerate(scores) if number not in BAD)
    threshold = (good + min(scores[number] for number in BAD)) / 2
    shutil.copy(recording, tmp_path / "parts.mp4")
    shutil.copy(recipe_file, tmp_path / "ring.safetensors")
    (tmp_path / "line.toml").write_text(
        f"""
        engine = "{engine_folder}"
        output = {{ json = "out.jsonl", rejects = "rejects" }}
        [[source]]
        name = "left"
        address = "parts.mp4"
        recipe = "ring.safetensors"
        threshold = {threshold}
        smoothing = [2, 3]
        [[source]]
        name = "right"
        address = "parts.mp4"
        recipe = "ring.safetensors"
        threshold = 1000
        """
    )
    assert main(["watch", "--line", str(tmp_path / "line.toml")]) == 0
    records = read_lines(tmp_path / "out.jsonl")
    rejected = {kind: [r["frame"] for r in records if r["source"] == "left" and r[kind] == "reject"]
                for kind in ("verdict", "decision")}  # fmt: skip
    assert rejected == {"verdict": list(BAD), "decision": [BAD[0] + 1, *BAD[2:], BAD[2] + 1]}
    assert all(record["decision"] == "good" for record in records if record["source"] == "right")
    kept = sorted(path.name.partition("_left_")[2] for path in (tmp_path / "rejects").iterdir())
    assert kept == sorted(f"{n}.{end}" for n in rejected["decision"] for end in ("frame.png", "json", "map.png"))


@pytest.mark.parametrize(("output", "reported"), [("", True), ('[output]\njson = "out.jsonl"', False)])
def test_a_line_without_outputs_reports_that_its_results_go_nowhere(
    engine_folder: Path, recipe_file: Path, recording: Path, tmp_path: Path, output: str, reported: bool,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    source = f'[[source]]\nname = "left"\naddress = "{recording}"\nrecipe = "{recipe_file}"'
    (tmp_path / "line.toml").write_text(f'engine = "{engine_folder}"\n{source}\n{output}')
    assert main(["watch", "--line", str(tmp_path / "line.toml")]) == 0
    assert ("results go nowhere" in capsys.readouterr().err) == reported


def test_a_terminal_shows_the_table_below_the_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "12")
    monkeypatch.setenv("LINES", "4")
    stream = io.StringIO()
    screen = Screen(stream, draws=True)
    screen.print("hello")
    screen.show(["head", "a line that is too long", "does not fit"])
    screen.print("lost")
    assert stream.getvalue() == "hello\nhead\na line that\n" + "\r\x1b[2A\x1b[J" + "lost\nhead\na line that\n"


def test_a_journal_gets_the_table_at_intervals(monkeypatch: pytest.MonkeyPatch) -> None:
    stream = io.StringIO()
    screen = Screen(stream, draws=False)
    screen.show(["head", "left"])
    assert stream.getvalue() == ""
    monkeypatch.setattr(Screen, "QUIET", 0.0)
    screen.show(["head", "left"])
    assert stream.getvalue() == "head\nleft\n"


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_in_order(
    engine_folder: Path, recipe_file: Path, photos: Path, tmp_path: Path, number: signal.Signals
) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    listen = "signal.signal(signal.SIGINT, signal.default_int_handler)"  # a job in the background ignores SIGINT
    program = f"import signal, sys; {listen}; from goodparts.cli import main; sys.exit(main())"
    options = ["--engine", str(engine_folder), "--recipe", str(recipe_file), "--source", str(folder)]
    with subprocess.Popen(
        [sys.executable, "-c", program, "watch", *options],
        stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stdout is not None
        assert process.stderr is not None
        assert "small on" in process.stderr.readline()
        shutil.copy(photos / "bad" / "4.png", folder / ".hidden.png")
        (folder / ".hidden.png").rename(folder / "part.png")
        record = json.loads(process.stdout.readline())
        assert record["path"] == str(folder / "part.png")
        process.send_signal(number)
        assert process.stdout.read() == ""
        assert "ended in order; in: 1 inspected, 1 rejected, 0 failed, 0 dropped" in process.stderr.read()
        assert process.wait() == 0


@pytest.mark.skipif(sys.platform == "win32", reason="signals are POSIX's")
def test_signals_while_it_ends_lose_nothing_and_sighup_opens_the_file_again(
    engine_folder: Path, recipe_file: Path, photos: Path, tmp_path: Path
) -> None:
    """The line's hook is slow, so that the signals after the first come while the line ends."""
    folder, out, rotated = tmp_path / "in", tmp_path / "out.jsonl", tmp_path / "out.jsonl.1"
    folder.mkdir()
    (tmp_path / "slow.py").write_text(
        "import pathlib, time\n"
        "def note(record):\n"
        "    time.sleep(0.6)\n"
        "    with pathlib.Path('noted').open('a') as file:\n"
        "        print(record['path'], file=file)\n"
    )
    (tmp_path / "line.toml").write_text(
        f"""
        engine = "{engine_folder}"
        output = {{ json = "out.jsonl", hook = "slow:note" }}
        [[source]]
        name = "in"
        address = "in"
        recipe = "{recipe_file}"
        """
    )
    program = "import sys; from goodparts.cli import main; sys.exit(main())"
    with subprocess.Popen(
        [sys.executable, "-c", program, "watch", "--line", "line.toml"],
        cwd=tmp_path, stderr=subprocess.PIPE, text=True,
    ) as process:  # fmt: skip
        assert process.stderr is not None
        assert "small on" in process.stderr.readline()

        def add(number: int) -> None:
            part = folder / f".{number}.part"
            shutil.copy(photos / "bad" / "4.png", part)
            part.rename(folder / f"{number}.png")

        def wait_for(path: Path, lines: int) -> None:
            while not path.exists() or path.read_text().count("\n") < lines:
                assert process.poll() is None
                time.sleep(0.01)

        add(0)
        wait_for(out, 1)
        out.rename(rotated)
        process.send_signal(signal.SIGHUP)
        wait_for(out, 0)
        for number in (1, 2, 3, 4):
            add(number)
        wait_for(out, 4)
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            process.send_signal(number)
            time.sleep(0.15)
        messages = process.stderr.read()
    assert "terminate called" not in messages
    assert len(read_lines(rotated) + read_lines(out)) == 5
    assert "in: 5 inspected" in messages
    noted = (tmp_path / "noted").read_text().count("\n")
    if noted == 5:
        assert "ended in order" in messages
        assert process.returncode == 0
    else:
        lost = (5 - noted, 6 - noted)  # a call that is counted as lost may still end
        assert any(f"hook: {count} results were not delivered" in messages for count in lost)
        assert "ended with the losses above" in messages
        assert process.returncode == 2


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--engine", "e", "--recipe", "r"], "--recipe and --source are needed, or --line FILE"),
        (["--line", "f", "--engine", "e", "--json", "-"], "leave --engine, --json out, or write it into the file"),
        (["--engine", "/nowhere", "--recipe", "r", "--source", "x"], "no engine at /nowhere"),
    ],
)
def test_errors_are_one_line_and_exit_2(options: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["watch", *options]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("goodparts watch: ")
    assert message in line


@pytest.mark.parametrize(
    ("options", "on_terminal", "json"),
    [([], True, None), ([], False, "-"), (["--json", "-"], True, "-"), (["--json", "a.jsonl"], True, "a.jsonl")],
)
def test_json_lines_go_to_a_terminal_only_on_request(
    options: list[str], on_terminal: bool, json: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: on_terminal)
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    settings = make_settings(parser.parse_args(["--recipe", "r", "--source", "s", *options]))
    assert settings.output.json == json


def test_settling_is_asked_for_by_an_option_or_in_the_lines_file(tmp_path: Path) -> None:
    parser = argparse.ArgumentParser()
    add_arguments(parser)
    common = ["--engine", "e", "--recipe", "r", "--source", "s"]
    assert make_settings(parser.parse_args(common)).settling is None
    asked = make_settings(parser.parse_args([*common, "--settle", "60", "--take"])).settling
    assert asked == SettlingSettings(parts=60, take=True)
    with pytest.raises(SettingsError, match=r"--settle: settling.parts 5: at least 20 are needed"):
        make_settings(parser.parse_args([*common, "--settle", "5"]))
    with pytest.raises(SettingsError, match="give --settle N as well"):
        make_settings(parser.parse_args([*common, "--take"]))
    source = '[[source]]\nname = "a"\naddress = "s"\nrecipe = "r"\n'
    (tmp_path / "line.toml").write_text(f'engine = "e"\nsettling = {{ parts = 40 }}\n{source}')
    assert read_settings(tmp_path / "line.toml").settling == SettlingSettings(parts=40)
