"""The TLS handshakes of one client: its context, made once, and the sessions that it can resume.

A resumed session is believed without another look at a certificate (RFC 8446 §2.2): OpenSSL would
resume it even under another name. So none ever leaves the client that made it.
"""

from __future__ import annotations

from collections import deque
from typing import TYPE_CHECKING

from smtpx._drivers.contexts import context_for
from smtpx._loading import loading
from smtpx.tls import TLSMode, TLSPolicy

if TYPE_CHECKING:
    import ssl

    from smtpx._drivers.handshakes import Handshake, Resumable

# A server gives a ticket or two for each connection, and each is good for one: who uses one again
# can be recognized by it (RFC 8446 §C.4).
_KEPT = 8


class Handshakes:
    """Begins the handshakes of one client, which has one identity and one policy."""

    def __init__(self, policy: TLSPolicy | None, host: str) -> None:
        """Make the context, if there is a policy; else the first connection decides it.

        Raises:
            LocalProtocolError: a file of the policy cannot be read.
        """
        # A unix socket has no name; RFC 6066 §3: no dot ends the one that is sent.
        self._host = host.removesuffix(".") or "localhost"
        self._context: ssl.SSLContext | None = None
        if policy is not None and policy.mode is not TLSMode.NONE:
            with loading("TLS"):
                self._context = context_for(policy)
        self._resumable: deque[Resumable] = deque(maxlen=_KEPT)

    def begin(self, policy: TLSPolicy) -> Handshake | None:
        """The handshake of a new connection; ``None`` where TLS is never wanted."""
        if policy.mode is TLSMode.NONE:
            return None
        with loading("TLS"):
            from smtpx._drivers import protected as _  # noqa: F401 - what the handshake goes over
            from smtpx._drivers.handshakes import Handshake

            self._context = self._context or context_for(policy)
        context = self._context
        name, terms = policy.server_hostname or self._host, _terms_of(context)
        return Handshake(context, name, terms=terms, resumed=self._take(terms))

    def keep(self, handshake: Handshake | None) -> None:
        """Keep what a later handshake can resume, once the server has spoken under TLS.

        With TLS 1.3 there is nothing before: its tickets follow the handshake.
        """
        resumable = None if handshake is None else handshake.resumable
        if resumable is not None:
            self._resumable.append(resumable)

    def _take(self, terms: tuple[object, ...]) -> Resumable | None:
        """Each is taken once; what was agreed on under other terms counts no more."""
        while True:
            try:
                resumable = self._resumable.pop()
            except IndexError:
                return None
            if resumable.terms == terms:
                return resumable


def _terms_of(context: ssl.SSLContext) -> tuple[object, ...]:
    """What the worth of a session depends on: a context of the caller's own may change."""
    return (
        context,
        context.verify_mode,
        context.check_hostname,
        context.verify_flags,
        context.minimum_version,
    )
