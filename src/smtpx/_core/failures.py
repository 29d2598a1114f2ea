"""How a session ends that nobody ended: what its errors say, and what to do about them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from smtpx._core.steps import BrokenOff, is_by_total
from smtpx._wire.commands import END_OF_DATA, GREETING, Command, Phase
from smtpx.errors import (
    ConnectionLost,
    RemoteProtocolError,
    TimedOut,
    TLSFailure,
    TLSPolicyError,
)

if TYPE_CHECKING:
    from smtpx.replies import Reply

SESSION_OVER = (ConnectionLost, TimedOut, RemoteProtocolError)
"""What is raised once a session is of no further use."""
NO_ROOM = (MemoryError, RecursionError)
"""What says nothing of a message: it may strike anywhere, after its last octet, too."""

_USE_SMTPS = "use smtps://, or ?tls=implicit"
# Whose ports are taken for a mail server's.
_OF_OTHERS = {
    "22": "SSH",
    "80": "HTTP",
    "110": "POP3",
    "143": "IMAP",
    "443": "HTTP",
    "993": "IMAP",
    "995": "POP3",
}


def over(parting: Reply | None) -> ConnectionLost:
    """The error of whoever still wants something of a session that has ended."""
    why = "the session is over" if parting is None else f"the server closed the session: {parting}"
    return ConnectionLost(why, phase=Phase.OTHER.field, reply=parting)


def behind_a_yes(parting: Reply | None) -> RemoteProtocolError:
    """A 421 came behind a yes to a content; behind a no it would take nothing back."""
    return RemoteProtocolError(f"what may be the reply to the content came behind a yes: {parting}")


def closed(pending: Command, *, is_cut: bool) -> ConnectionLost:
    """The server hung up and owed us a reply, or the rest of it."""
    cut = ", in the middle of a reply" if is_cut else ""
    return ConnectionLost(
        f"the server closed the connection{cut} while we waited for {due(pending)}",
        phase=pending.phase.field,
    )


def lost(
    error: OSError, phase: Phase, seconds: float | None, doing: str, hint: str = ""
) -> ConnectionLost | TimedOut:
    """The error of a transport that failed; the hint is for one that was silent."""
    if isinstance(error, TimeoutError):
        within = "" if seconds is None else f" ({phase.field}={seconds:g} seconds)"
        if is_by_total(error):
            within = " (total, for the whole call)"
        advice = f": {hint}" if hint else ""
        return TimedOut(f"the time was up while {doing}{within}{advice}", phase=phase.field)
    if isinstance(error, BrokenOff):
        return ConnectionLost(f"the connection was {error} while {doing}", phase=phase.field)
    return ConnectionLost(f"the connection was lost while {doing}: {error}", phase=phase.field)


def out_of_place(reply: Reply, command: Command) -> RemoteProtocolError:
    """A reply that no server gives that is in step."""
    asked = "the content" if command is END_OF_DATA else command.shown or "connecting"
    return RemoteProtocolError(f"{asked} was answered by {reply}")


def due(command: Command) -> str:
    """What we wait for."""
    if command is GREETING:
        return "the greeting"
    if command.phase is Phase.DATA_TERMINATION:
        return "the reply to the end of data"
    lines = command.shown.split("\r\n")  # Of a group composed as one, the first and the last.
    return f"the reply to {' … '.join(lines[:1] + lines[1:][-1:])}"


def greeted_by_tls() -> TLSPolicyError:
    """The server speaks TLS before we have asked for it."""
    return TLSPolicyError(
        f"the server speaks TLS from the start on this port: {_USE_SMTPS}",
        TLSFailure.TLS_EXPECTED,
    )


def why_silent(server: str | None, *, tls: bool) -> str:
    """What a server may be that lets us speak first."""
    if tls:
        return f"an HTTP server says nothing before it is asked{usual_on(server)}"
    return (
        f"a server that begins with TLS says nothing ({_USE_SMTPS}), nor does one of "
        f"HTTP{usual_on(server)}"
    )


def usual_on(server: str | None) -> str:
    """What is usual on the server's port, if that is no mail."""
    port = (server or "").rpartition(":")[2]
    return f"; port {port} is that of {_OF_OTHERS[port]}" if port in _OF_OTHERS else ""
