"""Log records by mail: digests, bounds, and a caller who never waits."""

from __future__ import annotations

import logging
import logging.handlers
import os
import subprocess
import sys
import threading
import tracemalloc
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx.integrations.logs import MailHandler
from smtpx.testing import Refuse, Server, Stall, TruncateReply

FROM, TO = "app@example.org", ["ops@example.net", "dev@example.net"]


@pytest.fixture
def handler() -> Iterator[Callable[..., MailHandler]]:
    """Make a handler of a logger that is the test's own, and closed with it."""
    made: list[tuple[logging.Logger, MailHandler]] = []

    def make(server: Server, **options: Any) -> MailHandler:
        said: dict[str, Any] = {"interval": 3600.0, "url": server.url, "toaddrs": TO, **options}
        one = MailHandler(fromaddr=FROM, subject="Trouble", **said)
        logger = logging.getLogger("tests.of.logs")
        logger.propagate = False
        logger.setLevel(logging.DEBUG)
        logger.addHandler(one)
        made.append((logger, one))
        return one

    yield make
    for logger, one in made:
        logger.removeHandler(one)
        one.close()


LOGGER = logging.getLogger("tests.of.logs")


def texts(server: Server) -> list[str]:
    return [message.parsed.get_content() for message in server.messages]


def subjects(server: Server) -> list[str]:
    return [message.parsed["Subject"] for message in server.messages]


def test_the_first_record_goes_at_once(handler: Callable[..., MailHandler]):
    with Server() as server:
        _ = handler(server)
        LOGGER.error("the disk %s is full", "/var")
        (message,) = server.wait_for_messages(1)
    assert message.recipients == tuple(TO)
    assert message.sender == FROM
    assert subjects(server) == ["Trouble"]
    assert texts(server) == ["the disk /var is full\n"]


def test_a_burst_of_ten_thousand_is_a_few_mails(handler: Callable[..., MailHandler]):
    with Server() as server:
        one = handler(server, capacity=50)
        for each in range(10_000):
            LOGGER.error("request %d failed", each % 100)
        one.flush()
        one.flush()
        mails = texts(server)
        assert len(mails) <= 3
    told = 0
    for entry in "\n".join(mails).split("\n\n"):
        last = entry.strip().splitlines()[-1]
        number = last.lstrip("(").split()[0].replace(",", "")
        told += int(number) if last.endswith(("times)", "did not fit.")) else 1
    assert told == 10_000  # Nothing is lost without a word.


def test_the_same_record_is_written_once(handler: Callable[..., MailHandler]):
    with Server() as server:
        one = handler(server)
        LOGGER.error("first")
        one.flush()
        for _ in range(3):
            LOGGER.error("again")
        LOGGER.error("and once")
        one.flush()
        assert texts(server)[-1] == "again\n(3 times)\n\nand once\n"
        assert subjects(server)[-1] == "Trouble (and 3 more)"


def test_a_caller_never_waits_for_a_server_that_does_not_answer(
    handler: Callable[..., MailHandler],
):
    """The server holds the first mail for ever; who logs is through long before."""
    with Server(faults=[Stall("EHLO")]) as server:
        one = handler(server, timeout=60.0)
        LOGGER.error("first")
        server._wait(lambda: bool(server.sessions), 10.0, "a session")
        for number in range(10_000):
            LOGGER.error("request %d failed", number)
        assert len(one._kept.entries) == 1000
        assert one._kept.dropped == 9000
        one._timeout = 0.05


@pytest.mark.parametrize("has_thread", [True, False])
def test_at_exit_what_is_left_has_one_timeout(
    handler: Callable[..., MailHandler],
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    has_thread: bool,
):
    """`logging.shutdown` flushes and closes: the second has what the first has left of the time."""
    given: list[float] = []
    if not has_thread:  # As CPython 3.12 has it while the program ends.
        monkeypatch.setattr(MailHandler, "_has_thread", lambda _: False)
    with Server(faults=[Stall("EHLO")]) as server:
        one = handler(server, timeout=0.2)
        wait_for = one._changed.wait_for

        def noted(predicate: Callable[[], bool], timeout: float) -> bool:
            given.append(timeout)
            return wait_for(predicate, timeout)

        monkeypatch.setattr(one._changed, "wait_for", noted)
        for _ in range(3):
            LOGGER.error("lost")
        one.flush()
        one.close()
        of_flush, of_close = given
    assert of_close < of_flush <= 0.2
    assert "3 records" in capsys.readouterr().err


