"""The MTA-STS policy of a next hop (RFC 8461 §3.3, §5.1): procedures."""

from __future__ import annotations

from functools import partial
from math import inf

from ._counting import of_policy
from ._exchangers import is_literal
from ._fetching import PATH, addresses_of, fetched
from ._resolving import Route, Rules
from ._steps import Begin, Fetch, Keep, Known, LookUps, Recall, Renew, Steps
from .mta_sts import FetchFailed, Mode, Policy, PolicyError, StoredPolicy, policy_id
from .resolver import Answer, AnswerState, Question

__all__ = ["renewed", "renewing", "with_policy"]

# RFC 8461 §3.3: those who block a domain's TXT record gain nothing where its policy is renewed.
_RENEWED_AFTER = 86400.0


def with_policy(route: Route, rules: Rules) -> Steps[Route]:
    """The route with the policy of its domain, which is fetched where it is new."""
    if not rules.mta_sts or is_literal(route.next_hop) or route.txt is None:
        return route
    return (yield from _with(route, rules, route.txt))


def renewed(route: Route, rules: Rules) -> Steps[Route | None]:
    """The route with another policy, where the owner of the domain has published one since.

    RFC 8461 §5.1: nothing is said for good by an old policy.
    """
    question = Question(f"_mta-sts.{route.next_hop}", "TXT")
    (answer,) = yield LookUps((question,), fresh=True)
    again = yield from _with(route, rules, answer, waits=True)
    return again if again.policy != route.policy else None


def _with(route: Route, rules: Rules, answer: Answer, *, waits: bool = False) -> Steps[Route]:
    domain = route.next_hop
    known: Known = yield Recall(domain)
    held = _held(known)
    id = None
    if answer.state is AnswerState.FOUND:
        id = policy_id([str(text) for text in answer.records])
    # What is cached is never dropped because it cannot be seen any more.
    is_known = held is not None and held.id == id and not _is_old(held, known.now)
    if id is not None and not is_known and id != known.failed_id:
        # No mail waits for what is renewed, nor while an older policy protects it.
        waits = waits or held is None or (held.id != id and held.policy.mode is not Mode.ENFORCE)
        yield Renew(domain, id, waits)
        if waits:
            asked = known.now
            known = yield Recall(domain)
            held = _held(known, since=asked)
    if id is None and rules.counts and (answer.state is AnswerState.FAILED or held is not None):
        said = FetchFailed(f"the TXT record of _mta-sts.{domain} is not to be seen")
        yield of_policy(domain, None if held is None else held.policy, said)
    notes = route.notes
    if id is not None and id == known.failed_id:
        notes = (*notes, f"MTA-STS: the policy cannot be had: {known.why}")
    elif id is not None and (held is None or (waits and held.id != id)):
        notes = (
            *notes,
            "MTA-STS: the policy is still being fetched, and no mail waits for it any more",
        )
    if held is None and notes == route.notes:
        return route
    return route._replace(policy=None if held is None else held.policy, notes=notes)


def _held(known: Known, since: float = inf) -> StoredPolicy | None:
    """The policy that holds. What was fetched `since` counts now, whatever its max_age."""
    stored = known.stored
    if stored is None or (stored.expires <= known.now and stored.fetched < since):
        return None
    return stored


def renewing(domain: str, id: str, rules: Rules) -> Steps[None]:
    """Fetch the policy of a domain, and keep it."""
    yield Begin(domain)
    try:
        policy = yield from _fetched(domain, rules)
    except (FetchFailed, PolicyError) as error:
        yield Keep(domain, id, None, str(error))
        if rules.counts:
            held = _held((yield Recall(domain)))
            yield of_policy(domain, None if held is None else held.policy, error)
        return
    known: Known = yield Recall(domain)
    yield Keep(domain, id, StoredPolicy(id, known.now, policy))


def _is_old(stored: StoredPolicy, now: float) -> bool:
    return now - stored.fetched > min(_RENEWED_AFTER, stored.policy.max_age / 2)


def _fetched(domain: str, rules: Rules) -> Steps[Policy]:
    """The policy as its host has it.

    Raises:
        FetchFailed, PolicyError: there is none.
    """
    host = f"mta-sts.{domain}"
    addresses = yield from addresses_of(host, rules)
    text: bytes = yield Fetch(host, addresses, partial(fetched, host, PATH))
    return Policy.parse(text)
