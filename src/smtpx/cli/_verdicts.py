"""Whom the doctor asks, about what, and what each thing that it looks at comes to."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import Enum

import smtpx

__all__ = ["Case", "Row", "Verdict"]


class Verdict(Enum):
    """What a row comes to."""

    OK = "ok"
    NOTE = "note"
    WARN = "warn"
    FAIL = "fail"
    SKIPPED = "skipped"


@dataclass(frozen=True, slots=True)
class Row:
    """One thing that was looked at."""

    name: str
    """For programs, such as ``tls.expiry``."""
    verdict: Verdict
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """Whom to ask, and about what."""

    endpoint: smtpx.Endpoint
    chosen: str
    """Why this port."""
    credentials: smtpx.Credentials | None = field(default=None, repr=False)
    options: smtpx.SessionOptions = field(default_factory=smtpx.SessionOptions)
    """How the account's client is protected, and what it calls itself."""
    login: bool = False
    sender: str = ""
    recipient: str | None = None
    days: int = 21
    minimum: smtpx.TLSVersion | None = None
    observer: smtpx.Observer | None = None
    is_free: bool = False
    """Mail goes there whoever's certificate it is: what is wrong with it is only noted."""