def test_a_handler_that_is_closed_later_has_its_time_again(handler: Callable[..., MailHandler]):
    with Server() as server:
        one = handler(server)
        LOGGER.error("first")
        one.flush()
        one._flushed = -3600.0, -3600.0
        LOGGER.error("second")
        one.close()
        assert texts(server) == ["first\n", "second\n"]


def test_close_says_how_many_records_are_lost(
    handler: Callable[..., MailHandler], capsys: pytest.CaptureFixture[str]
):
    with Server(faults=[Refuse("MAIL", "451 4.3.0 try later", times=2)]) as server:
        one = handler(server)
        LOGGER.error("first")
        one.flush()
        for _ in range(4):
            LOGGER.error("second")
        one.close()
    told = capsys.readouterr().err
    assert "(a mail of 1 record)" in told
    assert "(a mail of 5 records)" in told
    assert "the handler is closed: 5 records did not reach everybody" in told


def test_close_mails_what_is_left(handler: Callable[..., MailHandler]):
    with Server() as server:
        one = handler(server)
        LOGGER.error("first")
        one.flush()
        LOGGER.error("second")
        LOGGER.error("third")
        one.close()
        assert texts(server)[-1] == "second\n\nthird\n"
        assert subjects(server)[-1] == "Trouble (and 1 more)"


def test_what_is_refused_for_now_goes_with_the_next(
    handler: Callable[..., MailHandler], capsys: pytest.CaptureFixture[str]
):
    with Server(faults=[Refuse("MAIL", "451 4.3.0 try later", session=1)]) as server:
        one = handler(server)
        LOGGER.error("first")
        one.flush()
        LOGGER.error("second")
        one.flush()
        one.flush()
        assert "first\n\nsecond\n" in texts(server) or texts(server) == ["first\n", "second\n"]
    assert "try later" in capsys.readouterr().err


@pytest.mark.parametrize(
    "fault", [Refuse("MAIL", "550 5.7.1 no"), TruncateReply("END-OF-DATA", keep=0)]
)
def test_what_is_refused_for_good_or_in_doubt_is_not_repeated(
    handler: Callable[..., MailHandler], capsys: pytest.CaptureFixture[str], fault: Any
):
    with Server(faults=[fault]) as server:
        one = handler(server)
        LOGGER.error("first")
        one.flush()
        server.clear_faults()
        LOGGER.error("second")
        one.flush()
        assert texts(server)[-1] == "second\n"
        assert sum("first" in text for text in texts(server)) <= 1
    assert "Logging error" in capsys.readouterr().err


def received(server: Server) -> list[tuple[tuple[str, ...], str]]:
    return sorted((each.recipients, each.parsed.get_content()) for each in server.messages)


def test_a_recipient_refused_for_now_gets_what_he_missed_with_the_next(
    handler: Callable[..., MailHandler], capsys: pytest.CaptureFixture[str]
):
    """And nobody gets a record twice."""
    ops, dev = TO
    refused = {dev: "451 4.7.1 greylisted"}
    with Server(refuse_recipients=refused.get) as server:
        one = handler(server)
        for word in ("first", "second"):
            LOGGER.error(word)
            one.flush()
        refused.clear()
        for word in ("second", "third", "fourth"):
            LOGGER.error(word)
        one.flush()
        LOGGER.error("fifth")
        one.flush()
        late = "first\n\nsecond\n(2 times)\n\nthird\n\nfourth\n"
        now = "second\n\nthird\n\nfourth\n"
        assert received(server) == [
            ((dev,), late),
            ((ops,), "first\n"),
            ((ops,), "second\n"),
            ((ops,), now),
            ((ops, dev), "fifth\n"),
        ]
    told = capsys.readouterr().err
    assert told.count("greylisted") >= 2
    assert f"{ops} accepted" not in told


def test_what_a_recipient_missed_goes_without_a_new_record(handler: Callable[..., MailHandler]):
    refused = {TO[1]: "451 4.7.1 greylisted"}
    with Server(refuse_recipients=refused.get) as server:
        one = handler(server)
        LOGGER.error("first")
        one.flush()
        refused.clear()
        one.flush()
        one.flush()
        assert received(server) == [((TO[1],), "first\n"), ((TO[0],), "first\n")]


