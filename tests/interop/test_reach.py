"""PROXY protocol and XCLIENT at a real Postfix, LMTP at a real Dovecot, real proxies before it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

import pytest

import smtpx
from smtpx import Client, Envelope, ProxyHeader, Session, Status, TLSMode, TLSPolicy
from tests.interop.daemon import Daemon, free_ports, program
from tests.interop.lmtp import DOMAIN, DovecotLMTP

from .postfix import Postfix, added

pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("postfix")]

SENDER = "ann@example.org"
CONTENT = b"From: ann@example.org\r\nTo: someone@example.test\r\nSubject: interop\r\n\r\nhi\r\n"

SOURCES = {4: ("192.0.2.7", 40000), 6: ("2001:db8::7", 40000)}
DESTINATIONS = {4: ("198.51.100.1", 25), 6: ("2001:db8::1", 25)}
SHOWN = {4: b"[192.0.2.7]", 6: b"[IPv6:2001:db8::7]"}


def received(postfix: Postfix, recipient: str) -> bytes:
    (message,) = postfix.messages(recipient)
    return added(message)


@pytest.mark.parametrize("family", [4, 6])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("tls", [TLSMode.NONE, TLSMode.STARTTLS, TLSMode.IMPLICIT])
def test_postfix_takes_the_proxy_header(
    postfix: Postfix, tls: TLSMode, version: Literal[1, 2], family: int
) -> None:
    recipient = f"proxy-{tls.value}-{version}-{family}@example.test"
    header = ProxyHeader(version, SOURCES[family], DESTINATIONS[family])
    port = postfix.proxied_tls_port if tls is TLSMode.IMPLICIT else postfix.proxied_port
    policy = TLSPolicy(tls, ca_file=None if tls is TLSMode.NONE else postfix.ca_file)
    with Session(f"smtp://localhost:{port}", tls=policy, proxy_header=header) as session:
        assert session.send(CONTENT, Envelope(SENDER, recipient)).error is None
    assert SHOWN[family] in received(postfix, recipient)


def test_a_client_says_it_on_each_connection(postfix: Postfix) -> None:
    header = ProxyHeader(2, SOURCES[4], DESTINATIONS[4])
    messages = [(CONTENT, Envelope(SENDER, f"proxies{i}@example.test")) for i in range(4)]
    url = f"smtp://127.0.0.1:{postfix.proxied_port}?tls=none"
    with Client(url, proxy_header=header) as client:
        results = list(client.send_many(messages, connections=2))
    assert [result.error for result in results] == [None] * 4
    for i in range(4):
        assert SHOWN[4] in received(postfix, f"proxies{i}@example.test")


class TestXCLIENT:
    def open(self, postfix: Postfix, **options: object) -> Session:
        return Session(f"smtp://localhost:{postfix.xclient_port}", **options)  # type: ignore[arg-type]

    @pytest.mark.parametrize("family", [4, 6])
    def test_the_message_is_from_that_client(self, postfix: Postfix, family: int) -> None:
        recipient = f"xclient-{family}@example.test"
        with self.open(postfix, tls=TLSPolicy(TLSMode.NONE), client_name="us.test") as session:
            reply = session.xclient(
                name="spike.example.org", addr=SOURCES[family][0], port=SOURCES[family][1]
            )
            assert reply.code == 250
            assert session.greeting is not None
            assert session.greeting.code == 220
            assert session.extensions.pipelining
            assert session.send(CONTENT, Envelope(SENDER, recipient)).error is None
        trace = received(postfix, recipient)
        assert b"from us.test (spike.example.org " + SHOWN[family] in trace

    def test_every_attribute_that_it_offers(self, postfix: Postfix) -> None:
        policy = TLSPolicy(TLSMode.STARTTLS, ca_file=postfix.ca_file)
        with self.open(postfix, tls=policy) as session:
            offered = session.extensions.keywords["XCLIENT"].split()
            assert {"NAME", "ADDR", "PORT", "PROTO", "HELO", "LOGIN"} <= set(offered)
            _ = session.xclient(
                name="spike.example.org",
                reverse_name=None,
                addr="192.0.2.7",
                port=40000,
                destaddr="198.51.100.1",
                destport=25,
                proto="ESMTP",
                helo="spike.example.org",
                login="ann+tag=x",
            )
            # Who it is said to be has logged in, and may relay.
            assert session.send(CONTENT, Envelope(SENDER, "bob@elsewhere.test")).error is None

    def test_after_starttls(self, postfix: Postfix) -> None:
        policy = TLSPolicy(TLSMode.STARTTLS, ca_file=postfix.ca_file)
        with self.open(postfix, tls=policy) as session:
            _ = session.xclient(addr="192.0.2.7", name=None)
            assert session.protection is not None
            recipient = "xclient-tls@example.test"
            assert session.send(CONTENT, Envelope(SENDER, recipient)).error is None
        assert b"(unknown [192.0.2.7])" in received(postfix, recipient)

    def test_in_a_transaction_it_is_refused(self, postfix: Postfix) -> None:
        with self.open(postfix, tls=TLSPolicy(TLSMode.NONE)) as session:
            assert session.command("MAIL FROM:<a@b.test>").positive
            with pytest.raises(smtpx.ReplyError, match="503"):
                _ = session.xclient(addr="192.0.2.7")
            assert session.is_open

    def test_where_it_is_not_offered(self, postfix: Postfix) -> None:
        with Session(f"smtp://127.0.0.1:{postfix.port}?tls=none") as session:
            with pytest.raises(smtpx.ExtensionMissing, match="XCLIENT"):
                _ = session.xclient(addr="192.0.2.7")
            assert session.noop().positive


@pytest.fixture(scope="module")
def lmtp() -> Iterator[DovecotLMTP]:
    reason = DovecotLMTP.missing()
    if reason is not None:
        pytest.skip(reason)
    with DovecotLMTP() as lmtp:
        yield lmtp


@pytest.mark.requirement("RFC 2033 §4.2")
@pytest.mark.parametrize("way", ["tcp", "unix"])
class TestLMTP:
    def url(self, lmtp: DovecotLMTP, way: str) -> str:
        return f"lmtp://127.0.0.1:{lmtp.port}" if way == "tcp" else f"lmtp+unix://{lmtp.path}"

    def test_each_recipient_has_its_reply(self, lmtp: DovecotLMTP, way: str) -> None:
        names = ["ann", "nobody-here", "full", "bob"]
        before = {name: len(lmtp.messages(name)) for name in names}
        with Session(self.url(lmtp, way)) as session:
            result = session.send(CONTENT, Envelope(SENDER, [f"{name}@{DOMAIN}" for name in names]))
            statuses = [outcome.status for outcome in result.outcomes]
            assert statuses == [Status.ACCEPTED, Status.REFUSED, Status.REFUSED, Status.ACCEPTED]
            codes = [outcome.reply.code for outcome in result.outcomes if outcome.reply]
            assert codes == [250, 550, 552, 250]
            # And it is still in step.
            assert session.send(CONTENT, Envelope(SENDER, f"bob@{DOMAIN}")).error is None
        after = {name: len(lmtp.messages(name)) - before[name] for name in names}
        assert after == {"ann": 1, "nobody-here": 0, "full": 0, "bob": 2}
        assert lmtp.messages("ann")[-1].endswith(CONTENT.replace(b"\r\n", b"\n"))

    def test_nobody_accepted_after_the_end_of_data(self, lmtp: DovecotLMTP, way: str) -> None:
        with Session(self.url(lmtp, way)) as session:
            with pytest.raises(smtpx.ContentRefused, match="552"):
                _ = session.send(CONTENT, Envelope(SENDER, f"full@{DOMAIN}"))
            assert session.is_open

    def test_many(self, lmtp: DovecotLMTP, way: str) -> None:
        before = len(lmtp.messages("ann"))
        envelope = Envelope(SENDER, [f"{name}@{DOMAIN}" for name in ("ann", "full", "unknown")])
        with Client(self.url(lmtp, way)) as client:
            results = list(client.send_many([(CONTENT, envelope)] * 20))
        for result in results:
            assert [outcome.status for outcome in result.outcomes] == [
                Status.ACCEPTED,
                Status.REFUSED,
                Status.REFUSED,
            ]
        assert len(lmtp.messages("ann")) == before + 20

    def test_a_group_that_is_refused_whole(self, lmtp: DovecotLMTP, way: str) -> None:
        with Session(self.url(lmtp, way)) as session:
            with pytest.raises(smtpx.RecipientsRefused):
                _ = session.send(CONTENT, Envelope(SENDER, [f"x@{DOMAIN}", f"y@{DOMAIN}"]))
            assert session.send(CONTENT, Envelope(SENDER, f"ann@{DOMAIN}")).error is None


_TINYPROXY = """\
Port {port}
Listen 127.0.0.1
Timeout 60
BasicAuth user secret
LogFile "{directory}/tinyproxy.log"
PidFile "{directory}/tinyproxy.pid"
Allow 127.0.0.1
"""
_DANTE = """\
logoutput: {directory}/danted.log
internal: 127.0.0.1 port = {port}
external: 127.0.0.1
socksmethod: none
clientmethod: none
user.privileged: root
user.unprivileged: nobody
client pass {{ from: 127.0.0.0/8 to: 127.0.0.0/8 }}
socks pass {{ from: 127.0.0.0/8 to: 0.0.0.0/0 log: error }}
"""


@pytest.fixture
def proxy(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[str]:
    """The URL of a real proxy, started for the test."""
    kind: str = request.param
    name, who = {
        "socks5": ("microsocks", "user:secret@"),
        "http": ("tinyproxy", "user:secret@"),
    }.get(kind, ("danted", "user@"))
    binary = program(name)
    if binary is None:
        pytest.skip(f"{name} is not installed")
    (port,) = free_ports("127.0.0.1", 1)
    configuration = tmp_path / f"{name}.conf"
    template = _TINYPROXY if name == "tinyproxy" else _DANTE
    configuration.write_text(template.format(port=port, directory=tmp_path), "utf-8")
    arguments = {
        "microsocks": ["-i", "127.0.0.1", "-p", str(port), "-u", "user", "-P", "secret"],
        "tinyproxy": ["-d", "-c", str(configuration)],
        "danted": ["-f", str(configuration)],
    }[name]
    logs = [tmp_path / f"{name}.log"]
    with Daemon([binary, *arguments], tmp_path, logs) as daemon:
        daemon.wait_until_ready(lambda: _listens(port))
        yield f"{kind}://{who}127.0.0.1:{port}"


def _listens(port: int) -> bool:
    import socket

    try:
        socket.create_connection(("127.0.0.1", port), 5).close()
    except OSError:
        return False
    return True


@pytest.mark.parametrize("proxy", ["socks5", "socks4a", "http"], indirect=True)
@pytest.mark.parametrize("tls", [TLSMode.NONE, TLSMode.STARTTLS, TLSMode.IMPLICIT])
def test_through_real_proxies(postfix: Postfix, proxy: str, tls: TLSMode) -> None:
    recipient = f"through-{proxy.partition(':')[0]}-{tls.value}@example.test"
    port = postfix.tls_port if tls is TLSMode.IMPLICIT else postfix.port
    policy = TLSPolicy(tls, ca_file=None if tls is TLSMode.NONE else postfix.ca_file)
    # Dante speaks SOCKS4, which has no names.
    host = "127.0.0.1" if proxy.startswith("socks4a") else "localhost"
    with Session(f"smtp://{host}:{port}", tls=policy, proxy=proxy) as session:
        assert session.send(CONTENT, Envelope(SENDER, recipient)).error is None
    assert len(postfix.messages(recipient)) == 1
