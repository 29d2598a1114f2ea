"""Callers of every public call, in a process of their own: how long it takes, and what it costs."""

from __future__ import annotations

import ssl
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import smtpx
from smtpx import Envelope, Limits, Timeouts, TLSMode, TLSPolicy, smtplib
from tests.faces.conftest import Face, runner_of
from tests.held.hostile import Phase, Protection

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
LARGE = b"Subject: hi\r\n\r\n" + (b"x" * 72 + b"\r\n") * 200_000
RECIPIENTS = ["bob@example.net", "eve@example.net", "kim@example.net"]
ENVELOPE = Envelope("ann@example.org", RECIPIENTS)


@dataclass(frozen=True)
class Call:
    """What is called, of whom, and how long each phase of it may take."""

    face: str
    name: str
    phase: Phase
    protection: Protection
    timeouts: Timeouts
    lmtp: bool = False


@dataclass(frozen=True)
class Outcome:
    """What became of a call."""

    seconds: float
    """Without those in which it could have run, and others did: the machine may be busy."""
    processor: float
    """Seconds of the processor's time."""
    memory: int
    """Octets more than before, at the most; 0 where the system does not tell."""
    told: str
    is_documented: bool


class _Caller:
    """Makes what is called."""

    def __init__(self, face: Face, call: Call, port: int, ca_file: str, stack: ExitStack) -> None:
        self.content = LARGE if call.phase is Phase.CONTENT else CONTENT
        self._call = call
        self._face = face
        self._port = port
        self._ca_file = ca_file
        self._stack = stack
        user = "ann:secret@" if call.phase is Phase.AUTH else ""
        self.url = f"{'lmtp' if call.lmtp else 'smtp'}://{user}127.0.0.1:{port}"
        mode = {
            Protection.NONE: TLSMode.NONE,
            Protection.STARTTLS: TLSMode.STARTTLS,
            Protection.IMPLICIT: TLSMode.IMPLICIT,
        }[call.protection]
        policy = TLSPolicy(mode, ca_file=None if mode is TLSMode.NONE else ca_file)
        # A rate so high that only what the server is behind counts.
        limits = Limits(data_rate=1e9)
        self.options: dict[str, Any] = {"tls": policy, "timeouts": call.timeouts, "limits": limits}

    def session(self) -> Any:
        session = self._face.session(self.url, **self.options)
        _ = self._stack.callback(session.abort)
        return session

    def opened(self) -> Any:
        session = self.session()
        session.open()
        return session

    def client(self) -> Any:
        client = self._face.client(self.url, **self.options)
        _ = self._stack.callback(client.close, abort=True)
        return client

    def used(self) -> Any:
        client = self.client()
        client.send(CONTENT, ENVELOPE)
        return client

    def sent(self) -> Callable[[], object]:
        session = self.opened()
        return lambda: session.send(self.content, ENVELOPE)

    def sent_anew(self) -> Callable[[], object]:
        """A send that begins with RSET."""
        session = self.opened()
        session.command("MAIL FROM:<x@example.org>")
        return lambda: session.send(self.content, ENVELOPE)

    def sent_when_idle(self) -> Callable[[], object]:
        session = self.opened()
        session.noop()
        return lambda: session.send(self.content, ENVELOPE)

    def sent_by_client(self, client: Any) -> Callable[[], object]:
        return lambda: client.send(self.content, ENVELOPE)

    def many(self) -> Callable[[], object]:
        client = self.client()
        messages = [(self.content, ENVELOPE)]
        return lambda: list(client.send_many(messages, connections=2))

    def smtp(self) -> Any:
        """The drop-in, which has one timeout."""
        seconds = self._call.timeouts.greeting
        if self._call.protection is Protection.NONE:
            smtp = smtplib.SMTP(timeout=seconds)
        else:
            context = ssl.create_default_context(cafile=self._ca_file)
            smtp = smtplib.SMTP_SSL(timeout=seconds, context=context)
        _ = self._stack.callback(smtp.close)
        return smtp

    def connected(self) -> Any:
        smtp = self.smtp()
        smtp.connect("127.0.0.1", self._port)
        smtp.ehlo("client.test")
        return smtp

    def connected_by_smtplib(self) -> Callable[[], object]:
        smtp = self.smtp()
        return lambda: (smtp.connect("127.0.0.1", self._port), smtp.ehlo("client.test"))

    def sent_by_smtplib(self) -> Callable[[], object]:
        smtp = self.connected()
        return lambda: smtp.sendmail("ann@example.org", RECIPIENTS, self.content)

    def at_once(self) -> Callable[[], object]:
        return lambda: self._face.send(self.content, self.url, envelope=ENVELOPE, **self.options)


