"""Connections that differ in anything are never shared.

A pool has no key: a `Client` is the key. It has one endpoint and one set of settings for life, and
a pool of its own.
"""

from __future__ import annotations

import dataclasses
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx import (
    Check,
    Client,
    ClientCertificate,
    Credentials,
    Endpoint,
    Envelope,
    Limits,
    Pin,
    PinKind,
    PoolLimits,
    ProxyHeader,
    Timeouts,
    TLSMode,
    TLSPolicy,
    TLSVersion,
)
from smtpx._faces.keywords import SessionOptions
from smtpx._faces.settings import Settings
from smtpx.testing import Server, ServerTLS
from smtpx.testing._tls import Authority

CONTENT = b"Subject: hi\r\n\r\nhello\r\n"
ENVELOPE = Envelope("ann@example.org", "bob@example.net")
CONTEXT = ssl.create_default_context()
ENDPOINT = Endpoint("mail.example.org", 25)
POLICY = TLSPolicy(TLSMode.STARTTLS)

# One thing changed at a time: in the endpoint, in the policy, in the other settings.
ENDPOINTS: dict[str, Any] = {
    "host": "mx.example.org",
    "port": 26,
    "tls": TLSMode.IMPLICIT,
    "lmtp": True,
    "path": "/run/lmtp",
    "user": "ann",
    "password": "secret",
    "ca_file": "ca.pem",
    "server_hostname": "mx.example.org",
    "minimum_version": TLSVersion.TLS_1_3,
    "pins": (Pin(PinKind.CERTIFICATE, bytes(32)),),
}
POLICIES: dict[str, Any] = {
    "mode": TLSMode.IMPLICIT,
    "ca_file": "ca.pem",
    "context": CONTEXT,
    "server_hostname": "mx.example.org",
    "minimum_version": TLSVersion.TLS_1_3,
    "pins": Pin(PinKind.CERTIFICATE, bytes(32)),
    "pins_suffice": True,
    "client_certificate": ClientCertificate("client.pem"),
}
OPTIONS: dict[str, Any] = {
    "tls": POLICY,
    "credentials": Credentials("ann", "secret"),
    "client_name": "client.example.org",
    "source_address": ("127.0.0.1", 0),
    "proxy": "socks5://127.0.0.1",
    "proxy_header": ProxyHeader(1, ("192.0.2.1", 1), ("192.0.2.2", 25)),
    "timeout": 7,
    "timeouts": Timeouts.each(7),
    "limits": Limits(window=512),
    "ignore_extensions": {"CHUNKING"},
    "observer": print,
    "check": Check.FIX,
    "signer": bytes.upper,
    "mechanisms": ["PLAIN"],
}
# A password or a token: the other credentials of a table, whole.
CREDENTIALS: dict[str, Credentials] = {
    "user": Credentials("bob", "secret"),
    "password": Credentials("ann", "other"),
    "token": Credentials("ann", token="secret"),
    "authzid": Credentials("ann", "secret", authzid="bob"),
}
# What an option is called in `Settings`, where it is not the same.
KEPT_AS = {
    "source_address": "sources",
    "timeout": "timeouts",
    "ignore_extensions": "ignored",
}


def test_the_tables_are_complete():
    assert {field.name for field in dataclasses.fields(Endpoint)} == set(ENDPOINTS)
    assert {field.name for field in dataclasses.fields(TLSPolicy)} == set(POLICIES)
    assert {field.name for field in dataclasses.fields(Credentials)} == set(CREDENTIALS)
    assert set(SessionOptions.__annotations__) == set(OPTIONS)
    kept = {KEPT_AS.get(name, name) for name in OPTIONS}
    assert {field.name for field in dataclasses.fields(Settings)} == {"endpoint", *kept}


