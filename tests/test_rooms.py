"""The rooms of the source tree: imports between them go one way, and no modules import each other in a circle.

Every import counts, also one inside a function or for type checkers only.
"""

from __future__ import annotations

import ast
import graphlib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

MAY_IMPORT = {
    "drawn": set(),
    "runtime": set(),
    "trainer": {"runtime", "drawn"},
    "export": {"runtime", "drawn", "trainer"},
    "evaluation": {"runtime", "drawn", "trainer", "export"},
    "benchmarks": {"runtime", "drawn", "trainer", "export", "evaluation"},
}
"""Folder → the other folders that it may import from."""

RUNTIME_ROOMS = ("core", "backends", "engine", "recipe", "", "line", "page", "studio", "commands")
"""The rooms of the runtime, lowest first; "" is the folder itself. A room imports from itself and from lower ones."""


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    parts = parts if parts[0] == "goodparts" else ("goodparts", *parts)
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {module_name(path): path for folder in ("goodparts", *MAY_IMPORT) for path in (ROOT / folder).rglob("*.py")}
PACKAGES = {name for name, path in MODULES.items() if path.name == "__init__.py"}


def imported_names(module: str) -> Iterator[tuple[str, str, str]]:
    """What a module imports of this project: the module named in the statement, the name taken, and its name here."""
    parts = module.split(".")
    package = parts if module in PACKAGES else parts[:-1]
    for node in ast.walk(ast.parse(MODULES[module].read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom):
            base = (
                ".".join([*package[: len(package) - node.level + 1], node.module or ""]) if node.level else node.module
            )
            for alias in node.names:
                yield (base or "").rstrip("."), alias.name, alias.asname or alias.name
        elif isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name, "", alias.asname or alias.name


def imported_modules(module: str) -> set[str]:
    """The modules that a module's names come from; names that a package hands on come from where they are defined."""
    found = set()
    for base, name, _ in imported_names(module):
        if f"{base}.{name}" in MODULES:
            found.add(f"{base}.{name}")
        elif base in PACKAGES:
            handed_on = {local: origin for origin, _, local in imported_names(base)}
            found.add(handed_on.get(name, base))
        elif base in MODULES:
            found.add(base)
    return found - {module}


IMPORTS = {module: imported_modules(module) for module in MODULES}


def test_no_modules_import_each_other_in_a_circle() -> None:
    graph = {module: imports - PACKAGES for module, imports in IMPORTS.items() if module not in PACKAGES}
    try:
        graphlib.TopologicalSorter(graph).prepare()
    except graphlib.CycleError as error:
        pytest.fail(" imports ".join(reversed(error.args[1])))


def test_a_package_only_hands_names_on() -> None:
    """Otherwise the walk above, which skips packages, would miss a circle through a package."""
    for package in PACKAGES - {"goodparts"}:
        tree = ast.parse(MODULES[package].read_text(encoding="utf-8"))
        defined = [node for node in tree.body if isinstance(node, (ast.FunctionDef, ast.ClassDef))]
        assert not defined, f"{package} defines {defined[0].name}"


@pytest.mark.parametrize("folder", MAY_IMPORT)
def test_folders_import_one_way(folder: str) -> None:
    for module in MODULES:
        if module.split(".")[1:2] != [folder]:
            continue
        folders = {name.split(".")[1] for name in IMPORTS[module] if name.count(".") > 0}
        strangers = folders & set(MAY_IMPORT) - MAY_IMPORT[folder] - {folder}
        assert not strangers, f"{module} imports from {', '.join(sorted(strangers))}"


def test_rooms_of_the_runtime_import_from_lower_rooms_only() -> None:
    def room(module: str) -> int:
        parts = module.split(".")[2:]
        return RUNTIME_ROOMS.index(parts[0] if parts and parts[0] in RUNTIME_ROOMS else "")

    for module in MODULES:
        if not module.startswith("goodparts.runtime."):
            continue
        for imported in IMPORTS[module]:
            if imported.startswith("goodparts.runtime"):
                assert room(imported) <= room(module), f"{module} imports {imported}, which is in a higher room"


def test_the_walk_sees_lazy_and_type_only_imports() -> None:
    lazy = IMPORTS["goodparts.cli"]
    assert "goodparts.runtime.core.errors" in lazy
    type_only = {module for module in MODULES if "if TYPE_CHECKING" in MODULES[module].read_text(encoding="utf-8")}
    assert "goodparts.runtime.detector" in IMPORTS["goodparts"]
    assert type_only