def test_of_what_a_recipient_missed_no_more_than_the_capacity_is_kept(
    handler: Callable[..., MailHandler],
):
    refused = {TO[1]: "451 4.7.1 greylisted"}
    with Server(refuse_recipients=refused.get) as server:
        one = handler(server, capacity=2)
        for words in (["a", "b"], ["c", "d", "e"]):
            for word in words:
                LOGGER.error(word)
            one.flush()
        refused.clear()
        one.close()
        whole = "\n".join(text for recipients, text in received(server) if recipients == (TO[1],))
    assert "3 more records were dropped" in whole
    assert "a" in whole.split()


@pytest.mark.parametrize("reply", ["550 5.1.1 no such user", "in doubt"])
def test_a_recipient_refused_for_good_or_in_doubt_is_told_and_gets_nothing_again(
    handler: Callable[..., MailHandler], capsys: pytest.CaptureFixture[str], reply: str
):
    ops, dev = TO
    is_in_doubt = reply == "in doubt"
    yes = "250 2.1.5 fine"
    faults = [TruncateReply("END-OF-DATA", keep=len(f"{yes}\r\n"))] if is_in_doubt else []
    lmtp_replies = {ops: yes} if is_in_doubt else {dev: reply}
    with Server(lmtp=True, lmtp_replies=lmtp_replies, faults=faults) as server:
        one = handler(server)
        LOGGER.error("first")
        one.flush()
        lmtp_replies.clear()
        server.clear_faults()
        LOGGER.error("second")
        one.flush()
        one.flush()
        assert texts(server)[-1] == "second\n"
        assert sum("first" in text for text in texts(server)) == 1
    told = capsys.readouterr().err
    assert f"Message: '{dev} " in told
    assert reply in told


def test_an_address_that_is_none_any_more_ends_no_handler(
    handler: Callable[..., MailHandler], capsys: pytest.CaptureFixture[str]
):
    with Server() as server:
        one = handler(server)
        one.toaddrs = ["nobody"]
        LOGGER.error("first")
        one.flush()
        one.toaddrs = TO
        LOGGER.error("second")
        one.flush()
        assert texts(server) == ["second\n"]
    assert "nobody" in capsys.readouterr().err


def test_what_sending_logs_is_not_mailed(handler: Callable[..., MailHandler]):
    with Server() as server:
        one = handler(server)
        wire = logging.getLogger("smtpx.wire")
        wire.addHandler(one)
        wire.setLevel(logging.DEBUG)
        try:
            LOGGER.error("first")
            one.flush()
            LOGGER.error("second")
            one.close()
        finally:
            wire.removeHandler(one)
            wire.setLevel(logging.NOTSET)
        assert texts(server) == ["first\n", "second\n"]


def test_hostile_records_are_mailed(handler: Callable[..., MailHandler]):
    with Server() as server:
        one = handler(server)
        one.subject = "Trouble\r\nBcc: eve@example.com"
        said = "nul \0, \x1b[31mred, lone \udcff, Grüße\r\n.\r\nRCPT TO:<eve@example.com>"
        one.handle(logging.makeLogRecord({"msg": said}))
        LOGGER.error("x" * 100_000)
        one.flush()
        one.flush()
        assert all(message.recipients == tuple(TO) for message in server.messages)
        assert all(message.parsed["Bcc"] is None for message in server.messages)
        assert server.breaches == []
        whole = "".join(texts(server))
    assert "nul \\x00, \\x1b[31mred, lone \\udcff, Grüße" in whole
    assert "90,000 characters more" in whole


def test_addresses_may_stand_in_one_text(handler: Callable[..., MailHandler]):
    """As `SMTPHandler` takes them, since it joins what it is given by commas."""
    with Server() as server:
        one = handler(server, toaddrs='"Root, of all" <ops@example.net>, bob@example.net')
        LOGGER.error("it failed")
        one.flush()
    assert server.messages[0].recipients == ("ops@example.net", "bob@example.net")
    assert server.messages[0].parsed["To"] == '"Root, of all" <ops@example.net>, bob@example.net'


