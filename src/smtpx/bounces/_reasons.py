"""Why a message was not delivered: by enhanced status code, by reply code, by the words.

RFC 3463 and the IANA registry of enhanced status codes (RFC 5248, 7372, 7505, …). What is not sure
is never taken for a mailbox that does not exist: its owner would not be written to again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from smtpx.bounces._reports import Action, Diagnostic, Reason, said_in
from smtpx.bounces._words import (
    IN_SO_MANY_WORDS,
    OF_CONTENT,
    OF_SENDER,
    TO_CONTENT,
    TWOFOLD,
    by_words,
    surely,
)
from smtpx.replies import EnhancedStatusCode

# subject.detail, where it says enough by itself. Beyond RFC 3463: what large receivers write.
_DEFINITE = {
    Reason.BAD_MAILBOX: "1.1 1.3 1.4 1.6 7.17",
    Reason.BAD_DOMAIN: "1.2 7.18",
    Reason.INACTIVE: "7.13",
    Reason.MAILBOX_FULL: "2.2",
    Reason.TOO_LARGE: "2.3 3.4",
    Reason.CONTENT: "6.0 6.1 6.2 6.3 6.4 6.5 6.6 6.7 6.8 6.9 6.10",
    Reason.AUTHENTICATION: "7.20 7.21 7.22 7.23 7.24 7.26 7.29 7.509 7.515",
    Reason.REPUTATION: "7.25 7.501 7.502 7.503 7.511 7.606 7.705 7.708",
    Reason.RATE: "5.3 7.28 7.650",
    Reason.POLICY: "1.7 1.8 7.2 7.8 7.9 7.27 7.30 7.124 7.133",
    Reason.NETWORK: "4.2 4.3",
    Reason.SYSTEM: "2.4 3.1 3.2 3.5 4.6 4.11 4.14",
}
_BY_DETAIL = {code: reason for reason, codes in _DEFINITE.items() for code in codes.split()}
# Those whose class makes the difference.
_BY_CODE = {
    "5.2.1": Reason.INACTIVE,
    "4.4.1": Reason.NETWORK,
    "4.4.4": Reason.NETWORK,
    "5.4.4": Reason.BAD_DOMAIN,
}
# What is left when neither the detail nor the words say more.
_BY_DETAIL_AT_LAST = {"4.5": Reason.RATE}
_BY_SUBJECT = {
    3: Reason.SYSTEM,
    4: Reason.NETWORK,
    5: Reason.SYSTEM,
    6: Reason.CONTENT,
    7: Reason.POLICY,
}
_BY_REPLY = {521: Reason.BAD_DOMAIN, 556: Reason.BAD_DOMAIN}  # RFC 7504
_BY_REPLY_AT_LAST = {
    421: Reason.SYSTEM,
    450: Reason.SYSTEM,
    451: Reason.SYSTEM,
    452: Reason.SYSTEM,
    551: Reason.BAD_MAILBOX,
    552: Reason.MAILBOX_FULL,
    553: Reason.BAD_MAILBOX,
    500: Reason.SYSTEM,
    502: Reason.SYSTEM,
    503: Reason.SYSTEM,
    504: Reason.SYSTEM,
}
# What sendmail states where the server's reply had no enhanced status code: no more than the reply.
_MADE_UP = {450: "4.2.0", 452: "4.2.2", 550: "5.1.1", 551: "5.1.6", 552: "5.2.2", 553: "5.1.3"}

# What is said of whom a message is from can only have these reasons.
_OF_SENDERS = (
    *(Reason.AUTHENTICATION, Reason.REPUTATION, Reason.RATE, Reason.CONTENT, Reason.TOO_LARGE),
    *(Reason.SYSTEM, Reason.POLICY),
)
_BAD_SENDER = ((1, 7), (1, 8))
# A host, an address, a URL: "relay.example.net" says nothing of relaying.
_NAME = re.compile(r"\w[@.]\w")
# "message expired; last error: 450 4.1.1 user unknown"
_QUOTED = re.compile(
    r"(?<![\w.:-])4[35]\d[ -]#?(?:4\.\d|[a-z<])|(?<![\w.-])4\.[1-7]\.\d{1,3}(?![\w.])",
    re.IGNORECASE,
)
_OF_AUTH = (530, 534, 535, 538)  # RFC 4954 §6


_NO_ADDRESS = (Reason.BAD_MAILBOX, Reason.BAD_DOMAIN)

OF_RECIPIENTS = (Reason.BAD_MAILBOX, Reason.BAD_DOMAIN, Reason.INACTIVE, Reason.MAILBOX_FULL)
"""What is so of a recipient, and of nothing else."""


def reason_of(
    action: Action, status: EnhancedStatusCode | None, diagnostic: Diagnostic | None
) -> Reason | None:
    """Why not; ``None`` for what was delivered."""
    if action not in (Action.FAILED, Action.DELAYED):
        return None
    diagnostic = diagnostic or Diagnostic("", "")
    of_sender = _is_of_sender(diagnostic)
    transient = action is Action.DELAYED or _is_passing(status, diagnostic)
    doubtful = transient or _was_accepted_before(diagnostic) or _is_doubtful(diagnostic)
    for given in _reasons(status, diagnostic):
        # What the DNS does not know for now may be there tomorrow.
        is_for_now = transient and given is Reason.BAD_DOMAIN
        reason = Reason.NETWORK if is_for_now else given
        if of_sender and reason not in _OF_SENDERS:
            continue
        if doubtful and reason in _NO_ADDRESS:
            continue
        return reason
    return Reason.POLICY if of_sender or _was_accepted_before(diagnostic) else Reason.OTHER


def _is_of_sender(diagnostic: Diagnostic) -> bool:
    """Whether the words, or the server's own code, are about the sender or the sending host."""
    if diagnostic.reply_code in _OF_AUTH or OF_SENDER.search(diagnostic.text):
        return True
    own = diagnostic.enhanced
    if own is None:
        return False
    by_code = next(_by_code(own), None)
    is_bad_sender = (own.subject, own.detail) in _BAD_SENDER
    return is_bad_sender or by_code in (Reason.AUTHENTICATION, Reason.REPUTATION)


