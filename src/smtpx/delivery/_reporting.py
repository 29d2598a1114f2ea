"""One TLS report on its way: where the domain wants it, by mail and HTTPS; a procedure."""

from __future__ import annotations

from datetime import UTC, datetime
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from smtpx.envelope import Envelope
from smtpx.errors import SMTPError

from ._fetching import addresses_of, posted
from ._report_mail import mail_of, report_of, zipped
from ._resolving import Rules
from ._steps import Allowance, Fetch, LookUps, Mail, Steps
from .mta_sts import FetchFailed
from .reports import SentReport, TLSReports
from .resolver import AnswerState, Question
from .tls_reports import Report, destinations

if TYPE_CHECKING:
    from ._tallies import Due

__all__ = ["reported"]


def reported(due: Due, reports: TLSReports, rules: Rules, now: float) -> Steps[SentReport]:
    """Send a report to every place that the domain names and that has not had it yet.

    ::

        LookUps     TXT _smtp._tls.example.net
        Allowance   for each place
        Mail        to each mailto:
        Fetch       POST to each https:
    """
    (answer,) = yield LookUps((Question(f"_smtp._tls.{due.domain}", "TXT"),))
    if answer.state is AnswerState.FAILED:
        error = f"who wants it could not be looked up: {answer.detail}"
        return SentReport(due.domain, due.day, due.told, error)
    told = list(due.told)
    errors: list[str] = []
    report = report_of(due, reports)
    for place in destinations([str(each) for each in answer.records]):
        if place in told:
            continue
        try:
            if not (yield Allowance(_whose(place))):
                raise FetchFailed("enough reports have gone out today")
            if place.startswith("mailto:"):
                recipient = place.removeprefix("mailto:")
                submitter = reports.contact.domain
                moment = datetime.fromtimestamp(now, UTC)
                mail = mail_of(report, due.domain, recipient, submitter, moment)
                yield Mail(mail, Envelope(reports.contact, recipient))
            else:
                yield from _post(place, report, rules)
        except (SMTPError, FetchFailed) as error:
            errors.append(f"{place}: {error}")
        else:
            told.append(place)
    return SentReport(due.domain, due.day, tuple(told), "; ".join(errors) or None)


def _whose(place: str) -> str:
    """Who has to bear what is sent there."""
    if place.startswith("mailto:"):
        return place.rpartition("@")[2].lower()
    return str(urlsplit(place).hostname)


def _post(url: str, report: Report, rules: Rules) -> Steps[None]:
    """POST it.

    Raises:
        FetchFailed: nobody has taken it.
    """
    parts = urlsplit(url)
    host, target = str(parts.hostname), parts.path + f"?{parts.query}" * bool(parts.query)
    addresses = yield from addresses_of(host, rules)
    _ = yield Fetch(host, addresses, partial(posted, host, target, zipped(report)))