@pytest.mark.parametrize("name", ENDPOINTS)
def test_another_endpoint(name: str):
    given: Any = {"user": "bob", "password": "s3cret"}
    plain = Endpoint("mail.example.org", 25, **given)
    instead: dict[str, Any] = {"host": "", "port": 0} if name == "path" else {}
    other = dataclasses.replace(plain, **instead, **{name: ENDPOINTS[name]})
    assert Settings.of(plain) == Settings.of(dataclasses.replace(plain))
    assert Settings.of(other) != Settings.of(plain)


@pytest.mark.parametrize("name", POLICIES)
def test_another_policy(name: str):
    # Pins alone suffice only where there are some.
    given: dict[str, Any] = {"pins": POLICIES["pins"]} if name == "pins_suffice" else {}
    policy = dataclasses.replace(POLICY, **given)
    other = dataclasses.replace(policy, **{name: POLICIES[name]})
    same = TLSPolicy(TLSMode.STARTTLS, **given)
    assert Settings.of(ENDPOINT, tls=same) == Settings.of(ENDPOINT, tls=policy)
    assert Settings.of(ENDPOINT, tls=other) != Settings.of(ENDPOINT, tls=policy)


@pytest.mark.parametrize("name", [field.name for field in dataclasses.fields(ClientCertificate)])
def test_another_client_certificate(name: str):
    ann = ClientCertificate("ann.pem", "ann.key", "secret")
    policies = [
        TLSPolicy(TLSMode.STARTTLS, client_certificate=certificate)
        for certificate in (ann, dataclasses.replace(ann, **{name: "other"}))
    ]
    assert Settings.of(ENDPOINT, tls=policies[0]) != Settings.of(ENDPOINT, tls=policies[1])


@pytest.mark.parametrize("name", OPTIONS)
def test_another_option(name: str):
    # How to log in is said only with who does.
    usual: Any = {"credentials": CREDENTIALS["user"]} if name == "mechanisms" else {}
    options: Any = {**usual, name: OPTIONS[name]}
    assert Settings.of(ENDPOINT, **options) == Settings.of(ENDPOINT, **options)
    assert Settings.of(ENDPOINT, **options) != Settings.of(ENDPOINT, **usual)


@pytest.mark.parametrize("name", CREDENTIALS)
def test_other_credentials(name: str):
    ann = Credentials("ann", "secret")
    other = CREDENTIALS[name]
    assert Settings.of(ENDPOINT, credentials=other) != Settings.of(ENDPOINT, credentials=ann)


def certificate_of(server: Server) -> Pin:
    tls = TLSPolicy(TLSMode.STARTTLS, ca_file=server.ca_file)
    with smtpx.Session(f"smtp://127.0.0.1:{server.port}", tls=tls) as session:
        assert session.protection is not None
        return Pin.of(PinKind.CERTIFICATE, session.protection.certificate)


def clients(server: Server) -> Iterator[tuple[str, Client]]:
    """A client, one in all like it, and one for each thing that can be changed with this server."""
    trusting = TLSPolicy(TLSMode.STARTTLS, ca_file=server.ca_file)
    ann = Credentials("ann", "secret")
    url = f"smtp://127.0.0.1:{server.port}"
    usual: Any = {"tls": trusting, "credentials": ann}
    pin = certificate_of(server)
    changed: dict[str, Any] = {
        "nothing": {},
        "credentials": {"credentials": Credentials("bob", "secret")},
        "no credentials": {"credentials": None},
        "client_name": {"client_name": "client.example.org"},
        "source_address": {"source_address": ("127.0.0.1", 0)},
        "timeouts": {"timeouts": Timeouts.each(7)},
        "limits": {"limits": Limits(window=512)},
        "observer": {"observer": [].append},
        "signer": {"signer": lambda content: b"X-Signed: yes\r\n" + content},
        "no tls": {"tls": TLSPolicy(TLSMode.NONE)},
        "server_hostname": {"tls": dataclasses.replace(trusting, server_hostname="localhost")},
        "context": {"tls": TLSPolicy(TLSMode.STARTTLS, context=server.client_context())},
        "minimum_version": {
            "tls": dataclasses.replace(trusting, minimum_version=TLSVersion.TLS_1_3)
        },
        "pins": {"tls": dataclasses.replace(trusting, pins=(pin,))},
        "pins_suffice": {"tls": TLSPolicy(TLSMode.STARTTLS, pins=pin, pins_suffice=True)},
    }
    yield "the first", Client(url, **usual)
    for name, options in changed.items():
        yield name, Client(url, **{**usual, **options})
    yield "host", Client(f"smtp://localhost:{server.port}", **usual)


