"""The pages of ``docs/reference``, made of the code: ``python -m tools.reference`` writes them.

A test compares them with the code. No public name, error, event, rule, exit code, fault or option
is without its line, and none is told of that is not there.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import smtpx

from . import commands, values
from .names import HOMES, ROOMS, borrowed, described, module_docstring, names_of, public_names
from .text import asked, paragraphs

__all__ = ["FOLDER", "GITHUB", "described", "pages", "public_names", "write"]

FOLDER = Path(__file__).parents[2] / "docs" / "reference"

# Pages about names of `smtpx` itself, by the modules that they come from.
_GROUPS: dict[str, tuple[str, str, str]] = {
    "client": (
        "Sending",
        "What sends: one message or many, blocking or not.",
        "_faces.blocking.client _faces.asynchronous.client _faces.blocking.session "
        "_faces.asynchronous.session _faces.keywords _version",
    ),
    "connection": (
        "Connections",
        "Where to, protected by what, as whom, and for how long.",
        "endpoints options tls pins proxy_protocol pooling sasl.credentials _wire.extensions",
    ),
    "message": (
        "Messages and envelopes",
        "What is sent, to whom, and what can be wrong with it.",
        "addresses envelope _envelope_options composing merging messages checking mending findings "
        "signing marking pausing",
    ),
    "results": ("Results and replies", "What became of each recipient.", "results replies"),
}
GITHUB = "not in the site"
"""Marks a line that the site does without."""

_MADE = "<!-- Made by `python -m tools.reference`: change the code, and run it. -->\n"


def pages() -> dict[str, str]:
    """Every page, by its file name."""
    made = {f"{name}.md": _group(*parts) for name, parts in _GROUPS.items()}
    made |= {f"{name}.md": _room(name, title) for name, title in ROOMS.items()}
    makers: dict[str, Callable[[], str]] = {
        "errors": values.errors_page,
        "events": values.events_page,
        "rules": values.rules_page,
        "exit-codes": values.exit_codes_page,
        "faults": values.faults_page,
        "options": commands.options_page,
        "json": commands.json_page,
    }
    made |= {f"{name}.md": maker() for name, maker in makers.items()}
    placed = {
        found: name for name, text in made.items() for found in re.findall(r"(?m)^::: (.+)$", text)
    }
    return {name: f"{_MADE}\n{_for_github(text, placed)}\n" for name, text in made.items()}


def _for_github(text: str, placed: dict[str, str]) -> str:
    """The page with what it lacks where nobody draws it; `tools.site` takes that out again."""
    names = sorted(set(re.findall(r"\]\[(smtpx\.[\w.]+)\]", text)))
    links = [f"[{name}]: {placed[name]} '{GITHUB}'" for name in names]
    note = (
        f"*`make docs` draws these with their signatures and docstrings.* <!-- {GITHUB} -->\n\n:::"
    )
    return "\n".join([text.strip().replace(":::", note, 1), *([""] if links else []), *links])


def write() -> None:
    """Write what differs."""
    FOLDER.mkdir(exist_ok=True)
    made = pages()
    for old in FOLDER.glob("*.md"):
        if old.name not in made:
            old.unlink()
    for name, text in made.items():
        path = FOLDER / name
        if not path.exists() or path.read_text(encoding="utf-8") != text:
            _ = path.write_text(text, encoding="utf-8", newline="\n")
            print(path.relative_to(FOLDER.parents[1]))


def _group(title: str, about: str, homes: str) -> str:
    names = [name for home in homes.split() for name in smtpx.__all__ if HOMES[name] == home]
    return f"# {title}\n\n{about}\n\n{asked(f'smtpx.{name}' for name in names)}"


def _room(name: str, title: str) -> str:
    about = paragraphs(module_docstring(f"smtpx.{name}"))
    of_smtpx = [
        f"smtpx.{each}"
        for each in smtpx.__all__
        if each not in ROOMS and HOMES[each].split(".")[0] == name
        if not any(HOMES[each] in homes.split() for _, _, homes in _GROUPS.values())
    ]
    names = names_of(name)
    of_others = [each for each in names if each.rpartition(".")[2] in borrowed(f"smtpx.{name}")]
    also = ""
    if of_others:
        anchors = ", ".join(f'<a id="{each}"></a>`{each}`' for each in of_others)
        also = f"These are the standard library's own, so that `except` clauses fit: {anchors}.\n\n"
    listed = [*of_smtpx, *(each for each in names if each not in of_others)]
    return f"# {title}\n\n{about}\n\n{also}{asked(listed)}"
