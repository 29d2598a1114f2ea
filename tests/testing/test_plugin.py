"""The pytest plugin, in runs of pytest of its own; and the mixin for unittest."""

from __future__ import annotations

import importlib
import os
import subprocess
import sys
import unittest

import pytest

import smtpx
from smtpx.testing import MailTestCase, Server, read_fault

# Loaded in a pytest within, its modules of C would be forgotten, and spoil the tests that follow.
_ = pytest.importorskip("trustme")

SEND = """
import os, smtplib
import pytest
import smtpx

def send(url=None, **parts):
    given = {"sender": "ann@example.org", "to": "bob@example.net", "text": "hi", **parts}
    return smtpx.send(smtpx.compose(**given), url or os.environ["SMTPX_URL"])
"""


@pytest.fixture
def run(pytester: pytest.Pytester):
    """Run these tests, by a pytest within this one."""

    def run(code: str, *words: str) -> pytest.RunResult:
        pytester.makepyfile(SEND + code)
        return pytester.runpytest_inprocess("-p", "no:cacheprovider", *words)

    return run


def test_the_plugin_costs_next_to_nothing() -> None:
    """It is imported at every start of pytest, whether or not it is used: no module comes along."""
    script = (
        "import sys, pytest; before = set(sys.modules)\n"
        "import smtpx.testing._pytest\n"
        "added = {m for m in set(sys.modules) - before}\n"
        "assert added == {'smtpx', 'smtpx.testing', 'smtpx.testing._pytest'}, added\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", script], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_what_a_test_asks_for(run) -> None:
    result = run("""
def test_signup(mailbox, smtp_url):
    send(subject="Welcome", bcc="carol@example.net",
         text="Your code is 483920, or https://example.com/a.",
         attachments=[smtpx.Attachment(b"x", "a.bin")])
    send(smtp_url, to="kim@example.net", subject="Other")
    mail = mailbox.only(to="BOB@example.net")
    assert mail.subject == "Welcome"
    assert mail.header["Date"]
    assert mail.links() == ["https://example.com/a"]
    assert mail.codes() == ["483920"]
    assert mail.attachments == {"a.bin": b"x"}
    assert mail.recipients == ("bob@example.net", "carol@example.net")
    assert len(mailbox) == 2
    assert [m.subject for m in mailbox.find(sender="ann@*")] == ["Welcome", "Other"]

def test_nothing_is_left_of_another(mailbox):
    assert mailbox.all() == []

def test_without_it_there_is_no_url():
    assert "SMTPX_URL" not in os.environ

async def wait(mailbox):
    assert (await mailbox.wait_one(subject="later")).subject == "later"

def test_async(mailbox):
    import asyncio, threading
    threading.Timer(0.2, send, kwargs={"subject": "later"}).start()
    asyncio.run(wait(mailbox))

def test_trio(mailbox):
    trio = pytest.importorskip("trio")
    send(subject="later")
    trio.run(wait, mailbox)
""")
    result.assert_outcomes(passed=5)


def test_the_marker(run) -> None:
    result = run("""
@pytest.mark.smtp(faults=["END-OF-DATA: 451 4.3.0 later x1"], extensions="-CHUNKING -PIPELINING")
def test_retry(smtp_server, mailbox):
    with pytest.raises(smtpx.ContentRefused):
        send()
    send()
    assert mailbox.only().received.via.value == "DATA"

@pytest.mark.smtp(users={"ann": "a-secret-of-ann"}, require_authentication=True)
def test_login(smtp_server):
    credentials = smtpx.Credentials("ann", "a-secret-of-ann")
    with smtpx.Client(smtp_server.url, credentials=credentials) as client:
        client.send(b"Subject: x\\r\\n\\r\\n", smtpx.Envelope("a@b.test", "c@d.test"))

@pytest.mark.smtp(tls="implicit")
def test_tls(smtp_server, mailbox):
    send(f"{smtp_server.url}?ca={smtp_server.ca_file}")
    assert mailbox.only().received.tls

@pytest.mark.parametrize("url", [None, "smtp_url"])
@pytest.mark.parametrize("tls", [
    pytest.param(tls, marks=pytest.mark.smtp(tls=tls)) for tls in ("implicit", "starttls")
])
def test_the_url_says_what_tls_needs(tls, url, request, mailbox):
    send(url and request.getfixturevalue(url))
    assert mailbox.only().received.tls

from smtpx.testing import MailTestCase, Server, ServerTLS

class TestMixin(MailTestCase):
    def make_smtp_server(self):
        return Server(tls=ServerTLS.STARTTLS)

    def test_the_url_says_it_too(self):
        send()
        assert self.assertMailSent().received.tls
""")
    result.assert_outcomes(passed=8)


