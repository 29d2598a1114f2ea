"""The first session of a process, which loads what speaks SMTP: whatever meets it meanwhile."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator

import pytest

from smtpx.testing import Server

PROGRAM = """
import faulthandler, importlib.abc, os, signal, sys, threading, time, smtpx
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

def meets(do):
    sys.meta_path.insert(0, Meeting(do))

def send():
    return client.send(b"Subject: hi\\n\\nhello\\n", smtpx.Envelope("a@x.test", "b@y.test"))

client = smtpx.Client(sys.argv[1], pool=smtpx.PoolLimits(open=8))
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


def run(server: Server, what: str) -> None:
    program = [sys.executable, "-c", PROGRAM.format(what), server.url]
    done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "done\n", done.stderr


def test_threads_load_it_together(server: Server) -> None:
    run(
        server,
        "done = []\n"
        "threads = [threading.Thread(target=lambda: done.append(send())) for _ in range(16)]\n"
        "for thread in threads: thread.start()\n"
        "for thread in threads: thread.join()\n"
        "assert len(done) == 16",
    )
    assert len(server.messages) == 17


def test_who_is_interrupted_loads_it_again(server: Server) -> None:
    run(
        server,
        "def interrupt(): raise KeyboardInterrupt\n"
        "meets(interrupt)\n"
        "try: send()\n"
        "except KeyboardInterrupt: pass\n"
        "else: raise AssertionError",
    )
    assert len(server.messages) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such limits")
def test_without_a_descriptor_to_read_it_by_it_says_so(server: Server) -> None:
    run(
        server,
        "held = []\n"
        "def exhaust():\n"
        "    try:\n"
        "        while True: held.append(os.dup(0))\n"
        "    except OSError: pass\n"
        "import resource\n"
        "resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))\n"
        "meets(exhaust)\n"
        "try: send()\n"
        "except smtpx.LocalProtocolError as error:\n"
        "    while held: os.close(held.pop())\n"
        "    assert 'descriptor' in str(error), error\n"
        "else: raise AssertionError",
    )
    assert len(server.messages) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="there are no such signals")
def test_a_signal_handler_that_interrupts_it_is_told_so(server: Server) -> None:
    run(
        server,
        "told = []\n"
        "def handle(*_):\n"
        "    try: send()\n"
        "    except smtpx.LocalProtocolError as error: told.append(str(error))\n"
        "signal.signal(signal.SIGUSR1, handle)\n"
        "meets(lambda: signal.raise_signal(signal.SIGUSR1))\n"
        "send()\n"
        "assert 'signal handler' in told[0], told",
    )
    assert len(server.messages) == 2


def test_near_the_recursion_limit_nothing_is_lost(server: Server) -> None:
    run(
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
    run(
        server,
        "begun = threading.Event()\n"
        "def slowly():\n"
        "    begun.set()\n"
        "    time.sleep(0.5)\n"
        "meets(slowly)\n"
        "thread = threading.Thread(target=send)\n"
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
    assert len(server.messages) == 3
