"""Whom a message was from, where a server's words name that address in place of the recipient's."""

from __future__ import annotations

import re
from dataclasses import replace

from smtpx.bounces._fields import Fields
from smtpx.bounces._naming import addresses_of
from smtpx.bounces._reasons import OF_RECIPIENTS
from smtpx.bounces._reports import DeliveryReport, Reason, RecipientReport, said_in

_HOST = re.compile(r"(?<![\w.@-])[\w-]{1,63}(?:\.[\w-]{1,63}){1,9}(?![\w-]|\.\w)")
_LOOKED_AT = 500
"""Characters of a reply in which an address may stand."""


def without_the_senders(report: DeliveryReport, header: Fields) -> DeliveryReport:
    """The same, with no reason of a recipient's that a server has given for the sender."""
    senders = _addresses(header, "To", "Delivered-To", "X-Original-To")
    if report.returned is not None:
        senders |= _addresses(report.returned.fields, "Return-Path", "From", "Sender")
    if not senders:
        return report
    recipients = tuple(
        replace(one, reason=Reason.POLICY)
        if one.reason in OF_RECIPIENTS and _names_one_of(senders, one)
        else one
        for one in report.recipients
    )
    return replace(report, recipients=recipients)


def _names_one_of(senders: set[str], one: RecipientReport) -> bool:
    if one.diagnostic is None or one.diagnostic.reply_code is None:
        return False
    said = said_in(one.diagnostic.text)[:_LOOKED_AT].lower()
    own = {(address or "").lower() for address in (one.final_recipient, one.original_recipient)}
    named = set(map(str.lower, addresses_of([said])))
    if named:
        return not named.isdisjoint(senders - own) and named.isdisjoint(own)
    hosts = set(_HOST.findall(said))
    return not hosts.isdisjoint(_domains(senders) - _domains(own)) and hosts.isdisjoint(
        _domains(own)
    )


def _domains(addresses: set[str]) -> set[str]:
    return {address.rpartition("@")[2] for address in addresses}


def _addresses(fields: Fields, *names: str) -> set[str]:
    return {address.lower() for name in names for address in addresses_of(fields.every(name)[:5])}
