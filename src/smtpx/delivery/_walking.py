"""From a message to an outcome for each recipient: a procedure, one text for every world."""

from __future__ import annotations

import errno
from contextlib import suppress
from zlib import crc32

from smtpx.envelope import Envelope
from smtpx.errors import (
    SMTPError,
    TLSFailure,
    TLSPolicyError,
    TLSRefused,
)
from smtpx.results import SendResult

from ._counting import is_tried, of_host, of_session
from ._exchangers import in_another_order, is_literal
from ._places import Site
from ._policy import renewed, with_policy
from ._resolving import Exchanger, Plan, Reached, Route, Rules, level_of, route_to, with_terms
from ._standing import HANDSHAKE_FAILED, LACKS, Standings, looping, reason_of, told
from ._steps import Away, Begin, Marked, Said, Steps, Try
from ._terms import Level, Terms
from .mta_sts import Mode, Policy
from .outcomes import Attempt, DeliveryFailed, DeliveryResult, Failure
from .resolver import Answer
from .tls_reports import destinations

__all__ = ["Course", "planned"]

# Of one message for one next hop: addresses dialled, and sessions that got as far as MAIL.
_ADDRESSES, _SESSIONS = 5, 2
# Preferences that are sure to have one of these addresses each; and how many of them a host has at
# least, where others of its preference are to have some, too.
_RANKS, _OF_A_HOST = 3, 2
# Besides these, addresses to which this machine has no way at all: they cost nothing.
_FREE = 20
_NO_WAY = (errno.EAFNOSUPPORT, errno.ENETUNREACH, errno.EADDRNOTAVAIL)
_TLS_WANTED = 530
# Too many recipients, if the enhanced status code is none or X.5.3 (RFC 3463).
_TOO_MANY = 452


def planned(next_hop: str, rules: Rules, seed: int) -> Steps[Plan]:
    """The whole decision for a next hop, without a connection."""
    try:
        route = yield from route_to(next_hop, rules, seed, asks_for_reporting=True)
        route = yield from with_policy(route, rules)
    except DeliveryFailed as error:
        return Plan(next_hop, failure=error)
    found: list[Exchanger] = []
    failure: DeliveryFailed | None = None
    for rank in route.levels.levels:
        try:
            for reached in (yield from level_of(route, rank, rules)):
                found.append((yield from with_terms(reached, route, rules)))
        except DeliveryFailed as error:
            failure = looping(error, found)
            break
    if any(one.skipped is None for one in found):
        failure = None
    else:
        reasons = [one.skipped for one in found if one.skipped]
        failure = reason_of([*reasons, failure] if failure else reasons, next_hop)
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


class Course:
    """A message on its way to the next hop of each recipient, and what became of it so far.

    It outlives what it is interrupted in, so that what is known is told, whenever that is.
    """

    def __init__(
        self, envelope: Envelope, rules: Rules, seed: int, turn: int, *, obeys_policies: bool
    ) -> None:
        """`turn` is another one each time."""
        self._seed = seed ^ _drawn_for(envelope)
        self._turn = turn
        self._places: dict[str, list[int]] = {}
        for place, recipient in enumerate(envelope.recipients):
            self._places.setdefault(recipient.address.domain.lower(), []).append(place)
        self._walks: list[_Walk] = []
        for those in self._places.values():
            part = envelope.replace(recipients=[envelope.recipients[place] for place in those])
            self._walks.append(_Walk(part, rules, obeys_policies=obeys_policies))

    def steps(self) -> Steps[DeliveryResult]:
        """Send it; never raises an `SMTPError`.

        ::

            LookUps MX, then A and AAAA, then TLSA of each host
            Try     each host at each address, until everybody has a final word
        """
        last = self._walks[-1]
        for next_hop, walk in zip(self._places, self._walks, strict=True):
            yield Begin(next_hop, walk is last)
            yield from walk.go(next_hop, self._seed, self._turn)
        return self._told()

    def hang_on(self, error: BaseException) -> None:
        """Tell what became of the message on whatever ends the call, as ``.result``.

        Whoever is interrupted in here calls it once more, for that interruption.
        """
        if isinstance(error, SMTPError):
            return  # It tells by itself, or nothing was begun.
        for walk in self._walks:
            walk.break_off(error)
        vars(error)["result"] = self._told()

    def _told(self) -> DeliveryResult:
        return told(self._places.values(), [walk.standings for walk in self._walks])


