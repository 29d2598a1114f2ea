"""The DNS by dnspython: one text for a thread, asyncio and trio.

How often, for how long and by what a question is asked is decided here. dnspython writes, sends and
reads the messages.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Generator, Iterable, Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from time import monotonic
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from smtpx import _checks
from smtpx.errors import ExtraMissing, LocalProtocolError

from ._manners import Manners
from .dane import TLSA
from .resolver import MX, Answer, AnswerState, Question, Record

if TYPE_CHECKING:
    import dns.message

__all__ = ["Ask", "Asking", "NameServers", "Pause", "SystemServers", "asking", "check_installed"]

_CONFIGURATION = Path("/etc/resolv.conf")
# Seconds between two looks whether it has changed.
_LOOK = 1.0
_WAIT = 5.0
_PAUSE = 0.5
_LINKS = 8
_PAYLOAD = 1232
# Of one answer so many are kept: who has more wants to keep us busy. Of mail exchangers it is one
# more than are of any use, so that it shows that there are more.
_RECORDS = 100
# Octets of a TXT record; longer ones are for nobody who sends mail.
_TEXT = 2048
# Seconds for which it is kept that something is not there, and that nobody knows.
_NEGATIVE, _FAILED = 900.0, 5.0
_LONGEST = 86400.0


class NameServers:
    """The name servers that are asked, and whether they are believed to have validated DNSSEC.

    DANE is only possible where they are: with `validating`, or where `system` finds it so.
    """

    __module__ = "smtpx.delivery"

    def __init__(
        self, servers: str | Sequence[str], *, port: int = 53, validating: bool = False
    ) -> None:
        """Take the IP addresses of resolvers.

        `validating` says that they validate DNSSEC, and that nobody on the way to them can change
        what they say (RFC 7672 §2.1.3). They are on this machine then, or behind a protected link.

        Raises:
            ValueError: there is none, or one is no IP address.
            TypeError: an argument is of another kind.
        """
        given: tuple[Any, ...] = (servers,) if isinstance(servers, str) else _several(servers)
        for each in given:
            if not isinstance(each, str):
                raise _checks.complaint("servers", each, "IP addresses as str")
            if not _is_address(each):
                raise ValueError(f"servers={each!r}: give an IP address")
        if not given:
            raise ValueError("servers: give the IP address of one name server at least")
        _checks.count("port", port, 1, 65535)
        _checks.flag("validating", validating)
        self.servers = given
        self.port = port
        self.validating = validating

    @classmethod
    def system(cls) -> NameServers:
        """Those that the system asks, by ``/etc/resolv.conf`` or the registry of Windows.

        They are believed to validate if all of them are on this machine, and ``options trust-ad``
        says that the administrator believes it (resolv.conf(5)).

        Raises:
            LocalProtocolError: the system names none.
            ExtraMissing: dnspython is not installed.
        """
        if sys.platform == "win32":
            check_installed()
            import dns.resolver

            servers = [str(each) for each in dns.resolver.Resolver().nameservers]
            trusted = False
        else:
            servers, trusted = _configured(_CONFIGURATION)
        if not servers:
            raise LocalProtocolError(
                "the system names no name server: give resolver=NameServers('127.0.0.1')"
            )
        near = all(ipaddress.ip_address(each.partition("%")[0]).is_loopback for each in servers)
        return cls(servers, validating=trusted and near)

    @_checks.even_half_made
    def __repr__(self) -> str:
        said = ", validating=True" * self.validating
        return f"NameServers({list(self.servers)!r}, port={self.port}{said})"


class SystemServers:
    """The system's name servers as they are at present: a network may come and go."""

    def __init__(self) -> None:
        """Find out which they are.

        Raises:
            LocalProtocolError, ExtraMissing: as `NameServers.system`.
        """
        self._looks_again = monotonic() + _LOOK
        self._stamp = _stamp_of(_CONFIGURATION)
        self._servers = NameServers.system()

    def now(self) -> NameServers:
        """Which they are; another object where that has changed."""
        if monotonic() >= self._looks_again:
            self._looks_again = monotonic() + _LOOK
            stamp = _stamp_of(_CONFIGURATION)
            if stamp not in (None, self._stamp):
                self._stamp = stamp
                with suppress(LocalProtocolError):  # Somebody is just writing it.
                    self._servers = NameServers.system()
        return self._servers


