"""What the procedures of delivery ask of the outside."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any, NamedTuple, TypeAlias, TypeVar

from smtpx.envelope import Envelope
from smtpx.errors import SMTPError
from smtpx.results import SendResult
from smtpx.tls import Protection

from ._terms import Terms
from .resolver import Question

__all__ = ["Fetch", "LookUps", "Marked", "Said", "Step", "Steps", "Try"]

T = TypeVar("T")


class LookUps(NamedTuple):
    """Answer these questions together; answered with as many of `Answer`."""

    questions: tuple[Question, ...]


class Fetch(NamedTuple):
    """Get a policy over HTTPS from one of these addresses; answered with its text.

    A `FetchFailed` is thrown in where that cannot be had.
    """

    host: str
    addresses: tuple[str, ...]


class Marked(NamedTuple):
    """Ask the caller's mark, before anything of the message may leave.

    What it raises is thrown in; an `SMTPError` where it says no.
    """


class Try(NamedTuple):
    """Send the message in a session at this address; answered with `Said`, and never fails."""

    host: str
    address: str
    terms: Terms
    envelope: Envelope


class Said(NamedTuple):
    """What an attempt has come to."""

    result: SendResult | None = None
    """What became of the message, where a transaction was begun."""
    error: SMTPError | None = None
    """Why none was, or why nobody accepted."""
    protection: Protection | None = None


Step: TypeAlias = LookUps | Fetch | Marked | Try
Steps: TypeAlias = Generator[Step, Any, T]
"""A procedure that returns a `T`."""
