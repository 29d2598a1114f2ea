"""What ``--header`` says, as arguments of `smtpx.compose`: some fields have one of their own."""

from __future__ import annotations

import re
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import Any

from smtpx.cli._console import printable
from smtpx.cli._exits import Stop

__all__ = ["fields"]


def fields(given: list[str]) -> dict[str, Any]:
    """Arguments for fields, each as ``Name: value``.

    Raises:
        Stop: one is none, or is given twice.
    """
    seen: set[str] = set()
    headers: dict[str, str] = {}
    found: dict[str, Any] = {"headers": headers}
    for field in given:
        name, colon, body = field.partition(":")
        if not colon:
            raise Stop(f"--header {printable(field)!r} has no colon: write 'Name: value'")
        if name.lower() in seen:
            raise Stop(f"--header {printable(name)} is given twice: give it once")
        seen.add(name.lower())
        if name.lower() in _OWN:
            argument, read = _OWN[name.lower()]
            found[argument] = read(body.strip())
        else:
            headers[name] = body.strip()
    return found


def _date(text: str) -> object:
    try:
        return parsedate_to_datetime(text).astimezone()
    except (ValueError, OverflowError):
        raise Stop(
            f"--header Date {printable(text)!r}: write a date such as "
            "'Mon, 30 Nov 2026 21:22:00 +0000'"
        ) from None


def _uris(text: str) -> list[str]:
    return re.findall(r"<\s*([^>]*?)\s*>", text) or [text]


_OWN: dict[str, tuple[str, Callable[[str], object]]] = {
    "date": ("date", _date),
    "message-id": ("message_id", str),
    "in-reply-to": ("in_reply_to", str),
    "references": ("references", str.split),
    "list-unsubscribe": ("list_unsubscribe", _uris),
    "list-unsubscribe-post": ("one_click", bool),
}
