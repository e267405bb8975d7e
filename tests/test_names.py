"""Names that Python 3.12 confuses are not used."""

from __future__ import annotations

import ast
from pathlib import Path

import pipeline


def _of_module(tree: ast.Module) -> set[str]:
    """Return the names of a module's functions, classes and imports."""
    names = set()
    for node in tree.body:
        if isinstance(node, ast.FunctionDef | ast.ClassDef):
            names.add(node.name)
        elif isinstance(node, ast.Import | ast.ImportFrom):
            names |= {(each.asname or each.name).partition(".")[0] for each in node.names}
    return names


def _of_loops(tree: ast.Module) -> set[str]:
    """Return the names of the variables of comprehensions."""
    return {
        name.id
        for node in ast.walk(tree)
        if isinstance(node, ast.comprehension)
        for name in ast.walk(node.target)
        if isinstance(name, ast.Name)
    }


def test_no_variable_of_a_comprehension_has_the_name_of_a_function() -> None:
    """
    Python 3.12 puts comprehensions into the function around them, and takes the one for the other.

    There ``[f[0] for f in x]`` makes ``[f(y) for y in z]`` of the same function fail.
    """
    package = Path(pipeline.__file__).parent
    found = {}
    for file in sorted(package.rglob("*.py")):
        tree = ast.parse(file.read_text(encoding="utf-8"))
        if both := _of_module(tree) & _of_loops(tree):
            found[str(file.relative_to(package))] = both
    assert found == {}
