"""``smtpx doctor`` against servers that are broken in each way (U6, U11, U12)."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
import trustme

import smtpx
from smtpx.cli import _examination
from smtpx.testing import (
    SCRAM_MECHANISMS,
    STANDARD_MECHANISMS,
    USUAL_EXTENSIONS,
    Drip,
    Extension,
    Server,
    ServerTLS,
    Stall,
)

from .command import Done
from .conftest import Run

STARTTLS = "?tls=starttls"


def rows(done: Done) -> dict[str, tuple[str, str]]:
    (target,) = done.json["targets"]
    return {row["name"]: (row["verdict"], row["text"]) for row in target["rows"]}


def test_a_good_server(run: Run) -> None:
    mechanisms = (*SCRAM_MECHANISMS, *STANDARD_MECHANISMS)
    with Server(
        tls=ServerTLS.STARTTLS, users={"ann": "x"}, mechanisms=mechanisms, auth_needs_tls=True
    ) as server:
        done = run("doctor", "--json", f"{server.url}{STARTTLS}&ca={server.ca_file}")
        server.wait_until_idle()
        assert all("MAIL" not in line for each in server.sessions for line in each.commands)
        # It has tried what no client may do, and nothing else.
        (breach,) = server.breaches
        assert "'NOOP\\r\\n' sent before the reply to STARTTLS" in breach
    assert done.code == 0, done.out
    found = rows(done)
    assert found["tls.version"][1].startswith("TLSv1.3")
    assert found["tls.certificate"][0] == "ok"
    assert found["tls.old_versions"] == ("ok", "nothing older than TLS 1.2")
    assert found["starttls.injection"][0] == "ok"
    assert "starttls.again" not in found
    assert "smtpx would use SCRAM-SHA-" in found["auth.mechanisms"][1]
    (target,) = done.json["targets"]
    assert list(target["times_ms"]) == ["dns", "connect", "greeting", "hello", "starttls", "tls"]
    assert target["round_trips"] == 1
    assert target["tls"]["verified"] is True


def test_a_service_is_asked_by_its_name(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    look_up = socket.getaddrinfo
    with Server(tls=ServerTLS.IMPLICIT, users={"ann@gmail.com": "app-password"}) as server:

        def found(host: Any, port: Any, *others: Any, **options: Any) -> Any:
            there = (host, port) == ("smtp.gmail.com", 465)
            host, port = ("127.0.0.1", server.port) if there else (host, port)
            return look_up(host, port, *others, **options)

        monkeypatch.setattr(socket, "getaddrinfo", found)
        by_name = run("doctor", "--json", "gmail")
        monkeypatch.setenv("SMTPX_PASSWORD", "hunter2")
        url = f"gmail://ann@gmail.com?ca={quote(str(server.ca_file), '')}&server_hostname=127.0.0.1"
        refused = run("doctor", "--json", "--login", url)
        unseen = run("doctor", "--json", f"smtp://127.0.0.1:{server.port}?tls=none")
    assert by_name.code == 77, "it has another certificate than Gmail's"
    (target,) = by_name.json["targets"]
    assert target["server"] == "smtp.gmail.com:465"
    verdict, text = rows(by_name)["service.login"]
    assert verdict == "note"
    assert "app password" in text
    assert "500 messages a day" in rows(by_name)["service.limits"][1]
    assert "https://developers.google.com/" in rows(by_name)["service.page"][1]
    assert refused.code == 77
    assert "Gmail wants the whole address as user" in str(rows(refused))
    assert "service.login" not in rows(unseen)


def foreign_context(**options: Any) -> ssl.SSLContext:
    """Of an authority that nobody here knows; with `options` of `trustme`'s."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    trustme.CA().issue_cert("localhost", "127.0.0.1", **options).configure_cert(context)
    return context


TLS_FAULTS: dict[str, tuple[dict[str, Any], str, str]] = {
    "expired": ({"certificate_expired": True}, "tls.certificate_expired", "expired"),
    "another name": (
        {"certificate_names": ["mx.example.org"]},
        "tls.certificate_of_another_host",
        "mx.example.org",
    ),
}


@pytest.mark.parametrize("tls", [ServerTLS.STARTTLS, ServerTLS.IMPLICIT])
@pytest.mark.parametrize(("behaviour", "row", "said"), TLS_FAULTS.values(), ids=TLS_FAULTS)
def test_u6_a_certificate_that_is_wrong(
    behaviour: dict[str, Any], row: str, said: str, tls: ServerTLS, run: Run
) -> None:
    with Server(tls=tls, **behaviour) as server:
        mark = "&" if tls is ServerTLS.STARTTLS else "?"
        query = f"{STARTTLS if tls is ServerTLS.STARTTLS else ''}{mark}ca={server.ca_file}"
        done = run("doctor", "--json", f"{server.url}{query}")
    assert done.code == 77
    found = rows(done)
    assert found[row][0] == "fail"
    assert said in found[row][1]
    # The certificate is shown all the same, and the rest is looked at.
    assert "issued by" in found["tls.certificate"][1]
    assert "extensions" in found


