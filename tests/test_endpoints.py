"""URLs of servers: every documented form, every mistake, and never the password."""

from __future__ import annotations

import copy
import pickle
import traceback
from contextlib import suppress
from time import process_time
from typing import Any
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpx._faces.settings import Settings
from smtpx.endpoints import Endpoint
from smtpx.errors import EndpointError, SMTPError
from smtpx.pins import Pin, PinKind
from smtpx.tls import TLSMode, TLSVersion
from tests.tracebacks import told_by

PIN = "sha256//" + "A" * 43 + "="
I, S, O, N = TLSMode.IMPLICIT, TLSMode.STARTTLS, TLSMode.OPPORTUNISTIC, TLSMode.NONE  # noqa: E741 - one letter a mode


@pytest.mark.requirement("RFC 8314 §7.3")
@pytest.mark.parametrize(
    ("url", "endpoint"),
    [
        ("smtp://mx.test", Endpoint("mx.test", 25)),
        ("SMTP://mx.test", Endpoint("mx.test", 25)),
        ("smtp://mx.test/", Endpoint("mx.test", 25)),
        ("smtp://mx.test:2525", Endpoint("mx.test", 2525)),
        ("smtp://mx.test.", Endpoint("mx.test.", 25)),
        ("smtp://192.0.2.1", Endpoint("192.0.2.1", 25)),
        ("smtp://[2001:db8::1]", Endpoint("2001:db8::1", 25)),
        ("smtp://[2001:db8::1]:2525", Endpoint("2001:db8::1", 2525)),
        ("smtp://[fe80::1%eth0]", Endpoint("fe80::1%eth0", 25)),
        ("smtp://[fe80::1%25eth0]", Endpoint("fe80::1%eth0", 25)),  # RFC 6874 §2
        ("smtp://[fe80::1%25en%2D1]:26", Endpoint("fe80::1%en-1", 26)),
        ("smtp://[fe80::1%2525]", Endpoint("fe80::1%25", 25)),
        ("smtp://[fe80::1%25]", Endpoint("fe80::1%25", 25)),  # the zone 25, as people write it
        ("smtp://localhost", Endpoint("localhost", 25)),
        ("submission://mx.test", Endpoint("mx.test", 587)),
        ("smtps://mx.test", Endpoint("mx.test", 465, I)),
        ("submissions://mx.test", Endpoint("mx.test", 465, I)),
        ("lmtp://mx.test", Endpoint("mx.test", 24, lmtp=True)),
        ("lmtp://mx.test:2003", Endpoint("mx.test", 2003, lmtp=True)),
        ("lmtp+unix:///run/lmtp", Endpoint("", 0, None, True, "/run/lmtp")),
        ("lmtp+unix:///a%20b%3Fc", Endpoint("", 0, None, True, "/a b?c")),
        ("lmtp+unix:///a@b", Endpoint("", 0, None, True, "/a@b")),
        ("lmtp+unix://ann:pw@/a%40b", Endpoint("", 0, None, True, "/a@b", "ann", "pw")),
        ("smtp://mx.test?tls=implicit", Endpoint("mx.test", 25, I)),
        ("smtp://mx.test?tls=starttls", Endpoint("mx.test", 25, S)),
        ("smtp://mx.test/?tls=opportunistic", Endpoint("mx.test", 25, O)),
        ("smtp://mx.test:26/?tls=none", Endpoint("mx.test", 26, N)),
        ("smtp://mx.test:465?tls=starttls", Endpoint("mx.test", 465, S)),
        ("smtp://mx.test?", Endpoint("mx.test", 25)),
        ("smtp://mx.test?ca=/etc/a+b%26c.pem", Endpoint("mx.test", 25, ca_file="/etc/a+b&c.pem")),
        ("smtp://mx.test?ca=%C3%BC.pem", Endpoint("mx.test", 25, ca_file="ü.pem")),
        (
            "smtp://mx.test?minimum_version=TLSv1.3",
            Endpoint("mx.test", 25, minimum_version=TLSVersion.TLS_1_3),
        ),
        (
            f"smtp://mx.test?pin=certificate:{'00' * 32},{PIN}",
            Endpoint(
                "mx.test",
                25,
                pins=(Pin(PinKind.CERTIFICATE, bytes(32)), Pin(PinKind.KEY, bytes(32))),
            ),
        ),
        (
            "smtp://192.0.2.1:465?server_hostname=mx.test&ca=ca.pem&tls=starttls",
            Endpoint("192.0.2.1", 465, S, ca_file="ca.pem", server_hostname="mx.test"),
        ),
        (
            "smtp://mx.test?server_hostname=bücher.test",
            Endpoint("mx.test", 25, server_hostname="xn--bcher-kva.test"),
        ),
        ("smtp://ann:secret@mx.test", Endpoint("mx.test", 25, user="ann", password="secret")),
        ("smtp://ann@mx.test", Endpoint("mx.test", 25, user="ann")),
        ("smtp://:@mx.test", Endpoint("mx.test", 25)),
        ("smtp://@mx.test", Endpoint("mx.test", 25)),
        ("smtp://:pw@mx.test", Endpoint("mx.test", 25, user="", password="pw")),
        ("smtp://ann:@mx.test", Endpoint("mx.test", 25, user="ann", password="")),
        ("smtp://a%40b:c%3A%2F@mx.test", Endpoint("mx.test", 25, user="a@b", password="c:/")),
        ("smtp://a@x.test:pw@mx.test", Endpoint("mx.test", 25, user="a@x.test", password="pw")),
        ("smtp://a:p:w@mx.test", Endpoint("mx.test", 25, user="a", password="p:w")),
        ("smtp://a:p@w@mx.test", Endpoint("mx.test", 25, user="a", password="p@w")),
        ("smtp://a:p#w@mx.test", Endpoint("mx.test", 25, user="a", password="p#w")),
        ("smtp://a:p%C3%BC@mx.test", Endpoint("mx.test", 25, user="a", password="pü")),
        ("smtp://a:pü@mx.test", Endpoint("mx.test", 25, user="a", password="pü")),
        ("smtp://a:p+w@mx.test", Endpoint("mx.test", 25, user="a", password="p+w")),
        ("smtp://a:100%@mx.test", Endpoint("mx.test", 25, user="a", password="100%")),
        ("smtp://bücher.test", Endpoint("xn--bcher-kva.test", 25)),
        ("smtp://a_b.test", Endpoint("a_b.test", 25)),
    ],
)
def test_a_url_is_read(url: str, endpoint: Endpoint) -> None:
    assert Endpoint.parse(url) == endpoint


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("", "not scheme://host"),
        ("mx.test", "not scheme://host"),
        ("mx.test:25", "not scheme://host"),
        ("smtp:mx.test", "not scheme://host"),
        ("smtp:/mx.test", "not scheme://host"),
        ("//mx.test", "not scheme://host"),
        (" smtp://mx.test", "not scheme://host"),
        ("http://mx.test", "unknown scheme"),
        ("smtp+unix:///x", "unknown scheme"),
        ("smtp://", "names no host"),
        ("smtp://:25", "names no host"),
        ("smtp://ann:pw@", "names no host"),
        ("smtp://mx.test/inbox", "has no path"),
        ("smtp://mx.test:", "port"),
        ("smtp://mx.test:smtp", "port"),
        ("smtp://mx.test:0", "port"),
        ("smtp://mx.test:65536", "port"),
        ("smtp://mx.test:-1", "port"),
        ("smtp://mx.test:+25", "port"),
        ("smtp://mx.test:2_5", "port"),
        ("smtp://mx.test: 25", "port"),
        ("smtp://mx.test:٢٥", "port"),
        ("smtp://mx.test:" + "9" * 5000, "port"),
        ("smtp://2001:db8::1", "port"),
        ("smtp://[2001:db8::1", "not scheme://host"),
        ("smtp://[]", "not a name or an IP address"),
        ("smtp://[mx.test]", "not a name or an IP address"),
        ("smtp://m x.test", "not a name or an IP address"),
        ("smtp://mx%2etest", "not a name or an IP address"),
        ("smtp://mx..test", "not a name or an IP address"),
        ("smtp://.mx.test", "not a name or an IP address"),
        ("smtp://" + "a" * 64 + ".test", "not a name or an IP address"),
        ("smtp://mx,test", "not a name or an IP address"),
        ("smtp://ü..test", "internationalized domain name"),
        ("smtp://x\u2100y.test", "internationalized domain name"),
        ("smtp://mx.test?tls", "tls parameter"),
        ("smtp://mx.test?tls=yes", "tls parameter"),
        ("smtp://mx.test?tls=None", "tls parameter"),
        ("smtp://mx.test?TLS=none", "unknown URL parameter"),
        ("smtp://mx.test?tls=none&tls=none", "given twice"),
        ("smtp://[::::]", "not an IPv6 address"),
        ("smtp://[fe80::1%25%0A]", "not a name or an IP address"),
        ("smtp://[fe80::1%25%FF]", "percent-encoded UTF-8"),
        ("smtp://mx.test?tls=none&timeout=3", "unknown URL parameter"),
        ("smtp://mx.test?ca=", "the ca parameter is not the path"),
        ("smtp://mx.test?ca", "the ca parameter is not the path"),
        ("smtp://mx.test?ca=a.pem&ca=b.pem", "ca parameter is given twice"),
        ("smtp://mx.test?ca=%FF", "the ca parameter is not"),
        ("smtp://mx.test?minimum_version=TLSv1.1", "the minimum_version parameter is not TLSv1.2"),
        ("smtp://mx.test?pin=md5:00", "the pin parameter is not a pin"),
        ("smtp://mx.test?pin=", "the pin parameter is not a pin"),
        ("smtp://mx.test?tls=none&ca=ca.pem", "contradict each other.*NONE protects nothing"),
        (f"smtp://mx.test?tls=opportunistic&pin={PIN}", "contradict each other"),
        ("smtp://mx.test?server_hostname=", "the server_hostname parameter is not"),
        ("smtp://mx.test?server_hostname=a b", "the server_hostname parameter is not"),
        ("smtp://mx.test\r\n", "control character"),
        ("smtp://mx.test\0", "control character"),
        ("smtp://mx\x7f.test", "control character"),
        ("smtp://ann:%FF@mx.test", "percent-encoded UTF-8"),
        ("smtp://%FF:pw@mx.test", "percent-encoded UTF-8"),
        ("lmtp+unix:", "not scheme://host"),
        ("lmtp+unix://", "absolute/path"),
        ("lmtp+unix:///", "absolute/path"),
        ("lmtp+unix://run/lmtp", "absolute/path"),
        ("lmtp+unix://:24/run/lmtp", "absolute/path"),
        ("lmtp+unix:///run%00lmtp", "its path has a control character"),
        ("lmtp+unix:///run%0Almtp", "its path has a control character"),
        ("smtp://ann%0D%0A:pw@mx.test", "its user has a control character"),
        ("smtp://ann:pw%00@mx.test", "its password has a control character"),
        ("lmtp+unix://ann:p@/w@/run/lmtp", "percent-encode the @"),
    ],
)
def test_a_mistake_is_named(url: str, why: str) -> None:
    with pytest.raises(EndpointError, match=why):
        Endpoint.parse(url)


