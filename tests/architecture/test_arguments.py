"""Every argument of every public call is checked where it is given (R18).

A walk over the public names: each parameter is given what is wrong in many ways. It is named by a
`TypeError`, a `ValueError` or an `SMTPError`, or `ALLOWED` says that it may be so. What is new and
in no table fails the test that compares the tables with the names.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import importlib
import inspect
import math
import pkgutil
import socket
from collections.abc import Callable, Iterator, Mapping
from datetime import timedelta
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx import delivery, inbox, integrations, outbox, sasl, services, testing, verp
from smtpx._core.xclient import ClientAttributes
from smtpx._faces.keywords import SessionOptions
from smtpx.delivery.resolver import ScriptedResolver
from smtpx.integrations import opentelemetry
from smtpx.integrations.logs import MailHandler
from smtpx.sansio import AsyncDriver, Driver, dial, dial_async

WRONG: dict[str, Any] = {
    "None": None,
    "text": "x y\n",
    "empty text": "",
    "bytes": b"x",
    "-1": -1,
    "0": 0,
    "1.5": 1.5,
    "NaN": math.nan,
    "infinity": math.inf,
    "True": True,
    "object": object(),
    "list": ["x y\n"],
    "dict": {"x y\n": 1},
    "tuple": (1, 2),
    "class": smtpx.Envelope,
}
NUMBERS = {"-1", "0", "1.5", "NaN", "infinity", "True"}
TEXTS = {"text", "empty text"}

MESSAGE = EmailMessage()
MESSAGE["From"], MESSAGE["To"], MESSAGE["Date"] = "a@x.test", "b@x.test", "x"
TEMPLATE = EmailMessage()
TEMPLATE["From"], TEMPLATE["To"] = "a@x.test", "{{address}}"
TEMPLATE.set_content("{{name}}")
ENVELOPE = smtpx.Envelope("a@x.test", "b@x.test")
ANN = smtpx.Credentials("ann", "secret")
PEM = """-----BEGIN PRIVATE KEY-----
MC4CAQAwBQYDK2VwBCIEIJ1hsZ3v/VpguoRK9JLsLMREScVpezJpGXA7rAMcrn9g
-----END PRIVATE KEY-----
"""


class Case:
    """A call that is right, and what else its parameters may be."""

    def __init__(
        self,
        call: Callable[..., Any],
        given: Mapping[str, Any] | None = None,
        /,
        *,
        names: Mapping[str, str] | None = None,
        **allowed: set[str],
    ) -> None:
        self.call = call
        self.given = given or {}
        self.names = names or {}
        self.allowed = allowed


NONE = {"None"}
DRIVER: dict[str, set[str]] = {"tls": NONE, "timeout": NONE | {"1.5"}}
DIALLED = {"addresses": ["127.0.0.1"], "port": 1}
DIALLING: dict[str, Any] = {
    **dict.fromkeys(("timeout", "total"), NONE | {"1.5"}),
    "sources": {"list", "empty"},
}


DELIVERING: dict[str, Any] = {
    "client_name": "mail.example.org",
    "resolver": ScriptedResolver({}),
}
DELIVERY: dict[str, Any] = {
    "resolver": NONE,
    "dane": {"True"},
    "mta_sts": {"True"},
    "prefer_ipv4": {"True"},
    "ca_file": NONE | TEXTS,
    "policies": NONE | {"dict"},
    "reports": NONE,
    "source_address": NONE,
    "timeouts": NONE,
    "observer": NONE,
    "signer": NONE,
    "seed": {"-1", "0"},
    "resolver_timeout": {"1.5"},
}
DELIVERED: dict[str, Any] = {"envelope": NONE, "names": {"message": "message|envelope"}}
DOMAIN = {"domain": "domain|address"}


def _delivering(name: str) -> Callable[..., Any]:
    def call(**given: Any) -> Any:
        async def main() -> Any:
            return await getattr(smtpx.AsyncDelivery(**DELIVERING), name)(**given)

        return asyncio.run(main())

    return call


def _nowhere() -> str:
    """The URL of a port on which nothing listens."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        return f"smtp://127.0.0.1:{bound.getsockname()[1]}"


URL = _nowhere()


LEDGER = "sqlite:///mail.db"


def _of_outbox(name: str) -> Callable[..., Any]:
    def call(**given: Any) -> Any:
        with smtpx.Outbox(LEDGER) as opened:
            value = getattr(opened, name)(**given)
            return list(value) if isinstance(value, Iterator) else value

    return call


def _of_async_outbox(name: str) -> Callable[..., Any]:
    def call(**given: Any) -> Any:
        async def main() -> Any:
            async with smtpx.AsyncOutbox(LEDGER) as opened:
                value = getattr(opened, name)(**given)
                if hasattr(value, "__aiter__"):
                    return [each async for each in value]
                return await value

        return asyncio.run(main())

    return call


