"""Whether a server's address and the name in its greeting know of each other, by the DNS.

Receivers look for that in whoever sends: the address has a name, which has the address
(RFC 1912 §2.1), and the greeting names the host (RFC 5321 §4.2). Here it is only noted.
"""

from __future__ import annotations

import argparse
import ipaddress
import re
from collections.abc import Sequence
from typing import TYPE_CHECKING

import smtpx
from smtpx.cli._deliveries import name_servers
from smtpx.cli._verdicts import Row, Verdict

if TYPE_CHECKING:
    from dns.resolver import Resolver

__all__ = ["names_rows"]

_PATIENCE = 5.0
_MOST_NAMES = 5
_ROWS = ("names.address", "names.greeting")
_FULL_NAME = re.compile(r"(?=.{1,253}\.?$)([A-Za-z0-9_-]{1,63}\.)+[A-Za-z0-9-]{1,63}\.?")


def names_rows(
    address: tuple[str, int] | None, greeting: smtpx.Reply | None, arguments: argparse.Namespace
) -> list[Row]:
    """What the names of a server that has greeted come to."""
    if address is None or greeting is None:
        return []
    ip = ipaddress.ip_address(address[0].partition("%")[0])
    if ip.is_loopback and arguments.resolver is None:
        return _skipped(f"{ip} is this machine itself")
    try:
        resolver = _resolver(arguments)
        names = _named(resolver, str(ip))
        greeted = greeting.text.partition(" ")[0]
        return [
            _address_row(resolver, str(ip), names),
            _greeting_row(resolver, str(ip), greeted),
        ]
    except (smtpx.ExtraMissing, smtpx.LocalProtocolError, OSError) as error:
        return _skipped(str(error))


def _skipped(why: str) -> list[Row]:
    return [Row(name, Verdict.SKIPPED, why) for name in _ROWS]


def _address_row(resolver: Resolver, ip: str, names: Sequence[str]) -> Row:
    if not names:
        return Row(_ROWS[0], Verdict.NOTE, f"{ip} has no name (PTR)")
    others: list[str] = []
    for name in names:
        addresses = _addresses(resolver, name)
        if ip in addresses:
            return Row(_ROWS[0], Verdict.OK, f"{ip} is {name}, which has this address")
        others.append(f"{name}, which has {_told(addresses)}")
    return Row(_ROWS[0], Verdict.NOTE, f"{ip} is {'; '.join(others)}")


def _greeting_row(resolver: Resolver, ip: str, greeted: str) -> Row:
    if greeted.lower().removeprefix("[").removeprefix("ipv6:").rstrip("]") == ip:
        return Row(_ROWS[1], Verdict.OK, f"{greeted} is this address")
    if not _FULL_NAME.fullmatch(greeted):
        return Row(_ROWS[1], Verdict.NOTE, f"{greeted or 'the greeting'} is no full name")
    addresses = _addresses(resolver, greeted)
    if ip in addresses:
        return Row(_ROWS[1], Verdict.OK, f"{greeted} has this address")
    return Row(_ROWS[1], Verdict.NOTE, f"{greeted} has {_told(addresses)}")


def _told(addresses: Sequence[str]) -> str:
    return f"other addresses: {', '.join(addresses)}" if addresses else "no address"


# The DNS.


def _resolver(arguments: argparse.Namespace) -> Resolver:
    servers = name_servers(arguments)
    try:
        import dns.resolver
    except ImportError:
        raise smtpx.ExtraMissing("delivery", "dnspython", "to look names up") from None
    resolver = dns.resolver.Resolver(configure=False)
    resolver.nameservers = list(servers.servers)
    resolver.port = servers.port
    resolver.lifetime = _PATIENCE
    return resolver


def _named(resolver: Resolver, ip: str) -> list[str]:
    import dns.reversename

    return _found(resolver, dns.reversename.from_address(ip).to_text(), "PTR")


def _addresses(resolver: Resolver, name: str) -> list[str]:
    return _found(resolver, name, "A") + _found(resolver, name, "AAAA")


def _found(resolver: Resolver, name: str, kind: str) -> list[str]:
    """The first few records.

    Raises:
        OSError: nobody knows.
    """
    import dns.exception
    import dns.resolver

    try:
        answer = resolver.resolve(f"{name.rstrip('.')}.", kind, search=False)
    except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
        return []
    except (dns.exception.DNSException, ValueError) as error:
        raise OSError(f"{name} {kind}: {error}") from None
    return [str(record).rstrip(".").lower() for record in answer][:_MOST_NAMES]
