"""Everything that the studio shows, except pictures, as JSON."""

from __future__ import annotations

import functools
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from goodparts import __version__

from ..core.errors import GoodpartsError
from ..core.view import View
from ..line.shared_engine import SharedEngine
from .controls import StudioControls
from .examine import Examiner
from .live import Live
from .settings import ProductSettings
from .verdicts import Inspector, propose
from .workspace import KINDS, PictureEntry, ProductFolder, Workspace, revision_of, what_of

_BUDGET = 0.25
"""Seconds for which one answer may measure or inspect collected pictures. The next answers continue with the rest."""


class StudioState:
    """The state of the studio, as its page shows it. It changes nothing.

    Args:
        workspace: The products' files.
        live: The live picture.
        inspector: Inspects pictures with the products' recipes.
        shared_engine: The engine.
        controls: The actions; they also report whether a product is being taught.
        is_line: Whether the studio is part of a line's page.
    """

    def __init__(
        self,
        workspace: Workspace,
        live: Live,
        inspector: Inspector,
        shared_engine: SharedEngine,
        controls: StudioControls,
        *,
        is_line: bool,
    ) -> None:
        self._workspace, self._live, self._inspector = workspace, live, inspector
        self._shared_engine, self._controls, self._is_line = shared_engine, controls, is_line
        self._examiner = Examiner(shared_engine.engine.encoder.image_size)

    def read(self, product: str | None) -> dict[str, Any]:
        """Return the source, a summary of each product, and the full description of one product.

        Args:
            product: The id of the product to describe; None for none.
        """
        engine = self._shared_engine.engine
        products = self._workspace.products()
        chosen = next((folder for folder in products if folder.id == product), None)
        return {
            "about": f"{__version__} · {engine.encoder.backbone} on {engine.backend}",
            "folder": str(self._workspace.folder.absolute()),
            "line": self._is_line,
            "source": self._live.status(),
            "named": list(self._live.named_shown()),
            "devices": [] if self._is_line else [str(path) for path in sorted(Path("/dev").glob("video*"))],
            "can_sign": self._controls.can_sign,
            "products": [_summarise(folder) for folder in products],
            "product": None if chosen is None else self._describe(chosen),
        }

    def read_live(self, product: str | None) -> dict[str, Any]:
        """Return the number, size and age of the live frame, and its verdict by a product's recipe.

        Args:
            product: The product's id; None for no verdict.
        """
        frame = self._live.newest()
        if frame is None:
            return {"number": None}
        height, width = frame.pixels.shape[:2]
        found: dict[str, Any] = {"number": frame.number, "name": frame.name, "width": width, "height": height}
        found["age"] = time.monotonic() - frame.arrival
        if product is not None:
            try:
                inspection = self._inspector.look(self._workspace.product(product), frame)
            except GoodpartsError as error:
                return found | {"error": str(error)}
            if inspection is not None:
                found["verdict"] = inspection.verdict
                found["score"] = inspection.score
                found["recipe"] = inspection.recipe
                found["scene"] = None if inspection.scene is None else inspection.scene.reason
        return found

    def read_scores(self, product: str) -> dict[str, Any]:
        """Return the raw scores of a product's pictures, and the thresholds that they propose.

        Args:
            product: The product's id.

        Raises:
            GoodpartsError: There is no such product (ChangedError), or its recipe cannot be used.
        """
        folder = self._workspace.product(product)
        detector = self._inspector.detector(folder)
        if detector is None:
            return {"digest": None, "pending": 0, "scores": []}
        pictures: list[PictureEntry] = [entry for kind in KINDS[:3] for entry in folder.pictures(kind)]
        scores, pending = self._inspector.scores(folder, pictures, _BUDGET)
        thresholds = detector.recipe.header.thresholds
        return {
            "digest": detector.recipe.digest,
            "threshold": thresholds.image,
            "review": thresholds.review,
            "pending": pending,
            "scores": [scored._asdict() for scored in scores if scored.image is not None],
            "proposal": propose(scores, thresholds.image),
        }

    def _describe(self, folder: ProductFolder) -> dict[str, Any]:
        described: dict[str, Any] = {"id": folder.id, "error": None, "recipe": None, "path": str(folder.recipe_path)}
        pictures = {kind: folder.pictures(kind) for kind in KINDS}
        notes: Mapping[str, list[dict[str, Any]]] = {}
        try:
            settings = folder.settings()
            view = view_of(settings)
            described |= {
                "name": settings.name,
                "revision": revision_of(settings),
                "frame": settings.frame,
                "roi": settings.roi,
                "polygon": settings.polygon,
                "smallest_defect": settings.smallest_defect,
                "tiles": settings.tiles,
                "patch": settings.patch(self._shared_engine.engine.encoder.grid),
            }
            notes = self._examiner.notes(folder, view, pictures["good"], _BUDGET)
            described["recipe"] = self._describe_recipe(folder, view, [picture.name for picture in pictures["good"]])
        except GoodpartsError as error:
            described["error"] = str(error)
            described.setdefault("name", folder.id)
        described["pictures"] = {
            kind: [
                {
                    "name": entry.name,
                    "version": entry.version,
                    "notes": notes.get(entry.name, []) if kind == "good" else [],
                }
                for entry in entries
            ]
            for kind, entries in pictures.items()
        }
        teaching = self._controls.teaching(folder)
        described["teaching"] = teaching and {
            "runs": teaching.runs,
            "seconds": time.monotonic() - teaching.started,
            "error": teaching.error,
        }
        return described

    def _describe_recipe(self, folder: ProductFolder, view: View, good: list[str]) -> dict[str, Any] | None:
        detector = self._inspector.detector(folder)
        if detector is None:
            return None
        recipe, former = detector.recipe, folder.former()
        header = recipe.header
        return {
            "digest": recipe.digest,
            "threshold": header.thresholds.image,
            "review": header.thresholds.review,
            "shots": len(header.shots),
            "provisional": header.is_provisional,
            "signed": bool(header.signature),
            "bytes": folder.recipe_path.stat().st_size,
            "fresh": header.view == view and {shot.name for shot in header.shots} == set(good),
            "undo": None if former is None else what_of(former),
        }


@functools.lru_cache(maxsize=64)
def view_of(settings: ProductSettings) -> View:
    """Return the view of a product's settings. It is cached, because drawing the mask takes a while.

    Args:
        settings: The product's settings, which define the region and the tiles.

    Raises:
        SettingsError: The polygon lies outside the frame, or is too small.
    """
    return settings.view()


def _summarise(folder: ProductFolder) -> dict[str, Any]:
    try:
        name = folder.settings().name
    except GoodpartsError:
        name = folder.id  # the error is shown when the product is opened
    counts = {kind: len(folder.pictures(kind)) for kind in KINDS[:3]}
    first = next(iter(folder.pictures("good")), None)
    return {
        "id": folder.id,
        "name": name,
        "taught": folder.recipe_path.exists(),
        "counts": counts,
        "picture": None if first is None else {"name": first.name, "version": first.version},
    }
