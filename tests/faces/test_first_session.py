"""The first session of a process, which loads what speaks SMTP: whatever meets it meanwhile."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from smtpx.testing import Server
from tests.first_use import EXHAUSTED, FORKED, IN_THREADS, INTERRUPTED, SIGNALLED, run

PROGRAM = """
import smtpx
client = smtpx.Client(sys.argv[1], pool=smtpx.PoolLimits(open=8))

def send():
    return client.send(b"Subject: hi\\n\\nhello\\n", smtpx.Envelope("a@x.test", "b@y.test"))

load = send
{}
assert len(send().accepted) == 1
there = client.statistics()
assert not (there.opening or there.busy or there.waiting), there
client.close()
print("done")
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def meets(server: Server, what: str) -> None:
    run(PROGRAM.format(what), server.url)


def test_threads_load_it_together(server: Server) -> None:
    meets(server, IN_THREADS)
    assert len(server.messages) == 17


def test_who_is_interrupted_loads_it_again(server: Server) -> None:
    meets(server, INTERRUPTED)
    assert len(server.messages) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_without_a_descriptor_to_read_it_by_it_says_so(server: Server) -> None:
    meets(
        server,
        EXHAUSTED + "try: send()\n"
        "except smtpx.LocalProtocolError as error:\n"
        "    while held: os.close(held.pop())\n"
        "    assert 'descriptor' in str(error), error\n"
        "else: raise AssertionError",
    )
    assert len(server.messages) == 1


WAYS = {
    "bytes": 'def send(): return client.send(b"", smtpx.Envelope("a@x.test", "b@y.test"))',
    "send": "def send(): return client.send(mail())",
    "send_many": "def send(): return next(iter(client.send_many([mail()])))",
    "session": "def send():\n    with smtpx.Session(sys.argv[1]) as one: return one.send(mail())",
}
MAIL = """
import email.message

def mail():
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@x.test", "b@y.test", "hi"
    message.set_content("hello")
    return message
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there are no such signals")
@pytest.mark.parametrize(
    ("name", "way"),
    [
        ("smtpx._core.transaction", "bytes"),
        ("smtpx._core.transaction", "send"),
        ("smtpx._core.transaction", "send_many"),
        ("smtpx._message.serialising", "send"),
        ("smtpx._message.serialising", "send_many"),
        ("encodings.idna", "session"),
    ],
)
def test_a_signal_handler_that_interrupts_it_is_told_so(
    name: str, way: str, server: Server
) -> None:
    # A name of ours that was not used before is an import, and raises what imports raise.
    used = "smtpx.Session\n" if way == "session" else ""
    loads = "def load(): return client.send(mail())\n"
    named = f"REFUSAL, NAME = smtpx.LocalProtocolError, {name!r}\n"
    meets(server, f"{MAIL}{WAYS[way]}\n{used}{loads}{named}{SIGNALLED}")
    assert len(server.messages) == 2


def test_near_the_recursion_limit_nothing_is_lost(server: Server) -> None:
    meets(
        server,
        "def within(room):\n"
        "    frame, depth = sys._getframe(), 0\n"
        "    while frame: frame, depth = frame.f_back, depth + 1\n"
        "    def down(left): return send() if left <= 0 else down(left - 1)\n"
        "    return down(sys.getrecursionlimit() - depth - room)\n"
        "failed = 0\n"
        "for room in range(10, 200, 3):\n"
        "    try: within(room)\n"
        "    except RecursionError: failed += 1\n"
        "    else: break\n"
        "assert failed > 3, failed",
    )
    assert len(server.messages) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_that_is_forked_meanwhile_has_it_whole(server: Server) -> None:
    meets(server, FORKED)
    assert len(server.messages) == 3