def _stamp_of(path: Path) -> tuple[int, ...] | None:
    """What changes with a file; ``None`` where there is none, as on Windows."""
    try:
        found = path.stat()
    except OSError:
        return None
    return found.st_mtime_ns, found.st_size, found.st_ino


def _several(servers: Iterable[Any]) -> tuple[Any, ...]:
    if isinstance(servers, bytes) or not isinstance(servers, Iterable):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise _checks.complaint("servers", servers, "IP addresses as str")
    return tuple(servers)


def _configured(path: Path) -> tuple[list[str], bool]:
    """The name servers of a resolv.conf, and whether it says ``trust-ad``."""
    servers: list[str] = []
    trusted = False
    try:
        text = path.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return [], False
    for line in text.splitlines():
        word, *rest = line.split("#")[0].split(";")[0].split() or [""]
        if word == "nameserver" and rest and _is_address(rest[0]):
            servers.append(rest[0])
        elif word == "options":
            trusted = trusted or "trust-ad" in rest
    return servers[:3], trusted


def _is_address(text: str) -> bool:
    try:
        _ = ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def check_installed() -> None:
    """Make sure that dnspython is there.

    Raises:
        ExtraMissing: it is not.
    """
    try:
        _ = import_module("dns.message")
    except ImportError as error:
        raise ExtraMissing("delivery", "dnspython", "smtpx.Delivery") from error


class Ask(NamedTuple):
    """Send this query, by TCP or UDP; answered with the response.

    What fails is thrown in: an `OSError`, or an exception of dnspython.
    """

    query: dns.message.Message
    server: str
    port: int
    tcp: bool
    timeout: float


class Pause(NamedTuple):
    """Wait so many seconds."""

    seconds: float


Asking: TypeAlias = Generator[Ask | Pause, Any, Answer]


def asking(question: Question, servers: NameServers, manners: Manners) -> Asking:
    """Ask until somebody answers, three times at most: by UDP, again, and by TCP.

    A server that knows no EDNS is asked without it. Where servers are believed to have validated
    DNSSEC it is not left out. They know it (RFC 4035 §3); and an answer without it could not say
    that a name is signed.
    """
    import dns.exception
    import dns.flags
    import dns.name

    try:
        name = dns.name.from_text(f"{question.name}.")
    except dns.name.NameTooLong:
        # Such as a prefix makes of a long name: there can be none.
        return Answer(AnswerState.NXDOMAIN, ttl=_NEGATIVE)
    except (dns.exception.DNSException, UnicodeError, ValueError) as error:
        return _failed(f"{ascii(question.name)[:80]} is no name of the DNS: {error}")
    detail = ""
    asked, heard, plain = set[str](), set[str](), set[str]()
    for turn in range(3):
        tcp = turn == 2
        server = manners.choose(servers.servers, asked)
        if server in asked and not tcp:
            yield Pause(_PAUSE)
        asked.add(server)
        edns = servers.validating or (server not in plain and manners.knows_edns(server))
        query = _query(name, question.type, edns=edns)
        try:
            response = yield Ask(query, server, servers.port, tcp, _WAIT)
            heard.add(server)
            manners.has_spoken(server)
            if edns and not servers.validating and _knows_no_edns(response):
                edns = False
                plain.add(server)
                query = _query(name, question.type, edns=False)
                response = yield Ask(query, server, servers.port, tcp, _WAIT)
            if response.flags & dns.flags.TC and not tcp:
                response = yield Ask(query, server, servers.port, True, _WAIT)
            answer = _read(question, response, servers)
        except Exception as error:
            # Whatever a foreign parser makes of foreign octets: it is no answer.
            if server not in heard:
                # There are servers that drop what has EDNS.
                plain.add(server)
                manners.was_silent(server)
            said = str(error) or type(error).__name__
            detail = f"{server}: {said}"[:300]
            continue
        if answer.state is not AnswerState.FAILED:
            if edns or server in plain:
                manners.found_edns(server, known=edns)
            return answer
        detail = f"{server}: {answer.detail}"[:300]
    return _failed(detail)


def _query(name: Any, kind: str, *, edns: bool) -> Any:
    import dns.flags
    import dns.message

    query: Any = dns.message.make_query(name, kind)
    if edns:
        query.use_edns(0, dns.flags.DO, _PAYLOAD)
    # RFC 6840 §5.7: we understand it.
    query.flags |= dns.flags.AD
    return query