DAY = timedelta(days=1)
TERMS: dict[str, Any] = {
    "not_before": NONE,
    "priority": {"-1", "0"},
    "campaign": NONE | {"text"},
}
OUTBOX: dict[str, Any] = {
    "limits": NONE,
    "lease": {"1.5"},
    "patience": {"1.5"},
    "overdue": {"1.5"},
    "spool": NONE | {"text"},
    "dispatcher": NONE,
    "bounces": NONE,
    "warn_after": NONE,
}
VIA: dict[str, Any] = {"window": NONE, "until_empty": {"True"}, "names": {"via": "via|URL"}}
IDS = {"names": {"id": "id|message", "batch": "batch"}, "id": TEXTS, "batch": TEXTS}
OUTBOXES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "put": (
        {"message": MESSAGE},
        {
            **TERMS,
            "names": {"message": "message|bytes"},
            "envelope": NONE,
            "key": NONE | {"text"},
            "connection": NONE,
        },
    ),
    "put_many": ({"messages": []}, {**TERMS, "names": {"messages": "messages?|bytes"}}),
    "put_merge": (
        {"template": smtpx.Template(TEMPLATE), "rows": []},
        {**TERMS},
    ),
    "status": ({"id": "x"}, IDS),
    "counts": ({}, {"campaign": NONE | {"text"}}),
    "find": ({}, {"state": NONE, "recipient": NONE, "older_than": NONE}),
    "cancel": ({"id": "x"}, {**IDS, "recipient": NONE}),
    "retry": ({"id": "x", "expires": DAY}, {**IDS, "recipient": NONE}),
    "resolve": ({"id": "x", "recipient": "b@x.test", "outcome": "resend"}, IDS),
    "purge": ({"older_than": DAY}, {}),
    "events": ({}, {"after": {"0"}}),
    "report": ({"callback": print}, {"name": {"text"}}),
    "run": ({"via": URL, "until_empty": True}, VIA),
    "deliver": ({"batch": "x", "via": URL}, {**VIA, "batch": TEXTS}),
    "wake": ({"batches": []}, {"names": {"batches": "batches|ids?"}, "batches": {"list"}}),
}


async def _asend_many(**given: Any) -> None:
    async with smtpx.AsyncClient(URL) as client:
        _ = client.send_many(**given)


def _awaited(kind: Any, name: str) -> Callable[..., Any]:
    def call(**given: Any) -> Any:
        async def main() -> Any:
            return await getattr(kind(URL), name)(**given)

        return asyncio.run(main())

    return call


# Only a session that is open says a command: this one is opened once, to a server that stays.
_open: list[smtpx.Session] = []


@pytest.fixture(scope="module", autouse=True)
def session() -> Iterator[None]:
    with testing.Server() as server, smtpx.Session(server.url) as opened:
        _open.append(opened)
        yield
        assert opened.is_open
        assert {line.split()[0] for line in server.sessions[0].commands} <= {
            *("EHLO", "MAIL", "RCPT", "DATA", "BDAT", "HELP")  # of what is allowed
        }
        _open.clear()


def _said(name: str) -> Callable[..., Any]:
    return lambda **given: getattr(_open[0], name)(**given)


def _async_said(name: str) -> Callable[..., Any]:
    """Of an `AsyncSession`, which is opened anew for each call."""

    def call(**given: Any) -> Any:
        async def main() -> Any:
            async with smtpx.AsyncSession(server.url) as opened:
                return await getattr(opened, name)(**given)

        with testing.Server() as server:
            return asyncio.run(main())

    return call


OPTIONS: dict[str, Any] = {
    "tls": NONE,
    "credentials": NONE,
    "mechanisms": NONE,
    "client_name": NONE,
    "source_address": NONE,
    "proxy": NONE,
    "proxy_header": NONE,
    "timeout": NONE | {"1.5"},
    "timeouts": NONE,
    "limits": NONE,
    "observer": NONE,
    "signer": NONE,
}
SEND: dict[str, Any] = {"message": MESSAGE}
# Bytes are a message; that they do not say whom it is for, is another complaint.
NAMES = {"message": "message|Envelope", "endpoint": "endpoint|URL"}
XCLIENT: dict[str, Any] = dict.fromkeys(ClientAttributes.__annotations__, NONE) | {
    "port": NONE | {"0"},
    "destport": NONE | {"0"},
}
MANY: dict[str, Any] = {"messages": [MESSAGE]}
MANY_ALLOWED: dict[str, Any] = {
    "messages": {"list", "tuple"},  # each of them is looked at when its turn comes
    "mark": NONE,
}
MAILBOXES: dict[str, Any] = {"to": NONE, "cc": NONE, "bcc": NONE, "reply_to": NONE}
MECHANISMS = {
    f"sasl.{name}": Case(getattr(sasl, name), {"credentials": ANN})
    for name in ("Anonymous", "CramMD5", "External", "Login", "Plain", "GSSAPI", "NTLM", "Spnego")
}
SCRAMS = {
    f"sasl.{name}": Case(getattr(sasl, name), {"credentials": ANN}, nonce=NONE | TEXTS)
    for name in sasl.__all__
    if name.startswith("Scram")
}
PER_SECOND = NONE | {"1.5"}
PHASES: dict[str, Any] = dict.fromkeys(smtpx.Timeouts.__dataclass_fields__, PER_SECOND)

