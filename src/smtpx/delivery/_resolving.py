"""From a next hop to its hosts, their addresses and their terms: a procedure; `Plan`, its value."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from ._exchangers import Levels, Rank, exchangers, is_host, is_literal, literal_address
from ._places import Site
from ._steps import LookUps, Steps
from ._terms import Level, Terms
from .addressing import AddressPolicy
from .dane import TLSA, usable
from .mta_sts import Mode, Policy
from .outcomes import DeliveryFailed, Failure
from .resolver import Answer, AnswerState, Question

__all__ = [
    "TLSA_UNKNOWN",
    "TLSA_UNUSABLE",
    "Exchanger",
    "Plan",
    "Reached",
    "Route",
    "Rules",
    "in_turn",
    "level_of",
    "route_to",
    "with_terms",
]

_FOUND, _FAILED = AnswerState.FOUND, AnswerState.FAILED
TLSA_UNKNOWN = "its TLSA records are not known (RFC 7672 §2.1)"
TLSA_UNUSABLE = "TLSA records, none usable (RFC 7672 §2.2)"


@dataclass(frozen=True, slots=True)
class Exchanger:
    """One mail exchanger, and what is to be done about it."""

    name: str
    preference: int
    addresses: tuple[str, ...]
    """Those that are dialled, in their order."""
    terms: Terms
    row: str
    """What the terms were decided by, and the RFC that says so."""
    skipped: DeliveryFailed | None = None
    """Why it is not tried, where it is not."""
    notes: tuple[str, ...] = ()


Exchanger.__module__ = "smtpx.delivery"


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be done with mail for a domain: the whole decision as data."""

    next_hop: str
    row: str = ""
    """What the exchangers were decided by, and the RFC that says so."""
    mx_secure: bool = False
    """DNSSEC vouches for the MX records."""
    exchangers: tuple[Exchanger, ...] = ()
    """Best first."""
    policy: Policy | None = None
    """The MTA-STS policy of the domain, if it has one."""
    failure: DeliveryFailed | None = None
    """Why nothing can be sent there, where nothing can."""
    notes: tuple[str, ...] = ()
    reports_to: tuple[str, ...] = ()
    """Where the domain wants TLS reports (RFC 8460 §3): ``mailto:`` and ``https`` URLs."""
    is_validated: bool = True
    """False where DANE is wanted, and the name servers are not believed to validate DNSSEC."""

    def __str__(self) -> str:
        lines = [f"{self.next_hop}: {self.row or self.failure}"]
        lines += [f"  {note}" for note in self.notes]
        if not self.is_validated:
            lines.append("  no DANE: the name servers are not believed to validate DNSSEC")
        if self.policy is not None:
            lines.append(f"  MTA-STS: {self.policy}")
        for one in self.exchangers:
            what = f"skipped: {one.skipped}" if one.skipped else f"{one.terms}: {one.row}"
            lines.append(f"  {one.preference} {one.name} [{', '.join(one.addresses)}] {what}")
            lines += [f"    {note}" for note in one.notes]
        if self.reports_to:
            lines.append(f"  TLS reports go to {', '.join(self.reports_to)}")
        return "\n".join(lines)


Plan.__module__ = "smtpx.delivery"


@dataclass(frozen=True, slots=True)
class Rules:
    """What the caller wants of every delivery."""

    port: int = 25
    addresses: AddressPolicy = field(default_factory=AddressPolicy)
    own_names: frozenset[str] = frozenset()
    own_addresses: frozenset[str] = frozenset()
    dane: bool = True
    validates: bool = True
    """Whoever answers is believed to have validated DNSSEC."""
    mta_sts: bool = True
    prefers_ipv4: bool = False
    minimum: Terms = Terms.OPPORTUNISTIC
    policy_port: int = 443
    counts: bool = False
    """Sessions are counted for TLS reports (RFC 8460)."""


class Route(NamedTuple):
    """What is known of a next hop before its hosts are looked at."""

    next_hop: str
    levels: Levels
    mx_secure: bool = False
    expanded: str = ""
    """What the domain expanded to, where it is an alias."""
    policy: Policy | None = None
    is_obeyed: bool = True
    """False with ``TLS-Required: No``: policies are looked at, and not obeyed (RFC 8689 §5)."""
    notes: tuple[str, ...] = ()
    txt: Answer | None = None
    """What ``_mta-sts`` of the domain says."""
    reporting: Answer | None = None
    """What ``_smtp._tls`` of the domain says, where that was asked for."""

    @property
    def site(self) -> Site:
        """What it has in common with other domains that have the same mail exchangers."""
        return frozenset(host for rank in self.levels.levels for host in rank.hosts)


