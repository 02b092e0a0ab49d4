"""The actions of the studio.

Each action names the state that its browser showed, and is refused if that state has changed since.
"""

from __future__ import annotations

import contextlib
import dataclasses
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone

import msgspec

from ..core.errors import RecipeError, SettingsError, one_line
from ..core.files import NO_DIGEST, visible
from ..core.view import Box
from ..line.shared_engine import SharedEngine
from ..page.controls import ChangedError
from ..recipe.header import Thresholds
from ..recipe.recipe import Recipe
from ..recipe.shots import MAX_SHOTS
from ..recipe.signing import Signer
from ..recipe.teach import teach
from .live import Live
from .photos import read_photo
from .settings import clean_name
from .verdicts import Inspector, settled_recipe, to_png
from .workspace import KINDS, Kind, ProductFolder, Workspace, open_recipe, revision_of, safe_stem

MOST_PICTURES = 2000
"""The most pictures of one kind that a product may have. More come from a mistake, such as collecting without end."""


@dataclass(frozen=True)
class Teaching:
    """One teaching of a product, which runs or has failed.

    Attributes:
        started: When it began or, if it has failed, when it failed, in seconds of time.monotonic.
        error: The reason why it failed; empty while it runs.
    """

    started: float
    error: str = ""

    @property
    def runs(self) -> bool:
        """Whether the teaching is still running."""
        return not self.error