NTH: dict[str, Any] = {"nth": NONE, "session": NONE}
COUNT = {"0"}
FAULTY: tuple[tuple[str, dict[str, Any], dict[str, Any]], ...] = (
    ("AppendToReply", {"command": "X", "data": b"x"}, {"data": {"bytes"}}),
    ("Close", {"command": "X"}, {}),
    ("CutContent", {"at": 1}, {"at": COUNT, "parting": {"bytes"}}),
    ("CutInput", {"at": 1}, {"at": COUNT, "parting": {"bytes"}}),
    ("CutOutput", {"at": 1}, {"at": COUNT}),
    ("Drip", {}, {"interval": {"0", "1.5"}}),
    ("Endless", {"command": "X"}, {"chunk": {"bytes"}}),
    ("Latency", {"seconds": 1}, {"seconds": {"0", "1.5"}}),
    ("Refuse", {"command": "X", "reply": "550 no"}, {}),
    ("ReplaceReply", {"command": "X", "data": b""}, {"data": {"bytes"}}),
    ("Reset", {"command": "X"}, {}),
    ("Shutdown", {"command": "X"}, {}),
    ("Stall", {"command": "X"}, {"reading": {"True"}}),
    ("TruncateReply", {"command": "X", "keep": 1}, {"keep": COUNT}),
)


def _only(**given: Any) -> None:
    with contextlib.suppress(AssertionError):  # Nothing came, as nothing was sent.
        _ = testing.Mails(testing.Server()).only(**given)


WANTED: dict[str, Any] = dict.fromkeys(("to", "sender", "subject"), NONE | TEXTS)
LIMITED: dict[str, Any] = {"matching": TEXTS | NONE, "times": NONE}
FAULTS = {
    f"testing.{name}": Case(
        getattr(testing, name), given, **NTH, **allowed, **(LIMITED if "command" in given else {})
    )
    for name, given, allowed in FAULTY
}
SERVER: dict[str, Any] = {
    "lmtp": {"True"},
    "hostname": TEXTS,
    "greeting": NONE,
    "refuse_ehlo": {"True"},
    "auth_needs_tls": {"True"},
    "require_authentication": {"True"},
    "size_limit": NONE,
    "mail_limit": NONE,
    "recipient_limit": NONE,
    "domain_limit": NONE,
    "data_without_recipients": {"True"},
    "refuse_content": NONE | {"class"},
    "any_login": {"True"},
}

