"""From dialling to the first message taken, with TLS and a password: counted, not timed."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

from bench import client, processes, sink

USER, PASSWORD = "ann", "secret"
# Long enough that whatever does not wait for an answer is sent before one can come.
RTT = 60
CONTENT = b"".join(client.pieces(2048))


class ColdStart(NamedTuple):
    """A way to begin, and how many round trips are promised for it."""

    title: str
    tls: str
    without: tuple[str, ...]
    promised: int


COLD_STARTS = (
    ColdStart("TLS from the start", "implicit", (), 6),
    ColdStart("the same without CHUNKING", "implicit", ("CHUNKING",), 7),
    ColdStart("STARTTLS", "starttls", (), 8),
)


def smtpx(port: int, tls: str) -> None:
    import smtpx

    session = smtpx.Session(
        f"smtp://127.0.0.1:{port}",
        tls=smtpx.TLSPolicy(smtpx.TLSMode(tls), context=client.unverified()),
        credentials=smtpx.Credentials(USER, PASSWORD),
    )
    session.open()
    _ = session.send(CONTENT, smtpx.Envelope(client.SENDER, client.recipients(1)))
    session.abort()


def smtplib(port: int, tls: str) -> None:
    import smtplib

    if tls == "implicit":
        smtp: smtplib.SMTP = smtplib.SMTP_SSL("127.0.0.1", port, context=client.unverified())
    else:
        smtp = smtplib.SMTP("127.0.0.1", port)
        _ = smtp.starttls(context=client.unverified())
    _ = smtp.login(USER, PASSWORD)
    _ = smtp.sendmail(client.SENDER, client.recipients(1), CONTENT)
    smtp.close()


CONTENDERS: dict[str, Callable[[int, str], None]] = {"smtplib": smtplib, "smtpx": smtpx}


def measure() -> dict[ColdStart, dict[str, int]]:
    return {start: round_trips(start) for start in COLD_STARTS}


def round_trips(start: ColdStart) -> dict[str, int]:
    """By contender: TCP's handshake is the first, the reply to the content the last."""
    counts: dict[str, int] = {}
    envelope = f"<{client.SENDER}><{client.recipients(1)[0]}>".encode()
    with (
        processes.sink(without=start.without, tls=start.tls) as server,
        processes.wire(server, RTT) as wire,
    ):
        for name, begin in CONTENDERS.items():
            begin(wire.port, start.tls)
            counts[name] = wire.report()
            taken = server.report()
            assert (taken["messages"], taken["digest"]) == (1, sink.digest([(envelope, CONTENT)]))
    return counts
