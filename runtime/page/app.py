"""What the page asks for, and what it is answered."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.message import Message
from pathlib import Path
from typing import Any, cast
from urllib.parse import parse_qs

import msgspec

from ..core.errors import GoodpartsError
from ..line.smoothing import Decision
from .controls import ChangedError, Considered, Controls
from .gallery import Gallery
from .guard import Guard, RefusedError
from .recent_frames import RecentFrames, to_jpeg
from .server import Answer
from .state import PageState

_JSON, _JPEG, _PNG = "application/json", "image/jpeg", "image/png"
_STATIC = {
    "/": ("index.html", "text/html; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/chart.js": ("chart.js", "text/javascript; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
}
LONGEST_TARGET = 512


class LogIn(msgspec.Struct, forbid_unknown_fields=True):
    token: str


class SetThreshold(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    score: float
    seen: float


class KeepThreshold(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    seen: float


class Consider(msgspec.Struct, forbid_unknown_fields=True):
    reject: str


class Accept(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    change: str


class Settle(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    parts: int


class Take(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    threshold: float


class Undo(msgspec.Struct, forbid_unknown_fields=True):
    source: str
    label: str


class PageApp:
    """Answers what is asked of the page.

    The page's own files are for everybody who may come here, all else is behind the token. gallery: None where rejects
    are not saved.
    """

    def __init__(self, guard: Guard, state: PageState, controls: Controls, gallery: Gallery | None) -> None:
        self._guard, self._state, self._controls, self._gallery = guard, state, controls, gallery
        folder = Path(__file__).with_name("static")
        self._static = {path: Answer(kind, (folder / name).read_bytes()) for path, (name, kind) in _STATIC.items()}
        self._routes: list[tuple[re.Pattern[str], Callable[..., Answer]]] = [
            (re.compile(pattern), answer)
            for pattern, answer in (
                (r"/state", self._read),
                (r"/preview", self._preview),
                (r"/frame/([\w.-]+)/(\d{1,12})/(heat|plain)\.jpg", self._frame),
                (r"/settling/([\w.-]+)/(\d{1,6})\.jpg", self._settled_part),
                (r"/rejects", self._rejects),
                (r"/rejects/([\w.-]+)/(small\.jpg|heat\.png|plain\.png)", self._reject),
            )
        ]
        self._actions: dict[str, tuple[type, Callable[..., Considered | None]]] = {
            "/threshold": (SetThreshold, controls.set_threshold),
            "/keep": (KeepThreshold, controls.keep_threshold),
            "/consider": (Consider, controls.consider),
            "/accept": (Accept, controls.accept),
            "/settle": (Settle, controls.settle),
            "/take": (Take, controls.take),
            "/undo": (Undo, controls.undo),
        }

    def get(self, target: str, headers: Message) -> Answer:
        self._guard.check_address(headers)
        path, query = _split(target)
        if path in self._static:
            return self._static[path]
        self._guard.check_token(headers)
        for pattern, answer in self._routes:
            if match := pattern.fullmatch(path):
                return answer(query, *match.groups())
        raise RefusedError(404, "there is nothing here")

    def post(self, target: str, headers: Message, body: bytes) -> Answer:
        self._guard.check_address(headers)
        self._guard.check_action(headers)
        path, _ = _split(target)
        if path == "/login":
            return Answer(_JSON, b"{}", cookie=self._guard.log_in(_decode(body, LogIn).token, headers))
        self._guard.check_token(headers)
        if path not in self._actions:
            raise RefusedError(404, "there is nothing here")
        action, act = self._actions[path]
        try:
            considered = act(**msgspec.structs.asdict(_decode(body, action)))
        except ChangedError as error:
            raise RefusedError(409, str(error)) from error
        except GoodpartsError as error:
            raise RefusedError(422, str(error)) from error
        return self._read({}) if considered is None else Answer(_JSON, msgspec.json.encode(considered))

    def _read(self, query: dict[str, str]) -> Answer:  # noqa: ARG002
        return Answer(_JSON, msgspec.json.encode(self._state.read()))

    def _preview(self, query: dict[str, str]) -> Answer:
        recent = self._recent(query.get("source", ""))
        try:
            threshold = float(query.get("threshold", ""))
        except ValueError:
            raise RefusedError(400, "threshold is a number") from None
        raw_threshold = threshold * self._controls.raw_threshold(query["source"])
        return Answer(_JSON, msgspec.json.encode(recent.preview(raw_threshold)))

    def _frame(self, query: dict[str, str], source: str, number: str, kind: str) -> Answer:  # noqa: ARG002
        return _picture(_JPEG, self._recent(source).picture(int(number), kind == "heat"), lasting=False)  # of this run

    def _settled_part(self, query: dict[str, str], source: str, index: str) -> Answer:  # noqa: ARG002
        picture = self._controls.settled_part(source, int(index))
        return _picture(_JPEG, None if picture is None else to_jpeg(picture), lasting=False)

    def _rejects(self, query: dict[str, str]) -> Answer:
        decision = query.get("decision")
        if decision not in (None, "review", "reject"):
            raise RefusedError(400, f"decision is {decision!r}: review and reject are accepted")
        listing = self._saved().listing(query.get("before", ""), cast("Decision | None", decision))
        return Answer(_JSON, msgspec.json.encode(listing))

    def _reject(self, query: dict[str, str], name: str, kind: str) -> Answer:  # noqa: ARG002
        saved = self._saved()
        make = {"small.jpg": saved.thumbnail, "heat.png": saved.overlay, "plain.png": saved.photo}[kind]
        return _picture(_JPEG if kind == "small.jpg" else _PNG, make(name), lasting=True)

    def _recent(self, source: str) -> RecentFrames:
        if source not in self._state.recent_frames:
            raise RefusedError(404, "there is no such source")
        return self._state.recent_frames[source]

    def _saved(self) -> Gallery:
        if self._gallery is None:
            raise RefusedError(404, "rejects are not saved")
        return self._gallery


def _split(target: str) -> tuple[str, dict[str, str]]:
    """Return path and query. No path that there is needs percent signs; none is decoded."""
    if len(target) > LONGEST_TARGET:
        raise RefusedError(414, "that address is too long")
    path, _, query = target.partition("?")
    try:
        return path, {key: values[-1] for key, values in parse_qs(query, max_num_fields=4).items()}
    except ValueError:
        raise RefusedError(400, "that is no question") from None


def _decode(body: bytes, kind: type) -> Any:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise RefusedError(400, str(error)) from error


def _picture(kind: str, data: bytes | None, lasting: bool) -> Answer:
    if data is None:
        raise RefusedError(404, "that picture is gone")
    return Answer(kind, data, lasting=lasting)
