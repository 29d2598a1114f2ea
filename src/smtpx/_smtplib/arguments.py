"""What a caller of `smtpx.smtplib` hands in: addresses and ESMTP options."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from email.utils import getaddresses
from functools import lru_cache
from typing import cast

from smtpx.addresses import Address
from smtpx.errors import AddressError

__all__ = [
    "needs_smtputf8",
    "offered",
    "recipient_path",
    "sender_path",
    "user_or_list",
]

_CONTROL = re.compile(r"[\x00-\x08\x0a-\x1f\x7f]")
_LONGEST = 2000  # an address with its display name; `email.utils` takes its time over more
_BEFORE = re.compile(r".*<|(?:\s|\([^()]*\))*")
_AFTER = re.compile(r"\s*>?(?:\s|\([^()]*\))*")

# The EHLO keyword without which a parameter means nothing to the server.
_NEEDS = {
    "AUTH": "auth",
    "BODY=7BIT": "8bitmime",
    "BODY=8BITMIME": "8bitmime",
    "BODY=BINARYMIME": "binarymime",
    "BY": "deliverby",
    "ENVID": "dsn",
    "HOLDFOR": "futurerelease",
    "HOLDUNTIL": "futurerelease",
    "MT-PRIORITY": "mt-priority",
    "NOTIFY": "dsn",
    "ORCPT": "dsn",
    "REQUIRETLS": "requiretls",
    "RET": "dsn",
    "RRVS": "rrvs",
    "SIZE": "size",
}


def user_or_list(text: str) -> str:
    """What VRFY and EXPN ask about: the address in the text, or all of it."""
    # A control character is for the guard to find; `email.utils` would drop it.
    return text if _CONTROL.search(text) else _addr_spec(text) or text


def sender_path(sender: object) -> str:
    """The reverse-path without brackets; ``""`` and ``"<>"`` are the null one.

    Raises:
        AddressError: it is neither null nor an address.
    """
    return "" if sender in ("", "<>") else _path(sender, "sender")


def recipient_path(recipient: object) -> str:
    """The forward-path without brackets.

    Raises:
        AddressError: it is not an address.
    """
    return _path(recipient, "recipient")


def needs_smtputf8(address: str) -> bool:
    """True if only a server with SMTPUTF8 can take it."""
    if address.isascii():
        return False
    try:
        return not _path(address, "address").isascii()
    except AddressError:
        return True


def offered(options: Iterable[str], has_extn: Callable[[str], object]) -> list[str]:
    """The options whose extension the server offers, and those we know nothing about."""
    return [option for option in options if _is_offered(option, has_extn)]


def _is_offered(option: str, has_extn: Callable[[str], object]) -> bool:
    keyword = option.upper()
    if not keyword.startswith("BODY="):
        keyword = keyword.partition("=")[0]
    needed = _NEEDS.get(keyword)
    return needed is None or bool(has_extn(needed))


def _path(value: object, role: str) -> str:
    """An address, parsed and written anew; a display name and brackets around it are dropped."""
    if isinstance(value, list):  # rcpt(["a@example.org"]) has always been taken
        several = cast("list[object]", value)
        value = several[0] if len(several) == 1 else several
    if not isinstance(value, str) or value == "None":
        raise AddressError(f"the {role} is {value!r}, which is not an address")
    try:
        return _mailbox(value)
    except AddressError as error:
        raise AddressError(f"the {role} is {error}") from error


@lru_cache(maxsize=1024)  # the same sender and recipients come again and again
def _mailbox(text: str) -> str:
    try:
        return str(Address.parse(text, bare_local_part=True))
    except AddressError:
        from smtpx._message.mailboxes import unfolded

        # A display name that was encoded for a header may be folded (RFC 5322 §2.2.3).
        name, bracket, rest = text.rpartition("<")
        text = unfolded(name) + bracket + rest
        address = None if _CONTROL.search(text) else _addr_spec(text)
        if address is None:
            raise
    return str(Address.parse(address, bare_local_part=True))


def _addr_spec(text: str) -> str | None:
    """The one address in a text such as ``Name <a@example.org>``.

    `email.utils` glues together what blanks separate, drops what it does not understand and reads
    on after an error. What does not stand in the text just so is not believed.
    """
    found = getaddresses([text]) if len(text) <= _LONGEST else []
    if len(found) != 1 or not found[0][1]:
        return None
    address = found[0][1]
    before, stands, after = text.rpartition(address)
    believed = stands and _BEFORE.fullmatch(before) and _AFTER.fullmatch(after)
    return address if believed else None
