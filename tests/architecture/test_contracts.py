"""The contracts on what imports what: they hold, and what breaks one is found."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def lint(package: Path) -> subprocess.CompletedProcess[str]:
    """Hold the copy of the package in a folder to the contracts of `pyproject.toml`."""
    command = "from importlinter.cli import lint_imports_command as lint; lint()"
    return subprocess.run(
        [sys.executable, "-c", command, "--config", str(ROOT / "pyproject.toml"), "--no-cache"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(package.parent), str(ROOT)])},
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
    )


def copied(to: Path) -> Path:
    """A copy of the package, to be spoilt."""
    leave_out = shutil.ignore_patterns("__pycache__", "*.pyi")
    return Path(shutil.copytree(ROOT / "src" / "smtpx", to / "smtpx", ignore=leave_out))


def plant(package: Path, module: str, line: str) -> None:
    path = package / module
    path.parent.mkdir(exist_ok=True)
    (path.parent / "__init__.py").touch()
    text = path.read_text(encoding="utf-8") if path.exists() else ""
    _ = path.write_text(f"{text}\n{line}\n", encoding="utf-8")


def test_the_contracts_are_kept_and_a_ring_has_private_modules_of_its_own(tmp_path: Path):
    package = copied(tmp_path)
    plant(package, "outbox/_own.py", "from smtpx import Envelope")
    plant(package, "outbox/ledger.py", "from smtpx.outbox import _own, states")
    linted = lint(package)
    assert linted.returncode == 0, linted.stdout + linted.stderr
    assert " 0 broken" in linted.stdout


FOR_TYPES = "from typing import TYPE_CHECKING\nif TYPE_CHECKING:\n    "
SPOILT = [
    pytest.param(
        ("_drivers/racing.py", "def late():\n    from smtpx._drivers import dialling"),
        "No cycles are allowed in smtpx._drivers. It could be made acyclic by removing "
        "1 dependency: - .racing -> .dialling",
        id="a circle within a floor, by a late import",
    ),
    pytest.param(
        ("_core/steps.py", f"{FOR_TYPES}from smtpx._core.connection import Connection"),
        "No cycles are allowed in smtpx._core. It could be made acyclic by removing "
        "1 dependency: - .steps -> .connection",
        id="a circle of types",
    ),
    pytest.param(
        ("outbox/ledger.py", "from smtpx._core.connection import Connection"),
        "smtpx.outbox.ledger is not allowed to import smtpx._core.connection",
        id="a private module in a ring",
    ),
    pytest.param(
        ("cli/send.py", "from smtpx.testing import _options"),
        "smtpx.cli.send is not allowed to import smtpx.testing._options",
        id="another room's own file in a tool",
    ),
    pytest.param(
        ("pins.py", f"{FOR_TYPES}from smtpx.results import SendResult"),
        "smtpx.pins is not allowed to import smtpx.results",
        id="a floor above",
    ),
    pytest.param(
        ("attic/old.py", ""),
        "The following modules are not listed as layers: - smtpx.attic",
        id="a room on no floor",
    ),
    pytest.param(
        ("merging/_bodies.py", "import sqlite3"),
        "smtpx.merging is not allowed to import sqlite3",
        id="a database below the outbox",
    ),
    pytest.param(
        ("_wire/parser.py", "import socket"),
        "smtpx._wire is not allowed to import socket",
        id="a socket below the drivers",
    ),
    pytest.param(
        ("inbox/_store.py", "def late():\n    import urllib.request"),
        "smtpx.inbox is not allowed to import urllib",
        id="what could fetch a URL in a mail",
    ),
]


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> str:
    """What is found where everything was spoilt."""
    package = copied(tmp_path_factory.mktemp("spoilt"))
    for case in SPOILT:
        plant(package, *case.values[0])  # type: ignore[misc] # a module and a line
    linted = lint(package)
    assert linted.returncode == 1, linted.stdout + linted.stderr
    assert " 0 kept" in linted.stdout
    return " ".join(linted.stdout.split())


@pytest.mark.xdist_group("contracts")
@pytest.mark.parametrize(("spoilt", "told"), SPOILT)
def test_what_breaks_one_is_told(found: str, spoilt: tuple[str, str], told: str):
    assert told in found
