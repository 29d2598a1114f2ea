"""A child finds nothing half loaded that a thread of its parent's was loading."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

FORKED_MEANWHILE = """
import importlib, os, signal, sys, threading, time
import smtpx
if sys.argv[2] == "smtplib": import smtpx.smtplib
else: getattr(smtpx, sys.argv[2])  # It is there in the parent, as in prefork servers.
name = sys.argv[1]
assert name not in sys.modules
begun = threading.Event()

class Slow:
    @staticmethod
    def find_spec(asked, path=None, target=None):
        if asked == name and not begun.is_set():
            begun.set()
            time.sleep(0.5)

sys.meta_path.insert(0, Slow)
thread = threading.Thread(target=importlib.import_module, args=(name,))
thread.start()
begun.wait()
child = os.fork()
if child == 0:
    signal.alarm(10)
    importlib.import_module(name)
    os._exit(0)
thread.join()
sys.exit(os.waitpid(child, 0)[1])
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="there are no forks")
@pytest.mark.parametrize("face", ["Client", "AsyncClient", "Session", "smtplib"])
@pytest.mark.parametrize("name", ["smtpx.verp", "colorsys", "xml.sax.saxutils"])
def test_a_fork_waits_for_what_other_threads_load(name: str, face: str) -> None:
    program = [sys.executable, "-W", "ignore", "-c", FORKED_MEANWHILE, name, face]
    assert subprocess.run(program, timeout=60).returncode == 0
