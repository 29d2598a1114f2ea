"""What Windows has not is not needed: tried with a Python that has lost it."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import asyncio, importlib, os, select, selectors, signal, socket, sys, tempfile

pair, unix = socket.socketpair, socket.AF_UNIX
socket.socketpair = lambda *_: pair(unix)
kept = {"SIGINT", "SIGTERM", "SIGABRT", "SIGFPE", "SIGILL", "SIGSEGV", "SIG_DFL", "SIG_IGN"}
for module, names in {
    os: "fork register_at_fork getuid geteuid getgid fchmod O_NOFOLLOW O_CLOEXEC killpg writev",
    socket: "AF_UNIX SO_REUSEPORT MSG_DONTWAIT MSG_NOSIGNAL SCM_RIGHTS",
    select: "poll epoll",
    selectors: "PollSelector EpollSelector",
    signal: " ".join(name for name in dir(signal) if name[:3] == "SIG" and name not in kept),
}.items():
    for name in names.split():
        delattr(module, name)
selectors.DefaultSelector = selectors.SelectSelector
for name in ("fcntl", "pwd", "grp", "resource", "termios"):
    sys.modules[name] = None
sys.platform = "win32"

import smtpx
from smtpx import cli
from smtpx.testing import Server

for name in cli.COMMANDS:
    importlib.import_module(f"smtpx.cli.{name}")
message = smtpx.compose(sender="ann@example.org", to="bob@example.net", subject="s", text="t")


async def send(url):
    async with smtpx.AsyncClient(url) as client:
        return await client.send(message)


with Server() as server, tempfile.TemporaryDirectory() as folder:
    assert smtpx.send(message, server.url).complete
    with smtpx.Client(server.url) as client:
        assert [result.complete for result in client.send_many([message] * 9)] == [True] * 9
    assert asyncio.run(send(server.url)).complete
    with smtpx.Outbox(f"sqlite:///{folder}/mail.db") as outbox:
        outbox.put(message)
        outbox.run(smtpx.Client(server.url), until_empty=True)
        assert outbox.counts()[smtpx.outbox.State.ACCEPTED] == 1
    assert len(server.messages) == 12
    assert server.breaches == []
try:
    smtpx.send(message, "lmtp+unix:///run/lmtp")
except smtpx.ConnectionLost as error:
    assert "no unix sockets" in str(error)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="it is taken from Linux what Windows has not")
def test_what_windows_has_not_is_not_needed():
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stderr) == (0, "")