Prepare = Callable[[_Caller], Callable[[], object]]

# What goes before the call is not its own: it is done by who prepares it.
CALLS: dict[str, Prepare] = {
    "Session.open": lambda caller: caller.session().open,
    "Session.send": lambda caller: caller.sent(),
    "Session.send after RSET": lambda caller: caller.sent_anew(),
    "Session.send when idle": lambda caller: caller.sent_when_idle(),
    "Session.command": lambda caller: (lambda s: lambda: s.command("NOOP"))(caller.opened()),
    "Session.verify": lambda caller: (lambda s: lambda: s.verify("bob"))(caller.opened()),
    "Session.expand": lambda caller: (lambda s: lambda: s.expand("all"))(caller.opened()),
    "Session.help": lambda caller: caller.opened().help,
    "Session.noop": lambda caller: caller.opened().noop,
    "Session.reset": lambda caller: caller.opened().reset,
    "Session.xclient": lambda caller: (lambda s: lambda: s.xclient(name="a.example.org"))(
        caller.opened()
    ),
    "Session.close": lambda caller: caller.opened().close,
    "Client.send": lambda caller: caller.sent_by_client(caller.client()),
    "Client.send when idle": lambda caller: caller.sent_by_client(caller.used()),
    "Client.send_many": lambda caller: caller.many(),
    "Client.close": lambda caller: caller.used().close,
    "smtpx.send": lambda caller: caller.at_once(),
    "smtplib.connect": lambda caller: caller.connected_by_smtplib(),
    "smtplib.sendmail": lambda caller: caller.sent_by_smtplib(),
    "smtplib.noop": lambda caller: caller.connected().noop,
    "smtplib.quit": lambda caller: caller.connected().quit,
}


class _Memory:
    """How much more is resident than before, at the most, where Linux tells it."""

    def __init__(self) -> None:
        try:
            _ = Path("/proc/self/clear_refs").write_text("5")  # The most is what is now.
        except OSError:
            pass  # The most so far then hides what is less.
        self._before = self._most()

    def _most(self) -> int:
        try:
            status = Path("/proc/self/status").read_text()
        except OSError:
            return 0
        (line,) = [line for line in status.splitlines() if line.startswith("VmHWM")]
        return int(line.split()[1]) * 1024

    def growth(self) -> int:
        return self._most() - self._before


def _kept_waiting() -> float:
    """Seconds for which this thread has waited for a processor, where Linux tells it."""
    try:
        _, nanoseconds, _ = Path("/proc/thread-self/schedstat").read_text().split()
    except OSError:
        return 0
    return int(nanoseconds) / 1e9


def outcome_of(call: Call, port: int, ca_file: str) -> Outcome:
    runner = runner_of(call.face)
    told: object = None
    is_documented = True
    with ExitStack() as stack:
        if runner is not None:
            _ = stack.callback(runner.close)
        caller = _Caller(Face(call.face, runner), call, port, ca_file, stack)
        act = CALLS[call.name](caller)
        memory = _Memory()
        began, processor = time.monotonic() - _kept_waiting(), time.process_time()
        try:
            told = act()
        except (smtpx.SMTPError, smtplib.SMTPException) as error:
            told = error
        except Exception as error:
            told, is_documented = error, isinstance(error, OSError) and "smtplib" in call.name
        seconds = time.monotonic() - _kept_waiting() - began
        processor = time.process_time() - processor
        growth = memory.growth()
    return Outcome(seconds, processor, growth, repr(told)[:300], is_documented)


def main(pipe: Connection) -> None:
    """Make one call after the other; an exception says that it could not even be prepared."""
    while (task := pipe.recv()) is not None:
        try:
            pipe.send(outcome_of(*task))
        except Exception as error:
            pipe.send(f"{type(error).__name__}: {error}")
