"""Django's mail through our backend: what arrives, over how many connections, what is told."""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import threading
import unittest
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from typing import Any

import pytest

import smtpx
from smtpx.testing import MailTestCase, Server, Stall, TruncateReply
from tests.integrations.django.setting_up import BACKEND, HAS_MAILERS

Mailer = Callable[..., None]

GONE = {"gone@example.net": "550 5.1.1 No such user here"}


def backend(**options: Any) -> Any:
    """A backend, as Django makes it for each mail."""
    if HAS_MAILERS:
        from django.core.mail import mailers

        return mailers.default
    from django.core.mail import get_connection

    return get_connection(**options)


def mail(*to: str, **options: Any) -> Any:
    from django.core.mail import EmailMessage

    return EmailMessage("Grüße", "Hallo Bob", "Ann <ann@example.org>", to, **options)


def test_many_mails_take_one_connection(mailer: Mailer):
    """Django's own backend dials for each: see the test below it."""
    from django.core.mail import send_mail

    with Server() as server:
        mailer(url=server.url)
        for number in range(22):
            to = [f"reader{number}@example.net"]
            assert send_mail("hi", "hello", "ann@example.org", to) == 1
        assert len(server.messages) == 22
        assert len(server.sessions) == 1
        assert server.breaches == []


@pytest.mark.skipif(HAS_MAILERS, reason="said by EMAIL_BACKEND, which 6.1 deprecates")
def test_the_comparison_that_the_docs_show():
    from django.core.mail import send_mail
    from django.test import override_settings

    theirs = "django.core.mail.backends.smtp.EmailBackend"
    for name, dials in ((theirs, 22), (BACKEND, 1)):
        with (
            Server() as server,
            override_settings(EMAIL_BACKEND=name, EMAIL_HOST="127.0.0.1", EMAIL_PORT=server.port),
        ):
            for number in range(22):
                send_mail("hi", "hello", "ann@example.org", [f"reader{number}@example.net"])
            server.wait_for_messages(22)
            assert len(server.sessions) == dials


def test_a_refused_recipient_among_two_is_told(mailer: Mailer):
    with Server(refuse_recipients=GONE) as server:
        mailer(url=server.url)
        message = mail("bob@example.net", "gone@example.net")
        assert message.send() == 1
    (refused,) = message.smtpx_result.refused
    assert str(refused) == "gone@example.net refused: 550 5.1.1 No such user here"


def test_partial_raises_where_it_is_asked_for(mailer: Mailer):
    with Server(refuse_recipients=GONE) as server:
        mailer(url=server.url, partial="raise")
        with pytest.raises(smtpx.RecipientsRefused, match=r"gone@example\.net"):
            mail("bob@example.net", "gone@example.net").send()
        assert len(server.messages) == 1


def test_one_failure_stops_no_other_and_is_raised_in_the_end(mailer: Mailer):
    with Server(refuse_recipients=GONE) as server:
        mailer(url=server.url)
        messages = [mail("gone@example.net"), mail("a b@example.net"), mail("bob@example.net")]
        with pytest.raises(ValueError, match="Invalid address"):
            backend().send_messages(messages)
        assert [each.recipients for each in server.messages] == [("bob@example.net",)]
    assert messages[0].smtpx_result.refused
    assert messages[1].smtpx_result is None
    assert messages[2].smtpx_result.complete


def test_a_message_that_cannot_be_written_stops_no_other(mailer: Mailer):
    from django.core.mail import EmailMessage

    class Broken(EmailMessage):
        def message(self, **_: Any) -> Any:
            raise RuntimeError("its template is broken")

    with Server() as server:
        mailer(url=server.url)
        broken = Broken("hi", "hello", "ann@example.org", ["bob@example.net"])
        with pytest.raises(RuntimeError, match="template"):
            backend().send_messages([mail("a@example.net"), broken, mail("b@example.net")])
        assert len(server.messages) == 2


@contextmanager
def heard() -> Generator[list[tuple[str, str]], None, None]:
    """What the signals tell, each with the first recipient of the message."""
    from smtpx.integrations.django import mail_in_doubt, mail_partial, mail_refused

    told: list[tuple[str, str]] = []

    def hear(name: str):
        def receiver(message: Any, result: smtpx.SendResult, alias: str | None, **_: Any) -> None:
            assert message.smtpx_result is result
            assert alias == ("default" if HAS_MAILERS else None)
            told.append((name, message.to[0]))
            raise RuntimeError("a receiver that fails stops nothing")

        return receiver

    named = {"refused": mail_refused, "partial": mail_partial, "in doubt": mail_in_doubt}
    receivers = {name: hear(name) for name in named}
    for name, signal in named.items():
        signal.connect(receivers[name])
    try:
        yield told
    finally:
        for name, signal in named.items():
            signal.disconnect(receivers[name])