@pytest.mark.parametrize(
    "wrong",
    [
        {"port": "25"},
        {"host": "x y"},
        {"lmtp": 1},
        {"user": b"ann"},
        {"tls": "starttls"},
        {"tls": N, "ca_file": "ca.pem"},
        {"pins": [PIN]},
        {"path": "/run/lmtp"},
        {"path": "/run/lmtp", "host": "", "port": 25},
        {"path": "/run/lmtp", "host": "mx.test", "port": 0},
        {"path": "/run/\nlmtp", "host": "", "port": 0},
        {"user": "ann\r\n"},
        {"password": "Zq7KwXw9Jv\n"},
        {"password": b"Zq7KwXw9Jv"},
    ],
    ids=str,
)
def test_a_mistake_in_one_made_by_hand_does_not_tell_the_password(wrong: dict[str, Any]) -> None:
    fields: dict[str, Any] = {"host": "mx.test", "port": 25, "password": "Zq7KwXw9Jv"} | wrong
    with pytest.raises((TypeError, EndpointError)) as caught:
        _ = Endpoint(**fields)
    assert "Zq7KwXw9Jv" not in told_by(caught.value)


def test_a_host_made_by_hand_is_as_parse_would_have_it() -> None:
    assert Endpoint("bücher.test", 25) == Endpoint.parse("smtp://bücher.test")
    assert Endpoint("fe80::1%eth0", 25) == Endpoint.parse("smtp://[fe80::1%25eth0]")
    for host in ("[::1]", "mx.test:25", "", "a b", "mx.test\n"):
        with pytest.raises(EndpointError, match="host"):
            Endpoint(host, 25)


