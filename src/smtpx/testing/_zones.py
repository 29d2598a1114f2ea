"""What a name server for tests knows: as a validating resolver tells it, or as signed zones."""

from __future__ import annotations

from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Any, NamedTuple

from smtpx.errors import ExtraMissing

__all__ = ["Known", "Resolved", "SignedZones", "Spoken", "module"]

_TTL = 300
_MOST_LINKS = 20


def module(name: str) -> Any:
    """A module of dnspython.

    Raises:
        ExtraMissing: it is not installed.
    """
    try:
        # By name, so that checking the types of this package does not need the extra.
        return import_module(f"dns.{name}")
    except ImportError as error:
        raise ExtraMissing("testing", "dnspython", "a smtpx.testing.NameServer") from error


class Spoken(NamedTuple):
    """An answer, apart from the message that it goes in."""

    code: int
    answer: list[Any]
    authority: list[Any]
    is_secure: bool = False


class _Line(NamedTuple):
    name: str
    type: str
    data: str


def _lines(zone: str) -> list[_Line]:
    found: list[_Line] = []
    for number, line in enumerate(zone.splitlines(), 1):
        words = line.split(None, 2)
        if not words or words[0].startswith(";"):
            continue
        if len(words) < 3:
            raise ValueError(f"zone, line {number}: write a name, a type and data, not {line!r}")
        found.append(_Line(words[0].lower().rstrip("."), words[1].upper(), words[2]))
    return found


def _rrset(line: _Line) -> Any:
    try:
        return module("rrset").from_text(f"{line.name}.", _TTL, "IN", line.type, line.data)
    except (module("exception").DNSException, ValueError) as error:
        shown = f"{line.name} {line.type} {line.data}"[:80]
        raise ValueError(f"zone: {shown!r} is no record: {error}") from None


class Known(ABC):
    """What a name server knows."""

    trust_anchor = ""

    @abstractmethod
    def answer(self, name: str, type: str) -> Spoken:
        """What is said to a question."""


class Resolved(Known):
    """Records as a resolver tells them, and for which of them DNSSEC vouches."""

    def __init__(self, zone: str, insecure: Iterable[str]) -> None:
        self._records: dict[tuple[str, str], Any] = {}
        self._names: set[str] = set()
        for line in _lines(zone):
            known = self._records.get((line.name, line.type))
            rrset = _rrset(line)
            if known is None:
                self._records[line.name, line.type] = rrset
            else:
                known.add(rrset[0])
            # What is above a name exists, too.
            labels = line.name.split(".")
            self._names |= {".".join(labels[place:]) for place in range(len(labels))}
        self._insecure = frozenset(name.lower() for name in insecure)

    def answer(self, name: str, type: str) -> Spoken:
        """Follow aliases as far as they lead."""
        answer: list[Any] = []
        secure = True
        for _ in range(_MOST_LINKS):
            secure = secure and name not in self._insecure
            found, alias = self._records.get((name, type)), self._records.get((name, "CNAME"))
            if found is not None:
                return Spoken(0, [*answer, found], [], secure)
            if alias is None:
                break
            answer.append(alias)
            name = alias[0].target.to_text(omit_final_dot=True).lower()
        code = 0 if name in self._names else int(module("rcode").NXDOMAIN)
        return Spoken(code, answer, [], secure)


