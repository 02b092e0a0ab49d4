"""The requests of the studio's page, and their answers."""

from __future__ import annotations

from collections import OrderedDict
from email.message import Message
from pathlib import Path
from typing import cast

import msgspec

from ..core.errors import GoodpartsError
from ..core.files import read_bytes
from ..core.preprocess import decode
from ..core.view import Box
from ..overlay import draw_found
from ..page.guard import Guard, RefusedError
from ..page.guarded_app import JPEG, GuardedApp, done, split, to_json, to_picture
from ..page.guarded_app import STATIC as SHARED
from ..page.recent_frames import to_jpeg
from ..page.server import Answer
from .controls import StudioControls
from .live import Live
from .photos import LARGEST_PHOTO
from .state import StudioState
from .verdicts import SIDE, THUMBNAIL, Inspector, draw_plain
from .workspace import Kind, Workspace

_STATIC = Path(__file__).with_name("static")
_OWN = (
    "studio.js", "stage.js", "region.js", "collect.js", "settle.js", "products.js", "text.js", "studio.css",
    "strings.en.json", "strings.de.json",
)  # fmt: skip
_UPLOADS = ("/upload", "/show")
_UPLOAD_TYPE = "application/octet-stream"
_MOST_DRAWN = 8


# Each struct is the body of an action. Its fields are the arguments of a method of StudioControls.
class Choose(msgspec.Struct, forbid_unknown_fields=True):
    address: str


class CloseSource(msgspec.Struct, forbid_unknown_fields=True):
    pass


class Create(msgspec.Struct, forbid_unknown_fields=True):
    name: str


class Copy(msgspec.Struct, forbid_unknown_fields=True):
    product: str
    name: str


class Rename(msgspec.Struct, forbid_unknown_fields=True):
    product: str
    name: str
    seen: str


class SetRegion(msgspec.Struct, forbid_unknown_fields=True):
    product: str
    seen: str
    frame: tuple[int, int]
    roi: Box | None
    polygon: tuple[tuple[int, int], ...]
    smallest_defect: int | None


class Collect(msgspec.Struct, forbid_unknown_fields=True):
    product: str
    kind: Kind
    frame: int


class Move(msgspec.Struct, forbid_unknown_fields=True):
    product: str
    name: str
    source: Kind
    target: Kind


