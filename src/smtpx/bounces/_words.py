"""What servers say, by what it comes down to.

Each line is a pattern, or alternatives that belong together, in any case. What is between two words
is bounded, so that none takes longer than the length of the text times that bound.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from smtpx.bounces._languages import FULL, PASSING, SENDER
from smtpx.bounces._reports import Reason

_Patterns = Sequence[tuple[Reason, re.Pattern[str]]]


def _pattern(phrases: str) -> re.Pattern[str]:
    return re.compile("|".join(filter(None, map(str.strip, phrases.split("\n")))), re.IGNORECASE)


TO_SENDER = _pattern(
    r"""
    (?:\b(?:after|for|in reply to|did not like our)(?: pipelined)?|>>>) (?:MAIL|HELO|EHLO)\b
    \bafter initial connection\b|\brefused to talk to me\b
    \bbut (?:greeting failed|my name was rejected|sender was rejected)\b|\bdoes not like sender\b
"""
)
"""It is the reply to a command before there was a recipient, or to none."""

OF_SENDER = _pattern(
    TO_SENDER.pattern
    + r"""
    \[(?:MAIL_FROM|HELO|EHLO)\]
    (?<!\bto )(?<!\bto the )(?<!\b(?:inform|notify) the )(?<!\bcontact the )\bsenders?\b(?!-mta|: <)
    \b(?:originat(?:ors?|ing)|author(?:'s)?|submitters?|submission)\b|\b(?:outgoing|outbound)\b
    \bsending (?:from|domain|host|ip|mta|server|system|address|account|user|mail ?box|quota|limit)\b
    \b(?:for|from) sending\b|\bsent from\b|\b(?:allowed|permitted|authori[sz]ed) to send\b
    \b(?:client|connecting) (?:domain|host|ip|mta|server|system|address)(?:name)?\b
    \b(?:authenticated|relaying) (?:user|account|address)\b|\bcall-?(?:out|back)s?\b
    \b(?:helo|ehlo)\b.{0,40}?\b(?:reject\w*|invalid|denied|bad|not|must|mismatch|fail\w*|unknown)
    \b(?:mail ?from|envelope[- ]from)\b.{0,40}?\b(?:domain|reject\w*|invalid|not|does|denied|listed)
    \b(?:mail ?from|envelope[- ]from)\b.{0,40}?\b(?:unknown|fail\w*|mismatch)|bogus mail from\b
    \b(?:return(?:ing)?|reply) address\b
    \b(?:return|reverse)[- ]path\b.{0,40}?\b(?:reject\w*|invalid|not|does|denied|fail\w*|unknown)\b
    \bfrom:? (?:an? |the )?(?:unknown |invalid )?(?:domain|address|header|field|mail ?box|user)\b
    \bin (?:the )?(?:mail )?[\"'<]?(?:from|(?:return|reverse)-path)\b
    address is not verified|purported responsible
    \bfrom (?:your|this) (?:domain|host|hostname|ip|network|server|mail server|system)\b
    \byour (?:domain|host|hostname|ip|server|mail server) (?:is|isn't|was|has|does|doesn't|must)\b
    \byour (?:domain|host|hostname|ip|server|mail server) (?:cannot|could|appears|may)\b
    \byour (?:[\w'-]{1,20} ){0,2}(?:account|mail ?box|address)\b(?! book)
    \b(?:dmarc|dkim|spf)\b|\barc (?:check|fail|none|seal)|\bresource records?\b
    \bverification failed for <|\bbatv\b|backscatter
    \b(?:mail ?from|envelope[- ]from)\b.{0,40}?\b(?:no such|no longer)\b
    \b(?:unknown|invalid|bad|no such|no valid)\b.{0,40}?\b(?:helo|ehlo|(?:return|reverse)[- ]path)\b
    \bmessage-?id\b.{0,20}?\b(?:host|domain|invalid|malformed|unknown|reject\w*)\b
    \bbounce address\b
"""
    + SENDER
)
"""It is about whom a message is from, or about the host that it came by."""

TO_CONTENT = _pattern(
    r"""
    \b(?:in reply to|after|SMTP command)(?: pipelined)? (?:end of )?DATA\b
    \bfailed (?:after I sent the message|on DATA command)\b
"""
)
"""It is the reply to DATA or the content, so the server had accepted the recipient before."""

OF_CONTENT = _pattern(r"(?<![\w@.-])(?:spam|virus|malware|phishing)\b(?![@.-]\w)")
"""Whoever takes it for spam may have said more than is so of the mailbox."""

IN_SO_MANY_WORDS = _pattern(
    r"\b(?:not found|(?:not|n't|no longer) exists?|invalid mail ?box|no mail ?box|not listed)\b"
    r"|n[o']t have an? (?:\S{1,80} )?account|\bnot a valid recipient\b"
)
"""Where the reply to the content tells of a mailbox that there is none."""

_ANOTHER = (
    r"denied|blocked|relay\w*|disabled|suspended|inactive|locked|closed|expired|full|quota|access"
    r"|temporar\w*|polic\w*|refused|rejected|restricted|password|authenticat\w*|permission"
    r"|forbidden|not allowed|failure|error"
)
_MEANWHILE = r"""
    \b(?:try|tried|retry|send) .{0,20}?\blater\b|\bplease retry\b|(?<!and )\btry(?:ing)? again\b
    \bretr(?:y|ies|ying)\b|\bfor now\b|\bat (?:this|the) (?:time|moment)\b|\bbusy\b|\bin use\b
    \bvacation\b
    \b(?:time[d-]? ?out|servfail|exceeded max time|too old|been queued)\b
    \bexpir(?:ed|y)\b.{0,40}?\b[45]\d\d\b|\b(?:message|delivery|queue)[ .]?(?:has )?expired\b
    \b(?:unable|failed|failure|inability) to verify\b
    \b(?:cannot|can ?not|could ?n[o']t|can't|not) (?:be )?verif
    \bverif(?:y|ication|ied)\b.{0,30}?\b(?:fail\w*|pending|progress|later|error)\b
    \b(?:disk|cache|back ?end|database)\b.{0,12}?\b(?:full|down|fail\w*|unavailable)\b
    \b(?:directory|ldap|(?<!name )server)\b.{0,12}?\b(?:full|down|fail\w*|unavailable)\b
    \bin (?:the |our )?cache\b|\bstart ?tls\b|\b(?:tls|ssl|encryption)\b.{0,20}?\brequired\b
    \brequires? (?:tls|ssl)\b
    \b(?:not|n't) (?:want|wish|like to receive)\b.{0,20}?\b(?:mails?|messages?|e-?mails?)\b
    \b(?:reject(?:s|ed)|refuses?d?) (?:your|the|all|this) (?:mails?|messages?|e-?mails?)\b
    \b(?:blocks|declin\w+) (?:your|the|all|this) (?:mails?|messages?|e-?mails?)\b
    \b(?:rejected|refused|declined) by (?:the )?(?:recipient|user|owner)\b
    \bnot accepting (?:any )?(?:e-?)?(?:mails?|messages?)\b|\bmail loop\b|\binternal error\b
    \bread[- ]only\b|\bunverified\b|\b(?:to|cc|from|invalid|malformed|bad|the) headers?\b
    \bmessage contains\b
    \brate (?:is|was|of|too|limit)\b|(?<!domain )\bhostname\b(?! or domain)
    \bunknown (?:error|failure|charset|client|host name)\b
"""
TWOFOLD = _pattern(
    PASSING
    + _MEANWHILE
    + rf"""
    \bor\b(?! more\b)[^.;:\n]{{0,40}}?\b(?:{_ANOTHER})\b
    \b(?:{_ANOTHER})\b[^.;:\n]{{0,20}}?\bor\b(?! more\b)
    \btemporar(?:y|ily)\b|\bpolic(?:y|ies)\b|\brelay(?:ing|ed)?\b(?! recipient)
    \bblocked\b|\bpasswords?\b|\bauthenticat\w*|\bprvs\b|\btag check\b
    (?<!\bother mail )\b(?:system|directory|ldap|database|(?<!dns )lookup) (?:problem|error|failure)
    \bnot (?:allowed|permitted|authori[sz]ed)\b
    \baccept(?:s|ing)? (?:any )?(?:e-?)?(?:mails?|messages?) from\b|\bmessages from \[?\d
"""
)
"""It may be about something else than whether there is such a mailbox, or for some time only."""

# Each is said of nothing else, whatever code comes with it.
_SURE = {
    Reason.SYSTEM: r"""
        \b(?:couldn't|could not|can't|cannot) create\b|\bldap (?:server|error|fail)|\bpipe to \|
        \bundeliverable address: host \S{1,200} said: 4\d\d
    """,
    Reason.CONTENT: r"""
        black ?listed (?:url|link)|\b(?:uribl|surbl)\b|\burl in (?:this|your)
        (?:due to|as) spam|spam (?:content|score)|anti-?spam check
        duplicate header
        (?:without|missing) (?:an? )?(?:to|from|date|subject|message-id):? (?:field|header)
    """,
    Reason.MAILBOX_FULL: r"""
        over ?quota|quotaexceeded|overdrawn .{0,20}quota|quota (?:is |has been )?exceeded \(?mail
        mail ?box (?:is )?full|too many messages (?:on|in) the
    """,
    Reason.RATE: r"""
        receiving (?:mail at a )?rate|rate.?limit|frequency.{0,9}limit|(?:sending|unusual) rate
        connection limit|trop de connexions|\brate (?:was |is )?exceeded
        try again slower|too (?:quickly|fast|often)
        too many (?:smtp |simultaneous )?(?:messages|connections|recipients|e?mails|sessions)
        too many (?:requests|errors|concurrent)
        (?:many|excessive|(?:high|large) number)(?: [\w-]{1,20}){1,3} (?:users?|recipients)\b
        (?:many|excessive|(?:high|large) number)(?: [\w-]{1,20}){1,3} (?:addresses|mailboxes)\b
        \b(?:daily|hourly|sending|outgoing|submission)\b.{0,20}\b(?:quota|limit)\b
        \bquota\b.{0,20}\b(?:per|messages|recipients)\b|\w per (?:second|minute|hour|day)
        throttl|gr[ea]y-?list|server (?:is )?(?:too )?busy
        deferred due to (?:unexpected|user|excess|high|too)
        verification in progress|being verified
    """,
    Reason.REPUTATION: r"""
        spamhaus|spamcop|barracuda|sorbs|uceprotect|abuseat|abusix|dnsbls?\b|rbls?\b
        (?<!may be )(?:block|black|deny|bad) ?list|(?<!not )\blisted (?:at|in|by|on|as)\b
        \[(?:TSS|BL)[0-9]{2}\]
        harvest(?:ing)?\b|dictionary attack
        blocked using|\b(?:client|host|ip)\b[^.@]{0,40}?\bblocked\b|\bbanned\b
    """,
    Reason.BAD_MAILBOX: r"""
        \b(?:user|addressee) (?:is )?unknown\b(?!/| or\b| ou?\b| oder\b)
        \bunknown (?:user|addressee)\b(?!/| or\b| ou?\b| oder\b|[ -]agent\b)
        \bno such (?:user|recipient)\b(?!/| or\b| ou?\b| oder\b| domain\b)
        5\.4\.1\b.{0,80}?\brecipient address(?:es)? rejected
        not listed in .{0,60}(?:director|address book)|n[o']t have an? (?:\S{1,80} )?account
        550[ -]#?5\.1\.0 address rejected
    """,
    Reason.BAD_DOMAIN: r"\bnull mx\b",  # RFC 7505
    Reason.NETWORK: r"""
        not found, try again|unexpected name ?server reply
        \bverif(?:y|ication|ied)\b.{0,60}?\b(?:time[d-]? ?out|connect\w*|lookup|unreachable)\b
        \bundeliverable address: (?:connect|lost|conversation|delivery temporarily|mail transport)
    """,
    Reason.POLICY: r"""
        address is not verified|recipient(?:'?s)? preferences|unauthenticated senders?
        \b(?:allowed|approved|authori[sz]ed|known|permitted|safe) senders?\b|\b(?:allow|white) ?list
        \bblocked (?:you|by (?:the )?(?:recipient|user))\b
        \bonly (?:accepts?|receives?|takes?|allows?|open to)\b|\bmembers?[ -]only\b|\bonly members\b
        \b(?:accepts?|receives?|takes?|allows?) (?:e-?mails?|mail|messages|posts)? ?only\b
        \b(?:external|outside|internet) (?:e-?mails?|mail|messages?)\b
    """,
}

# In this order: who writes "blocked for its reputation, see our policy" means the first.
_WORDS = [
    # It asks for AUTH (RFC 4954), not for SPF.
    (
        Reason.POLICY,
        r"""
        \bsmtp auth|authentication (?:is )?(?:required|turned on|failure|credentials)
        (?:requires|needs?) authentication|\bauthenticate\b|\blog ?in\b
        authentification (?:requise|invalide)
        """,
    ),
    (
        Reason.AUTHENTICATION,
        r"""
        \bdmarc\b|\bspf\b|\bdkim\b|sender policy framework|unauthenticated
        authentication (?:information|was failed|failed|checks?)
        (?:mail|message|domain)\b.{0,20} not authenticated
        """,
    ),
    (
        Reason.REPUTATION,
        r"""
        reputation|\bsnds\b|\babusive\b|\bblocked for abuse|from (?:your|the following) ip\b
        reverse (?:dns|lookup)|\br?dns record|\bptr\b|\brdns\b|ip name lookup|mismatch\w* client ip
        (?:bad|invalid|dynamic) ips?\b|sending ips?\b|\bip=\d|your (?:reverse )?hostname
        open (?:proxy|relay)|unresolvable relay|remotehost|\bmessages from \[?\d
        \bserver of your (?:isp|provider)|\byour (?:isp|provider)(?:'s)? (?:\w+ )?server
        """,
    ),
    (
        Reason.MAILBOX_FULL,
        r"""
        mail ?(?:box|folder|dir)\b.{0,40}\b(?:full|exceed\w*|over|limit)\b|full mail ?box|\bquota\b
        in ?box is full|mailfull|box full|too much mail data|receiving limits|space has been used
        no mail ?box space
        (?:insufficient|(?:not|n't have) enough|out of)(?: \w+)? (?:storage|space)
        storage allocation
        """
        + FULL,
    ),
    (
        Reason.TOO_LARGE,
        r"""
        too (?:large|big)|(?:message|mail|file) size|size (?:limit|exceed)|maximum size
        exceeds? (?:the )?(?:\w+ )?(?:size|limit)|line limit exceeded|length exceeds|taille limite
        """,
    ),
    (
        Reason.BAD_DOMAIN,
        r"""
        (?:host|domain)(?: name| or domain name)? (?:could not be |couldn't be |was )?not found
        \bhost \S{1,99} not found
        (?<![@\w.-])(?:[\w-]{1,63}\.){2,9}[a-z]{2,20} does not exist
        (?:host|domain)(?: name)? (?:unknown|does not exist|doesn't exist|not exist)
        domain \S{1,99} (?:(?:could not|couldn't) be found|does not exist)
        (?:no such|unknown|invalid) (?:(?:recipient|user|destination)(?:'s)? )?(?:domain|host)\b
        non-?existent (?:host|domain)|nxdomain
        find any host named|unrouteable|unroutable|bad destination (?:host|system)
        \bno (?:valid )?mx\b|null ?mx|does not accept (?:any )?e?-?mail\b(?! from)|no smtp service
        domain is not reachable|name or service not known|recipient domain must exist
        domain mentioned in .{0,30} unknown
        """,
    ),
    (
        Reason.INACTIVE,
        r"""
        (?:account|mail ?box|user|recipient|(?<!ip )address)\b.{0,40}(?:disabled|suspended|\blocked)
        (?:account|mail ?box|user|recipient|(?<!ip )address)\b.{0,40}(?:inactive|not active|dormant)
        (?:account|mail ?box|user|recipient|(?<!ip )address)\b.{0,40}(?:deactivated|expired|frozen)
        (?:account|mail ?box|user|recipient)\b.{0,40}(?:discontinued|terminated|archived)
        (?:inactive|disabled|suspended|deactivated) (?:account|user|mail ?box|recipient)
        (?:has been|is currently|temporar(?:il)?y) (?:suspended|deactivated|locked)
        archived (?:recipient|destination)|bo[iî]te .{0,40}archiv[eé]e
        (?:account|mail ?box) is blocked
        account (?:closed|not activated)|disabled ?user|casilla ha expirado
        account ?disabled|mailbox ?disabled|konto .{0,20}(?:zablokowan|wyłączon|nieaktywn)
        \bno longer (?:in use|used|being used|monitored|active)\b
        """,
    ),
    (
        Reason.BAD_MAILBOX,
        r"""
        (?:user|recipient|(?<!ip )address(?:es)?|mail ?box|account|rcpt)\b.{0,60}invalid
        (?:user|recipient|(?<!ip )address(?:es)?|mail ?box|account|rcpt)\b.{0,60}unknown(?!/| or\b)
        (?:user|recipient|(?<!ip )address(?:es)?|mail ?box|account|rcpt)\b.{0,60}not (?:be )?found
        (?:user|recipient|(?<!ip )address|mail ?box|account)\b.{0,60}(?:(?<!may )not|n't) exist
        (?:user|recipient|(?<!ip )address|mail ?box|account)\b.{0,60}(?:no longer|not known)
        (?:user|recipient|(?<!ip )address|mail ?box)\b.{0,60}(?:not |un)recogni[sz]ed
        (?:user|recipient|(?<!ip )address|mail ?box)\b.{0,60}not present
        (?:unknown|invalid|no such|non-?existent) (?:user(?![ -]agent)|recipient|address)
        (?:unknown|invalid|no such|non-?existent) (?:mail ?box|account)
        bad[ _](?:user|recipient|address|mail ?box|account)
        (?:unknown|invalid|no such) (?:local|virtual|e-?mail|final delivery) (?:user|address|part)
        (?:unknown|no such) (?:destination|person|local.part)|(?:unknown|illegal) alias
        undeliverable (?:user|recipient|address)|no account by that name|no one at this address
        @[^\s@>]{1,99}>?(?: \w+){0,3} (?:not found|unknown|not exist|n't exist)
        address couldn't be found|no mail ?box|does not like recipient|not our customer
        recip(?:ient)? ?notfound|not found by smtp address lookup|in name directory
        not an? (?:registered|valid|known|active) (?:\w+ )?(?:user|recipient|mailbox|address)
        unknown in (?:virtual|local|relay)
        mail ?box (?:\S{1,99} )?(?:is )?(?:currently )?unavail?able\b(?!/| or\b)
        (?:utilisateur|destinataire) inconnu(?!/| ou\b)|nessun utente
        (?:benutzer|empf(?:ä|ae?)nger) unbekannt(?!/| oder\b)
        (?:usuario|destinatario) (?:desconocido|inexistente|inv[aá]lido)(?!/| ou?\b)
        no existe (?:(?:el|la|es[ea]|dich[oa]) )?(?:usuario|persona|cuenta|buz[oó]n|destinatario)
        (?:usuario|cuenta|buz[oó]n|destinatario|direcci[oó]n) no (?:existe|v[aá]lid[oa])
        (?:utilisateur|destinataire|compte|adresse|bo[iî]te) (?:inexistante?|n'existe pas)
        (?:benutzer|postfach|empf(?:ä|ae?)nger|adresse) (?:existiert nicht|nicht gefunden)
        (?:usu[aá]rio|destinat[aá]rio|conta|caixa postal|endere[cç]o) (?:desconhecid|inexistent)\w
        (?:usu[aá]rio|destinat[aá]rio|conta|caixa postal|endere[cç]o) n[aã]o (?:existe|encontrad)
        utilizador (?:desconhecid|inexistent|n[aã]o (?:existe|encontrad))
        (?:użytkownik|odbiorca|adresat|adres|skrzynka) (?:jest )?(?:nieznan|nie (?:istniej|znalez))
        nieznany (?:użytkownik|odbiorca|adresat|adres)|nie ma takie\w{1,3} (?:użytkownik|adres)
        (?:utente|destinatario|casella) (?:sconosciut[oa]|inesistente|non (?:esiste|trovat[oa]))
        (?:gebruiker|geadresseerde|postbus|adres) (?:onbekend|bestaat niet|niet gevonden)
        (?:пользовател\w|адресат|(?:почтовый )?ящик|адрес) (?:не (?:найден|существует)|неизвестен)
        нет такого (?:пользователя|адреса|ящика)|такого пользователя нет
        (?:ユーザー?|宛先|アドレス|メールボックス)\S{0,9}(?:見つかりません|存在しません|不明)
        (?:用户|收件人|邮箱|地址)\S{0,9}(?:不存在|未找到)
        adresse (?:wurde )?nicht gefunden|adresse (?:est )?introuvable
        no se (?:ha )?(?:encontr\w+|podido encontrar) la direcci[oó]n
        """,
    ),
    (
        Reason.CONTENT,
        r"""
        spam|virus|malware|phish|unsolicited|junk|\bbulk\b|advertising|suspicious|infected
        attachment|\bcontent\b(?!-)|\burls?\b|\bfilters?\b|message (?:was )?(?:blocked|filtered)
        message (?:was )?rejected|header error|(?:invalid|malformed) (?:mime )?header|8-bit data
        base64|\bmime\b(?!-)|protocol violation|(?<!/)rfc ?(?:822|2822|5322)\b(?!;)
        addresses in (?:the )?from\b|\bofr\w{0,6}506\b
        """,
    ),
    (
        Reason.NETWORK,
        r"""
        time[d-]? ?out|connection (?:was |is )?(?:refused|reset|lost|dropped|closed)|lost connection
        unreachable|not (?:responding|reachable)|did not respond|no route|resolve route
        (?:could not|couldn't|unable to|failed to|wasn't able to) (?:establish|connect)
        name ?server|\bdns\b|lookup fail|network (?:error|problem|failure)|find a gateway
        (?:unable|failed) to (?:look ?up|resolve)
        retry time|multiple retries|\d attempts|in the queue too long|been failing for|\bexpired\b
        could not (?:be )?deliver(?:ed)? for|not been collected|failed to deliver to domain
        requests to connect
        """,
    ),
    (
        Reason.SYSTEM,
        r"""
        too many hops|hop count|mailer error|\bloop|mail ?loop|bad sequence
        internal (?:\w+ )?error|local (?:error|configuration)
        \bdisk\b|out of memory|no space left|system (?:error|resources|full)|write error
        misconfigured|config(?:uration)? error|can't create|interrupted system call
        not accepting connections|service (?:\w+ )?(?:un|not )available|encountered an error
        temporar(?:y|ily) (?:error|failure|unavailable|local)
        """,
    ),
    (Reason.REPUTATION, r"\bips? (?:address|\d)|\b(?:your|the|server|dynamic) ips?\b"),
    (
        Reason.POLICY,
        r"""
        policy|\brelay|denied|refuse|reject|blocked|restricted|prohibited|forbidden|administrative
        not (?:allowed|permitted|authori[sz]ed|accepted|accepting)|permission|no access|go away
        start ?tls|\btls\b|mailing list|members?\b|not subscribed|google groups|organi[sz]ational
        allowed rcpthosts|not (?:a gateway|local host)|handle mail for|badrcptto|mass mailer
        requires confirmation
        """,
    ),
]
_SURE_PATTERNS = [(reason, _pattern(phrases)) for reason, phrases in _SURE.items()]
_PATTERNS = [(reason, _pattern(phrases)) for reason, phrases in _WORDS]
_URL = re.compile(r"https?://\S+")


def surely(text: str) -> Iterator[Reason]:
    """The reasons that are given by words that decide by themselves."""
    return _found(_SURE_PATTERNS, text)


def by_words(text: str) -> Iterator[Reason]:
    """The reasons that the words give, the most telling first."""
    return _found(_PATTERNS, _URL.sub("", text))


def _found(patterns: _Patterns, text: str) -> Iterator[Reason]:
    return (reason for reason, words in patterns if words.search(text))
