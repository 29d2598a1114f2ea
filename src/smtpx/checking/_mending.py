"""Mending what can be mended, on a copy."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from email.policy import EmailPolicy
from typing import Any, NamedTuple, cast

from smtpx._headers import FIELD
from smtpx._message import fields
from smtpx._message.correspondents import header_addresses
from smtpx._message.encodings import encoded_anew, has_signed_header
from smtpx._message.mailboxes import addresses_in, revealed, unfolded
from smtpx._message.messages import AnyMessage, not_too_deep, refuse_too_many
from smtpx._message.names import ADDRESSES, EXACT, PARAMETERS, may_hold_addresses
from smtpx._message.rewriting import addresses_anew, exactly, list_id, parameters_anew, rewritten
from smtpx._message.sections import cut_off, parsed
from smtpx._message.serialising import serialise
from smtpx._message.sources import source_of
from smtpx._wire.content import canonical
from smtpx.addresses import Address
from smtpx.checking._content import LONGEST_LINE, long_line
from smtpx.checking._header import ONCE, hides_addresses
from smtpx.errors import AddressError, LocalProtocolError
from smtpx.findings import Finding, Rule

__all__ = ["mended"]

# Of several of these, what they say together.
_LISTS = {
    **dict.fromkeys(("to", "cc", "bcc", "reply-to"), ", "),
    **dict.fromkeys(("list-help", "list-unsubscribe", "list-subscribe", "list-owner"), ", "),
    "references": " ",
}
_MAY_BE_LEFT_OUT = ADDRESSES - {"from"}
_STAMPS = frozenset({"date", "message-id"})
# Neither for people nor in `EXACT`: nothing may be encoded there (RFC 2047 §5).
_STRUCTURED = frozenset(
    {
        "arc-authentication-results",
        "arc-seal",
        "authentication-results",
        "content-transfer-encoding",
    }
    | {"date", "mime-version", "received", "received-spf", "resent-date"}
)


class Stamps(NamedTuple):
    """Where a new Date comes from, and for a domain a new Message-ID."""

    date: Callable[[], str]
    message_id: Callable[[str], str]


def mended(
    message: AnyMessage | bytes, findings: Iterable[Finding], stamps: Stamps
) -> AnyMessage | bytes:
    """A copy in which is mended what can be, with new `stamps` where there are none.

    A message with a DKIM or ARC signature stays as it is: its fields may be signed, too. So does
    one that cannot be written, or of which a part would have to be changed that is signed. So does
    one that has fields behind a line that is none: nobody knows what of it is text.
    """
    rules = {finding.rule for finding in findings}
    if not isinstance(message, bytes):
        try:
            return _mended(message, rules, stamps)
        except LocalProtocolError:
            return message  # What is wrong with it is found again.
    octets = canonical(message) if Rule.BARE_LINE_END in rules else message
    try:
        with not_too_deep():
            refuse_too_many(octets)
            source = parsed(octets)
            changed = _mended(source, rules, stamps)
        is_sound = changed is source and Rule.HEADER_MALFORMED not in rules
        return octets if is_sound or _is_left_alone(source) else canonical(serialise(changed))
    except LocalProtocolError:
        return octets


def _mended(message: AnyMessage, rules: set[Rule], stamps: Stamps) -> AnyMessage:
    if _is_left_alone(message):
        return message
    whole = message
    if Rule.EIGHT_BIT_UNDECLARED in rules:
        whole = encoded_anew(whole, lambda data, _: not data.isascii())
    if Rule.LINE_TOO_LONG in rules or Rule.NUL in rules:
        whole = encoded_anew(whole, _does_not_fit)
    if Rule.SMTPUTF8_NEEDED in rules:
        whole = _with_ascii_parts(whole)
    before = list(whole.raw_items())
    after = [(name, _rewritten(name, value, rules)) for name, value in before]
    if Rule.FIELD_REPEATED in rules:
        after = _once_each(after)
    if Rule.ADDRESS_MISSING in rules:
        after = [field for field in after if not _is_empty(*field)]
    if Rule.BCC_PRESENT in rules:
        after = [field for field in after if field[0].lower() not in ("bcc", "resent-bcc")]
    if rules & {Rule.DATE_MISSING, Rule.DATE_MALFORMED}:
        after = _with(after, "Date", stamps.date())
    if rules & {Rule.MESSAGE_ID_MISSING, Rule.MESSAGE_ID_MALFORMED}:
        after = _with(after, "Message-ID", stamps.message_id(_domain(_with_header(whole, after))))
    if Rule.SENDER_MISSING in rules and (author := _author(message)):
        after = _with(after, "Sender", author)
    if Rule.MIME_VERSION_MISSING in rules:
        after = _with(after, "MIME-Version", "1.0")
    if after == before:
        return whole
    return _with_header(whole, after)


def _is_left_alone(message: AnyMessage) -> bool:
    return has_signed_header(message) or FIELD.search(cut_off(message)) is not None


def _with_header(message: AnyMessage, after: list[tuple[str, Any]]) -> AnyMessage:
    """A copy with other fields."""
    twin = copy.copy(message)
    # A list of its own: to delete one name after the other takes the square of their number.
    vars(twin)["_headers"] = []
    if isinstance(twin.policy, EmailPolicy):
        # What is folded here is not to be folded anew.
        twin.policy = twin.policy.clone(refold_source="none")
    for name, value in after:
        twin.set_raw(name, rewritten(name, value, message.policy) or value)
    return twin


def _rewritten(name: str, value: Any, rules: set[Rule]) -> Any:
    """The body of a field, folded and encoded as it has to be."""
    kind = name.lower()
    try:
        if kind in EXACT and Rule.IDENTIFIER_ENCODED in rules:
            return exactly(name, source_of(value))
        if kind in ADDRESSES and rules & {Rule.ADDRESS_MALFORMED, Rule.SMTPUTF8_NEEDED}:
            return _addresses(name, value)
        if Rule.ADDRESS_MALFORMED in rules and hides_addresses(name, source_of(value)):
            return _addresses(name, value)
    except ValueError:  # It cannot be read, and is found again.
        return value
    if type(value) is not str:  # It is written by the `email` package.
        return value
    if Rule.SMTPUTF8_NEEDED in rules and not value.isascii():
        return _in_ascii(name, value)
    if Rule.LINE_TOO_LONG in rules and _is_too_long(name, value):
        anew = fields.folded(name, " ".join(value.split()))
        return value if _is_too_long(name, anew) else anew
    return value


def _is_too_long(name: str, value: str) -> bool:
    return any(len(line) > LONGEST_LINE - len(name) - 2 for line in value.splitlines())


def _with_ascii_parts(part: AnyMessage) -> AnyMessage:
    """A copy whose parts have ASCII in their fields, as far as none of them is signed."""
    payload: Any = vars(part)["_payload"]
    if not isinstance(payload, list) or part.get_content_type() == "multipart/signed":
        return part
    before = cast("list[AnyMessage]", payload)
    after = [each if has_signed_header(each) else _with_ascii_header(each) for each in before]
    if all(new is old for new, old in zip(after, before, strict=True)):
        return part
    twin = copy.copy(part)
    vars(twin)["_payload"] = after
    return twin


def _with_ascii_header(part: AnyMessage) -> AnyMessage:
    whole = _with_ascii_parts(part)
    before = list(whole.raw_items())
    after = [(name, _rewritten(name, value, {Rule.SMTPUTF8_NEEDED})) for name, value in before]
    return whole if after == before else _with_header(whole, after)


def _in_ascii(name: str, value: str) -> str:
    """The body of a field that has octets above 127, encoded as its name wants it."""
    kind = name.lower()
    text = value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if kind in PARAMETERS:
        return parameters_anew(name, unfolded(text)) or value
    if kind in EXACT or kind in _STRUCTURED:
        return value
    text = " ".join(text.split())
    try:
        if kind == "list-id":
            return list_id(name, text)
        if may_hold_addresses(name):
            return addresses_anew(name, text)
    except ValueError:  # It cannot be read, and may be a text for people like any other.
        return value if kind == "list-id" else fields.unstructured(name, text)
    return fields.unstructured(name, text)


def _addresses(name: str, value: Any) -> Any:
    """Addresses with their names encoded; one that is encoded as a whole is decoded before."""
    source = source_of(value)
    known = revealed(source)
    is_plain = source.isascii() and not any("=?" in address for address in addresses_in(known))
    if is_plain and known == unfolded(source):
        return value
    anew = addresses_anew(name, known)
    return anew if anew.isascii() else value


def _once_each(fields: list[tuple[str, Any]]) -> list[tuple[str, Any]]:
    """Join the fields that come once at most, where it is clear what they say together."""
    values: dict[str, list[Any]] = {}
    for name, value in fields:
        values.setdefault(name.lower(), []).append(value)
    kept: list[tuple[str, Any]] = []
    seen: set[str] = set()
    for name, value in fields:
        key = name.lower()
        several = values[key]
        if key not in ONCE or len(several) == 1:
            kept.append((name, value))
        elif key in _LISTS and key not in seen:
            kept.append((name, _LISTS[key].join(str(each).strip() for each in several)))
        elif key in _LISTS or (key in seen and (key in _STAMPS or value == several[0])):
            continue
        else:
            kept.append((name, value))
        seen.add(key)
    return kept


def _with(fields: list[tuple[str, Any]], name: str, value: str) -> list[tuple[str, Any]]:
    others = [field for field in fields if field[0].lower() != name.lower()]
    return [*others, (name, value)]


def _author(message: AnyMessage) -> str:
    """The first of From; empty if it cannot be read, or there is none."""
    try:
        return header_addresses(message, "From")[0]
    except (ValueError, IndexError):
        return ""


def _domain(message: AnyMessage) -> str:
    try:
        return Address.parse(_author(message)).domain or "localhost"
    except AddressError:
        return "localhost"  # There is worse to be told of this message.


def _is_empty(name: str, value: Any) -> bool:
    return name.lower() in _MAY_BE_LEFT_OUT and not str(value).strip(" \t\r\n,")


def _does_not_fit(data: bytes, is_binary: bool) -> bool:
    return not is_binary and (b"\0" in data or long_line(data) is not None)