def _drawn_for(envelope: Envelope) -> int:
    """What spreads mail over equal hosts (RFC 5321 §5.1), and takes the same mail to the same one.

    A host that greylists knows who sends to whom, and would begin anew with each host that it
    is taken to (D51).
    """
    return crc32(f"{envelope.sender} {envelope.recipients[0].address}".encode())


class _Walk:
    """One message on its way to one next hop."""

    def __init__(self, envelope: Envelope, rules: Rules, *, obeys_policies: bool) -> None:
        self._envelope = envelope
        self._rules = rules
        self._obeys_policies = obeys_policies
        self.standings = Standings(envelope.recipients)
        self._is_marked = False
        self._left = _ADDRESSES
        self._free = _FREE
        self._sessions = _SESSIONS
        self._trying: tuple[Try, list[int]] | None = None
        """What was asked for last, and for whom, until what came of it is noted."""

    def break_off(self, interruption: BaseException) -> None:
        """Note what is known of an attempt that is interrupted, or of its answer."""
        if self._trying is not None:
            step, those = self._trying
            # Not what hangs on its context: in a task that may be another message's.
            if isinstance(known := vars(interruption).get("result"), SendResult):
                step.heard[:] = (known,)
            address = str(vars(interruption).get("address", step.addresses[0]))
            for result in step.heard:
                with suppress(SMTPError):  # It would stop what is stopped.
                    self.standings.hear(result, those, Attempt(step.host, address, step.terms))
        self.standings.break_off()

    def go(self, next_hop: str, seed: int, turn: int) -> Steps[None]:
        """Go through the hosts until nobody is left, or no host."""
        try:
            route = yield from route_to(next_hop, self._rules, seed)
            route = route._replace(levels=in_another_order(route.levels, turn))
            if self._obeys_policies:
                route = yield from with_policy(route, self._rules)
            else:
                route = route._replace(is_obeyed=False)
            yield from self._through(route)
            if self._is_stopped_by(route.policy):
                again = yield from renewed(route, self._rules)
                if again is not None:
                    self.standings.begin_anew()
                    self._left, self._sessions = _ADDRESSES, _SESSIONS
                    yield from self._through(again)
        except SMTPError as error:
            self._trying = None  # What came of it was noted, or is this.
            self.standings.fail(error)
            return
        if self.standings.remaining:
            self.standings.give_up(next_hop)

    def _through(self, route: Route) -> Steps[None]:
        ranks = route.levels.levels
        seen: list[Reached] = []
        later: list[tuple[Exchanger, tuple[str, ...]]] = []
        for place, rank in enumerate(ranks):
            try:
                hosts = yield from level_of(route, rank, self._rules)
            except DeliveryFailed as error:
                self.standings.skip(looping(error, seen))
                break
            seen += hosts
            worse = max(min(len(ranks), _RANKS) - place - 1, 0)
            equals = sum(each.host.skipped is None for each in hosts)
            for reached in hosts:
                equals -= reached.host.skipped is None
                host = yield from with_terms(reached, route, self._rules)
                if (yield from self._is_usable(host, route)):
                    away: frozenset[str] = yield Away(host.addresses)
                    if away:
                        later.append((host, tuple(one for one in host.addresses if one in away)))
                    near = [one for one in host.addresses if one not in away]
                    yield from self._at(host, near, route, self._reserved(worse, equals))
                if self._is_done:
                    return
        for host, addresses in later:
            yield from self._at(host, list(addresses), route, 0, is_probe=True)
            if self._is_done:
                return

    @property
    def _is_done(self) -> bool:
        """True if nobody is left, or enough was tried."""
        return not self.standings.remaining or self._left <= 0 or self._sessions <= 0

    def _reserved(self, worse: int, equals: int) -> int:
        """How many addresses are for others: for the next preferences, and the host's equals.

        It is so in each run. Where a host of many addresses is dead, they would never have one.
        """
        return worse + max(min(equals, self._left - worse - _OF_A_HOST), 0)

    def _spend(self, said: Said) -> None:
        free = sum(_has_no_way(error) for _, error in said.unreached)
        free = min(free, self._free, len(said.begun))
        self._free -= free
        self._left -= len(said.begun) - free

    def _is_stopped_by(self, policy: Policy | None) -> bool:
        """True if a policy may be why somebody does not get it."""
        return (
            policy is not None
            and policy.mode is Mode.ENFORCE
            and bool(self.standings.remaining)
            and self.standings.lacks_protection
        )

    def _is_usable(self, host: Exchanger, route: Route) -> Steps[bool]:
        """True if a host may be dialled for this message; else it is noted why not."""
        if host.skipped is not None:
            self.standings.skip(host.skipped)
            counted = of_host(host, route) if self._rules.counts else None
            if counted is not None:
                yield counted
            return False
        if self._envelope.require_tls and not host.terms.proves:
            self.standings.skip(
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
            self._spend(said)
            # Those that were overtaken come last.
            addresses = [one for one in addresses if one not in said.begun] + [
                one for one in said.begun if one != said.address and one not in dict(said.unreached)
            ]
            if _is_broken_tls(said) and host.terms.level is Level.OPPORTUNISTIC:
                # RFC 7435 §4: what protects a little must not be what stops the mail.
                said = yield from self._try(host, (said.address,), Terms.NONE, route.site)
            yield from self._in_portions(host, said, route.site)

    def _in_portions(self, host: Exchanger, said: Said, site: Site) -> Steps[None]:
        """Send to those for whom there was no room in a transaction in another one."""
        while _has_taken_a_portion(said) and self.standings.remaining:
            self._sessions += 1  # It goes on, as a rule.
            is_plain = said.protection is None and host.terms.level <= Level.OPPORTUNISTIC
            terms = Terms.NONE if is_plain else host.terms
            said = yield from self._try(host, (said.address,), terms, site)

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
        if said.address and not said.is_repeated:
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
        those = self.standings.remaining
        recipients = [self._envelope.recipients[place] for place in those]
        part = self._envelope.replace(recipients=recipients)
        if not self._is_marked:
            yield Marked()
            self._is_marked = True
        step = Try(host.name, addresses, terms, site, part, [], is_probe)
        self._trying = step, those
        said: Said = yield step
        for address, error in said.unreached:
            attempt = Attempt(host.name, address, terms, error)
            self.standings.attempted(attempt, those)
            self.standings.note(error, attempt)
        if said.address:
            attempt = Attempt(host.name, said.address, terms, said.error, said.source)
            self.standings.attempted(attempt, those)
            if said.result is not None:
                self._sessions -= not isinstance(said.error, LACKS)  # It was not said MAIL.
                # What is broken is TLS: that a host wants it is no word on the message.
                if terms.level >= host.terms.level or not _wants_tls(said.result):
                    self.standings.hear(said.result, those, attempt)
            elif said.error is not None and not (is_trial and _is_without_tls(said)):
                self.standings.note(said.error, attempt)
        elif said.error is not None:
            attempt = Attempt(host.name, addresses[0], terms, said.error)
            self.standings.postpone(said.error, attempt)
        self._trying = None
        return said


def _has_no_way(error: SMTPError) -> bool:
    """True if this machine cannot reach such addresses, as where it has no IPv6."""
    cause = error.__cause__
    return isinstance(cause, OSError) and cause.errno in _NO_WAY


def _is_broken_tls(said: Said) -> bool:
    """True if a session came to its end because of TLS, and not of the network."""
    error = said.error
    if said.result is not None or error is None:
        return False
    if isinstance(error, TLSPolicyError):
        return error.reason is not TLSFailure.STARTTLS_MISSING
    return isinstance(error, TLSRefused) or said.is_lost_in_tls


def _has_taken_a_portion(said: Said) -> bool:
    """True if a host takes more recipients in another transaction (RFC 5321 §4.5.3.1.10)."""
    result = said.result
    if result is None or not result.accepted:
        return False
    replies = [one.reply for one in result.outcomes]
    return any(
        one is not None
        and one.code == _TOO_MANY
        and (one.enhanced is None or (one.enhanced.subject, one.enhanced.detail) == (5, 3))
        for one in replies
    )


def _is_without_tls(said: Said) -> bool:
    """True if there was no TLS to be had, or none that was as it had to be."""
    return _is_broken_tls(said) or (
        said.result is None and isinstance(said.error, HANDSHAKE_FAILED)
    )


def _wants_tls(result: SendResult) -> bool:
    """True if nobody was taken for want of TLS (RFC 3207 §4)."""
    replies = [one.reply for one in result.outcomes]
    return all(one is not None and one.code == _TLS_WANTED for one in replies)
