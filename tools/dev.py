"""What ``make demo``, ``test``, ``lint``, ``docs`` do, without make: ``python -m tools.dev demo``.

It needs Python alone, and makes ``.venv`` if it is missing. The words are those of the Makefile,
which a test compares.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

__all__ = ["COMMANDS", "Command", "main"]

ROOT = Path(__file__).parents[1]
# Each worker and child would compile everything anew; the Makefile says so too.
_UNKEPT = "PYTHONDONTWRITEBYTECODE"


class Command(NamedTuple):
    """What is installed first, once, and what is run."""

    about: str
    installs: tuple[tuple[str, ...], ...]
    runs: tuple[tuple[str, ...], ...]
    """Each begins with ``python``, or with a program of the environment."""


_TEST = ("--editable", ".", "--group", "test")
COMMANDS = {
    "demo": Command(
        "send real mail to a real server on this machine, and show it",
        (("--editable", ".[inbox,testing]"),),
        (("python", "examples/demo.py"),),
    ),
    "test": Command(
        "pass the whole suite",
        (_TEST,),
        (("python", "-m", "pytest", "-n", "6", "--dist", "loadgroup", "--durations=10"),),
    ),
    "lint": Command(
        "formatting, lint, types and architecture",
        (_TEST, ("--group", "bench"), ("--group", "lint")),
        (
            ("ruff", "format", "--check", "."),
            ("ruff", "check", "."),
            ("mypy",),
            ("pyright", "--pythonpath", "python"),
            ("lint-imports",),
        ),
    ),
    "docs": Command(
        "build the site into build/site",
        (_TEST, ("--group", "docs")),
        (("python", "-m", "tools.reference"), ("python", "-m", "tools.site")),
    ),
}


def programs(environment: Path) -> Path:
    """Where an environment has its programs: Windows has another name for it."""
    return environment / ("Scripts" if os.name == "nt" else "bin")


def main(words: list[str] | None = None) -> int:
    """Do what is asked for; return the exit code of the first that fails."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.dev",
        description="\n".join(f"{name:6}{each.about}" for name, each in COMMANDS.items()),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", choices=COMMANDS)
    parser.add_argument("--environment", type=Path, default=ROOT / ".venv", metavar="FOLDER")
    given, more = parser.parse_known_args(words)
    command = COMMANDS[given.command]
    here = programs(given.environment.resolve())
    _prepare(given.command, command, given.environment.resolve())
    environment = {name: value for name, value in os.environ.items() if name != _UNKEPT}
    for run in command.runs:
        program, *rest = (str(here / "python") if word == "python" else word for word in run)
        path = program if run[0] == "python" else str(here / program)
        added = more if run is command.runs[-1] else []
        ran = subprocess.run([path, *rest, *added], cwd=ROOT, env=environment, check=False)
        if ran.returncode:
            return ran.returncode
    return 0


def _prepare(name: str, command: Command, environment: Path) -> None:
    """Make the environment and install into it, unless that was done since pyproject.toml."""
    done = environment / f"dev-{name}"
    if done.exists() and done.stat().st_mtime > (ROOT / "pyproject.toml").stat().st_mtime:
        return
    python = str(programs(environment) / "python")
    if not environment.exists():
        print(f"Making {environment} ...", flush=True)
        _ = subprocess.run([sys.executable, "-m", "venv", environment], check=True)
    print("Installing what it needs ...", flush=True)
    pip = [python, "-m", "pip", "install", "-qq", "--disable-pip-version-check"]
    for words in (("--upgrade", "pip>=25.1"), *command.installs):
        _ = subprocess.run([*pip, *words], cwd=ROOT, check=True)
    done.touch()


if __name__ == "__main__":
    raise SystemExit(main())
