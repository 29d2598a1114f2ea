"""The rules of the header section (RFC 5322 §3.6)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from smtpx._headers import BCC, with_plain_names
from smtpx._message.correspondents import header_addresses
from smtpx._message.mailboxes import addresses_in, revealed
from smtpx._message.names import (
    ADDRESSES,
    EXACT,
    OF_THE_MESSAGE,
    URIS,
    are_uris,
    may_hold_addresses,
)
from smtpx._message.sections import cut_off
from smtpx.addresses import Address
from smtpx.errors import AddressError
from smtpx.findings import Finding, Rule, Severity

if TYPE_CHECKING:
    from smtpx._message.messages import AnyMessage
    from smtpx.envelope import Envelope

__all__ = [
    "ONCE",
    "SHOWN",
    "check_alignment",
    "check_header",
    "check_names",
    "hides_addresses",
    "is_utf8",
]

ONCE = frozenset(
    {"from", "sender", "reply-to", "to", "cc", "bcc", "message-id", "in-reply-to", "references"}
    | {"subject", "date", "mime-version", "content-type", "content-transfer-encoding"}
    | {"content-disposition", "content-id", "list-id", "list-unsubscribe-post", "return-path"}
    | {"auto-submitted", "disposition-notification-to"}
    | (URIS - {"archived-at"})
)
"""Fields that come once at most (RFC 5322 §3.6, RFC 2045 §3, RFC 2369 §3, 2919 §3, 8098 §2.1)."""
_MESSAGE_ID = re.compile(r"\s*<[^\s<>@]+@[^\s<>@]+>\s*")
_LIST_ID = re.compile(r"<[!-;=?-~]+>\s*$")
_HTTPS = re.compile(r"<\s*https:[^<>]+>", re.IGNORECASE)


SHOWN = "it stands behind a line that is no field, where every reader sees it"


def check_names(octets: bytes) -> Iterator[Finding]:
    """Look for what a message may not have in its header any more (RFC 5322 §4.5)."""
    if with_plain_names(octets) != octets:
        problem = "there is white space before the colon of a field"
        yield _error(Rule.HEADER_MALFORMED, "the header", problem)


def check_header(message: AnyMessage) -> Iterator[Finding]:
    """Look at the fields of a message that was parsed by the older policy."""
    names = [name.lower() for name in message.keys()]  # noqa: SIM118 - it is no dict
    for name, count in Counter(names).items():
        if count > 1 and name in ONCE:
            yield _error(Rule.FIELD_REPEATED, name.title(), f"it comes {count} times")
    malformed = [type(defect).__name__ for defect in message.defects]
    if message.get_unixfrom() is not None:
        malformed.append("the first line is that of a mailbox file, 'From …'")
    elif "MissingHeaderBodySeparatorDefect" in malformed or not names:
        malformed = ["a line before the empty one is no field"]
    else:
        malformed = [each for each in malformed if "Header" in each]
    for problem in malformed:
        yield _error(Rule.HEADER_MALFORMED, "the header", problem)
    for name, value in message.raw_items():
        if not str(value).isascii() and not is_utf8(str(value)):
            yield _error(Rule.NOT_UTF8, name, "it has octets above 127 that are no UTF-8")
        if "=?" in _exact_part(name, str(value)):
            yield _error(Rule.IDENTIFIER_ENCODED, name, "there are encoded words in it")
        elif name.lower() in URIS and not are_uris(str(value)):
            yield _warning(Rule.URI_MALFORMED, name, "programs find no URI in all of it")
        elif name.lower() == "list-id" and not _LIST_ID.search(str(value)):
            yield _warning(Rule.LIST_ID_MALFORMED, name, "there is no identifier in it")
        elif hides_addresses(name, str(value)):
            problem = "the address in it is encoded, so that no program finds it (RFC 2047 §5)"
            yield _warning(Rule.ADDRESS_MALFORMED, name, problem)
    yield from _check_addresses(message)
    yield from _check_stamps(message)
    if any(name.startswith("resent-") for name in names):
        for name in ("Resent-From", "Resent-Date"):
            if name not in message:
                yield _error(Rule.RESENT_INCOMPLETE, name, "there is none")
    if BCC.search(cut_off(message)):
        yield _error(Rule.BCC_PRESENT, "Bcc", SHOWN)
    if "bcc" in names or "resent-bcc" in names:
        yield _error(Rule.BCC_PRESENT, "Bcc", "it is in the content")
    if "List-Unsubscribe-Post" in message:
        targets = str(message.get("List-Unsubscribe", ""))
        if len(_HTTPS.findall(targets)) != 1:
            yield _error(
                Rule.ONE_CLICK_INCOMPLETE, "List-Unsubscribe", "there is no https URI to post to"
            )
    is_mime = any(name.startswith("content-t") for name in names)
    if is_mime and "mime-version" not in names:
        yield _warning(Rule.MIME_VERSION_MISSING, "the header", "it has MIME fields alone")


def check_alignment(message: AnyMessage, envelope: Envelope) -> Iterator[Finding]:
    """Compare the author's domain with the envelope's, as DMARC will."""
    try:
        authors = [Address.parse(text) for text in header_addresses(message, "From")]
    except (ValueError, AddressError):
        return  # Told already.
    if envelope.sender is None:
        return
    sender = _organisation(envelope.sender.domain)
    for author in authors:
        if _organisation(author.domain) != sender:
            yield _warning(
                Rule.NOT_ALIGNED,
                "From",
                f"it is from {author.domain}, and its envelope from {envelope.sender.domain}",
            )


def _organisation(domain: str) -> list[str]:
    # Without the list of public suffixes, two labels: what they tell apart is not the same.
    return domain.lower().split(".")[-2:]


def is_utf8(value: str) -> bool:
    """True if the octets of a field, as the `email` package has them, are UTF-8."""
    try:
        return bool(value.encode("ascii", "surrogateescape").decode())
    except UnicodeError:
        return False


def _exact_part(name: str, value: str) -> str:
    """What of a field programs compare word by word."""
    if name.lower() == "list-id":  # RFC 2919 §3: a phrase may stand before it.
        return value.rpartition("<")[2]
    return value if name.lower() in EXACT else ""


def hides_addresses(name: str, value: str) -> bool:
    """Whether a field that is in no RFC has addresses in it that are encoded as a whole."""
    if "=?" not in value or "@" in value or not may_hold_addresses(name):
        return False
    try:
        found = [Address.parse(text) for text in addresses_in(revealed(value))]
    except (ValueError, AddressError):
        return False
    return bool(found)


def _check_addresses(message: AnyMessage) -> Iterator[Finding]:
    for name, field in message.raw_items():
        kind = name.lower()
        if kind not in ADDRESSES:
            continue
        try:
            found = [
                _address(kind, text)
                for text in header_addresses(_alone(message, name, field), name)
            ]
        except (ValueError, AddressError) as error:
            problem = str(error).removeprefix(f"the message's {name} ")
            yield _error(Rule.ADDRESS_MALFORMED, name, problem)
            continue
        if kind == "from" and len(found) > 1 and "Sender" not in message:
            yield _error(Rule.SENDER_MISSING, name, f"it has {len(found)} authors")
        if found:
            continue
        if re.search(r":\s*;", str(field)):
            yield _warning(Rule.GROUP_EMPTY, name, "there is nobody in it but an empty group")
        elif kind not in ("from", "bcc", "resent-bcc"):
            yield _error(Rule.ADDRESS_MISSING, name, "there is no address in it")
        elif kind == "from":
            yield _error(Rule.FROM_MISSING, name, "there is no address in it")


def _address(kind: str, text: str) -> Address:
    if "=?" in text:
        raise AddressError(f"{text!r:.60} is encoded, and so no address (RFC 2047 §5)")
    # Other fields may say "nobody", or name a user of the machine that writes them.
    return Address.parse(text, bare_local_part=kind not in OF_THE_MESSAGE)


def _alone(message: AnyMessage, name: str, field: Any) -> AnyMessage:
    """A message with this field alone."""
    alone = type(message)(message.policy)
    alone.set_raw(name, field)
    return alone


def _check_stamps(message: AnyMessage) -> Iterator[Finding]:
    from email.utils import parsedate_to_datetime

    if "From" not in message:
        yield _error(Rule.FROM_MISSING, "From", "there is none")
    if "Date" not in message:
        yield _error(Rule.DATE_MISSING, "Date", "there is none")
    else:
        try:
            _ = parsedate_to_datetime(str(message["Date"]))
        except (ValueError, TypeError, IndexError):
            yield _error(Rule.DATE_MALFORMED, "Date", f"{str(message['Date'])[:60]!r} is no date")
    if "Message-ID" not in message:
        yield _warning(Rule.MESSAGE_ID_MISSING, "Message-ID", "there is none")
    elif not _MESSAGE_ID.fullmatch(str(message["Message-ID"])):
        problem = f"{str(message['Message-ID'])[:60]!r} is none"
        yield _warning(Rule.MESSAGE_ID_MALFORMED, "Message-ID", problem)


def _error(rule: Rule, where: str, problem: str) -> Finding:
    return Finding(rule, Severity.ERROR, where, problem)


def _warning(rule: Rule, where: str, problem: str) -> Finding:
    return Finding(rule, Severity.WARNING, where, problem)
