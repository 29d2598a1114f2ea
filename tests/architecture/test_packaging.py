"""What users see of the package: its names, its types, its weight."""

from __future__ import annotations

import ast
import importlib.util
import inspect
import pkgutil
import subprocess
import sys
from collections.abc import Iterator
from importlib.metadata import version
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import smtpx
import smtpx.testing
from smtpx import sasl

PACKAGE = Path(smtpx.__file__).parent
DOORS = ("smtplib", "sansio", "services", "verp")
"""Where a name means little by itself."""
PUBLIC_MODULES = [path.stem for path in sorted(PACKAGE.glob("[a-z]*.py")) if path.stem not in DOORS]


def names_in_the_stub(module: ModuleType) -> tuple[list[str], list[str]]:
    """What editors and type checkers know of a module: what it imports, and its `__all__`."""
    tree = ast.parse(Path(f"{module.__file__}i").read_text(encoding="utf-8"))
    imported = [
        alias.asname or alias.name
        for node in tree.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    ]
    (exported,) = [node.value for node in tree.body if isinstance(node, ast.Assign)]
    return imported, ast.literal_eval(exported)


@pytest.mark.parametrize("module", [smtpx, sasl])
def test_all_is_what_type_checkers_and_programs_see(module: ModuleType):
    names = module.__all__
    for known in names_in_the_stub(module):
        assert sorted(known) == names
    assert set(names) <= set(dir(module))
    for name in names:
        assert getattr(module, name) is not None
    with pytest.raises(AttributeError, match="Plian"):
        _ = module.Plian


@pytest.mark.parametrize(
    "name",
    [
        *("bounces.parse", "sasl.HASHED", "services.known", "verp.decode"),
        *("outbox.State", "delivery.Terms", "testing.Server"),
    ],
)
def test_what_is_in_a_module_of_its_own_is_there_by_it(name: str):
    script = f"import smtpx; smtpx.{name}"
    done = subprocess.run([sys.executable, "-I", "-c", script], check=False)
    assert done.returncode == 0


def test_an_unknown_name():
    with pytest.raises(AttributeError, match="Clinet"):
        _ = smtpx.Clinet  # type: ignore[attr-defined] # the point


@pytest.mark.parametrize("module", PUBLIC_MODULES)
def test_every_public_name_of_a_module_is_exported(module: str):
    names = set(__import__(f"smtpx.{module}", fromlist=["__all__"]).__all__)
    assert names <= set(smtpx.__all__)


def public_objects() -> Iterator[tuple[str, Any]]:
    """Every class and function that a public module exports, by its full name."""
    if importlib.util.find_spec("django") is not None:
        from tests.integrations.django.setting_up import set_up

        set_up()  # Models cannot be imported before.
    for info in pkgutil.walk_packages(smtpx.__path__, "smtpx."):
        if "._" in info.name or info.name.endswith("__main__"):
            continue
        try:
            module = importlib.import_module(info.name)
        except smtpx.ExtraMissing:
            continue
        for name in getattr(module, "__all__", ()):
            if inspect.isclass(value := getattr(module, name)) or inspect.isfunction(value):
                yield f"{info.name}.{name}", value


def test_what_is_public_says_so():
    """Tracebacks, documentation and pickles name a module that users can import it from."""
    homes = {name: importlib.import_module(value.__module__) for name, value in public_objects()}
    assert {name for name, home in homes.items() if "._" in home.__name__} == set()
    for name, value in public_objects():
        assert getattr(homes[name], value.__qualname__) is value, name


def test_the_version_is_the_installed_one():
    assert smtpx.__version__ == version("smtpx")


def test_importing_is_light():
    """Neither email, ssl, asyncio nor an extra before it is needed; nothing at all at first."""
    script = (
        "import sys; before = set(sys.modules); import smtpx\n"
        "added = {m for m in set(sys.modules) - before if not m.startswith('smtpx')}\n"
        "assert not added - {'__future__'}, added\n"
        "smtpx.Client('smtp://localhost'); smtpx.Envelope('a@b', 'c@d'); smtpx.Timeouts()\n"
        "heavy = {'email', 'ssl', 'asyncio', 'logging', 'idna', 'trustme', 'urllib', 'datetime'}\n"
        "heavy |= {'dataclasses', 'inspect', 'ipaddress', 'sqlite3'}\n"
        "found = heavy & (set(sys.modules) - before)\n"
        "assert not found, found\n"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_it_is_typed():
    assert (PACKAGE / "py.typed").exists()
