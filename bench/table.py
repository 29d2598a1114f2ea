"""What `make bench` prints: figures, with what is promised of them in brackets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from bench.cold import ColdStart
from bench.contest import Contest, Result
from bench.imports import PROMISED, Cost

WIDTH = 34


class Table:
    """Makes lines of figures, and remembers which promise was not kept."""

    def __init__(self) -> None:
        self.missed: list[str] = []

    def contest(self, contest: Contest, results: Iterable[Result]) -> Iterator[str]:
        yield (
            f"\n{contest.title}\n{'':{WIDTH}}{'messages/s':>11}{'time':>11}{'CPU':>11}"
            f"{'sink CPU':>11}{'speed':>9}{'':8}{'CPU':>9}{'':8}{'peak MB':>8}{'':9}{'grown':>8}"
            f"{'of limit':>18}"
        )
        for result in results:
            contender = result.contender
            what = f"{contest.title}: {contender.name}"
            yield (
                f"  {contender.name:{WIDTH - 2}}{1 / result.wall:11,.1f}"
                f"{span(result.wall):>11}{span(result.cpu):>11}{span(result.sink_cpu):>11}"
                f"{self.at_least(f'{what}: speed', result.faster, contender.faster)}"
                f"{self.at_least(f'{what}: CPU', result.thriftier, contender.thriftier)}"
                f"{self.at_most(f'{what}: peak MB', result.peak / 1024, contender.peak)}"
                f"{self.at_most(f'{what}: grown MB', result.grown / 1024, contender.grown)}"
                f"{self.share(f'{what}: of the limit', result.of_limit, contender.of_limit)}"
            )

    def dearer(self, contest: Contest, results: Iterable[Result]) -> Iterator[str]:
        ours = (result for result in results if not result.contender.is_limit)
        by_mode = {result.contender.mode: result for result in ours}
        for (mode, other), most in contest.dearer.items():
            one, two = by_mode[mode], by_mode[other]
            name = f"CPU of {one.contender.name}, as times that of {two.contender.name}"
            yield f"  {name:{2 * WIDTH}}{self.at_most(name, one.cpu / two.cpu, most)}"

    def round_trips(self, counts: Mapping[ColdStart, Mapping[str, int]]) -> Iterator[str]:
        title = "Round trips until the first is taken"
        yield f"\n{title}\n{'':{WIDTH}}{'smtplib':>11}{'smtpx':>8}"
        for start, by_name in counts.items():
            ours = self.at_most(f"{title}: {start.title}", by_name["smtpx"], start.promised)
            yield f"  {start.title:{WIDTH - 2}}{by_name['smtplib']:11}{ours}"

    def imports(self, costs: Mapping[str, Cost]) -> Iterator[str]:
        base = costs["import smtplib"]
        yield (
            f"\nImporting\n{'':{WIDTH}}{'time':>11}{'MB added':>11}{'time':>9}{'':8}{'memory':>9}"
        )
        for name, cost in costs.items():
            promised = PROMISED.get(name)
            time, memory = base.time / cost.time, base.memory / max(cost.memory, 1)
            yield (
                f"  {name:{WIDTH - 2}}{span(cost.time):>11}{cost.memory / 1024:11.1f}"
                f"{self.at_least(f'{name}: time', time, promised)}"
                f"{self.at_least(f'{name}: memory', memory, promised)}"
            )

    def share(self, what: str, figure: float | None, promised: float | None) -> str:
        return "" if figure is None else self.at_least(what, figure, promised)

    def at_least(self, what: str, figure: float, promised: float | None) -> str:
        return self._figure(what, figure, promised, promised is None or figure >= promised, "x")

    def at_most(self, what: str, figure: float, promised: float | None) -> str:
        return self._figure(what, figure, promised, promised is None or figure <= promised, " ")

    def _figure(
        self, what: str, figure: float, promised: float | None, kept: bool, unit: str
    ) -> str:
        if not kept:
            self.missed.append(f"{what} {figure:.3g}, promised {promised:g}")
        bracket = "" if promised is None else f"({promised:g})"
        decimals = 0 if figure >= 100 or isinstance(figure, int) else 2
        return f"{figure:8,.{decimals}f}{unit} {bracket:7}"


def span(seconds: float) -> str:
    """A time in the unit that suits it."""
    for unit, size in (("s ", 1.0), ("ms", 1e-3)):
        if seconds >= size:
            return f"{seconds / size:,.2f} {unit}"
    return f"{seconds * 1e6:.1f} µs"
