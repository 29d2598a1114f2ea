"""From the answer to an MX question to the hosts in their order (RFC 5321 §5.1, RFC 7505); pure."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Collection
from functools import lru_cache
from operator import itemgetter
from random import Random
from typing import NamedTuple

from .outcomes import DeliveryFailed, Failure
from .resolver import MX, Answer, AnswerState

__all__ = [
    "Levels",
    "Rank",
    "exchangers",
    "in_another_order",
    "is_host",
    "is_literal",
    "literal_address",
]

# Of more than so many nobody has a use, but who wants to keep us busy.
_MOST = 100
# Hosts that a message speaks to.
_NOT_LEFT = 2
# A host name as the DNS has it. Underscores are no letters of one, and are in use all the same.
_HOST = re.compile(r"(?:[a-z0-9_](?:[a-z0-9_-]{0,61}[a-z0-9_])?\.)*[a-z0-9_-]{1,63}", re.ASCII)


class Rank(NamedTuple):
    """The hosts of one preference."""

    preference: int
    hosts: tuple[str, ...]


class Levels(NamedTuple):
    """Where a domain's mail goes, best first; a host that is ourselves is the last one."""

    levels: tuple[Rank, ...]
    row: str
    """What was decided by, and the RFC that says so."""
    notes: tuple[str, ...] = ()
    """What was left out, and why."""


def is_literal(domain: str) -> bool:
    """True for an address literal (RFC 5321 §4.1.3)."""
    return domain.startswith("[")


def is_host(name: str) -> bool:
    """True for a host name in lower case."""
    return len(name) <= 253 and _HOST.fullmatch(name) is not None


def literal_address(domain: str) -> str:
    """The IP address of an address literal, as the DNS would spell it; or what is none."""
    inner = domain[1:-1]
    text = inner[5:] if inner.lower().startswith("ipv6:") else inner
    try:
        return str(ipaddress.ip_address(text))
    except ValueError:
        return text


def exchangers(domain: str, answer: Answer, own_names: Collection[str], seed: int) -> Levels:
    """The hosts that take a domain's mail, best first; equals in an order that the seed shuffles.

    Raises:
        DeliveryFailed: there are none, or nobody knows.
    """
    match answer.state:
        case AnswerState.NXDOMAIN:
            raise DeliveryFailed(f"there is no domain {domain}", Failure.NO_SUCH_DOMAIN)
        case AnswerState.FAILED:
            raise DeliveryFailed(
                f"the mail exchangers of {domain} could not be looked up: {answer.detail}",
                Failure.LOOKUP_FAILED,
            )
        case AnswerState.NODATA:
            if domain in own_names or answer.name in own_names:
                raise DeliveryFailed(
                    f"mail for {domain} loops back to ourselves: it has no MX records, and is us",
                    Failure.LOOPS,
                )
            level = Rank(0, (domain,))
            return Levels((level,), "no MX records: the domain itself (RFC 5321 §5.1)")
        case AnswerState.FOUND:
            records = [record for record in answer.records if isinstance(record, MX)]
            return _of_records(domain, records, own_names, seed)


_preference = itemgetter(0)


def _of_records(domain: str, records: list[MX], own: Collection[str], seed: int) -> Levels:
    notes: list[str] = []
    if len(records) > _MOST:
        notes.append(f"of more than {_MOST} mail exchangers the best are looked at")
    records = sorted(records, key=_preference)[:_MOST]
    by_preference: dict[int, list[str]] = {}
    for preference, exchanger in records:
        host = exchanger.lower().rstrip(".")
        if host in own:
            # RFC 5321 §5.1: those as bad or worse are for mail that comes from us.
            if not any(each < preference for each in by_preference):
                raise DeliveryFailed(
                    f"mail for {domain} loops back to ourselves: {host} is its best mail exchanger",
                    Failure.LOOPS,
                )
            by_preference[preference] = [host]
            notes.append(f"{host} is ourselves: those from preference {preference} on are left out")
            break
        fault = _fault(host)
        if fault:
            notes.append(fault)
        else:
            hosts = by_preference.setdefault(preference, [])
            if host not in hosts:
                hosts.append(host)
    if not by_preference:
        # RFC 7505 §3: one record, whatever its preference.
        if records and not any(record.exchanger for record in records):
            raise DeliveryFailed(f"{domain} takes no mail: it has a null MX", Failure.NULL_MX)
        raise DeliveryFailed(
            f"{domain} has no usable mail exchanger: {'; '.join(notes[:5])}", Failure.NO_ADDRESS
        )
    levels: list[Rank] = []
    for preference, hosts in by_preference.items():
        if len(hosts) > 1:
            Random(seed).shuffle(hosts)
        levels.append(Rank(preference, tuple(hosts)))
    return Levels(tuple(levels), "MX records (RFC 5321 §5.1)", tuple(notes))


def in_another_order(levels: Levels, turn: int) -> Levels:
    """The same hosts, of which those behind the first two are not always left for last.

    Of each preference the first one stays: who greylists wants to see the same mail again.
    """
    if all(len(rank.hosts) <= _NOT_LEFT for rank in levels.levels):
        return levels
    ranks: list[Rank] = []
    for rank in levels.levels:
        others = list(rank.hosts[1:])
        Random(turn).shuffle(others)
        ranks.append(Rank(rank.preference, (*rank.hosts[:1], *others)))
    return levels._replace(levels=tuple(ranks))


@lru_cache(4096)
def _fault(host: str) -> str:
    """What is wrong with a host as a mail exchanger."""
    if not host:
        return "a null MX beside others says nothing (RFC 7505 §3)"
    try:
        _ = ipaddress.ip_address(host)
    except ValueError:
        pass
    else:
        return f"{host} is an IP address, where a name belongs (RFC 5321 §5.1)"
    if not is_host(host):
        return f"{ascii(host)[:80]} is no host name"
    return ""
