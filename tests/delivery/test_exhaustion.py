"""A process that has no descriptor left delivers nothing, and says so by errors of ours."""

from __future__ import annotations

import subprocess
import sys

import pytest

from smtpx.testing import ALL_EXTENSIONS, Extension, NameServer, Server, ServerTLS

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="there is no such limit"),
    pytest.mark.timeout(120),
]

# What is called has loaded nothing yet. With one descriptor more each time, it gets further.
CHILD = """
import asyncio, os, resource, sys
import smtpx
from email.message import EmailMessage
from smtpx.delivery import AddressPolicy, NameServers
from smtpx.delivery.resolver import MX, Answer, AnswerState, Question, ScriptedResolver

call, resolver, port, dns, left = *sys.argv[1:3], *map(int, sys.argv[3:])
scripted = ScriptedResolver({
    Question("a.test", "MX"): Answer(AnswerState.FOUND, (MX(1, "mx.test"),)),
    Question("mx.test", "A"): Answer(AnswerState.FOUND, ("127.0.0.1",)),
})
message = EmailMessage()
message["From"], message["To"] = "Zo\\u00eb <ann@x.test>", "bob@a.test"
message.set_content("h\\u00e9")
kind = smtpx.AsyncDelivery if call.startswith("async") else smtpx.Delivery
delivery = kind(
    "mail.example.org",
    resolver=scripted if resolver == "scripted" else NameServers("127.0.0.1", port=dns),
    port=port,
    addresses=AddressPolicy(["127.0.0.0/8"]),
    resolver_timeout=2,
)
told, read, kept = [], [], []

def messages():
    for _ in range(2):
        read.append(message)
        yield message

def fill():
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, 128))
    try:
        while True:
            kept.append(os.dup(0))
    except OSError:
        for _ in range(left):
            os.close(kept.pop())

async def in_task():
    fill()
    if call == "async send":
        told.append(await delivery.send(message))
    else:
        async for result in delivery.send_many(messages()):
            told.append(result)

foreign = ""
try:
    if call.startswith("async"):
        asyncio.run(in_task())
    else:
        fill()
        told += [delivery.send(message)] if call == "send" else delivery.send_many(messages())
except smtpx.SMTPError as error:
    told += vars(error).get("results") or []
except BaseException as error:
    foreign = repr(error)
while kept:
    os.close(kept.pop())
print(len(told), len(read), sum(bool(one.accepted) for one in told), foreign)
"""


@pytest.mark.parametrize("resolver", ["scripted", "asked"])
@pytest.mark.parametrize("call", ["send", "send_many", "async send", "async send_many"])
def test_every_error_is_ours(call: str, resolver: str) -> None:
    with (
        Server(tls=ServerTLS.STARTTLS, extensions=ALL_EXTENSIONS - {Extension.CHUNKING}) as server,
        NameServer("a.test MX 1 mx.test.\nmx.test A 127.0.0.1") as dns,
    ):
        for left in range(5):
            child = [sys.executable, "-c", CHILD, call, resolver]
            numbers = map(str, (server.port, dns.port, left))
            ran = subprocess.run(
                [*child, *numbers], capture_output=True, text=True, timeout=60, check=True
            )
            told, read, _, foreign = ran.stdout.rstrip("\n").split(" ", 3)
            assert not foreign, left
            if call.endswith("many"):
                assert told == read
