"""What every page's app has in common: who may ask is asked first, then comes the answer that the address names."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from email.message import Message
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs

import msgspec

from ..core.errors import GoodpartsError
from .controls import ChangedError
from .guard import Guard, RefusedError
from .server import LARGEST, Answer, App

JSON, JPEG, PNG = "application/json", "image/jpeg", "image/png"
LONGEST_TARGET = 512
MEDIA_TYPES = {".html": "text/html", ".js": "text/javascript", ".css": "text/css", ".json": JSON}
STATIC = Path(__file__).with_name("static")


class LogIn(msgspec.Struct, forbid_unknown_fields=True):
    token: str


Question = Callable[..., Answer]
"""Answers a question. It takes the query, a dict of texts, and the groups of the path's pattern."""
Action = tuple[type, Callable[..., Any]]
"""What an action holds, a msgspec.Struct, and what it does: it takes the fields, and returns what is answered."""


class GuardedApp:
    """Answers what is asked of a page.

    The page's own files are for everybody who may come here, all else is behind the token.

    Args:
        guard: Decides who may ask.
        files: The page's own files, by path.
        questions: What may be asked, by a pattern of the path.
        actions: What may be done, by path.
    """

    def __init__(
        self, guard: Guard, files: Mapping[str, Path], questions: Mapping[str, Question], actions: Mapping[str, Action]
    ) -> None:
        self._guard, self._actions = guard, actions
        self._files = {path: _read_file(file) for path, file in files.items()}
        self._questions = [(re.compile(pattern), answer) for pattern, answer in questions.items()]

    def get(self, target: str, headers: Message) -> Answer:
        self._guard.check_address(headers)
        path, query = split(target)
        if path in self._files:
            return self._files[path]
        self._guard.check_token(headers)
        for pattern, answer in self._questions:
            if match := pattern.fullmatch(path):
                return answer(query, *match.groups())
        raise RefusedError(404, "there is nothing here")

    def largest_body(self, target: str, headers: Message) -> int:  # noqa: ARG002
        return LARGEST

    def post(self, target: str, headers: Message, body: bytes) -> Answer:
        self._guard.check_address(headers)
        self._guard.check_action(headers)
        path, _ = split(target)
        if path == "/login":
            return Answer(JSON, b"{}", cookie=self._guard.log_in(_decode(body, LogIn).token, headers))
        self._guard.check_token(headers)
        if path not in self._actions:
            raise RefusedError(404, "there is nothing here")
        kind, act = self._actions[path]
        action = msgspec.structs.asdict(_decode(body, kind))
        return to_json(done(lambda: act(**action)))


class MountedApp:
    """An app below whose address there is another one. prefix: the other one's address, with a slash at both ends."""

    def __init__(self, app: App, prefix: str, inner: App) -> None:
        self._app, self._prefix, self._inner = app, prefix, inner

    def get(self, target: str, headers: Message) -> Answer:
        app, target = self._find(target)
        return app.get(target, headers)

    def largest_body(self, target: str, headers: Message) -> int:
        app, target = self._find(target)
        return app.largest_body(target, headers)

    def post(self, target: str, headers: Message, body: bytes) -> Answer:
        app, target = self._find(target)
        return app.post(target, headers, body)

    def _find(self, target: str) -> tuple[App, str]:
        if target.startswith(self._prefix):
            return self._inner, target[len(self._prefix) - 1 :]
        return self._app, target


def done(act: Callable[[], Any]) -> Any:
    """Do something and return what it returns; what goodparts raises becomes a refusal.

    Raises:
        RefusedError: 409 where something was changed since it was seen, 422 where it cannot be done.
    """
    try:
        return act()
    except ChangedError as error:
        raise RefusedError(409, str(error)) from error
    except GoodpartsError as error:
        raise RefusedError(422, str(error)) from error


def to_json(value: Any) -> Answer:
    """Return an answer in JSON."""
    return Answer(JSON, msgspec.json.encode(value))


def to_picture(kind: str, data: bytes | None, lasting: bool) -> Answer:
    """Return a picture as an answer; RefusedError where there is none any more."""
    if data is None:
        raise RefusedError(404, "that picture is gone")
    return Answer(kind, data, lasting=lasting)


def split(target: str) -> tuple[str, dict[str, str]]:
    """Return path and query. No path that there is needs percent signs; none is decoded."""
    if len(target) > LONGEST_TARGET:
        raise RefusedError(414, "that address is too long")
    path, _, query = target.partition("?")
    try:
        return path, {key: values[-1] for key, values in parse_qs(query, max_num_fields=6).items()}
    except ValueError:
        raise RefusedError(400, "that is no question") from None


def _read_file(file: Path) -> Answer:
    return Answer(f"{MEDIA_TYPES[file.suffix]}; charset=utf-8", file.read_bytes())


def _decode(body: bytes, kind: type) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RefusedError(400, str(error)) from error
