"""How a `Delivery` delivers, checked; and what both colours of it do alike, without waiting."""

from __future__ import annotations

import ipaddress
import logging
import re
import ssl
from collections import OrderedDict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import replace
from email.message import Message
from functools import cache, lru_cache
from itertools import count
from os import PathLike
from time import time
from types import NoneType
from typing import TYPE_CHECKING, Any, TypeAlias, TypedDict, cast

from smtpx import Session, _checks
from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError
from smtpx.observing import Observer
from smtpx.options import Timeouts
from smtpx.signing import Signer
from smtpx.tls import TLSMode, TLSPolicy

from ._deadline import Deadline
from ._dnspython import NameServers, SystemServers, check_installed
from ._exchangers import is_host, is_literal
from ._places import DeliveryLimits
from ._reporting import reported
from ._resolving import Rules
from ._steps import Count, Keep, Known, Steps
from ._terms import Level, Terms
from ._walking import Course
from .addressing import AddressPolicy
from .mta_sts import MemoryPolicies, Policies
from .outcomes import DeliveryFailed, DeliveryResult, Failure
from .reports import SentReport, TLSReports

if TYPE_CHECKING:
    from ._tallies import Due, Tallies

__all__ = [
    "AnyContent",
    "DeliveryOptions",
    "Settings",
    "as_it_is",
    "domain_of",
    "ready",
    "verdict",
]

AnyContent: TypeAlias = "Message[str, str] | bytes | bytearray | memoryview | Iterable[bytes]"
"""A message of the `email` package, or its octets."""


class DeliveryOptions(TypedDict, total=False):
    """The keyword arguments of `Delivery` and `AsyncDelivery`."""

    port: int
    """Of the mail exchangers: 25, but in tests."""
    addresses: AddressPolicy
    """Which addresses may be dialled."""
    own_names: Collection[str]
    """Host names of ours, beside `client_name`: a domain whose best host is one of them loops."""
    own_addresses: Collection[str]
    """IP addresses of ours, as others see them."""
    dane: bool
    """Obey TLSA records (RFC 7672), where the name servers validate."""
    mta_sts: bool
    """Obey MTA-STS policies (RFC 8461)."""
    policies: Policies
    """Where MTA-STS policies are kept: `mta_sts.SQLitePolicies` outlives the process."""
    reports: TLSReports | None
    """Who tells other domains what became of sessions with them (RFC 8460): nobody, by default."""
    minimum: Terms
    """What is asked of TLS where neither says more: NONE, OPPORTUNISTIC, ENCRYPTED or VERIFIED."""
    ca_file: str | PathLike[str] | None
    """A PEM file of the authorities to trust where a host is verified, instead of the system's."""
    prefer_ipv4: bool
    """Dial a host's IPv4 addresses before its IPv6 ones, as where yours of IPv6 has no PTR record.
    By default it is the other way round (RFC 6724)."""
    source_address: tuple[str, int] | Sequence[tuple[str, int]] | None
    """IP address and port (0: any) to connect from; or one of each family."""
    timeouts: Timeouts | None
    """Of a session; its `total` is for a whole message, with the DNS and all that it waits for."""
    resolver_timeout: float
    """Seconds that the DNS may take for one domain in all: 60. What is not known then may be
    another time."""
    limits: DeliveryLimits
    """How many sessions there may be at once, and how long one is kept."""
    observer: Observer | None
    signer: Signer | None
    seed: int
    """What the order of hosts of equal preference is drawn from."""


DeliveryOptions.__module__ = "smtpx.delivery"

# RFC 8461 §3.3: no more than once in five minutes is asked again where it failed.
_BACK_OFF = 300.0
_LOG = logging.getLogger("smtpx.delivery")
_FAILURES = 10_000
_KINDS: dict[str, Any] = {
    "addresses": (AddressPolicy, "a smtpx.delivery.AddressPolicy"),
    "dane": (bool, "True or False"),
    "mta_sts": (bool, "True or False"),
    "prefer_ipv4": (bool, "True or False"),
    "limits": (DeliveryLimits, "a smtpx.delivery.DeliveryLimits"),
    "minimum": (Terms, "a smtpx.delivery.Terms, such as Terms.ENCRYPTED"),
    "seed": (int, "an int"),
}


