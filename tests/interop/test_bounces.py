"""What a real Postfix reports, tied to what was sent."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from smtpx import Envelope, Notify, Recipient, Ret, Session
from smtpx.bounces import Action, DeliveryReport, Reason, parse

from .postfix import Postfix

# In one process, with the other Postfix.
pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("postfix")]

HEADER = b"From: ann@example.org\r\nMessage-ID: <1234@example.org>\r\nX-Campaign: winter\r\n\r\n"
LATE_OR_NEVER = Notify.FAILURE | Notify.DELAY


@pytest.fixture(scope="module")
def reporting() -> Iterator[Postfix]:
    """One that takes mail for mailboxes which turn out to be full, or not to be."""
    reason = Postfix.missing()
    if reason is not None:
        pytest.skip(reason)
    # By way of an alias: smtpd would refuse what it can see to fail.
    settings = {
        "virtual_alias_maps": "inline:{full@example.test=bob@full.test"
        ", gone@example.test=bob@gone.test}",
        "transport_maps": "inline:{{full.test = error:5.2.2 mailbox is full}"
        ", {gone.test = error:5.1.1 no such user}}",
    }
    with Postfix(settings=settings) as postfix:
        yield postfix


def reported(
    postfix: Postfix, sender: str, envelope_options: dict[str, object], *recipients: Recipient
) -> DeliveryReport:
    envelope = Envelope(sender, recipients, **envelope_options)  # type: ignore[arg-type]
    with Session(f"smtp://127.0.0.1:{postfix.port}?tls=none") as session:
        assert session.send(HEADER + b"hello\r\n", envelope).error is None
    (message,) = postfix.messages(sender)
    report = parse(message)
    assert isinstance(report, DeliveryReport)
    return report


@pytest.mark.requirement("RFC 3464 §2")
def test_a_failure(reporting: Postfix):
    report = reported(
        reporting,
        "failure@example.test",
        {"envid": "campaign+7=x", "ret": Ret.HEADERS},
        Recipient("full@example.test", notify=LATE_OR_NEVER, orcpt="first+one@example.org"),
        Recipient("gone@example.test", notify=Notify.FAILURE),
        Recipient("bob@example.test", notify=Notify.NEVER),
    )
    assert report.is_standard
    assert report.envid == "campaign+7=x"
    assert report.reporting_mta == Postfix.hostname
    assert report.returned is not None
    assert report.returned.message_id == "<1234@example.org>"
    assert report.returned.first("X-Campaign") == "winter"
    assert report.arrival is not None
    found = {r.final_recipient: r for r in report.recipients}
    assert set(found) == {"bob@full.test", "bob@gone.test"}
    full, gone = found["bob@full.test"], found["bob@gone.test"]
    assert full.recipient == "first+one@example.org"
    assert gone.recipient == "gone@example.test"
    assert (full.action, str(full.status), full.reason) == (
        Action.FAILED,
        "5.2.2",
        Reason.MAILBOX_FULL,
    )
    assert (gone.action, gone.reason) == (Action.FAILED, Reason.BAD_MAILBOX)


def test_a_success(reporting: Postfix):
    report = reported(
        reporting,
        "success@example.test",
        {"envid": "1"},
        Recipient("bob@example.test", notify=Notify.SUCCESS),
    )
    (recipient,) = report.recipients
    assert recipient.action is Action.DELIVERED
    assert recipient.reason is None
    assert report.envid == "1"


def test_an_internationalized_one(reporting: Postfix):
    envelope = Envelope("jörg@example.test", "full@example.test")
    with Session(f"smtp://127.0.0.1:{reporting.port}?tls=none") as session:
        assert session.send("Subject: grüße\r\n\r\nhi\r\n".encode(), envelope).error is None
    (message,) = reporting.messages("jörg@example.test")
    assert b"message/global-delivery-status" in message
    report = parse(message)
    assert isinstance(report, DeliveryReport)
    assert [(r.final_recipient, r.reason) for r in report.recipients] == [
        ("bob@full.test", Reason.MAILBOX_FULL)
    ]
    assert report.returned is not None
    assert report.returned.first("Subject") == "grüße"