def test_a_client_that_breaks_the_protocol_fails_its_test(run) -> None:
    code = """
def broken(server):
    with smtplib.SMTP("127.0.0.1", server.port) as client:
        client.docmd("MAIL", "FROM:<ann@example.org>")

def test_strict(smtp_server):
    broken(smtp_server)

@pytest.mark.smtp(breaches="allow")
def test_allowed(smtp_server):
    broken(smtp_server)
"""
    result = run(code)
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*the client broke the protocol: session 1: out of order: MAIL*"])


def test_a_fault_that_never_struck_fails_its_test(run) -> None:
    result = run("""
@pytest.mark.smtp(faults=["RCPT kim@*: 451 4.3.0 later"])
def test_strict(smtp_server):
    send()

@pytest.mark.smtp(faults=["RCPT kim@*: 451 4.3.0 later"], unstruck="allow")
def test_allowed(smtp_server):
    send()
""")
    result.assert_outcomes(passed=2, errors=1)
    result.stdout.fnmatch_lines(["*a fault never struck: RCPT kim@[*]: 451 4.3.0 later"])


def test_a_server_that_has_failed_does_not_keep_another(run) -> None:
    result = run("""
servers = []

def fails(message):
    raise ValueError("mine")

def test_two(smtp_server_factory):
    servers.append(smtp_server_factory(refuse_content=fails))
    servers.append(smtp_server_factory(refuse_content=fails))
    for server in servers:
        with pytest.raises(smtpx.SMTPError):
            send(server.url)

def test_both_are_closed():
    assert ["closed" in repr(server) for server in servers] == [True, True]
""")
    result.assert_outcomes(passed=2, errors=1)


def test_what_has_not_passed_is_told_once(run) -> None:
    """Nor has a test that was skipped half-way anything to answer for."""
    result = run("""
pytestmark = pytest.mark.smtp(faults=["RCPT kim@*: 451 4.3.0 later"])

def test_failing(smtp_server):
    assert False

def test_skipped(smtp_server):
    pytest.skip("not here")

@pytest.mark.xfail
def test_known(smtp_server):
    assert False

@pytest.fixture
def lacking(smtp_server):
    pytest.skip("not there")

def test_skipped_before(lacking):
    pass
""")
    result.assert_outcomes(failed=1, skipped=2, xfailed=1)


def test_run_again_it_shows_the_last_time(run, pytester: pytest.Pytester) -> None:
    """As pytest-rerunfailures does it; and without pytest's own monkeypatch."""
    pytester.makeconftest("""
from _pytest.runner import runtestprotocol

def pytest_runtest_protocol(item, nextitem):
    runtestprotocol(item, nextitem=nextitem, log=False)
    item._initrequest()
    runtestprotocol(item, nextitem=nextitem)
    return True
""")
    result = run(
        """
def test_failing(smtp_server):
    send()
    assert False
""",
        *("-p", "no:monkeypatch"),
    )
    result.assert_outcomes(failed=1)
    assert result.stdout.str().count("--- SMTP dialogue ---") == 1


SHARED = """
@pytest.fixture(scope="session")
def shared(session_smtp_server_factory):
    return session_smtp_server_factory(faults=["MAIL kim@*: 451 4.3.0 later"], unstruck="allow")

@pytest.fixture
def mails(shared):
    from smtpx.testing import Mails
    shared.clear_messages()
    return Mails(shared)

ports = set()

@pytest.mark.parametrize("to", ["a@example.net", "b@example.net"])
def test_it_is_the_same(shared, mails, to):
    ports.add(shared.port)
    send(shared.url, to=to)
    assert mails.only().recipients == (to,)
    assert len(ports) == 1
"""


def test_a_server_of_a_whole_session(run) -> None:
    run(SHARED).assert_outcomes(passed=2)


def test_a_server_of_a_whole_session_is_as_strict(run) -> None:
    result = run(
        SHARED
        + """
def test_broken(shared):
    with smtplib.SMTP("127.0.0.1", shared.port) as client:
        client.docmd("MAIL", "FROM:<ann@example.org>")

def test_failing(shared):
    assert not shared.breaches

def test_another():
    assert False
"""
    )
    result.assert_outcomes(passed=3, failed=2, errors=1)
    result.stdout.fnmatch_lines(["*the client broke the protocol: session 3: out of order: MAIL*"])
    told = result.stdout.str()
    assert told.count("--- SMTP dialogue ---") == 1, "that of the test which had the server"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ("tls='bogus'", "tls: 'bogus' is not known; there are none, starttls, implicit"),
        ("extensions='-BOGUS'", "extensions: 'BOGUS' is not known; there are "),
        ("faults=['RCPT: nonsense']", "'RCPT: nonsense' is no fault"),
        ("fault=['x']", "unknown option: fault (did you mean faults?); known are "),
    ],
)
def test_an_option_with_a_mistake_is_one_sentence(options: str, said: str, run) -> None:
    result = run(f"""
@pytest.mark.smtp({options})
def test_it(smtp_server):
    pass
""")
    result.assert_outcomes(errors=1)
    told = result.stdout.str()
    assert "the mail server cannot be made: " in told
    assert said in told
    assert "_pytest.py" not in told
    assert "another exception" not in told


