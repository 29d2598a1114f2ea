"""The pages about errors, events, rules, exit codes and faults."""

from __future__ import annotations

import inspect
from textwrap import dedent
from typing import Any, get_args

import smtpx
from smtpx import delivery, outbox, testing
from smtpx.cli import _exits
from smtpx.delivery import mta_sts
from smtpx.testing import faults

from . import remedies
from .names import HOMES, module_docstring
from .text import asked, first, said_of_members, table

__all__ = ["errors", "errors_page", "events_page", "exit_codes_page", "faults_page", "rules_page"]


def errors() -> dict[str, type[BaseException]]:
    """Every public exception, by its full name; those of the smtplib face are not ours."""
    found = dict[str, type[BaseException]]()
    for module in (smtpx, outbox, delivery, mta_sts, testing):
        for name in module.__all__:
            value = getattr(module, name)
            if inspect.isclass(value) and issubclass(value, BaseException):
                short = name if module is smtpx else f"{module.__name__}.{name}"
                found.setdefault(short, value)
    return found


def errors_page() -> str:
    """Every error with its cause and its remedy."""
    tree = dedent(module_docstring("smtpx.errors").split("::\n\n")[1].split("\n\n")[0])
    rows = [
        (f"[`{name}`][{_full(name)}]", first(kind), remedies.ERRORS[name])
        for name, kind in errors().items()
    ]
    reasons = [
        (f"`{reason.name}`", reason.value, remedies.TLS[reason.name]) for reason in smtpx.TLSFailure
    ]
    failures = [
        (f"`{each.name}`", each.value, each.enhanced, "yes" if each.transient else "no")
        for each in delivery.Failure
    ]
    names = [name for name in smtpx.__all__ if HOMES[name] == "errors"]
    return f"""# Errors

Everything that smtpx raises, why, and what to do. The message of an error says the same about its own case.

```text
{tree}
```

{table(("error", "cause", "remedy"), rows)}

A wrong argument is a `TypeError` or a `ValueError` that names the argument and what it may be.

## Why a connection is not protected

The `reason` of a `TLSPolicyError` is one of these:

{table(("reason", "what it means", "remedy"), reasons)}

## Why no mail exchanger has said anything

The `failure` of a `DeliveryFailed` is one of these:

{table(("failure", "what it means", "enhanced status code", "may succeed later"), failures)}

## In full

{asked(f"smtpx.{name}" for name in names)}
"""


def _full(name: str) -> str:
    return name if name.startswith("smtpx.") else f"smtpx.{name}"


def events_page() -> str:
    """Every event, and every state of the outbox."""
    rows = [
        (
            f"[`{kind.__name__}`][smtpx.{kind.__name__}]",
            first(kind),
            ", ".join(f"`{field}`" for field in inspect.signature(kind).parameters),
        )
        for kind in get_args(smtpx.Event)
    ]
    kept = [
        (f"`{state.name}`", said_of_members(outbox.State)[state.name]) for state in outbox.State
    ]
    names = [name for name in smtpx.__all__ if HOMES[name] in ("observing", "transcripts")]
    return f"""# Events

An observer is told of these; [Watching](../observing.md) shows how.

{table(("event", "what has happened", "fields"), rows)}

## The outbox

An event of the outbox names the state that a recipient has come to. The states are:

{table(("state", "meaning"), kept)}

## In full

{asked(f"smtpx.{name}" for name in names)}
"""


def rules_page() -> str:
    """Every rule of `smtpx.check`."""
    rows = [(f"`{rule.name}`", rule.section, rule.remedy) for rule in smtpx.Rule]
    return f"""# Check rules

`smtpx.check` and [`smtpx check`](../command.md#check) look for these. On the command line, `--rule=-NAME` leaves one out.

{table(("rule", "where it stands", "remedy"), rows)}
"""


def exit_codes_page() -> str:
    """Every exit code of the command."""
    said = said_of_members(_exits.Exit)
    rows = [(each.value, f"`{each.name}`", said[each.name]) for each in _exits.Exit]
    return f"""# Exit codes

A code of the [command](../command.md) says what to do next. Those from 64 on mean what sendmail's mean.

{table(("code", "name", "meaning"), rows)}
"""


_CUTS = {"CutOutput": 100, "CutInput": 100, "CutContent": 100, "Latency": 0.2, "TruncateReply": 0}


def _example(kind: Any) -> str:
    """How a fault is spelled, where it has a spelling."""
    parameters = inspect.signature(kind).parameters
    given: dict[str, Any] = {}
    if "command" in parameters:
        given["command"] = "END-OF-DATA" if kind is faults.TruncateReply else "RCPT"
    if kind is faults.Refuse:
        given |= {"reply": "451 4.3.0 later", "matching": "bob@*", "times": 2}
    if kind.__name__ in _CUTS:
        given[{"Latency": "seconds", "TruncateReply": "keep"}.get(kind.__name__, "at")] = _CUTS[
            kind.__name__
        ]
    if kind in (faults.ReplaceReply, faults.AppendToReply):
        return "–"
    text = testing.fault_text(kind(**given))
    return "–" if "(" in text else f"`{text}`"


def faults_page() -> str:
    """Every fault of the embedded server."""
    kinds = [kind for kind in get_args(faults.Fault) if inspect.isclass(kind)]
    rows = [
        (
            f"[`{kind.__name__}`][smtpx.testing.{kind.__name__}]",
            first(kind),
            ", ".join(f"`{each}`" for each in inspect.signature(kind).parameters),
            _example(kind),
        )
        for kind in kinds
    ]
    moments = ", ".join(f"`{each}`" for each in faults.COMMANDS)
    return f"""# Faults

What the embedded server can do wrong. In Python a fault is an object of `smtpx.testing`. For the command line, the inbox and the pytest
marker it is text.

{table(("fault", "what the server does", "parameters", "as text"), rows)}

A fault with a `command` strikes at one of these: {moments}. A verb that begins with `X` is anybody's own.
"""
