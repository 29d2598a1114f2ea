"""What the doctor looks at, one server at one address: rows, each with a name and a verdict.

Nothing is sent: the session goes as far as RCPT, if a recipient is asked about, and is reset.
"""

from __future__ import annotations

import socket
import time
from contextlib import closing
from dataclasses import dataclass, field
from importlib.util import find_spec
from typing import Any

import smtpx
from smtpx import sasl
from smtpx.cli import _peers
from smtpx.cli._exits import Exit, of_error
from smtpx.cli._shapes import sentence_of
from smtpx.cli._tls_rows import TLSRows
from smtpx.cli._verdicts import Case, Row, Verdict

__all__ = ["Examination"]

_PATIENCE = 10.0
# Who was silent so long, and speaks another protocol, does it at once.
_PROBE = 3.0
_MOST_ADDRESSES = 6


@dataclass(slots=True)
class Examination:
    """What was found about one server; `examine` fills it."""

    case: Case
    rows: list[Row] = field(default_factory=list[Row])
    times: dict[str, float] = field(default_factory=dict[str, float])
    """Seconds of each phase, in the order they came."""
    round_trips: int | None = None
    """What a message to one recipient costs there."""
    code: Exit = Exit.DONE
    offered: smtpx.Extensions | None = None
    """Before TLS."""
    extensions: smtpx.Extensions | None = None
    protection: smtpx.Protection | None = None
    days_left: int | None = None
    address: Any = None
    """Host and port that it was reached at; None of a Unix socket."""
    greeting: smtpx.Reply | None = None
    _at: float = 0.0
    _greeting: list[str] = field(default_factory=list[str])
    _said: list[str] = field(default_factory=list[str])
    _last: str = ""

    def examine(self) -> None:
        """Ask everything."""
        _ = smtpx.Session  # It is loaded now, so that no phase is charged for that.
        connected = self._connect()
        if connected is None:
            return
        session = self._open(connected, self._policy())
        if session is None:
            return
        with closing(session):
            self._look_at(session)

    def add(self, name: str, verdict: Verdict, text: str) -> None:
        """Note a row."""
        self.rows.append(Row(name, verdict, text))

    # The way there.

    def _connect(self) -> socket.socket | None:
        endpoint = self.case.endpoint
        if endpoint.path:
            return self._connect_unix(endpoint.path)
        begun = time.monotonic()
        try:
            found = socket.getaddrinfo(endpoint.host, endpoint.port, type=socket.SOCK_STREAM)
        except (socket.gaierror, UnicodeError) as error:
            is_later = getattr(error, "errno", None) == socket.EAI_AGAIN
            self.code = Exit.LATER if is_later else Exit.NO_HOST
            self.add("dns.resolves", Verdict.FAIL, f"{endpoint.host}: {error}")
            return None
        self.times["dns"] = time.monotonic() - begun
        kept: socket.socket | None = None
        addresses = list(dict.fromkeys(entry[4] for entry in found))[:_MOST_ADDRESSES]
        for address in addresses:
            kept = self._connect_to(address, kept)
        if kept is None:
            self.code = Exit.NOT_CONNECTED
        return kept

    def _connect_to(self, address: Any, kept: socket.socket | None) -> socket.socket | None:
        begun = time.monotonic()
        shown = (
            f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"
        )
        try:
            connected = socket.create_connection(address[:2], _PATIENCE)
        except OSError as error:
            # A host that answers at one of its addresses is reached, only later.
            why = error.strerror or f"no answer in {_PATIENCE:.0f} s"
            self.add("connect", Verdict.WARN if kept else Verdict.FAIL, f"{shown}: {why}")
            return kept
        seconds = time.monotonic() - begun
        self.add("connect", Verdict.OK, f"{shown} in {seconds * 1000:.1f} ms")
        if kept is not None:
            connected.close()
            return kept
        self.times["connect"] = seconds
        self.address = address[:2]
        self.rows = [
            Row(
                row.name, Verdict.WARN, f"{row.text}: the address is published, and does not answer"
            )
            if row.verdict is Verdict.FAIL
            else row
            for row in self.rows
        ]
        return connected

    def _connect_unix(self, path: str) -> socket.socket | None:
        connected = socket.socket(getattr(socket, "AF_UNIX", socket.AF_INET), socket.SOCK_STREAM)
        try:
            connected.settimeout(_PATIENCE)
            connected.connect(path)
        except OSError as error:
            connected.close()
            self.code = Exit.NOT_CONNECTED
            self.add("connect", Verdict.FAIL, f"{path}: {error.strerror}")
            return None
        self.add("connect", Verdict.OK, path)
        return connected

    # The session.

    def _policy(self) -> smtpx.TLSPolicy:
        endpoint = self.case.endpoint
        said = self.case.options.get("tls")
        return said or endpoint.policy(peer_is_local=endpoint.is_local)

    def _open(self, connected: socket.socket, policy: smtpx.TLSPolicy) -> smtpx.Session | None:
        case = self.case
        options: dict[str, Any] = {
            **case.options,
            "timeouts": smtpx.Timeouts.each(_PATIENCE),
            "observer": self._hear,
            "socket": connected,
        }
        if case.login:
            options["credentials"] = case.credentials
        session = smtpx.Session(case.endpoint, **options)
        try:
            self._at = time.monotonic()
            session.open()
        except smtpx.SMTPError as error:
            is_noted = self.case.is_free and _is_of_certificate(error)
            self.code = Exit.DONE if is_noted else of_error(error)
            self._explain(error, Verdict.NOTE if is_noted else Verdict.FAIL)
            return self._open_anyway(policy) if isinstance(error, smtpx.TLSPolicyError) else None
        return session

    def _open_anyway(self, policy: smtpx.TLSPolicy) -> smtpx.Session | None:
        """Ask on, without trust and without the login: what else is true of it?"""
        import ssl

        if self.address is None or policy.mode is smtpx.TLSMode.NONE:
            return None
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        endpoint = self.case.endpoint
        bare = smtpx.Endpoint(endpoint.host, endpoint.port, lmtp=endpoint.lmtp)
        self._forget()
        try:
            session = smtpx.Session(
                bare,
                socket=socket.create_connection(self.address, _PATIENCE),
                tls=smtpx.TLSPolicy(policy.mode, context=context),
                timeouts=smtpx.Timeouts.each(_PATIENCE),
                observer=self._hear,
            )
            self._at = time.monotonic()
            session.open()
        except (smtpx.SMTPError, OSError):
            return None
        return session

    def _forget(self) -> None:
        self.offered = None
        self._last, self._said, self._greeting = "", [], []
        for phase in ("greeting", "hello", "starttls", "tls", "auth"):
            _ = self.times.pop(phase, None)

    def _hear(self, event: smtpx.Event) -> None:
        """Measure the phases, and keep what was offered before TLS."""
        if self.case.observer is not None:
            _ = self.case.observer(event)
        now = time.monotonic()
        if isinstance(event, smtpx.Line) and event.speaker is smtpx.Speaker.CLIENT:
            verb = event.text.partition(" ")[0].upper()
            self._last = "AUTH" if self._last == "AUTH" and verb == "[REDACTED]" else verb
            self._said = []
            self._at = now
        elif isinstance(event, smtpx.Line):
            self._said.append(event.text)
            if event.text[3:4] != "-":
                self._heard(now)
        elif isinstance(event, smtpx.Protected):
            self._note("tls", now)

    def _heard(self, now: float) -> None:
        phase = {"": "greeting", "EHLO": "hello", "LHLO": "hello", "HELO": "hello"}.get(
            self._last, self._last.lower()
        )
        if phase in ("greeting", "hello", "starttls", "auth", "mail", "rcpt"):
            self._note(phase, now)
        if phase == "greeting":
            self._greeting = self._said
        if phase == "hello" and self.offered is None:
            lines = [line[4:] for line in self._said]
            self.offered = smtpx.Extensions.of(smtpx.Reply.of(250, *lines))

    def _note(self, phase: str, now: float) -> None:
        self.times[phase] = self.times.get(phase, 0.0) + now - self._at
        self._at = now

    # What is wrong with a session that was not opened.

    def _explain(self, error: smtpx.SMTPError, verdict: Verdict) -> None:
        name = _row_of(error)
        text = sentence_of(error)
        if (
            isinstance(error, smtpx.TimedOut)
            and error.phase == "greeting"
            and self.address is not None
        ):
            other = _peers.speaks_instead(self.address, _PROBE)
            if other == "TLS":
                name, self.code = "tls.tls_expected", Exit.NOT_PERMITTED
                text = "the server waits for TLS to begin: use smtps://, or port 587"
            elif other is not None:
                self.code = Exit.PROTOCOL
                text = f"the server speaks {other} on this port, and not SMTP: use port 587 or 465"
        self.add(name, verdict, text)

    # What is asked of an open session.

    def _look_at(self, session: smtpx.Session) -> None:
        self.extensions, self.protection = session.extensions, session.protection
        self.greeting = greeting = session.greeting
        self.add("greeting", Verdict.OK, str(greeting) if greeting else "")
        self.add("extensions", Verdict.NOTE, _listed(session.extensions))
        found = TLSRows(self.case, self._policy().mode, self.address, session.extensions, _PATIENCE)
        found.look(self.protection, self.offered)
        self.rows += found.rows
        self.days_left = found.days_left
        self._look_at_auth()
        if self.case.recipient is not None:
            self._ask_for(session, self.case.recipient)
        self.round_trips = _round_trips(session.extensions, lmtp=self.case.endpoint.lmtp)

    def _look_at_auth(self) -> None:
        case, extensions = self.case, self.extensions
        if extensions is None:
            return
        before = () if self.offered is None else self.offered.auth
        if before and self.protection is not None and self.offered is not self.extensions:
            is_implicit = self._policy().mode is smtpx.TLSMode.IMPLICIT
            if not is_implicit:
                self.add(
                    "auth.plaintext",
                    Verdict.WARN,
                    f"{' '.join(before)} before TLS: a careless client shows its password",
                )
        if not extensions.auth:
            self.add("auth.mechanisms", Verdict.NOTE, "no login is offered")
        else:
            chosen = _mechanism(extensions.auth, is_tls=self.protection is not None)
            text = f"{' '.join(extensions.auth)}; smtpx would use {chosen or 'none of them'}"
            self.add("auth.mechanisms", Verdict.OK, text)
        if case.login and "auth" in self.times:
            user = case.endpoint.user or (case.credentials.user if case.credentials else "")
            self.add("auth.login", Verdict.OK, f"the server knows {user}")

    def _ask_for(self, session: smtpx.Session, recipient: str) -> None:
        """MAIL and RCPT, and RSET: would it be taken?"""
        address = smtpx.Address.parse(recipient)
        utf8 = " SMTPUTF8" if address.needs_smtputf8 else ""
        reply = session.command(f"MAIL FROM:<{self.case.sender}>{utf8}")
        if reply.positive:
            reply = session.command(f"RCPT TO:<{address}>")
            _ = session.reset()
        if reply.positive:
            self.add("rcpt", Verdict.OK, f"{address} would be accepted: {reply}")
        else:
            again = "try again later" if reply.transient else "for good"
            self.add("rcpt", Verdict.FAIL, f"{address} would be refused, {again}: {reply}")


