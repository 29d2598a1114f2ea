"""What is measured by `make bench`, and what is promised of it."""

from __future__ import annotations

from collections.abc import Iterator

from bench import processes
from bench.contest import Contender, Contest


def smtplib(n: int) -> Contender:
    return Contender("smtplib", "std", n)


def limit(mode: str, n: int) -> Contender:
    """What this mode comes down to."""
    return Contender(f"the limit of {mode!r}", mode, n, command=processes.THE_LIMIT)


def loopback() -> Contest:
    return Contest(
        "This machine: 2 KB, 1 recipient, 1 connection",
        [
            smtplib(1500),
            Contender("aiosmtplib", "aiosmtplib", 500),
            limit("smtplib", 2000),
            Contender("smtpx.smtplib", "smtplib", 2000, faster=1.7),
            limit("call", 3000),
            Contender("Session.send", "call", 3000, faster=2),
            Contender("Client.send", "client", 3000, faster=2),
            limit("acall", 2000),
            Contender("AsyncSession.send, asyncio", "acall", 2000),
            Contender("AsyncSession.send, trio", "tcall", 1000),
            limit("stream", 20000),
            Contender("Client.send_many", "stream", 20000, faster=10, thriftier=8),
            limit("own", 20000),
            Contender("send_many, an envelope each", "own", 20000),
            Contender("AsyncClient.send_many, asyncio", "astream", 10000),
            Contender("AsyncClient.send_many, trio", "tstream", 10000),
        ],
        dearer={
            ("acall", "call"): 1.3,
            ("tcall", "call"): 1.5,
            ("astream", "stream"): 1.1,
            ("tstream", "stream"): 1.5,
        },
    )


def without_chunking() -> Contest:
    return Contest(
        "The same without CHUNKING",
        [
            smtplib(1500),
            Contender("Session.send", "call", 3000, faster=2),
            Contender("Client.send_many", "stream", 4000),
        ],
        without=("CHUNKING",),
    )


def many_recipients() -> Contest:
    return Contest(
        "50 recipients",
        [
            smtplib(100),
            limit("call", 1000),
            Contender("Session.send", "call", 1000, faster=15),
            limit("stream", 4000),
            Contender("Client.send_many", "stream", 4000, faster=30),
        ],
        recipients=50,
    )


# In the two contests with large contents the sink bounds the speed: CPU is promised.


def large() -> Contest:
    return Contest(
        "10 MB",
        [
            smtplib(5),
            limit("call", 20),
            Contender("Session.send", "call", 20, thriftier=8),
            Contender("Client.send_many", "stream", 20),
        ],
        size="10m",
        rounds=3,
    )


def from_file(size: str) -> Contest:
    return Contest(
        f"One message of {size.upper()}B from a file",
        [
            Contender("smtplib", "std_file", 1),
            Contender("Session.send", "file", 1, thriftier=5, peak=32, grown=10),
            Contender("Session.send, from an iterator", "pieces", 1, grown=10),
        ],
        size=size,
        rounds=3,
    )


def tls() -> Contest:
    return Contest(
        "TLS 1.3: 2 KB",
        [
            smtplib(1000),
            Contender("Session.send", "call", 2000),
            Contender("Client.send_many", "stream", 10000, faster=25),
        ],
        tls=True,
    )


def large_tls() -> Contest:
    return Contest(
        "TLS 1.3: 20 MB",
        [
            smtplib(2),
            Contender("Session.send", "call", 5),
            Contender("Client.send_many", "stream", 5, faster=4),
        ],
        size="20m",
        tls=True,
        rounds=3,
    )


def distant(rtt: int) -> Iterator[Contest]:
    slow = max(1, 200 // rtt)
    yield Contest(
        f"{rtt} ms round-trip time",
        [
            smtplib(slow),
            Contender("aiosmtplib", "aiosmtplib", slow),
            Contender("Session.send", "call", 4 * slow),
            Contender("send_many, window 64", "stream", 2000, faster=150),
            Contender("send_many, window 512", "stream", 6000, 512, faster=500),
        ],
        rtt=rtt,
        rounds=3,
    )
    yield Contest(
        f"{rtt} ms, without CHUNKING",
        [smtplib(slow), Contender("Client.send_many", "stream", 6 * slow, faster=3.5)],
        rtt=rtt,
        without=("CHUNKING",),
        rounds=3,
    )
    yield Contest(
        f"{rtt} ms, 50 recipients",
        [
            smtplib(1),
            Contender("Session.send", "call", 4 * slow, faster=25),
            Contender("send_many, window 64", "stream", 1000, faster=1000),
            Contender("send_many, window 512", "stream", 2000, 512, faster=1000),
        ],
        rtt=rtt,
        recipients=50,
        rounds=1,
    )


def contests(file_size: str) -> Iterator[Contest]:
    """All of them; `file_size` is that of the message sent from a file, such as ``100m``."""
    yield loopback()
    yield without_chunking()
    yield many_recipients()
    yield large()
    yield from_file(file_size)
    yield tls()
    yield large_tls()
    yield from distant(20)
    yield from distant(50)
