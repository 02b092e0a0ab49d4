"""`python -m goodparts.drawn`."""

from __future__ import annotations

from pathlib import Path

import pytest
from goodparts.drawn import __main__ as drawn


def draw(*options: str | Path) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.argv", ["drawn", "--good", "1", "--line", "0", "--bad", "1", *map(str, options)])
        drawn.main()


def test_photos_are_drawn_and_may_be_drawn_again(tmp_path: Path) -> None:
    draw("--out", tmp_path)
    files = sorted(path.relative_to(tmp_path).as_posix() for path in tmp_path.rglob("*.png"))
    assert files == ["bad/001_scratch.png", "good/000.png"]
    draw("--out", tmp_path)


def test_another_picture_of_the_same_name_is_kept(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    mine = tmp_path / "good" / "000.png"
    mine.parent.mkdir()
    mine.write_bytes(b"my photo")
    with pytest.raises(SystemExit) as ended:
        draw("--out", tmp_path)
    assert ended.value.code == 2
    assert capsys.readouterr().err == (
        f"python -m goodparts.drawn: {mine} is another picture: name another folder with --out\n"
    )
    assert mine.read_bytes() == b"my photo"
    assert list(tmp_path.rglob("*.png")) == [mine]


@pytest.mark.parametrize("options", [["--kind", "geer"], ["--out", "file/photos"]])
def test_bad_input_is_one_line(
    options: list[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("file").touch()
    with pytest.raises(SystemExit) as ended:
        draw(*options)
    assert ended.value.code == 2
    assert capsys.readouterr().err.count("\n") == 1
