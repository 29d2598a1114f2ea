"""How many sessions there may be at an address and for a site, and which are kept open; pure.

A session is kept for a moment after its message. Whoever has mail for the same address next may go
on with it, if what the server has shown meets that mail's own terms.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Generic, TypeAlias, TypeVar

from smtpx import _checks
from smtpx.tls import Protection

from ._terms import Terms

__all__ = ["DeliveryLimits", "Kept", "Lease", "Places", "Site"]

S = TypeVar("S")

# Seconds for which there are no more sessions at an address than it took when it said "too many".
_CROWDED = 60.0
_MOST = 1000

Site: TypeAlias = "frozenset[str]"
"""The mail exchangers of a domain: domains that have the same ones share its limit."""


class DeliveryLimits:
    """How many sessions there may be at once, and how long one is kept."""

    __module__ = "smtpx.delivery"

    def __init__(
        self,
        *,
        address: int = 10,
        site: int = 20,
        messages: int = 100,
        idle: float = 5.0,
        wait: float = 60.0,
    ) -> None:
        """Set the limits.

        At most so many sessions are open at one `address`, and for one `site`: all domains with
        the same mail exchangers. A session carries at most so many `messages`, and is kept for
        `idle` seconds after one. A message waits for up to `wait` seconds for its turn.

        Raises:
            TypeError, ValueError: one of them is wrong.
        """
        _checks.count("address", address, 1)
        _checks.count("site", site, 1)
        _checks.count("messages", messages, 1)
        _checks.amount("idle", idle, "seconds")
        _checks.amount("wait", wait, "seconds")
        self.address = address
        self.site = site
        self.messages = messages
        self.idle = idle
        self.wait = wait

    @_checks.even_half_made
    def __repr__(self) -> str:
        said = ", ".join(f"{name}={value}" for name, value in vars(self).items())
        return f"DeliveryLimits({said})"


class Kept(Generic[S]):
    """A session, and what has to be known of it before another message goes over it."""

    __slots__ = (
        *("address", "domains", "host", "messages", "protection", "session", "source", "terms"),
        "until",
    )

    def __init__(
        self,
        session: S,
        host: str,
        address: str,
        terms: Terms,
        protection: Protection | None,
        source: str = "",
    ) -> None:
        self.session = session
        self.host = host
        """As which it was asked for its certificate."""
        self.address = address
        self.terms = terms
        """Those that it was opened under."""
        self.protection = protection
        self.source = source
        """Our own address."""
        self.messages = 0
        self.domains: set[str] = set()
        """Those that it has carried mail for."""
        self.until = 0.0


class Lease(Generic[S]):
    """A place for one session, at one of several addresses that are about to be dialled.

    Whoever wants one makes it, and gives it back whatever becomes of it.
    """

    __slots__ = ("addresses", "kept", "site")

    def __init__(self, addresses: Sequence[str], site: Site) -> None:
        self.addresses = tuple(addresses)
        self.site = site
        self.kept: Kept[S] | None = None
        """What is open in it."""

    @property
    def is_open(self) -> bool:
        """There is a session in it."""
        return self.kept is not None


class Places(Generic[S]):
    """All sessions of one delivery: those that are in use are counted, the others are held.

    A signal handler may raise at each call. Of what is interrupted nothing is lost: what has a
    place is in one collection, at least, and what is done twice does no more than once.
    """

    def __init__(self, limits: DeliveryLimits) -> None:
        self._limits = limits
        self._leases: dict[Lease[S], None] = {}
        """The places in use."""
        self._crowded: OrderedDict[str, tuple[int, float]] = OrderedDict()
        """How many sessions an address takes, by its own word, and until when that holds."""
        self._idle: list[Kept[S]] = []
        self._parting: list[S] = []

    def take(self, lease: Lease[S], suits: Callable[[Kept[S]], bool], now: float) -> bool:
        """Have it hold a session that is open and suits, or room for a new one; False if none."""
        self._expire(now)
        if sum(one.site == lease.site for one in self._leases) >= self._limits.site:
            return False
        for kept in reversed(self._idle):
            if kept.address in lease.addresses and suits(kept):
                lease.addresses, lease.kept = (kept.address,), kept
                self._leases[lease] = None
                self._idle.remove(kept)
                return True
        free = tuple([each for each in lease.addresses if self._has_room(each, now)])
        if not free:
            return False
        lease.addresses = free
        self._leases[lease] = None
        return True

    def _at(self, address: str) -> int:
        """Sessions at an address, in use or kept."""
        return sum(address in one.addresses for one in self._leases) + sum(
            one.address == address for one in self._idle
        )

    def _has_room(self, address: str, now: float) -> bool:
        most, until = self._crowded.get(address, (0, 0.0))
        limit = self._limits.address
        if self._at(address) < (min(most, limit) if until > now else limit):
            return True
        oldest = next((one for one in self._idle if one.address == address), None)
        if oldest is None:
            return False
        self._part(oldest)
        return True

    def is_crowded(self, address: str, now: float) -> bool:
        """True if an address that has just refused a session takes others of ours.

        For a while there are no more of them then; who was refused waits for one.
        """
        others = self._at(address) - 1
        if others < 1:
            return False
        self._crowded[address] = others, now + _CROWDED
        self._crowded.move_to_end(address)
        while len(self._crowded) > _MOST:
            _ = self._crowded.popitem(last=False)
        return True

    def settle(self, lease: Lease[S], address: str) -> None:
        """Of all addresses it is this one: there is room at the others again."""
        lease.addresses = (address,)

    def give_back(self, lease: Lease[S], now: float) -> None:
        """A message is done with its place; what is open in it may serve another."""
        if lease not in self._leases:
            return
        kept = lease.kept
        if kept is not None:
            kept.until = now + self._limits.idle
            if kept not in self._idle:
                self._idle.append(kept)
        del self._leases[lease]
        if kept is not None and kept.messages >= self._limits.messages:
            self._part(kept)

    def _part(self, kept: Kept[S]) -> None:
        self._parting.append(kept.session)
        self._idle.remove(kept)

    def _expire(self, now: float) -> None:
        for kept in [one for one in self._idle if one.until <= now]:
            self._part(kept)

    @property
    def has_parting(self) -> bool:
        """True if there are sessions that are to be closed now."""
        return bool(self._parting)

    def parting(self, now: float) -> list[S]:
        """Sessions that are to be closed; each is told once."""
        self._expire(now)
        parting, self._parting = self._parting, []
        return parting

    def expires(self) -> float | None:
        """When the next session has been kept for long enough."""
        return min((one.until for one in self._idle), default=None)

    def clear(self) -> list[S]:
        """Keep nothing any more; the value is what was kept."""
        for kept in [*self._idle]:
            self._part(kept)
        parting, self._parting = self._parting, []
        return parting
