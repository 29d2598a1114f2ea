"""TLS reports to the domains that mail goes to (RFC 8460): who sends them, and what came of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from os import PathLike

from smtpx import _checks
from smtpx.addresses import Address

__all__ = ["SentReport", "TLSReports"]


class TLSReports:
    """Who reports, and the file in which sessions are counted until they are reported.

    Several processes may share the file. Hosts and addresses of yours become known to whoever
    asks for reports.
    """

    def __init__(self, path: str | PathLike[str], *, organization: str, contact: str) -> None:
        """Name the file, which is made when it is first needed.

        `organization` is who you are. `contact` is the address that reports come from; its domain
        is that of the reports, and should be that of a DKIM key of the delivery's `signer`.

        Raises:
            AddressError: the contact is no address.
            ValueError: the organization has no text, or is longer than 200 characters.
            TypeError: an argument is of another kind.
        """
        if not isinstance(path, (str, PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("path", path, "a str or a path")
        _checks.text("organization", organization)
        if not organization.isprintable() or not 0 < len(organization.strip()) <= 200:
            raise ValueError("organization: give a name of 1 to 200 printable characters")
        _checks.text("contact", contact)
        self.path = path
        self.organization = organization
        self.contact = Address.parse(contact)

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"TLSReports({str(self.path)!r}, contact={str(self.contact)!r})"


TLSReports.__module__ = "smtpx.delivery"


@dataclass(frozen=True, slots=True)
class SentReport:
    """What became of the report to one domain about one day."""

    domain: str
    day: date
    """In UTC."""
    places: Sequence[str] = ()
    """Where it was sent: ``mailto:`` and ``https`` URLs. The domain may want none."""
    error: str | None = None
    """Why it was not sent everywhere; it is tried again for a day."""


SentReport.__module__ = "smtpx.delivery"
