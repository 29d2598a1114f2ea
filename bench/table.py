"""The table that `make bench` prints, and what it says beside the figures."""

from __future__ import annotations

from collections.abc import Iterable

from bench.cold import ColdStart
from bench.contest import Contest, Result
from bench.imports import PROMISED, Cost

WIDTH = 34


def promise(figure: float, promised: float | None) -> str:
    if promised is None:
        return f"{figure:8.2f}x{'':8}"
    return f"{figure:8.2f}x{f' ({promised:g})':8}"


def span(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s ", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:,.2f} {unit}"
    return f"{seconds * 1e6:.1f} µs"


def head(title: str) -> str:
    return (
        f"\n{title}\n{'':{WIDTH}}{'messages/s':>11}{'time':>11}{'CPU':>11}{'sink CPU':>11}"
        f"{'speed':>9}{'':8}{'CPU':>9}{'':8}{'peak MB':>8}"
    )


def row(result: Result) -> str:
    contender = result.contender
    return (
        f"  {contender.name:{WIDTH - 2}}{1 / result.wall:11,.1f}"
        f"{span(result.wall):>11}{span(result.cpu):>11}{span(result.sink_cpu):>11}"
        f"{promise(result.faster, contender.faster)}"
        f"{promise(result.thriftier, contender.thriftier)}"
        f"{result.peak / 1024:8.1f}"
    )


def missed(contest: Contest, results: Iterable[Result]) -> list[str]:
    """What is promised and was not measured."""
    lines: list[str] = []
    for result in results:
        for what, figure, promised in (
            ("speed", result.faster, result.contender.faster),
            ("CPU", result.thriftier, result.contender.thriftier),
        ):
            if promised is not None and figure < promised:
                lines.append(
                    f"{contest.title}: {result.contender.name}: {what} {figure:.2f}x, "
                    f"promised {promised:g}x"
                )
    return lines


def imports(costs: dict[str, Cost]) -> list[str]:
    base = costs["import smtplib"]
    lines = [f"\n{'Importing':{WIDTH}}{'ms':>11}{'MB added':>11}{'time':>9}{'':8}{'memory':>9}"]
    for name, cost in costs.items():
        promised = PROMISED.get(name)
        lines.append(
            f"  {name:{WIDTH - 2}}{cost.time * 1e3:11.1f}{cost.memory / 1024:11.1f}"
            f"{promise(base.time / cost.time, promised)}"
            f"{promise(base.memory / max(cost.memory, 1), promised)}"
        )
    return lines


def round_trips(counts: dict[ColdStart, dict[str, int]]) -> list[str]:
    title = "Round trips until the first is taken"
    lines = [f"\n{title:{WIDTH}}{'smtplib':>11}{'smtpx':>11}"]
    for start, by_name in counts.items():
        lines.append(
            f"  {start.title + ', AUTH':{WIDTH - 2}}{by_name['smtplib']:11}{by_name['smtpx']:11} "
            f"({start.promised})"
        )
    return lines