CASES: dict[str, Case] = {
    "Address": Case(
        smtpx.Address,
        {"local_part": "a", "domain": "x.test"},
        local_part={"empty text"},
        domain={"empty text"},
    ),
    "Address.parse": Case(
        smtpx.Address.parse,
        {"text": "a@x.test"},
        names={"text": "address"},
        bare_local_part={"True"},
    ),
    "AsyncClient": Case(smtpx.AsyncClient, {"endpoint": URL}, names=NAMES, pool=NONE, **OPTIONS),
    "AsyncClient.send": Case(
        _awaited(smtpx.AsyncClient, "send"),
        SEND,
        names=NAMES,
        envelope=NONE,
        all_or_nothing={"True"},
    ),
    "AsyncClient.send_many": Case(
        lambda **given: asyncio.run(_asend_many(**given)), MANY, **MANY_ALLOWED
    ),
    "AsyncClient.close": Case(_awaited(smtpx.AsyncClient, "close"), abort={"True"}),
    "AsyncSession": Case(
        smtpx.AsyncSession, {"endpoint": URL}, names=NAMES, socket=NONE, **OPTIONS
    ),
    "AsyncSession.send": Case(
        _async_said("send"), SEND, names=NAMES, envelope=NONE, all_or_nothing={"True"}
    ),
    "AsyncSession.command": Case(
        _async_said("command"), {"text": "NOOP"}, names={"text": "command|verb"}
    ),
    "AsyncSession.xclient": Case(_async_said("xclient"), **XCLIENT),
    "AsyncSession.verify": Case(
        _async_said("verify"), {"address": "bob"}, names={"address": "address|command"}
    ),
    "AsyncSession.expand": Case(
        _async_said("expand"),
        {"mailing_list": "list"},
        names={"mailing_list": "mailing_list|command"},
    ),
    "AsyncSession.help": Case(
        _async_said("help"), names={"topic": "topic|command"}, topic={"empty text"}
    ),
    "Attachment": Case(
        smtpx.Attachment,
        {"source": b"x"},
        source={"bytes"} | TEXTS,
        name=NONE | TEXTS,
        media_type=NONE | TEXTS,
    ),
    "Client": Case(smtpx.Client, {"endpoint": URL}, names=NAMES, pool=NONE, **OPTIONS),
    "Client.send": Case(
        lambda **given: smtpx.Client(URL).send(**given),
        SEND,
        names=NAMES,
        envelope=NONE,
        all_or_nothing={"True"},
    ),
    "Client.send_many": Case(
        lambda **given: smtpx.Client(URL).send_many(**given), MANY, **MANY_ALLOWED
    ),
    "Client.close": Case(lambda **given: smtpx.Client(URL).close(**given), abort={"True"}),
    "ClientCertificate": Case(
        smtpx.ClientCertificate,
        {"file": "x"},
        file=TEXTS,
        key_file=NONE | TEXTS,
        password=NONE | TEXTS | {"class"},
    ),
    "Credentials": Case(
        smtpx.Credentials,
        {"user": "ann"},
        user={"empty text"},
        password=NONE | {"empty text", "class"},
        token=NONE | {"class"},
        authzid={"empty text"},
    ),
    "Credentials.from_netrc": Case(
        smtpx.Credentials.from_netrc,
        {"host": "x", "path": "/nowhere"},
        names={"host": "host|netrc"},
        path=NONE | TEXTS,
        host=TEXTS,
    ),
    "Credentials.from_keyring": Case(
        smtpx.Credentials.from_keyring, {"service": "x", "user": "ann"}, service=TEXTS, user=TEXTS
    ),
    "DKIMKey": Case(smtpx.DKIMKey, {"domain": "x.test", "selector": "s", "key": PEM}),
    "DKIMSigner": Case(
        lambda keys: smtpx.DKIMSigner(keys), {"keys": smtpx.DKIMKey("x.test", "s", PEM)}
    ),
    "DeliverBy": Case(smtpx.DeliverBy, {"seconds": 60}, returned={"True"}, trace={"True"}),
    "Endpoint": Case(
        smtpx.Endpoint,
        {"host": "x.test", "port": 25},
        names={"host": "host|path", "path": "path|socket|port"},
        tls=NONE,
        lmtp={"True"},
        path={"empty text"},
        user=NONE | TEXTS,
        password=NONE | TEXTS,
        ca_file=NONE | TEXTS,
        server_hostname=NONE,
        minimum_version=NONE,
    ),
    "Endpoint.parse": Case(smtpx.Endpoint.parse, {"url": URL}, names={"url": "url|URL"}),
    "Endpoint.policy": Case(smtpx.Endpoint("x.test", 25).policy, peer_is_local={"True"}),
    "Envelope": Case(
        smtpx.Envelope,
        {"sender": "a@x.test", "recipients": "b@x.test"},
        names={"sender": "sender|address", "recipients": "recipient|address"},
        sender=NONE | {"empty text"},
        body=NONE,
        ret=NONE,
        envid=NONE,
        auth=NONE,
        require_tls={"True"},
        deliver_by=NONE,
        hold=NONE,
        priority=NONE | {"-1", "0"},
        drop_unsupported={"True"},
    ),
    "Envelope.from_message": Case(
        smtpx.Envelope.from_message,
        {"message": MESSAGE},
        names={"sender": "sender|address", "notify": "notify|address", "orcpt": "orcpt|address"},
        sender=NONE | {"empty text"},
        notify=NONE,
        orcpt=NONE | {"True"},
        body=NONE,
        ret=NONE,
        envid=NONE,
        auth=NONE,
        require_tls={"True"},
        deliver_by=NONE,
        hold=NONE,
        priority=NONE | {"-1", "0"},
        drop_unsupported={"True"},
    ),
    "Envelope.replace": Case(
        ENVELOPE.replace,
        names={"sender": "sender|address", "recipients": "recipient|address"},
        sender=NONE | {"empty text"},
        body=NONE,
        ret=NONE,
        envid=NONE,
        auth=NONE,
        require_tls={"True"},
        deliver_by=NONE,
        hold=NONE,
        priority=NONE | {"-1", "0"},
        drop_unsupported={"True"},
    ),
    "Extensions": Case(smtpx.Extensions, {"keywords": {}}),
    "Extensions.of": Case(smtpx.Extensions.of, {"reply": smtpx.Reply.of(250, "x")}),
    "Limits": Case(smtpx.Limits, data_rate=PER_SECOND),
    "Pin": Case(
        smtpx.Pin,
        {"kind": smtpx.PinKind.CERTIFICATE, "digest": b"x" * 32},
    ),
    "Pin.of": Case(
        smtpx.Pin.of,
        {"kind": smtpx.PinKind.CERTIFICATE, "certificate": b"x"},
        certificate={"bytes"},
    ),
    "Pin.parse": Case(smtpx.Pin.parse, {"text": "certificate:" + "00" * 32}, names={"text": "pin"}),
    "PoolLimits": Case(
        smtpx.PoolLimits,
        idle={"0"},
        idle_time=PER_SECOND,
        age=PER_SECOND,
        messages=NONE,
        rate=PER_SECOND,
        wait=PER_SECOND,
        recovery={"1.5"},
    ),
    "ProxyHeader": Case(
        smtpx.ProxyHeader,
        {"version": 1, "source": ("192.0.2.1", 1), "destination": ("192.0.2.2", 2)},
    ),
    "Recipient": Case(
        smtpx.Recipient,
        {"address": "b@x.test"},
        names={"address": "address|recipient"},
        notify=NONE,
        orcpt=NONE,
        unchanged_since=NONE,
    ),
    "Reply.of": Case(lambda code=250, lines="x": smtpx.Reply.of(code, lines), lines={"empty text"}),
    "Session": Case(smtpx.Session, {"endpoint": URL}, names=NAMES, socket=NONE, **OPTIONS),
    "Session.send": Case(_said("send"), SEND, names=NAMES, envelope=NONE, all_or_nothing={"True"}),
    "Session.command": Case(_said("command"), {"text": "NOOP"}, names={"text": "command|verb"}),
    "Session.xclient": Case(_said("xclient"), **XCLIENT),
    "Session.verify": Case(
        _said("verify"), {"address": "bob"}, names={"address": "address|command"}
    ),
    "Session.expand": Case(
        _said("expand"), {"mailing_list": "list"}, names={"mailing_list": "mailing_list|command"}
    ),
    "Session.help": Case(_said("help"), names={"topic": "topic|command"}, topic={"empty text"}),
    "TLSPolicy": Case(
        smtpx.TLSPolicy,
        {"mode": smtpx.TLSMode.STARTTLS},
        ca_file=NONE | TEXTS,
        context=NONE,
        server_hostname=NONE,
        minimum_version=NONE,
        names={"pins": "pin"},
        client_certificate=NONE,
    ),
    "Outbox": Case(lambda **given: smtpx.Outbox(**given).close(), {"url": LEDGER}, **OUTBOX),
    "AsyncOutbox": Case(smtpx.AsyncOutbox, {"url": LEDGER}, **OUTBOX),
    **{
        f"{kind}.{name}": Case(call(name), given, **allowed)
        for name, (given, allowed) in OUTBOXES.items()
        for kind, call in (("Outbox", _of_outbox), ("AsyncOutbox", _of_async_outbox))
    },
    "outbox.Limit": Case(outbox.Limit, rate=NONE | {"1.5", "True"} - {"True"}, at_once=NONE),
    "outbox.Retries": Case(
        outbox.Retries,
        first={"1.5"},
        factor={"1.5"},
        most={"1.5"},
        greylisted={"1.5"},
        jitter={"0"},
    ),
    "flatten": Case(smtpx.flatten, {"message": MESSAGE}, smtputf8={"True"}),
    "Alone": Case(smtpx.Alone, {"content": b"x"}, content={"bytes"}),
    "Template.parse": Case(
        smtpx.Template.parse,
        {"source": smtpx.Template(TEMPLATE).source},
        names={"source": "source|template|From|message", "sender": "sender|address"},
        sender=NONE | {"empty text"},
    ),
    "Template": Case(
        smtpx.Template,
        {"message": TEMPLATE},
        names={"message": "message: give an EmailMessage|template", "sender": "sender|address"},
        sender=NONE | {"empty text"},
    ),
    "Template.render": Case(
        smtpx.Template(TEMPLATE).render,
        {"values": {"address": "b@x.test", "name": "b"}},
        names={"values": "values|field"},
    ),
    "Timeouts": Case(smtpx.Timeouts, **PHASES),
    "Timeouts.each": Case(
        smtpx.Timeouts.each, {"seconds": 1}, seconds=PER_SECOND, total=PER_SECOND
    ),
    "Transcript.save": Case(smtpx.Transcript().save, path=TEXTS),
    "asend": Case(
        lambda **given: asyncio.run(smtpx.asend(**given)),
        {"message": MESSAGE, "endpoint": URL},
        names=NAMES,
        envelope=NONE,
        all_or_nothing={"True"},
        **OPTIONS,
    ),
    "check": Case(
        smtpx.check, {"message": MESSAGE}, message={"bytes"}, envelope=NONE, extensions=NONE
    ),
    "compose": Case(
        smtpx.compose,
        {"sender": "a@x.test", "to": "b@x.test", "text": "x"},
        **MAILBOXES,
        subject={"empty text"},
        text=NONE | TEXTS,
        html=NONE | TEXTS,
        attachments=NONE,
        inline=NONE,
        calendar=NONE,
        date=NONE,
        message_id=NONE,
        in_reply_to=NONE,
        references=NONE,
        list_unsubscribe=NONE,
        headers=NONE,
    ),
    "mend": Case(smtpx.mend, {"message": MESSAGE}, message={"bytes"}, envelope=NONE),
    "plain_text": Case(smtpx.plain_text, {"html": "x"}, html=TEXTS),
    "send": Case(
        smtpx.send,
        {"message": MESSAGE, "endpoint": URL},
        names=NAMES,
        envelope=NONE,
        all_or_nothing={"True"},
        **OPTIONS,
    ),
    "bounces.parse": Case(
        smtpx.bounces.parse, {"message": b"x"}, message={"bytes"}, verp=NONE | {"class"}
    ),
    "sasl.Channel": Case(sasl.Channel, host=TEXTS, port={"0"}, lmtp={"True"}, protection=NONE),
    "sasl.OAuthBearer": Case(
        sasl.OAuthBearer, {"credentials": smtpx.Credentials("ann", token="x")}
    ),
    "sasl.XOAuth2": Case(sasl.XOAuth2, {"credentials": smtpx.Credentials("ann", token="x")}),
    **MECHANISMS,
    **SCRAMS,
    "integrations.opentelemetry.Telemetry": Case(
        opentelemetry.Telemetry, tracer_provider=NONE, meter_provider=NONE
    ),
    "integrations.logs.MailHandler": Case(
        MailHandler,
        {"url": URL, "fromaddr": "a@x.test", "toaddrs": "b@x.test", "subject": "hi"},
        names={"url": "(?i)url"},
        mailhost=NONE,
        subject=TEXTS,
        credentials=NONE,
        secure=NONE,
        timeout={"1.5"},
        interval={"1.5"},
    ),
    **FAULTS,
    "testing.Replay": Case(testing.Replay, {"script": "S: 220 x"}, script=TEXTS, patience={"1.5"}),
    "testing.NameFault": Case(
        testing.NameFault,
        {"does": testing.Misanswer.LATE},
        name=TEXTS,
        type=TEXTS,
        times=NONE,
        seconds={"1.5"},
    ),
    "testing.NameServer": Case(
        testing.NameServer,
        zone={"empty text"},
        host=TEXTS,
        port={"0"},
    ),
    "testing.NameServer.add_fault": Case(
        lambda faults: testing.NameServer().add_fault(faults),
        {"faults": testing.NameFault(testing.Misanswer.LATE)},
    ),
    "testing.NameServer.load": Case(
        lambda zone: testing.NameServer().load(zone), {"zone": ""}, zone={"empty text"}
    ),
    "testing.Server": Case(
        testing.Server,
        mailbox=NONE,
        keep_sessions=NONE,
        connection_limit=NONE,
        idle_timeout=NONE | {"1.5"},
        unfinished_limit=NONE,
        **SERVER | {"users": NONE},
        host=TEXTS,
        port={"0"},
        path=NONE | TEXTS,
        refuse_senders=NONE | {"class"},
        refuse_recipients=NONE | {"class"},
        lmtp_replies=NONE,
        authority=NONE,
        server_context=NONE,
        buffer_size=NONE,
    ),
    "testing.Server.add_fault": Case(
        lambda faults: testing.Server().add_fault(faults), {"faults": testing.Latency(1)}
    ),
    "testing.Server.session": Case(testing.Server().session, {"number": 1}),
    "testing.Server.strikes": Case(testing.Server().strikes, {"fault": testing.Latency(1)}),
    "testing.Server.wait_for_messages": Case(
        testing.Server().wait_for_messages, {"count": 0}, count={"0"}, timeout={"1.5"}
    ),
    "testing.Server.wait_until_idle": Case(testing.Server().wait_until_idle, timeout={"1.5"}),
    "testing.ServerMechanism": Case(
        testing.ServerMechanism,
        {"name": "X", "dialogue": print},
        name=TEXTS,
        dialogue={"class"},
        client_first={"True"},
    ),
    "testing.ServerOptions": Case(
        testing.ServerOptions,
        **SERVER,
        starttls={"True"},
        refuse_senders={"class"},
        refuse_recipients={"class"},
    ),
    "testing.ServerProtocol": Case(
        testing.ServerProtocol,
        options=NONE,
        mailbox=NONE,
        tls={"True"},
        kept_lines=NONE,
        is_full={"class"},
    ),
    "AsyncDelivery": Case(smtpx.AsyncDelivery, DELIVERING, **DELIVERY),
    "AsyncDelivery.plan": Case(
        _delivering("plan"), {"domain": "x.test"}, domain={"empty text"}, names=DOMAIN
    ),
    "AsyncDelivery.send": Case(_delivering("send"), {"message": MESSAGE}, **DELIVERED),
    "AsyncDelivery.send_many": Case(
        lambda **given: smtpx.AsyncDelivery(**DELIVERING).send_many(**given),
        {"messages": []},
        messages={"list", "dict", "tuple"},
        mark=NONE,
    ),
    "Delivery.send_many": Case(
        lambda **given: smtpx.Delivery(**DELIVERING).send_many(**given),
        {"messages": []},
        messages={"list", "dict", "tuple"},
        mark=NONE,
    ),
    "Delivery": Case(smtpx.Delivery, DELIVERING, **DELIVERY),
    "Delivery.plan": Case(
        lambda domain: smtpx.Delivery(**DELIVERING).plan(domain),
        {"domain": "x.test"},
        domain={"empty text"},
        names=DOMAIN,
    ),
    "Delivery.send": Case(
        lambda **given: smtpx.Delivery(**DELIVERING).send(**given),
        {"message": MESSAGE},
        **DELIVERED,
    ),
    "deliver": Case(smtpx.deliver, {"message": MESSAGE, **DELIVERING}, **DELIVERED, **DELIVERY),
    "Delivery.send_reports": Case(
        lambda most: smtpx.Delivery(**DELIVERING).send_reports(most=most), {"most": 1}
    ),
    "AsyncDelivery.send_reports": Case(_delivering("send_reports"), {"most": 1}),
    "delivery.TLSReports": Case(
        delivery.TLSReports,
        {"path": "reports.db", "organization": "x", "contact": "a@x.test"},
        path=TEXTS,
        names={"contact": "contact|address"},
    ),
    "delivery.AddressPolicy": Case(delivery.AddressPolicy, allow={"empty"}),
    "delivery.AddressPolicy.allows": Case(
        delivery.AddressPolicy().allows, {"address": "192.0.2.1"}, address=TEXTS
    ),
    "delivery.DeliveryLimits": Case(delivery.DeliveryLimits, idle={"1.5"}, wait={"1.5"}),
    "delivery.NameServers": Case(
        delivery.NameServers, {"servers": "127.0.0.1"}, validating={"True"}
    ),
    "sansio.AsyncDriver": Case(AsyncDriver, {"to": URL}, names={"to": "URL|to"}, **DRIVER),
    "sansio.AsyncDriver.run": Case(
        _awaited(AsyncDriver, "run"), {"procedure": (_ for _ in ())}, timeout=NONE | {"1.5"}
    ),
    "sansio.dial": Case(dial, DIALLED, **DIALLING),
    "sansio.dial_async": Case(
        lambda **given: asyncio.run(dial_async(**given)), DIALLED, **DIALLING
    ),
    "sansio.Driver": Case(Driver, {"to": URL}, names={"to": "URL|to"}, **DRIVER),
    "sansio.Driver.run": Case(
        lambda **given: Driver(URL).run(**given),
        {"procedure": (_ for _ in ())},
        timeout=NONE | {"1.5"},
    ),
    "inbox.Inbox": Case(
        lambda **given: inbox.Inbox(**given).close(),
        {},
        store=NONE | TEXTS,
        release=NONE | {"class"},
        release_allow={"list", "dict"},
        dkim_keys=NONE,
    ),
    "inbox.Inbox.watch": Case(
        lambda **given: inbox.Inbox().watch(**given), {"server": testing.Server()}
    ),
    "inbox.app": Case(
        inbox.app,
        {"inbox": inbox.Inbox()},
        hosts={"list", "dict"},
        token=NONE | TEXTS,
        frame_ancestors=TEXTS,
    ),
    "testing.Mail": Case(testing.Mail, {"received": None}),
    "testing.MailTestCase.assertMailSent": Case(
        lambda **given: _only(timeout=0.01, **given),
        **WANTED,
    ),
    "testing.Mails": Case(testing.Mails, {"server": testing.Server()}),
    "testing.Mails.find": Case(
        testing.Mails(testing.Server()).find,
        **WANTED,
    ),
    "testing.Mails.only": Case(
        lambda **given: _only(**{"timeout": 0.01, **given}),
        timeout={"1.5"},
        **WANTED,
    ),
    "testing.Server.wait_for": Case(
        lambda **given: testing.Server().wait_for(**{"timeout": 0.01, **given}),
        {"condition": lambda: True},
        timeout={"1.5"},
        condition={"class"},
    ),
    "testing.codes_in": Case(lambda texts: testing.codes_in(texts), {"texts": "x"}, texts=TEXTS),
    "testing.links_in": Case(lambda texts: testing.links_in(texts), {"texts": "x"}, texts=TEXTS),
    "testing.fault_text": Case(testing.fault_text, {"fault": testing.Latency(1)}),
    "testing.read_fault": Case(
        testing.read_fault, {"text": "latency: 1"}, names={"text": "text|fault"}
    ),
    "testing.play": Case(
        testing.play, {"procedure": (_ for _ in ()), "script": "S: 220 x"}, script=TEXTS
    ),
    "testing.scram": Case(testing.scram, {"digest": "SHA-256"}, plus={"True"}),
    "services.at": Case(services.at, {"host": "mx.test"}, host=TEXTS),
    "verp.apart": Case(verp.apart, {"message": MESSAGE, "envelope": ENVELOPE}, message=set(WRONG)),
    "verp.decode": Case(verp.decode, {"address": "a@x.test"}, names={"address": "address"}),
    "verp.encode": Case(
        verp.encode,
        {"sender": "a@x.test", "recipient": "b@x.test"},
        names={"sender": "sender|address", "recipient": "recipient|address"},
    ),
}

