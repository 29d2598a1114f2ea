"""``smtpx doctor``: what a server would do with mail, and why; nothing is sent."""

from __future__ import annotations

import argparse
import re
import socket
from collections.abc import Callable, Iterator

import smtpx
from smtpx import services
from smtpx.cli import _shapes
from smtpx.cli._accounts import Account, account_of, add_password_options, anonymous, is_target
from smtpx.cli._console import Console, counted, printable
from smtpx.cli._deliveries import add_delivery_options
from smtpx.cli._dialogues import Dialogue
from smtpx.cli._examination import Examination
from smtpx.cli._exits import Exit, Stop
from smtpx.cli._letters import octets_of_size
from smtpx.cli._names import names_rows
from smtpx.cli._plans import IMPLICIT_PORT, Route, plan_shape
from smtpx.cli._running import Parser, count_of, port_of
from smtpx.cli._verdicts import Case, Verdict

__all__ = ["parser", "run"]

_EPILOG = """\
TARGET is a URL, an @account, a service such as gmail, a host or domain, or an address: then its
recipient is asked about.
A domain with MX records, and an address, are asked at their best mail exchanger. Else, without a
port, the first of 587, 465 and 25 that answers is asked.

examples:
  smtpx doctor mail.example.com
  smtpx doctor --login gmail://ann@gmail.com
  smtpx doctor --login -q @work                              does this login work?
  smtpx doctor --rcpt bob@example.net smtp://mx.example.net  would he get mail?
  smtpx doctor --expect 'starttls, auth:SCRAM-SHA-256, size>=20M, days>=14' mail.example.com

Exit codes: 0 fine, 1 a check failed, 68 no such host, 74 no connection, 75 later,
76 no SMTP, 77 TLS or login.
"""
_PORTS = (587, IMPLICIT_PORT, 25)
_WITH_PORT = re.compile(r"([^\s:@/\[\]]+|\[[0-9A-Fa-f:.]+\]):([0-9]+)")
_PATIENCE = 5.0
_LABELS = {
    "dns.resolves": "address",
    "connect": "connect",
    "greeting": "greeting",
    "extensions": "offers",
    "rcpt": "recipient",
}
_BAD = {"fail": {Verdict.FAIL}, "warn": {Verdict.FAIL, Verdict.WARN}}
_COLOURS = {Verdict.WARN: "yellow", Verdict.FAIL: "red", Verdict.SKIPPED: "dim"}


def parser() -> Parser:
    """What it takes."""
    parser = Parser("doctor", "Ask servers what they would do with mail; send nothing.", _EPILOG)
    parser.add_argument("targets", nargs="*", metavar="TARGET")
    parser.add_argument("--login", action="store_true", help="log in, too")
    parser.add_argument("--rcpt", metavar="ADDRESS", help="would this recipient be accepted?")
    parser.add_argument("--from", dest="sender", default="", metavar="ADDRESS")
    parser.add_argument(
        "--port", type=port_of, metavar="N", help="of the host, or of the domain's mail exchanger"
    )
    parser.add_argument(
        "--mx", type=count_of, metavar="N", help="ask the domain's Nth mail exchanger, not its best"
    )
    parser.add_argument("--tls-min", choices=("1.2", "1.3"), help="fail below that")
    parser.add_argument(
        "--days", type=count_of, default=21, help="warn of a certificate with less left"
    )
    parser.add_argument(
        "--expect", metavar="TERMS", help="starttls, auth:NAME, size>=20M, days>=14"
    )
    parser.add_argument("--fail-on", choices=("warn", "fail"), default="fail")
    add_delivery_options(parser)
    add_password_options(parser)
    return parser


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Ask each of them."""
    expected = list(_expected(arguments.expect))
    found: list[_shapes.JSON] = []
    codes: list[Exit] = []
    for named in arguments.targets or [None]:
        target = f"{named}://" if _is_service(named, arguments) else named
        _check_port(target)
        route = Route.to(target, arguments)
        case = _case(target, route, arguments, console)
        examination = Examination(case)
        examination.rows += route.first_rows()
        if route.code is Exit.DONE:
            examination.examine()
            examination.rows += names_rows(examination.address, examination.greeting, arguments)
        else:
            examination.code = route.code
        _advise(examination)
        if examination.greeting is None and (near := _service_near(named)):
            examination.add("service", Verdict.NOTE, f"did you mean the service {near}?")
        for term, holds in expected:
            holds_so = examination.extensions is not None and holds(examination)
            verdict = Verdict.OK if holds_so else Verdict.FAIL
            examination.add("expect", verdict, f"{term}: {'yes' if holds_so else 'no'}")
        examination.rows += route.last_rows(examination.protection)
        if any(row.name == "dane" and row.verdict is Verdict.FAIL for row in examination.rows):
            examination.code = examination.code or Exit.NOT_PERMITTED
        codes.append(_code(examination, arguments.fail_on))
        _tell(examination, console, _BAD[arguments.fail_on])
        found.append(_shape(target, examination) | {"plan": plan_shape(route.plan)})
    code = next((each for each in codes if each is not Exit.DONE), Exit.DONE)
    console.document("doctor", code, {"targets": found})
    return code


def _is_service(target: str | None, arguments: argparse.Namespace) -> bool:
    return target in services.known() and arguments.port is None


def _service_near(named: str | None) -> str | None:
    """The service that was meant by what is no server's name."""
    if named is None or "." in named:
        return None
    from difflib import get_close_matches

    return next(iter(get_close_matches(named.lower(), services.known(), 1, 0.7)), None)


