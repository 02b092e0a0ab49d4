"""What runs on the line: numpy, Pillow and one inference engine; never torch."""

from .detector import Detector, Inspection
from .engine import Engine
from .errors import (
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
from .header import Thresholds
from .recipe import Recipe
from .regions import Region
from .scorer import Search
from .signing import Signer, Trust
from .view import Box, View

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
]
