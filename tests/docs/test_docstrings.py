"""Public functions tell what they take, return and raise, in Google's style, which the documentation site reads."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ROOMS = ("benchmarks", "drawn", "evaluation", "export", "goodparts", "runtime", "trainer")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).rglob("*.py"))]

Function = ast.FunctionDef | ast.AsyncFunctionDef
Public = tuple[Function, ast.ClassDef | None]


def public_functions(body: list[ast.stmt], owner: ast.ClassDef | None = None) -> Iterator[Public]:
    """Yield the public functions, and the constructors of public classes, with the class of each."""
    for node in body:
        if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
            yield from public_functions(node.body, node)
        elif isinstance(node, Function) and (not node.name.startswith("_") or node.name == "__init__"):
            yield node, owner


def public_of(path: Path) -> Iterator[Public]:
    yield from public_functions(ast.parse(path.read_text(encoding="utf-8")).body)


def base_names(owner: ast.ClassDef) -> set[str]:
    return {ast.unparse(base).split("[")[0].split(".")[-1] for base in owner.bases}


def documented_methods() -> dict[str, set[str]]:
    """Return each class with the methods that it documents."""
    documented: dict[str, set[str]] = {}
    for path in FILES:
        for function, owner in public_of(path):
            if owner is not None and function.name != "__init__" and ast.get_docstring(function):
                documented.setdefault(owner.name, set()).add(function.name)
    return documented


CLASSES = {
    node.name: node
    for path in FILES
    for node in ast.parse(path.read_text(encoding="utf-8")).body
    if isinstance(node, ast.ClassDef)
}
DOCUMENTED = documented_methods()
PROTOCOLS = {name for name, node in CLASSES.items() if "Protocol" in base_names(node)}


def is_promised(function: Function, owner: ast.ClassDef | None) -> bool:
    """Return whether a base class, or a protocol all of whose methods the class has, documents the function."""
    if owner is None:  # a command or a benchmark, whose module fulfils a protocol
        return function.name in DOCUMENTED["CommandModule"] | DOCUMENTED["BenchmarkModule"]
    for base in base_names(owner) & CLASSES.keys():
        if function.name in DOCUMENTED.get(base, ()) or is_promised(function, CLASSES[base]):
            return True
    methods = {node.name for node in owner.body if isinstance(node, Function)}
    return any(function.name in DOCUMENTED.get(name, ()) and DOCUMENTED[name] <= methods for name in PROTOCOLS)


def missing(function: Function, owner: ast.ClassDef | None) -> Iterator[str]:
    """Yield what a function's docstring leaves out; a constructor's may be its class's."""
    text = ast.get_docstring(function) or ""
    if function.name == "__init__":
        text = f"{owner and ast.get_docstring(owner)}\n{text}"
    decorators = {ast.unparse(decorator).split(".")[-1] for decorator in function.decorator_list}
    if not text and not is_promised(function, owner) and not decorators & {"overload", "setter"}:
        yield "a docstring"
    if not text or decorators & {"property", "cached_property", "overload", "setter"}:
        return
    _, _, arguments = text.partition("Args:\n")
    for argument in (*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs):
        if argument.arg not in ("self", "cls") and f"    {argument.arg}: " not in arguments:
            yield f"Args: {argument.arg}"
    returns = "None" if function.returns is None else ast.unparse(function.returns)
    told = text.startswith(("Return ", "Yield ")) or "Returns:\n" in text or "Yields:\n" in text
    if returns not in ("None", "NoReturn", "Never") and not told:
        yield "Returns"
    raised = [node for node in ast.walk(function) if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call)]
    if raised and "Raises:\n" not in text:
        yield "Raises"


@pytest.mark.parametrize("room", ROOMS)
def test_public_functions_tell_what_they_take_return_and_raise(room: str) -> None:
    left = [
        f"{path.relative_to(ROOT)}:{function.lineno} {function.name}: {what}"
        for path in FILES
        if path.is_relative_to(ROOT / room)
        for function, owner in public_of(path)
        for what in missing(function, owner)
    ]
    assert not left, "\n".join(left)