class SignedZones(Known):
    """Zones as their authority has them, signed by keys of their own (RFC 4033)."""

    def __init__(self, zone: str, signed: Sequence[str], unsigned: Sequence[str]) -> None:
        names = module("name")
        origins = {each.lower().rstrip("."): each in signed for each in (*signed, *unsigned)}
        lines = _lines(zone)
        for line in lines:
            if _home(line.name, origins) is None:
                raise ValueError(
                    f"zone: {line.name} is in none of the zones that are signed or not"
                )
        self._zones: dict[str, Any] = {}
        self._orders: dict[str, list[Any]] = {}
        anchors: list[str] = []
        # Children first: a parent has the digests of their keys.
        for origin in sorted(origins, key=lambda each: -each.count(".")):
            own = [line for line in lines if _home(line.name, origins) == origin]
            text = "".join(f"{line.name}. {_TTL} IN {line.type} {line.data}\n" for line in own)
            text += f"{origin}. {_TTL} IN SOA ns.{origin}. admin.{origin}. 1 900 900 1800 60\n"
            text += f"{origin}. {_TTL} IN NS ns.{origin}.\nns.{origin}. {_TTL} IN A 127.0.0.1\n"
            for child, anchor in self._children(origin, origins):
                text += f"{child}. {_TTL} IN NS ns.{child}.\n{anchor}"
            try:
                made = module("zone").from_text(text, f"{origin}.", relativize=False)
            except (module("exception").DNSException, ValueError) as error:
                raise ValueError(f"zone {origin}: {error}") from None
            self._zones[origin] = made
            if origins[origin]:
                anchor = _signed(made)
                made.anchor = anchor
                if _home(_parent(origin), origins) is None:
                    anchors.append(anchor)
            nsec = module("rdatatype").NSEC
            self._orders[origin] = sorted(
                name for name, node in made.items() if node.get_rdataset(1, nsec) is not None
            )
        self._names = names
        self._origins = origins
        self.trust_anchor = "".join(anchors)

    def _children(self, origin: str, origins: dict[str, bool]) -> Iterable[tuple[str, str]]:
        for child, zone in self._zones.items():
            if _home(_parent(child), origins) == origin:
                yield child, getattr(zone, "anchor", "") if origins[child] else ""

    def answer(self, name: str, type: str) -> Spoken:
        """Answer from the zone that has the name; DS records are its parent's."""
        refused = int(module("rcode").REFUSED)
        home = _home(name, self._origins)
        if type == "DS" and home == name:
            home = _home(_parent(name), self._origins)
        if home is None:
            return Spoken(refused, [], [])
        zone = self._zones[home]
        whole = self._names.from_text(f"{name}.")
        answer: list[Any] = []
        for _ in range(_MOST_LINKS):
            node = zone.get_node(whole)
            found = self._with_signatures(whole, node, type)
            if found:
                return Spoken(0, [*answer, *found], [])
            alias = self._with_signatures(whole, node, "CNAME")
            if not alias:
                break
            answer += alias
            whole = alias[0][0].target
            if _home(_text(whole), self._origins) != home:
                return Spoken(0, answer, [])
        return self._denial(home, whole, answer)

    def _denial(self, home: str, name: Any, answer: list[Any]) -> Spoken:
        """There is nothing, and who says so (RFC 4035 §3.1.3)."""
        zone = self._zones[home]
        authority = self._with_signatures(zone.origin, zone.get_node(zone.origin), "SOA")
        exists = any(each.is_subdomain(name) for each in zone)
        needed = [name]
        if not exists:
            closest = name.parent()
            while not any(each.is_subdomain(closest) for each in zone):
                closest = closest.parent()
            needed.append(self._names.from_text("*", closest))
        for one in dict.fromkeys(self._covering(home, each) for each in needed):
            authority += self._with_signatures(one, zone.get_node(one), "NSEC")
        return Spoken(0 if exists else int(module("rcode").NXDOMAIN), answer, authority)

    def _covering(self, home: str, name: Any) -> Any:
        order = self._orders[home]
        return order[bisect_right(order, name) - 1] if order else name

    def _with_signatures(self, name: Any, node: Any, type: str) -> list[Any]:
        found: list[Any] = []
        if node is None:
            return found
        kinds = module("rdatatype")
        for covers in (kinds.NONE, kinds.from_text(type)):
            kind = type if covers == kinds.NONE else "RRSIG"
            data = node.get_rdataset(1, kinds.from_text(kind), covers)
            if data is not None:
                rrset = module("rrset").from_rdata_list(name, data.ttl, list(data))
                rrset.covers = covers
                found.append(rrset)
        return found if found and found[0].covers == kinds.NONE else []


def _text(name: Any) -> str:
    return str(name.to_text(omit_final_dot=True)).lower()


def _parent(name: str) -> str:
    return name.partition(".")[2]


def _home(name: str, origins: Iterable[str]) -> str | None:
    """The zone that a name is in, of several the nearest."""
    found = [one for one in origins if name == one or name.endswith(f".{one}")]
    return max(found, key=len, default=None)


def _signed(zone: Any) -> str:
    """Sign a zone by a new key; what its parent has to say of that."""
    dnssec = module("dnssec")
    try:
        ec = import_module("cryptography.hazmat.primitives.asymmetric.ec")
    except ImportError as error:
        raise ExtraMissing("testing", "cryptography", "zones that are signed") from error
    key = ec.generate_private_key(ec.SECP256R1())
    public = dnssec.make_dnskey(key.public_key(), dnssec.Algorithm.ECDSAP256SHA256, flags=257)
    with zone.writer() as written:
        dnssec.sign_zone(zone, written, [(key, public)], lifetime=86400)
    anchor = dnssec.make_ds(zone.origin, public, "SHA256")
    return f"{zone.origin} {_TTL} IN DS {anchor}\n"