def test_a_marker_with_a_mistake_fails_its_test(run) -> None:
    result = run("""
@pytest.mark.smtp("starttls")
def test_no_name(smtp_server):
    pass


@pytest.mark.smtp(breaches="alow")
def test_a_typo(smtp_server):
    pass


@pytest.mark.smtp(unstruck=True)
def test_another(smtp_server):
    pass
""")
    result.assert_outcomes(errors=3)
    result.stdout.fnmatch_lines(
        [
            "*@pytest.mark.smtp('starttls'): give options by name, such as tls='starttls'*",
            "*breaches='alow': write 'allow', or leave it out*",
            "*unstruck=True: write 'allow', or leave it out*",
        ]
    )


def test_a_failing_test_shows_the_dialogue_and_the_mail(run, pytester: pytest.Pytester) -> None:
    result = run("""
def test_fails(mailbox):
    send(subject="Wellcome")
    mailbox.only(subject="Welcome", timeout=0.1)
""")
    result.assert_outcomes(failed=1)
    result.stdout.fnmatch_lines(
        [
            "E *no mail subject Welcome within 0.1 s; what came:",
            "*<Mail 'Wellcome' from <ann@example.org> to bob@example.net>",
            "*SMTP dialogue*",
            "*C: MAIL FROM:<ann@example.org>*",
            "*mail received*",
            "*001.eml",
        ]
    )


def test_several_servers_and_a_replay(run) -> None:
    result = run("""
def test_two(smtp_server_factory):
    one, two = smtp_server_factory(), smtp_server_factory(lmtp=True)
    send(one.url)
    send(two.url)
    assert len(one.messages) == len(two.messages) == 1

def test_replay(smtp_dialogue):
    server = smtp_dialogue("S: 220 x\\nC: EHLO x\\nS: 250 x\\nC: QUIT\\nS: 221 x\\n")
    with smtpx.Session(server.url):
        pass
""")
    result.assert_outcomes(passed=2)


@pytest.mark.slow
def test_it_is_safe_beside_itself(run) -> None:
    pytest.importorskip("xdist")
    result = run(
        """
@pytest.mark.parametrize("n", range(6))
def test_many(n, mailbox):
    send(subject=str(n))
    assert mailbox.only().subject == str(n)
""",
        *("-n", "2"),
    )
    result.assert_outcomes(passed=6)


def test_u40_django_is_set_by_itself(pytester: pytest.Pytester) -> None:
    """By its own backend, unless the project has that of smtpx: then by that, and its options."""
    pytest.importorskip("django")
    code = """
import django
from django.conf import settings

def said(backend, **options):
    if django.VERSION >= (6, 1):
        return {"MAILERS": {"default": {"BACKEND": backend, "OPTIONS": options}}}
    return {"EMAIL_BACKEND": backend, "SMTPX": options}

OURS = "backends.Ours"
PRODUCTION = "submission://ann:secret@mail.example.com"
settings.configure(USE_TZ=True, **said(OURS, url=PRODUCTION, client_name="shop.example.org"))
django.setup()
from django.core.mail import EmailMessage
from django.test.utils import override_settings, setup_test_environment
setup_test_environment()  # as pytest-django has it

def message():
    return EmailMessage("Hello", "Grüße", "ann@example.org", ["bob@example.net"])

@pytest.fixture
def another_backend():
    with override_settings(**said("django.core.mail.backends.dummy.EmailBackend")):
        yield

@pytest.fixture
def email_settings():
    before = {"EMAIL_HOST": "mail.example.com", "EMAIL_HOST_USER": "ann"}
    with override_settings(EMAIL_BACKEND=OURS, SMTPX={}, EMAIL_HOST_PASSWORD="secret", **before):
        yield

@pytest.mark.smtp(tls="starttls")
def test_ours(mailbox):
    sent = message()
    sent.send()
    assert sent.smtpx_result.complete
    assert sent.ours
    assert mailbox.only().received.helo == "shop.example.org"

@pytest.mark.skipif(django.VERSION >= (6, 1), reason="said in MAILERS")
def test_ours_by_the_settings_of_old(email_settings, mailbox):
    sent = message()
    sent.send()
    assert sent.smtpx_result.complete
    assert mailbox.only().subject == "Hello"

def test_django_does_not_announce_eight_bits(another_backend, mailbox):
    message().send()
    assert mailbox.only().text.strip() == "Grüße"

def test_what_else_is_wrong_is_told(another_backend, smtp_server):
    with smtpx.Session(smtp_server.url) as session:
        session.command("RCPT TO:<bob@example.net>")

def test_what_another_client_does_not_announce_is_told(smtp_server):
    with smtplib.SMTP(smtp_server.host, smtp_server.port) as client:
        client.sendmail("ann@example.org", "bob@example.net", "Subject: x\\n\\nGrüße".encode())
"""
    backend = """
from smtpx.integrations.django import EmailBackend

class Ours(EmailBackend):
    def send_messages(self, email_messages):
        for message in email_messages:
            message.ours = True
        return super().send_messages(email_messages)
"""
    _ = pytester.makepyfile(SEND + code, backends=backend)
    # Django is configured once in a process.
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", "-p", "no:django")
    passed = 3 if importlib.import_module("django").VERSION < (6, 1) else 2
    result.assert_outcomes(passed=passed + 2, errors=2, skipped=3 - passed)
    result.stdout.fnmatch_lines(["*out of order: RCPT*", "*8-bit content without BODY=8BITMIME*"])


