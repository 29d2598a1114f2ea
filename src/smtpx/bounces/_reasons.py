"""Why a message was not delivered: by enhanced status code, by reply code, by the words.

RFC 3463 and the IANA registry of enhanced status codes (RFC 5248, 7372, 7505, …).
"""

from __future__ import annotations

import re

from smtpx.bounces._reports import Action, Diagnostic, Reason
from smtpx.replies import EnhancedStatusCode

# subject.detail, where it says enough by itself. Beyond RFC 3463: what large receivers write.
_DEFINITE = {
    Reason.BAD_MAILBOX: "1.1 1.3 1.4 1.6 7.17",
    Reason.BAD_DOMAIN: "1.2 7.18",
    Reason.INACTIVE: "2.1",
    Reason.MAILBOX_FULL: "2.2",
    Reason.TOO_LARGE: "2.3 3.4",
    Reason.CONTENT: "6.0 6.1 6.2 6.3 6.4 6.5 6.6 6.7 6.8 6.9 6.10",
    Reason.AUTHENTICATION: "7.8 7.9 7.20 7.21 7.22 7.23 7.24 7.26 7.29 7.509 7.515",
    Reason.REPUTATION: "7.25 7.501 7.502 7.503 7.511 7.606 7.705 7.708",
    Reason.RATE: "4.5 5.3 7.28 7.650",
    Reason.POLICY: "1.7 1.8 7.2 7.27 7.30 7.124 7.133",
    Reason.NETWORK: "4.2 4.3",
    Reason.SYSTEM: "2.4 3.1 3.2 3.5 4.6",
}
_BY_DETAIL = {code: reason for reason, codes in _DEFINITE.items() for code in codes.split()}
# Those whose class makes the difference. Exchange Online has 5.4.1 for a recipient it has not.
_BY_CODE = {
    "4.4.1": Reason.NETWORK,
    "5.4.1": Reason.BAD_MAILBOX,
    "4.4.4": Reason.NETWORK,
    "5.4.4": Reason.BAD_DOMAIN,
}
# What is left when neither the detail nor the words say more.
_BY_SUBJECT = {
    1: Reason.BAD_MAILBOX,
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
}
# In this order: who writes "blocked by Spamhaus, see our policy" means the first.
_WORDS = [
    (
        Reason.AUTHENTICATION,
        r"\bdmarc\b|\bspf\b|\bdkim\b|unauthenticated|sender policy framework"
        r"|authentication (?:is |was )?(?:required|failed|checks?)|not authenticated",
    ),
    (
        Reason.REPUTATION,
        r"spamhaus|spamcop|barracuda|sorbs|block ?list|black ?list|deny ?list|\bdnsbl\b|\brbl\b"
        r"|reputation|banned|listed (?:at|in|by|on)|reverse dns|\bptr\b|\bsnds\b",
    ),
    (
        Reason.RATE,
        r"too many (?:messages|connections|recipients|emails|mails|requests|errors)|rate.?limit"
        r"|throttl|gr[ea]ylist|receiving mail at a rate|sending rate|unusual rate|deferred due to",
    ),
    (
        Reason.MAILBOX_FULL,
        r"mail ?box (?:is |size |has )?(?:full|exceeded|over)|\bquota\b|over ?quota|inbox is full"
        r"|insufficient (?:system )?storage|storage allocation|out of storage|mailfull",
    ),
    (
        Reason.TOO_LARGE,
        r"too (?:large|big)|(?:message|mail|file) size|size (?:limit|exceed)|maximum size"
        r"|exceeds? (?:the )?(?:\w+ )?(?:size|limit)",
    ),
    (
        Reason.BAD_DOMAIN,
        r"(?:host|domain)(?: name| or domain name)? (?:could not be |couldn't be |was )?not found"
        r"|domain \S+ (?:could not|couldn't) be found|(?:no such|unknown) (?:domain|host)"
        r"|find any host named|unrouteable|unroutable|nxdomain|non-?existent (?:host|domain)"
        r"|no mx|null ?mx|does not accept mail|bad destination (?:host|system)",
    ),
    (
        Reason.INACTIVE,
        r"(?:account|mail ?box|user|recipient|address)\b.{0,40}"
        r"(?:disabled|inactive|suspended|deactivated|not active|expired|locked)",
    ),
    (
        Reason.BAD_MAILBOX,
        r"(?:user|recipient|address|mail ?box|account)\b.{0,60}"
        r"(?:unknown|not found|not exist|n't exist|unavailable|no longer|invalid|not known)"
        r"|(?:unknown|invalid|no such|bad|non-?existent|undeliverable)"
        r" (?:local )?(?:user|recipient|address|mail ?box|account|destination|person)"
        r"|address couldn't be found|have an? (?:\w+ )?account|no mail ?box|does not like recipient"
        r"|recip(?:ient)?notfound|not found by smtp address lookup|not our customer"
        r"|unknown in (?:virtual|local|relay)",
    ),
    (
        Reason.CONTENT,
        r"spam|virus|malware|phish|unsolicited|junk|bulk mail|attachment|infected|content"
        r"|message (?:was )?(?:blocked|rejected)|suspicious|\burls?\b",
    ),
    (
        Reason.NETWORK,
        r"time[d-]? ?out|connection (?:refused|reset|lost|dropped)|lost connection|unreachable"
        r"|no route|(?:could not|couldn't|unable to|failed to|wasn't able to) (?:establish|connect)"
        r"|name ?server|\bdns\b|lookup fail|network|in the queue too long|retry time",
    ),
    (
        Reason.SYSTEM,
        r"too many hops|\bloop|local (?:error|configuration)|internal (?:\w+ )?error|\bdisk\b"
        r"|out of memory|system (?:error|resources)"
        r"|temporar(?:y|ily) (?:error|failure|unavailable|local)",
    ),
    (
        Reason.POLICY,
        r"policy|\brelay|denied|not (?:allowed|permitted|authori[sz]ed|accepted)|prohibited"
        r"|forbidden|refused|rejected|blocked|restricted|administrative",
    ),
]
_PATTERNS = [(reason, re.compile(words, re.IGNORECASE)) for reason, words in _WORDS]


def reason_of(
    action: Action, status: EnhancedStatusCode | None, diagnostic: Diagnostic | None
) -> Reason | None:
    """Why not; ``None`` for what was delivered."""
    if action not in (Action.FAILED, Action.DELAYED):
        return None
    inner = None if diagnostic is None else diagnostic.enhanced
    reply = None if diagnostic is None else diagnostic.reply_code
    # Outer codes are often made up by the reporter (5.0.0); the words may hold the server's own.
    codes = [code for code in (status, inner) if code is not None]
    for code in codes:
        by_code = _BY_CODE.get(str(code)) or _BY_DETAIL.get(f"{code.subject}.{code.detail}")
        if by_code is not None:
            return by_code
    if reply in _BY_REPLY:
        return _BY_REPLY[reply]
    if diagnostic is not None:
        for reason, words in _PATTERNS:
            if words.search(diagnostic.text):
                return reason
    for code in reversed(codes):
        if code.subject in _BY_SUBJECT:
            return _BY_SUBJECT[code.subject]
    return _BY_REPLY_AT_LAST.get(reply or 0, Reason.OTHER)