def test_a_mistake_is_a_value_error_too() -> None:
    with pytest.raises(ValueError, match="scheme"):
        Endpoint.parse("nonsense")


@given(st.text("smtplu+nix:/@?#[]%=&.0129é \r\0", max_size=40) | st.text(max_size=40))
@example("smtp://[" + ":" * 40 + "]")
def test_any_text_is_an_endpoint_or_an_endpoint_error(text: str) -> None:
    for url in (text, "smtp://" + text, "lmtp+unix://" + text, "gmail://" + text):
        try:
            endpoint = Endpoint.parse(url)
        except EndpointError:
            continue
        assert bool(endpoint.host) != bool(endpoint.path)
        assert (0 < endpoint.port < 65536) != bool(endpoint.path)
        assert str(endpoint)


# Letters that occur nowhere else, so that any part of the password is known when it shows.
TOKENS = st.sampled_from(["Zq7Kw", "Xw9Jv", "Qk4ßZ", "Jz8漢Y"])
BETWEEN = st.text(":@/?#[]%=&+;, é\0\r\n\x7f\\<>\"'.", max_size=4)
PASSWORDS = st.lists(st.tuples(BETWEEN, TOKENS, BETWEEN), min_size=1, max_size=3).map(
    lambda parts: "".join(map("".join, parts))
)
MISTAKES = [
    "smtp://ann:{}@mx.test",
    "smtp://ann:{}@mx.test:587?tls=none",
    "smtp://ann:{}@mx.test:port",
    "smtp://ann:{}@mx.test/path",
    "smtp://ann:{}@mx.test?tls=wrong",
    "smtp://ann:{}@mx.test?starttls=yes",
    "smtp://ann:{}@[::1",
    "smtp://ann:{}@",
    "smtp://ann:{}@ü..test",
    "smtp://:{}@mx.test",
    "smtp://a/nn:{}@mx.test",
    "smtp://a?nn:{}@mx.test",
    "smtp://a?tls={}@mx.test",
    "smtp://a?ca=&server_hostname={}@mx.test",
    "smtp:ann:{}@mx.test",
    "ann:{}@mx.test",
    "http://ann:{}@mx.test",
    "lmtp+unix://ann:{}@/run/lmtp",
    "lmtp+unix://ann:{}@mx.test/run/lmtp",
    "lmtp+unix://ann:{}@",
]


