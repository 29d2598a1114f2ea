"""The keyword arguments of every class that opens sessions."""

# Annotated by types and not by their text, which `typing` would compile when it makes the class.

from collections.abc import Callable, Collection, Sequence
from typing import TypedDict

from smtpx.observing import Observer
from smtpx.options import Check, Limits, Timeouts
from smtpx.proxy_protocol import ProxyHeader
from smtpx.sasl.choice import Mechanisms
from smtpx.sasl.credentials import Credentials
from smtpx.tls import TLSPolicy


class SessionOptions(TypedDict, total=False):
    """The keyword arguments of every class that opens sessions."""

    tls: TLSPolicy | None
    """What protects the connection, where the URL does not say it."""
    credentials: Credentials | None
    """Who we are; goes before the URL's user and password."""
    mechanisms: Mechanisms | None
    """How to log in: names of SASL mechanisms, or classes of your own, in order of preference.

    By default the strongest that the server offers; `smtpx.sasl.HASHED` and `MUTUAL` set a minimum.
    """
    client_name: str | None
    """The EHLO argument; by default the socket's own address literal, which costs no DNS."""
    source_address: tuple[str, int] | Sequence[tuple[str, int]] | None
    """IP address and port (0: any) to connect from; or one of each family."""
    proxy: str | None
    """The URL of a proxy: ``socks5://``, ``socks4a://`` or ``http://[user:password@]host:port``."""
    proxy_header: ProxyHeader | None
    """Said first, where the server takes it: for whose connection we speak."""
    timeout: float | None
    """Seconds for a whole call, whatever its phases still have: in short for `Timeouts.total`."""
    timeouts: Timeouts | None
    limits: Limits | None
    ignore_extensions: Collection[str]
    """EHLO keywords not to be believed, such as ``{"CHUNKING"}``.

    For a server, or a filter before it, that announces what it breaks on. Case does not matter.
    """
    observer: Observer | None
    """Called with every event of the session, the lines of its dialogue among them."""
    signer: Callable[[bytes], bytes] | None
    """Writes each content anew, last of all: a `smtpx.DKIMSigner`, or any function of the kind."""
    check: Check
    """What is done about messages that are not as they should be."""


SessionOptions.__module__ = "smtpx"
