"""What the sender is told of a message that was given up (RFC 3464)."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from email import policy
from email.message import EmailMessage, Message
from email.utils import formataddr, formatdate
from typing import NamedTuple, cast

from smtpx.envelope import Envelope
from smtpx.replies import Reply

from ._preparing import Prepared, header_size, new_message_id, prepared
from ._putting import Terms, put
from ._spool import Spool
from ._statements import Ask, Row, Statements, Tell
from ._stored import reply_of
from .states import LedgerCorrupt, State

__all__ = ["Failed", "begin_reports", "notification", "report"]


class Failed(NamedTuple):
    """A recipient, and what has become of the message for it."""

    recipient: str
    state: State
    """REFUSED or EXPIRED."""
    reply: Reply | None
    reason: str
    host: str


_STATUS = {State.REFUSED: "5.0.0", State.EXPIRED: "4.4.7"}
_SAID = {
    State.REFUSED: "It was refused for:",
    State.EXPIRED: "It could not be delivered in time, and is given up, for:",
}
# What a report begins to read as events, and no more of them at once.
_READER, _MOST = "smtpx bounces", 200


def notification(
    sender: str, postmaster: str, header: bytes, message_id: str, several: Sequence[Failed]
) -> EmailMessage:
    """A report for the sender of a message, of whose header it has a copy."""
    report = EmailMessage(policy=policy.SMTP)
    report["From"] = formataddr(("Mail Delivery System", postmaster))
    report["To"] = sender
    report["Subject"] = "Undelivered: your message was returned"
    report["Date"] = formatdate()
    report["Message-ID"] = new_message_id(postmaster)
    report["Auto-Submitted"] = "auto-replied"  # RFC 3834 §3.1.7
    if message_id:
        report["References"] = message_id
    report["MIME-Version"] = "1.0"
    report["Content-Type"] = 'multipart/report; report-type="delivery-status"'
    text = EmailMessage(policy=policy.SMTP)
    text.set_content("\n".join(_explained(several)))
    report.attach(text)
    report.attach(cast("EmailMessage", _status(postmaster, several)))
    returned = EmailMessage(policy=policy.SMTP)
    # 8-bit headers are shown as they are.
    returned.set_content(header.decode("utf-8", "replace"), cte="8bit")
    returned.replace_header("Content-Type", "text/rfc822-headers; charset=utf-8")
    report.attach(returned)
    return report


def _explained(several: Sequence[Failed]) -> list[str]:
    lines = ["This is the mail system. Your message was not delivered to some recipients."]
    for state in dict.fromkeys(one.state for one in several):
        lines += ["", _SAID[state], ""]
        lines += [f"  {one.recipient}: {_why(one)}" for one in several if one.state is state]
    return lines


def _why(one: Failed) -> str:
    if one.reply is None:
        return one.reason or "there was no answer"
    return f"{one.host or 'the server'} said: {one.reply}"


def _status(postmaster: str, several: Sequence[Failed]) -> Message[str, str]:
    """The part that programs read (RFC 3464 §2.1): a group of fields, and one a recipient."""
    status: Message[str, str] = Message(policy=policy.compat32)
    status["Content-Type"] = "message/delivery-status"
    groups = [[("Reporting-MTA", f"dns; {postmaster.rpartition('@')[2]}")]]
    for one in several:
        fields = [
            ("Final-Recipient", f"rfc822; {one.recipient}"),
            ("Action", "failed"),
            ("Status", _code(one)),
        ]
        if one.host:
            fields.append(("Remote-MTA", f"dns; {one.host.rpartition(':')[0] or one.host}"))
        if one.reply is not None:
            said = " ".join(one.reply.lines)
            fields.append(("Diagnostic-Code", f"smtp; {one.reply.code} {_plain(said)}"[:900]))
        groups.append(fields)
    parts: list[Message[str, str]] = []
    for group in groups:
        part: Message[str, str] = Message(policy=policy.compat32)
        for name, value in group:
            part[name] = value
        parts.append(part)
    status.set_payload(parts)  # type: ignore[arg-type]
    return status


def _code(one: Failed) -> str:
    said = None if one.reply is None else one.reply.enhanced
    if said is None or one.state is State.EXPIRED:
        return _STATUS[one.state]
    return str(said)


def _plain(text: str) -> str:
    return "".join(each if " " <= each <= "~" else "?" for each in text)


def begin_reports() -> Statements[None]:
    """Report from now on, if that was not begun before."""
    rows = yield Ask("SELECT MAX(cursor) FROM smtpx_event")
    _ = yield Tell(
        "INSERT INTO smtpx_reader (name, cursor) VALUES (?,?) ON CONFLICT DO NOTHING",
        [(_READER, rows[0][0] or 0)],
    )


def report(postmaster: str, spool: Spool | None, terms: Terms) -> Statements[int]:
    """Put reports in of what was given up since the last time; the value is how many events.

    None is sent to the null sender, nor to that of a template, which is many people's.
    """
    rows = yield Ask("SELECT cursor FROM smtpx_reader WHERE name = ? {wait}", [_READER])
    events = yield Ask(
        "SELECT cursor, message, recipient, state, reply, reason FROM smtpx_event "
        "WHERE cursor > ?{settled} ORDER BY cursor LIMIT ?",
        [rows[0][0], _MOST],
    )
    if not events:
        return 0
    failed: dict[str, list[Row]] = {}
    for event in events:
        if event[3] in (State.REFUSED.value, State.EXPIRED.value):
            failed.setdefault(event[1], []).append(event)
    for message, several in failed.items():
        found = yield Ask(
            "SELECT m.sender, m.stamps, m.message_id, COALESCE(m.octets, c.octets), c.digest, "
            "c.size FROM smtpx_message m LEFT JOIN smtpx_content c ON c.digest = m.content "
            "WHERE m.id = ? AND m.sender <> ''",
            [message],
        )
        if found:
            hosts = yield Ask(
                "SELECT recipient, host FROM smtpx_delivery WHERE message = ?", [message]
            )
            one = _report_of(postmaster, found[0], several, dict(hosts), spool)
            _ = yield from put([one], terms, None)
    _ = yield Tell("UPDATE smtpx_reader SET cursor = ? WHERE name = ?", [(events[-1][0], _READER)])
    return len(events)


def _report_of(
    postmaster: str,
    message: Row,
    events: Sequence[Row],
    hosts: Mapping[str, str],
    spool: Spool | None,
) -> Prepared:
    sender, stamps, message_id, octets, digest, size = message
    several = [
        Failed(recipient, State(state), reply_of(reply), reason, hosts.get(recipient, ""))
        for _, _, recipient, state, reply, reason in events
    ]
    head = b"" if octets is None else bytes(octets)
    if octets is None and spool is not None:
        try:
            head = next(spool.pieces(bytes(digest), size), b"")
        except LedgerCorrupt:
            head = b""
    header = bytes(stamps) + head[: header_size(head)]
    said = notification(sender, postmaster, header, message_id, several)
    return prepared(said, Envelope(None, sender), None)
