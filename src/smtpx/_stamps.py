"""What tells one message from all others: its time and its identifier (RFC 5322 §3.6.1, §3.6.4)."""

from __future__ import annotations

import secrets
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

from smtpx.errors import LocalProtocolError


def date_field(moment: datetime | None = None) -> str:
    """A Date: of now, in UTC, if none is given.

    Raises:
        LocalProtocolError: the moment has no time zone, or is before 1900 (RFC 5322 §3.3).
        TypeError: it is no moment.
    """
    if moment is None:
        # The zone of the machine is nobody's business.
        return format_datetime(datetime.now(UTC))
    if not isinstance(moment, datetime):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise TypeError(f"date: give a datetime, not {type(moment).__name__}")
    if moment.tzinfo is None:
        raise LocalProtocolError(
            "date needs a datetime with a time zone, e.g. datetime.now(datetime.UTC)"
        )
    if moment.year < 1900:
        raise LocalProtocolError(f"date={moment.year}-…: give one of 1900 or later")
    # RFC 5322 §3.3: a zone has hours and minutes. Those of long ago had seconds, too.
    offset = moment.utcoffset() or timedelta()
    return format_datetime(moment.astimezone(UTC) if offset % timedelta(minutes=1) else moment)


def new_message_id(domain: str) -> str:
    """An identifier that tells nothing: neither the machine's name, nor its clock, nor a count."""
    return f"<{secrets.token_hex(16)}@{domain}>"