def route_to(
    next_hop: str, rules: Rules, seed: int, *, asks_for_reporting: bool = False
) -> Steps[Route]:
    """The hosts of a next hop, best first.

    Raises:
        DeliveryFailed: there are none, or nobody knows.
    """
    if is_literal(next_hop):
        level = Rank(0, (next_hop,))
        return Route(next_hop, Levels((level,), "an address literal (RFC 5321 §4.1.3)"))
    if "." not in next_hop and next_hop not in rules.own_names:
        raise DeliveryFailed(
            f"{next_hop or 'an address without a domain'} is a local name, of which no mail "
            "exchanger is known",
            Failure.NO_SUCH_DOMAIN,
        )
    questions = [Question(next_hop, "MX")]
    if rules.mta_sts:
        questions.append(Question(f"_mta-sts.{next_hop}", "TXT"))
    if asks_for_reporting:
        questions.append(Question(f"_smtp._tls.{next_hop}", "TXT"))
    answer, *others = yield LookUps(tuple(questions), needed=1)
    levels = exchangers(next_hop, answer, rules.own_names, seed)
    return Route(
        *(next_hop, levels, answer.secure, answer.name),
        notes=levels.notes,
        txt=others[0] if rules.mta_sts else None,
        reporting=others[-1] if asks_for_reporting else None,
    )


class Reached(NamedTuple):
    """A mail exchanger whose addresses are known, and not yet what must be true of TLS."""

    host: Exchanger
    families: Sequence[Answer] = ()
    """What A and AAAA said; nothing of an address literal."""


def level_of(route: Route, level: Rank, rules: Rules) -> Steps[list[Reached]]:
    """The exchangers of one preference, and their addresses.

    Raises:
        DeliveryFailed: one of them is ourselves, so that this level and all worse are left out.
    """
    ours = [host for host in level.hosts if host in rules.own_names]
    if ours:
        raise _loop(route, ours[0])
    if is_literal(route.next_hop):
        return [Reached(_of_literal(route.next_hop, level.preference, rules))]
    questions = [Question(host, kind) for host in level.hosts for kind in ("A", "AAAA")]
    answers: Sequence[Answer] = yield LookUps(tuple(questions))
    found: list[Reached] = []
    for place, host in enumerate(level.hosts):
        families = answers[2 * place : 2 * place + 2]
        given = in_turn(families, rules)
        aliases = [one.name for one in families]
        if not (rules.own_addresses.isdisjoint(given) and rules.own_names.isdisjoint(aliases)):
            raise _loop(route, host)
        reached = _reached(host, level.preference, given, families, rules)
        found.append(Reached(reached, families))
    return found


def _loop(route: Route, host: str) -> DeliveryFailed:
    return DeliveryFailed(
        f"mail for {route.next_hop} loops back to ourselves: {host} has an address or a name of "
        "ours",
        Failure.LOOPS,
    )


def in_turn(families: Sequence[Answer], rules: Rules) -> list[str]:
    """All addresses of a host, the families in turn."""
    first, second = families if rules.prefers_ipv4 else reversed(families)
    addresses = [str(each) for each in first.records]
    for place, each in enumerate(second.records):
        addresses.insert(2 * place + 1, str(each))
    return addresses


def _of_literal(literal: str, preference: int, rules: Rules) -> Exchanger:
    address = literal_address(literal)
    skipped = None
    if address in rules.own_addresses:
        raise DeliveryFailed(f"mail for {literal} loops back to ourselves", Failure.LOOPS)
    if not rules.addresses.allows(address):
        skipped = DeliveryFailed(
            f"{literal} is not to be dialled: AddressPolicy(allow=…) may say otherwise",
            Failure.ADDRESS_REFUSED,
        )
    row = "an address literal: no DANE, no MTA-STS (RFC 8461 §3.4)"
    return Exchanger(literal, preference, (address,), rules.minimum, row, skipped)


def _reached(
    host: str, preference: int, given: list[str], families: Sequence[Answer], rules: Rules
) -> Exchanger:
    """A host and those of its addresses that may be dialled."""
    allowed = tuple([each for each in given if rules.addresses.allows(each)])
    notes = [
        f"{kind} could not be looked up: {one.detail}"
        for kind, one in zip(("A", "AAAA"), families, strict=True)
        if one.state is _FAILED
    ]
    skipped = None
    if not given and notes:
        skipped = DeliveryFailed(f"{host}: {'; '.join(notes)}", Failure.LOOKUP_FAILED)
    elif not given:
        skipped = DeliveryFailed(f"{host} has no address", Failure.NO_ADDRESS)
    elif not allowed:
        skipped = DeliveryFailed(
            f"{host} has addresses that are not to be dialled: {', '.join(given[:5])}; "
            "AddressPolicy(allow=…) may say otherwise",
            Failure.ADDRESS_REFUSED,
        )
    row = "nobody's policy: the minimum (RFC 7435)"
    return Exchanger(host, preference, allowed, rules.minimum, row, skipped, tuple(notes))


