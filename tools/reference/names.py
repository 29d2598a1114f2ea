"""Every public name, and the docstrings of modules: read, so that no extra is needed."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
from collections.abc import Iterator
from pathlib import Path

import smtpx

__all__ = [
    "HOMES",
    "PACKAGE",
    "ROOMS",
    "borrowed",
    "described",
    "module_docstring",
    "names_of",
    "public_names",
]

PACKAGE = Path(smtpx.__file__).parent
HOMES: dict[str, str] = vars(smtpx)["_HOME_OF"]
"""The module that each name of `smtpx` comes from, without ``smtpx.``."""

ROOMS = {
    "bounces": "Bounces",
    "delivery": "Delivery",
    "inbox": "The inbox",
    "integrations": "Integrations",
    "outbox": "The outbox",
    "sansio": "Procedures of your own",
    "sasl": "Authentication",
    "smtplib": "The smtplib face",
    "testing": "Testing",
    "services": "Mail services",
    "verp": "Return paths",
}
"""The modules that have a page of their own, with its title."""


def public_names() -> list[str]:
    """Every public name, once, by the shortest module that has it."""
    found = [f"smtpx.{name}" for name in smtpx.__all__ if name not in ROOMS]
    for name in ROOMS:
        found += names_of(name)
    return found


def names_of(room: str) -> list[str]:
    """The names of a module and of those in it, but for the ones that `smtpx` has itself."""
    found, known = list[str](), set[tuple[str, str]]()
    for module in sorted(_modules(room), key=lambda name: (name.count("."), name)):
        for name in _exported(module):
            home = HOMES.get(name, "")
            if home.split(".")[0] != room and (module.rpartition(".")[0], name) not in known:
                found.append(f"{module}.{name}")
            known.add((module, name))
    return found


def _modules(room: str) -> Iterator[str]:
    yield f"smtpx.{room}"
    folder = PACKAGE / room
    for info in pkgutil.walk_packages([str(folder)], f"smtpx.{room}."):
        if "._" not in info.name:
            yield info.name


def _exported(module: str) -> list[str]:
    """What is in ``__all__``, without importing what may need an extra."""
    found = list[str]()
    for node in ast.walk(_source(module)):
        if isinstance(node, (ast.Assign, ast.AugAssign)):
            target = node.target if isinstance(node, ast.AugAssign) else node.targets[0]
            if ast.unparse(target) == "__all__":
                if not isinstance(node.value, ast.List):
                    return list(importlib.import_module(module).__all__)
                found += ast.literal_eval(node.value)
    return found


def borrowed(module: str) -> set[str]:
    """The names that a module has from outside of smtpx."""
    return {
        alias.asname or alias.name
        for node in _source(module).body
        if isinstance(node, ast.ImportFrom) and not (node.module or "").startswith("smtpx")
        if node.level == 0
        for alias in node.names
    }


def _source(module: str) -> ast.Module:
    base = PACKAGE.joinpath(*module.split(".")[1:])
    path = base / "__init__.py" if base.is_dir() else base.with_suffix(".py")
    return ast.parse(path.read_text(encoding="utf-8"))


def described(name: str) -> str:
    """A name with its signature and docstring, as text; by itself where an extra is missing."""
    module = name
    value: object = None
    while module := module.rpartition(".")[0]:
        try:
            value = importlib.import_module(module)
        except ImportError:
            continue
        break
    for part in name.removeprefix(f"{module}.").split("."):
        value = getattr(value, part, None)
    if not (inspect.isclass(value) or inspect.isroutine(value)):
        return f"### {name}"
    try:
        signature = str(inspect.signature(value))
    except (TypeError, ValueError):
        signature = ""
    return f"### {name}{signature}\n\n{inspect.getdoc(value) or ''}".rstrip()


def module_docstring(module: str) -> str:
    """What a module says of itself."""
    return ast.get_docstring(_source(module)) or ""
