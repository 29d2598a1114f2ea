"""What can go wrong with a mail server, as values.

A `Server` plays the faults it is given. Those with a `command` strike when that command comes.
It is a verb in upper case, or one of these moments:

- ``GREETING``: the session opens.
- ``TLS-HANDSHAKE``: the client's first octets of TLS. `Stall`, `Close`, `Reset` and
  `ReplaceReply` are what can happen then.
- ``AUTH-RESPONSE``: the client's answer to a 334.
- ``DATA``: the content begins. That is the verb DATA, and the first BDAT of a mail transaction.
- ``END-OF-DATA``: the content ends. That is the lone dot, and BDAT … LAST.

``BDAT`` is each chunk. A fault that never struck is in `Server.unstruck`.

`nth` is which one of that command in its session, from 1; None is each of them. `session` is which
session of the server, from 1; None is each of them. `matching` is a pattern of shell wildcards for
the command's argument, or for the address in it (``"bob@*"``). `times` is how often the fault
strikes in all; None is always. Counts of octets are of SMTP, inside TLS if
there is any. Where several faults are meant for one command, the first that ends or refuses it
wins.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from enum import Enum, auto
from fnmatch import fnmatch
from typing import Any, TypeAlias, cast, get_args

from smtpx import _checks

from ._replies import REFUSALS, check_reply

GREETING = "GREETING"
TLS_HANDSHAKE = "TLS-HANDSHAKE"
END_OF_DATA = "END-OF-DATA"
AUTH_RESPONSE = "AUTH-RESPONSE"

COMMANDS = (
    *(GREETING, "EHLO", "HELO", "LHLO", "STARTTLS", TLS_HANDSHAKE, "AUTH", AUTH_RESPONSE),
    *("MAIL", "RCPT", "DATA", END_OF_DATA, "BDAT"),
    *("RSET", "NOOP", "HELP", "VRFY", "EXPN", "QUIT"),
)
"""Where a fault can strike; a verb that begins with X is anybody's own (RFC 5321 §4.1.5)."""


_ADDRESS = re.compile(r"<([^>]*)>")


class Ending(Enum):
    """How a connection is ended."""

    CLOSE = auto()
    """An end of stream (FIN), under TLS without a close_notify."""

    RESET = auto()
    """A reset (RST), as from a crash or a firewall. Unix sockets do not know it: they close."""


class _Checked:
    """A value whose fields are looked at when it is made, each by what its name says of it."""

    __slots__ = ()

    def __post_init__(self) -> None:
        """Look at every field.

        Raises:
            TypeError: one is of another kind.
            ValueError: one is what nothing could come of.
        """
        for each in fields(cast("Any", self)):
            name: str = each.name
            value: Any = getattr(self, name)
            match name:
                case "command":
                    _check_command(value)
                case "reply":
                    check_reply(name, value, ("421",) if isinstance(self, Shutdown) else REFUSALS)
                case "nth" | "session" | "times":
                    _checks.count(name, value, 1, or_none=True)
                case "matching":
                    _checks.text(name, value, or_none=True)
                case "keep" | "at":
                    _checks.count(name, value, 0)
                case "size" | "limit":
                    _checks.count(name, value, 1)
                case "interval" | "seconds":
                    if value is False or value != 0:
                        _checks.amount(name, value, "seconds")
                case "ending":
                    _checks.instance(name, value, Ending)
                case "reading":
                    _checks.flag(name, value)
                case _:
                    _checks.instance(name, value, bytes)
                    if not value and isinstance(self, (AppendToReply, Endless)):
                        raise ValueError(f"{name} is empty: nothing would come of it")
        if isinstance(self, get_args(CommandFault)):
            _check_moment(cast("CommandFault", self))


def _check_command(command: object) -> None:
    _checks.text("command", command)
    name = str(command)
    if name not in COMMANDS and not re.fullmatch("X[A-Z0-9-]*", name):
        raise ValueError(
            f"command={_checks.shown(name)}: no server knows it; known are {', '.join(COMMANDS)}, "
            "and what begins with X"
        )


def _check_moment(fault: CommandFault) -> None:
    command = fault.command
    if command in (GREETING, TLS_HANDSHAKE) and fault.nth not in (None, 1):
        raise ValueError(f"nth={fault.nth}: {command} comes once in a session")
    if command == TLS_HANDSHAKE and not isinstance(fault, (Stall, Close, Reset, ReplaceReply)):
        raise ValueError(
            f"command={command!r}: give Stall, Close, Reset or ReplaceReply, "
            f"not {type(fault).__name__}; there is no reply yet"
        )


