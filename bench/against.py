"""`python -m bench against TREE`: this smtpx beside that of another checkout, by turns.

A figure is the median, over the rounds, of a round's two CPU times: this one's by the other's.
"""

from __future__ import annotations

import dataclasses
import statistics
from collections.abc import Iterator
from pathlib import Path

from bench import merge, processes
from bench.contest import Contender, Contest, Figures, measure
from bench.contests import loopback, many_recipients, tls, without_chunking


def lines(tree: Path, rounds: int) -> Iterator[str]:
    for contest in (loopback(), without_chunking(), many_recipients(), tls()):
        yield f"\n{contest.title}"
        yield f"  {'':34}{'here, µs':>12}{'there, µs':>12}{'CPU':>8}{'wall':>8}"
        ours = [each for each in contest.contenders if not each.command and "std" not in each.mode]
        for contender in ours:
            if contender.mode != "aiosmtplib":
                yield compared(contest, contender, tree, rounds)
    yield from merged(tree, rounds)


def merged(tree: Path, rounds: int, count: int = 10_000) -> Iterator[str]:
    """Personal copies, rendered and sent."""
    figures: dict[Path | None, list[merge.Sent]] = {None: [], tree: []}
    with processes.sink() as server:
        for turn in range(rounds):
            for whose in (None, tree) if turn % 2 else (tree, None):
                figures[whose].append(merge.sent(server, server.port, count, 1, whose))
    yield "\nA personal message"
    yield row("Template.render and send_many", *map(cpu_and_wall, figures.values()))


def cpu_and_wall(runs: list[merge.Sent]) -> tuple[list[float], list[float]]:
    return [run.client / 1e6 for run in runs], [run.wall for run in runs]


def compared(contest: Contest, here: Contender, tree: Path, rounds: int) -> str:
    there = dataclasses.replace(here, tree=tree)
    figures = {here: Figures(), there: Figures()}
    with processes.sink(without=contest.without, tls="implicit" if contest.tls else None) as server:
        for turn in range(rounds):
            for contender in (here, there) if turn % 2 else (there, here):
                measure(contest, contender, server, server.port, figures[contender])
    ours, theirs = figures[here], figures[there]
    return row(here.name, (ours.cpu, ours.wall), (theirs.cpu, theirs.wall))


def row(
    name: str, ours: tuple[list[float], list[float]], theirs: tuple[list[float], list[float]]
) -> str:
    """Of CPU and wall time, each a list of rounds."""
    return (
        f"  {name:34}"
        f"{statistics.median(ours[0]) * 1e6:12.1f}{statistics.median(theirs[0]) * 1e6:12.1f}"
        f"{ratio(ours[0], theirs[0]):8.2f}{ratio(ours[1], theirs[1]):8.2f}"
    )


def ratio(ours: list[float], theirs: list[float]) -> float:
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))
