"""What a server offers in its reply to EHLO (RFC 5321 §4.1.1.1), typed."""

from __future__ import annotations

import re
from collections.abc import Mapping, Set
from types import MappingProxyType

from smtpx import _checks
from smtpx.replies import Reply

_KEYWORD_LINE = re.compile(r"([A-Za-z0-9][A-Za-z0-9\-]*)(?:[ \t=](.*))?")


class Extensions:
    """The service extensions of one server, under its current protection.

    `keywords` holds them all, known or not; the properties read the ones that carry more than
    their name. ``"DSN" in extensions`` asks for one; case does not matter.
    """

    __module__ = "smtpx"

    __slots__ = (
        "_keywords",
        "chunking",
        "eight_bit_mime",
        "limits",
        "mail_max",
        "pipelining",
        "rcpt_domain_max",
        "rcpt_max",
        "size",
        "states_size",
    )

    pipelining: bool
    """Commands may be sent without waiting (RFC 2920)."""
    eight_bit_mime: bool
    """Content may have octets above 127 (RFC 6152)."""
    chunking: bool
    """BDAT (RFC 3030 §2)."""
    states_size: bool
    """MAIL may say how large the content is (RFC 1870)."""
    size: int | None
    """The largest content taken, in octets; ``None`` where none is stated (RFC 1870)."""

    limits: Mapping[str, int]
    """MAILMAX, RCPTMAX, RCPTDOMAINMAX and others as far as stated (RFC 9422)."""
    mail_max: int | None
    """Mail transactions in one session at most."""
    rcpt_max: int | None
    """Recipients of one mail transaction at most."""
    rcpt_domain_max: int | None
    """Domains of recipients in one session at most."""

    def __init__(self, keywords: Mapping[str, str]) -> None:
        """Take each EHLO keyword with its parameters, or ``""``.

        Raises:
            TypeError: it is no mapping of strings.
        """
        _checks.instance("keywords", keywords, Mapping)
        for keyword, parameters in keywords.items():
            _checks.text("keywords", keyword)
            _checks.text(f"keywords[{keyword!r}]", parameters)
        self._keywords = {keyword.upper(): params for keyword, params in keywords.items()}
        # These are asked for with every message.
        self.pipelining = "PIPELINING" in self._keywords
        self.eight_bit_mime = "8BITMIME" in self._keywords
        self.chunking = "CHUNKING" in self._keywords
        self.states_size = "SIZE" in self._keywords
        # RFC 1870 §4: 0 means that no fixed limit is in force.
        self.size = self._number("SIZE") or None
        pairs = (item.partition("=") for item in self._keywords.get("LIMITS", "").upper().split())
        stated = {name: _number(value) for name, _, value in pairs}
        # RFC 9422 §4: a limit is never 0; nobody could live with it.
        limits = {name: number for name, number in stated.items() if number}
        self.limits = MappingProxyType(limits)
        self.mail_max = limits.get("MAILMAX")
        self.rcpt_max = limits.get("RCPTMAX")
        self.rcpt_domain_max = limits.get("RCPTDOMAINMAX")

    @classmethod
    def of(cls, reply: Reply) -> Extensions:
        """Read them out of the reply to EHLO; a line that is no keyword is passed over."""
        _checks.instance("reply", reply, Reply)
        keywords: dict[str, str] = {}
        for line in reply.lines[1:]:
            match = _KEYWORD_LINE.fullmatch(line.strip())
            if match is None:
                continue
            keyword, params = match[1].upper(), (match[2] or "").strip()
            # Servers announce AUTH twice: as RFC 4954 has it, and as AUTH=, for old clients.
            if keyword == "AUTH" and "AUTH" in keywords:
                params = f"{keywords['AUTH']} {params}".strip()
            keywords[keyword] = params
        return cls(keywords)

    @property
    def keywords(self) -> Mapping[str, str]:
        """Every EHLO keyword, upper case, with its parameters as the server wrote them."""
        return MappingProxyType(self._keywords)

    def __reduce__(self) -> tuple[type[Extensions], tuple[dict[str, str]]]:
        return Extensions, (self._keywords,)

    def __contains__(self, keyword: object) -> bool:
        return isinstance(keyword, str) and keyword.upper() in self._keywords

    @property
    def smtputf8(self) -> bool:
        """Addresses and headers may be internationalized (RFC 6531)."""
        return "SMTPUTF8" in self._keywords

    @property
    def dsn(self) -> bool:
        """Delivery status notifications can be asked for (RFC 3461)."""
        return "DSN" in self._keywords

    @property
    def starttls(self) -> bool:
        """TLS can be started (RFC 3207)."""
        return "STARTTLS" in self._keywords

    @property
    def binary_mime(self) -> bool:
        """BODY=BINARYMIME, which needs BDAT (RFC 3030 §3)."""
        return "BINARYMIME" in self._keywords and self.chunking

    @property
    def enhanced_status_codes(self) -> bool:
        """Replies carry enhanced status codes (RFC 2034)."""
        return "ENHANCEDSTATUSCODES" in self._keywords

    @property
    def require_tls(self) -> bool:
        """TLS can be demanded for the whole way (RFC 8689)."""
        return "REQUIRETLS" in self._keywords

    @property
    def rrvs(self) -> bool:
        """Delivery can depend on the mailbox' owner (RFC 7293)."""
        return "RRVS" in self._keywords

    @property
    def auth(self) -> tuple[str, ...]:
        """The SASL mechanisms offered, upper case, each once (RFC 4954)."""
        return tuple(dict.fromkeys(self._keywords.get("AUTH", "").upper().split()))

    @property
    def deliver_by(self) -> int | None:
        """The shortest time DELIVERBY takes, in seconds; 0 where none is stated (RFC 2852)."""
        if "DELIVERBY" not in self._keywords:
            return None
        # RFC 2852 §2: a comma separated list, of which the time is the first.
        return _number(self._keywords["DELIVERBY"].partition(",")[0].strip()) or 0

    @property
    def future_release(self) -> tuple[int | None, str | None] | None:
        """The longest hold in seconds and its latest moment as written (RFC 4865 §3)."""
        if "FUTURERELEASE" not in self._keywords:
            return None
        interval, _, moment = self._keywords["FUTURERELEASE"].partition(" ")
        return _number(interval), moment.strip() or None

    @property
    def mt_priority(self) -> str | None:
        """The name of the priority profile, empty where none is stated (RFC 6710 §4)."""
        return self._keywords.get("MT-PRIORITY")

    def _number(self, keyword: str) -> int | None:
        return _number(self._keywords.get(keyword, "").partition(" ")[0])

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"<Extensions {' '.join(self._keywords)}>"


def _number(text: str) -> int | None:
    # A number beyond twenty digits is longer than any that the RFCs allow.
    return int(text) if text.isascii() and text.isdigit() and len(text) <= 20 else None


NO_EXTENSIONS = Extensions({})


def without(extensions: Extensions, ignored: Set[str]) -> Extensions:
    """The same but for some EHLO keywords, given in upper case."""
    keywords = extensions.keywords
    if ignored.isdisjoint(keywords):
        return extensions
    return Extensions({name: said for name, said in keywords.items() if name not in ignored})