def _is_doubtful(diagnostic: Diagnostic) -> bool:
    """Whether what reads like an unknown mailbox may be another thing."""
    if OF_CONTENT.search(diagnostic.text) is not None:
        return True
    words = (word for word in said_in(diagnostic.text).split() if not _NAME.search(word))
    return TWOFOLD.search(" ".join(words)) is not None


def _was_accepted_before(diagnostic: Diagnostic) -> bool:
    """Whether the server had taken the recipient, and does not take that back in clear words.

    Some say "user unknown" of what the recipient's own filter does not let through. Others look
    for the mailbox only when they have the content.
    """
    own = diagnostic.enhanced
    takes_it_back = (own is not None and own.subject == 1) or IN_SO_MANY_WORDS.search(
        diagnostic.text
    )
    return not takes_it_back and TO_CONTENT.search(diagnostic.text) is not None


def _is_passing(status: EnhancedStatusCode | None, diagnostic: Diagnostic) -> bool:
    """Whether it was refused for now, be it by a reply that a later one quotes."""
    return _class(status, diagnostic) == 4 or _QUOTED.search(diagnostic.text) is not None


def _class(status: EnhancedStatusCode | None, diagnostic: Diagnostic) -> int:
    """The first digit of what the server said, or else of what the reporter states."""
    reply = diagnostic.reply_code
    code = diagnostic.enhanced or status
    return reply // 100 if reply is not None else 0 if code is None else code.class_


def _reasons(status: EnhancedStatusCode | None, diagnostic: Diagnostic) -> Iterator[Reason]:
    """The reasons that are given, the surest first."""
    reply, own = diagnostic.reply_code, diagnostic.enhanced
    yield from surely(diagnostic.text)
    if reply in _BY_REPLY and (own is None or own.subject in (0, 1, 3)):
        yield _BY_REPLY[reply]
    # The server's own code goes before what the reporter states, or makes up.
    tells = own is not None and own.subject != 0
    if str(status) == _MADE_UP.get(reply or 0) or _is_of_another_class(status, reply):
        status = None
    words = list(by_words(said_in(diagnostic.text)))
    for code in (own, None if tells else status):
        for reason in _by_code(code):
            # Many servers put 5.1.1 before all that they refuse.
            says_more = words and words[0] not in (*_NO_ADDRESS, Reason.POLICY)
            if reason in _NO_ADDRESS and code is not None and code.subject == 1 and says_more:
                yield words[0]
            yield reason
    yield from words
    for code in (own, status):
        yield from _by_code(code)
        yield from _by_subject(code)
    if reply in _BY_REPLY_AT_LAST:
        yield _BY_REPLY_AT_LAST[reply]


def _is_of_another_class(status: EnhancedStatusCode | None, reply: int | None) -> bool:
    """Whether the reporter states another class than the server's reply has."""
    return status is not None and reply is not None and status.class_ != reply // 100


def _by_code(code: EnhancedStatusCode | None) -> Iterator[Reason]:
    if code is not None:
        reason = _BY_CODE.get(str(code)) or _BY_DETAIL.get(f"{code.subject}.{code.detail}")
        if reason is not None:
            yield reason


def _by_subject(code: EnhancedStatusCode | None) -> Iterator[Reason]:
    if code is not None:
        reason = _BY_DETAIL_AT_LAST.get(f"{code.subject}.{code.detail}")
        reason = reason or _BY_SUBJECT.get(code.subject)
        if reason is not None:
            yield reason