def _advise(examination: Examination) -> None:
    """What is known of the service whose server it is."""
    service = services.at(examination.case.endpoint.host)
    if service is None:
        return
    examination.add("service.login", Verdict.NOTE, service.login)
    if service.limits:
        where = f" ({service.limits_page})" if service.limits_page else ""
        examination.add("service.limits", Verdict.NOTE, service.limits + where)
    examination.add("service.page", Verdict.NOTE, f"{service.page} (read {service.seen})")


def _code(examination: Examination, fail_on: str) -> Exit:
    if examination.code is not Exit.DONE:
        return examination.code
    bad = _BAD[fail_on]
    return Exit.FOUND if any(row.verdict in bad for row in examination.rows) else Exit.DONE


# Whom to ask.


def _check_port(target: str | None) -> None:
    """A port behind a host says nothing of TLS: what would is named."""
    if target is not None and (match := _WITH_PORT.fullmatch(target)):
        host, port = match.groups()
        raise Stop(f"{printable(target)}: write smtp://{target} as a URL, or {host} --port {port}")


def _case(
    target: str | None, route: Route, arguments: argparse.Namespace, console: Console
) -> Case:
    recipient: str | None = arguments.rcpt
    if target is not None and "@" in target and not is_target(target):
        recipient = recipient or target
    if target is not None and route.is_taken(target, arguments):
        account, chosen = Account(route.endpoint(arguments.port or 25)), route.chosen
    elif target is None or is_target(target):
        account = account_of(target, arguments, console, login=arguments.login)
        chosen = "as the URL says"
    elif "@" in target:
        host = smtpx.Address.parse(target).domain
        account, chosen = Account(_endpoint(host, arguments.port or 25)), "where domains take mail"
    elif arguments.port is not None:
        account, chosen = Account(_endpoint(target, arguments.port)), "as --port says"
    else:
        port = _answering(target)
        account, chosen = (
            Account(_endpoint(target, port)),
            f"no port was named: the first of {', '.join(map(str, _PORTS))} that answers",
        )
    if arguments.login and account.credentials is None and account.endpoint.password is None:
        if (target or "@default").removeprefix("@") in arguments.accounts:
            raise Stop("--login needs a user: say username and password in the mail settings")
        raise Stop(
            "--login needs a user: write it into the URL, as in submission://ann@host, or into "
            "the account that names the server"
        )
    for address in filter(None, (arguments.sender, recipient)):
        _ = smtpx.Address.parse(address)
    version = {"1.2": smtpx.TLSVersion.TLS_1_2, "1.3": smtpx.TLSVersion.TLS_1_3}
    return Case(
        endpoint=account.endpoint if arguments.login else anonymous(account.endpoint),
        chosen=chosen,
        credentials=account.credentials,
        options=_seen(account.options),
        login=arguments.login,
        sender=arguments.sender,
        recipient=recipient,
        days=arguments.days,
        minimum=version.get(arguments.tls_min),
        observer=Dialogue(console) if console.verbose else None,
        is_free=route.is_free,
    )


def _seen(options: smtpx.SessionOptions) -> smtpx.SessionOptions:
    """Those options of a client that show in a session on which nothing is sent."""
    seen = smtpx.SessionOptions()
    if "tls" in options:
        seen["tls"] = options["tls"]
    if "mechanisms" in options:
        seen["mechanisms"] = options["mechanisms"]
    if "client_name" in options:
        seen["client_name"] = options["client_name"]
    return seen