@pytest.mark.parametrize("number", [1, 2, 3])
@pytest.mark.parametrize("kind", [list, tuple])
def test_addresses_may_be_a_list_or_a_tuple(
    handler: Callable[..., MailHandler], kind: Callable[[list[str]], Any], number: int
):
    """As `SMTPHandler` takes them: a tuple of two is no name with an address."""
    everybody = [f"{letter}@example.net" for letter in "xyz"[:number]]
    with Server() as server:
        one = handler(server, toaddrs=kind(everybody))
        LOGGER.error("first")
        one.flush()
        one.toaddrs = kind([*everybody, "late@example.net"])
        LOGGER.error("second")
        one.flush()
        assert [each.recipients for each in server.messages] == [
            tuple(everybody),
            (*everybody, "late@example.net"),
        ]


def test_an_exception_is_mailed_with_its_traceback(handler: Callable[..., MailHandler]):
    with Server() as server:
        one = handler(server)
        try:
            _ = 1 / 0
        except ZeroDivisionError:
            LOGGER.exception("it failed")
        one.flush()
    assert "ZeroDivisionError" in texts(server)[0]


def test_of_a_long_record_no_more_is_kept_than_is_mailed(handler: Callable[..., MailHandler]):
    with Server() as server:
        one = handler(server)
        LOGGER.error("first")
        _ = server.wait_for_messages(1)
        tracemalloc.start()
        try:
            for number in range(10):
                one.handle(logging.makeLogRecord({"msg": f"{number} {'x' * 1_000_000}"}))
            kept, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
        assert kept < 2_000_000


def test_a_record_that_cannot_be_formatted_stops_nothing(
    handler: Callable[..., MailHandler], capsys: pytest.CaptureFixture[str]
):
    with Server() as server:
        one = handler(server)
        one.handle(logging.makeLogRecord({"msg": "%d", "args": ("no number",)}))
        LOGGER.error("fine")
        one.flush()
        assert texts(server) == ["fine\n"]
    assert "Logging error" in capsys.readouterr().err


def test_threads_log_together(handler: Callable[..., MailHandler]):
    with Server() as server:
        one = handler(server)

        def log() -> None:
            for _ in range(200):
                LOGGER.error("busy")

        threads = [threading.Thread(target=log) for _ in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        one.close()
        counts = [
            int(text.splitlines()[1].strip("(").split()[0]) if "times" in text else 1
            for text in texts(server)
        ]
    assert sum(counts) == 800


@pytest.mark.parametrize("kind", [logging.handlers.SMTPHandler, MailHandler])
def test_the_arguments_of_the_old_handler(kind: Any):
    with Server(users={"ann": "secret"}) as server:
        one = kind(("127.0.0.1", server.port), FROM, TO, "Trouble", ("ann", "secret"), None, 5.0)
        one.handle(logging.makeLogRecord({"name": "shop", "msg": "hello"}))
        one.close()
        (message,) = server.messages
    assert (message.sender, message.recipients, message.user) == (FROM, tuple(TO), "ann")
    assert subjects(server) == ["Trouble"]
    assert texts(server) == ["hello\n"]


def test_secure_requires_tls(
    handler: Callable[..., MailHandler], capsys: pytest.CaptureFixture[str]
):
    with Server() as server:
        one = handler(server, url=None, mailhost=("127.0.0.1", server.port), secure=())
        LOGGER.error("hello")
        one.close()
        assert server.messages == []
    assert "STARTTLS" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        ({}, "give a url or a mailhost"),
        ({"url": "smtp://localhost", "mailhost": "localhost"}, "give a url or a mailhost"),
        ({"url": "localhost"}, "scheme://host"),
        ({"mailhost": ""}, "host"),
        ({"url": "smtp://localhost", "toaddrs": []}, "to"),
        ({"url": "smtp://localhost", "fromaddr": "Ann"}, "fromaddr"),
        ({"url": "smtp://localhost", "toaddrs": "ann@example.org, bob"}, "toaddrs"),
        ({"url": "smtp://localhost", "toaddrs": "ann@example.org bob@"}, "toaddrs"),
        ({"url": "smtp://localhost", "credentials": "ann"}, "credentials"),
        ({"mailhost": ("mx.test", 465)}, "give url='smtps://mx.test' in place"),
        ({"mailhost": ("mx.test", 465), "secure": ()}, "give url='smtps://mx.test' in place"),
        ({"mailhost": "localhost", "secure": True}, "secure"),
        ({"url": "smtp://localhost", "interval": 0}, "interval"),
        ({"url": "smtp://localhost", "interval": "1"}, "interval"),
        ({"url": "smtp://localhost", "timeout": None}, "timeout"),
        ({"url": "smtp://localhost", "capacity": 0}, "capacity"),
    ],
)
def test_a_mistake_is_told_when_the_handler_is_made(arguments: dict[str, Any], complaint: str):
    usual: dict[str, Any] = {"fromaddr": FROM, "toaddrs": TO, "subject": "hi"}
    with pytest.raises((TypeError, ValueError, smtpx.SMTPError), match=complaint):
        _ = MailHandler(**usual | arguments)