def test_signals_say_what_became_of_mail(mailer: Mailer):
    with Server(refuse_recipients=GONE) as server, heard() as told:
        mailer(url=server.url)
        mail("bob@example.net").send()
        mail("ann@example.net", "gone@example.net").send()
        with pytest.raises(smtpx.RecipientsRefused):
            mail("gone@example.net").send()
        server.add_fault(TruncateReply("END-OF-DATA", keep=0))
        with pytest.raises(smtpx.ConnectionLost) as caught:
            mail("carol@example.net").send()
        assert caught.value.in_doubt
    assert told == [
        ("partial", "ann@example.net"),
        ("refused", "gone@example.net"),
        ("in doubt", "carol@example.net"),
    ]


@pytest.mark.parametrize("cancelled", [1, 2])
def test_signals_say_what_a_cancelled_task_leaves(mailer: Mailer, cancelled: int):
    """Django cancels a view whose client has gone; and a second time changes nothing."""
    messages = [mail("bob@example.net"), mail("carol@example.net"), mail("dan@example.net")]

    read: list[Any] = []

    def given() -> Iterator[Any]:
        for message in messages:
            read.append(message)
            yield message

    async def send(server: Server) -> None:
        task = asyncio.create_task(backend().asend_messages(given()))
        async with asyncio.timeout(10):
            while server.unstruck:
                await asyncio.sleep(0.01)
        for _ in range(cancelled):
            task.cancel()
            await asyncio.sleep(0)
        with pytest.raises(asyncio.CancelledError):
            await task
        async with asyncio.timeout(10):
            while len(told) < len(read) - 1:
                _ = gc.collect()  # The loop itself holds no task.
                await asyncio.sleep(0.01)

    fault = Stall("END-OF-DATA", nth=2)
    with Server(faults=[fault], extensions=frozenset()) as server, heard() as told:
        mailer(url=server.url, pool=smtpx.PoolLimits(open=1))
        asyncio.run(send(server))
    assert messages[0].smtpx_result.complete
    assert messages[1].smtpx_result.in_doubt
    # The third is read ahead where the first came at once.
    unsent = [("refused", "dan@example.net")] if messages[2] in read else []
    assert not unsent or messages[2].smtpx_result.not_tried
    assert sorted(told) == [("in doubt", "carol@example.net"), *unsent]


def test_without_a_server_no_message_is_said_to_have_been_tried(mailer: Mailer):
    with Server() as server:
        url = server.url
    mailer(url=url)
    messages = [mail(f"reader{number}@example.net") for number in range(100)]
    with pytest.raises(OSError, match="no connection"):
        backend().send_messages(messages)
    assert messages[0].smtpx_result.not_tried
    assert all(
        message.smtpx_result is None or message.smtpx_result.not_tried for message in messages
    )


def test_fail_silently_keeps_the_result(mailer: Mailer):
    with Server(refuse_recipients=GONE) as server:
        mailer(url=server.url, fail_silently=True) if HAS_MAILERS else mailer(url=server.url)
        message = mail("gone@example.net")
        assert backend(fail_silently=True).send_messages([message]) == 0
    assert isinstance(message.smtpx_result.error, smtpx.RecipientsRefused)


def test_no_recipients_is_no_mail(mailer: Mailer):
    with Server() as server:
        mailer(url=server.url)
        assert backend().send_messages([]) == 0
        assert backend().send_messages([mail()]) == 0
        assert server.sessions == []


@pytest.mark.parametrize(
    "address",
    [
        "to@other.com@example.com",
        "to@other.com <to@example.com>",
        "@",
        "to@",
        "@example.com",
        '"evil@example.com\r\nto"@example.com',
        "to\nevil@example.com",
        "Bob <to@example.com\r\nDATA>",
        "a@example.com, b@example.com",
        "A <a@example.com>, B <b@example.com>",
        "<>",
    ],
)
def test_what_is_no_address_never_reaches_the_wire(mailer: Mailer, address: str):
    with Server() as server:
        mailer(url=server.url)
        with pytest.raises(ValueError, match=r"Invalid address|no recipient"):
            backend().send_messages([mail("bob@example.net", bcc=["x@example.net", address])])
        assert server.messages == []


