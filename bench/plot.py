"""Draws messages a second over the round-trip time: `python -m bench.plot JSON SVG`.

Both axes are logarithmic; no round-trip time at all stands to the left of them, behind a gap. The
figure has no background and takes its colours from the reader's scheme, light or dark.
"""

from __future__ import annotations

import json
import math
import sys
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import NamedTuple

WIDTH, HEIGHT = 770, 430
LEFT, RIGHT, TOP, BOTTOM = 74, 530, 56, 366
GAP = 58  # between no round-trip time and the logarithmic axis
LOW, HIGH = 1.0, 100_000.0  # messages a second
FIRST, LAST = 1.0, 100.0  # milliseconds
LABEL_HEIGHT = 17

STYLE = """
  text { font: 13px system-ui, -apple-system, "Segoe UI", sans-serif; fill: #1f2328 }
  .title { font-size: 15px; font-weight: 600 }
  .quiet { fill: #59636e; font-size: 12px }
  .grid { stroke: #d1d9e0; stroke-width: 1 }
  .axis { stroke: #59636e; stroke-width: 1 }
  .series { fill: none; stroke-width: 1.5; stroke-linejoin: round }
  .ours { stroke-width: 2.5 }
  .s0 { stroke: #0550ae } .d0 { fill: #0550ae }
  .s1 { stroke: #1a7f37 } .d1 { fill: #1a7f37 }
  .s2 { stroke: #bc4c00 } .d2 { fill: #bc4c00 }
  .peer { stroke: #6e7781 } .dot { fill: #6e7781 }
  .name { font-weight: 600 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 }
    .quiet { fill: #9198a1 }
    .grid { stroke: #30363d }
    .axis { stroke: #9198a1 }
    .s0 { stroke: #79c0ff } .d0 { fill: #79c0ff }
    .s1 { stroke: #56d364 } .d1 { fill: #56d364 }
    .s2 { stroke: #ffa657 } .d2 { fill: #ffa657 }
    .peer { stroke: #9198a1 } .dot { fill: #9198a1 }
  }
"""
# Peers are told apart by their dashes.
DASHES = ("", "6 3", "2 3", "8 3 2 3")
OURS = ("send_many, window 512", "send_many, window 64", "Session.send")


class Series(NamedTuple):
    """A contender's points: round-trip time in ms, messages a second; and how they look."""

    name: str
    points: Sequence[tuple[float, float]]
    line: str
    dot: str
    dashes: str = ""

    @property
    def end(self) -> float:
        return y_of(self.points[-1][1])

    def drawn(self, path: str) -> str:
        dashed = f' stroke-dasharray="{self.dashes}"' if self.dashes else ""
        return f'<path class="series {self.line}"{dashed} d="{path}"/>'


def all_series(measured: dict[str, list[tuple[float, float]]]) -> list[Series]:
    """Peers first, so that they lie below."""
    peers = [name for name in measured if name not in OURS]
    return [
        *[
            Series(name, measured[name], "peer", "dot", DASHES[i % len(DASHES)])
            for i, name in enumerate(peers)
        ],
        *[
            Series(name, measured[name], f"ours s{i}", f"d{i}")
            for i, name in enumerate(OURS)
            if name in measured
        ],
    ]


def x_of(rtt: float) -> float:
    if not rtt:
        return LEFT
    return LEFT + GAP + (RIGHT - LEFT - GAP) * math.log(rtt / FIRST) / math.log(LAST / FIRST)


def y_of(rate: float) -> float:
    return BOTTOM - (BOTTOM - TOP) * math.log(rate / LOW) / math.log(HIGH / LOW)


def text(x: float, y: float, words: str, *, style: str = "", anchor: str = "start") -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" class="{style}" text-anchor="{anchor}">'
        f"{escape(words)}</text>"
    )


def line(x: float, y: float, x2: float, y2: float, style: str) -> str:
    return f'<path class="{style}" d="M{x:.1f} {y:.1f}L{x2:.1f} {y2:.1f}"/>'


def axes() -> Iterable[str]:
    rate = LOW
    while rate <= HIGH:
        y = y_of(rate)
        yield line(LEFT, y, RIGHT, y, "grid")
        yield text(LEFT - 10, y + 4, f"{rate:,.0f}", style="quiet", anchor="end")
        rate *= 10
    for rtt in (0, 1, 2, 5, 10, 20, 50, 100):
        x = x_of(rtt)
        yield line(x, BOTTOM, x, BOTTOM + 5, "axis")
        yield text(x, BOTTOM + 20, f"{rtt}", style="quiet", anchor="middle")
    yield line(x_of(FIRST), BOTTOM, RIGHT, BOTTOM, "axis")
    middle = LEFT + GAP / 2
    yield line(LEFT, BOTTOM, middle - 4, BOTTOM, "axis")
    yield line(middle + 4, BOTTOM, x_of(FIRST), BOTTOM, "axis")
    for x in (middle - 4, middle + 4):
        yield line(x - 3, BOTTOM + 5, x + 3, BOTTOM - 5, "axis")
    yield text(
        (LEFT + GAP + RIGHT) / 2, BOTTOM + 42, "round-trip time, ms", style="quiet", anchor="middle"
    )


def drawn(series: Series) -> Iterable[str]:
    points = [(x_of(rtt), y_of(rate)) for rtt, rate in series.points]
    yield series.drawn("M" + "L".join(f"{x:.1f} {y:.1f}" for x, y in points))
    for x, y in points:
        yield f'<circle class="{series.dot}" cx="{x:.1f}" cy="{y:.1f}" r="2.5"/>'


def labels(drawn_series: Sequence[Series]) -> Iterable[str]:
    """Names at the lines' ends, moved apart where they would overlap."""
    ordered = sorted(drawn_series, key=lambda series: series.end)
    places = [series.end for series in ordered]
    for _ in range(100):
        for i in range(1, len(places)):
            overlap = LABEL_HEIGHT - (places[i] - places[i - 1])
            if overlap > 0:
                places[i - 1] -= overlap / 2
                places[i] += overlap / 2
    for series, place in zip(ordered, places, strict=True):
        yield series.drawn(f"M{RIGHT + 6} {series.end:.1f}L{RIGHT + 20} {place:.1f}H{RIGHT + 44}")
        style = "name" if series.name in OURS else ""
        yield text(RIGHT + 50, place + 4, series.name, style=style)


def figure(measured: dict[str, list[tuple[float, float]]], caption: str) -> str:
    shown = all_series(measured)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" role="img" '
        f'width="{WIDTH}" height="{HEIGHT}">',
        f"<title>{escape(caption)}</title>",
        f"<style>{STYLE}</style>",
        text(LEFT - 60, 24, "Messages a second: smtpx (in colour) and others", style="title"),
        text(LEFT - 60, 42, caption, style="quiet"),
        *axes(),
    ]
    for series in shown:
        parts += drawn(series)
    parts += labels(shown)
    return "\n".join([*parts, "</svg>"]) + "\n"


def main() -> None:
    source, target = map(Path, sys.argv[1:3])
    measured = json.loads(source.read_text())
    caption = (
        f"{measured['size']}, {measured['recipients']} recipient, one connection, "
        "fastest of some rounds; client, server and wire on one core"
    )
    _ = target.write_text(figure(measured["points"], caption))


if __name__ == "__main__":
    main()
