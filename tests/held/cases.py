"""Every call × every phase in which it waits × what the server does there × face × protection."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache

from smtpx import Timeouts
from tests.faces.conftest import ASYNCHRONOUS
from tests.held.callers import Call
from tests.held.hostile import Manner, Phase, Plan, Protection

FACES = ["sync", *ASYNCHRONOUS]
SECONDS = 0.4
"""What the phase of a case may take."""
UNREAD = 1.0
"""What the content may take: time to see who does work while there is nothing to do."""
TOTAL = 1.5
"""What all of a call may take; what goes before it has as much."""
PATIENT = 20.0
"""What every other phase may take."""

OPENING = (
    Phase.CONNECT,
    Phase.GREETING,
    Phase.HELLO,
    Phase.STARTTLS,
    Phase.HANDSHAKE,
    Phase.AUTH,
)
TRANSACTION = (Phase.MAIL, Phase.RCPT, Phase.DATA, Phase.CONTENT, Phase.END)
PHASES: dict[str, tuple[Phase, ...]] = {
    "Session.open": OPENING,
    "Session.send": TRANSACTION,
    "Session.send after RSET": (Phase.RSET,),
    "Session.send when idle": (Phase.IDLE,),
    "Session.command": (Phase.OTHER,),
    "Session.verify": (Phase.OTHER,),
    "Session.expand": (Phase.OTHER,),
    "Session.help": (Phase.OTHER,),
    "Session.noop": (Phase.OTHER,),
    "Session.reset": (Phase.RSET,),
    "Session.xclient": (Phase.XCLIENT,),
    "Session.close": (Phase.QUIT,),
    "Client.send": OPENING + TRANSACTION,
    "Client.send when idle": (Phase.IDLE,),
    "Client.send_many": (*OPENING, *TRANSACTION, Phase.RSET),
    "Client.close": (Phase.QUIT,),
    "smtpx.send": (*OPENING, *TRANSACTION, Phase.QUIT),
    "smtplib.connect": (Phase.CONNECT, Phase.GREETING, Phase.HELLO),
    "smtplib.sendmail": TRANSACTION,
    "smtplib.noop": (Phase.OTHER,),
    "smtplib.quit": (Phase.QUIT,),
}
_WITHOUT_TOTAL = ("Client.send_many", "smtplib")
# Within a group, a command is waited for as the first, and a window of them as its last.
_GROUP = ("mail", "rcpt", "data_initiation", "data_termination", "other")
_FIELDS: dict[Phase, tuple[str, ...]] = {
    Phase.CONNECT: ("connect",),
    Phase.GREETING: ("greeting",),
    Phase.HELLO: ("hello",),
    Phase.STARTTLS: ("tls",),
    Phase.HANDSHAKE: ("tls",),
    Phase.AUTH: ("auth",),
    Phase.CONTENT: ("data_block",),
    Phase.OTHER: ("other",),
    Phase.XCLIENT: ("greeting",),
    Phase.QUIT: ("quit",),
}

_FIELD_NAMES = [field.name for field in dataclasses.fields(Timeouts) if field.name != "total"]

_WAYS = {
    "lock-step": (),
    "pipelined": ("PIPELINING",),
    "chunked": ("PIPELINING", "CHUNKING"),
}
_RECORDS = (Manner.KEY_UPDATES, Manner.TICKETS)
_SESSIONS_TRIED = 3
"""By `send_many`, for a message that none of them could send."""


@dataclass(frozen=True)
class Case:
    """A call that a server holds, and how long it may be held."""

    plan: Plan
    call: Call
    way: str
    by_total: bool

    @property
    def seconds(self) -> float:
        """What was promised."""
        if self.by_total:
            return TOTAL
        is_anew = self.call.name == "Client.send_many" and self.plan.phase not in OPENING
        seconds = _seconds_of(self.plan.phase)
        return seconds * (_SESSIONS_TRIED if is_anew else 1)

    def __str__(self) -> str:
        plan, call = self.plan, self.call
        what = [call.face, call.name, plan.phase.value, plan.manner.value, plan.protection.value]
        return ", ".join([*what, self.way, "total" if self.by_total else "phase"])


def cases() -> Iterator[Case]:
    """All of them, always in the same order."""
    for face in FACES:
        for name, phases in PHASES.items():
            if name.startswith("smtplib") and face != "sync":
                continue
            for phase in phases:
                for way in _ways(name, phase):
                    for protection in _protections(phase):
                        for manner in _manners(name, phase, protection, way):
                            plan = Plan(phase, manner, protection, _WAYS[way])
                            yield _case(face, name, plan, way, by_total=False)
                            # `total` is not for all that `send_many` sends.
                            has_total = not name.startswith(_WITHOUT_TOTAL)
                            if has_total and manner is not Manner.KEY_UPDATES:
                                yield _case(face, name, plan, way, by_total=True)


def _case(face: str, name: str, plan: Plan, way: str, *, by_total: bool) -> Case:
    timeouts = _timeouts(plan.phase, by_total, has_one=name.startswith("smtplib"))
    return Case(plan, Call(face, name, plan.phase, plan.protection, timeouts), way, by_total)


@cache
def _timeouts(phase: Phase, by_total: bool, *, has_one: bool) -> Timeouts:
    """What the phase may take, or the whole; the drop-in has one time for all."""
    if by_total:
        return Timeouts.each(PATIENT, total=TOTAL)
    fields = _FIELD_NAMES if has_one else _FIELDS.get(phase, _GROUP)
    return dataclasses.replace(Timeouts.each(PATIENT), **dict.fromkeys(fields, _seconds_of(phase)))


def _seconds_of(phase: Phase) -> float:
    return UNREAD if phase is Phase.CONTENT else SECONDS


def _ways(name: str, phase: Phase) -> tuple[str, ...]:
    if phase is Phase.DATA:
        return ("lock-step", "pipelined")
    if phase in (Phase.MAIL, Phase.RCPT, Phase.END, Phase.CONTENT) or name == "Client.send_many":
        return tuple(_WAYS)
    return ("pipelined",)


def _protections(phase: Phase) -> tuple[Protection, ...]:
    if phase is Phase.STARTTLS:
        return (Protection.STARTTLS,)
    if phase is Phase.CONNECT:
        return (Protection.NONE,) if sys.platform == "linux" else ()
    if phase is Phase.HANDSHAKE:
        return (Protection.STARTTLS, Protection.IMPLICIT)
    return (Protection.NONE, Protection.IMPLICIT)


def _manners(name: str, phase: Phase, protection: Protection, way: str) -> list[Manner]:
    if phase is Phase.CONNECT:
        return [Manner.SILENCE]
    if phase is Phase.HANDSHAKE:
        return [Manner.SILENCE, Manner.DRIP, Manner.HALF_CLOSE, Manner.FLOOD]
    manners = [manner for manner in Manner if manner not in _RECORDS]
    # The drop-in's `sock` is an `ssl.SSLSocket`, and promises nothing here.
    if protection is Protection.IMPLICIT and not name.startswith("smtplib"):
        manners.append(Manner.TICKETS)
        # They take seconds to make, within the handshake.
        if name in ("Session.send", "Session.noop") and way == "pipelined":
            manners.append(Manner.KEY_UPDATES)
    return manners
