"""The studio as a whole: its parts, and the app that serves them."""

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
    """The products of a workspace, and everything that can be done with them.

    Args:
        folder: The workspace; it is made if it does not exist.
        shared_engine: The engine, which several threads share.
        named: The addresses of the sources that the program was started with. The page offers them. The
            checks of addresses that a page sends do not apply to these.
        signer: Signs recipes; None if no key was given.
        report: Takes one line of text about each event.
        is_line: Whether the named sources are those of a line, which passes its frames to `note`.

    Attributes:
        workspace: The products' files.
        live: The live picture.

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
        """Return the app that serves the studio's page.

        Args:
            guard: Checks each request.
        """
        return StudioApp(guard, self.workspace, self.live, self._inspector, self._state, self._controls)

    def note(self, result: Result) -> None:
        """Pass the picture of a line's frame to the live picture.

        Args:
            result: The frame's result.
        """
        if result.pixels is not None:
            self.live.feed(result.source, result.pixels)

    def close(self) -> None:
        """Stop the source, and release the workspace for another studio."""
        self.live.close()
        self.workspace.close()
