"""A contest: clients that do the same, by turns, and what they took for it."""

from __future__ import annotations

import statistics
import sys
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from bench import client, processes, sink


@dataclass(frozen=True)
class Contender:
    """A client, how many messages it sends in a round, and what is promised of it."""

    name: str
    mode: str
    n: int
    window: int = 64
    faster: float | None = None
    """Promised: so many times as fast as the contest's first contender."""
    thriftier: float | None = None
    """Promised: so many times less CPU than the contest's first contender."""
    peak: float | None = None
    """Promised: at most so many MB of resident memory, all in all."""
    grown: float | None = None
    """Promised: at most so many MB of it more than before the messages."""
    command: tuple[str, ...] = ()
    """A client other than bench/client.py, that speaks its protocol."""
    of_limit: float | None = None
    """Promised: the limit of its mode (bench/limit.py) takes so much of its time."""
    tree: Path | None = None
    """Another checkout, whose smtpx it is."""

    @property
    def is_limit(self) -> bool:
        return self.command == processes.THE_LIMIT


@dataclass(frozen=True)
class Contest:
    """What the contenders do. The first is the one that the others are compared with."""

    title: str
    contenders: Sequence[Contender]
    size: str = "2k"
    recipients: int = 1
    rtt: float = 0
    """Milliseconds."""
    without: Sequence[str] = ()
    tls: bool = False
    rounds: int = 5
    dearer: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """Promised: the CPU of one mode is at most so many times that of another."""


@dataclass
class Figures:
    """A contender's figures, one a round, per message."""

    wall: list[float] = field(default_factory=list)
    cpu: list[float] = field(default_factory=list)
    sink_cpu: list[float] = field(default_factory=list)
    peak: list[int] = field(default_factory=list)
    """KB of resident memory."""
    grown: list[int] = field(default_factory=list)
    """KB of it that the messages took."""


@dataclass(frozen=True)
class Result:
    """A contender's medians: seconds a message, and KB."""

    contender: Contender
    wall: float
    fastest: float
    """The wall time of the fastest round, which other programs disturbed least."""
    cpu: float
    sink_cpu: float
    peak: float
    grown: float
    faster: float
    """So many times as fast as the contest's first."""
    thriftier: float
    """So many times less CPU than the contest's first."""
    of_limit: float | None
    """The share of its time that the limit of its mode takes, if that has run beside it."""


def hold(contest: Contest) -> list[Result]:
    """Run all rounds, the contenders by turns.

    Exits if one of them lost, doubled or damaged a message: its speed is of no interest then.
    """
    figures = {contender: Figures() for contender in contest.contenders}
    with ExitStack() as stack:
        server = stack.enter_context(
            processes.sink(without=contest.without, tls="implicit" if contest.tls else None)
        )
        port = server.port
        if contest.rtt:
            port = stack.enter_context(processes.wire(server, contest.rtt)).port
        for _ in range(contest.rounds):
            for contender in contest.contenders:
                measure(contest, contender, server, port, figures[contender])
    first = figures[contest.contenders[0]]
    limits = {contender.mode: figures[contender] for contender in figures if contender.is_limit}
    return [
        result_of(contender, figures[contender], first, limits.get(contender.mode))
        for contender in contest.contenders
    ]


def measure(
    contest: Contest,
    contender: Contender,
    server: processes.Service,
    port: int,
    figures: Figures,
) -> None:
    mode = contender.mode + ("_tls" if contest.tls else "")
    command: tuple[str, ...] = (*processes.CLIENT, mode)
    if contender.command:
        command = (*contender.command, mode) if contender.is_limit else contender.command
    environment = {"BENCH_WINDOW": str(contender.window)}
    if contender.tree is not None:
        environment["PYTHONPATH"] = str(contender.tree / "src")
    report = processes.run_client(
        command,
        port,
        contender.n,
        contest.size,
        contest.recipients,
        environment=environment,
    )
    taken = server.report()
    sent = expected(contest, contender, report.get("extra", 0))
    if (taken["messages"], taken["digest"]) != sent:
        sys.exit(
            f"{contest.title}: {contender.name} sent {sent[0]} messages, {taken['messages']} came, "
            f"and their digest is {'right' if taken['digest'] == sent[1] else 'wrong'}"
        )
    figures.wall.append(report["wall"] / report["msgs"])
    figures.cpu.append(report["cpu"] / report["msgs"])
    figures.sink_cpu.append(taken["cpu"] / taken["messages"])
    figures.peak.append(report["rss_kb"])
    figures.grown.append(report.get("grown_kb", 0))


def expected(contest: Contest, contender: Contender, extra: int) -> tuple[int, str]:
    """How many messages the contender was to send, and the digest of them all."""
    envelope = "".join(
        f"<{address}>" for address in [client.SENDER, *client.recipients(contest.recipients)]
    ).encode()
    # Other programs send the same message again and again.
    different = 1 if contender.command and not contender.is_limit else contender.n
    contents = client.messages(different, client.octets(contest.size))
    dealt = [contents[i % len(contents)] for i in range(contender.n)]
    messages = dealt + [contents[0]] * extra
    return len(messages), sink.digest((envelope, content) for content in messages)


def result_of(
    contender: Contender, figures: Figures, first: Figures, limit: Figures | None
) -> Result:
    median = statistics.median
    wall, cpu = median(figures.wall), median(figures.cpu)
    return Result(
        contender,
        wall,
        min(figures.wall),
        cpu,
        median(figures.sink_cpu),
        median(figures.peak),
        median(figures.grown),
        faster=median(first.wall) / wall,
        thriftier=median(first.cpu) / cpu if cpu else 0,
        of_limit=None if limit is None else median(limit.wall) / wall,
    )
