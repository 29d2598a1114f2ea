"""One GET over HTTPS, for the policy of a domain (RFC 8461 §3.3): a procedure, by h11."""

from __future__ import annotations

from importlib import import_module
from typing import Any

from smtpx.errors import ExtraMissing
from smtpx.sansio import Receive, Send, StartTLS, Steps

from .mta_sts import FetchFailed

__all__ = ["PATH", "WITHIN", "fetched"]

PATH = "/.well-known/mta-sts.txt"

WITHIN = 10.0
"""Seconds for all of it: mail waits for it."""
_LARGEST = 65536


def fetched(host: str, path: str) -> Steps[bytes]:
    """What a host has to say at a path.

    ::

        C: GET /.well-known/mta-sts.txt HTTP/1.1
        S: HTTP/1.1 200 OK
        S: Content-Type: text/plain

    Raises:
        FetchFailed: it is no plain text, or another status than 200; a redirection is, too.
        ExtraMissing: h11 is not installed.
    """
    try:
        http: Any = import_module("h11")
    except ImportError as error:
        raise ExtraMissing("delivery", "h11", "MTA-STS") from error
    yield StartTLS(timeout=WITHIN)
    connection: Any = http.Connection(http.CLIENT)
    headers = [("Host", host), ("User-Agent", "smtpx"), ("Connection", "close")]
    request: bytes = connection.send(http.Request(method="GET", target=path, headers=headers))
    yield Send(request + connection.send(http.EndOfMessage()), timeout=WITHIN)
    body = b""
    try:
        while True:
            event: Any = connection.next_event()
            if event is http.NEED_DATA:
                connection.receive_data((yield Receive(timeout=WITHIN, fresh=True)) or b"")
            elif isinstance(event, http.Response):
                _check(event)
            elif isinstance(event, http.Data):
                body += event.data
                if len(body) > _LARGEST:
                    raise FetchFailed(f"{host}: the policy is longer than {_LARGEST} octets")
            elif isinstance(event, http.EndOfMessage):
                return body
            elif not isinstance(event, http.InformationalResponse):
                raise FetchFailed(f"{host} hung up before it had said all")
    except http.RemoteProtocolError as error:
        raise FetchFailed(f"{host} speaks no HTTP: {error}") from error


def _check(response: Any) -> None:
    if response.status_code != 200:
        raise FetchFailed(f"the policy host answers {response.status_code}")
    kinds = [value for name, value in response.headers if name == b"content-type"]
    if [kind.partition(b";")[0].strip().lower() for kind in kinds] != [b"text/plain"]:
        raise FetchFailed("the policy is not text/plain (RFC 8461 §3.2)")