PROGRAM = """
import logging, os, sys
from smtpx.integrations.logs import MailHandler
handler = MailHandler(fromaddr="app@example.org", toaddrs="ops@example.net",
                      subject="hi", url=sys.argv[1])
logging.basicConfig(handlers=[handler], level=logging.DEBUG)
"""


def run(program: str, server: Server) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM + program, server.url],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    return done.returncode, done.stderr


def test_what_is_logged_last_goes_out_at_exit():
    with Server() as server:
        assert run("logging.error('first'); logging.error('last')", server) == (0, "")
        assert "last" in "".join(texts(server))


# As CPython 3.12 has it from the moment on at which the program ends.
THREADLESS = """
import _thread
import threading
import tracemalloc
from smtpx._faces import opening

def end():
    def none(*_):
        raise RuntimeError("can't create new thread at interpreter shutdown")
    threading.Thread.start = opening.start_new_thread = _thread.start_new_thread = none
    opening._asked.clear()
"""


@pytest.mark.parametrize(
    "program",
    [
        "logging.error('late'); end()",
        "end(); logging.error('late')",
        "end(); logging.error('late'); handler.flush(); logging.info('after')",
        "logging.error('first'); handler.close(); end(); logging.error('late')",
    ],
)
def test_what_is_logged_last_goes_out_where_no_thread_can_be_started(program: str):
    with Server() as server:
        assert run(THREADLESS + program, server) == (0, "")
        assert "late" in "".join(texts(server))


def test_what_is_logged_when_all_is_over_holds_up_no_end():
    program = """
class Late:
    def __del__(self):
        logging.error("late")
sys.modules["late"] = Late()
"""
    with Server() as server:
        code, _ = run(program, server)
        assert code == 0


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
def test_a_forked_child_mails_its_own():
    program = """
logging.error("parent")
child = os.fork()
if child == 0:
    logging.error("child")
    sys.exit()
assert os.waitpid(child, 0)[1] == 0
"""
    with Server() as server:
        code, _ = run(program, server)
        assert code == 0
        assert sorted("".join(texts(server)).split()) == ["ERROR:root:child", "ERROR:root:parent"]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system has no fork")
@pytest.mark.parametrize("method", ["fork", "forkserver", "spawn"])
def test_what_a_worker_process_logs_last_goes_out(method: str, tmp_path: Path):
    program = f"""
import logging, multiprocessing, sys
from smtpx.integrations.logs import MailHandler

def prepare():
    handler = MailHandler(
        fromaddr="{FROM}", toaddrs={TO}, url=sys.argv[1], interval=3600.0
    )
    logging.basicConfig(handlers=[handler], format="%(message)s")

def work():
    if "{method}" != "fork":
        prepare()
    logging.error("first")
    logging.error("last")

if __name__ == "__main__":
    prepare()
    process = multiprocessing.get_context("{method}").Process(target=work)
    process.start()
    process.join()
    sys.exit(process.exitcode)
"""
    file = tmp_path / "worker.py"
    _ = file.write_text(program)
    with Server() as server:
        done = subprocess.run(
            [sys.executable, file, server.url], capture_output=True, text=True, check=False
        )
        assert (done.returncode, done.stderr) == (0, "")
        assert "".join(texts(server)).split() == ["first", "last"]


def test_a_dict_of_settings_makes_one():
    program = """
import logging.config
settings = {"class": "smtpx.integrations.logs.MailHandler", "url": sys.argv[1], "level": "ERROR"}
settings |= {"fromaddr": "app@example.org", "toaddrs": ["ops@example.net"], "subject": "hi"}
settings = {"handlers": {"mail": settings}, "root": {"handlers": ["mail"]}}
logging.config.dictConfig({"version": 1} | settings)
logging.error("trouble")
logging.warning("no trouble")
"""
    with Server() as server:
        assert run(program, server) == (0, "")
        assert texts(server) == ["trouble\n"]
