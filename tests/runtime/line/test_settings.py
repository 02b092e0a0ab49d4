from __future__ import annotations

from pathlib import Path

import pytest
from goodparts.runtime.core.errors import SettingsError
from goodparts.runtime.line.outputs.hook import load_function
from goodparts.runtime.line.settings import read_settings

GOOD = """
engine = "engine"
[[source]]
name = "left"
address = "{address}"
recipe = "nut.safetensors"
"""


def write(folder: Path, text: str) -> Path:
    path = folder / "line.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    ("address", "inside"),
    [("parts.mp4", True), ("rtsp://camera/live", False), ("genicam:a.cti", False), ("/dev/video0", False)],
)
def test_names_of_files_are_relative_to_the_settings_file(tmp_path: Path, address: str, inside: bool) -> None:
    settings = read_settings(write(tmp_path, GOOD.format(address=address)))
    assert settings.engine == str(tmp_path / "engine")
    (source,) = settings.source
    assert source.recipe == str(tmp_path / "nut.safetensors")
    assert source.address == (str(tmp_path / address) if inside else address)
    assert source.smoothing == (1, 1)
    assert source.mask is None


def test_a_mask_is_relative_too(tmp_path: Path) -> None:
    more = 'mask = "look.png"\nroi = [1, 2, 30, 40]'
    (source,) = read_settings(write(tmp_path, GOOD.format(address="a") + more)).source
    assert (source.mask, source.roi) == (str(tmp_path / "look.png"), (1, 2, 30, 40))


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ("smoothing = [4, 3]", r"smoothing \[4, 3\]: n of m frames"),
        ("treshold = 1.0", r"source 'left': unknown key 'treshold': did you mean threshold\?"),
        ("threads = 2", "source 'left': unknown key 'threads': known keys are name, address, recipe"),
        ('[output]\npath = "a"', "unknown key 'path' in output: known keys are json, rejects"),
        ("[setling]", "line.toml: unknown key 'setling': did you mean settling"),
        ("backlog = true", "backlog needs the lines of a JSON file"),
        ('policy = "oldest"', """source 'left': policy: "oldest" is not accepted; write "newest" or "every\""""),
        ("roi = [1, 2, 3]", r"source 'left': roi: \[1,2,3\] has 3 values; write 4"),
        ("roi = [1, 2, 3, 4.5]", r"source 'left': roi\[3\]: 4.5 is a number; write a whole number, as in 3"),
        ('threshold = "1.2"', """source 'left': threshold: "1.2" is text; write a number, as in 1.2"""),
        ("threshold = 2026-01-01", """source 'left': threshold: "2026-01-01" is a date; write a number, as in 1.2"""),
        ("[[source]]\nrecipe = 'r'", "source number 2: the key name is missing"),
        ("[output]\nrejects = true", 'output.rejects: true is a truth value; write text in quotes, as in "a"'),
        ("[settling]\nparts = 5", "settling.parts 5: at least 20 are needed$"),
        ("timeout = 0", "source 'left': timeout 0.0: seconds above 0"),
        ("[output]\nmetrics = 70000", "metrics 70000: a port"),
        ("[output]\nrejects_limit_mb = 0", "rejects_limit_mb 0.0: a number above 0"),
        ('[[source]]\nname = "left"\naddress = "b"\nrecipe = "r"', "two sources are called 'left'"),
        ('[[source]]\nname = "../up"\naddress = "b"\nrecipe = "r"', "name '../up': letters, digits"),
        ("= 3", "is no TOML"),
    ],
)
def test_a_fault_in_the_file_gives_an_error_of_one_line(tmp_path: Path, more: str, message: str) -> None:
    with pytest.raises(SettingsError, match=message) as raised:
        read_settings(write(tmp_path, GOOD.format(address="a") + more))
    assert "line.toml" in str(raised.value)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "more",
    [
        'mask = ["rtsp://user:sekret@host/x"]',
        '[output]\nwebhook = ["https://host/sekret"]',
        '[[source]]\nname = "rtsp://user:sekret@host/x"\naddress = "b"\nrecipe = "r"',
        '[output]\npage_name = "https://user:sekret@host"',
    ],
)
def test_an_error_shows_no_secret_of_an_address(tmp_path: Path, more: str) -> None:
    with pytest.raises(SettingsError) as raised:
        read_settings(write(tmp_path, GOOD.format(address="a") + more))
    assert "sekret" not in str(raised.value)


def test_a_line_without_sources_is_refused(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match="there is no source"):
        read_settings(write(tmp_path, 'engine = "e"\nsource = []'))


def test_one_pair_of_brackets_around_source_gets_the_advice_to_write_two(tmp_path: Path) -> None:
    with pytest.raises(SettingsError, match=r"source: it is a table; write \[\[source\]\]"):
        read_settings(write(tmp_path, GOOD.format(address="a").replace("[[source]]", "[source]")))


def test_a_hook_is_a_function_by_name() -> None:
    assert load_function("json:dumps").__name__ == "dumps"
    for name in ("nowhere:eject", "json", "json:nothing", "json:__name__"):
        with pytest.raises(SettingsError, match="hook "):
            load_function(name)
