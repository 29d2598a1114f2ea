"""The first connection of a process, which loads what speaks SMTP: whatever meets it meanwhile."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest

from smtpx.testing import Server
from tests.first_use import EXHAUSTED, FORKED, IN_THREADS, INTERRUPTED, SIGNALLED, run

PROGRAM = """
from unittest import mock
from smtpx import smtplib

def send():
    with smtplib.SMTP(sys.argv[1], int(sys.argv[2]), timeout=30) as smtp:
        smtp.sendmail("a@x.test", ["b@y.test"], "Subject: hi\\n\\nhello\\n")

def load():
    try: smtplib.SMTP().verify("a@x.test")
    except smtplib.SMTPServerDisconnected: pass
{}
send()
print("done")
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def meets(server: Server, what: str) -> None:
    run(PROGRAM.format(what), server.host, str(server.port))


def test_threads_load_it_together(server: Server) -> None:
    meets(server, IN_THREADS)
    assert len(server.messages) == 17


def test_who_is_interrupted_loads_it_again_and_no_server_has_waited(server: Server) -> None:
    meets(server, INTERRUPTED)
    assert (len(server.sessions), len(server.messages)) == (1, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_without_a_descriptor_to_read_it_by_it_is_an_os_error(server: Server) -> None:
    ends = "try: send()\nexcept OSError: pass\nelse: raise AssertionError\n"
    meets(server, EXHAUSTED + ends + "while held: os.close(held.pop())")
    assert len(server.messages) == 1


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there are no such signals")
def test_a_signal_handler_that_interrupts_it_is_told_so(server: Server) -> None:
    named = 'REFUSAL, NAME = smtplib.SMTPException, "smtpx._core.transaction"\n'
    meets(server, named + SIGNALLED)
    assert len(server.messages) == 1


def test_what_a_test_replaces_meanwhile_is_not_kept(server: Server) -> None:
    meets(
        server,
        "with mock.patch('socket.socket'), mock.patch('time.monotonic', None):\n"
        "    smtp = smtplib.SMTP()\n"
        "    smtp.sock = mock.Mock()\n"
        "    smtp.sock.makefile.return_value.readline.return_value = b'250 yes\\r\\n'\n"
        "    assert smtp.docmd('NOOP') == (250, b'yes')\n"
        "assert 'smtpx._core.transaction' in sys.modules",
    )
    assert len(server.messages) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_that_is_forked_meanwhile_has_it_whole(server: Server) -> None:
    meets(server, FORKED)
    assert len(server.messages) == 2