class Signup(MailTestCase):
    def test_good(self) -> None:
        _ = smtpx.send(
            smtpx.compose(sender="a@example.org", to="b@example.net", subject="Hi", text="x"),
            self.smtp_server.url,
        )
        assert self.assertMailSent(to="b@example.net").subject == "Hi"

    def test_bad(self) -> None:
        with smtpx.Session(self.smtp_server.url) as session:
            _ = session.command("RCPT TO:<b@example.net>")


Signup.__test__ = False  # type: ignore[attr-defined] # it is run below


class Unstruck(Signup):
    def make_smtp_server(self) -> Server:
        return Server(faults=[read_fault("RCPT kim@*: 451 4.3.0 later")])

    def tearDown(self) -> None:
        """As people write it: without a word to those before."""


class WithoutSuper(Signup):
    def setUp(self) -> None:
        """As people write it, too."""
        self.at_once = self.smtp_server.url if "bad" in self.id() else ""

    def test_by_the_environment(self) -> None:
        message = smtpx.compose(sender="a@example.org", to="b@example.net", text="x")
        _ = smtpx.send(message, os.environ["SMTPX_URL"])
        _ = self.assertMailSent(to="b@example.net")


class Inherits(WithoutSuper):
    """It has no setUp, and its parent has one."""


class Base(unittest.TestCase):
    def setUp(self) -> None:
        self.base = 1


class Mixed(Base, WithoutSuper):
    """Whose setUp is of a class that knows no mail."""


class Asynchronous(MailTestCase, unittest.IsolatedAsyncioTestCase):
    async def test_good(self) -> None:
        message = smtpx.compose(sender="a@example.org", to="b@example.net", text="x")
        _ = await smtpx.asend(message, self.smtp_server.url)
        assert (await self.mail.wait_one(to="b@example.net")).text == "x\n"


Asynchronous.__test__ = False  # type: ignore[attr-defined] # it is run below


@pytest.mark.parametrize(
    ("case", "said"),
    [
        (Signup("test_good"), ""),
        (Signup("test_bad"), "the client broke the protocol: session 1: out of order: RCPT"),
        (Unstruck("test_good"), "a fault never struck: RCPT kim@*"),
        (Unstruck("test_bad"), "the client broke the protocol: session 1: out of order: RCPT"),
        (Asynchronous("test_good"), ""),
        (WithoutSuper("test_good"), ""),
        (WithoutSuper("test_bad"), "the client broke the protocol: session 1: out of order: RCPT"),
        (WithoutSuper("test_by_the_environment"), ""),
        (Inherits("test_by_the_environment"), ""),
        (Mixed("test_by_the_environment"), ""),
    ],
)
def test_the_mixin_for_unittest(case: MailTestCase, said: str) -> None:
    result = unittest.TestResult()
    case.run(result)
    assert result.errors == []
    assert said in "".join(text for _, text in result.failures)
    assert result.wasSuccessful() is not bool(said)
    assert "SMTPX_URL" not in os.environ


def test_a_test_of_unittest_runs_again_with_another_server() -> None:
    case, servers = WithoutSuper("test_bad"), list[str]()
    for _ in range(2):
        case.run(unittest.TestResult())
        servers.append(case.at_once)
    assert len({*servers}) == 2


def test_waiting_for_what_the_test_wants() -> None:
    with Server() as server, pytest.raises(TimeoutError):
        server.wait_for(lambda: False, timeout=0.05)
