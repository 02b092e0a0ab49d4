"""The methods' settings as options of the command line: one option per field, shared by the methods that have it."""

from __future__ import annotations

import argparse
import typing
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import msgspec
from goodparts.runtime.core.errors import SettingsError
from goodparts.trainer.method import Method
from goodparts.trainer.registry import METHODS

OPTIONS: Mapping[str, str] = {"tiles": "photo_tiles"}
"""The options whose name differs from their field's: field → option. --tiles is already an option of the view."""


def add_settings(parser: argparse.ArgumentParser) -> None:
    """Add one option per field of any method's settings.

    The parsed arguments have no attribute for an option that the user does not give.

    Args:
        parser: The command's parser.
    """
    for method in METHODS.values():
        group = parser.add_argument_group(f"settings of {method.title}", method.description)
        for field in _fields(method):
            owners = [owner for owner in METHODS.values() if field in _fields(owner)]
            if owners[0] is method:
                _add_option(group, field, owners)


def read_method(args: argparse.Namespace) -> Method:
    """Return the method that --method names, with its settings.

    Args:
        args: The command's options.

    Raises:
        SettingsError: A setting is out of range or belongs to another method, or the method does not have the protocol.
    """
    method = METHODS[args.method]
    changes = {}
    for field, option, value in _given_settings(args):
        if field not in _fields(method):
            raise SettingsError(f"--{option.replace('_', '-')} is no setting of {args.method}: leave it out")
        changes[field] = value
    return method.configure(args.protocol, changes)


def _given_settings(args: argparse.Namespace) -> Iterator[tuple[str, str, Any]]:
    """Yield the field, the option and the value of every setting that the user gave."""
    for field in dict.fromkeys(field for method in METHODS.values() for field in _fields(method)):
        option = OPTIONS.get(field, field)
        if hasattr(args, option):
            yield field, option, getattr(args, option)


def _add_option(group: argparse._ArgumentGroup, field: str, owners: list[type[Method]]) -> None:
    kind, meta = typing.get_args(typing.get_type_hints(_settings_type(owners[0]), include_extras=True)[field])
    flag = f"--{OPTIONS.get(field, field).replace('_', '-')}"
    text = f"{meta.description} ({_describe_defaults(owners, field)})".replace("%", "%%")
    if kind is bool:
        group.add_argument(flag, action=argparse.BooleanOptionalAction, default=argparse.SUPPRESS, help=text)
        return
    choices = typing.get_args(kind) if typing.get_origin(kind) is typing.Literal else None
    group.add_argument(
        flag,
        type=_parser(flag, kind),
        choices=choices,
        metavar=None if choices else "N" if kind is int else "F",
        default=argparse.SUPPRESS,
        help=text,
    )


def _parser(flag: str, kind: Any) -> Callable[[str], Any]:
    """Return the function that converts the text of an option to its value."""
    if isinstance(kind, type):
        return kind
    if typing.get_origin(kind) is typing.Literal:
        return str
    kinds = typing.get_args(kind)  # Literal[...] | float, or float | None
    if type(None) in kinds:
        return NumberOrWord(flag, {"none": None})
    return NumberOrWord(flag, {word: word for word in typing.get_args(kinds[0])})


class NumberOrWord:
    """Converts the text of an option that takes a number or one of a few words.

    Args:
        flag: The option, for messages.
        words: The value for which each word stands.
    """

    def __init__(self, flag: str, words: Mapping[str, str | None]) -> None:
        self._flag = flag
        self._words = words

    def __call__(self, text: str) -> float | str | None:
        if text in self._words:
            return self._words[text]
        try:
            return float(text)
        except ValueError:
            raise SettingsError(f"{self._flag} {text}: give a number or {' or '.join(self._words)}") from None


def _describe_defaults(owners: list[type[Method]], field: str) -> str:
    """Return the first method's default of a field, then the defaults of other protocols and methods if they differ."""
    default = _describe_value(getattr(owners[0].protocols["clean"], field))
    text = f"default {default}"
    for owner in owners:
        for protocol, settings in owner.protocols.items():
            value = _describe_value(getattr(settings, field))
            if value != default:
                text += f"; {owner.title if protocol == 'clean' else f'protocol {protocol}'}: {value}"
    return text


def _describe_value(value: Any) -> str:
    """Return a setting's value as its option spells it."""
    if isinstance(value, bool):
        return "on" if value else "off"
    return f"{value:g}" if isinstance(value, float) else str(value).lower()


def _fields(method: type[Method]) -> tuple[str, ...]:
    return _settings_type(method).__struct_fields__


def _settings_type(method: type[Method]) -> type[msgspec.Struct]:
    return type(method.protocols["clean"])
