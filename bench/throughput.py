"""Messages a second over one connection, as the round-trip time grows."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from typing import Any

from bench.contest import Contender, Contest, hold

ROUND_TRIPS = (0, 1, 2, 5, 10, 20, 50, 100)  # milliseconds
# How long a contender's round should take, about, and the most messages it is given.
SECONDS = 1.0
MOST = 20000


def measure(peers: Mapping[str, str]) -> dict[str, Any]:
    """By contender, points of round-trip time (ms) and messages a second in its fastest round.

    `peers` are other programs: name and command, called as bench/client.py is, without MODE.
    """
    points: dict[str, list[tuple[float, float]]] = {}
    for rtt in ROUND_TRIPS:
        for result in hold(contest(rtt, peers)):
            points.setdefault(result.contender.name, []).append((rtt, 1 / result.fastest))
        print(f"{rtt} ms", *[f"{name} {at[-1][1]:.4g}" for name, at in points.items()], flush=True)
    return {"size": "2 KB", "recipients": 1, "connections": 1, "points": points}


def contest(rtt: float, peers: Mapping[str, str]) -> Contest:
    def n(round_trips: float, cost: float) -> int:
        """How many messages fill the time, at so many round trips and seconds of work each."""
        return max(3, min(MOST, round(SECONDS / (round_trips * rtt / 1000 + cost))))

    return Contest(
        f"{rtt} ms",
        [
            Contender("smtplib", "std", n(4, 250e-6)),
            Contender("aiosmtplib", "aiosmtplib", n(4, 800e-6)),
            Contender("Session.send", "call", n(2, 150e-6)),
            Contender("send_many, window 64", "stream", n(1 / 32, 25e-6)),
            Contender("send_many, window 512", "stream", n(1 / 256, 25e-6), window=512),
            *[
                Contender(name, "", n(4, 500e-6), command=tuple(shlex.split(command)))
                for name, command in peers.items()
            ],
        ],
        rtt=rtt,
        rounds=5 if rtt < 5 else 3,  # Work varies from round to round, waiting does not.
    )
