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
        cli.train_and_export(["--help"])
    assert "--alignment-weight" in capsys.readouterr().out


def test_version_and_unknown_commands(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as stopped:
        cli.main(["--version"])
    assert stopped.value.code == 0
    with pytest.raises(SystemExit) as stopped:
        cli.main(["detonate"])
    assert stopped.value.code == 2
    assert "invalid choice: 'detonate'" in capsys.readouterr().err


def test_a_missing_extra_is_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    def missing(_: str) -> None:
        raise ModuleNotFoundError("No module named 'torch'", name="torch")

    monkeypatch.setattr(importlib, "import_module", missing)
    assert cli.train_and_export([]) == 2
    message = capsys.readouterr().err
    assert message == 'train-and-export: needs torch: pip install ".[train]" in the checkout of goodparts\n'


def test_what_is_logged_stays_one_line(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger(), "handlers", [])
    cli.show_log()
    logging.getLogger("goodparts.test").warning("passed over: %s", "x\ngood 0.1 all\u202e.png")
    assert capsys.readouterr().err == "goodparts: passed over: x\\ngood 0.1 all\\u202e.png\n"