def _knows_no_edns(response: Any) -> bool:
    """RFC 6891 §7: it says FORMERR, and has no EDNS itself; others say other things."""
    import dns.rcode

    code = response.rcode()
    if code in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        return False
    said_of_it = (dns.rcode.FORMERR, dns.rcode.NOTIMP, dns.rcode.BADVERS)
    return response.edns < 0 or code in said_of_it


def _failed(detail: str) -> Answer:
    return Answer(AnswerState.FAILED, detail=detail, ttl=_FAILED)


def _read(question: Question, response: Any, servers: NameServers) -> Answer:
    import dns.flags
    import dns.rcode

    if response.flags & dns.flags.TC:
        return _failed("it is truncated, though it came by TCP (RFC 2181 §9)")
    code = response.rcode()
    secure = servers.validating and bool(response.flags & dns.flags.AD)
    if code not in (dns.rcode.NOERROR, dns.rcode.NXDOMAIN):
        # For people only (RFC 8914 §6).
        told = "; ".join(
            option.to_text() for option in response.options if type(option).__name__ == "EDEOption"
        )
        said = told if told.isprintable() else ascii(told)
        return _failed(f"{dns.rcode.to_text(code)} {said}".strip())
    chain = response.resolve_chaining()
    if len(chain.cnames) > _LINKS:
        return _failed(f"an alias of more than {_LINKS} links")
    expanded = _text_of(chain.canonical_name)
    name = "" if expanded == question.name else expanded
    if code == dns.rcode.NXDOMAIN or chain.answer is None:
        missing = code == dns.rcode.NXDOMAIN
        if not _follows(response, chain.cnames):
            return _failed("it answers another question than the one that was asked")
        if not missing and _is_referral(response):
            return _failed("it refers to others: it does not look up for us (RFC 2308 §2.2)")
        if secure and chain.cnames and not missing and not _has_soa(response):
            return _failed("it proves an alias, and nothing of its end (RFC 4035 §3.1.3)")
        state = AnswerState.NXDOMAIN if missing else AnswerState.NODATA
        return Answer(state, (), secure, name, ttl=min(chain.minimum_ttl, _NEGATIVE))
    given = list(chain.answer)
    most = _RECORDS
    if question.type == "MX":
        given.sort(key=lambda one: one.preference)
        most += 1
    records = tuple(_record_of(question.type, each) for each in given[:most])
    ttl = min(float(chain.minimum_ttl), _LONGEST)
    return Answer(AnswerState.FOUND, records, secure, name, ttl=ttl)


def _follows(response: Any, aliases: Sequence[Any]) -> bool:
    """True if what it says leads from the name that was asked for, where it leads to nothing.

    That is a chain of aliases, with the DNAME records that some of them come from (RFC 6672 §3),
    and signatures. Other records belong to another question: the answer to ours was not said.
    """
    from dns.rdatatype import CNAME, DNAME, RRSIG

    owners = {one.name for one in aliases}
    return all(
        (one.rdtype in (CNAME, RRSIG) and one.name in owners)
        or (one.rdtype in (DNAME, RRSIG) and any(each.is_subdomain(one.name) for each in owners))
        for one in response.answer
    )


def _is_referral(response: Any) -> bool:
    """True if a server that says nothing of a name has not looked it up.

    It is no authority for what the name leads to, either, so that it cannot know.
    """
    import dns.flags
    import dns.rdatatype

    if _has_soa(response) or (response.flags & dns.flags.AA and not response.answer):
        return False
    kinds = {one.rdtype for one in response.authority}
    return dns.rdatatype.NS in kinds or not response.flags & dns.flags.RA


def _has_soa(response: Any) -> bool:
    """True if it says which zone would have what it does not have (RFC 2308 §2.1)."""
    import dns.rdatatype

    return any(one.rdtype == dns.rdatatype.SOA for one in response.authority)


def _text_of(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)).lower() if len(name) > 1 else ""


def _record_of(kind: str, data: Any) -> Record:
    match kind:
        case "MX":
            return MX(data.preference, _text_of(data.exchange))
        case "TLSA":
            return TLSA(data.usage, data.selector, data.mtype, bytes(data.cert))
        case "TXT":
            return b"".join(data.strings)[:_TEXT].decode("ascii", "replace")
        case "CNAME":
            return _text_of(data.target)
        case _:
            return str(data.address)