@pytest.mark.parametrize("options", [{}, {"certificate_names": ["other.test"]}])
@pytest.mark.parametrize("command", ["doctor", "send"])
def test_u6_what_to_do_is_said_in_the_words_of_urls(
    options: dict[str, Any], command: str, run: Run, home: Path
) -> None:
    with Server(tls=ServerTLS.IMPLICIT, **options) as server:
        ca = f"?ca={server.ca_file}" if options else ""
        words = ["letter.eml"] if command == "send" else []
        done = run(command, f"{server.url.replace('127.0.0.1', 'localhost')}{ca}", *words)
    assert done.code == 77
    assert ("?server_hostname=NAME" if options else "by ?ca=FILE in the URL") in done.out + done.err
    assert "TLSPolicy" not in done.out + done.err


def test_u6_an_authority_that_nobody_knows(run: Run) -> None:
    with Server(tls=ServerTLS.STARTTLS) as server:
        done = run("doctor", "--json", f"{server.url}{STARTTLS}")
    assert done.code == 77
    found = rows(done)
    assert "tls.unknown_authority" in found
    assert "an intermediate may be missing" in found["tls.chain"][1]


def test_u6_a_certificate_that_vouches_for_itself(run: Run, tmp_path: Path) -> None:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(self_signed(tmp_path))
    with Server(tls=ServerTLS.STARTTLS, server_context=context) as server:
        done = run("doctor", "--json", f"{server.url}{STARTTLS}")
    assert done.code == 77
    found = rows(done)
    assert "tls.certificate_self_signed" in found
    assert "vouches for itself" in found["tls.chain"][1]


def self_signed(folder: Path) -> Path:
    from datetime import UTC, datetime, timedelta

    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric.ec import SECP256R1, generate_private_key
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
    from cryptography.x509.oid import NameOID

    key = generate_private_key(SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "localhost")])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=90))
        .sign(key, SHA256())
    )
    path = folder / "self.pem"
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    _ = path.write_bytes(pem + certificate.public_bytes(Encoding.PEM))
    return path


def test_u6_plain_text_where_tls_should_begin(run: Run) -> None:
    with Server() as server:
        done = run("doctor", "--json", server.url.replace("smtp:", "smtps:"))
    assert done.code == 77
    assert rows(done)["tls.not_tls"][0] == "fail"


def test_u6_tls_where_plain_text_should_begin(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_examination, "_PATIENCE", 0.5)
    with Server(tls=ServerTLS.IMPLICIT) as server:
        done = run("doctor", "--json", server.url.replace("smtps:", "smtp:"))
    assert done.code == 77
    assert "use smtps://" in rows(done)["tls.tls_expected"][1]