@pytest.mark.requirement("T16")
def test_no_two_clients_share_a_connection():
    with Server(tls=ServerTLS.STARTTLS, users={"ann": "secret", "bob": "secret"}) as server:
        with ExitStack() as stack:
            several = {name: stack.enter_context(client) for name, client in clients(server)}
            # Each has a connection that is idle by the time the others ask for one.
            for _ in range(3):
                for client in several.values():
                    assert client.send(CONTENT, ENVELOPE).error is None
            for name, client in several.items():
                statistics = client.statistics()
                assert (statistics.opened, statistics.reused) == (1, 2), name
        _, *sessions = server.wait_until_idle()  # The first only looked at the certificate.
        assert len(sessions) == len(several)
        assert not any(session.tls_resumed for session in sessions)
        in_session = {session.number: 0 for session in sessions}
        for message in server.messages:
            in_session[message.session] += 1
        assert set(in_session.values()) == {3}
        of = dict(zip(several, sessions, strict=True))
        assert of["credentials"].user == "bob"
        assert of["no credentials"].user is None
        assert of["no tls"].tls_version is None
        assert of["server_hostname"].server_name == "localhost"
        assert of["client_name"].commands[0] == "EHLO client.example.org"


@pytest.mark.requirement("T17")
@pytest.mark.parametrize("tls", [ServerTLS.IMPLICIT, ServerTLS.STARTTLS])
def test_a_tls_session_is_resumed_by_its_own_client_alone(tls: ServerTLS):
    """The clients share a context, and the third the name of the first; yet none shares more."""
    authority = Authority(["localhost", "127.0.0.1"], expired=False)
    trusting = TLSPolicy(TLSMode(tls.value), context=authority.client_context())
    with Server(tls=tls, server_context=authority.server_context) as server:
        for name in ("localhost", "127.0.0.1", "localhost"):
            policy = dataclasses.replace(trusting, server_hostname=name)
            with Client(server.url, tls=policy, pool=PoolLimits(messages=1)) as client:
                for _ in range(2):
                    assert client.send(CONTENT, ENVELOPE).error is None
        assert len(server.wait_until_idle()) == 6
    statistics = authority.server_context.session_stats()
    # Of the two connections of each client, the second goes on with the session of the first.
    assert (statistics["accept_good"], statistics["hits"]) == (6, 3)
    authority.close()


def test_another_port_path_or_protocol_is_another_server(tmp_path: Path):
    with ExitStack() as stack:
        servers = [
            stack.enter_context(Server(**options))
            for options in ({}, {}, {"lmtp": True}, {"lmtp": True, "path": tmp_path / "s"})
        ]
        several = [
            stack.enter_context(Client(server.url, tls=TLSPolicy(TLSMode.NONE)))
            for server in servers
        ]
        for _ in range(2):
            for client in several:
                assert client.send(CONTENT, ENVELOPE).error is None
        assert [len(server.messages) for server in servers] == [2] * 4
        assert [len(server.sessions) for server in servers] == [1] * 4


def test_a_clients_settings_cannot_be_changed():
    client = Client("smtp://localhost")
    assert not [name for name in vars(client) if not name.startswith("_")]
    with pytest.raises(dataclasses.FrozenInstanceError):
        Settings.of(ENDPOINT).client_name = "other"  # type: ignore[misc] # that is the point
    assert isinstance(client, smtpx.Client)
