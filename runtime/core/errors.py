"""The errors of goodparts: one class for each kind of problem. Every message is one line.

A message tells what was wrong, the value seen, what is accepted, and how to fix it.
"""

from __future__ import annotations


class GoodpartsError(Exception):
    """The base class of every error that goodparts raises on purpose."""


class ImageError(GoodpartsError):
    """A picture cannot be read, or goodparts has no conversion for its kind."""


class SettingsError(GoodpartsError):
    """An option, or a combination of options, is not accepted."""


class RecipeError(GoodpartsError):
    """A recipe file is damaged, unreadable, or does not fit the engine."""


class EngineError(GoodpartsError):
    """An engine folder is damaged or incomplete, or its contract is not supported."""


class BackendError(GoodpartsError):
    """An inference library is missing or cannot do what was requested."""


class BackboneError(GoodpartsError):
    """A CLIP model is unknown, not available, or of an unsupported kind."""


class ParityError(GoodpartsError):
    """An exported graph differs from torch by more than its precision allows."""


class FileError(GoodpartsError):
    """A file or folder cannot be found, read or written."""


class SourceError(GoodpartsError):
    """A camera, a stream or a watched folder cannot be opened, or no longer delivers pictures."""


def first_line(error: BaseException, silent: str | None = None) -> str:
    """Return the first line of an error's message.

    Args:
        error: The error, of any class.
        silent: The text to return if the message is empty; None returns the name of the error's class.
    """
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else silent or type(error).__name__


def one_line(error: BaseException) -> str:
    """Return an error as one line.

    Args:
        error: An error of goodparts, whose message is returned; an OSError, whose reason and file are returned; or any
            other error, whose class and first line are returned.
    """
    if isinstance(error, GoodpartsError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {first_line(error, 'it gave no reason')}"


def install_line(*extras: str) -> str:
    """Return the commands that install extras, one command for each extra.

    goodparts is on no package index, so the commands run in a checkout.

    Args:
        extras: The names of the extras.
    """
    return " or ".join(f'pip install ".[{extra}]"' for extra in extras) + " in the checkout of goodparts"