@pytest.mark.requirement("T26")
@given(PASSWORDS, st.sampled_from(MISTAKES), st.sampled_from([str, quote, lambda p: quote(p, "")]))
@example("Zq7Kw?Xw9Jv", "smtp://ann:{}@mx.test", str)
@example("Zq7Kw?tls=Xw9Jv", "smtp://ann:{}@mx.test", str)
@example("Zq7Kw/Qk4ßZ", "smtp://ann:{}@mx.test", str)
@example("Zq7Kw@Qk4ßZ?", "smtp://ann:{}@mx.test", str)
@example("Zq7Kw@Qk4ßZ..", "smtp://ann:{}", str)
@example("Zq7Kw@/Qk4ßZ", "lmtp+unix://ann:{}@/run/lmtp", str)
@example("Zq7Kw@/Qk4ßZ", "gmail://ann@gmail.com:{}", str)
def test_the_password_shows_nowhere(password: str, url: str, encode: type[str]) -> None:
    written = url.format(encode(password))
    shown: list[str] = []
    try:
        endpoint = Endpoint.parse(written)
        shown += [str(endpoint), repr(endpoint)]
        if "Zq" not in (endpoint.host + endpoint.path) and endpoint.user in ("ann", "", None):
            options = Settings.of(written)
            shown += [str(options), repr(options), repr(options.credentials)]
    except SMTPError as error:
        shown += [str(error), repr(error), "".join(traceback.format_exception(error))]
        shown = [text.replace(written, "") for text in shown]
    for text in shown:
        for token in ("Zq7Kw", "Xw9Jv", "Qk4ßZ", "Jz8漢Y"):
            assert token not in text
            assert quote(token) not in text


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30),
       st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=30))  # fmt: skip
def test_any_user_and_password_pass_percent_encoded(user: str, password: str) -> None:
    who = f"{quote(user, '')}:{quote(password, '')}"
    given = (user, password) if user or password else (None, None)
    for url, at in (
        (f"smtps://{who}@mx.test:99", ("mx.test", 99)),
        (f"gmail://{who}", ("smtp.gmail.com", 465)),
    ):
        endpoint = Endpoint.parse(url)
        assert (endpoint.user, endpoint.password) == given
        assert (endpoint.host, endpoint.port) == at


