"""The studio, put together and served."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from ..line.results import Result
from ..line.shared_engine import SharedEngine
from ..page.guard import Guard
from ..recipe.signing import Signer
from .app import StudioApp
from .controls import StudioControls
from .live import Live
from .state import StudioState
from .verdicts import Inspector
from .workspace import Workspace


class Studio:
    """The products of a workspace, and all that is done with them.

    live: the live picture.

    Args:
        folder: The workspace; it is made where there is none.
        shared_engine: The engine, for several threads.
        named: Sources that may be chosen besides those that a page may name.
        signer: Signs recipes; None where no key was given.
        report: Takes one line of text about each thing that happens.
        is_line: Whether the sources are those of a line, whose frames `live.feed` takes.

    Raises:
        FileError: The folder cannot be used, or another studio has it open.
    """

    def __init__(
        self,
        folder: Path,
        shared_engine: SharedEngine,
        named: Sequence[str],
        signer: Signer | None,
        report: Callable[[str], None],
        *,
        is_line: bool = False,
    ) -> None:
        self.workspace = Workspace(folder)
        self.live = Live(named, report, is_line=is_line)
        self._inspector = Inspector(shared_engine)
        self._controls = StudioControls(self.workspace, self.live, self._inspector, shared_engine, signer, report)
        self._state = StudioState(
            self.workspace, self.live, self._inspector, shared_engine, self._controls, is_line=is_line
        )

    def app(self, guard: Guard) -> StudioApp:
        """Return the studio's page, for those whom the guard lets in."""
        return StudioApp(guard, self.workspace, self.live, self._inspector, self._state, self._controls)

    def note(self, result: Result) -> None:
        """Take the result of a line's frame, whose picture may be shown."""
        if result.pixels is not None:
            self.live.feed(result.source, result.pixels)

    def close(self) -> None:
        """Let the source and the workspace go."""
        self.live.close()
        self.workspace.close()
