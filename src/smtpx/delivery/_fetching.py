"""HTTPS, as far as delivery needs it: a policy is fetched, a report is posted; by h11."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib import import_module
from typing import Any

from smtpx.errors import ExtraMissing
from smtpx.sansio import Dialled, Receive, Send, StartTLS
from smtpx.sansio import Steps as Dialogue

from ._resolving import Rules, in_turn
from ._steps import LookUps, Steps
from .mta_sts import FetchFailed
from .resolver import Question

__all__ = ["PATH", "WITHIN", "addresses_of", "fetched", "left_of", "posted", "unreachable"]

PATH = "/.well-known/mta-sts.txt"

WITHIN = 10.0
"""Seconds for all of it: mail waits for it."""
_LARGEST = 65536
# Octets in all: of what frames a body there may be more than of the body.
_MOST = 8 * _LARGEST
# Addresses of a host that are dialled.
_ADDRESSES = 4


def addresses_of(host: str, rules: Rules) -> Steps[tuple[str, ...]]:
    """Where a host may be dialled, families in turn.

    Raises:
        FetchFailed: nowhere.
    """
    answers = yield LookUps((Question(host, "A"), Question(host, "AAAA")))
    found = in_turn(answers, rules)
    allowed = tuple([each for each in found if rules.addresses.allows(each)])
    if not allowed:
        raise FetchFailed(f"{host} has no address that may be dialled")
    return allowed[:_ADDRESSES]


def fetched(host: str, path: str) -> Dialogue[bytes]:
    """What a host has to say at a path, for the policy of a domain (RFC 8461 §3.3).

    ::

        C: GET /.well-known/mta-sts.txt HTTP/1.1
        S: HTTP/1.1 200 OK
        S: Content-Type: text/plain

    Raises:
        FetchFailed: it is no plain text, or another status than 200; a redirection is, too. Or
            neither its form nor TLS says where it ends.
        ExtraMissing: h11 is not installed.
    """
    return (yield from _exchanged(host, "GET", path, [], b"", _check_policy))


def posted(host: str, target: str, report: bytes) -> Dialogue[bytes]:
    """Give a host a compressed report (RFC 8460 §5.4).

    ::

        C: POST /v1/tlsrpt HTTP/1.1
        C: Content-Type: application/tlsrpt+gzip
        S: HTTP/1.1 201 Created

    Raises:
        FetchFailed: it does not take it; a redirection is not followed.
        ExtraMissing: h11 is not installed.
    """
    headers = [
        ("Content-Type", "application/tlsrpt+gzip"),
        ("Content-Length", str(len(report))),
    ]
    return (yield from _exchanged(host, "POST", target, headers, report, _check_taken))


def _check_policy(response: Any) -> bool:
    if response.status_code != 200:
        raise FetchFailed(f"the policy host answers {response.status_code}")
    kinds = [value for name, value in response.headers if name == b"content-type"]
    if [kind.partition(b";")[0].strip().lower() for kind in kinds] != [b"text/plain"]:
        raise FetchFailed("the policy is not text/plain (RFC 8461 §3.2)")
    return True


def _check_taken(response: Any) -> bool:
    if not 200 <= response.status_code < 300:
        raise FetchFailed(f"it answers {response.status_code}")
    return False


def _exchanged(
    host: str,
    method: str,
    target: str,
    fields: Sequence[tuple[str, str]],
    content: bytes,
    check: Callable[[Any], bool],
) -> Dialogue[bytes]:
    """One request; the body of the response, if it is worth reading."""
    try:
        http: Any = import_module("h11")
    except ImportError as error:
        raise ExtraMissing("delivery", "h11", "HTTPS") from error
    tls = StartTLS(timeout=WITHIN)
    yield tls
    connection: Any = http.Connection(http.CLIENT)
    headers = [("Host", host), ("User-Agent", "smtpx"), ("Connection", "close"), *fields]
    request: bytes = connection.send(http.Request(method=method, target=target, headers=headers))
    if content:
        request += connection.send(http.Data(data=content))
    yield Send(request + connection.send(http.EndOfMessage()), timeout=WITHIN)
    body, read = b"", 0
    try:
        while True:
            event: Any = connection.next_event()
            if event is http.NEED_DATA:
                octets = (yield Receive(timeout=WITHIN, fresh=True)) or b""
                read += len(octets)
                if read > _MOST:
                    raise FetchFailed(f"{host} says far more than it has to")
                if not (octets or tls.is_closed):
                    # RFC 9112 §9.8: where nothing else says where it ends, it is not whole.
                    raise FetchFailed(f"{host} hung up before it had said all, as far as TLS shows")
                connection.receive_data(octets)
            elif isinstance(event, http.Response):
                if not check(event):
                    return b""
            elif isinstance(event, http.Data):
                body += event.data
                if len(body) > _LARGEST:
                    raise FetchFailed(f"{host} says more than {_LARGEST} octets")
            elif isinstance(event, http.EndOfMessage):
                return body
            elif not isinstance(event, http.InformationalResponse):
                raise FetchFailed(f"{host} hung up before it had said all")
    except http.RemoteProtocolError as error:
        raise FetchFailed(f"{host} speaks no HTTP: {error}") from error


def unreachable(host: str, dialled: Dialled) -> FetchFailed:
    """None of its addresses answers."""
    said = [f"[{address}]: {error}" for address, error in dialled.failures]
    return FetchFailed(f"{host} cannot be reached: {'; '.join(said) or 'it took too long'}")


def left_of(addresses: Sequence[str], dialled: Dialled) -> tuple[str, ...]:
    """Those that have neither answered nor failed."""
    done = {dialled.address, *(address for address, _ in dialled.failures)}
    return tuple([each for each in addresses if each not in done])