@pytest.mark.parametrize(
    ("url", "local"),
    [
        ("smtp://localhost", True),
        ("smtp://LocalHost", True),
        ("smtp://127.0.0.1", True),
        ("smtp://127.8.9.10", True),
        ("smtp://[::1]", True),
        ("lmtp+unix:///run/lmtp", True),
        ("smtp://mx.test", False),
        ("smtp://localhost.evil.test", False),
        ("smtp://127.0.0.1.evil.test", False),
        ("smtp://128.0.0.1", False),
        ("smtp://0127.0.0.1", False),
        ("smtp://[::2]", False),
        ("smtp://127.1", False),
    ],
)
def test_local_is_what_can_only_be_this_machine(url: str, local: bool) -> None:
    assert Endpoint.parse(url).is_local is local


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("smtp://ann:pw@mx.test", "mx.test:25"),
        ("smtp://[2001:db8::1]:26", "[2001:db8::1]:26"),
        ("lmtp+unix:///run/lmtp", "/run/lmtp"),
    ],
)
def test_shown_it_is_host_and_port_or_the_path(url: str, shown: str) -> None:
    assert str(Endpoint.parse(url)) == shown


@pytest.mark.requirement("T8")
@pytest.mark.parametrize("junk", ["@", ":", "a@", "/", "?", "[", "&a", "%", "é", "a.", "=&"])
def test_a_megabyte_is_read_in_a_second(junk: str) -> None:
    began = process_time()
    for start in ("smtp://", "smtp://a:b@", "smtp://h?", "lmtp+unix:///"):
        with suppress(EndpointError):
            _ = Endpoint.parse(start + junk * (250_000 // len(junk)))
    assert process_time() - began < 1


def test_an_endpoint_is_a_value_that_is_pickled_if_it_has_no_password() -> None:
    endpoint = Endpoint.parse(f"smtp://ann@mx.test?ca=ca.pem&pin={PIN}&server_hostname=x.test")
    assert pickle.loads(pickle.dumps(endpoint)) == copy.deepcopy(endpoint) == endpoint
    secretive = Endpoint.parse("smtp://ann:pw@mx.test")
    assert copy.deepcopy(secretive) == copy.copy(secretive) == secretive
    assert secretive != Endpoint.parse("smtp://ann:other@mx.test")
    with pytest.raises(TypeError, match="not pickled"):
        _ = pickle.dumps(secretive)


@pytest.mark.parametrize("query", ["ca=ca.pem", "server_hostname=mx.test", f"pin={PIN}"])
def test_who_says_whom_to_trust_wants_tls_on_this_machine_too(query: str) -> None:
    for url in ("smtp://localhost", "lmtp+unix:///run/lmtp"):
        assert Endpoint.parse(url).policy(peer_is_local=True).mode is N
        assert Endpoint.parse(f"{url}?{query}").policy(peer_is_local=True).mode is S


@pytest.mark.parametrize("host", ["smtp://localhost", "localhost:25", "a b", "", "[::1]", "a@b"])
def test_what_is_no_host_is_told_as_such(host: str):
    """No URL was given, so that nothing in it is to be percent-encoded."""
    with pytest.raises(EndpointError, match=r"^host: give a name or an IP address, with"):
        Endpoint(host, 25)


@pytest.mark.parametrize("scheme", ["smtps", "submissions", "SMTPS"])
@pytest.mark.parametrize("mode", ["none", "starttls", "opportunistic"])
def test_a_scheme_that_says_tls_is_not_contradicted(scheme: str, mode: str) -> None:
    for host in ("mail.example.com", "127.0.0.1"):
        with pytest.raises(EndpointError, match="its scheme says that TLS is implicit"):
            _ = Endpoint.parse(f"{scheme}://{host}?tls={mode}")
    agreed = Endpoint.parse(f"{scheme}://mail.example.com?tls=implicit")
    assert agreed == Endpoint.parse(f"{scheme}://mail.example.com")


def test_a_service_that_has_tls_is_not_contradicted() -> None:
    with pytest.raises(EndpointError, match="TLS is implicit"):
        _ = Endpoint.parse("gmail://u:p?tls=none")
