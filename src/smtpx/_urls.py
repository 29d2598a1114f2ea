"""What the URLs of servers and of proxies have in common.

No message quotes the URL: a password that was not encoded may stand anywhere in it.
"""

from __future__ import annotations

import re

from smtpx.errors import EndpointError

# Compiled when they are first used: whoever gives no URL needs none of them.
URL = (
    r"(?P<scheme>[A-Za-z][A-Za-z0-9+.\-]*)://"
    r"(?:(?P<user>[^:/?]*?)(?::(?P<password>[^/?]*))?@)?"
    r"(?P<host>\[[^\]]*\]|[^:/?@\[\]]*)"
    r"(?::(?P<port>[^/?@]*))?"
    r"(?P<path>/[^?]*)?"
    r"(?:\?(?P<query>.*))?"
)
ENCODE = "percent-encode : @ / ? in a password"
_LABEL = r"[A-Za-z0-9_\-]{1,63}"
_NAME = rf"{_LABEL}(?:\.{_LABEL})*\.?"
_LITERAL = r"[0-9A-Fa-f:.]+(?:%[A-Za-z0-9._~\-]+)?"


def plain(part: str | None, what: str = "user or password") -> str | None:
    """A part of a URL without its percent-encoding.

    Raises:
        EndpointError: it is not UTF-8.
    """
    if part is None or "%" not in part:
        return part
    from urllib.parse import unquote

    try:
        return unquote(part, errors="strict")
    except UnicodeDecodeError:
        raise EndpointError(f"its {what} is not percent-encoded UTF-8") from None


def host_of(host: str) -> str:
    """The host of a URL: a name with A-labels, or an IP address without brackets.

    Raises:
        EndpointError: it is neither.
    """
    if not host:
        raise EndpointError("the URL names no host")
    if not host.startswith("["):
        return known_host(host)
    address, percent, zone = host[1:-1].partition("%")
    # RFC 6874 §2: a URL has %25 before the zone. People write % alone, too.
    if zone.startswith("25") and zone != "25":
        zone = plain(zone[2:], "host") or ""
    if ":" not in address:
        raise EndpointError(f"its host is not a name or an IP address ({ENCODE})")
    return known_host(address + percent + zone)


def known_host(host: str) -> str:
    """A host name with A-labels, or an IP address, neither of them in brackets.

    Raises:
        EndpointError: it is neither.
    """
    if not host.isascii():
        import idna

        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except idna.IDNAError:  # Its message would quote what may be a password.
            raise EndpointError("its host is not an internationalized domain name") from None
    if ":" in host and re.fullmatch(_LITERAL, host):
        import ipaddress

        try:
            _ = ipaddress.IPv6Address(host)
        except ValueError:
            raise EndpointError("its host is not an IPv6 address between [ and ]") from None
    elif not re.fullmatch(_NAME, host):
        raise EndpointError(f"its host is not a name or an IP address ({ENCODE})")
    return host


def port_of(text: str) -> int:
    """A port.

    Raises:
        EndpointError: it is none.
    """
    if not (text.isascii() and text.isdigit() and len(text) < 6 and 0 < int(text) < 65536):
        raise EndpointError(f"its port is not a number from 1 to 65535 ({ENCODE})")
    return int(text)
