"""The pages about the command: its options, and its JSON."""

from __future__ import annotations

import argparse
import importlib
import json
from collections.abc import Iterator

from smtpx.cli import COMMANDS

from .names import PACKAGE
from .text import table

__all__ = ["json_page", "options_page"]


def options_page() -> str:
    """Every command with its options."""
    parts = list[str]()
    for name, about in COMMANDS.items():
        parser: argparse.ArgumentParser = importlib.import_module(f"smtpx.cli.{name}").parser()
        parts.append(f"## smtpx {name}\n\n{about.capitalize()}.\n\n{_of_parser(parser)}")
        for verb, inner in _verbs(parser):
            parts.append(f"### smtpx {name} {verb}\n\n{_of_parser(inner)}")
    return (
        "# Options of the command\n\nEvery command, with all that it takes. "
        "`smtpx COMMAND --help` has examples, too.\n\n" + "\n\n".join(parts)
    )


def _verbs(parser: argparse.ArgumentParser) -> Iterator[tuple[str, argparse.ArgumentParser]]:
    for action in parser._actions:
        if isinstance(action, argparse._SubParsersAction):
            yield from action.choices.items()


def _of_parser(parser: argparse.ArgumentParser) -> str:
    rows = list[tuple[str, str]]()
    for action in parser._actions:
        if isinstance(action, (argparse._HelpAction, argparse._SubParsersAction)):
            continue
        if action.help is argparse.SUPPRESS:
            continue
        value = action.metavar or ("" if action.nargs == 0 else action.dest.upper())
        if action.choices and not action.metavar:
            value = "{" + ",".join(map(str, action.choices)) + "}"
        shown = " ".join(value) if isinstance(value, tuple) else value
        words = action.option_strings or [""]
        told = ", ".join(f"`{f'{word} {shown}'.strip()}`" for word in words)
        rows.append((told, (action.help or "").replace("%%", "%")))
    return table(("option", "meaning"), rows)


def json_page() -> str:
    """Every document that a command prints."""
    text = (PACKAGE / "cli" / "schema.json").read_text(encoding="utf-8")
    schema = json.loads(text)
    kinds = [each["$ref"].rpartition("/")[2] for each in schema["anyOf"]]
    rows = list[tuple[str, str, str]]()
    for kind in kinds:
        shape = schema["$defs"][kind]
        command = shape.get("properties", {}).get("command", {})
        by = command.get("const") if isinstance(command, dict) else None
        members = ", ".join(f"`{each}`" for each in shape.get("required", ()))
        rows.append((f"`{kind}`", f"`smtpx {by}`" if by else "any", members))
    run = ", ".join(f"`{each}`" for each in schema["$defs"]["run"]["required"])
    return f"""# JSON

With `--json` a command prints one document, with `--jsonl` one a line. The schema below is `schema.json` in the package `smtpx.cli`.

{table(("document", "of", "members that are always there"), rows)}

Every document of a command has {run}, too.

```json
{text.strip()}
```
"""
