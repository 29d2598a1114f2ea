"""The report that a sender gets of a message that was given up, or waits (RFC 3464). No I/O."""

from __future__ import annotations

import re
import textwrap
from collections.abc import Sequence
from email import policy
from email.message import EmailMessage, Message
from email.utils import formataddr, formatdate
from ipaddress import ip_address
from typing import NamedTuple, cast

from smtpx.replies import Reply

from ._preparing import date_field, new_message_id
from .states import State

__all__ = ["Concerned", "Reported", "notice"]


class Concerned(NamedTuple):
    """A recipient, and what has become of the message for it."""

    recipient: str
    original: str | None
    """Whom the message was for at first, as ORCPT has it."""
    state: State
    """REFUSED, EXPIRED, IN_DOUBT, or WAITING: it is delayed."""
    reply: Reply | None
    reason: str
    host: str
    expires: float
    """When it is given up that waits: seconds since the epoch."""


class Reported(NamedTuple):
    """The message that a report is of."""

    sender: str
    message_id: str
    envid: str | None
    header: bytes


_PORT = re.compile(r":\d+$")
# What the reason of a `smtpx.Delivery` ends in.
_CODE = re.compile(r"\(([45]\.\d{1,3}\.\d{1,3})\)$")
_STATUS = {
    State.REFUSED: "5.0.0",
    State.EXPIRED: "4.4.7",
    State.IN_DOUBT: "4.4.2",
    State.WAITING: "4.0.0",
}
_SAID = {
    State.REFUSED: "It was refused for:",
    State.EXPIRED: "It could not be delivered in time, and is given up, for:",
    State.IN_DOUBT: "It is given up, though a copy may have arrived at an earlier attempt, for:",
    State.WAITING: "You need not do anything: it will be tried again. It waits for:",
}


def notice(postmaster: str, of: Reported, several: Sequence[Concerned]) -> EmailMessage:
    """A report for the sender of a message: of all that was given up, or all that waits."""
    is_delayed = several[0].state is State.WAITING
    # Fields of programs are written as they are: a long word would be encoded, and read by none.
    report = EmailMessage(policy=policy.SMTP.clone(refold_source="none"))
    report["From"] = formataddr(("Mail Delivery System", postmaster))
    report["To"] = of.sender
    report["Subject"] = (
        "Delayed: your message was not delivered yet"
        if is_delayed
        else "Undelivered: your message was returned"
    )
    report["Date"] = formatdate()
    report["Message-ID"] = new_message_id(postmaster)
    report["Auto-Submitted"] = "auto-replied"  # RFC 3834 §3.1.7
    if of.message_id:
        report["References"] = of.message_id
    report["MIME-Version"] = "1.0"
    report["Content-Type"] = 'multipart/report; report-type="delivery-status"'
    text = EmailMessage(policy=policy.SMTP)
    text.set_content("\n".join(_explained(several, is_delayed)))
    report.attach(text)
    report.attach(cast("EmailMessage", _status(postmaster, of, several)))
    returned = EmailMessage(policy=policy.SMTP)
    # 8-bit headers are shown as they are.
    encoding = "7bit" if of.header.isascii() else "8bit"
    returned.set_content(of.header.decode("utf-8", "replace"), cte=encoding)
    returned.replace_header("Content-Type", "text/rfc822-headers; charset=utf-8")
    report.attach(returned)
    return report


def _explained(several: Sequence[Concerned], is_delayed: bool) -> list[str]:
    yet = " yet" if is_delayed else ""
    lines = [f"This is the mail system. Your message was not delivered{yet} to some recipients."]
    for state in dict.fromkeys(one.state for one in several):
        lines += ["", _SAID[state], ""]
        lines += [f"  {one.recipient}: {_why(one)}" for one in several if one.state is state]
    if is_delayed:
        lines += ["", f"It is given up if it waits still on {date_field(several[0].expires)}."]
    return lines


def _why(one: Concerned) -> str:
    if one.reply is None:
        return one.reason or "there was no answer"
    return f"{one.host or 'the server'} said: {one.reply}"


def _status(postmaster: str, of: Reported, several: Sequence[Concerned]) -> Message[str, str]:
    """The part that programs read (RFC 3464 §2.1): a group of fields, and one a recipient."""
    status: Message[str, str] = Message(policy=policy.compat32)
    status["Content-Type"] = "message/delivery-status"
    groups = [[("Reporting-MTA", f"dns; {postmaster.rpartition('@')[2]}")]]
    if of.envid is not None:
        groups[0].append(("Original-Envelope-Id", of.envid))
    groups += [_fields(one) for one in several]
    parts: list[Message[str, str]] = []
    for group in groups:
        part: Message[str, str] = Message(policy=policy.compat32)
        for name, value in group:
            part[name] = _folded(name, value)
        parts.append(part)
    status.set_payload(parts)  # type: ignore[arg-type]
    return status


def _fields(one: Concerned) -> list[tuple[str, str]]:
    is_delayed = one.state is State.WAITING
    fields = [] if one.original is None else [("Original-Recipient", one.original)]
    fields += [
        ("Final-Recipient", f"rfc822; {one.recipient}"),
        ("Action", "delayed" if is_delayed else "failed"),
        ("Status", _code(one)),
    ]
    if one.host:
        fields.append(("Remote-MTA", f"dns; {_mta(one.host)}"))
    if one.reply is not None:
        said = " ".join(one.reply.lines)
        fields.append(("Diagnostic-Code", f"smtp; {one.reply.code} {_plain(said)}"[:900]))
    elif one.reason:
        # RFC 3464 §2.1.2: what no registry has begins with X.
        fields.append(("Diagnostic-Code", f"X-smtpx; {_plain(one.reason)}"[:900]))
    if is_delayed:
        fields.append(("Will-Retry-Until", date_field(one.expires)))
    return fields


def _folded(name: str, value: str) -> str:
    indent = " " * len(f"{name}: ")
    lines = textwrap.fill(
        value,
        width=78,
        initial_indent=indent,
        subsequent_indent=" ",
        break_long_words=False,
        break_on_hyphens=False,
    )
    return lines.removeprefix(indent)


def _mta(host: str) -> str:
    """A server by its name, or its address as a literal (RFC 5321 §4.1.3)."""
    name = _PORT.sub("", host)
    try:
        address = ip_address(name.strip("[]").removeprefix("IPv6:"))
    except ValueError:
        return name
    return f"[{address}]" if address.version == 4 else f"[IPv6:{address}]"


def _code(one: Concerned) -> str:
    if one.state is State.EXPIRED:
        return _STATUS[one.state]
    if one.reply is None:
        known = _CODE.search(one.reason)
        return _STATUS[one.state] if known is None else known[1]
    return str(one.reply.enhanced or _STATUS[one.state])


def _plain(text: str) -> str:
    return "".join(each if " " <= each <= "~" else "?" for each in text)
