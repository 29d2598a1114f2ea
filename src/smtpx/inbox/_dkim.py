"""What a message's DKIM signatures come to (RFC 6376), by keys that were given.

No key is ever looked up: its name is in the mail, and whoever wrote it would learn of the look-up.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Mapping
from importlib import import_module
from typing import Any, NamedTuple

__all__ = ["Signature", "signatures"]

_MOST_SIGNATURES = 5
_LONGEST_SIGNATURE = 4096
_TAG = re.compile(r"(?:^|;)\s*([ds])\s*=\s*([^;\s]+)")


class Signature(NamedTuple):
    """One of them: whose it is, and whether it holds."""

    domain: str
    selector: str
    verdict: str
    """``valid``, ``invalid``, or ``unknown`` where nobody has given the key."""
    text: str


def signatures(
    content: bytes, fields: tuple[tuple[str, str], ...], keys: Mapping[str, str]
) -> tuple[Signature, ...]:
    """Each of the first few; `keys` are TXT records by their names, in lower case."""
    found = [value for name, value in fields if name.lower() == "dkim-signature"]
    return tuple(
        _signature(content, index, value, keys)
        for index, value in enumerate(found[:_MOST_SIGNATURES])
    )


def _signature(content: bytes, index: int, value: str, keys: Mapping[str, str]) -> Signature:
    tags = dict(_TAG.findall(value[:_LONGEST_SIGNATURE]))
    domain, selector = tags.get("d", ""), tags.get("s", "")
    name = f"{selector}._domainkey.{domain}".lower()
    if len(value) > _LONGEST_SIGNATURE:
        return Signature(domain, selector, "unknown", "the field is longer than any signature's")
    record = keys.get(name)
    if record is None:
        return Signature(domain, selector, "unknown", f"the key {name} was not given")
    try:
        dkimpy: Any = import_module("dkim")
    except ImportError:
        return Signature(domain, selector, "unknown", "dkimpy is not installed: smtpx[dkim]")
    heard = _Heard()
    try:
        signed = dkimpy.DKIM(content, logger=heard.logger)
        holds = bool(signed.verify(index, dnsfunc=_always(record.encode())))
    except Exception as error:  # dkimpy fails in many ways on what is malformed.
        return Signature(domain, selector, "invalid", str(error) or type(error).__name__)
    if holds:
        return Signature(domain, selector, "valid", "the signature is of this message and this key")
    why = heard.reason or "the signature is of another message, or by another key"
    return Signature(domain, selector, "invalid", why)


def _always(record: bytes) -> Callable[..., bytes]:
    def dnsfunc(*_: object, **__: object) -> bytes:
        return record

    return dnsfunc


class _Heard(logging.Handler):
    """What dkimpy says to its log, where it does not raise."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.reason = ""
        self.logger = logging.Logger("smtpx.inbox")
        self.logger.addHandler(self)

    def emit(self, record: logging.LogRecord) -> None:
        self.reason = record.getMessage()[:300]