class Settings:
    """The options, complete and checked."""

    def __init__(self, client_name: str, resolver: object, options: DeliveryOptions) -> None:
        """Take them.

        Raises:
            LocalProtocolError, TypeError, ValueError: one of them is wrong.
            ExtraMissing: dnspython is not installed, and no other resolver is given.
        """
        known = DeliveryOptions.__annotations__
        if unknown := options.keys() - known.keys():
            raise _checks.unknown("option", unknown, known)
        for name, (kind, allowed) in _KINDS.items():
            value = options.get(name)
            is_wrong = isinstance(value, bool) and kind is int
            if name in options and (is_wrong or not isinstance(value, kind)):
                raise _checks.complaint(name, value, allowed)
        _checks.text("client_name", client_name)
        if "." not in client_name or is_literal(client_name):
            raise LocalProtocolError(
                f"client_name={client_name!r}: give the full name of this host, such as "
                "mail.example.org; mail exchangers refuse others"
            )
        port = options.get("port", 25)
        _checks.count("port", port, 1, 65535)
        minimum = options.get("minimum", Terms.OPPORTUNISTIC)
        if minimum.level is Level.DANE:
            raise ValueError("minimum: give NONE, OPPORTUNISTIC, ENCRYPTED or VERIFIED")
        own_names = _texts("own_names", options.get("own_names", ()))
        for name in own_names:
            if not is_host(name.lower()):
                raise ValueError(f"own_names: {name[:80]!r} is no host name")
        own_addresses = _texts("own_addresses", options.get("own_addresses", ()))
        self._system = SystemServers() if resolver is None else None
        self.resolver = _resolver_of(resolver if self._system is None else self._system.now())
        self.client_name = client_name
        self.rules = Rules(
            port=port,
            addresses=options.get("addresses") or AddressPolicy(),
            own_names=frozenset(name.lower() for name in (client_name, *own_names)),
            own_addresses=frozenset(map(_address, own_addresses)),
            dane=options.get("dane", True),
            validates=getattr(self.resolver, "validating", True) is True,
            mta_sts=options.get("mta_sts", True),
            prefers_ipv4=options.get("prefer_ipv4", False),
            minimum=minimum,
            counts=options.get("reports") is not None,
        )
        reports = options.get("reports")
        if not isinstance(reports, (TLSReports, NoneType)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("reports", reports, "a smtpx.delivery.TLSReports or None")
        self.reports = reports
        self.tallies: Tallies | None = None
        if reports is not None:
            # SQLite is loaded for those who report.
            from ._tallies import Tallies

            self.tallies = Tallies(reports.path)
        policies = options.get("policies")
        self.policies: Policies = MemoryPolicies() if policies is None else policies
        if not (hasattr(self.policies, "get") and hasattr(self.policies, "put")):
            raise TypeError(
                "policies: give smtpx.delivery.mta_sts.SQLitePolicies, or what has get and put, "
                f"not {type(self.policies).__name__}"
            )
        self._unkept = MemoryPolicies()
        """Those that `policies` could not keep: they hold all the same, as long as we live."""
        self._failed: OrderedDict[str, tuple[str, str, float]] = OrderedDict()
        self.limits = options.get("limits") or DeliveryLimits()
        self.resolver_timeout = options.get("resolver_timeout", 60.0)
        _checks.amount("resolver_timeout", self.resolver_timeout, "seconds")
        self.ca_file = options.get("ca_file")
        self.seed = options.get("seed", 0)
        self.turns = count()
        """Another one for each message."""
        self.session: dict[str, Any] = {"client_name": client_name}
        for name in ("timeouts", "observer", "signer"):
            if options.get(name) is not None:
                self.session[name] = cast("dict[str, Any]", options)[name]
        # What a session takes is looked at by one.
        sources: Any = options.get("source_address")
        _ = Session(
            "smtp://localhost",
            tls=self.tls("localhost", Terms.VERIFIED),
            source_address=sources,
            **self.session,
        )
        self.sources: tuple[tuple[str, int], ...] = ()
        if sources is not None:
            self.sources = (sources,) if isinstance(sources[0], str) else tuple(sources)
        timeouts = options.get("timeouts") or Timeouts()
        self.connect_timeout, self.total = timeouts.connect, timeouts.total

    def look_anew(self) -> None:
        """Have the name servers be those that the system has now, unless the caller named them."""
        servers = None if self._system is None else self._system.now()
        if servers is not None and servers is not self.resolver:
            self.resolver = servers
            self.rules = replace(self.rules, validates=servers.validating)

    def known(self, domain: str) -> Known:
        """What is known of the policy of a domain.

        Raises:
            DeliveryFailed: what keeps the policies has failed, so that nobody knows.
        """
        now = time()
        id, why, until = self._failed.get(domain, ("", "", 0.0))
        stored = unkept = self._unkept.get(domain)
        try:
            kept = self.policies.get(domain)
        except Exception as error:
            if unkept is None:
                raise DeliveryFailed(
                    f"whether {domain} has an MTA-STS policy could not be looked up in "
                    f"{type(self.policies).__name__}: {error}",
                    Failure.TLS_POLICY,
                ) from error
        else:
            if kept is not None and (unkept is None or kept.fetched >= unkept.fetched):
                stored = kept
        return Known(now, stored, id, why) if until > now else Known(now, stored)

    def keep(self, step: Keep) -> None:
        """Keep a policy; or that it is not to be had under its id, for a while."""
        if step.stored is not None:
            try:
                self.policies.put(step.domain, step.stored)
            except Exception as error:
                self._unkept.put(step.domain, step.stored)
                _LOG.warning(
                    "the MTA-STS policy of %s holds until this process ends: %s cannot keep it: %s",
                    *(step.domain, type(self.policies).__name__, error),
                )
            return
        self._failed[step.domain] = step.id, step.why, time() + _BACK_OFF
        while len(self._failed) > _FAILURES:
            _ = self._failed.popitem(last=False)

    def deadline(self) -> Deadline:
        """When the time for a message that begins now is over."""
        return Deadline(self.total)

    def course(self, content: AnyContent, envelope: Envelope) -> Course:
        """What is to become of one message."""
        self.look_anew()
        return Course(
            *(envelope, self.rules, self.seed, next(self.turns)),
            obeys_policies=obeys_policies(content, envelope),
        )

    def close(self) -> None:
        """Let go of what is open."""
        if self.tallies is not None:
            self.tallies.settle()
            self.tallies.close()

    def count(self, step: Count) -> None:
        """Count a session."""
        if self.tallies is None:
            return
        sending = self._sending(step.failure.address) if step.failure else ""
        failure = step.failure and replace(step.failure, sending_address=sending)
        self.tallies.count(step.policy, failure, time())

    def _sending(self, address: str) -> str:
        """Our own address, as far as the caller has said it."""
        found = [source[0] for source in self.sources]
        return next((one for one in found if (":" in one) == (":" in address)), "")

    def next_report(self) -> tuple[Due, Steps[SentReport]] | None:
        """A report that has to be sent now, and what sends it.

        Raises:
            LocalProtocolError: none are to be sent.
        """
        if self.tallies is None or self.reports is None:
            raise LocalProtocolError("there are no reports: give reports=TLSReports(…)")
        due = self.tallies.due(time())
        return None if due is None else (due, reported(due, self.reports, self.rules, time()))

    def allows(self, place: str) -> bool:
        """True if one more report may go to a place today; it is counted."""
        return self.tallies is not None and self.tallies.allow(place, time())

    def end(self, due: Due, sent: SentReport) -> None:
        """Note what has become of a report."""
        if self.tallies is None:
            return
        if sent.error is None:
            self.tallies.end(due)
        elif not self.tallies.postpone(due, tuple(sent.places), time()):
            _LOG.warning("the TLS report to %s is given up: %s", sent.domain, sent.error)

    def policy_tls(self, host: str) -> TLSPolicy:
        """What a policy host is verified by (RFC 8461 §3.3)."""
        return TLSPolicy(TLSMode.IMPLICIT, ca_file=self.ca_file, server_hostname=host)

    def tls(self, host: str, terms: Terms) -> TLSPolicy:
        """What a session has to be opened with, so that the terms can be met."""
        name = None if is_literal(host) else terms.base or host
        match terms.level:
            case Level.NONE:
                return TLSPolicy(TLSMode.NONE)
            case Level.OPPORTUNISTIC:
                return TLSPolicy(TLSMode.OPPORTUNISTIC, context=_believing(), server_hostname=name)
            case Level.ENCRYPTED | Level.DANE:
                return TLSPolicy(TLSMode.STARTTLS, context=_believing(), server_hostname=name)
            case Level.VERIFIED:
                return TLSPolicy(TLSMode.STARTTLS, ca_file=self.ca_file, server_hostname=name)


def _texts(name: str, given: object) -> tuple[str, ...]:
    _checks.each(name, given, "str", str)
    return tuple(cast("Collection[str]", given))


def _address(text: str) -> str:
    """An IP address as the DNS has it."""
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        raise ValueError(f"own_addresses: {text[:80]!r} is no IP address") from None


def _resolver_of(given: object) -> Any:
    if isinstance(given, NameServers):
        check_installed()
        return given
    if isinstance(given, type) or not callable(getattr(given, "look_up", None)):
        raise TypeError(
            "resolver: give smtpx.delivery.NameServers, or what has a look_up, not "
            f"{type(given).__name__}"
        )
    return given


@cache
def _believing() -> ssl.SSLContext:
    """A context that verifies nothing: what has to be true is looked at afterwards.

    Where nobody is authenticated, whatever OpenSSL holds for safe is better than plain text.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_ciphers("DEFAULT")
    return context


def ready(message: Any, envelope: Envelope | None) -> tuple[AnyContent, Envelope]:
    """A message that can be sent more than once, and its envelope.

    Raises:
        LocalProtocolError, AddressError, TypeError: it cannot be sent.
    """
    if envelope is not None and not isinstance(envelope, Envelope):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
        raise _checks.complaint("envelope", envelope, "a smtpx.Envelope or None")
    given: Any = message
    if isinstance(given, Message):
        whole = cast("Message[str, str]", given)
        return whole, envelope or Envelope.from_message(cast("Any", whole))
    if isinstance(given, str) or not isinstance(given, Iterable):
        raise _no_message(given)
    if envelope is None:
        raise LocalProtocolError("envelope: give one, for octets do not say who gets them")
    if isinstance(given, (bytes, bytearray, memoryview)):
        return bytes(cast("bytes", given)), envelope
    parts: list[Any] = list(cast("Any", given))
    if not all(isinstance(part, (bytes, bytearray, memoryview)) for part in parts):
        raise _no_message(cast("object", given))
    return b"".join(parts), envelope


def _no_message(message: object) -> TypeError:
    allowed = "an EmailMessage, bytes, a binary file or an iterable of bytes"
    return _checks.complaint("message", message, allowed)


def obeys_policies(content: AnyContent, envelope: Envelope) -> bool:
    """False where the message says ``TLS-Required: No`` (RFC 8689 §5), which REQUIRETLS outdoes."""
    if envelope.require_tls:
        return True
    if isinstance(content, Message):
        said = [str(value) for value in content.get_all("TLS-Required", ())]
    else:
        octets = bytes(cast("bytes", content))
        end = re.search(rb"(?:\A|\r?\n)\r?\n", octets)
        header = octets[: end.start()] if end else octets
        found = re.findall(rb"(?im)^TLS-Required:((?:[^\r\n]|\r?\n[ \t])*)", header)
        said = [value.decode("latin-1") for value in found]
    return not any(value.strip().lower() == "no" for value in said)


def as_it_is(result: DeliveryResult) -> DeliveryResult:
    """The result, whoever gets the message."""
    return result


def verdict(result: DeliveryResult) -> DeliveryResult:
    """The result, if somebody gets the message.

    Raises:
        SMTPError: its error, if nobody does.
    """
    if result.error is not None and not result.accepted:
        raise result.error
    return result


def domain_of(next_hop: str) -> str:
    """A domain as the DNS has it: A-labels, lower case, no dot at the end.

    Raises:
        AddressError: it is none.
        TypeError: it is no `str`.
    """
    _checks.text("domain", next_hop)
    return _domain_of(next_hop)


@lru_cache(4096)
def _domain_of(next_hop: str) -> str:
    from smtpx.addresses import Address
    from smtpx.errors import AddressError

    try:
        return Address.parse(f"postmaster@{next_hop.removesuffix('.')}").domain.lower()
    except AddressError:
        raise AddressError(f"domain={next_hop!r:.80} is not a domain") from None