# What smtpx makes and hands out is not looked at again: nothing of ours depends on another's copy.
MADE_BY_US = [
    "outbox.Counts",
    "outbox.Delivery",
    "outbox.Event",
    "outbox.Submission",
    "testing.MailTestCase",  # by unittest
    "testing.Said",
    "EnhancedStatusCode",
    "Finding",
    "Line",
    "MessageBegun",
    "MessageEnded",
    "Outcome",
    "PoolStatistics",
    "Protected",
    "Protection",
    "Reply",
    "SendResult",
    "SessionBegun",
    "SessionClosed",
    "SessionOpened",
    *("delivery.Attempt", "delivery.DeliveryOutcome", "delivery.DeliveryResult"),
    *("delivery.DeliveryFailed", "delivery.Exchanger", "delivery.Plan", "delivery.Terms"),
    "delivery.SentReport",
    "bounces.DeliveryReport",
    "bounces.Diagnostic",
    "bounces.FeedbackReport",
    "bounces.RecipientReport",
    "bounces.Returned",
    "sansio.Dialled",
    *("sansio.Receive", "sansio.Send", "sansio.StartTLS"),  # by procedures, all the time
    "services.Service",
    "testing.Answer",
    "testing.AuthContext",
    "testing.Command",
    "testing.Mailbox",
    "testing.Played",
    "testing.ReceivedMessage",
    "testing.SessionRecord",
    "verp.ReturnPath",
]
# Called by us, with what we have checked; or not for anybody else.
CALLED_BY_US = {"respond", "first"} | {
    *(
        "take",
        "reading",
        "findings",
        "signatures",
        "remove",
        "release",
        "wait_one",
    ),  # of the inbox, by its pages
    *("add", "greet", "receive_data", "answer", "refuse", "tls_agreed", "snapshot"),
}
# The standard library's module says what its names take, and is followed. `Mechanism` and its
# factory are what others write. For Django and Flask it is settings that are wrong: their own
# tests try them. A handler's methods are called by `logging`.
OTHERS = (
    "smtplib.",
    "sasl.Mechanism",
    "cli.",
    "integrations.django.",
    "integrations.flask.",
    "integrations.logs.MailHandler.",
)