class StudioControls:
    """The studio's actions. Several threads and browsers may use them; each change of a product holds its lock.

    Every action raises ChangedError if the state that the browser showed has changed, and another GoodpartsError if it
    cannot be done.

    Args:
        workspace: The products' files.
        live: The live picture.
        inspector: Inspects pictures with the products' recipes.
        shared_engine: The engine.
        signer: Signs recipes; None if no key was given.
        report: Takes one line of text about each change.
    """

    def __init__(
        self,
        workspace: Workspace,
        live: Live,
        inspector: Inspector,
        shared_engine: SharedEngine,
        signer: Signer | None,
        report: Callable[[str], None],
    ) -> None:
        self._workspace, self._live, self._inspector = workspace, live, inspector
        self._shared_engine, self._signer, self._report = shared_engine, signer, report
        self._teachings: dict[str, Teaching] = {}
        self._collected: dict[str, tuple[int, Kind]] = {}

    @property
    def can_sign(self) -> bool:
        """Whether a key was given."""
        return self._signer is not None

    def teaching(self, product: ProductFolder) -> Teaching | None:
        """Return the teaching of a product; None if none was started since the last one succeeded.

        Args:
            product: The product whose teaching is returned.
        """
        return self._teachings.get(product.id)

    def choose(self, address: str) -> None:
        """Show the frames of a source.

        Args:
            address: See Live.choose.
        """
        self._live.choose(address)

    def close_source(self) -> None:
        """Stop the source that is shown."""
        self._live.close()

    def create(self, name: str) -> str:
        """Make a product.

        Args:
            name: The product's name.

        Returns:
            The product's id.
        """
        return self._workspace.create(name).id

    def copy(self, product: str, name: str) -> str:
        """Copy a product.

        Args:
            product: The product's id.
            name: The copy's name.

        Returns:
            The copy's id.
        """
        return self._workspace.copy(self._workspace.product(product), name).id

    def rename(self, product: str, name: str, seen: str) -> None:
        """Give a product another name, in its recipe too.

        Args:
            product: The product's id.
            name: The new name.
            seen: The revision of the settings that the browser showed.
        """
        with self._seen(product, settings=seen) as folder:
            recipe = open_recipe(folder)
            if recipe is not None:
                header = msgspec.structs.replace(recipe.header, product=clean_name(name), digest=NO_DIGEST)
                self._write(folder, dataclasses.replace(recipe, header=header), "rename")
            folder.write_settings(folder.settings().changed(name=clean_name(name)))

    def region(
        self,
        product: str,
        seen: str,
        frame: tuple[int, int],
        roi: Box | None,
        polygon: tuple[tuple[int, int], ...],
        smallest_defect: int | None,
    ) -> None:
        """Set the region of a product, and its smallest defect.

        Args:
            product: The product's id.
            seen: The revision of the settings that the browser showed.
            frame: Width and height in pixels of the frame on which the region was drawn.
            roi: The region as a rectangle in frame pixels; None for the whole frame.
            polygon: The region's corners x, y in frame pixels; empty for none.
            smallest_defect: The side of the smallest defect in frame pixels; None for any size.
        """
        with self._seen(product, settings=seen) as folder:
            grid = self._shared_engine.engine.encoder.grid
            folder.write_settings(folder.settings().with_region(frame, roi, polygon, smallest_defect, grid))

    def collect(self, product: str, kind: Kind, frame: int) -> str:
        """Keep a live frame as a picture of a product.

        Args:
            product: The product's id.
            kind: The kind of the picture.
            frame: The frame's number.

        Returns:
            The name of the picture's file; empty if the frame is the product's last picture already.

        Raises:
            ChangedError: The frame is no longer kept.
        """
        folder, shown = self._workspace.product(product), self._live.shown(frame)
        with folder.lock:
            self._check_room(folder, kind)
            if self._collected.get(folder.id) == (frame, kind):
                return ""
            now = datetime.now(timezone.utc)
            name = folder.add(kind, f"{now:%Y%m%d-%H%M%S}-{now.microsecond // 1000:03}", ".png", to_png(shown.pixels))
            self._collected[folder.id] = frame, kind
            return name

    def upload(self, product: str, kind: Kind, name: str, data: bytes) -> str:
        """Keep a photo that was dropped into the page as a picture of a product.

        Args:
            product: The product's id.
            kind: The kind of the picture.
            name: The name of the dropped file.
            data: The bytes of the dropped file.

        Returns:
            The name of the picture's file.
        """
        folder = self._workspace.product(product)
        photo = read_photo(data, shown_name(name))
        with folder.lock:
            self._check_room(folder, kind)
            return folder.add(kind, safe_stem(name.rpartition(".")[0] or name), photo.suffix, photo.data)

    def show(self, name: str, data: bytes) -> int:
        """Show a photo that was dropped into the page as the live picture.

        Args:
            name: The name of the dropped file.
            data: The bytes of the dropped file.

        Returns:
            The number of the photo's frame.
        """
        return self._live.show(read_photo(data, shown_name(name)).pixels, shown_name(name))

    def move(self, product: str, name: str, source: str, target: Kind) -> str:
        """Move a picture to another kind.

        Args:
            product: The product's id.
            name: The name of the picture's file.
            source: The present kind.
            target: The new kind; "removed" takes the picture out.

        Returns:
            The name of the picture's file in its new folder.
        """
        folder = self._workspace.product(product)
        with folder.lock:
            self._check_room(folder, target)
            self._collected.pop(folder.id, None)  # a picture that was taken back can be kept again
            return folder.move(name, source, target)

    def teach(self, product: str, seen: str) -> None:
        """Begin to teach a product from its good pictures, in a thread of its own.

        Args:
            product: The product's id.
            seen: The revision of the settings that the browser showed.

        Raises:
            ChangedError: The product is being taught already.
            SettingsError: The product has no good picture.
        """
        with self._seen(product, settings=seen) as folder:
            running = self._teachings.get(folder.id)
            if running is not None and running.runs:
                raise ChangedError("it is being taught already")
            if not folder.pictures("good"):
                raise SettingsError("there is no picture of a good part yet: collect at least one, better four")
            self._teachings[folder.id] = Teaching(time.monotonic())
        threading.Thread(target=self._teach, args=(folder,), name=f"teach {folder.id}", daemon=True).start()

    def _teach(self, folder: ProductFolder) -> None:
        try:
            with folder.lock:
                settings = folder.settings()
                pictures = [folder.folder / picture.kind / picture.name for picture in folder.pictures("good")]
            recipe = teach(
                pictures,
                settings.name,
                engine=self._shared_engine.engine,
                view=settings.view(),
                shots=min(len(pictures), MAX_SHOTS),
                false_reject_rate=settings.false_reject_rate,
            )
            with folder.lock:
                before = open_recipe(folder)
                if before is not None and before.header.thresholds.review is not None:
                    kept = msgspec.structs.replace(recipe.header.thresholds, review=before.header.thresholds.review)
                    recipe = recipe.with_thresholds(kept)
                self._write(folder, recipe, "teach")
                del self._teachings[folder.id]
        except Exception as error:  # the engine may raise anything; the page shows it, and the studio goes on
            reason = one_line(error).replace(f"{folder.folder}{os.sep}", "")
            self._teachings[folder.id] = Teaching(time.monotonic(), reason)
            self._report(f"{folder.id}: teaching failed: {reason}")

    def set_threshold(self, product: str, seen: str, threshold: float, review: float | None) -> None:
        """Set the threshold of a product's recipe. The pixel threshold changes by the same factor.

        Args:
            product: The product's id.
            seen: The digest of the recipe that the browser showed.
            threshold: The raw image score from which a part is rejected.
            review: The score from which a part is to be reviewed, above 0 and below 1; None for no review.
        """
        with self._seen(product, recipe=seen) as folder:
            recipe = self._recipe(folder)
            now = recipe.header.thresholds
            moved: Thresholds = msgspec.structs.replace(now.scaled_by(threshold / now.image), review=review)
            moved.check()
            self._write(folder, recipe.with_thresholds(moved), "threshold")

    def settle(self, product: str, seen: str) -> None:
        """Set the thresholds that the product's unsorted parts propose.

        Args:
            product: The product's id.
            seen: The digest of the recipe that the browser showed.

        Raises:
            ChangedError: Some of the parts are not inspected yet.
        """
        with self._seen(product, recipe=seen) as folder:
            scores, pending = self._inspector.scores(folder, folder.pictures("settle"), 0.0)
            if pending:
                raise ChangedError(f"{pending} parts are not inspected yet: wait until they are")
            self._write(folder, settled_recipe(self._recipe(folder), scores), "settle")

    def sign(self, product: str, seen: str) -> None:
        """Sign a product's recipe.

        Args:
            product: The product's id.
            seen: The digest of the recipe that the browser showed.

        Raises:
            SettingsError: The studio was started without a key.
        """
        if self._signer is None:
            raise SettingsError("no key was given: start the studio with --key FILE (`goodparts keygen` makes one)")
        with self._seen(product, recipe=seen) as folder:
            folder.write_recipe(self._recipe(folder).to_bytes(self._signer), "sign")
        self._report(f"{folder.id}: signed")

    def undo(self, product: str, seen: str) -> str:
        """Bring back the recipe from before the last change.

        Args:
            product: The product's id.
            seen: The digest of the recipe that the browser showed.

        Returns:
            The change that was taken back, in one word, such as "teach".
        """
        with self._seen(product, recipe=seen) as folder:
            what = folder.undo()
        self._report(f"{folder.id}: {what} is taken back")
        return what

    @contextlib.contextmanager
    def _seen(self, product: str, *, settings: str | None = None, recipe: str | None = None) -> Iterator[ProductFolder]:
        """Hold the lock of a product; raise ChangedError if its settings or recipe are not those that were seen."""
        folder = self._workspace.product(product)
        with folder.lock:
            if settings is not None and revision_of(folder.settings()) != settings:
                raise ChangedError("somebody else has changed the product meanwhile; look again")
            if recipe is not None and self._recipe(folder).digest != recipe:
                raise ChangedError("somebody else has changed the recipe meanwhile; look again")
            yield folder

    def _recipe(self, folder: ProductFolder) -> Recipe:
        recipe = open_recipe(folder)
        if recipe is None:
            raise SettingsError("there is no recipe yet: teach the product first")
        return recipe

    def _write(self, folder: ProductFolder, recipe: Recipe, what: str) -> None:
        """Write a recipe, and sign it again if it was signed."""
        if recipe.header.signature and self._signer is None:
            raise RecipeError("the recipe is signed: start the studio with --key FILE to change it and sign it again")
        folder.write_recipe(recipe.to_bytes(self._signer if recipe.header.signature else None), what)
        self._report(f"{folder.id}: {what}")

    def _check_room(self, folder: ProductFolder, kind: Kind) -> None:
        if kind not in KINDS:
            raise SettingsError(f"kind {kind!r}: one of {', '.join(KINDS)} is needed")
        if len(folder.pictures(kind)) >= MOST_PICTURES:
            raise SettingsError(f"the product has {MOST_PICTURES} pictures of that kind, the most allowed: remove some")


def shown_name(name: str) -> str:
    """Return the name of a dropped file as messages show it: printable and of bounded length.

    Args:
        name: The name that the browser sent.
    """
    return visible(name)[:80] or "the photo"
