"""The table of docs/waiting.md, computed: ``python -m tests.held.table`` prints it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields

from smtpx import Limits, Timeouts
from tests.held.longest import Longest

Of = Callable[[Timeouts, Limits], float]
"""The longest that a call takes, with these settings."""

_FIELDS = [field.name for field in fields(Timeouts) if field.name != "total"]
_NOTHING = 1e-9


def _open(timeouts: Timeouts, limits: Limits) -> float:
    return Longest(timeouts, limits).open()


def _sent(size: int = 2000, recipients: int = 1, *, chunked: bool = True, lmtp: bool = False) -> Of:
    def of(timeouts: Timeouts, limits: Limits) -> float:
        extensions = ("PIPELINING", "CHUNKING") if chunked else ("PIPELINING",)
        longest = Longest(timeouts, limits, extensions=extensions, lmtp=lmtp)
        return longest.send(size, recipients)

    return of


def _close(timeouts: Timeouts, limits: Limits) -> float:
    return Longest(timeouts, limits).close()


def _by_pool(timeouts: Timeouts, limits: Limits) -> float:
    """A connection that was kept is found gone by the reply to MAIL, and replaced."""
    mail = timeouts.mail or 0
    return mail + _open(timeouts, limits) + _sent(chunked=False)(timeouts, limits)


# What is called; how long it takes; what else than timeouts that is made up of.
CALLS: list[tuple[str, Of, str]] = [
    ("`Session.open()`, with STARTTLS and AUTH PLAIN", _open, ""),
    ("`Session.send()`, 2 kB to one recipient, by CHUNKING", _sent(), ""),
    ("the same by DATA", _sent(chunked=False), ""),
    ("the same to 100 recipients, by CHUNKING", _sent(recipients=100), ""),
    ("the same to 100 recipients, by DATA", _sent(recipients=100, chunked=False), ""),
    ("25 MB to one recipient", _sent(25_000_000), "size / `data_rate`"),
    ("LMTP, 2 kB to 100 recipients", _sent(recipients=100, lmtp=True), ""),
    (
        "`Session.command()`, `verify()`, `expand()`, `help()`, `noop()`",
        lambda timeouts, limits: Longest(timeouts, limits).command(),
        "",
    ),
    ("`Session.reset()`", lambda timeouts, limits: Longest(timeouts, limits).reset(), ""),
    ("`Session.xclient()`", lambda timeouts, limits: Longest(timeouts, limits).xclient(), ""),
    ("`Session.close()`", _close, ""),
    (
        "`smtpx.send()`, 2 kB by DATA",
        lambda timeouts, limits: (
            _open(timeouts, limits)
            + _sent(chunked=False)(timeouts, limits)
            + _close(timeouts, limits)
        ),
        "",
    ),
    ("`Client.send()`, 2 kB by DATA, over a connection that was kept", _by_pool, ""),
]


def table() -> str:
    """Of each call how long it takes at the most, and of what that is made up."""
    lines = ["| | by default | of which |", "|---|---|---|"]
    for name, of, more in CALLS:
        parts = [*_parts(of), more] if more else _parts(of)
        lines.append(f"| {name} | {_shown(of(Timeouts(), Limits()))} | {' + '.join(parts)} |")
    return "\n".join(lines) + "\n"


def _parts(of: Of) -> list[str]:
    """The timeouts that a time is the sum of: each is found by being the only one."""
    parts: list[str] = []
    for name in _FIELDS:
        only = Timeouts(**{**dict.fromkeys(_FIELDS, _NOTHING), name: 1.0})
        times = round(of(only, Limits(data_rate=1e15)))
        if times:
            parts.append(f"`{name}`" if times == 1 else f"{times} × `{name}`")
    return parts


def _shown(seconds: float) -> str:
    minutes, left = divmod(round(seconds), 60)
    if not minutes:
        return f"{left} s"
    hours, minutes = divmod(minutes, 60)
    if not hours:
        return f"{minutes} min {left} s" if left else f"{minutes} min"
    return f"{hours} h {minutes} min" if minutes else f"{hours} h"


if __name__ == "__main__":
    print(table(), end="")
