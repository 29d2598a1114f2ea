"""Delivery as the commands do it: by the mail exchangers of a domain, and no server of ours."""

from __future__ import annotations

import argparse
import socket
from typing import TYPE_CHECKING, Any

from smtpx.cli._console import printable
from smtpx.cli._exits import Stop
from smtpx.cli._running import port_of

if TYPE_CHECKING:
    from smtpx.delivery import Delivery, NameServers

__all__ = ["add_deliver", "add_delivery_options", "delivering", "delivery_of", "name_servers"]


def add_deliver(parser: argparse.ArgumentParser) -> None:
    """What has mail go to mail exchangers in place of a server."""
    add_delivery_options(parser)
    group = parser.add_argument_group("in place of a server")
    group.add_argument(
        "--deliver", action="store_true", help="to each recipient's mail exchangers; no URL"
    )
    group.add_argument("--port", type=port_of, default=25, metavar="N", help="of mail exchangers")


def delivering(arguments: argparse.Namespace, target: str | None, **options: Any) -> Delivery:
    """The delivery that ``--deliver`` asks for.

    Raises:
        Stop: a flag is wrong, or there is a server as well.
        smtpx.LocalProtocolError, smtpx.ExtraMissing: nobody can be asked.
    """
    if target is not None:
        raise Stop(
            f"--deliver finds the servers by itself: leave it out, or leave out {printable(target)}"
        )
    servers = name_servers(arguments)
    return delivery_of(arguments, servers, port=arguments.port, **options)


def add_delivery_options(parser: argparse.ArgumentParser) -> None:
    """What says how mail exchangers are found, and which may be dialled."""
    group = parser.add_argument_group("mail exchangers")
    group.add_argument(
        "--resolver", metavar="IP[:PORT]", help="the name server, in place of the system's"
    )
    group.add_argument(
        "--validating", action="store_true", help="it validates DNSSEC: DANE is obeyed"
    )
    group.add_argument(
        "--allow",
        action="append",
        default=[],
        metavar="NETWORK",
        help="dial private addresses such as 10.0.0.0/8, too",
    )
    group.add_argument("--client-name", metavar="NAME", help="the full name of this host, for EHLO")


def name_servers(arguments: argparse.Namespace) -> NameServers:
    """Who answers questions to the DNS.

    Raises:
        Stop: it is no IP address.
        smtpx.LocalProtocolError, smtpx.ExtraMissing: nobody does.
    """
    from smtpx.delivery import NameServers

    said: str | None = arguments.resolver
    if said is None:
        system = NameServers.system()
        return NameServers(system.servers, validating=True) if arguments.validating else system
    address, port = said, 53
    if said.startswith("["):
        address, _, rest = said[1:].partition("]")
        port = _port(rest.removeprefix(":") or "53")
    elif said.count(":") == 1:
        address, _, rest = said.partition(":")
        port = _port(rest)
    try:
        return NameServers(address, port=port, validating=arguments.validating)
    except ValueError as error:
        raise Stop(f"--resolver: {printable(str(error))}") from None


def delivery_of(
    arguments: argparse.Namespace,
    servers: NameServers,
    *,
    port: int,
    name: str | None = None,
    **options: Any,
) -> Delivery:
    """A delivery as the flags say; `name` is this host's where nothing has a full one.

    Raises:
        Stop: a flag is wrong, or this host has no full name.
        smtpx.ExtraMissing: a package is missing.
    """
    from smtpx.delivery import AddressPolicy, Delivery

    try:
        addresses = AddressPolicy(arguments.allow)
    except ValueError as error:
        raise Stop(f"--{printable(str(error))}") from None
    own = _client_name(arguments, name)
    return Delivery(own, resolver=servers, port=port, addresses=addresses, **options)


def _client_name(arguments: argparse.Namespace, name: str | None) -> str:
    own = arguments.client_name or socket.gethostname()
    if arguments.client_name or "." in own:
        return str(own)
    if name is not None:
        return name
    raise Stop(
        f"this host is called {printable(own)}, which is no full name: give "
        "--client-name mail.example.org, as its PTR record has it"
    )


def _port(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 0 < int(text[:6]) < 65536):
        raise Stop(f"--resolver: {printable(text)!r} is no port")
    return int(text)
