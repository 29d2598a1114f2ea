"""Which addresses may be dialled: a zone may name any, and not all are to be reached by it."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, TypeAlias, cast

from smtpx import _checks

__all__ = ["AddressPolicy"]

_Network: TypeAlias = ipaddress.IPv4Network | ipaddress.IPv6Network
_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def _networks(*texts: str) -> tuple[_Network, ...]:
    return tuple(map(ipaddress.ip_network, texts))


# The registries of special addresses by IANA, and what else is no host's own address. `is_global`
# says other things of some, by the version of Python. Of IPv6 only 2000::/3 is given out.
_PUBLIC = _networks("0.0.0.0/0", "2000::/3")
_SPECIAL = _networks(
    "0.0.0.0/8",
    "10.0.0.0/8",
    "100.64.0.0/10",
    "127.0.0.0/8",
    "169.254.0.0/16",
    "172.16.0.0/12",
    "192.0.0.0/24",
    "192.0.2.0/24",
    "192.88.99.0/24",  # 6to4 relays (RFC 7526)
    "192.168.0.0/16",
    "198.18.0.0/15",
    "198.51.100.0/24",
    "203.0.113.0/24",
    "224.0.0.0/4",
    "240.0.0.0/4",
    "2001::/23",  # Teredo, too
    "2001:db8::/32",
    "3fff::/20",
)
# Those within them that can be reached.
_REACHABLE = _networks(
    "192.0.0.9/32",
    "192.0.0.10/32",
    "2001:1::1/128",
    "2001:1::2/128",
    "2001:1::3/128",
    "2001:3::/32",
    "2001:4:112::/48",
    "2001:20::/28",
    "2001:30::/28",
)
_TRANSLATED = ipaddress.ip_network("64:ff9b::/96")


class AddressPolicy:
    """Addresses that may be dialled: those of the public Internet, and the networks of `allow`.

    Private and loopback addresses are refused otherwise. A zone could point its mail at what is
    behind your firewall.
    """

    def __init__(self, allow: str | Iterable[str] = ()) -> None:
        """Take networks such as ``10.0.0.0/8``, or single addresses.

        Raises:
            ValueError: one of them is no network.
            TypeError: one of them is no `str`.
        """
        said: Any = allow
        given: Any = (said,) if isinstance(said, str) else said
        if not isinstance(given, Iterable) or (given is said and _checks.is_one(said)):
            raise _checks.complaint("allow", allow, "networks as str")
        self.allow: tuple[str, ...] = tuple(cast("Iterable[str]", given))
        networks: list[_Network] = []
        for each in self.allow:
            if not isinstance(each, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
                raise _checks.complaint("allow", each, "networks as str")
            try:
                networks.append(ipaddress.ip_network(each))
            except ValueError as error:
                raise ValueError(f"allow={each!r}: give a network such as '10.0.0.0/8'") from error
        self._networks = tuple(networks)

    def allows(self, address: str) -> bool:
        """True if an IP address may be dialled; what is no address may not.

        Raises:
            TypeError: it is no `str`.
        """
        _checks.text("address", address)
        return _allowed(address, self._networks)

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"AddressPolicy({list(self.allow)!r})" if self.allow else "AddressPolicy()"


@lru_cache(4096)
def _allowed(text: str, networks: tuple[_Network, ...]) -> bool:
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return False
    return _is_within(address, networks)


def _is_within(address: _Address, networks: tuple[_Network, ...]) -> bool:
    """True for an address of one of the networks, or of the public Internet."""
    if _is_one_of(address, networks):
        return True
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return False
        within = address.ipv4_mapped or address.sixtofour
        if address in _TRANSLATED:
            within = ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
        if within is not None:
            return _is_within(within, networks)
    if not _is_one_of(address, _PUBLIC):
        return False
    return _is_one_of(address, _REACHABLE) or not _is_one_of(address, _SPECIAL)


def _is_one_of(address: _Address, networks: tuple[_Network, ...]) -> bool:
    return any(address in network for network in networks)
