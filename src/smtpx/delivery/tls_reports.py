"""TLS reports: what a domain is told of the sessions with its mail exchangers (RFC 8460); pure."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum
from typing import Any
from urllib.parse import unquote, urlsplit

from smtpx import _checks
from smtpx.addresses import Address
from smtpx.errors import AddressError

from ._exchangers import is_host

__all__ = [
    "AppliedPolicy",
    "PolicyReport",
    "PolicyType",
    "Report",
    "ReportError",
    "ResultType",
    "SessionFailure",
    "destinations",
]

_LARGEST = 10_000_000
_LONGEST = 256
_ROOM = 8192
# Of more places a domain has no need, but who wants to have others flooded.
_MOST_PLACES = 4


class ReportError(ValueError):
    """What was to be a TLS report is none."""


class PolicyType(Enum):
    """By what the sender was bound."""

    TLSA = "tlsa"
    STS = "sts"
    NONE = "no-policy-found"


class ResultType(Enum):
    """What went wrong with a session (RFC 8460 §4.3)."""

    STARTTLS_NOT_SUPPORTED = "starttls-not-supported"
    CERTIFICATE_HOST_MISMATCH = "certificate-host-mismatch"
    CERTIFICATE_EXPIRED = "certificate-expired"
    CERTIFICATE_NOT_TRUSTED = "certificate-not-trusted"
    VALIDATION_FAILURE = "validation-failure"
    TLSA_INVALID = "tlsa-invalid"
    DNSSEC_INVALID = "dnssec-invalid"
    DANE_REQUIRED = "dane-required"
    STS_POLICY_FETCH_ERROR = "sts-policy-fetch-error"
    STS_POLICY_INVALID = "sts-policy-invalid"
    STS_WEBPKI_INVALID = "sts-webpki-invalid"


@dataclass(frozen=True, slots=True)
class AppliedPolicy:
    """A policy that was applied to sessions."""

    type: PolicyType
    domain: str
    """The recipient's, A-labels."""
    strings: tuple[str, ...] = ()
    """The lines of an MTA-STS policy, or the TLSA records."""
    mx_hosts: tuple[str, ...] = ()
    """The patterns of an MTA-STS policy, or the host of the TLSA records."""


@dataclass(frozen=True, slots=True)
class SessionFailure:
    """What was wrong with sessions that failed alike."""

    result: ResultType
    host: str = ""
    """The mail exchanger's, of the MX record."""
    address: str = ""
    """The IP address that was dialled."""
    sending_address: str = ""
    """Ours."""
    reason: str = ""
    """For people, in ASCII."""


@dataclass(frozen=True, slots=True)
class PolicyReport:
    """What became of the sessions under one policy."""

    policy: AppliedPolicy
    successes: int = 0
    failures: tuple[tuple[SessionFailure, int], ...] = ()
    """Each with how often it came."""


