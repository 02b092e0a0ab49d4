"""The code that runs on the line. It needs numpy, Pillow and one inference library, and never imports torch."""

from .core.errors import (
    BackboneError,
    BackendError,
    EngineError,
    FileError,
    GoodpartsError,
    ImageError,
    ParityError,
    RecipeError,
    SettingsError,
    SourceError,
)
from .core.regions import Region
from .core.scorer import Search
from .core.view import Box, View
from .core.yuv import YuvFrame
from .detector import Detector
from .engine.engine import Engine
from .inspection import Inspection
from .recipe.header import Thresholds
from .recipe.recipe import Recipe
from .recipe.signing import Signer, Trust

__all__ = [
    "BackboneError",
    "BackendError",
    "Box",
    "Detector",
    "Engine",
    "EngineError",
    "FileError",
    "GoodpartsError",
    "ImageError",
    "Inspection",
    "ParityError",
    "Recipe",
    "RecipeError",
    "Region",
    "Search",
    "SettingsError",
    "Signer",
    "SourceError",
    "Thresholds",
    "Trust",
    "View",
    "YuvFrame",
]
