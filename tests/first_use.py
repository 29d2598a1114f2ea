"""Programs that use smtpx for the first time, and what meets them while they load it."""

from __future__ import annotations

import subprocess
import sys

MEETING = """
import faulthandler, importlib.abc, os, signal, socket, sys, threading, time

class Meeting(importlib.abc.MetaPathFinder):
    '''Does something, once, in the middle of loading a module.'''
    def __init__(self, name, do):
        assert name not in sys.modules
        self.name, self.do = name, do
    def find_spec(self, asked, path=None, target=None):
        if asked == self.name and self in sys.meta_path:
            sys.meta_path.remove(self)
            self.do()

def meets(do, name="smtpx._core.transaction"):
    sys.meta_path.insert(0, Meeting(name, do))
"""

EXHAUSTED = """
held = []
def exhaust():
    try:
        while True: held.append(os.dup(0))
    except OSError: pass
import resource
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
meets(exhaust)
"""
"""No descriptor is left; the program closes what is ``held``."""

INTERRUPTED = """
def interrupt(): raise KeyboardInterrupt
meets(interrupt)
try: send()
except KeyboardInterrupt: pass
else: raise AssertionError
"""

IN_THREADS = """
done = []
threads = [threading.Thread(target=lambda: done.append(send())) for _ in range(16)]
for thread in threads: thread.start()
for thread in threads: thread.join()
assert len(done) == 16
"""

FORKED = """
begun = threading.Event()
def slowly():
    begun.set()
    time.sleep(0.5)
meets(slowly)
thread = threading.Thread(target=load)
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    faulthandler.dump_traceback_later(20, exit=True)
    send()
    os._exit(0)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
thread.join()
"""
"""Another thread runs ``load`` meanwhile."""

SIGNALLED = """
told = []
def handle(*_):
    try: send()
    except REFUSAL as error: told.append(str(error))
signal.signal(signal.SIGUSR1, handle)
meets(lambda: signal.raise_signal(signal.SIGUSR1), NAME)
load()
assert len(told) == 1 and "signal handler" in told[0], told
"""
"""A handler that sends is told so by a ``REFUSAL``."""


def run(program: str, *arguments: str) -> None:
    """Run a program, which prints "done" if all is well."""
    words = [sys.executable, "-c", MEETING + program, *arguments]
    done = subprocess.run(words, capture_output=True, text=True, check=False, timeout=60)
    assert done.stdout == "done\n", done.stderr
