"""What stands in a header field, by its name: addresses, or what programs compare word by word.

RFC 5322 §3.6, RFC 2369, RFC 2919, RFC 3834, RFC 4021, RFC 6758, RFC 7293, RFC 8058, RFC 8098, RFC
9057 and RFC 9477; and names that are in no RFC, but in much mail.
"""

from __future__ import annotations

import re

__all__ = [
    "ADDRESSES",
    "EXACT",
    "IDENTIFIERS",
    "OF_THE_MESSAGE",
    "PARAMETERS",
    "URIS",
    "are_uris",
    "may_hold_addresses",
]

_ONCE = ("from", "sender", "reply-to", "to", "cc", "bcc")
OF_THE_MESSAGE = frozenset({*_ONCE, *(f"resent-{name}" for name in _ONCE)})
"""Whom it is from and for (RFC 5322 §3.6.2, §3.6.3, §3.6.6)."""
ADDRESSES = OF_THE_MESSAGE | {
    *("abuse-reports-to", "apparently-to", "author", "disposition-notification-to", "errors-to"),
    *("mail-copies-to", "mail-followup-to", "mail-reply-to", "original-from", "original-sender"),
    *("read-receipt-to", "return-receipt-to", "x-abuse-reports-to", "x-acknowledge-to"),
    *("x-apparently-to", "x-cc", "x-complaints-to", "x-confirm-reading-to", "x-errors-to"),
    *("x-forwarded-to", "x-from", "x-original-cc", "x-original-from", "x-original-reply-to"),
    *("x-original-sender", "x-original-to", "x-read-receipt-to", "x-receipt-to", "x-reply-to"),
    *("x-report-abuse-to", "x-sender", "x-to"),
}
"""Fields with addresses in them, and their display names (RFC 5322 §3.4)."""
IDENTIFIERS = frozenset(
    {"message-id", "in-reply-to", "references", "resent-message-id", "content-id"}
    | {"original-message-id", "supersedes", "x-forwarded-message-id"}
)
"""Fields of identifiers in angle brackets (RFC 5322 §3.6.4)."""
URIS = frozenset(
    {"list-help", "list-unsubscribe", "list-subscribe", "list-post", "list-owner", "list-archive"}
    | {"archived-at"}
)
"""Fields of URIs in angle brackets (RFC 2369 §2, RFC 5064)."""
# A template's fields stand for a URI too.
_IN_URIS = re.compile(r"<(?:[a-z][a-z0-9+.-]*:|\{\{)[!-;=?-~]*>|\([^()]*\)|[\s,]+", re.IGNORECASE)
EXACT = (
    IDENTIFIERS
    | URIS
    | {"accept-language", "content-language", "delivered-to", "envelope-to", "expires", "reply-by"}
    | {"thread-index", "tls-required", "x-delivered-to", "x-envelope-from", "x-envelope-to"}
    | {"auto-submitted", "autocrypt", "feedback-id", "importance", "list-unsubscribe-post"}
    | {"precedence", "priority", "return-path", "sensitivity", "x-auto-response-suppress"}
    | {"bimi-selector", "disposition-notification-options", "original-recipient", "x-priority"}
    | {"cfbl-address", "cfbl-feedback-id", "mt-priority", "require-recipient-valid-since"}
    | {"tls-report-domain", "tls-report-submitter", "vbr-info"}
)
"""Fields that programs read, and in which nothing may be encoded (RFC 2047 §5)."""
PARAMETERS = frozenset({"content-type", "content-disposition"})
"""Fields of a value with its parameters (RFC 2045 §5.1, RFC 2183 §2)."""
_KNOWN = ADDRESSES | EXACT | PARAMETERS | {"list-id"}
_OF_PEOPLE = re.compile(
    r"(?:^|[-_])(?:to|from|cc|bcc|sender|recipients?|address(?:es)?|author|owner|contact|e-?mail)$",
    re.IGNORECASE,
)


def may_hold_addresses(name: str) -> bool:
    """Whether a field that is in no RFC has addresses in it, by the sound of its name."""
    return _OF_PEOPLE.search(name) is not None and name.lower() not in _KNOWN


def are_uris(body: str) -> bool:
    """Whether programs find their URIs in the body of such a field; ``NO`` is for List-Post."""
    return _IN_URIS.sub("", body) in ("", "NO")
