"""What goodparts raises: one class per family, each message one line.

A message says what was wrong, the value seen, what is accepted, and how to fix it.
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
