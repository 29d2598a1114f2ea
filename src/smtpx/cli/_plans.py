"""What the doctor says of a domain: its exchangers, DANE, MTA-STS and TLSRPT, from the plan."""

from __future__ import annotations

import argparse
import re
from dataclasses import dataclass
from datetime import UTC, datetime

import smtpx
from smtpx.cli import _shapes
from smtpx.cli._accounts import is_target
from smtpx.cli._console import printable
from smtpx.cli._deliveries import delivery_of, name_servers
from smtpx.cli._exits import Exit, Stop, of_error
from smtpx.cli._verdicts import Row, Verdict
from smtpx.delivery import Exchanger, Level, Plan
from smtpx.delivery.dane import mismatch
from smtpx.delivery.mta_sts import Mode

__all__ = ["IMPLICIT_PORT", "Route", "plan_shape"]

IMPLICIT_PORT = 465
"""Where TLS comes first (RFC 8314 §3.3)."""
_OF_A_DOMAIN = ("mx", "dane", "sts", "tlsrpt")
# A name with a dot, of which the last label is no number: neither a port nor an IP address.
_DOMAIN = re.compile(r"[^\[\]:]*\.[^\[\]:]*[^\[\]:.\d]\.?")
_NOBODY = "localhost.test"


@dataclass(frozen=True, slots=True)
class Route:
    """What is known of a target's domain, before anybody is asked."""

    why: str = ""
    """Why nothing is known of it."""
    plan: Plan | None = None
    exchanger: Exchanger | None = None
    """Who is asked; nobody where nothing goes there."""
    code: Exit = Exit.DONE
    is_believed: bool = False

    @classmethod
    def to(cls, target: str | None, arguments: argparse.Namespace) -> Route:
        """Look up where a domain's mail goes.

        Raises:
            Stop: there is no such mail exchanger.
        """
        if target is None or is_target(target):
            for flag in ("mx", "port"):
                if getattr(arguments, flag) is not None:
                    raise Stop(f"--{flag} does not go with a URL or an account: give a domain")
            return cls("a server was named, and no domain")
        domain = smtpx.Address.parse(target).domain if "@" in target else target
        if not _DOMAIN.fullmatch(domain):
            return cls(f"{printable(domain)} is no domain")
        try:
            servers = name_servers(arguments)
            port = arguments.port or 25
            with delivery_of(arguments, servers, port=port, name=_NOBODY) as delivery:
                plan = delivery.plan(domain)
        except smtpx.ExtraMissing as error:
            return cls(str(error))
        except smtpx.LocalProtocolError as error:
            return cls(str(error))
        if plan.failure is not None:
            # What no mail goes to may be a host, which is then asked itself.
            names_others = any(one.name != plan.next_hop for one in plan.exchangers)
            is_host = "@" not in target and not names_others
            code = Exit.DONE if is_host else of_error(plan.failure)
            return cls("", plan, None, code, servers.validating)
        known = [one for one in plan.exchangers if one.addresses]
        number: int = arguments.mx or 1
        if not 0 < number <= len(known):
            raise Stop(f"--mx {number}: {printable(domain)} has {len(known)} that can be asked")
        return cls("", plan, known[number - 1], Exit.DONE, servers.validating)

    def is_taken(self, target: str, arguments: argparse.Namespace) -> bool:
        """True if the mail exchanger is to be asked, and not what the target itself names."""
        if self.plan is None or self.exchanger is None:
            return False
        is_other = self.exchanger.name != self.plan.next_hop
        return is_other or "@" in target or arguments.mx is not None

    @property
    def chosen(self) -> str:
        """Who that is."""
        if self.plan is None or self.exchanger is None:
            raise AssertionError("it is asked of who is taken")
        return f"{self.exchanger.name}, where {self.plan.next_hop} takes mail"

    @property
    def is_free(self) -> bool:
        """True if mail goes to the exchanger whoever's certificate it shows."""
        return self.exchanger is not None and self.exchanger.terms.level is not Level.VERIFIED

    def endpoint(self, port: int) -> smtpx.Endpoint:
        """The address that a delivery would dial first, and the name it would ask for."""
        if self.exchanger is None:
            raise AssertionError("it is asked of who is taken")
        terms, mode = self.exchanger.terms, smtpx.TLSMode.STARTTLS
        if port == IMPLICIT_PORT:
            mode = smtpx.TLSMode.IMPLICIT
        elif terms.level <= Level.OPPORTUNISTIC:
            mode = smtpx.TLSMode.OPPORTUNISTIC
        name = terms.base or self.exchanger.name
        return smtpx.Endpoint(self.exchanger.addresses[0], port, mode, server_hostname=name)

    def first_rows(self) -> list[Row]:
        """Where the mail goes."""
        if self.plan is None:
            return []
        bad = Verdict.WARN if self.code is Exit.DONE else Verdict.FAIL
        return [_exchangers_row(self.plan, bad)]

    def last_rows(self, protection: smtpx.Protection | None) -> list[Row]:
        """What the domain asks of TLS, and whether the host that was asked is like that."""
        if self.plan is None:
            return [Row(name, Verdict.SKIPPED, self.why) for name in _OF_A_DOMAIN]
        if self.plan.failure is not None and not self.plan.exchangers:
            return [Row(name, Verdict.SKIPPED, "no mail goes there") for name in _OF_A_DOMAIN[1:]]
        return [
            self._dane_row(self.plan, protection),
            _sts_row(self.plan),
            _reports_row(self.plan),
        ]

    def _dane_row(self, plan: Plan, protection: smtpx.Protection | None) -> Row:
        exchanger = self.exchanger
        if not self.is_believed:
            text = (
                "not looked at: the name server is not believed to validate DNSSEC (--validating)"
            )
            return Row("dane", Verdict.SKIPPED, text)
        unknown = [one.name for one in plan.exchangers if "TLSA" in one.row and one.skipped]
        if unknown:
            return Row("dane", Verdict.FAIL, f"TLSA records cannot be had of {', '.join(unknown)}")
        with_records = [one for one in plan.exchangers if one.terms.level is Level.DANE]
        unusable = [one.name for one in plan.exchangers if "none usable" in one.row]
        if unusable:
            text = f"TLSA records of which none can be used: {', '.join(unusable)}"
            return Row("dane", Verdict.WARN, text)
        if not with_records:
            return Row("dane", Verdict.NOTE, "none")
        told = f"{len(with_records)} of {len(plan.exchangers)} hosts have TLSA records"
        if any(one.terms.mx_insecure for one in with_records):
            told += ", behind MX records that are not signed"
        if exchanger is None or exchanger.terms.level is not Level.DANE or protection is None:
            return Row("dane", Verdict.NOTE, told)
        terms = exchanger.terms
        chain = protection.chain or (protection.certificate,)
        reason = mismatch(terms.records, chain, terms.names, datetime.now(UTC))
        if reason is not None:
            return Row("dane", Verdict.FAIL, f"{told}; none matches at {exchanger.name}: {reason}")
        return Row("dane", Verdict.OK, f"{told}; one matches at {exchanger.name}")