def test_bcc_is_in_the_envelope_alone(mailer: Mailer):
    with Server() as server:
        mailer(url=server.url)
        mail(
            "bob@example.net", cc=["Zoë <zoe@xn--mller-kva.example>"], bcc=["eve@müller.example"]
        ).send()
        (received,) = server.messages
    assert received.recipients == (
        "bob@example.net",
        "zoe@xn--mller-kva.example",
        "eve@xn--mller-kva.example",
    )
    assert b"eve" not in received.content


def test_threads_share_the_pool(mailer: Mailer):
    with Server() as server:
        mailer(url=server.url, pool=smtpx.PoolLimits(open=2))
        threads = [
            threading.Thread(target=lambda: [mail("bob@example.net").send() for _ in range(10)])
            for _ in range(4)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(server.messages) == 40
        assert len(server.sessions) <= 2


def test_opening_tells_whether_the_server_is_there(mailer: Mailer):
    with Server() as server:
        mailer(url=server.url)
        with backend() as connection:
            assert connection.open() is False
        assert len(server.sessions) == 1
        mail("bob@example.net").send()
        assert backend().open() is True
        assert len(server.sessions) == 2
        url = server.url
    mailer(url=url.replace("127.0.0.1", "localhost"))
    with pytest.raises(smtpx.ConnectionLost):
        backend().open()


def test_tasks_send_without_threads(mailer: Mailer):
    with Server() as server:
        mailer(url=server.url)
        messages = [mail(f"reader{number}@example.net") for number in range(30)]

        async def send() -> None:
            first, second = backend(), backend()
            sent = await asyncio.gather(
                first.asend_messages(messages[:10]), second.asend_messages(messages[10:20])
            )
            assert list(sent) == [10, 10]
            assert await backend().asend_messages(messages[20:]) == 10

        asyncio.run(send())
        assert all(message.smtpx_result.complete for message in messages)
        assert len(server.sessions) <= 2
        # The loop has ended, and with it the connections: nothing is left open.
        assert [session.quit for session in server.wait_until_idle()] == [True] * len(
            server.sessions
        )


def settings_for(url: str) -> str:
    """Arguments of `settings.configure` in a program of its own."""
    if HAS_MAILERS:
        return f"MAILERS={{'default': {{'BACKEND': {BACKEND!r}, 'OPTIONS': {{'url': {url!r}}}}}}}"
    return f"EMAIL_BACKEND={BACKEND!r}, SMTPX={{'url': {url!r}}}"


def run(program: str, url: str, warnings: str) -> tuple[int, str]:
    """Run it where Django is set up; return its exit code and what it complains of."""
    start = f"""
import os
import django
from django.conf import settings
settings.configure({settings_for(url)})
django.setup()
from django.core.mail import send_mail
"""
    done = subprocess.run(
        [sys.executable, f"-W{warnings}", "-c", start + program],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_worker_has_connections_of_its_own():
    program = """
send_mail("hi", "hello", "ann@example.org", ["parent@example.net"])
child = os.fork()
if child == 0:
    send_mail("hi", "hello", "ann@example.org", ["child@example.net"])
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
send_mail("hi", "hello", "ann@example.org", ["parent@example.net"])
"""
    with Server() as server:
        assert run(program, server.url, "ignore") == (0, "")
        assert len(server.messages) == 3
        assert len(server.sessions) == 2


def test_connections_are_closed_with_a_goodbye_at_exit():
    with Server() as server:
        sends = 'send_mail("hi", "hello", "ann@example.org", ["bob@example.net"])'
        assert run(sends, server.url, "error") == (0, "")
        (session,) = server.wait_until_idle()
        assert session.quit


def test_clients_of_many_customers_are_not_kept(mailer: Mailer):
    users = {f"user{number}": "secret" for number in range(60)}
    with Server(users=users) as server:
        for user in users:
            mailer(host="127.0.0.1", port=server.port, username=user, password="secret")
            mail("bob@example.net").send()
        assert len(server.messages) == 60
        assert sum(session.open for session in server.sessions) <= 32


def test_the_mixin_for_unittest_points_the_settings_to_its_server(mailer: Mailer):
    class Case(MailTestCase):
        def test_it(self) -> None:
            message = mail("bob@example.net")
            assert message.send() == 1
            assert message.smtpx_result.complete
            _ = self.assertMailSent(to="bob@example.net")

    mailer(host="mail.example.com", username="ann", password="secret", pool=smtpx.PoolLimits())
    result = unittest.TestResult()
    _ = Case("test_it").run(result)
    assert (result.testsRun, result.errors, result.failures) == (1, [], [])
