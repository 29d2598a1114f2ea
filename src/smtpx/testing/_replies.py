"""Replies as one line of text: how they are written, and which may be given where."""

from __future__ import annotations

import re

from smtpx import _checks

REFUSALS = ("4", "5")
FINAL = ("2", "4", "5")

_FORM = re.compile(r"[2-5][0-9]{2}( [^\r]*)?")


def check_reply(name: str, text: object, begins: tuple[str, ...]) -> None:
    """Take the text of a reply that begins with one of these digits.

    Raises:
        TypeError: it is no `str`.
        ValueError: it is another reply, or none.
    """
    _checks.text(name, text)
    reply = str(text)
    if not reply.startswith(begins) or _FORM.fullmatch(reply) is None:
        raise ValueError(
            f"{name}={_checks.shown(reply)}: give a reply that begins with {' or '.join(begins)}, "
            "such as '451 4.3.0 try later'; further lines after \\n and without their code"
        )


def format_reply(text: str) -> bytes:
    """Make a reply of its text: ``550 5.1.1 no such user``, or several such lines.

    The code stands on the first line only; further lines take it over.
    """
    code, lines = text[:3], text[4:].split("\n")
    last = len(lines) - 1
    return "".join(
        f"{code}{' ' if number == last else '-'}{line}\r\n" for number, line in enumerate(lines)
    ).encode()
