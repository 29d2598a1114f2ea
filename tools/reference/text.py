"""Markdown, and what docstrings say."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterable
from enum import Enum

__all__ = ["asked", "first", "paragraphs", "said_of_members", "table"]


def asked(names: Iterable[str]) -> str:
    """What mkdocstrings puts the signatures and docstrings of these names in place of."""
    return "\n\n".join(f"::: {name}" for name in names)


def paragraphs(docstring: str) -> str:
    """Its first paragraphs: what comes before code or a list."""
    kept = list[str]()
    for paragraph in docstring.split("\n\n"):
        if paragraph.startswith((" ", "-", "::")):
            break
        kept.append(" ".join(paragraph.replace("``", "`").split()))
        if paragraph.rstrip().endswith(":"):
            break
    return "\n\n".join(kept).replace("::", ":")


def table(head: Iterable[str], rows: Iterable[Iterable[object]]) -> str:
    """A table; what is in a cell stays in it."""
    lines = [list(head), *([_cell(str(each)) for each in row] for row in rows)]
    lines.insert(1, ["---"] * len(lines[0]))
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _cell(text: str) -> str:
    return " ".join(text.replace("``", "`").replace("|", "\\|").split())


def first(documented: object) -> str:
    """The first paragraph of a docstring."""
    return (inspect.getdoc(documented) or "").split("\n\n")[0]


def said_of_members(kind: type[Enum]) -> dict[str, str]:
    """What stands below each member of an enumeration."""
    (tree,) = ast.parse(inspect.getsource(kind)).body
    assert isinstance(tree, ast.ClassDef)
    said = dict[str, str]()
    for node, after in zip(tree.body, [*tree.body[1:], ast.Pass()], strict=True):
        if isinstance(node, ast.Assign) and isinstance(after, ast.Expr):
            value = after.value
            if isinstance(value, ast.Constant) and isinstance(value.value, str):
                said[ast.unparse(node.targets[0])] = value.value
    return said
