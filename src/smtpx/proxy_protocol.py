"""The PROXY protocol: what a proxy says first of the connection it passes on (versions 1 and 2).

HAProxy's ``proxy-protocol.txt`` defines it; Postfix takes it where
``smtpd_upstream_proxy_protocol`` or ``postscreen_upstream_proxy_protocol`` is ``haproxy``.
"""

from __future__ import annotations

from typing import Literal

from smtpx import _checks
from smtpx._values import Value

__all__ = ["ProxyHeader"]

_SIGNATURE = b"\r\n\r\n\x00\r\nQUIT\n"
_PROXY = 0x21  # version 2, command PROXY
_STREAM = {4: 0x11, 6: 0x21}  # address family and transport


class ProxyHeader(Value):
    """The connection for which we speak: from where, to where; IP addresses and ports.

    Raises:
        ValueError: an address is none, has a zone, or is of another family than the other.
        TypeError: a field is of another kind.
    """

    version: Literal[1, 2]
    """1 is a line of text, 2 is binary."""
    source: tuple[str, int]
    destination: tuple[str, int]

    def __post_init__(self) -> None:
        _checks.count("version", self.version, 1, 2)
        versions = {_ip_version_of(name, getattr(self, name)) for name in ("source", "destination")}
        if len(versions) != 1:
            raise ValueError("source and destination must be of one family, IPv4 or IPv6")

    def __bytes__(self) -> bytes:
        from ipaddress import ip_address

        (source, source_port), (destination, destination_port) = self.source, self.destination
        here, there = ip_address(source), ip_address(destination)
        if self.version == 1:
            ports = f"{source_port} {destination_port}"
            return f"PROXY TCP{here.version} {here} {there} {ports}\r\n".encode("ascii")
        ports_of_both = source_port.to_bytes(2, "big") + destination_port.to_bytes(2, "big")
        addresses = here.packed + there.packed + ports_of_both
        head = bytes([_PROXY, _STREAM[here.version]]) + len(addresses).to_bytes(2, "big")
        return _SIGNATURE + head + addresses


def _ip_version_of(name: str, end: object) -> int:
    from ipaddress import ip_address

    host, _ = _checks.address_and_port(name, end)
    if "%" in host:
        raise ValueError(f"{name}={host!r}: the zone of an IPv6 address means nothing elsewhere")
    try:
        return ip_address(host).version
    except ValueError as error:
        raise ValueError(f"{name}: {error}") from None
