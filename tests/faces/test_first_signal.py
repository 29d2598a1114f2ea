"""A signal handler sends while its thread is in its first call, and loads what sending needs."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

from smtpx.testing import Server

PROGRAM = """
import email.message, importlib.abc, signal, sys, smtpx
name, url, how = sys.argv[1:]

def mail():
    message = email.message.EmailMessage()
    message["From"], message["To"], message["Subject"] = "a@x.test", "b@y.test", "hi"
    message.set_content("hello")
    return message

messages = [mail(), mail(), mail()]
if how == "session": smtpx.Session  # A name that is new is an import.
client, told = smtpx.Client(url), []
assert name not in sys.modules

def sends():
    if how == "send":
        client.send(messages.pop())
    elif how == "send_many":
        for _ in client.send_many([messages.pop()]): pass
    else:
        with smtpx.Session(url) as session: session.send(messages.pop())

def handle(*_):
    try:
        sends()
    except smtpx.LocalProtocolError as error:
        told.append(str(error))

class Meeting(importlib.abc.MetaPathFinder):
    '''Has the signal come in the middle of a load, once.'''
    def find_spec(self, asked, path=None, target=None):
        if asked == name and self in sys.meta_path:
            sys.meta_path.remove(self)
            signal.raise_signal(signal.SIGUSR1)

signal.signal(signal.SIGUSR1, handle)
sys.meta_path.insert(0, Meeting())
assert client.send(messages.pop()).complete
assert len(told) == 1 and "signal handler" in told[0], told
sends()
"""


@pytest.mark.skipif(not hasattr(signal, "SIGUSR1"), reason="there are no such signals")
@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("smtpx._core.transaction", "send"),
        ("smtpx._core.transaction", "send_many"),
        ("smtpx._message.serialising", "send"),
        ("smtpx._message.serialising", "send_many"),
        ("encodings.idna", "session"),
    ],
)
def test_it_is_told_so_and_the_call_goes_on(name: str, how: str) -> None:
    with Server() as server:
        program = [sys.executable, "-c", PROGRAM, name, server.url, how]
        done = subprocess.run(program, capture_output=True, text=True, check=False, timeout=60)
        assert done.returncode == 0, done.stderr
        assert len(server.messages) == 2
