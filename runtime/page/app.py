"""The requests of a line's page, and their answers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import msgspec

from ..line.smoothing import Decision
from .controls import Considered, Controls
from .gallery import Gallery
from .guard import Guard, RefusedError
from .guarded_app import JPEG, PNG, STATIC, GuardedApp, to_json, to_picture
from .recent_frames import RecentFrames, to_jpeg
from .server import Answer
from .state import PageState


# Each struct is the body of an action. Its fields are the arguments of a method of Controls.
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


class PageApp(GuardedApp):
    """The app that answers the requests of a line's page.

    Args:
        guard: Checks each request.
        state: Reads the state that the page shows.
        controls: Does the actions.
        gallery: The saved rejects; None if the line saves none.
    """

    def __init__(self, guard: Guard, state: PageState, controls: Controls, gallery: Gallery | None) -> None:
        self._state, self._controls, self._gallery = state, controls, gallery
        names = ("page.js", "chart.js", "common.js", "page.css")
        actions: dict[str, tuple[type, Callable[..., Considered | None]]] = {
            "/threshold": (SetThreshold, controls.set_threshold),
            "/keep": (KeepThreshold, controls.keep_threshold),
            "/consider": (Consider, controls.consider),
            "/accept": (Accept, controls.accept),
            "/settle": (Settle, controls.settle),
            "/take": (Take, controls.take),
            "/undo": (Undo, controls.undo),
        }
        super().__init__(
            guard,
            {"/": STATIC / "index.html"} | {f"/{name}": STATIC / name for name in names},
            {
                r"/state": self._read,
                r"/preview": self._preview,
                r"/frame/([\w.-]+)/(\d{1,12})/(heat|plain)\.jpg": self._frame,
                r"/settling/([\w.-]+)/(\d{1,6})\.jpg": self._settled_part,
                r"/rejects": self._rejects,
                r"/rejects/([\w.-]+)/(small\.jpg|heat\.png|plain\.png)": self._reject,
            },
            {path: (kind, self._then_state(act)) for path, (kind, act) in actions.items()},
        )

    def _then_state(self, act: Callable[..., Considered | None]) -> Callable[..., Any]:
        """Return an action that answers with the page's new state if the given action returns nothing."""

        def act_and_read(**fields: Any) -> Any:
            considered = act(**fields)
            return self._state.read() if considered is None else considered

        return act_and_read

    def _read(self, query: dict[str, str]) -> Answer:  # noqa: ARG002
        return to_json(self._state.read())

    def _preview(self, query: dict[str, str]) -> Answer:
        recent = self._recent(query.get("source", ""))
        try:
            threshold = float(query.get("threshold", ""))
        except ValueError:
            raise RefusedError(400, "threshold is a number") from None
        raw_threshold = threshold * self._controls.raw_threshold(query["source"])
        return to_json(recent.preview(raw_threshold))

    def _frame(self, query: dict[str, str], source: str, number: str, kind: str) -> Answer:  # noqa: ARG002
        # Not lasting: the next run of the line gives the same numbers to other frames.
        return to_picture(JPEG, self._recent(source).picture(int(number), kind == "heat"), lasting=False)

    def _settled_part(self, query: dict[str, str], source: str, index: str) -> Answer:  # noqa: ARG002
        picture = self._controls.settled_part(source, int(index))
        return to_picture(JPEG, None if picture is None else to_jpeg(picture), lasting=False)

    def _rejects(self, query: dict[str, str]) -> Answer:
        decision = query.get("decision")
        if decision not in (None, "review", "reject"):
            raise RefusedError(400, f"decision is {decision!r}: review and reject are accepted")
        listing = self._saved().listing(query.get("before", ""), cast("Decision | None", decision))
        return to_json(listing)

    def _reject(self, query: dict[str, str], name: str, kind: str) -> Answer:  # noqa: ARG002
        saved = self._saved()
        make = {"small.jpg": saved.thumbnail, "heat.png": saved.overlay, "plain.png": saved.photo}[kind]
        return to_picture(JPEG if kind == "small.jpg" else PNG, make(name), lasting=True)

    def _recent(self, source: str) -> RecentFrames:
        if source not in self._state.recent_frames:
            raise RefusedError(404, "there is no such source")
        return self._state.recent_frames[source]

    def _saved(self) -> Gallery:
        if self._gallery is None:
            raise RefusedError(404, "rejects are not saved")
        return self._gallery
