"""Through a proxy to the server: SOCKS5, SOCKS4a and HTTP CONNECT, as one procedure.

`python-socks` knows the protocols. It is given a stream whose reads and writes are steps, so that
every driver runs it under its own deadlines; and which takes no octet more than the proxy's answer,
for a mail server speaks first.
"""

from __future__ import annotations

import re
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, cast

from smtpx._core.steps import Receive, Send, Step, Steps
from smtpx._proxies import Proxy, ProxyKind
from smtpx._secrecy import redacted, without_frames
from smtpx.endpoints import Endpoint
from smtpx.errors import ConnectionLost, ExtraMissing, LocalProtocolError, SMTPError, TimedOut

if TYPE_CHECKING:
    from python_socks._abc import AsyncSocketStream
    from python_socks._connectors.abc import AsyncConnector

# RFC 9112 §2.2: a line may end by LF alone.
_LINE_END = re.compile(rb"\r?\n")
_HEAD_END = re.compile(rb"\n\r?\n")
_HTTP = b"HTTP/"
# Of an HTTP proxy's answer, octets that are taken, and characters that are quoted.
_HEAD_LIMIT = 16384
_QUOTED = 200


def check_installed() -> None:
    """Make sure that there is `python-socks`.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        import python_socks as _  # noqa: F401
    except ImportError:
        raise ExtraMissing("proxy", "python-socks", "a proxy") from None


def tunnel(proxy: Proxy, endpoint: Endpoint, timeout: float | None) -> Steps[bytes]:
    """Have the proxy connect to the server; return what the server has said by then.

    Raises:
        ConnectionLost: the proxy refused, or went away.
        TimedOut: all of it took longer than `timeout` seconds.
    """
    from python_socks._protocols.errors import ReplyError

    stream = _Stream(proxy, timeout)
    dialogue: Any = _connector(proxy).connect(
        cast("AsyncSocketStream", stream), _named_to(proxy, endpoint.host), endpoint.port
    )
    # R14: what is raised is cut off from the frames of python-socks, which hold the password.
    problem: SMTPError
    try:
        yield from dialogue.__await__()
        return bytes(stream.arrived)
    except ReplyError as error:
        said = redacted(str(error).encode("utf-8", "replace"), proxy.secrets)
        problem = ConnectionLost(f"the {proxy} said no: {_shown(said)}", phase="connect")
    except UnicodeDecodeError:
        problem = ConnectionLost(f"the {proxy} said what is no text", phase="connect")
    except UnicodeError:
        problem = LocalProtocolError(f"{endpoint.host} cannot be named to a proxy")
    except SMTPError as error:
        problem = without_frames(error)
    raise problem


def _shown(octets: bytes) -> str:
    text = octets.decode("utf-8", "replace").strip()[:_QUOTED]
    return "".join(c if c.isprintable() else "?" for c in text)


def _named_to(proxy: Proxy, host: str) -> str:
    """The server's host, as this kind of proxy is told it; that of IPv6 may have a zone."""
    if ":" not in host:
        return host
    return f"[{host}]" if proxy.kind is ProxyKind.HTTP else host.partition("%")[0]


def _connector(proxy: Proxy) -> AsyncConnector:
    from python_socks import ProxyType
    from python_socks._abc import AsyncResolver
    from python_socks._connectors.factory_async import create_connector

    kinds = {
        ProxyKind.SOCKS5: ProxyType.SOCKS5,
        ProxyKind.SOCKS4A: ProxyType.SOCKS4,
        ProxyKind.HTTP: ProxyType.HTTP,
    }
    # rdns: the proxy looks up the name, so that the resolver is never asked.
    return create_connector(
        kinds[proxy.kind], proxy.user, proxy.password, rdns=True, resolver=AsyncResolver()
    )


class _Stream:
    """A stream as `python-socks` wants it (`AsyncSocketStream`)."""

    def __init__(self, proxy: Proxy, timeout: float | None) -> None:
        self.arrived = bytearray()
        self._proxy = proxy
        self._timeout = timeout
        self._is_first = True

    async def write(self, data: bytes) -> None:
        _ = await self._step(Send(data, self._timeout))

    async def read(self, max_bytes: int = _HEAD_LIMIT) -> bytes:
        """The head of an HTTP answer."""
        while (end := _HEAD_END.search(self.arrived)) is None:
            if len(self.arrived) >= max_bytes:
                raise ConnectionLost(f"the {self._proxy} does not end its answer", phase="connect")
            await self._receive()
            self._see_that_it_is_http()
        return _LINE_END.sub(b"\r\n", self._taken(end.end()))

    def _see_that_it_is_http(self) -> None:
        if bytes(self.arrived[: len(_HTTP)]) != _HTTP[: len(self.arrived)]:
            first = redacted(bytes(self.arrived).partition(b"\n")[0], self._proxy.secrets)
            raise ConnectionLost(
                f"the {self._proxy} speaks no HTTP, and says {_shown(first)}: is it a proxy?",
                phase="connect",
            )

    async def read_exactly(self, n: int) -> bytes:
        while len(self.arrived) < n:
            await self._receive()
        return self._taken(n)

    async def close(self) -> None:
        """It is closed by its driver."""

    def _taken(self, size: int) -> bytes:
        octets = bytes(self.arrived[:size])
        del self.arrived[:size]
        return octets

    async def _receive(self) -> None:
        octets = await self._step(Receive(self._timeout, self._is_first))
        self._is_first = False  # One time for the whole of the dialogue.
        if not octets:
            raise ConnectionLost(f"the {self._proxy} closed the connection", phase="connect")
        self.arrived += octets

    async def _step(self, step: Step) -> bytes | None:
        try:
            return await _Asked(step)
        except OSError as error:
            kind = TimedOut if isinstance(error, TimeoutError) else ConnectionLost
            raise kind(f"no answer from the {self._proxy}: {error}", phase="connect") from error


class _Asked:
    """A step to be awaited: the coroutine that does so is a procedure."""

    def __init__(self, step: Step) -> None:
        self._step = step

    def __await__(self) -> Generator[Step, bytes | None, bytes | None]:
        return (yield self._step)
