from __future__ import annotations

import importlib
import logging

import pytest

import goodparts
from goodparts import _native, cli


def test_the_native_module_is_of_this_version() -> None:
    assert _native.__version__ == goodparts.__version__


def test_every_command_can_be_imported_and_has_help(capsys: pytest.CaptureFixture[str]) -> None:
    for name in cli.COMMANDS:
        with pytest.raises(SystemExit) as stopped:
            cli.main([name, "--help"])
        assert stopped.value.code == 0
        assert f"usage: goodparts {name}" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        cli.train_and_export(["--help-all"])
    assert "--alignment-weight" in capsys.readouterr().out


def test_version_and_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    with pytest.raises(SystemExit) as stopped:
        cli.main(["detonate"])
    assert stopped.value.code == 2
    assert "invalid choice: 'detonate'" in capsys.readouterr().err


def test_without_a_command_the_help_lists_the_commands(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main([]) == 2
    assert "inspect   find bad parts in pictures" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["insepct"], "there is no command 'insepct' (did you mean inspect?)"),
        (["inspect", "--threshold", "1,2"], "invalid float value: '1,2': write a number with a point, as in 1.2"),
        (["teach", "--shots", "4.5"], "invalid int value: '4.5': write a whole number, as in 4"),
    ],
)
def test_a_mistyped_command_or_number_comes_with_the_right_way(
    arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(arguments)
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(importlib, "import_module", missing)
    assert cli.train_and_export([]) == 2
    message = capsys.readouterr().err
    assert message == 'train-and-export: needs torch: pip install ".[train]" in the checkout of goodparts\n'


def test_a_log_message_stays_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    cli.show_log()
    logging.getLogger("goodparts.test").warning("passed over: %s", "x\ngood 0.1 all\u202e.png")
    assert capsys.readouterr().err == "goodparts: passed over: x\\ngood 0.1 all\\u202e.png\n"


@pytest.mark.parametrize("name", [name for name, command in cli.COMMANDS.items() if command.first])
def test_help_shows_what_people_need_first_and_help_all_the_rest(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    texts = []
    for option in ("--help", "--help-all"):
        with pytest.raises(SystemExit) as exit_code:
            cli.main([name, option])
        assert exit_code.value.code == 0
        texts.append(capsys.readouterr().out)
    first, whole = texts
    options = {f"--{option.replace('_', '-')}" for option in cli.COMMANDS[name].first} - {
        "--folder",
        "--paths",
        "--photos",
    }
    assert all(option in first for option in options)
    assert len(cli.COMMANDS[name].first) <= 10
    assert f"more options: goodparts {name} --help-all" in first
    assert "--engine" in whole
    assert len(first) < len(whole)


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("teach", "--calibrate-on", "--good"),
        ("train", "--calibrate-on", "--good"),
        ("calibrate", "--calibrate-on", "--good"),
        ("export", "--calibrate-on", "--int8-photos"),
        ("build", "--device", "--backend"),
        ("accept", "--yes", "--take"),
    ],
)
def test_an_option_of_an_earlier_name_is_refused_with_its_new_one(
    name: str, old: str, new: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert cli.main([name, old, "photos"]) == 2
    assert f"{old} is called {new} now: give {new}" in capsys.readouterr().err


@pytest.mark.parametrize("command", [[], ["bench"], ["bench", "search"], ["teach"]])
def test_every_command_has_help_all(command: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        cli.main([*command, "--help-all"])
    assert ended.value.code == 0
    assert capsys.readouterr().out.startswith("usage: goodparts")


def test_a_mistyped_option_is_named_before_the_one_that_is_missing(capsys: pytest.CaptureFixture[str]) -> None:
    for words in (["inspect", "--recpie", "nut"], ["inspect", "--recipe", "nut", "a.png", "--recpie=nut"]):
        with pytest.raises(SystemExit):
            cli.main(words)
        assert "there is no option --recpie (did you mean --recipe?); goodparts inspect" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["bench", "start", "--json", "x.json", "--bogus"], "there is no option --bogus; goodparts bench"),
        (["teach", "--images", "good", "--product", "--metal nut"], "arguments are required: --out;"),
        (["try", "photos", "--bogus"], "there is no option --bogus; goodparts try"),
        (
            ["watch", "--recipe", "nut", "--source", "in", "--webhok", "x"],
            "there is no option --webhok; goodparts watch",
        ),
    ],
)
def test_only_options_that_do_not_exist_are_blamed_and_only_near_ones_are_offered(
    words: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(words)
    assert message in capsys.readouterr().err


def test_a_wrong_option_of_a_benchmark_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        cli.main(["bench", "search", "--nothing"])
    assert capsys.readouterr().err.count("\n") == 1