@dataclass(frozen=True, slots=True)
class Report:
    """What is told of one day (RFC 8460 §4)."""

    organization: str
    contact: str
    """The address of a person or role."""
    id: str
    begin: datetime
    end: datetime
    policies: tuple[PolicyReport, ...]

    def to_json(self) -> bytes:
        """The report as RFC 8460 §4.4 has it."""
        document = {
            "organization-name": self.organization,
            "date-range": {
                "start-datetime": _moment(self.begin),
                "end-datetime": _moment(self.end),
            },
            "contact-info": self.contact,
            "report-id": self.id,
            "policies": [_policy_json(each) for each in self.policies],
        }
        return json.dumps(document, indent=1).encode()

    @classmethod
    def parse(cls, text: str | bytes) -> Report:
        """Read a report, which is JSON; a compressed one has to be decompressed before.

        Raises:
            ReportError: it is none.
            TypeError: it is neither `str` nor `bytes`.
        """
        if not isinstance(text, (str, bytes)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("text", text, "a str or bytes")
        if len(text) > _LARGEST:
            raise ReportError(f"the report is longer than {_LARGEST} octets")
        try:
            document = json.loads(text)
        except (ValueError, RecursionError) as error:
            raise ReportError(f"the report is no JSON: {error}") from None
        try:
            return _report_of(document)
        except (KeyError, TypeError, ValueError, OverflowError) as error:
            said = str(error) or type(error).__name__
            raise ReportError(f"the report is not as RFC 8460 §4.4 has it: {said[:200]}") from None


def _moment(moment: datetime) -> str:
    return moment.astimezone(UTC).isoformat(timespec="seconds").replace("+00:00", "Z")


def _policy_json(one: PolicyReport) -> dict[str, object]:
    policy: dict[str, object] = {
        "policy-type": one.policy.type.value,
        "policy-domain": one.policy.domain,
    }
    if one.policy.strings:
        policy["policy-string"] = list(one.policy.strings)
    if one.policy.mx_hosts:
        policy["mx-host"] = list(one.policy.mx_hosts)
    told: dict[str, object] = {
        "policy": policy,
        "summary": {
            "total-successful-session-count": one.successes,
            "total-failure-session-count": sum(count for _, count in one.failures),
        },
    }
    if one.failures:
        told["failure-details"] = [_failure_json(*each) for each in one.failures]
    return told


_FIELDS = {
    "sending-mta-ip": "sending_address",
    "receiving-mx-hostname": "host",
    "receiving-ip": "address",
    "failure-reason-code": "reason",
}


def _failure_json(failure: SessionFailure, count: int) -> dict[str, object]:
    told: dict[str, object] = {"result-type": failure.result.value}
    told |= {key: value for key, name in _FIELDS.items() if (value := getattr(failure, name))}
    return told | {"failed-session-count": count}


def _report_of(document: Any) -> Report:
    dates = document["date-range"]
    return Report(
        _text(document["organization-name"]),
        _text(document.get("contact-info") or ""),
        _text(document["report-id"]),
        datetime.fromisoformat(_text(dates["start-datetime"])),
        datetime.fromisoformat(_text(dates["end-datetime"])),
        tuple(_policy_of(each) for each in _list(document["policies"])),
    )


def _policy_of(told: Any) -> PolicyReport:
    policy = told["policy"]
    hosts = policy.get("mx-host", [])
    applied = AppliedPolicy(
        PolicyType(policy["policy-type"]),
        # Some leave it out where no policy was found.
        _text(policy.get("policy-domain") or ""),
        tuple(map(_text, _list(policy.get("policy-string", [])))),
        # RFC 8460 §4.4 calls it a string; its example has a list, and so have others.
        (hosts,) if isinstance(hosts, str) else tuple(map(_text, _list(hosts))),
    )
    failures = tuple(_failure_of(each) for each in _list(told.get("failure-details") or []))
    return PolicyReport(
        applied, _count(told["summary"]["total-successful-session-count"]), failures
    )


def _failure_of(told: Any) -> tuple[SessionFailure, int]:
    known = {name: _text(told.get(key) or "") for key, name in _FIELDS.items()}
    said = _text(told["result-type"])
    try:
        result = ResultType(said)
    except ValueError:
        # RFC 8460 §6.6: there may be more of them by now.
        result, known["reason"] = ResultType.VALIDATION_FAILURE, known["reason"] or said
    return SessionFailure(result, **known), _count(told["failed-session-count"])


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise TypeError(f"{type(value).__name__} in place of a string")
    return value


def _list(value: object) -> list[Any]:
    if not isinstance(value, list):
        raise TypeError(f"{type(value).__name__} in place of an array")
    return value  # pyright: ignore[reportUnknownVariableType] - of whatever


def _count(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or value < 0:
        raise ValueError(f"{str(value)[:20]} is no count")
    return value


def grouped(
    rows: Iterable[tuple[AppliedPolicy, SessionFailure | None, int]],
) -> tuple[PolicyReport, ...]:
    """Sessions that were counted, by their policies; without a failure they went well."""
    successes: dict[AppliedPolicy, int] = {}
    failures: dict[AppliedPolicy, list[tuple[SessionFailure, int]]] = {}
    for policy, failure, count in rows:
        _ = successes.setdefault(policy, 0)
        if failure is None:
            successes[policy] += count
        else:
            failures.setdefault(policy, []).append((failure, count))
    return tuple(
        PolicyReport(policy, count, tuple(failures.get(policy, ())))
        for policy, count in successes.items()
    )


def bounded(strings: Iterable[str]) -> tuple[str, ...]:
    """Those of a policy that a report has room for: what a domain says must not fill our disk."""
    kept: list[str] = []
    room = _ROOM
    for each in strings:
        room -= len(each)
        if room < 0:
            break
        kept.append(each)
    return tuple(kept)


def plain(text: str) -> str:
    """What somebody else has said, as a report may have it."""
    return "".join(each if " " <= each <= "~" else "?" for each in text[:_LONGEST])


def destinations(records: Sequence[str]) -> tuple[str, ...]:
    """Where a domain wants its reports, by the TXT records of ``_smtp._tls`` (RFC 8460 §3).

    Each is ``mailto:ADDRESS`` or an ``https`` URL with a host name and no port of its own. What is
    neither is left out, and of more than four the rest. There are none where the records are none
    of TLSRPT, or several.

    Raises:
        TypeError: what is given is not several `str`.
    """
    _checks.each("records", records, "str", str)
    ours = [record for record in records if re.match(r"v=TLSRPTv1[ \t]*;", record)]
    if len(ours) != 1:
        return ()
    fields = [field.partition("=") for field in ours[0].split(";")]
    # RFC 8460 §3: there may be more than one rua, and each may have several places.
    values = [value for name, _, value in fields if name.strip(" \t") == "rua"]
    found = (_destination(each.strip(" \t")) for value in values for each in value.split(","))
    return tuple(dict.fromkeys(each for each in found if each))[:_MOST_PLACES]


def _destination(uri: str) -> str:
    if not uri.isascii() or not uri.isprintable() or len(uri) > 1000:
        return ""
    try:
        parts = urlsplit(uri)
        if parts.scheme == "mailto":
            # RFC 6068: several addresses, and header fields; neither is for reports.
            address = Address.parse(unquote(parts.path))
            return f"mailto:{address}" if "." in address.domain else ""
        host = (parts.hostname or "").removesuffix(".")
        is_plain = parts.port in (None, 443) and "@" not in parts.netloc and "#" not in uri
    except (AddressError, ValueError):
        return ""
    # A number would be an address, and not the name of a host.
    is_name = is_host(host) and "." in host and not host.rpartition(".")[2].isdigit()
    if parts.scheme != "https" or not is_plain or not is_name or " " in uri:
        return ""
    query = f"?{parts.query}" if parts.query else ""
    return f"https://{host}{parts.path or '/'}{query}"
