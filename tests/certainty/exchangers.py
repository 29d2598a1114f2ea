"""The mail exchangers of a round: several hosts, and what the DNS says of them, rightly or not."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from typing import Any

from tests.certainty.mails import DOMAINS

NOBODY = "127.0.0.99"
"""An address at which nobody listens."""
MISANSWERS = (
    "SERVFAIL",
    "NXDOMAIN",
    "NODATA",
    "LATE",
    "SILENCE",
    "TRUNCATED",
    "NO_TCP",
    "GARBAGE_FIRST",
    "CUT",
    "WRONG_QUESTION",
    "ALIAS_LOOP",
)
NAMES = (*DOMAINS, "mx1.test", "mx2.test", "*")


@dataclass(frozen=True, slots=True)
class Exchangers:
    """Who has the domains' mail."""

    hosts: list[dict[str, Any]]
    """Of each its address, and wherein it differs from the plan's server."""
    zone: tuple[str, ...]
    name_faults: tuple[tuple[str, str, str, int | None], ...]
    """What the name server does, with which name and type, and how often."""
    limits: dict[str, Any]

    @property
    def is_fair(self) -> bool:
        """True if there is an exchanger for everybody, and it can be found."""
        return not self.name_faults and not any(host.get("limits") for host in self.hosts)


def exchangers(
    seed: int, rate: float, offer: Callable[[Random], tuple[list[str], dict[str, int]]]
) -> Exchangers:
    """Those of a round; each offers what it is said to offer."""
    chance = Random(f"exchangers {seed}")
    hosts = [_host(number, rate, chance, offer) for number in range(1, chance.randint(1, 5) + 1)]
    faults = [_misanswer(chance) for _ in range(chance.choice((0, 0, 0, 1, 2)))]
    limits = {
        "address": chance.choice((1, 2, 10)),
        "site": chance.choice((1, 3, 20)),
        "messages": chance.choice((1, 3, 100)),
        "idle": chance.choice((0.01, 0.3, 5.0)),
        "wait": 5.0,
    }
    return Exchangers(hosts, tuple(_zone(len(hosts), chance)), tuple(faults), limits)


def _host(
    number: int,
    rate: float,
    chance: Random,
    offer: Callable[[Random], tuple[list[str], dict[str, int]]],
) -> dict[str, Any]:
    offered, limits = offer(chance)
    return {
        "address": f"127.0.0.{number}",
        "tls": chance.choice(("none", "starttls")),
        "extensions": offered,
        "limits": limits,
        "rate": rate * chance.choice((0.0, 0.3, 1.0, 1.0, 3.0)),
    }


def _zone(count: int, chance: Random) -> list[str]:
    lines = [f"mx{number}.test A 127.0.0.{number}" for number in range(1, count + 1)]
    lines.append(f"nobody.test A {NOBODY}")
    if chance.random() < 0.3:
        lines.append(f"mx1.test A {chance.choice((NOBODY, f'127.0.0.{count}'))}")
    for domain in DOMAINS:
        if chance.random() < 0.1:
            # RFC 5321 §5.1: its own address, where it names no exchanger.
            lines.append(f"{domain} A 127.0.0.{chance.randint(1, count)}")
            continue
        some = chance.sample(range(1, count + 1), chance.randint(1, min(3, count)))
        lines += [f"{domain} MX {chance.choice((10, 10, 20))} mx{number}.test." for number in some]
        if chance.random() < 0.2:
            lines.append(f"{domain} MX {chance.choice((5, 10))} nobody.test.")
    return lines


def _misanswer(chance: Random) -> tuple[str, str, str, int | None]:
    return (
        chance.choice(MISANSWERS),
        chance.choice(NAMES),
        chance.choice(("MX", "A", "*")),
        chance.choice((None, 1, 3)),
    )
