"""From a message to an outcome for each recipient: a procedure, one text for every world."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from zlib import crc32

from smtpx.envelope import Envelope
from smtpx.errors import (
    AddressError,
    ExtensionMissing,
    GreetingRefused,
    HelloRefused,
    LocalProtocolError,
    RecipientsRefused,
    ReplyError,
    SessionFull,
    SMTPError,
    TLSFailure,
    TLSPolicyError,
    TLSRefused,
)
from smtpx.replies import Reply
from smtpx.results import SendResult, Status

from ._counting import is_tried, of_host, of_session
from ._exchangers import is_literal
from ._places import Site
from ._policy import renewed, with_policy
from ._resolving import Exchanger, Plan, Reached, Route, Rules, level_of, route_to, with_terms
from ._steps import Away, Begin, Marked, Said, Steps, Try
from ._terms import Level, Terms
from .mta_sts import Mode, Policy
from .outcomes import Attempt, DeliveryFailed, DeliveryOutcome, DeliveryResult, Failure
from .resolver import Answer
from .tls_reports import destinations

__all__ = ["delivered", "planned"]

# Of one message for one next hop: addresses dialled, and sessions that got as far as MAIL.
_ADDRESSES, _SESSIONS = 5, 2
# Preferences that are sure to have one of these addresses each.
_RANKS = 3
# An attack may make any of these; a host that is in earnest makes them, too.
_HANDSHAKE_FAILED = (TLSPolicyError, TLSRefused)
_TLS_WANTED = 530
# What is wrong with the message, so that no other host would take it.
_FAULTS = (LocalProtocolError, AddressError)


def planned(next_hop: str, rules: Rules, seed: int) -> Steps[Plan]:
    """The whole decision for a next hop, without a connection."""
    try:
        route = yield from route_to(next_hop, rules, seed, asks_for_reporting=True)
    except DeliveryFailed as error:
        return Plan(next_hop, failure=error)
    route = yield from with_policy(route, rules)
    found: list[Exchanger] = []
    failure: DeliveryFailed | None = None
    for rank in route.levels.levels:
        try:
            for reached in (yield from level_of(route, rank, rules)):
                found.append((yield from with_terms(reached, route, rules)))
        except DeliveryFailed as error:
            failure = _looping(error, found)
            break
    if not any(one.skipped is None for one in found):
        failure = failure or _reason([one.skipped for one in found if one.skipped], next_hop)
    else:
        failure = None
    return Plan(
        next_hop,
        route.levels.row,
        route.mx_secure,
        tuple(found),
        route.policy,
        failure,
        route.notes,
        _places_of(route.reporting),
        not rules.dane or rules.validates or is_literal(next_hop),
    )


def _places_of(reporting: Answer | None) -> tuple[str, ...]:
    if reporting is None or not reporting.records:
        return ()
    return destinations([str(each) for each in reporting.records])


def delivered(
    envelope: Envelope, rules: Rules, seed: int, *, obeys_policies: bool
) -> Steps[DeliveryResult]:
    """Send a message to the next hop of each recipient; never raises an `SMTPError`.

    ::

        LookUps MX, then A and AAAA, then TLSA of each host
        Try     each host at each address, until everybody has a final word
    """
    places: dict[str, list[int]] = {}
    for place, recipient in enumerate(envelope.recipients):
        places.setdefault(recipient.address.domain.lower(), []).append(place)
    walks: list[_Walk] = []
    for those in places.values():
        part = envelope.replace(recipients=[envelope.recipients[place] for place in those])
        walks.append(_Walk(part, rules, obeys_policies=obeys_policies))
    try:
        for next_hop, walk in zip(places, walks, strict=True):
            yield from walk.go(next_hop, seed ^ _drawn_for(envelope))
    except BaseException as interruption:
        vars(interruption)["result"] = _told(places, walks)
        raise
    return _told(places, walks)


def _drawn_for(envelope: Envelope) -> int:
    """What spreads mail over equal hosts (RFC 5321 §5.1), and takes the same mail to the same one.

    A host that greylists knows who sends to whom, and would begin anew with each host that it
    is taken to (D51).
    """
    return crc32(f"{envelope.sender} {envelope.recipients[0].address}".encode())


def _told(places: Mapping[str, Sequence[int]], walks: Sequence[_Walk]) -> DeliveryResult:
    """What became of everybody, as far as the walks have come."""
    told: dict[int, DeliveryOutcome] = {}
    for those, walk in zip(places.values(), walks, strict=True):
        told.update(zip(those, walk.outcomes(), strict=True))
    outcomes = [told[place] for place in sorted(told)]
    error = next((walk.error for walk in walks if walk.error is not None), None)
    refused = [one for one in outcomes if one.status is Status.REFUSED and one.reply is not None]
    if error is None and refused and not any(one.status is Status.ACCEPTED for one in outcomes):
        first = refused[0]
        if first.reply is not None:
            error = RecipientsRefused(
                None, first.reply, refused=f"the message to {first.recipient}"
            )
    reply = next((walk.reply for walk in walks if walk.reply is not None), None)
    result = DeliveryResult(outcomes, reply, error)
    result.server = next((walk.server for walk in walks if walk.server is not None), None)
    return result


@dataclass(slots=True)
class _Standing:
    """What is known of one recipient so far."""

    outcome: DeliveryOutcome
    is_final: bool = False
    attempts: list[Attempt] = field(default_factory=list[Attempt])


class _Walk:
    """One message on its way to one next hop."""

    def __init__(self, envelope: Envelope, rules: Rules, *, obeys_policies: bool) -> None:
        self._envelope = envelope
        self._rules = rules
        self._obeys_policies = obeys_policies
        self._standing = [
            _Standing(DeliveryOutcome(each.address, Status.NOT_TRIED, None))
            for each in envelope.recipients
        ]
        self._is_marked = False
        self._left = _ADDRESSES
        self._sessions = _SESSIONS
        self._reasons: list[DeliveryFailed] = []
        self._refused: tuple[ReplyError, Attempt] | None = None
        self._missing: ExtensionMissing | None = None
        self.reply: Reply | None = None
        self.server: str | None = None
        self.error: SMTPError | None = None
        """Why somebody was neither taken nor refused."""

    def go(self, next_hop: str, seed: int) -> Steps[None]:
        """Go through the hosts until nobody is left, or no host."""
        yield Begin(next_hop)
        try:
            route = yield from route_to(next_hop, self._rules, seed)
            if self._obeys_policies:
                route = yield from with_policy(route, self._rules)
            else:
                route = route._replace(is_obeyed=False)
            yield from self._through(route)
            if self._is_stopped_by(route.policy):
                again = yield from renewed(route, self._rules)
                if again is not None:
                    self._reasons.clear()
                    self._left, self._sessions = _ADDRESSES, _SESSIONS
                    yield from self._through(again)
        except SMTPError as error:
            self._fail(error)
            return
        if self._remaining:
            self._give_up(next_hop)

    def _through(self, route: Route) -> Steps[None]:
        ranks = route.levels.levels
        seen: list[Reached] = []
        later: list[tuple[Exchanger, tuple[str, ...]]] = []
        for place, rank in enumerate(ranks):
            try:
                hosts = yield from level_of(route, rank, self._rules)
            except DeliveryFailed as error:
                self._reasons.append(_looping(error, seen))
                break
            seen += hosts
            # Each of the first three preferences has an address of its own (D13).
            reserved = max(min(len(ranks), _RANKS) - place - 1, 0)
            for reached in hosts:
                host = yield from with_terms(reached, route, self._rules)
                if (yield from self._is_usable(host, route)):
                    away: frozenset[str] = yield Away(host.addresses)
                    if away:
                        later.append((host, tuple(one for one in host.addresses if one in away)))
                    near = [one for one in host.addresses if one not in away]
                    yield from self._at(host, near, route, reserved)
                if self._is_done:
                    return
        for host, addresses in later:
            yield from self._at(host, list(addresses), route, 0, is_probe=True)
            if self._is_done:
                return

    @property
    def _is_done(self) -> bool:
        """True if nobody is left, or enough was tried."""
        return not self._remaining or self._left <= 0 or self._sessions <= 0

    def _is_stopped_by(self, policy: Policy | None) -> bool:
        """True if a policy may be why somebody does not get it."""
        return (
            policy is not None
            and policy.mode is Mode.ENFORCE
            and bool(self._remaining)
            and any(one.failure is Failure.TLS_POLICY for one in self._reasons)
        )

    def _is_usable(self, host: Exchanger, route: Route) -> Steps[bool]:
        """True if a host may be dialled for this message; else it is noted why not."""
        if host.skipped is not None:
            self._reasons.append(host.skipped)
            counted = of_host(host, route) if self._rules.counts else None
            if counted is not None:
                yield counted
            return False
        if self._envelope.require_tls and not host.terms.proves:
            self._reasons.append(
                DeliveryFailed(
                    f"REQUIRETLS: neither DANE nor MTA-STS proves who {host.name} is",
                    Failure.NO_REQUIRETLS,
                )
            )
            return False
        return True

    def _at(
        self,
        host: Exchanger,
        addresses: list[str],
        route: Route,
        reserved: int,
        *,
        is_probe: bool = False,
    ) -> Steps[None]:
        """Try the addresses of one host: those that are left race each other (RFC 8305)."""
        while addresses and self._left > reserved and not self._is_done:
            some = tuple(addresses[: self._left - reserved])
            said = yield from self._counted(host, some, route, is_probe=is_probe)
            if not said.begun:
                return
            self._left -= len(said.begun)
            # Those that were overtaken come last.
            addresses = [one for one in addresses if one not in said.begun] + [
                one for one in said.begun if one != said.address and one not in dict(said.unreached)
            ]
            if _is_broken_tls(said) and host.terms.level is Level.OPPORTUNISTIC:
                # RFC 7435 §4: what protects a little must not be what stops the mail.
                _ = yield from self._try(host, (said.address,), Terms.NONE, route.site)

    def _counted(
        self, host: Exchanger, addresses: tuple[str, ...], route: Route, *, is_probe: bool
    ) -> Steps[Said]:
        """Try addresses, and count that for the report to the domain, where there is to be one."""
        site = route.site
        if not self._rules.counts or not route.is_obeyed:
            return (yield from self._try(host, addresses, host.terms, site, is_probe=is_probe))
        # RFC 8461 §5: a policy in testing is told of, and stops no mail.
        is_trial = is_tried(host, route)
        terms = Terms.VERIFIED if is_trial else host.terms
        said = yield from self._try(
            host, addresses, terms, site, is_probe=is_probe, is_trial=is_trial
        )
        counted = None
        if said.address and not said.is_kept:
            counted = of_session(host, said.address, terms, route, said)
        if counted is not None:
            yield counted
        if is_trial and _is_without_tls(said):
            again = yield from self._try(host, (said.address,), host.terms, site)
            return again._replace(begun=said.begun, unreached=said.unreached)
        return said

    def _try(
        self,
        host: Exchanger,
        addresses: tuple[str, ...],
        terms: Terms,
        site: Site,
        *,
        is_probe: bool = False,
        is_trial: bool = False,
    ) -> Steps[Said]:
        those = self._remaining
        recipients = [self._envelope.recipients[place] for place in those]
        part = self._envelope.replace(recipients=recipients)
        if not self._is_marked:
            yield Marked()
            self._is_marked = True
        try:
            said: Said = yield Try(host.name, addresses, terms, site, part, is_probe)
        except BaseException as interruption:
            told = vars(interruption).get("result")
            if isinstance(told, SendResult):
                address = str(vars(interruption).get("address", addresses[0]))
                self._hear(Said(told), those, Attempt(host.name, address, terms))
            raise
        for address, error in said.unreached:
            self._attempted(Attempt(host.name, address, terms, error), those)
            self._note(error, self._standing[those[0]].attempts[-1])
        if said.address:
            attempt = Attempt(host.name, said.address, terms, said.error, said.source)
            self._attempted(attempt, those)
            if said.result is not None:
                self._sessions -= 1
                # What is broken is TLS: that a host wants it is no word on the message.
                if terms.level >= host.terms.level or not _wants_tls(said.result):
                    self._hear(said, those, attempt)
            elif said.error is not None and not (is_trial and _is_without_tls(said)):
                self._note(said.error, attempt)
        elif said.error is not None:
            self._note(said.error, Attempt(host.name, addresses[0], terms, said.error))
        return said

    def _attempted(self, attempt: Attempt, those: Sequence[int]) -> None:
        for place in those:
            self._standing[place].attempts.append(attempt)

    def _hear(self, said: Said, those: Sequence[int], attempt: Attempt) -> None:
        """Take what a server has made of the message."""
        result = said.result
        if result is None:
            raise AssertionError("who has made something of it has a result")
        self.reply = self.reply or (result.reply if result.accepted else None)
        self.server = result.server or self.server
        for place, outcome in zip(those, result.outcomes, strict=True):
            standing = self._standing[place]
            final = outcome.status in (Status.ACCEPTED, Status.IN_DOUBT) or (
                outcome.status is Status.REFUSED
                and outcome.reply is not None
                and outcome.reply.permanent
            )
            # The first word that is not final is kept, for it is told if there is no other.
            if final or standing.outcome.reply is None:
                standing.outcome = DeliveryOutcome(
                    outcome.recipient,
                    outcome.status,
                    outcome.reply,
                    *(attempt.host, attempt.address, attempt.terms),
                )
            standing.is_final = standing.is_final or final
        if result.in_doubt and result.error is not None:
            self.error = self.error or result.error
        if result.error is not None:
            self._note(result.error, attempt)

    def _note(self, error: SMTPError, attempt: Attempt) -> None:
        """Remember why nothing came of an attempt.

        Raises:
            SMTPError: it is the fault of the message.
        """
        if isinstance(error, _FAULTS) and not isinstance(error, SessionFull):
            raise error
        where = f"{attempt.host} [{attempt.address}]"
        if isinstance(error, ExtensionMissing):
            if error.keyword == "REQUIRETLS":
                self._reasons.append(DeliveryFailed(f"{where}: {error}", Failure.NO_REQUIRETLS))
            else:
                self._missing = error
                self._reasons.append(DeliveryFailed(f"{where}: {error}", Failure.NO_EXTENSION))
        elif isinstance(error, (GreetingRefused, HelloRefused)):
            known = self._refused
            # A passing refusal goes before one for good: the message may be taken yet.
            if known is None or (known[0].reply.permanent and error.transient):
                self._refused = error, attempt
        elif isinstance(error, _HANDSHAKE_FAILED) and attempt.terms.level > Level.OPPORTUNISTIC:
            self._reasons.append(DeliveryFailed(f"{where}: {error}", Failure.TLS_POLICY))
        elif not isinstance(error, ReplyError) or isinstance(error, TLSRefused):
            self._reasons.append(DeliveryFailed(f"{where}: {error}", Failure.UNREACHABLE))

    @property
    def _remaining(self) -> list[int]:
        return [place for place, one in enumerate(self._standing) if not one.is_final]

    def _fail(self, error: SMTPError) -> None:
        """Nobody who is left can be served, for this reason."""
        self.error = error
        failure = error.failure if isinstance(error, DeliveryFailed) else None
        refused = failure is not None and not failure.transient
        for place in self._remaining:
            standing = self._standing[place]
            if standing.outcome.reply is None:
                standing.outcome = DeliveryOutcome(
                    standing.outcome.recipient,
                    Status.REFUSED if refused else Status.NOT_TRIED,
                    None,
                    failure=failure,
                )

    def _give_up(self, next_hop: str) -> None:
        """Say why nobody took it for those who are left."""
        is_unprotected = any(one.failure is Failure.TLS_POLICY for one in self._reasons)
        if self._refused is not None and (self._refused[0].transient or not is_unprotected):
            error, attempt = self._refused
            for place in self._remaining:
                standing = self._standing[place]
                if standing.outcome.reply is None:
                    standing.outcome = DeliveryOutcome(
                        standing.outcome.recipient,
                        Status.REFUSED,
                        error.reply,
                        *(attempt.host, attempt.address, attempt.terms),
                    )
            return
        if all(self._standing[place].outcome.reply is not None for place in self._remaining):
            return
        self._fail(_reason(self._reasons, next_hop))

    def outcomes(self) -> list[DeliveryOutcome]:
        """What became of each recipient."""
        return [
            DeliveryOutcome(
                one.outcome.recipient,
                one.outcome.status,
                one.outcome.reply,
                *(one.outcome.host, one.outcome.address, one.outcome.terms),
                tuple(one.attempts),
                one.outcome.failure,
            )
            for one in self._standing
        ]


def _is_broken_tls(said: Said) -> bool:
    """True if a session came to its end because of TLS, and not of the network."""
    error = said.error
    if said.result is not None or error is None:
        return False
    if isinstance(error, TLSPolicyError):
        return error.reason is not TLSFailure.STARTTLS_MISSING
    return isinstance(error, TLSRefused) or vars(error).get("phase") == "tls"


def _is_without_tls(said: Said) -> bool:
    """True if there was no TLS to be had, or none that was as it had to be."""
    return _is_broken_tls(said) or (
        said.result is None and isinstance(said.error, _HANDSHAKE_FAILED)
    )


def _wants_tls(result: SendResult) -> bool:
    """True if nobody was taken for want of TLS (RFC 3207 §4)."""
    replies = [one.reply for one in result.outcomes]
    return all(one is not None and one.code == _TLS_WANTED for one in replies)


def _looping(error: DeliveryFailed, better: Sequence[object]) -> DeliveryFailed:
    """We are a mail exchanger ourselves: for good where we are the best."""
    if not better:
        return error
    return DeliveryFailed(f"{error}; the better mail exchangers did not take it", Failure.NO_ROUTE)


def _reason(reasons: Sequence[DeliveryFailed], next_hop: str) -> DeliveryFailed:
    """Of why each host was not used, what is told: what may pass goes before what does not."""
    if not reasons:
        return DeliveryFailed(f"{next_hop}: nobody was asked", Failure.UNREACHABLE)
    passing = [one for one in reasons if one.transient]
    for kind in (Failure.TLS_POLICY, Failure.LOOKUP_FAILED):
        found = [one for one in passing if one.failure is kind]
        if found:
            return found[0]
    return (passing or list(reasons))[0]