def _exchangers_row(plan: Plan, bad: Verdict) -> Row:
    """Where the mail goes."""
    if plan.failure is not None and not plan.exchangers:
        return Row("mx", bad, str(plan.failure))
    hosts = "  ".join(f"{one.preference} {one.name}" for one in plan.exchangers)
    signed = "signed (DNSSEC)" if plan.mx_secure else "not known to be signed"
    text = f"{hosts}  {signed}"
    # Of policies and of DANE their own rows tell.
    notes = [note for note in plan.notes if not note.startswith(("MTA-STS", "no DANE"))]
    if plan.failure is not None:
        return Row("mx", bad, f"{text}; {plan.failure}")
    wrong = [str(one.skipped) for one in plan.exchangers if one.skipped] + notes
    return Row("mx", Verdict.WARN if wrong else Verdict.OK, "; ".join([text, *wrong]))


def _reports_row(plan: Plan) -> Row:
    if plan.reports_to:
        return Row("tlsrpt", Verdict.OK, f"reports go to {', '.join(plan.reports_to)}")
    return Row("tlsrpt", Verdict.NOTE, "none: the domain asks for no reports")


def _sts_row(plan: Plan) -> Row:
    wrong = [note for note in plan.notes if note.startswith("MTA-STS")]
    policy = plan.policy
    if policy is None:
        return Row("sts", Verdict.WARN if wrong else Verdict.NOTE, "; ".join(wrong) or "none")
    outside = [one.name for one in plan.exchangers if not policy.matches(one.name)]
    told = f"{policy.mode.value}, for {policy.max_age} s"
    if policy.mode is Mode.NONE:
        return Row("sts", Verdict.NOTE, "none: it was withdrawn")
    if outside:
        is_over = len(outside) == len(plan.exchangers) and policy.mode is Mode.ENFORCE
        verdict = Verdict.FAIL if is_over else Verdict.WARN
        return Row("sts", verdict, f"{told}; it does not name {', '.join(outside)}")
    text = "; ".join([f"{told}, names every host", *wrong])
    return Row("sts", Verdict.WARN if wrong else Verdict.OK, text)


def plan_shape(plan: Plan | None) -> _shapes.JSON | None:
    """The plan as JSON has it."""
    if plan is None:
        return None
    policy = plan.policy
    return {
        "next_hop": plan.next_hop,
        "row": plan.row,
        "mx_secure": plan.mx_secure,
        "exchangers": [
            {
                "name": one.name,
                "preference": one.preference,
                "addresses": list(one.addresses),
                "terms": str(one.terms),
                "row": one.row,
                "skipped": None if one.skipped is None else str(one.skipped),
            }
            for one in plan.exchangers
        ],
        "sts": None
        if policy is None
        else {"mode": policy.mode.value, "max_age": policy.max_age, "mx": list(policy.mx)},
        "reports_to": list(plan.reports_to),
        "failure": None if plan.failure is None else plan.failure.failure.name,
        "notes": list(plan.notes),
    }