def _is_of_certificate(error: smtpx.SMTPError) -> bool:
    return isinstance(error, smtpx.TLSPolicyError) and (
        error.reason.name.startswith("CERTIFICATE") or error.reason.name.endswith("AUTHORITY")
    )


def _row_of(error: smtpx.SMTPError) -> str:
    """The name of the row that an error is told in."""
    match error:
        case smtpx.TLSPolicyError():
            return f"tls.{error.reason.name.lower()}"
        case smtpx.TLSRefused():
            return "tls.refused"
        case smtpx.AuthenticationRefused():
            return "auth.login"
        case smtpx.GreetingRefused():
            return "greeting"
        case smtpx.HelloRefused():
            return "hello"
        case _:
            return "session"


def _listed(extensions: smtpx.Extensions) -> str:
    told: list[str] = []
    for keyword, parameters in extensions.keywords.items():
        if keyword == "SIZE" and extensions.size is not None:
            told.append(f"SIZE {extensions.size / 1e6:.0f} MB")
        elif keyword != "AUTH":
            told.append(f"{keyword} {parameters}".strip())
    return "  ".join(told) or "nothing"


def _round_trips(extensions: smtpx.Extensions, *, lmtp: bool) -> int:
    """What one small message to one recipient costs (RFC 2920, RFC 3030)."""
    if not extensions.pipelining:
        return 4
    return 1 if extensions.chunking and not lmtp else 2


def _mechanism(offered: tuple[str, ...], *, is_tls: bool) -> str | None:
    """The one that a password would go by."""
    scram = find_spec("scramp") is not None
    for name in sasl.STRONGEST_FIRST:
        if name not in offered or (name.startswith("SCRAM") and not scram):
            continue
        if name.endswith("-PLUS") and not is_tls:
            continue
        return name
    return None
