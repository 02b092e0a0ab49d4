"""What goodparts raises: one class per family, each message one line.

A message tells what was wrong, the value seen, what is accepted, and how to fix it.
"""

from __future__ import annotations


class GoodpartsError(Exception):
    """Base of every error that goodparts raises on purpose."""


class ImageError(GoodpartsError):
    """A picture cannot be read or is of a kind that has no defined conversion."""


class SettingsError(GoodpartsError):
    """An option, or a combination of options, is outside what is accepted."""


class RecipeError(GoodpartsError):
    """A recipe file is damaged, unreadable, or does not fit the engine."""


class EngineError(GoodpartsError):
    """An engine folder is damaged, incomplete, or outside its contract."""


class BackendError(GoodpartsError):
    """An inference library is missing or cannot run what was asked."""


class BackboneError(GoodpartsError):
    """A CLIP model is unknown, cannot be had, or is of an unsupported kind."""


class ParityError(GoodpartsError):
    """An exported graph differs from torch by more than its precision allows."""


class FileError(GoodpartsError):
    """A file or folder cannot be found, read or written."""


class SourceError(GoodpartsError):
    """A camera, a stream or a watched folder cannot be opened, or has stopped giving pictures."""


def first_line(error: BaseException, silent: str | None = None) -> str:
    """Return the first line of an error's message.

    silent: what stands for a message that is empty; None: the name of the error's class.
    """
    lines = str(error).strip().splitlines()
    return lines[0].strip() if lines else silent or type(error).__name__


def one_line(error: BaseException) -> str:
    """Return any error as one line: a message of ours, the system's reason, or class and first line of a library's."""
    if isinstance(error, GoodpartsError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return f"{error.strerror}: {error.filename}" if error.filename else error.strerror
    return f"{type(error).__name__}: {first_line(error, 'it gave no reason')}"


def install_line(*extras: str) -> str:
    """Return the commands of which each installs one extra; goodparts is on no index, so they are run in a checkout."""
    return " or ".join(f'pip install ".[{extra}]"' for extra in extras) + " in the checkout of goodparts"
