"""The methods' settings as options of the command line: one option per field, shared where two methods have it."""

from __future__ import annotations

import argparse
import typing
from typing import Any

import msgspec
from goodparts.runtime.core.errors import SettingsError
from goodparts.trainer.anople import settings as anople
from goodparts.trainer.promptad import learner as promptad

Settings = promptad.Settings | anople.Settings

METHODS = ("promptad", "anople")
OPTIONS = {"tiles": "photo_tiles"}
"""Fields of AnoPLe whose option is called otherwise, for --tiles is the view's."""


def add_settings(parser: argparse.ArgumentParser) -> None:
    """One option per field of either method's Settings; None where the user gave none."""
    group = parser.add_argument_group(
        "settings of PromptAD", "defaults: of the clean protocol | of the official one; AnoPLe's, where it has it too"
    )
    shared = _names(anople.Settings)
    for field in msgspec.structs.fields(promptad.Settings):
        clean, official = (getattr(promptad.PROTOCOLS[name], field.name) for name in ("clean", "official"))
        default = f"{clean}" if clean == official else f"{clean} | {official}"
        if field.name in shared:
            default += f"; {getattr(anople.DEFAULT, field.name)}"
        _add(group, promptad.Settings, field.name, field.name, default)
    group = parser.add_argument_group("settings of AnoPLe", "with --method anople; docs/anople.md says what is assumed")
    for name in shared:
        if name not in _names(promptad.Settings):
            _add(group, anople.Settings, name, OPTIONS.get(name, name), str(getattr(anople.DEFAULT, name)))


def _add(group: argparse._ArgumentGroup, settings: type[msgspec.Struct], name: str, option: str, default: str) -> None:
    kind, meta = typing.get_args(typing.get_type_hints(settings, include_extras=True)[name])
    flag, text = f"--{option.replace('_', '-')}", f"{meta.description} ({default})".replace("%", "%%")
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=None, help=text)
        return
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else None
    group.add_argument(
        flag,
        type=kind if isinstance(kind, type) else str,
        choices=choices,
        metavar=None if choices else "X",
        help=text,
    )


def read_settings(args: argparse.Namespace) -> Settings:
    """The method's settings with what the user changed; SettingsError for a setting of the other method."""
    own: type[msgspec.Struct] = anople.Settings if args.method == "anople" else promptad.Settings
    changes: dict[str, Any] = {}
    for name in dict.fromkeys((*_names(promptad.Settings), *_names(anople.Settings))):
        option = OPTIONS.get(name, name)
        if (value := getattr(args, option)) is None:
            continue
        if name not in _names(own):
            raise SettingsError(f"--{option.replace('_', '-')} is no setting of {args.method}: leave it out")
        changes[name] = value
    if changes.get("temperature") not in (None, "exp", "log"):
        try:
            changes["temperature"] = float(changes["temperature"])
        except ValueError:
            raise SettingsError(f"--temperature {changes['temperature']}: a number, exp or log") from None
    if args.method == "promptad":
        return promptad.settings(args.protocol, **changes)
    if args.protocol != "clean":
        raise SettingsError("--protocol official reproduces PromptAD's released code: AnoPLe has none, leave it out")
    return anople.settings(**changes)


def _names(settings: type[msgspec.Struct]) -> tuple[str, ...]:
    return settings.__struct_fields__
