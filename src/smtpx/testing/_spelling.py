"""Faults as text, in one spelling for the command line, the inbox and test markers.

``RCPT bob@*: 451 4.3.0 later x2`` refuses the first two such recipients; ``END-OF-DATA: lose``
accepts a message without saying so. Any number may follow an ``x`` at the end: how often.
"""

from __future__ import annotations

import re
from typing import Any, get_args

from smtpx import _checks

from .faults import (
    Close,
    CutContent,
    CutInput,
    CutOutput,
    Drip,
    Fault,
    Latency,
    Refuse,
    Reset,
    Shutdown,
    Stall,
    TruncateReply,
)

_FORM = re.compile(
    r"(?P<command>[A-Za-z][A-Za-z0-9-]*)(?:\s+(?P<matching>\S+))?\s*:\s*"
    r"(?P<action>.*?)(?:\s+[x\u00d7](?P<times>\d{1,6}))?"
)
_ENDINGS: dict[str, Any] = {"close": Close, "reset": Reset, "stall": Stall}
_STREAMS: dict[str, Any] = {
    "latency": Latency,
    "drip": Drip,
    "cut-output": CutOutput,
    "cut-input": CutInput,
    "cut-content": CutContent,
}
_NUMBER = re.compile(r"-?[0-9]{1,15}(\.[0-9]{1,15})?")
_HOW = (
    "write COMMAND [ADDRESS]: ACTION [xN], such as 'RCPT bob@*: 451 4.3.0 later x2'; the actions "
    "are a reply (4yz, 5yz), close, reset, stall and lose; without a command there are "
    "'latency: 0.2', 'drip: 10 0.1', 'cut-output: 100', 'cut-input: 100', 'cut-content: 100'"
)


def read_fault(text: str) -> Fault:
    """Make a fault of its text.

    Raises:
        ValueError: it is none; the message says how one is written.
        TypeError: it is no text.
    """
    _checks.text("text", text)
    match = _FORM.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"{_checks.shown(text)} is no fault: {_HOW}")
    try:
        if (stream := _STREAMS.get(match["command"].lower())) is not None:
            return _stream(stream, match)
        return _of_command(match)
    except (ValueError, TypeError) as error:
        raise ValueError(f"{_checks.shown(text)} is no fault ({error}): {_HOW}") from None


def _stream(kind: Any, match: re.Match[str]) -> Fault:
    if match["matching"] or match["times"]:
        raise ValueError("it takes neither an address nor a number of times")
    fault: Fault = kind(*map(_number, match["action"].split()))
    return fault


def _number(word: str) -> float:
    if not _NUMBER.fullmatch(word):
        raise ValueError(f"{_checks.shown(word)} is no number such as 10 or 0.2")
    return float(word) if "." in word else int(word)


def _of_command(match: re.Match[str]) -> Fault:
    command, action = match["command"].upper(), match["action"].strip()
    limits: dict[str, Any] = {
        "matching": match["matching"],
        "times": int(match["times"]) if match["times"] else None,
    }
    if (ending := _ENDINGS.get(action.lower())) is not None:
        fault: Fault = ending(command, **limits)
        return fault
    if action.lower() == "lose":
        return TruncateReply(command, keep=0, **limits)
    if action.startswith("421"):
        return Shutdown(command, action, **limits)
    return Refuse(command, action, **limits)


def fault_text(fault: Fault) -> str:
    """Write a fault as `read_fault` reads it; for one that has no spelling, its `repr`."""
    _checks.instance("fault", fault, *get_args(Fault))
    match fault:
        case Refuse() | Shutdown():
            return _written(fault, fault.reply)
        case Close() | Reset() | Stall():
            return _written(fault, type(fault).__name__.lower())
        case TruncateReply(keep=0):
            return _written(fault, "lose")
        case Latency():
            return f"latency: {fault.seconds}"
        case Drip():
            return f"drip: {fault.size} {fault.interval}"
        case CutOutput() | CutInput() | CutContent():
            return f"cut-{type(fault).__name__[3:].lower()}: {fault.at}"
        case _:
            return repr(fault)


def _written(fault: Any, action: str) -> str:
    address = f" {fault.matching}" if fault.matching else ""
    return f"{fault.command}{address}: {action}{f' x{fault.times}' if fault.times else ''}"


read_fault.__module__ = "smtpx.testing"
fault_text.__module__ = "smtpx.testing"
