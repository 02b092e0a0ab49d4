"""Few-shot visual inspection: learn a product from a few photos of good parts, and find bad parts without torch.

    recipe = goodparts.teach("photos/good", "metal nut")
    inspection = goodparts.Detector(recipe).predict("photos/today/7.png")
    print(inspection.verdict, inspection.score)

Each name is imported when it is first used. `teach`, `Detector` and `Engine` need an inference library, such as
that of the extra cpu. `train` needs torch (the extra train), and `evaluate` needs the extras train and evaluate.
"""

from __future__ import annotations

import importlib
from pkgutil import extend_path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from goodparts.evaluation.command import evaluate
    from goodparts.export.train import train
    from goodparts.runtime.detector import Detector
    from goodparts.runtime.engine.engine import Engine
    from goodparts.runtime.recipe.recipe import Recipe
    from goodparts.runtime.recipe.teach import teach

# In a checkout, Python finds this folder before the installed package, which has the other modules.
__path__ = extend_path(__path__, __name__)
__version__ = "0.1.0"
__all__ = ["Detector", "Engine", "Recipe", "__version__", "evaluate", "teach", "train"]

_MODULES = {
    "Detector": "goodparts.runtime.detector",
    "Engine": "goodparts.runtime.engine.engine",
    "Recipe": "goodparts.runtime.recipe.recipe",
    "evaluate": "goodparts.evaluation.command",
    "teach": "goodparts.runtime.recipe.teach",
    "train": "goodparts.export.train",
}
"""Name → the module that defines it."""


_EXTRAS = {"evaluate": "train,evaluate", "train": "train"}
"""Name → the extras that it needs. A name that is not listed needs only cpu."""


def __dir__() -> list[str]:
    return __all__


def __getattr__(name: str) -> Any:
    if name in _MODULES:
        try:
            return getattr(importlib.import_module(_MODULES[name]), name)
        except ModuleNotFoundError as error:
            if (error.name or "").startswith("goodparts"):
                raise
            from goodparts.runtime.core.errors import install_line

            needs = f"goodparts.{name} needs {error.name}: {install_line(_EXTRAS.get(name, 'cpu'))}"
            raise ModuleNotFoundError(needs, name=error.name) from error
    raise AttributeError(f"module 'goodparts' has no attribute {name!r}")
