"""Blocks of the README, the tutorial and the how-to pages run as they stand, in a folder with drawn photos.

The line above a block marks it, invisibly for readers:

    <!-- run -->              the test runs the commands, or the Python
    <!-- run: FILE -->        the block is this file, which commands after it read
    <!-- not run: REASON -->  the test only parses the commands

A block of `text` shows what a command prints, and has no mark. On all other pages, commands are only parsed. A sentence
may show a part of a command, so only its options are looked up.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import io
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import av
import pytest
from goodparts.drawn import __main__ as drawn
from goodparts.evaluation.sweep import read_sweep
from goodparts.export.products import read_product_tables
from goodparts.runtime.core.files import read_toml
from goodparts.runtime.engine.shipped import SHIPPED
from goodparts.runtime.line.settings import read_settings

from goodparts import cli, teach

ROOT = Path(__file__).parents[2]
MARKED = [ROOT / "README.md", ROOT / "docs" / "tutorial.md", *sorted((ROOT / "docs" / "howto").glob("*.md"))]
PAGES = [*MARKED, *sorted({*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")} - {*MARKED})]
IN_SENTENCE = re.compile(r"`(goodparts|train-and-export)\s([^`]*)`")
BLOCK = re.compile(
    r"^(?:<!-- (?P<mark>run|not run)(?:: (?P<note>[^\n]+))? -->\n)?```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
PROGRAMS = Path(sys.executable).parent
"""The folder of `goodparts` and `python`."""
PATIENCE = 60.0
"""The most seconds to wait for a line."""


class Block(NamedTuple):
    """A fenced block of a page.

    Attributes:
        mark: "run", "not run", or None if it has no mark.
        note: The file or the reason that the mark gives.
        language: The language after the fence; "" for commands.
        text: The lines between the fences.
    """

    mark: str | None
    note: str | None
    language: str
    text: str

    @property
    def lines(self) -> list[str]:
        """The lines; one that ends in a backslash goes on."""
        return self.text.replace("\\\n", " ").splitlines()


def blocks(page: Path) -> list[Block]:
    return [Block(*found.groups()) for found in BLOCK.finditer(page.read_text(encoding="utf-8"))]


RUN = [page for page in MARKED if any(block.mark == "run" for block in blocks(page))]
TOML = [(page, block.text) for page in PAGES for block in blocks(page) if block.language == "toml"]


def name(page: Path) -> str:
    return str(page.relative_to(ROOT))


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader of the how-to pages has it.

    It holds photos, with more good ones in more/, a recording of bad parts, the shipped engine and two recipes.
    """
    folder = tmp_path_factory.mktemp("reader")
    photos = folder / "photos"
    drawn.draw_photos(photos, "gear", good=4, line=20, bad=6)
    (photos / "more").mkdir()
    for path in sorted((photos / "line").glob("[0-9][0-9][0-9].png"))[:6]:
        (photos / "more" / path.name).write_bytes(path.read_bytes())
    with av.open(str(folder / "recording.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=5)
        stream.height, stream.width = drawn.SIZE
        for path in sorted((photos / "bad").iterdir()):
            with av.open(str(path)) as picture:
                container.mux(stream.encode(next(picture.decode(video=0)).reformat(format="yuv420p")))
        container.mux(stream.encode())
    (folder / "engine").symlink_to(SHIPPED)
    recipe = teach(photos / "good", "nut")
    for product in ("nut", "bolt"):
        recipe.save(folder / f"{product}.safetensors")
    return folder


class Terminal(io.StringIO):
    """Standard input from somebody who answers `y` to every question."""

    def __init__(self) -> None:
        super().__init__("y\n" * 9)

    def isatty(self) -> bool:
        return True


class Reader:
    """Enters the commands of a page, in the working folder.

    Args:
        monkeypatch: Sets the arguments of a module that is run.
        lines: Ends the lines that are watched.
    """

    def __init__(self, monkeypatch: pytest.MonkeyPatch, lines: contextlib.ExitStack) -> None:
        self._monkeypatch = monkeypatch
        self._lines = lines
        self._watches = False
        self._printed = ""

    def enter(self, line: str) -> None:
        """Run a command, in this process if it is one of ours, which is sooner. NAME is the file found before."""
        line = line.replace("NAME", Path(self._printed.strip()).stem)
        program, *words = shlex.split(line, comments=True)
        if [program, *words[:1]] == ["goodparts", "watch"]:
            self._lines.enter_context(watch(words))
            self._watches = True
        elif program == "goodparts":
            assert cli.main(words) == 0, line
        elif [program, *words[:2]] == ["python", "-m", "goodparts.drawn"]:
            self._monkeypatch.setattr("sys.argv", words[1:])
            drawn.main()
        else:
            self._run_in_shell(line)

    def _run_in_shell(self, line: str) -> None:
        """Run a command; while a line is watched, until it succeeds, because the line needs a moment."""
        path = f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}"
        until = time.monotonic() + PATIENCE
        while True:
            done = subprocess.run(
                ["bash", "-c", line], env=os.environ | {"PATH": path}, capture_output=True, text=True, check=False
            )
            if done.returncode == 0 or not self._watches or time.monotonic() > until:
                break
            time.sleep(0.1)
        assert done.returncode == 0, f"{line}\n{done.stderr}"
        self._printed = done.stdout


@contextlib.contextmanager
def watch(words: list[str]) -> Iterator[None]:
    """Return a context in which `goodparts watch` runs, on a free port; Control-C ends it."""
    words = [free for word in words for free in ([word, "0"] if word == "--page" else [word])]
    with subprocess.Popen([PROGRAMS / "goodparts", *words], stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        try:
            while "small on" not in (message := process.stderr.readline()):
                assert message, "the line did not start"
            yield
        finally:
            process.send_signal(signal.SIGINT)
        assert "ended in order" in process.stderr.read()
        assert process.wait() == 0


@pytest.mark.parametrize("page", MARKED, ids=name)
def test_every_block_is_marked(page: Path) -> None:
    found = blocks(page)
    fences = [line for line in page.read_text(encoding="utf-8").splitlines() if re.match(r"\s*(```|~~~)", line)]
    assert len(fences) == 2 * len(found), "a fence begins its line and has three backticks and at most a language"
    unmarked = [
        block.text
        for block in found
        if block.language != "text" and not (block.mark == "run" or (block.mark == "not run" and block.note))
    ]
    assert not unmarked, "above each block belongs <!-- run -->, <!-- run: FILE --> or <!-- not run: REASON -->"


@pytest.mark.parametrize("page", RUN, ids=name)
def test_marked_blocks_run(page: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.stem != "tutorial":  # which begins with nothing
        for part in ("photos", "engine", "recording.mp4"):
            (tmp_path / part).symlink_to(start / part)
        for recipe in start.glob("*.safetensors"):
            (tmp_path / recipe.name).write_bytes(recipe.read_bytes())
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.stdin", Terminal())
    names: dict[str, object] = {}  # the Python blocks of a page build on each other
    with contextlib.ExitStack() as lines:
        reader = Reader(monkeypatch, lines)
        for block in blocks(page):
            if block.mark != "run":
                continue
            if block.note:
                Path(block.note).write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                exec(block.text, names)
            else:
                for line in block.lines:
                    reader.enter(line)


def command_of(words: list[str]) -> cli.Command:
    return cli.TRAIN_AND_EXPORT if words[0] == "train-and-export" else cli.COMMANDS[words[1]]


def parse(words: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Parse a command with its own parser. Exit as it does if an option is wrong."""
    command = command_of(words)
    monkeypatch.setattr(importlib.import_module(command.module), "run", lambda args: 0)  # noqa: ARG005
    assert (cli.train_and_export if words[0] == "train-and-export" else cli.main)(words[1:]) == 0


def commands(page: Path) -> Iterator[list[str]]:
    """Yield the words of each command of ours in a page's blocks."""
    for block in blocks(page):
        for line in block.lines if block.language == "" else []:
            for part in re.split(r"&&|\|", line):
                words = shlex.split(part, comments=True)
                while words and re.match(r"\w+=", words[0]):
                    del words[0]
                if words and words[0] in ("goodparts", "train-and-export"):
                    yield words


@pytest.mark.parametrize("page", [page for page in PAGES if any(commands(page))], ids=name)
def test_the_options_of_every_command_exist(page: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for words in commands(page):
        parse(words, monkeypatch)


def test_an_option_that_does_not_exist_would_be_found(monkeypatch: pytest.MonkeyPatch) -> None:
    parse(["goodparts", "show", "nut.safetensors"], monkeypatch)
    with pytest.raises(SystemExit):
        parse(["goodparts", "show", "nut.safetensors", "--all-of-it"], monkeypatch)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_the_options_in_sentences_exist(page: Path) -> None:
    missing = []
    for program, rest in IN_SENTENCE.findall(BLOCK.sub("", page.read_text(encoding="utf-8"))):
        words = [program, *rest.split()]
        options = set(re.findall(r"--[\w-]+", rest)) - {"--help", "--help-all"}
        if options and words[1] != "bench":  # each benchmark has options of its own
            parser = argparse.ArgumentParser()
            importlib.import_module(command_of(words).module).add_arguments(parser)
            known = set(re.findall(r"--[\w-]+", parser.format_help()))
            missing += [f"{option} in {' '.join(words)}" for option in sorted(options - known)]
    assert not missing


@pytest.mark.parametrize(("page", "text"), TOML, ids=[f"{name(page)}-{text.splitlines()[0]}" for page, text in TOML])
def test_settings_files_are_read(page: Path, text: str, tmp_path: Path) -> None:  # noqa: ARG001
    file = tmp_path / "page.toml"
    file.write_text(text, encoding="utf-8")
    keys = read_toml(file).keys()
    if "source" in keys:
        read_settings(file)
    elif "data" in keys:
        read_sweep(file, {})
    else:
        read_product_tables(file)


def test_the_tutorials_photos_are_told_apart(start: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Step 4 of the tutorial promises that all defects are rejected, and that nearly all good parts pass."""
    cli.main(
        [
            "inspect",
            "--recipe",
            str(start / "nut.safetensors"),
            *(str(start / "photos" / part) for part in ("line", "bad")),
        ]
    )
    rejected = {line.split()[-1] for line in capsys.readouterr().out.splitlines() if line.startswith("reject")}
    bad = {str(path) for part in ("line", "bad") for path in (start / "photos" / part).glob("*_*.png")}
    assert bad <= rejected
    assert len(rejected - bad) <= 2