def with_terms(reached: Reached, route: Route, rules: Rules) -> Steps[Exchanger]:
    """The exchanger with the terms that DANE, MTA-STS and the minimum come to."""
    host, families = reached.host, reached.families
    if host.skipped is not None or not families:
        return host
    if not route.is_obeyed:
        row = "TLS-Required: No (RFC 8689 §5)"
        return _changed(host, Terms.OPPORTUNISTIC, row)
    # Where nobody validates, nothing is secure: there is nothing to be asked.
    is_dane = rules.dane and rules.validates
    try:
        dane = (yield from _dane(host.name, route, families, rules)) if is_dane else None
    except DeliveryFailed as error:
        return _changed(host, host.terms, TLSA_UNKNOWN, error)
    matching = dane if dane is not None and dane[0].level is Level.DANE else None
    if matching is not None and route.mx_secure:
        return _changed(host, *matching)
    policy = route.policy
    if policy is not None and policy.mode is Mode.ENFORCE:
        # Who forges MX records may have TLSA records of his own at the host that he names.
        if not policy.matches(host.name):
            mismatch = DeliveryFailed(
                f"{host.name} is none of the hosts that the MTA-STS policy of {route.next_hop} "
                f"names: {', '.join(policy.mx[:5])}" + ", …" * (len(policy.mx) > 5),
                Failure.TLS_POLICY,
            )
            return _changed(host, Terms.VERIFIED, "MTA-STS, enforced (RFC 8461 §4.1)", mismatch)
        if matching is None:
            return _changed(host, Terms.VERIFIED, "MTA-STS, enforced (RFC 8461 §4.2)")
        terms = replace(matching[0], mx_insecure=False)
        return _changed(host, terms, "DANE at a host of the MTA-STS policy (RFC 8461 §4.1)")
    # What proves nothing does not stand for a minimum that asks whose certificate it is.
    is_enough = matching is None or rules.minimum.level < Level.VERIFIED
    if dane is not None and dane[0].level > rules.minimum.level and is_enough:
        return _changed(host, *dane)
    if host.terms.level is Level.VERIFIED and not route.mx_secure:
        return _changed(host, Terms(Level.VERIFIED, mx_insecure=True), host.row)
    return host


def _changed(
    host: Exchanger, terms: Terms, row: str, skipped: DeliveryFailed | None = None
) -> Exchanger:
    return Exchanger(host.name, host.preference, host.addresses, terms, row, skipped, host.notes)


def _dane(
    host: str, route: Route, families: Sequence[Answer], rules: Rules
) -> Steps[tuple[Terms, str] | None]:
    """The terms of DANE (RFC 7672 §2.2); ``None`` where it does not apply.

    Raises:
        DeliveryFailed: nobody knows whether it does.
    """
    given = [one for one in families if one.state is _FOUND]
    # Either family will do: there are zones that fail to deny the other one.
    secure = [one for one in given if one.secure]
    expanded = (secure or given)[0].name
    if secure:
        # Of what is no name of a host, no server can be asked.
        bases = [expanded, host] if expanded != host and is_host(expanded) else [host]
    elif expanded and expanded != host:
        # RFC 7672 §2.2.2: the alias may be signed, where what it leads to is not.
        (alias,) = yield LookUps((Question(host, "CNAME"),))
        if alias.state is _FAILED:
            raise DeliveryFailed(
                f"whether {host} is a secure alias could not be looked up: {alias.detail}",
                Failure.TLS_POLICY,
            )
        if alias.state is not _FOUND or not alias.secure:
            return None
        bases = [host]
    else:
        # RFC 7672 §2.2.1: not asked, for there are servers that drop such questions.
        return None
    for base in bases:
        (answer,) = yield LookUps((Question(f"_{rules.port}._tcp.{base}", "TLSA"),))
        if answer.state is _FAILED:
            raise DeliveryFailed(
                f"the TLSA records of {base} could not be looked up: {answer.detail}",
                Failure.TLS_POLICY,
            )
        if answer.state is _FOUND and answer.secure:
            return _terms_of(base, answer, route)
    return None


def _terms_of(base: str, answer: Answer, route: Route) -> tuple[Terms, str]:
    records = usable([record for record in answer.records if isinstance(record, TLSA)])
    if not records:
        return Terms.ENCRYPTED, TLSA_UNUSABLE
    names = [base]
    if route.mx_secure:
        names += [route.next_hop, route.expanded or route.next_hop]
    terms = Terms(Level.DANE, records, base, tuple(dict.fromkeys(names)), not route.mx_secure)
    if route.mx_secure:
        return terms, "DANE (RFC 7672 §2.2)"
    return terms, "DANE behind insecure MX records (RFC 7672 §2.2.1)"
