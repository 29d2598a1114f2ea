"""The first connection of a process, which loads what speaks SMTP: whatever meets it meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from smtpx.testing import Server

PROGRAM = """
import faulthandler, importlib.abc, os, socket, sys, threading, time
from unittest import mock
from smtpx import smtplib
LATE = "smtpx._core.transaction"
assert LATE not in sys.modules

class Meeting(importlib.abc.MetaPathFinder):
    '''Does something, once, in the middle of loading.'''
    def __init__(self, do):
        self.do = do
    def find_spec(self, name, path=None, target=None):
        if name == LATE and self in sys.meta_path:
            sys.meta_path.remove(self)
            self.do()

def send():
    with smtplib.SMTP(sys.argv[1], int(sys.argv[2]), timeout=30) as smtp:
        smtp.sendmail("a@x.test", ["b@y.test"], "Subject: hi\\n\\nhello\\n")

{}
send()
print("done")
"""


@pytest.fixture
def server() -> Iterator[Server]:
    with Server() as server:
        yield server


def run(server: Server, what: str) -> None:
    program = [sys.executable, "-c", PROGRAM.format(what), server.host, str(server.port)]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "done\n", done.stderr


def test_threads_load_it_together(server: Server) -> None:
    run(
        server,
        "threads = [threading.Thread(target=send) for _ in range(16)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()",
    )
    assert len(server.messages) == 17


def test_who_is_interrupted_loads_it_again_and_no_server_has_waited(server: Server) -> None:
    run(
        server,
        "def interrupt(): raise KeyboardInterrupt\n"
        "sys.meta_path.insert(0, Meeting(interrupt))\n"
        "try: send()\n"
        "except KeyboardInterrupt: pass\n"
        "else: raise AssertionError",
    )
    assert (len(server.sessions), len(server.messages)) == (1, 1)


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_without_a_descriptor_to_read_it_by_it_is_an_os_error(server: Server) -> None:
    run(
        server,
        "held = []\n"
        "def exhaust():\n"
        "    try:\n"
        "        while True: held.append(os.dup(0))\n"
        "    except OSError: pass\n"
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "sys.meta_path.insert(0, Meeting(exhaust))\n"
        "try: send()\n"
        "except OSError: pass\n"
        "else: raise AssertionError\n"
        "while held: os.close(held.pop())",
    )
    assert len(server.messages) == 1


def test_what_a_test_replaces_meanwhile_is_not_kept(server: Server) -> None:
    run(
        server,
        "with mock.patch('socket.socket'), mock.patch('time.monotonic', None):\n"
        "    smtp = smtplib.SMTP()\n"
        "    smtp.sock = mock.Mock()\n"
        "    smtp.sock.makefile.return_value.readline.return_value = b'250 yes\\r\\n'\n"
        "    assert smtp.docmd('NOOP') == (250, b'yes')\n"
        "assert LATE in sys.modules",
    )
    assert len(server.messages) == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork")
def test_a_child_that_is_forked_meanwhile_has_it_whole(server: Server) -> None:
    run(
        server,
        "begun = threading.Event()\n"
        "def slowly():\n"
        "    begun.set()\n"
        "    time.sleep(0.5)\n"
        "sys.meta_path.insert(0, Meeting(slowly))\n"
        "def load():\n"
        "    try: smtplib.SMTP().verify('a@x.test')\n"
        "    except smtplib.SMTPServerDisconnected: pass\n"
        "thread = threading.Thread(target=load)\n"
        "thread.start()\n"
        "begun.wait()\n"
        "child = os.fork()\n"
        "if child == 0:\n"
        "    faulthandler.dump_traceback_later(20, exit=True)\n"
        "    send()\n"
        "    os._exit(0)\n"
        "assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0\n"
        "thread.join()",
    )
    assert len(server.messages) == 2