@dataclass(frozen=True, slots=True)
class Refuse(_Checked):
    """Answer with `reply`, a 4yz or 5yz, and do not perform the command.

    At END-OF-DATA over LMTP, `reply` is said once for each recipient.
    """

    command: str
    reply: str
    nth: int | None = None
    session: int | None = None
    matching: str | None = field(default=None, kw_only=True)
    times: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Shutdown(_Checked):
    """Answer with `reply`, a 421, and end the session in good order (RFC 5321 §3.8)."""

    command: str
    reply: str = "421 4.3.2 Service shutting down"
    nth: int | None = None
    session: int | None = None
    matching: str | None = field(default=None, kw_only=True)
    times: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Stall(_Checked):
    """Never answer the command, nor anything after it, until the client or the server closes."""

    command: str
    nth: int | None = None
    session: int | None = None
    reading: bool = True
    """Go on taking what the client writes; otherwise its writes block before long."""
    matching: str | None = field(default=None, kw_only=True)
    times: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Close(_Checked):
    """End the stream in place of performing and answering the command."""

    command: str
    nth: int | None = None
    session: int | None = None
    matching: str | None = field(default=None, kw_only=True)
    times: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Reset(_Checked):
    """Reset the connection in place of performing and answering the command."""

    command: str
    nth: int | None = None
    session: int | None = None
    matching: str | None = field(default=None, kw_only=True)
    times: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class TruncateReply(_Checked):
    """Perform the command, write `keep` octets of the reply, and end the connection.

    ``TruncateReply("END-OF-DATA", keep=0)`` accepts a message without ever saying so: the client
    is in doubt (RFC 1047). So does one at DATA where a single BDAT begins and ends the content.
    """

    command: str
    keep: int
    nth: int | None = None
    session: int | None = None
    ending: Ending = Ending.CLOSE
    matching: str | None = field(default=None, kw_only=True)
    times: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class ReplaceReply(_Checked):
    """Perform the command and write these octets, whatever they are, in place of the reply.

    What the client may do is still judged by what the usual reply would have told it.
    """

    command: str
    data: bytes
    nth: int | None = None
    session: int | None = None
    matching: str | None = field(default=None, kw_only=True)
    times: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class AppendToReply(_Checked):
    """Perform the command and write these octets after the reply, in the same segment.

    After STARTTLS they are plaintext before the handshake: the injection of CVE-2011-0411,
    turned against the client.
    """

    command: str
    data: bytes
    nth: int | None = None
    session: int | None = None
    matching: str | None = field(default=None, kw_only=True)
    times: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class Endless(_Checked):
    """Perform the command and write `chunk` over and over in place of the reply.

    Ends when the client goes away, or after `limit` octets with an end of stream. A chunk
    without CRLF makes an endless line.
    """

    command: str
    chunk: bytes = b"250-x\r\n"
    nth: int | None = None
    session: int | None = None
    limit: int = 512 * 2**20
    matching: str | None = field(default=None, kw_only=True)
    times: int | None = field(default=None, kw_only=True)


@dataclass(frozen=True, slots=True)
class CutOutput(_Checked):
    """End the connection once the server has written `at` octets."""

    at: int
    session: int | None = None
    ending: Ending = Ending.CLOSE


@dataclass(frozen=True, slots=True)
class CutInput(_Checked):
    """End the connection once the client has written `at` octets; what follows is not looked at."""

    at: int
    session: int | None = None
    ending: Ending = Ending.CLOSE
    parting: bytes = b""
    """Written before the end: the 552 of a server that has seen enough."""


@dataclass(frozen=True, slots=True)
class CutContent(_Checked):
    """Like `CutInput`, but of the octets that are content (after 354, or in a BDAT)."""

    at: int
    session: int | None = None
    ending: Ending = Ending.CLOSE
    parting: bytes = b""


@dataclass(frozen=True, slots=True)
class Drip(_Checked):
    """Write in pieces of `size` octets, `interval` seconds apart."""

    size: int = 1
    interval: float = 0.0
    session: int | None = None


@dataclass(frozen=True, slots=True)
class Latency(_Checked):
    """Write everything `seconds` late, as over a long line with that round-trip time."""

    seconds: float
    session: int | None = None


ReplyFault: TypeAlias = TruncateReply | ReplaceReply | AppendToReply | Endless
CommandFault: TypeAlias = Refuse | Shutdown | Stall | Close | Reset | ReplyFault
StreamFault: TypeAlias = CutOutput | CutInput | CutContent | Drip | Latency
Fault: TypeAlias = CommandFault | StreamFault


def strikes(
    fault: CommandFault, points: Sequence[tuple[str, int]], session: int, argument: str = ""
) -> bool:
    """Say whether `fault` is meant for a command of these names and numbers in `session`."""
    meant = fault.session is None or fault.session == session
    if fault.matching is not None:
        address = _ADDRESS.search(argument)
        meant = meant and fnmatch(address[1] if address else argument, fault.matching)
    return meant and any(
        fault.command == name and (fault.nth is None or fault.nth == nth) for name, nth in points
    )
