"""Happy eyeballs (RFC 8305): the addresses of one host, dialled one soon after the other.

What every world does alike: which address comes next, from where, and what is said if none
answers.
"""

from __future__ import annotations

import socket
from collections import deque
from collections.abc import Iterable, Sequence
from itertools import chain, zip_longest
from typing import Any, TypeAlias

from smtpx._core.steps import BrokenOff, is_by_total
from smtpx._loading import NONE_LEFT, can_open
from smtpx.endpoints import Endpoint
from smtpx.errors import ConnectionLost, TimedOut

PHASE = "connect"
ATTEMPT_DELAY = 0.25
"""Seconds after which the next address is tried beside those that have not answered (§5)."""

_ADVICE = (
    "; there is no file descriptor left: close what is not needed, open fewer connections "
    "(PoolLimits.open), or raise the limit (ulimit -n)"
)

_SUBMIT = "try submission:// (port 587), or smtps:// (465)"
# What is said of silence by the port, for firewalls answer so.
_SILENCE = {
    25: f"; many networks let nobody but mail servers out to port 25: {_SUBMIT}",
    465: "; the port is filtered, or nobody listens there: try submission:// (port 587)",
    587: "; the port is filtered, or nobody listens there: try smtps:// (port 465)",
}

Found: TypeAlias = tuple[int, int, int, str, Any]
"""One of the addresses that `socket.getaddrinfo` returns."""
Source: TypeAlias = tuple[str, int]
"""An IP address and a port to connect from."""


def interleaved(found: Iterable[Found]) -> list[Found]:
    """The addresses in the resolver's order, families by turns (§4); each once."""
    families: dict[int, list[Found]] = {}
    for address in dict.fromkeys(found):
        families.setdefault(address[0], []).append(address)
    turns = zip_longest(*families.values())
    return [address for address in chain.from_iterable(turns) if address is not None]


class Race:
    """The addresses of one host that are still to be tried, and what those said that failed."""

    def __init__(
        self, endpoint: Endpoint, found: Sequence[Found], sources: Sequence[Source] = ()
    ) -> None:
        self._endpoint = endpoint
        self._sources = {_family_of(source): source for source in sources}
        reachable = [a for a in found if not sources or a[0] in self._sources]
        self._waiting = deque(interleaved(reachable))
        self._failures: list[tuple[str, OSError]] = []
        self.begun: list[Found] = []
        """Addresses that were dialled, in order."""
        self.failures: list[tuple[Found, OSError]] = []
        """Those that have failed, and why."""
        if not reachable:
            self._failures.append(("no address is of the family of the source_address", OSError()))

    def next(self) -> Found | None:
        """The address to try next."""
        if not self._waiting:
            return None
        self.begun.append(self._waiting.popleft())
        return self.begun[-1]

    @property
    def has_more(self) -> bool:
        """True if there are addresses that were not tried."""
        return bool(self._waiting)

    def prepare(self, address: Found) -> socket.socket:
        """Make a socket for an address, which does not block.

        Raises:
            OSError: this system has no such sockets, or the source is not ours.
        """
        family, kind, protocol, _, _ = address
        connection = socket.socket(family, kind, protocol)
        try:
            connection.setblocking(False)
            # Every write is a whole group already: to wait till it fills a packet costs time only.
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._sources:
                connection.bind(self._sources[family])
        except BaseException:
            connection.close()
            raise
        return connection

    def failed(self, address: Found, error: OSError) -> None:
        """Note what became of an attempt."""
        self.failures.append((address, error))
        host, port = address[4][:2]
        # The error names the server anyway.
        which = "" if host == self._endpoint.host else f"{host} port {port}: "
        self._failures.append((f"{which}{error}", error))

    def lost(self) -> ConnectionLost | TimedOut:
        """The error when no address has answered."""
        return unreachable(self._endpoint, self._failures)


def _family_of(source: Source) -> int:
    import ipaddress

    version = ipaddress.ip_address(source[0]).version
    return socket.AF_INET6 if version == 6 else socket.AF_INET


def called_off(endpoint: Endpoint) -> ConnectionLost:
    """What it is called when what is being dialled is closed from elsewhere."""
    return ConnectionLost(f"no connection with {endpoint}: {BrokenOff()}", phase=PHASE)


def not_found(endpoint: Endpoint, error: Exception) -> ConnectionLost | TimedOut:
    """What it is called when a host has no address, or there is no time to look for one."""
    kind = TimedOut if isinstance(error, TimeoutError) else ConnectionLost
    why = "" if is_by_total(error) else "its host was not found: "
    advice = "" if can_open() else _ADVICE
    return kind(f"no connection with {endpoint}: {why}{error}{advice}", phase=PHASE)


def unreachable(
    endpoint: Endpoint, failures: Sequence[tuple[str, OSError]]
) -> ConnectionLost | TimedOut:
    """What it is called when no address answers."""
    timed_out = any(isinstance(error, TimeoutError) for _, error in failures)
    kind = TimedOut if timed_out else ConnectionLost
    said = "; ".join(reason for reason, _ in failures)
    advice = _SILENCE.get(endpoint.port, "") if timed_out else ""
    if any(error.errno in NONE_LEFT for _, error in failures):
        advice = _ADVICE
    error = kind(f"no connection with {endpoint}: {said}{advice}", phase=PHASE)
    error.__cause__ = failures[-1][1]
    return error