KEYWORDS = {
    "Unpack[DeliveryOptions]": [*delivery.DeliveryOptions.__annotations__],
    "Unpack[SessionOptions]": [*SessionOptions.__annotations__],
    "Unpack[EnvelopeOptions]": [*smtpx.EnvelopeOptions.__annotations__],
    "Unpack[ClientAttributes]": [*ClientAttributes.__annotations__],
    "Unpack[OutboxOptions]": [*outbox.OutboxOptions.__annotations__],
    "Unpack[PutOptions]": [*outbox.PutOptions.__annotations__],
    "Unpack[_Changes]": [*inspect.signature(smtpx.Envelope).parameters],
}


def parameters_of(function: Any) -> list[str]:
    found: list[str] = []
    for name, parameter in inspect.signature(function).parameters.items():
        if name in ("self", "cls"):
            continue
        if parameter.kind is inspect.Parameter.VAR_KEYWORD:
            found += KEYWORDS[parameter.annotation]
        else:
            found.append(name)
    return found


def public_calls() -> dict[str, list[str]]:
    """The parameters of each public call, by its name."""
    calls: dict[str, list[str]] = {}
    seen: set[int] = set()
    rooms = pkgutil.iter_modules(smtpx.__path__)
    adapters = pkgutil.iter_modules(integrations.__path__, "integrations.")
    for module in ["", *(name for _, name, _ in (*rooms, *adapters) if name[0] != "_")]:
        try:
            home = importlib.import_module(f"smtpx.{module}".rstrip("."))
        except smtpx.ExtraMissing:
            continue
        for name in getattr(home, "__all__", ()):
            value = getattr(home, name)
            path = f"{module}.{name}".lstrip(".")
            if id(value) in seen or inspect.ismodule(value) or not callable(value):
                continue
            seen.add(id(value))
            if inspect.isfunction(value):
                calls[path] = parameters_of(value)
            if not isinstance(value, type):
                continue
            if issubclass(value, (enum.Enum, BaseException, dict)) or path.startswith(OTHERS):
                continue
            calls[path] = parameters_of(value)
            for method, function in vars(value).items():
                if isinstance(function, (classmethod, staticmethod)):
                    function = function.__func__
                if inspect.isfunction(function) and method[0] != "_" and method not in CALLED_BY_US:
                    calls[f"{path}.{method}"] = parameters_of(function)
    return {
        path: parameters
        for path, parameters in calls.items()
        if parameters and path not in MADE_BY_US and not path.startswith(OTHERS)
    }


CALLS = public_calls()


def test_no_public_call_is_forgotten() -> None:
    assert set(CASES) == set(CALLS)


# What is taken is not begun.
@pytest.mark.filterwarnings("ignore:.* was never iterated over")
@pytest.mark.parametrize(
    ("path", "parameter"),
    [(path, parameter) for path, parameters in CALLS.items() for parameter in parameters],
)
def test_what_is_wrong_is_named(
    path: str, parameter: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)  # for those that write a file
    case = CASES[path]
    allowed = case.allowed.get(parameter, set())
    named = case.names.get(parameter, parameter)
    for kind, value in WRONG.items():
        given = {**case.given, parameter: value}
        if kind in allowed:
            with contextlib.suppress(TypeError, ValueError, OSError, smtpx.SMTPError):
                case.call(**given)
            continue
        with pytest.raises((TypeError, ValueError, smtpx.SMTPError), match=named) as caught:
            pytest.fail(f"{path}({parameter}={value!r}) returned {case.call(**given)!r}")
        assert not isinstance(caught.value, OSError), kind
