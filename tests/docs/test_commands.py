"""Commands of tutorial and how-to pages that `<!-- run -->` marks do what they say, in a folder with drawn photos."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import pytest
from goodparts.drawn import __main__ as drawn

from goodparts import cli, teach

DOCS = Path(__file__).parents[2] / "docs"
BLOCK = re.compile(r"^<!-- run -->\n```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
PAGES = [path for path in sorted(DOCS.rglob("*.md")) if "<!-- run -->" in path.read_text(encoding="utf-8")]


@pytest.fixture(scope="module")
def start(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as a reader of the how-to pages has it: photos, with more good ones in more/, and a recipe."""
    folder = tmp_path_factory.mktemp("reader")
    photos = folder / "photos"
    drawn.draw_photos(photos, "gear", good=4, line=20, bad=6)
    (photos / "more").mkdir()
    for path in sorted((photos / "line").glob("[0-9][0-9][0-9].png"))[:6]:
        (photos / "more" / path.name).write_bytes(path.read_bytes())
    teach(photos / "good", "nut").save(folder / "nut.safetensors")
    return folder


def run(line: str, monkeypatch: pytest.MonkeyPatch) -> int:
    """Run a command in this process, which is faster than a new one, and return its exit code."""
    program, *words = shlex.split(line)
    if program == "goodparts":
        return cli.main(words)
    assert [program, *words[:2]] == ["python", "-m", "goodparts.drawn"], line
    monkeypatch.setattr("sys.argv", words[1:])
    drawn.main()
    return 0


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_marked_commands_run(page: Path, start: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if page.stem != "tutorial":  # its commands make the photos and the recipe
        (tmp_path / "photos").symlink_to(start / "photos")
        (tmp_path / "nut.safetensors").write_bytes((start / "nut.safetensors").read_bytes())
    monkeypatch.chdir(tmp_path)
    blocks = BLOCK.findall(page.read_text(encoding="utf-8"))
    assert len(blocks) == page.read_text(encoding="utf-8").count("<!-- run -->")
    names: dict[str, object] = {}  # the Python blocks of a page build on each other
    for language, text in blocks:
        if language == "python":
            exec(text, names)
            continue
        for line in text.splitlines():
            assert run(line, monkeypatch) == 0, line


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
