"""The outbox in Django's admin: seen, searched, decided about; whatever is in it."""

from __future__ import annotations

import io
import re
from collections.abc import Callable
from typing import Any

import pytest

import smtpx
from smtpx.outbox import State
from smtpx.testing import Server, TruncateReply
from tests.integrations.django.setting_up import mail_by
from tests.integrations.django.test_backend import backend, mail

pytestmark = pytest.mark.timeout(120)

Mailer = Callable[..., None]
PAGE = "/admin/smtpx/delivery/"
on_sqlite = pytest.mark.parametrize("database", ["sqlite"], indirect=True)
SCRIPT = "<script>alert('seen')</script>"


@pytest.fixture
def site(mailer: Mailer, database: Any) -> Any:
    """A project with an outbox, and those who look at it: by name, a browser that is logged in."""
    from django.contrib.auth.models import Permission, User
    from django.core.management import call_command
    from django.test import Client, override_settings

    mailer(url="smtp://127.0.0.1:9", outbox={})
    call_command("migrate", verbosity=0)
    people = {
        "decider": ["view_delivery", "change_delivery"],
        "viewer": ["view_delivery"],
        "stranger": [],
    }
    browsers = {}
    with override_settings(PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"]):
        for name, permissions in people.items():
            user = User.objects.create_user(name, is_staff=True)
            user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
            browsers[name] = Client()
            browsers[name].force_login(user)
    return browsers


def page(browser: Any, address: str = PAGE, **query: str) -> str:
    answer = browser.get(address, query)
    assert answer.status_code == 200, answer.content
    return str(answer.content.decode())


def rows(text: str) -> list[list[str]]:
    """The texts of the list's cells."""
    (body,) = re.findall(r"<tbody>(.*?)</tbody>", text, re.DOTALL) or [""]
    return [
        [
            re.sub(r"<[^>]*>", "", cell)
            for cell in re.findall(r"<t[hd] class=\"field.*?</t[hd]>", row)
        ]
        for row in re.findall(r"<tr.*?</tr>", body, re.DOTALL)
    ]


def act(browser: Any, action: str, *recipients: str) -> str:
    """Choose deliveries in the list, and an action."""
    from smtpx.integrations.django.models import Delivery

    chosen = Delivery.entries.filter(recipient__in=recipients)
    numbers = [delivery.number for delivery in chosen]
    assert len(numbers) == len(recipients)
    answer = browser.post(PAGE, {"action": action, "_selected_action": numbers}, follow=True)
    assert answer.status_code == 200
    return str(answer.content.decode())


def states() -> dict[str, State]:
    return {each.recipient: each.state for each in backend().outbox.find()}


def run(server: Server) -> None:
    backend().outbox.run(server.url, until_empty=True, connections=1)


@on_sqlite
def test_what_is_seen_is_text_whatever_it_is(site: Any):
    from django.core.mail import EmailMessage

    said = f"550 5.1.1 {SCRIPT} <img src=x onerror=alert(1)>"
    with Server(refuse_recipients={"gone@example.net": said}) as server:
        EmailMessage(SCRIPT, "hi", "ann@example.org", ["gone@example.net"]).send()
        EmailMessage("Grüße\u202e" + "x" * 200, "hi", "ann@example.org", ["b@example.net"]).send()
        odd = smtpx.Envelope("ann@example.org", '"<script>x</script>"@example.net')
        backend().outbox.put(b"Subject: =?utf-8?q?" + b"\xff=00" * 9 + b"?=\r\n\r\n", odd)
        run(server)
    listed = page(site["viewer"])
    assert len(rows(listed)) == 3
    assert "&lt;script&gt;alert(&#x27;seen&#x27;)&lt;/script&gt;" in listed
    assert "Grüße" in listed
    for text in (listed, page(site["viewer"], f"{PAGE}1/change/")):
        assert "<script>alert('seen')" not in text
        assert "<script>x" not in text
        assert "<img src=x" not in text
        assert "\u202e" not in text


@on_sqlite
def test_it_is_filtered_and_searched(site: Any):
    refused = {f"gone{n}@example.net": "550 5.1.1 No such user" for n in range(3)}
    with Server(refuse_recipients=refused) as server:
        assert backend().send_messages([mail(to) for to in (*refused, "bob@example.net")]) == 4
        run(server)
    assert len(rows(page(site["viewer"], state="refused"))) == 3
    assert len(rows(page(site["viewer"], state="accepted"))) == 1
    assert len(rows(page(site["viewer"], q="gone1"))) == 1
    assert len(rows(page(site["viewer"], q="%' OR 1=1 --"))) == 0
    (delivery,) = backend().outbox.find(recipient="bob@example.net")
    assert len(rows(page(site["viewer"], q=delivery.submission))) == 1
    assert len(rows(page(site["viewer"], q=delivery.message_id))) == 1


@on_sqlite
def test_what_may_have_been_accepted_and_waits_is_told(site: Any):
    with Server(faults=[TruncateReply("END-OF-DATA", keep=0)]) as server:
        backend().send_messages([mail("bob@example.net")])
        run(server)
    backend().send_messages([mail("ann@example.net")])
    assert "waiting, doubted" in page(site["viewer"])
    (doubted,) = rows(page(site["viewer"], doubted="yes"))
    assert "bob@example.net" in " ".join(doubted)
    assert "waiting, doubted" in page(site["viewer"], f"{PAGE}1/change/")


def test_what_is_decided_is_done_and_written_down(site: Any):
    from django.contrib.admin.models import LogEntry

    browser = site["decider"]
    refused = {"gone@example.net": "550 5.1.1 No such user"}
    with Server(refuse_recipients=refused) as server:
        mail("gone@example.net", "bob@example.net").send()
        held = mail("carol@example.net", "dora@example.net")
        held.smtpx_put = {"on_doubt": "hold"}
        held.send()
        server.add_fault(TruncateReply("END-OF-DATA", nth=2, keep=0))
        run(server)
    assert states() == {
        "gone@example.net": State.REFUSED,
        "bob@example.net": State.ACCEPTED,
        "carol@example.net": State.IN_DOUBT,
        "dora@example.net": State.IN_DOUBT,
    }
    everyone = [*states()]
    told = act(browser, "try_again", *everyone)
    assert "1 tried again." in told
    assert "3 not tried again: their state is another." in told
    assert "1 cancelled." in act(browser, "cancel", *everyone)
    assert "1 settled as accepted." in act(browser, "settle", "carol@example.net")
    assert "1 sent again." in act(browser, "send_again", "dora@example.net", "bob@example.net")
    assert states() == {
        "gone@example.net": State.CANCELLED,
        "bob@example.net": State.ACCEPTED,
        "carol@example.net": State.ACCEPTED,
        "dora@example.net": State.WAITING,
    }
    noted = LogEntry.objects.order_by("id").values_list("change_message", flat=True)
    assert [*noted] == ["tried again", "cancelled", "settled as accepted", "sent again"]
    # Of the first attempt nobody knows whether it has arrived.
    told = act(browser, "cancel", "dora@example.net")
    assert "1 in doubt: it may have arrived." in told
    assert "1 cancelled" not in told
    assert states()["dora@example.net"] is State.IN_DOUBT
    assert noted.last() == "in doubt: it may have arrived"


@on_sqlite
def test_nobody_does_what_he_may_not(site: Any):
    mail("bob@example.net").send()
    one = f"{PAGE}1/change/"
    assert "Cancel" in page(site["decider"])
    assert "Cancel" not in page(site["viewer"])
    _ = act(site["viewer"], "cancel", "bob@example.net")
    assert states() == {"bob@example.net": State.WAITING}
    assert site["stranger"].get(PAGE).status_code == 403
    assert site["stranger"].get(one).status_code == 403
    for name in ("viewer", "decider"):
        text = page(site[name], one)
        assert 'name="_save"' not in text
        assert 'name="recipient"' not in text
        assert site[name].post(one, {"state": "accepted"}).status_code == 403
        assert site[name].get(f"{PAGE}add/").status_code == 403
        assert site[name].post(f"{PAGE}1/delete/", {"post": "yes"}).status_code == 403
    assert states() == {"bob@example.net": State.WAITING}


@on_sqlite
def test_without_an_outbox_there_is_no_page(site: Any):
    assert "smtpx/delivery" in page(site["viewer"], "/admin/")
    with mail_by(url="smtp://127.0.0.1:9"):
        assert "smtpx/delivery" not in page(site["viewer"], "/admin/")
        assert rows(page(site["viewer"])) == []


def test_the_models_have_the_columns_of_the_tables(site: Any):
    from django.core.management import call_command

    from smtpx.integrations.django.models import Content, Delivery, Message

    long = mail("bob@example.net")
    long.body = "It is long. " * 1000
    long.send()
    for model in (Content, Delivery, Message):
        _ = model.entries.get()
    assert rows(page(site["viewer"]))[0][1] == "Grüße"
    call_command("makemigrations", "smtpx", check=True, dry_run=True, verbosity=0)


@on_sqlite
def test_mail_is_no_fixture(site: Any, database: Any):
    """And a project that has the app for its checks has none of the tables."""
    from django.core.management import call_command

    mail("bob@example.net").send()
    dumped = io.StringIO()
    call_command("dumpdata", stdout=dumped)
    assert '"auth.user"' in dumped.getvalue()
    assert "smtpx.delivery" not in dumped.getvalue()
    with database.cursor() as cursor:
        cursor.execute("DROP TABLE smtpx_delivery")
        cursor.execute("DROP TABLE smtpx_message")
        cursor.execute("DROP TABLE smtpx_content")
    call_command("dumpdata", stdout=dumped)


@on_sqlite
def test_a_request_in_a_transaction_is_no_deadlock(site: Any, database: Any):
    mail("bob@example.net").send()
    database.settings_dict["ATOMIC_REQUESTS"] = True
    try:
        assert "1 cancelled." in act(site["decider"], "cancel", "bob@example.net")
    finally:
        database.settings_dict["ATOMIC_REQUESTS"] = False
