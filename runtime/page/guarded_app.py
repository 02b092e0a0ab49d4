"""The base of the pages' apps: the guard checks each request, and then the path selects the answer."""

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
    """The body of `/login`."""

    token: str


Question = Callable[..., Answer]
"""Answers a GET request. It takes the query, a dict of texts, and then the groups of the path's pattern."""
Action = tuple[type, Callable[..., Any]]
"""The msgspec.Struct that a POST request's JSON body is decoded to, and the function that does the action.

The function takes the struct's fields by name. Its return value becomes the answer's JSON.
"""


class GuardedApp:
    """An app that answers the requests of a page.

    Its own files need no token, since the browser needs them to ask for the token. Everything else needs it.

    Args:
        guard: Checks each request.
        files: The page's own files (HTML, JavaScript, CSS), by path.
        questions: The GET requests, by a regular expression that the whole path matches.
        actions: The POST requests, by path.
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
    """An app with a second app below one of its paths.

    Args:
        app: The app that answers all other paths.
        prefix: The path of the second app, with a slash at both ends. The second app does not get this prefix.
        inner: The second app.
    """

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
    """Call a function and turn the errors that goodparts raises into refusals.

    Args:
        act: The function.

    Returns:
        The function's return value.

    Raises:
        RefusedError: With status 409, something was changed since the browser read it (ChangedError). With status 422,
            the action cannot be done (any other GoodpartsError).
    """
    try:
        return act()
    except ChangedError as error:
        raise RefusedError(409, str(error)) from error
    except GoodpartsError as error:
        raise RefusedError(422, str(error)) from error


def to_json(value: Any) -> Answer:
    """Return a value as an answer in JSON.

    Args:
        value: Anything that msgspec encodes.
    """
    return Answer(JSON, msgspec.json.encode(value))


def to_picture(kind: str, data: bytes | None, lasting: bool) -> Answer:
    """Return a picture as an answer.

    Args:
        kind: The media type, JPEG or PNG.
        data: The bytes of the picture's file; None if the picture no longer exists.
        lasting: See Answer.

    Raises:
        RefusedError: The picture no longer exists (404).
    """
    if data is None:
        raise RefusedError(404, "that picture is gone")
    return Answer(kind, data, lasting=lasting)


def split(target: str) -> tuple[str, dict[str, str]]:
    """Split a request's target into path and query.

    Percent signs in the path are not decoded, since no path of the pages needs any.

    Args:
        target: The target, at most LONGEST_TARGET characters.

    Returns:
        The path, and the query's last value of each key.

    Raises:
        RefusedError: The target is too long (414), or the query has too many fields (400).
    """
    if len(target) > LONGEST_TARGET:
        raise RefusedError(414, "that address is too long")
    path, _, query = target.partition("?")
    try:
        return path, {key: values[-1] for key, values in parse_qs(query, max_num_fields=6).items()}
    except ValueError:
        raise RefusedError(400, "the query has too many fields: at most 6 are accepted") from None


def _read_file(file: Path) -> Answer:
    return Answer(f"{MEDIA_TYPES[file.suffix]}; charset=utf-8", file.read_bytes())


def _decode(body: bytes, kind: type) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RefusedError(400, str(error)) from error