class OfSettings(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an action on a product. `seen` is the revision of the settings that the browser showed."""

    product: str
    seen: str


class OfRecipe(msgspec.Struct, forbid_unknown_fields=True):
    """The body of an action on a recipe. `seen` is the digest of the recipe that the browser showed."""

    product: str
    seen: str


class SetThreshold(msgspec.Struct, forbid_unknown_fields=True):
    product: str
    seen: str
    threshold: float
    review: float | None


class StudioApp(GuardedApp):
    """The app that answers the requests of the studio's page.

    Its page uses relative addresses only, so the app can be mounted below any path that ends in a slash.

    Args:
        guard: Checks each request.
        workspace: The products' files.
        live: The live picture.
        inspector: Inspects pictures with the products' recipes.
        state: Reads the state that the page shows.
        controls: Does the actions.
    """

    def __init__(
        self,
        guard: Guard,
        workspace: Workspace,
        live: Live,
        inspector: Inspector,
        state: StudioState,
        controls: StudioControls,
    ) -> None:
        self._workspace, self._live, self._inspector = workspace, live, inspector
        self._state, self._controls = state, controls
        self._drawn: OrderedDict[tuple[int, str, str], bytes] = OrderedDict()
        shared = {f"/{name}": SHARED / name for name in ("common.js", "page.css")}
        super().__init__(
            guard,
            {"/": _STATIC / "index.html"} | shared | {f"/{name}": _STATIC / name for name in _OWN},
            {
                "/state": lambda query: to_json(state.read(query.get("product"))),
                "/live": lambda query: to_json(state.read_live(query.get("product"))),
                "/scores": lambda query: to_json(done(lambda: state.read_scores(query.get("product", "")))),
                r"/frame/(\d{1,12})/(plain|heat)\.jpg": self._frame,
                r"/picture/(small|plain|heat)\.jpg": self._picture,
                "/recipe": self._recipe,
            },
            {
                "/choose": (Choose, controls.choose),
                "/close": (CloseSource, controls.close_source),
                "/create": (Create, controls.create),
                "/copy": (Copy, controls.copy),
                "/rename": (Rename, controls.rename),
                "/region": (SetRegion, controls.region),
                "/collect": (Collect, controls.collect),
                "/move": (Move, controls.move),
                "/teach": (OfSettings, controls.teach),
                "/threshold": (SetThreshold, controls.set_threshold),
                "/settle": (OfRecipe, controls.settle),
                "/sign": (OfRecipe, controls.sign),
                "/undo": (OfRecipe, controls.undo),
            },
        )

    def largest_body(self, target: str, headers: Message) -> int:
        if split(target)[0] not in _UPLOADS:
            return super().largest_body(target, headers)
        self._check_sender(headers)  # before any byte of a large body is read
        return LARGEST_PHOTO

    def post(self, target: str, headers: Message, body: bytes) -> Answer:
        path, query = split(target)
        if path not in _UPLOADS:
            return super().post(target, headers, body)
        self._check_sender(headers)
        if len(body) != int(headers["Content-Length"]):
            raise RefusedError(400, "the photo did not arrive completely: send it again")
        name = query.get("name", "photo")
        if path == "/show":
            return to_json(done(lambda: self._controls.show(name, body)))
        kind = cast("Kind", query.get("kind"))  # upload refuses any other text
        return to_json(done(lambda: self._controls.upload(query.get("product", ""), kind, name, body)))

    def _check_sender(self, headers: Message) -> None:
        """Refuse a photo if its sender may not do actions."""
        self._guard.check_address(headers)
        self._guard.check_action(headers, _UPLOAD_TYPE)
        self._guard.check_token(headers)

    def _frame(self, query: dict[str, str], number: str, how: str) -> Answer:
        frame = done(lambda: self._live.shown(int(number)))
        if how == "plain":
            return to_picture(JPEG, draw_plain(frame.pixels), lasting=False)
        inspection = done(lambda: self._inspector.look(self._workspace.product(query.get("product", "")), frame))
        if inspection is None:
            return to_picture(JPEG, draw_plain(frame.pixels), lasting=False)
        key = frame.number, query.get("product", ""), inspection.recipe
        if key not in self._drawn:
            self._drawn[key] = to_jpeg(draw_found(frame.pixels, inspection, SIDE))
            while len(self._drawn) > _MOST_DRAWN:
                self._drawn.popitem(last=False)
        return to_picture(JPEG, self._drawn.get(key), lasting=False)

    def _picture(self, query: dict[str, str], how: str) -> Answer:
        """Return a collected picture as an answer.

        The address contains the picture's version, so browsers may cache it. With a heat-map they may not, since the
        recipe may change.
        """

        def draw() -> bytes:
            product = self._workspace.product(query.get("product", ""))
            path = product.path(query.get("kind", ""), query.get("name", ""))
            pixels = decode(read_bytes(path), "the picture")
            return (
                self._inspector.draw(product, pixels)
                if how == "heat"
                else draw_plain(pixels, THUMBNAIL if how == "small" else SIDE)
            )

        return to_picture(JPEG, done(draw), lasting=how != "heat")

    def _recipe(self, query: dict[str, str]) -> Answer:
        path = done(lambda: self._workspace.product(query.get("product", ""))).recipe_path
        try:
            return Answer(_UPLOAD_TYPE, read_bytes(path))
        except GoodpartsError:
            raise RefusedError(404, "there is no recipe yet") from None
