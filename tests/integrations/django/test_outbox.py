"""Mail that Django puts into its outbox: committed with the order, or gone with it."""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx.outbox import IdempotencyConflict, LedgerUnavailable, State
from smtpx.testing import Server
from tests.integrations.django.setting_up import BACKEND, HAS_MAILERS
from tests.integrations.django.test_backend import backend, mail

pytestmark = pytest.mark.timeout(60)

Mailer = Callable[..., None]
NOWHERE = "smtp://127.0.0.1:9"


def migrated() -> None:
    """Make the tables, as ``manage.py migrate`` does."""
    from django.core.management import call_command

    call_command("migrate", "smtpx", verbosity=0)


@pytest.fixture
def keeping(mailer: Mailer, database: Any) -> Any:
    """A project whose mail goes into an outbox; the value is the database's connection."""
    mailer(url=NOWHERE, outbox={})
    migrated()
    with database.cursor() as cursor:
        cursor.execute("CREATE TABLE orders (id INTEGER)")
    return database


def order(connection: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute("INSERT INTO orders VALUES (42)")


def orders(connection: Any) -> int:
    with connection.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM orders")
        return int(cursor.fetchone()[0])


def waiting() -> int:
    return int(backend().outbox.counts()[State.WAITING])


def test_mail_is_kept_with_the_transaction_and_gone_with_it(keeping: Any):
    from django.db import transaction

    with pytest.raises(ZeroDivisionError), transaction.atomic():
        order(keeping)
        assert mail("bob@example.net").send() == 1
        _ = 1 / 0
    assert (orders(keeping), waiting()) == (0, 0)
    with transaction.atomic():
        order(keeping)
        message = mail("bob@example.net", bcc=["eve@example.net"])
        assert message.send() == 1
        with pytest.raises(ZeroDivisionError), transaction.atomic():  # a savepoint
            mail("carol@example.net").send()
            _ = 1 / 0
        assert waiting() == 0
    assert orders(keeping) == 1
    submission = backend().outbox.status(message.smtpx_id)
    assert [each.recipient for each in submission.deliveries] == [
        "bob@example.net",
        "eve@example.net",
    ]
    assert message.smtpx_result is None


def test_without_a_transaction_it_is_kept_at_once(keeping: Any):
    assert backend().send_messages([mail(f"reader{n}@example.net") for n in range(3)]) == 3
    assert waiting() == 3


def test_the_first_mail_of_a_process_may_be_in_a_transaction_that_has_written(keeping: Any):
    from django.db import transaction

    from smtpx.integrations.django import _outboxes

    for *_, outbox in _outboxes._by_kept:
        outbox.close()
    _outboxes._by_kept.clear()
    with transaction.atomic():
        order(keeping)
        mail("bob@example.net").send()
    assert waiting() == 1


def test_tables_that_nobody_has_made_are_told_of(mailer: Mailer, tmp_path: Path):
    from django.db import transaction

    from tests.integrations.django.setting_up import database_by

    path = str(tmp_path / "project.db")
    with database_by(ENGINE="django.db.backends.sqlite3", NAME=path) as connection:
        mailer(url=NOWHERE, outbox={"patience": 0.1})
        with pytest.raises(LedgerUnavailable, match=r"manage\.py migrate"), transaction.atomic():
            with connection.cursor() as cursor:
                cursor.execute("CREATE TABLE orders (id INTEGER)")
            mail("bob@example.net").send()


def test_one_mistake_stops_no_other(keeping: Any):
    messages = [mail("a b@example.net"), mail("bob@example.net"), mail(), mail("c@example.net")]
    with pytest.raises(ValueError, match="Invalid address"):
        backend().send_messages(messages)
    assert [message.smtpx_id is None for message in messages] == [True, False, True, False]
    assert waiting() == 2


def test_a_message_says_how_it_is_put_in(keeping: Any):
    first, again, other = mail("b@example.net"), mail("b@example.net"), mail("c@example.net")
    for message in (first, again, other):
        message.smtpx_put = {"key": "code-7", "on_doubt": "hold", "priority": 5}
    assert [first.send(), again.send()] == [1, 1]
    assert first.smtpx_id == again.smtpx_id
    with pytest.raises(IdempotencyConflict):
        backend().send_messages([mail("d@example.net"), other])
    assert waiting() == 2
    wrong = mail("e@example.net")
    for put, complaint in (
        ({"hold": True}, "smtpx_put: hold; known are key, not_before"),
        ({"keey": "code-7"}, r"smtpx_put: keey \(did you mean key\?\)"),
        ("code-7", "smtpx_put: give a dict"),
    ):
        wrong.smtpx_put = put
        with pytest.raises(TypeError, match=complaint):
            wrong.send()


def test_a_database_that_says_no_keeps_none_of_them(keeping: Any):
    with keeping.cursor() as cursor:
        cursor.execute("DROP TABLE smtpx_delivery")
    messages = [mail("bob@example.net"), mail("carol@example.net")]
    with pytest.raises(smtpx.SMTPError, match="no outbox"):
        backend().send_messages(messages)
    assert [message.smtpx_id for message in messages] == [None, None]
    with keeping.cursor() as cursor:
        cursor.execute("SELECT COUNT(*) FROM smtpx_message")
        assert cursor.fetchone()[0] == 0


def test_tasks_and_threads_put_in_by_connections_of_their_own(keeping: Any):
    from asgiref.sync import sync_to_async
    from django.db import connections

    def leave() -> None:
        connections["default"].close()
        del connections["default"]

    def put() -> None:
        mail("bob@example.net").send()
        leave()

    async def aput() -> None:
        await backend().asend_messages([mail("carol@example.net")])
        await sync_to_async(leave)()  # The thread is one for all loops.

    thread = threading.Thread(target=put)
    thread.start()
    thread.join()
    asyncio.run(aput())
    assert waiting() == 2


def test_a_dispatcher_is_woken_when_the_transaction_is_over(mailer: Mailer, database: Any):
    from django.db import transaction

    woken: list[Any] = []

    class Recording:
        transactional = False

        def wake(self, batches: Any, *, connection: object = None) -> None:
            woken.append(batches)
            raise ConnectionRefusedError("what cannot be woken, reconcile() finds")

    mailer(url=NOWHERE, outbox={"dispatcher": Recording()})
    migrated()
    with pytest.raises(ZeroDivisionError), transaction.atomic():
        mail("bob@example.net").send()
        _ = 1 / 0
    with transaction.atomic():
        message = mail("bob@example.net")
        message.send()
        assert woken == []
    assert woken == [[message.smtpx_id]]


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "complaint"),
        [
            ({"outbox": "default"}, "outbox"),
            ({"outbox": {"database": "other"}}, "has no 'other'"),
            ({"outbox": {"retry": 1}}, r"of outbox: retry \(did you mean retries\?\)"),
            (
                {"outbox": {"databse": "x"}},
                r"\(did you mean database\?\); known are database, retries",
            ),
            ({"outbox": {"lease": -1}}, "outbox: lease"),
            ({"outbox": {}, "partial": "raise"}, "partial: leave it out"),
        ],
    )
    def test_a_mistake_is_told_where_it_is_made(
        self, mailer: Mailer, options: dict[str, Any], complaint: str
    ):
        mailer(url=NOWHERE, **options)
        with pytest.raises(Exception, match=complaint):
            backend()

    @pytest.mark.parametrize(
        ("said", "complaint"),
        [
            ({"ENGINE": "django.db.backends.dummy"}, "in SQLite or in PostgreSQL"),
            (
                {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"},
                "survives nothing",
            ),
            (
                {"ENGINE": "django.db.backends.sqlite3", "NAME": "file:x?mode=memory"},
                'Give DATABASES[\'default\'] a "TEST": {"NAME": …} that is a file',
            ),
        ],
    )
    def test_a_database_that_can_have_none_is_told_by_the_check(
        self, mailer: Mailer, said: dict[str, Any], complaint: str
    ):
        from django.core.checks import run_checks

        from tests.integrations.django.setting_up import database_by

        mailer(url=NOWHERE, outbox={})
        with database_by(**said):
            told = [each for each in run_checks() if str(each.id).startswith("smtpx")]
            assert [each.id for each in told] == ["smtpx.E001"]
            assert complaint in told[0].msg

    @pytest.mark.skipif(not HAS_MAILERS, reason="there is one mailer before MAILERS of Django 6.1")
    def test_two_servers_for_one_outbox_are_told_by_the_check(self):
        from django.core.checks import run_checks
        from django.test import override_settings

        def said(url: str) -> dict[str, Any]:
            return {"BACKEND": BACKEND, "OPTIONS": {"url": url, "outbox": {}}}

        found: list[list[str]] = []
        for second in (NOWHERE, "smtp://localhost:10"):
            with override_settings(MAILERS={"default": said(NOWHERE), "bulk": said(second)}):
                ids = [str(each.id) for each in run_checks()]
                found.append([each for each in ids if each.startswith("smtpx")])
        assert found == [[], ["smtpx.E002"]]

    def test_what_postgresql_is_told_is_what_django_tells_it(self):
        from tests.integrations.django.setting_up import database_by

        conninfo = pytest.importorskip("psycopg.conninfo")
        from smtpx.integrations.django._outboxes import url_of

        with database_by(
            ENGINE="django.db.backends.postgresql",
            NAME="a/b?c",
            USER="an@n",
            PASSWORD="p@ss:/?#&",
            HOST="/var/run/postgresql",
            PORT="6543",
            OPTIONS={
                "sslmode": "require",
                "options": "-c search_path=mail,public",
                "pool": True,
                "server_side_binding": True,
            },
        ):
            url = url_of("default")
        assert conninfo.conninfo_to_dict(url) == {
            "dbname": "a/b?c",
            "user": "an@n",
            "password": "p@ss:/?#&",
            "host": "/var/run/postgresql",
            "port": "6543",
            "sslmode": "require",
            "options": "-c search_path=mail,public",
        }


class TestCommand:
    """``manage.py smtpx``."""

    def call(self, *words: str) -> int:
        from django.core.management import call_command

        try:
            call_command("smtpx", *words, stdout=io.StringIO())
        except SystemExit as end:
            return int(str(end.code))
        return 0

    def test_a_login_without_a_user_names_the_settings(
        self, mailer: Mailer, capsys: pytest.CaptureFixture[str]
    ):
        mailer(url=NOWHERE)
        assert self.call("doctor", "--login") == 2
        assert "say username and password in the mail settings" in capsys.readouterr().err
        assert self.call("doctor", "--login", "smtp://localhost") == 2
        assert "write it into the URL" in capsys.readouterr().err

    def test_the_outbox_is_run_seen_and_settled(
        self, mailer: Mailer, database: Any, capsys: pytest.CaptureFixture[str]
    ):
        with Server(refuse_recipients={"gone@example.net": "550 5.1.1 No such user"}) as server:
            mailer(
                host="127.0.0.1",
                port=server.port,
                client_name="shop.example.org",
                pool=smtpx.PoolLimits(open=1),
                outbox={"retries": smtpx.outbox.Retries(first=7)},
            )
            migrated()
            mail("bob@example.net", "gone@example.net").send()
            assert self.call("outbox", "run", "--until-empty") == 3
            assert [each.recipients for each in server.messages] == [("bob@example.net",)]
            (session,) = server.sessions
            assert session.commands[0] == "EHLO shop.example.org"
        assert self.call("outbox", "list", "refused") == 0
        told = capsys.readouterr().out
        assert "gone@example.net" in told
        assert "bob@example.net" not in told

    def test_the_doctor_asks_the_server_of_the_mailer(
        self, mailer: Mailer, capsys: pytest.CaptureFixture[str]
    ):
        with Server(users={"ann": "hunter2"}) as server:
            mailer(host="127.0.0.1", port=server.port, username="ann", password="hunter2")
            assert self.call("doctor", "--login") == 0
            assert server.messages == []
        said = capsys.readouterr()
        assert str(server.port) in said.out
        assert "hunter2" not in said.out + said.err
        assert self.call("doctor") == 74

    def test_what_is_missing_is_told(self, mailer: Mailer):
        from django.core.management import CommandError

        mailer(url=NOWHERE)
        for words, complaint in (
            (["outbox", "run"], "has no outbox"),
            (["--mailer", "bulk", "doctor"], "there is default"),
            (["send"], "invalid choice"),
        ):
            with pytest.raises(CommandError, match=complaint):
                self.call(*words)
        mailer(url="localhost")
        with pytest.raises(CommandError, match="the URL is not"):
            self.call("doctor")