@contextmanager
def talker(greeting: bytes, answer: bytes = b"") -> Iterator[str]:
    """Something that is no mail server: what it says first, and what it answers."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        listener.settimeout(0.2)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    peer, _ = listener.accept()
                except TimeoutError:
                    continue
                with peer:
                    peer.settimeout(2)
                    try:
                        peer.sendall(greeting)
                        if peer.recv(1000) and answer:
                            peer.sendall(answer)
                    except OSError:
                        pass

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"smtp://127.0.0.1:{listener.getsockname()[1]}"
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize("query", ["", "?tls=starttls"])
def test_u6_an_alert_of_tls_where_plain_text_should_begin(query: str, run: Run) -> None:
    """As of a server that waits no longer for a handshake."""
    with talker(b"\x15\x03\x01\x00\x02\x02\x0a") as url:
        done = run("doctor", "--json", f"{url}{query}")
    assert done.code == 77
    assert "use smtps://" in rows(done)["tls.tls_expected"][1]


@pytest.mark.parametrize(
    ("name", "greeting", "answer"),
    [
        ("IMAP", b"* OK IMAP4rev1 ready\r\n", b""),
        ("POP3", b"+OK ready\r\n", b""),
        ("SSH", b"SSH-2.0-OpenSSH_9.2\r\n", b""),
        ("HTTP", b"", b"HTTP/1.0 400 Bad Request\r\n\r\n"),
    ],
)
def test_other_protocols_by_name(
    name: str, greeting: bytes, answer: bytes, run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_examination, "_PATIENCE", 0.5)
    with talker(greeting, answer) as url:
        done = run("doctor", "--json", url)
    assert done.code == 76
    assert f"the server speaks {name} on this port" in rows(done)["session"][1]


def test_u11_a_login_by_exit_code_alone(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    with Server(users={"ann": "right-password"}) as server:
        monkeypatch.setenv("SMTPX_URL", server.url.replace("//", "//ann:right-password@"))
        good = run("doctor", "--login", "-q")
        monkeypatch.setenv("SMTPX_URL", server.url.replace("//", "//ann:wrong-password@"))
        bad = run("doctor", "--login", "-q")
        server.wait_until_idle()
        said = [line for each in server.sessions for line in each.commands]
        assert not any(line.startswith("MAIL") for line in said)
    assert (good.code, good.out, good.err) == (0, "", "")
    assert (bad.code, bad.out) == (77, "")
    assert "535" in bad.err
    assert "wrong-password" not in bad.err


def test_a_recipient(run: Run) -> None:
    gone = {"gone@example.net": "550 5.1.1 No such user", "busy@example.net": "451 4.2.1 Later"}
    with Server(refuse_recipients=gone) as server:
        found = {
            who: rows(run("doctor", "--json", server.url, "--rcpt", f"{who}@example.net"))["rcpt"]
            for who in ("bob", "gone", "busy")
        }
        server.wait_until_idle()
        assert server.breaches == []
        assert all(each.commands[-2] == "RSET" for each in server.sessions)
    assert found["bob"][0] == "ok"
    assert "for good" in found["gone"][1]
    assert "try again later" in found["busy"][1]


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ("pipelining, CHUNKING, size>=20M", 0),
        ("auth:plain", 0),
        ("auth:SCRAM-SHA-256", 1),
        ("starttls", 1),
        ("size>=80M", 1),
        ("days>=14", 1),
        ("tls>=1.2", 1),
        ("size>=big", 2),
        ("what is this", 2),
    ],
)
def test_expectations(terms: str, code: int, run: Run) -> None:
    with Server(users={"ann": "x"}, size_limit=50 * 2**20) as server:
        done = run("doctor", server.url, "--expect", terms)
    assert done.code == code


def test_expectations_of_tls(run: Run) -> None:
    with Server(tls=ServerTLS.STARTTLS) as server:
        url = f"{server.url}{STARTTLS}&ca={server.ca_file}"
        assert run("doctor", url, "--expect", "starttls, tls>=1.2, days>=1").code == 0
        assert run("doctor", url, "--expect", "days>=200").code == 1
        assert run("doctor", url, "--fail-on", "warn", "--days", "200").code == 1
        assert run("doctor", url, "--fail-on", "warn").code == 0  # more than 21 days are left


NO_CHUNKING = USUAL_EXTENSIONS - {Extension.CHUNKING, Extension.BINARYMIME}


@pytest.mark.parametrize("lmtp", [False, True])
@pytest.mark.parametrize(
    ("extensions", "trips"),
    [
        (USUAL_EXTENSIONS, {False: 1, True: 2}),
        (NO_CHUNKING, {False: 2, True: 2}),
        (USUAL_EXTENSIONS - {Extension.PIPELINING}, {False: 4, True: 4}),
        (frozenset(), {False: 4, True: 4}),
    ],
)
def test_what_a_message_costs_is_what_it_costs(
    extensions: Any, trips: dict[bool, int], lmtp: bool, run: Run
) -> None:
    with Server(extensions=extensions, lmtp=lmtp) as server:
        (target,) = run("doctor", "--json", server.url).json["targets"]
        assert target["round_trips"] == trips[lmtp]
        assert run("send", server.url, "letter.eml").code == 0
        server.wait_until_idle()
        # The greeting is no round trip; EHLO and QUIT are one each.
        assert server.sessions[-1].round_trips == trips[lmtp] + 2


def test_u12_it_says_which_port_it_chose(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    from smtpx.cli import doctor

    with Server() as server:
        monkeypatch.setattr(doctor, "_PORTS", (1, server.port))
        done = run("doctor", "localhost")
        assert done.code == 0, done.out
    assert f"localhost:{server.port}  (no port was named: the first of 1, {server.port}" in done.out


def test_a_host_that_is_not_there(run: Run) -> None:
    done = run("doctor", "--json", "--port", "25", "no-such-host.invalid")
    assert done.code in (68, 75)  # 75 where the machine has no resolver
    assert rows(done)["dns.resolves"][0] == "fail"


def test_a_server_that_says_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_examination, "_PATIENCE", 0.3)
    with Server(faults=[Stall("GREETING")]) as server:
        done = run("doctor", "--json", server.url)
    assert done.code == 74
    assert "greeting" in rows(done)["session"][1]


def answered(read: Any, write: Any, over: bytes = b"") -> bytes:
    """Answer what is `over` and what comes; return what is left where TLS is asked for."""
    replies = {b"QUIT": b"221 Bye\r\n", b"EHLO": b"250-x\r\n250 STARTTLS\r\n"}
    while True:
        line, end, over = over.partition(b"\n")
        if not end:
            more = read(1000)
            if not more:
                return b""
            over = line + more
            continue
        if line.startswith(b"STARTTLS"):
            write(b"220 Go ahead\r\n")
            return over
        write(replies.get(line[:4], b"250 Ok\r\n"))


@contextmanager
def injectable(*, obeys: bool) -> Iterator[str]:
    """A server that forgets to forget what came before TLS, as many did in 2011."""
    authority, context = trustme.CA(), ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("localhost", "127.0.0.1").configure_cert(context)

    def answer(peer: socket.socket) -> None:
        with peer:
            peer.settimeout(30)
            try:
                peer.sendall(b"220 here\r\n")
                left = answered(peer.recv, peer.sendall)
                with context.wrap_socket(peer, server_side=True) as stream:
                    _ = answered(stream.recv, stream.sendall, left if obeys else b"")
            except OSError:
                pass

    # The doctor asks it again while its first session is open.
    with socket.create_server(("127.0.0.1", 0)) as listener, ThreadPoolExecutor(8) as pool:
        listener.settimeout(0.2)
        over = threading.Event()

        def serve() -> None:
            while not over.is_set():
                try:
                    _ = pool.submit(answer, listener.accept()[0])
                except TimeoutError:
                    continue

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield f"smtp://127.0.0.1:{listener.getsockname()[1]}{STARTTLS}"
        finally:
            over.set()
            thread.join()


@pytest.mark.parametrize(("obeys", "verdict"), [(True, "fail"), (False, "ok")])
def test_what_is_slipped_in_behind_starttls(obeys: bool, verdict: str, run: Run) -> None:
    with injectable(obeys=obeys) as url:
        found = rows(run("doctor", "--json", url))
    assert found["starttls.injection"][0] == verdict
    assert found["starttls.again"][0] == "warn"


def test_auth_before_tls_is_a_warning(run: Run) -> None:
    with Server(tls=ServerTLS.STARTTLS, users={"ann": "x"}) as server:
        done = run("doctor", "--json", f"{server.url}{STARTTLS}&ca={server.ca_file}")
    assert rows(done)["auth.plaintext"][0] == "warn"


@pytest.mark.parametrize("how", ["-q", "--json"])
def test_u4_whatever_the_code_is_for_is_told(how: str, run: Run) -> None:
    """A warning too, where monitoring is to fail on one."""
    with Server(tls=ServerTLS.STARTTLS, users={"ann": "x"}) as server:
        words = ("doctor", how, f"{server.url}{STARTTLS}&ca={server.ca_file}")
        done = run(*words)
        assert (done.code, done.err) == (0, "")
        done = run(*words, "--fail-on", "warn")
    assert done.code == 1
    assert "auth.plaintext: " in done.err


def test_what_is_to_come_has_its_place(run: Run) -> None:
    with Server() as server:
        found = rows(run("doctor", "--json", server.url))
    assert {found[name][0] for name in ("mx", "dane", "sts", "tlsrpt")} == {"skipped"}


def test_several_targets(run: Run) -> None:
    with Server() as one, Server(greeting="554 Go away") as other:
        done = run("doctor", "--json", one.url, other.url)
    assert done.code == 69
    assert len(done.json["targets"]) == 2


def test_a_server_that_drips_is_given_up(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An octet now and then is within every timeout of a read, and never comes to an end."""
    from smtpx import TLSMode
    from smtpx.cli import _peers

    with Server(faults=[Drip(1, 0.2)]) as server:
        endpoint = smtpx.Endpoint("127.0.0.1", server.port)
        begun = time.monotonic()
        address = ("127.0.0.1", server.port)
        assert _peers.certificates(endpoint, address, TLSMode.STARTTLS, 0.5) == []
        # At 0.2 s an octet its EHLO reply alone would take half a minute.
        assert time.monotonic() - begun < 20


@pytest.mark.parametrize(
    ("name", "meant"),
    [("gmial", "gmail"), ("Mailgum", "mailgun"), ("nowhere", ""), ("x.gmial", "")],
)
def test_a_service_that_was_mistyped_is_named(
    run: Run, monkeypatch: pytest.MonkeyPatch, name: str, meant: str
) -> None:
    def none(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, "no such name")

    monkeypatch.setattr(socket, "getaddrinfo", none)
    told = rows(run("doctor", "--json", name)).get("service", ("", ""))[1]
    assert told == (f"did you mean the service {meant}?" if meant else "")


@pytest.mark.parametrize("host", ["127.0.0.1", "mail.x.test", "[::1]"])
def test_a_port_behind_a_host_is_told_how_to_be_written(host: str, run: Run) -> None:
    done = run("doctor", f"{host}:1")
    assert done.code == 2
    assert done.err == f"smtpx: {host}:1: write smtp://{host}:1 as a URL, or {host} --port 1\n"
