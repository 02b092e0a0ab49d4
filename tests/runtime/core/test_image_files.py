from __future__ import annotations

import logging
from pathlib import Path

import pytest
from goodparts.runtime.core.errors import FileError
from goodparts.runtime.core.image_files import MARK, find_images, is_drawing
from goodparts.runtime.line.outputs.reject_index import FRAME_ENDING, OVERLAY_ENDING
from PIL import Image
from PIL.PngImagePlugin import PngInfo


def touch(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()


def names_in(folder: Path) -> list[str]:
    return [path.relative_to(folder).as_posix() for path in find_images([folder])]


def test_images_are_found_at_every_depth_and_sorted(tmp_path: Path) -> None:
    for name in ("b/2.png", "a/1.JPG", "a/notes.txt", "b/.hidden.png"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert [path.relative_to(tmp_path).as_posix() for path in find_images([tmp_path])] == ["a/1.JPG", "b/2.png"]


def test_a_folder_without_pictures_and_a_wrong_path_are_errors(tmp_path: Path) -> None:
    with pytest.raises(FileError, match=r"no pictures in .* \.png"):
        find_images([tmp_path])
    with pytest.raises(FileError, match="does not exist"):
        find_images([tmp_path / "wrong"])


@pytest.mark.parametrize(
    "place",
    [".Trash-1000/files", ".ipynb_checkpoints", ".AppleDouble", "@eaDir", "$RECYCLE.BIN", "a/#recycle", "__MACOSX"],
)
def test_hidden_and_system_folders_are_not_searched(tmp_path: Path, place: str) -> None:
    touch(tmp_path, "a/good.png", f"{place}/broken.png")
    assert names_in(tmp_path) == ["a/good.png"]


def test_links_to_folders_are_followed_once(tmp_path: Path) -> None:
    touch(tmp_path, "elsewhere/2.png", "photos/1.png")
    (tmp_path / "photos" / "more").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "elsewhere" / "circle").symlink_to(tmp_path / "photos")
    assert names_in(tmp_path / "photos") == ["1.png", "more/2.png"]


def test_what_is_passed_over_is_logged_by_its_ending(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "1.png", "2.heic", "3.HEIC", "list.csv", "b/noending")
    with caplog.at_level(logging.WARNING):
        assert names_in(tmp_path) == ["1.png"]
    assert caplog.messages == ["4 files skipped: .csv .heic without an ending"]


def test_the_error_for_a_folder_without_pictures_lists_the_endings_in_it(tmp_path: Path) -> None:
    touch(tmp_path, "1.heic", "2.heic")
    with pytest.raises(FileError, match=r"no pictures in .* \(2 files skipped: \.heic\): searched .* \.jfif"):
        find_images([tmp_path])


def test_a_photo_that_two_paths_name_counts_once(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    touch(tmp_path, "1.png", "2.png")
    (tmp_path / "link.png").symlink_to(tmp_path / "1.png")
    with caplog.at_level(logging.WARNING):
        found = find_images([tmp_path, tmp_path / "1.png"])
    assert [path.name for path in found] == ["1.png", "2.png"]
    assert caplog.messages == ["2 files named twice and taken once"]


def test_what_goodparts_drew_is_no_photo(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    picture, text = Image.new("RGB", (300, 300)), PngInfo()
    text.add_text("Software", MARK)
    picture.save(tmp_path / "overlay.png", pnginfo=text)
    picture.save(tmp_path / "photo.png")
    with caplog.at_level(logging.WARNING):
        assert names_in(tmp_path) == ["photo.png"]
    assert caplog.messages == ["1 drawing of goodparts' own skipped"]
    assert not is_drawing(tmp_path / "nothing.png")


@pytest.mark.parametrize(("has_frame", "advice"), [(True, "give .*/x.frame.png"), (False, "give the photo itself")])
def test_a_drawing_that_is_named_is_refused_with_the_photo_beside_it(
    tmp_path: Path, has_frame: bool, advice: str
) -> None:
    drawing, text = tmp_path / f"x{OVERLAY_ENDING}", PngInfo()
    text.add_text("Software", MARK)
    Image.new("RGB", (300, 300)).save(drawing, pnginfo=text)
    if has_frame:
        touch(tmp_path, f"x{FRAME_ENDING}")
    with pytest.raises(FileError, match=rf"x\.map\.png is no photo: goodparts drew it; {advice}$"):
        find_images([drawing])


def test_a_folder_that_cannot_be_read_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    touch(tmp_path, "open/1.png", "closed/2.png")
    iterate = Path.iterdir

    def refusing(self: Path) -> object:
        if self.name == "closed":
            raise PermissionError(13, "Permission denied")
        return iterate(self)

    monkeypatch.setattr(Path, "iterdir", refusing)
    with caplog.at_level(logging.WARNING):
        assert names_in(tmp_path) == ["open/1.png"]
    assert caplog.messages == [f"cannot look into {tmp_path / 'closed'}: Permission denied"]
    with pytest.raises(FileError, match="cannot look into .*closed: Permission denied"):
        find_images([tmp_path / "closed"])
