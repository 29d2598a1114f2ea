"""Why a message was not delivered: by enhanced status code, by reply code, by the words.

RFC 3463 and the IANA registry of enhanced status codes (RFC 5248, 7372, 7505, …). What is not sure
is never taken for a mailbox that does not exist: its owner would not be written to again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import TypeAlias

from smtpx.bounces._reports import Action, Diagnostic, Reason, said_in
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
    Reason.SYSTEM: "2.4 3.1 3.2 3.5 4.6",
}
_BY_DETAIL = {code: reason for reason, codes in _DEFINITE.items() for code in codes.split()}
# Those whose class makes the difference. Exchange Online has 5.4.1 for a recipient it has not.
_BY_CODE = {
    "5.2.1": Reason.INACTIVE,
    "4.4.1": Reason.NETWORK,
    "5.4.1": Reason.BAD_MAILBOX,
    "4.4.4": Reason.NETWORK,
    "5.4.4": Reason.BAD_DOMAIN,
}
# What is left when neither the detail nor the words say more.
_BY_DETAIL_AT_LAST = {"4.5": Reason.RATE}
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
# What sendmail states where the server's reply had no enhanced status code: no more than the reply.
_MADE_UP = {450: "4.2.0", 452: "4.2.2", 550: "5.1.1", 551: "5.1.6", 552: "5.2.2", 553: "5.1.3"}

# What is said of whom a message is from can only have these reasons.
_OF_SENDERS = (
    *(Reason.AUTHENTICATION, Reason.REPUTATION, Reason.RATE, Reason.CONTENT, Reason.TOO_LARGE),
    *(Reason.SYSTEM, Reason.POLICY),
)
_OF_SENDER = re.compile(
    r"(?:\b(?:after|for|in reply to|did not like our)(?: pipelined)?|>>>) (?:MAIL|HELO|EHLO)\b"
    r"|\[(?:MAIL_FROM|HELO|EHLO)\]|my name was rejected|(?<!\bto )(?<!\bto the )\bsenders?"
    r"\b[^.]{0,40}?\b(?:verif\w+|callout|reject\w*|denied|refused|invalid|unknown|domains?|not"
    r"|does(?:n't)?|isn't|must|blocked|listed|unauthori[sz]ed|bad|spammer)\b"
    r"|\b(?:verif\w+|unknown|invalid|bad|reject\w*|unrout\w+|non-?existent|forged|spoofed"
    r"|unauthenticated|unresolvable|blocked|resolve|domain of) (?:the |your )?(?:envelope )?senders?"
    r"\b|\b(?:helo|ehlo)\b.{0,40}?\b(?:reject\w*|invalid|denied|bad|not|must|mismatch|fail\w*"
    r"|unknown)|\bbogus mail from\b"
    r"|\b(?:mail ?from|envelope[- ]from|return[- ]path|reverse[- ]path)\b.{0,40}?\b(?:domain"
    r"|reject\w*|invalid|not|does|denied|unknown|listed|fail\w*|mismatch)"
    r"|\bfrom:? (?:domain|address|header)\b|address is not verified|purported responsible|\bbatv\b"
    r"|backscatter|\b[eé]metteur\b"
    r"|\byour (?:domain|host|hostname|ip|server|mail server|(?:e-?mail )?address) (?:is|isn't|was"
    r"|has|does|doesn't|must|cannot|could|appears|may)\b",
    re.IGNORECASE,
)

# Said of nothing else, whatever code comes with it.
_SURE = [
    (
        Reason.CONTENT,
        r"black ?listed (?:url|link)|\b(?:uribl|surbl)\b|(?:due to|as) spam|spam (?:content|score)"
        r"|anti-?spam check|duplicate header",
    ),
    (
        Reason.MAILBOX_FULL,
        r"over ?quota|quota (?:is |has been )?exceeded \(?mail|mail ?box (?:is )?full"
        r"|too many messages (?:on|in) the",
    ),
    (
        Reason.RATE,
        r"receiving mail at a rate|rate.?limit|frequency.{0,9}limit|sending rate|unusual rate"
        r"|connection limit|too many (?:smtp |simultaneous )?(?:messages|connections|recipients|e?mails"
        r"|requests|errors|concurrent|sessions)|trop de connexions|try again slower"
        r"|\b(?:daily|hourly|sending|outgoing|submission)\b.{0,20}\b(?:quota|limit)\b"
        r"|\bquota\b.{0,20}\b(?:per|messages|recipients)\b|\w+s? per (?:second|minute|hour|day)"
        r"|too (?:quickly|fast|often)|throttl|gr[ea]y-?list|deferred due to"
        r"|verification in progress|being verified",
    ),
    (
        Reason.REPUTATION,
        r"\b(?:client|host|ip)\b[^.@]{0,40}?\bblocked\b|spamhaus|spamcop|barracuda|sorbs|uceprotect|abuseat|abusix|(?:block|black|deny|bad) ?list"
        r"|\bdnsbl\b|\brbl\b|blocked using|\bbanned\b|(?<!not )\blisted (?:at|in|by|on|as)\b",
    ),
    (
        Reason.BAD_MAILBOX,
        r"not listed in .{0,60}(?:director|address book)|n[o']t have an? (?:\S{1,80} )?account"
        r"|\b(?:user (?:is )?unknown|unknown user|no such (?:user|recipient))\b(?! or\b)"
        r"|550[ -]#?5\.1\.0 address rejected",
    ),
    (Reason.BAD_DOMAIN, r"\bnull mx\b"),
    (Reason.NETWORK, r"not found, try again|unexpected name ?server reply"),
    (Reason.POLICY, r"address is not verified"),
]
# In this order: who writes "blocked for its reputation, see our policy" means the first.
_WORDS = [
    (
        Reason.POLICY,  # It asks for AUTH (RFC 4954), not for SPF.
        r"\bsmtp auth|authentication (?:is )?(?:required|turned on|failure|credentials)|\blog ?in\b"
        r"|requires authentication|\bauthenticate\b|authentification (?:requise|invalide)",
    ),
    (
        Reason.AUTHENTICATION,
        r"\bdmarc\b|\bspf\b|\bdkim\b|unauthenticated|sender policy framework"
        r"|authentication (?:information|was failed|failed|checks?)"
        r"|(?:mail|message|domain)\b.{0,20} not authenticated",
    ),
    (
        Reason.REPUTATION,
        r"reputation|reverse (?:dns|lookup)|\br?dns record|\bptr\b|\brdns\b|\bsnds\b|\babusive\b"
        r"|mismatch\w* client ip|(?:bad|invalid|dynamic) ips?\b|sending ips?\b|\bip=\d"
        r"|your (?:reverse )?hostname|open (?:proxy|relay)|unresolvable relay|ip name lookup"
        r"|from (?:your|the following) ip\b|\bblocked for abuse|remotehost",
    ),
    (
        Reason.MAILBOX_FULL,
        r"mail ?(?:box|folder|dir)\b.{0,40}\b(?:full|exceed\w*|over|limit)\b|\bquota\b"
        r"|in ?box is full|(?:insufficient|(?:not|n't have) enough|out of)(?: \w+)? (?:storage|space)"
        r"|storage allocation|mailfull|box full|full mail ?box|space has been used|receiving limits"
        r"|bo[iî]te .{0,40}pleine|too much mail data|casilla .{0,20}llena|buz[oó]n .{0,20}lleno"
        r"|postfach .{0,20}voll",
    ),
    (
        Reason.TOO_LARGE,
        r"too (?:large|big)|(?:message|mail|file) size|size (?:limit|exceed)|maximum size"
        r"|exceeds? (?:the )?(?:\w+ )?(?:size|limit)|line limit exceeded|length exceeds"
        r"|taille limite",
    ),
    (
        Reason.BAD_DOMAIN,
        r"(?:host|domain)(?: name| or domain name)? (?:could not be |couldn't be |was )?not found"
        r"|domain \S{1,99} (?:(?:could not|couldn't) be found|does not exist)"
        r"|(?:no such|unknown) (?:domain|host)|recipient domain must exist"
        r"|(?:host|domain)(?: name)? (?:unknown|does not exist|doesn't exist|not exist)"
        r"|find any host named|unrouteable|unroutable|nxdomain|non-?existent (?:host|domain)"
        r"|\bno mx\b|null ?mx|does not accept (?:any )?e?-?mail\b(?! from)|no smtp service"
        r"|bad destination (?:host|system)|domain is not reachable|name or service not known"
        r"|domain mentioned in .{0,30} unknown",
    ),
    (
        Reason.INACTIVE,
        r"(?:account|mail ?box|user|recipient|(?<!ip )address)\b.{0,40}"
        r"(?:disabled|inactive|suspended|deactivated|not active|expired|locked|frozen|dormant"
        r"|discontinued|terminated|archived)"
        r"|(?:inactive|disabled|suspended|deactivated|archived) (?:account|user|mail ?box|recipient)"
        r"|(?:has been|is currently|temporar(?:il)?y) (?:suspended|deactivated|locked)"
        r"|casilla ha expirado",
    ),
    (
        Reason.BAD_MAILBOX,
        r"(?:user|recipient|(?<!ip )address(?:es)?|mail ?box|account|rcpt)\b.{0,60}"
        r"(?:unknown|not (?:be )?found|(?<!may )not exist|n't exist|no longer|invalid|not known"
        r"|not recogni[sz]ed|not present)"
        r"|(?:unknown|invalid|no such|bad|non-?existent|undeliverable)"
        r"[ _](?:local |final delivery |virtual |e-?mail )?(?:user|recipient|address|mail ?box|account"
        r"|destination|person|local.part)"
        r"|@[^\s@>]{1,99}>?(?: \w+){0,3} (?:not found|unknown|not exist|n't exist)"
        r"|address couldn't be found|no mail ?box|does not like recipient|no account by that name"
        r"|recip(?:ient)? ?notfound|not found by smtp address lookup|not our customer"
        r"|not an? (?:registered|valid|known|active) (?:\w+ )?(?:user|recipient|mailbox|address)"
        r"|(?:unknown|illegal) alias|unknown in (?:virtual|local|relay)|no one at this address"
        r"|mail ?box (?:is )?(?:currently )?unavail?able\b(?! or\b)|in name directory"
        r"|(?:utilisateur|destinataire) inconnu|usuario (?:desconocido|inexistente|inv[aá]lido)"
        r"|no existe (?:ese usuario|dicha persona)|nessun utente|(?:benutzer|empf[aä]nger) unbekannt",
    ),
    (
        Reason.CONTENT,
        r"spam|virus|malware|phish|unsolicited|junk|\bbulk\b|attachment|infected|\bcontent\b(?!-)"
        r"|message (?:was )?(?:blocked|rejected|filtered)|suspicious|\burls?\b|\bfilters?\b"
        r"|header error|(?:invalid|duplicate|malformed) (?:mime )?header|8-bit data|base64"
        r"|\bmime\b|protocol violation|rfc ?(?:822|2822|5322)\b|advertising",
    ),
    (
        Reason.NETWORK,
        r"time[d-]? ?out|connection (?:was |is )?(?:refused|reset|lost|dropped|closed)"
        r"|lost connection|unreachable|no route|resolve route|find a gateway"
        r"|(?:could not|couldn't|unable to|failed to|wasn't able to) (?:establish|connect)"
        r"|name ?server|\bdns\b|lookup fail|network (?:error|problem|failure)|retry time"
        r"|in the queue too long|multiple retries|could not (?:be )?deliver(?:ed)? for"
        r"|requests to connect|been failing for|\bexpired\b|not (?:responding|reachable)"
        r"|did not respond|\d attempts|not been collected|failed to deliver to domain",
    ),
    (
        Reason.SYSTEM,
        r"too many hops|hop count|\bloop|local (?:error|configuration)|internal (?:\w+ )?error"
        r"|\bdisk\b|out of memory|no space left|system (?:error|resources|full)|misconfigured"
        r"|config(?:uration)? error|write error|can't create|interrupted system call"
        r"|not accepting connections|encountered an error|service (?:\w+ )?(?:un|not )available"
        r"|temporar(?:y|ily) (?:error|failure|unavailable|local)",
    ),
    (Reason.REPUTATION, r"\bips? (?:address|\d)|\b(?:your|the|server|dynamic) ips?\b"),
    (
        Reason.POLICY,
        r"policy|\brelay|denied|not (?:allowed|permitted|authori[sz]ed|accepted|accepting)"
        r"|prohibited|forbidden|refuse|reject|blocked|restricted|administrative|permission"
        r"|start ?tls|\btls\b|google groups|mailing list|members?\b|not subscribed|go away"
        r"|no access|allowed rcpthosts|not (?:a gateway|local host)|handle mail for|badrcptto"
        r"|mass mailer|organi[sz]ational|requires confirmation",
    ),
]
_Patterns: TypeAlias = "list[tuple[Reason, re.Pattern[str]]]"

_SURE_PATTERNS = [(reason, re.compile(words, re.IGNORECASE)) for reason, words in _SURE]
_PATTERNS = [(reason, re.compile(words, re.IGNORECASE)) for reason, words in _WORDS]
_NULL_MX = re.compile(r"\bnull mx\b", re.IGNORECASE)
_URL = re.compile(r"https?://\S+")


def reason_of(
    action: Action, status: EnhancedStatusCode | None, diagnostic: Diagnostic | None
) -> Reason | None:
    """Why not; ``None`` for what was delivered."""
    if action not in (Action.FAILED, Action.DELAYED):
        return None
    diagnostic = diagnostic or Diagnostic("", "")
    of_sender = _OF_SENDER.search(diagnostic.text) is not None
    transient = _class(status, diagnostic) == 4 and not _is_for_good(diagnostic)
    for given in _reasons(status, diagnostic):
        # What the DNS does not know for now may be there tomorrow.
        is_for_now = transient and given is Reason.BAD_DOMAIN
        reason = Reason.NETWORK if is_for_now else given
        if of_sender and reason not in _OF_SENDERS:
            continue
        if transient and reason is Reason.BAD_MAILBOX:
            continue
        return reason
    return Reason.POLICY if of_sender else Reason.OTHER


def _is_for_good(diagnostic: Diagnostic) -> bool:
    """Whether the domain says itself that it takes no mail (RFC 7505), whatever is made of it."""
    return diagnostic.reply_code is None and _NULL_MX.search(diagnostic.text) is not None


def _class(status: EnhancedStatusCode | None, diagnostic: Diagnostic) -> int:
    """The first digit of what the server said, or else of what the reporter states."""
    reply = diagnostic.reply_code
    code = diagnostic.enhanced or status
    return reply // 100 if reply is not None else 0 if code is None else code.class_


def _reasons(status: EnhancedStatusCode | None, diagnostic: Diagnostic) -> Iterator[Reason]:
    """The reasons that are given, the surest first."""
    reply, own = diagnostic.reply_code, diagnostic.enhanced
    yield from _by_words(_SURE_PATTERNS, diagnostic.text)
    if reply in _BY_REPLY and (own is None or own.subject in (0, 1, 3)):
        yield _BY_REPLY[reply]
    # The server's own code goes before what the reporter states, or makes up.
    tells = own is not None and own.subject != 0
    made_up = str(status) == _MADE_UP.get(reply or 0)
    for code in (own, None if tells or made_up else status):
        yield from _by_code(code)
    yield from _by_words(_PATTERNS, _URL.sub("", said_in(diagnostic.text)))
    for code in (own, status):
        yield from _by_code(code)
        yield from _by_subject(code)
    if reply in _BY_REPLY_AT_LAST:
        yield _BY_REPLY_AT_LAST[reply]


def _by_words(patterns: _Patterns, text: str) -> Iterator[Reason]:
    return (reason for reason, words in patterns if words.search(text))


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