def _endpoint(host: str, port: int) -> smtpx.Endpoint:
    mode = smtpx.TLSMode.IMPLICIT if port == IMPLICIT_PORT else None
    return smtpx.Endpoint(host.strip("[]"), port, mode)


def _answering(host: str) -> int:
    """The first usual port that something listens at; the first of all, if nothing does."""
    for port in _PORTS:
        try:
            socket.create_connection((host, port), _PATIENCE).close()
        except (OSError, UnicodeError):
            continue
        return port
    return _PORTS[0]


# What is expected of it.


def _expected(text: str | None) -> Iterator[tuple[str, Callable[[Examination], bool]]]:
    terms = [each.strip() for each in (text or "").split(",") if each.strip()]
    if text is not None and not terms:
        raise Stop(f"--expect {printable(text)!r} expects nothing: name what, or leave it out")
    for term in terms:
        yield term, _term(term)


def _term(term: str) -> Callable[[Examination], bool]:
    measured = re.fullmatch(r"(size|days|tls)>=([\w.]+)", term)
    if measured is not None:
        return _measured(term, measured[1], measured[2])
    if re.fullmatch(r"auth:[\w-]+", term, re.IGNORECASE):
        name = term[5:].upper()
        return lambda found: found.extensions is not None and name in found.extensions.auth
    if not re.fullmatch(r"[A-Za-z0-9-]+", term):
        raise Stop(
            f"--expect {printable(term)!r}: write an EHLO keyword, auth:NAME, size>=20M, days>=14 "
            "or tls>=1.3"
        )
    return lambda found: term in (found.extensions or ()) or term in (found.offered or ())


def _measured(term: str, what: str, least: str) -> Callable[[Examination], bool]:
    try:
        if what == "size":
            size = octets_of_size(least)
            return lambda found: _size(found) >= size
        if what == "days":
            days = int(least)
            return lambda found: found.days_left is not None and found.days_left >= days
        version = f"TLSv{float(least):.1f}"
    except (ValueError, argparse.ArgumentTypeError):
        raise Stop(f"--expect {printable(term)!r}: that is no number") from None
    return lambda found: found.protection is not None and found.protection.version >= version


def _size(found: Examination) -> float:
    """The largest message it takes; without a limit, any."""
    extensions = found.extensions
    if extensions is None or not extensions.states_size:
        return 0.0
    return float("inf") if extensions.size is None else extensions.size


# What was found.


def _tell(examination: Examination, console: Console, bad: set[Verdict]) -> None:
    case = examination.case
    console.result(f"{case.endpoint}  ({case.chosen})", "bold")
    for row in examination.rows:
        label = _LABELS.get(row.name, row.name)
        mark = f"  <- {row.verdict.value}" if row.verdict in _COLOURS else ""
        line = printable(f"  {label:18} {row.text}{mark}")
        console.result(line, _COLOURS.get(row.verdict, ""))
        if not console.is_for_people and row.verdict in bad:
            console.problem(printable(f"{case.endpoint}: {label}: {row.text}"))
    if examination.times:
        told = "  ".join(f"{name} {took * 1000:.1f}" for name, took in examination.times.items())
        console.result(f"  {'time':18} {told} ms")
    if examination.round_trips is not None:
        trips = examination.round_trips
        console.result(f"  {'a message':18} {counted(trips, 'round trip')}; 4 with smtplib")
    counts = {
        verdict: sum(row.verdict is verdict for row in examination.rows)
        for verdict in (Verdict.OK, Verdict.WARN, Verdict.FAIL)
    }
    console.result("  ".join(f"{verdict.value} {count}" for verdict, count in counts.items()))


def _shape(target: str | None, examination: Examination) -> _shapes.JSON:
    extensions, protection = examination.extensions, examination.protection
    return {
        "target": None if target is None or "://" in target else target,
        "server": str(examination.case.endpoint),
        "rows": [
            {"name": row.name, "verdict": row.verdict.value, "text": row.text}
            for row in examination.rows
        ],
        "times_ms": {name: round(took * 1000, 2) for name, took in examination.times.items()},
        "round_trips": examination.round_trips,
        "extensions": None if extensions is None else dict(extensions.keywords),
        "tls": None
        if protection is None
        else {
            "version": protection.version,
            "cipher": protection.cipher,
            "names": list(protection.names),
            "verified": protection.is_verified,
            "days_left": examination.days_left,
        },
    }
