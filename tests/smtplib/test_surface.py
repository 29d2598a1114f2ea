"""What the standard library's module has, this one has, under the same names."""

from __future__ import annotations

import inspect
import pickle
import smtplib as old
import socket
from typing import Any

import pytest

from smtpx import smtplib as new


def test_all_is_the_same() -> None:
    assert sorted(new.__all__) == sorted(old.__all__)


def test_every_name_is_there() -> None:
    assert {name for name in dir(old) if not name.startswith("__")} <= set(dir(new))


@pytest.mark.parametrize(
    "name", ["SMTP_PORT", "SMTP_SSL_PORT", "LMTP_PORT", "CRLF", "bCRLF", "_MAXLINE"]
)
def test_constants(name: str) -> None:
    assert getattr(new, name) == getattr(old, name)


def test_oldstyle_auth() -> None:
    match = new.OLDSTYLE_AUTH.match("AUTH=PLAIN LOGIN")
    assert match
    assert match.groups() == ("PLAIN LOGIN",)


def test_errors_are_the_old_ones() -> None:
    # Who catches smtplib.SMTPException in a library that was not changed catches ours.
    for name in dir(old):
        if name.startswith("SMTP") and isinstance(getattr(old, name), type):
            kind = getattr(old, name)
            if issubclass(kind, Exception):
                assert getattr(new, name) is kind


@pytest.mark.parametrize(
    "error",
    [
        new.SMTPSenderRefused(550, b"no", "a@example.org"),
        new.SMTPRecipientsRefused({"a@example.org": (550, b"no")}),
        new.SMTPDataError(554, b"no"),
        new.SMTPServerDisconnected("gone"),
    ],
)
def test_errors_pickle(error: Exception) -> None:
    again = pickle.loads(pickle.dumps(error))
    assert (type(again), again.args, vars(again)) == (type(error), error.args, vars(error))


METHODS = [
    (kind, name)
    for kind in ("SMTP", "SMTP_SSL", "LMTP")
    for name, member in inspect.getmembers(getattr(old, kind), inspect.isfunction)
    if not name.startswith("_")
    or name in ("__init__", "__enter__", "__exit__", "_get_socket", "_rset", "_print_debug")
]


@pytest.mark.parametrize(("kind", "name"), METHODS)
def test_signatures(kind: str, name: str) -> None:
    before = inspect.signature(getattr(getattr(old, kind), name)).parameters
    after = inspect.signature(getattr(getattr(new, kind), name)).parameters
    if (kind == "SMTP_SSL" and name == "__init__") or name == "starttls":
        # Python 3.11 had keyfile and certfile in the middle; later ones take keywords there.
        assert set(before) <= set(after)
    else:
        assert [p for p in after if p in before] == list(before)
    for parameter in before.values():
        assert after[parameter.name].default == parameter.default


def test_positional_order_of_the_classic_constructors() -> None:
    ssl_order = list(inspect.signature(new.SMTP_SSL).parameters)
    assert ssl_order == [
        "host", "port", "local_hostname", "keyfile", "certfile", "timeout", "source_address",
        "context",
    ]  # fmt: skip
    assert list(inspect.signature(new.SMTP.starttls).parameters)[1:] == [
        "keyfile", "certfile", "context",
    ]  # fmt: skip


def test_class_attributes() -> None:
    for name in ("debuglevel", "sock", "file", "helo_resp", "ehlo_msg", "ehlo_resp", "does_esmtp"):
        assert getattr(new.SMTP, name) == getattr(old.SMTP, name)
    assert (new.SMTP.default_port, new.SMTP_SSL.default_port) == (25, 465)
    assert new.LMTP.ehlo_msg == "lhlo"


def test_an_unconnected_client_has_the_documented_attributes() -> None:
    client = new.SMTP(timeout=7, source_address=("127.0.0.1", 0))
    expected: dict[str, object] = {
        "sock": None,
        "esmtp_features": {},
        "timeout": 7,
        "source_address": ("127.0.0.1", 0),
        "local_hostname": "client.example.org",
        "command_encoding": "ascii",
    }
    assert {name: getattr(client, name) for name in expected} == expected


def test_a_host_without_a_domain_gives_an_address_literal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getfqdn", lambda: "box")
    monkeypatch.setattr(socket, "gethostbyname", lambda _: "192.0.2.7")
    assert new.SMTP().local_hostname == "[192.0.2.7]"

    def unknown(_: str) -> str:
        raise socket.gaierror

    monkeypatch.setattr(socket, "gethostbyname", unknown)
    assert new.SMTP().local_hostname == "[127.0.0.1]"


@pytest.mark.parametrize(
    "text",
    ["a@b", "<a@b>", "Name <a@b>", '"N, M" <a@b>', " a@b ", "(c) a@b", "<a@b", "", "<>", "John"],
)
def test_quoteaddr(text: str) -> None:
    assert new.quoteaddr(text) == old.quoteaddr(text)
    ours: Any = new
    theirs: Any = old
    assert ours._addr_only(text) == theirs._addr_only(text)


@pytest.mark.parametrize("text", ["", ".", "a\n.b\r.c\r\n..d", "\r\r\n\n", ".\n.", "a.\nb", "\n\r"])
def test_line_helpers(text: str) -> None:
    ours: Any = new
    theirs: Any = old
    assert new.quotedata(text) == old.quotedata(text)
    assert ours._fix_eols(text) == theirs._fix_eols(text)
    assert ours._quote_periods(text.encode()) == theirs._quote_periods(text.encode())
