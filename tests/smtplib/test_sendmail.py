"""`sendmail`: its rules, and that pipelining changes none of its results."""

from __future__ import annotations

import select
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from unittest import mock

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from smtpx import smtplib
from smtpx._smtplib.reading import ReplyFile
from smtpx.errors import AddressError
from smtpx.testing import AppendToReply, Server
from tests.smtplib.scripted import CLOSE, Answers, ScriptedServer, serving

MAIL = ("a@example.org", ["b@example.net", "c@example.net"], "hi")
PIPELINING = ["PIPELINING", "SIZE"]
LOCK_STEP = ["SIZE"]


class Overriding(smtplib.SMTP):
    """Takes the old way, step by step through its own methods."""

    def getreply(self) -> tuple[int, bytes]:
        return super().getreply()


def client_of(server: Any, kind: type[smtplib.SMTP] = smtplib.SMTP) -> smtplib.SMTP:
    return kind("127.0.0.1", server.port, "client.example.org", timeout=10)


def whole(connection: socket.socket, octets: bytes) -> None:
    connection.sendall(octets)


def in_pieces(connection: socket.socket, octets: bytes) -> None:
    connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for start in range(0, len(octets), 20):
        connection.sendall(octets[start : start + 20])


def outcome_of(
    answers: Answers,
    kind: type[smtplib.SMTP],
    extensions: list[str],
    write: Callable[[socket.socket, bytes], None] = whole,
) -> tuple[object, ...]:
    """What a caller sees: result or error, whether the connection is open, and if it had RSET."""
    with serving(answers, extensions=extensions, write=write) as server:
        client = client_of(server, kind)
        result: object
        try:
            result = client.sendmail(*MAIL)
        except smtplib.SMTPServerDisconnected as error:
            result = type(error), "in doubt" in str(error)
        except smtplib.SMTPException as error:
            result = type(error), error.args
        open_still = client.sock is not None
        client.close()
    contents = [content for content in server.contents if content]  # a lone dot is none
    return result, open_still, "rset" in server.commands, contents


REPLY = st.sampled_from(
    [
        b"250 ok\r\n",
        b"251-will\r\n251 forward \r\n",
        b"252 maybe\r\n",
        b"354 go on\r\n",
        b"450 later\n",
        b"550-5.1.1 no\r\n550 such user\r\n",
        b"571 never\r\n",
        b"421 closing\r\n",
        b"250-mixed\r\n550 codes\r\n",
        b"550-mixed\r\n250 codes\r\n",
        b"650 odd\r\n",
        b"garbage\r\n",
        b"250 cut off" + CLOSE,
        b"x" * 9000 + b"\r\n",
        CLOSE,
    ]
)
MOSTLY_GOOD = st.one_of(st.just(b"250 ok\r\n"), st.just(b"250 ok\r\n"), REPLY)
GO_AHEAD = st.one_of(st.just(b"354 go\r\n"), st.just(b"354 go\r\n"), REPLY)


@settings(max_examples=100, deadline=None)
@given(
    MOSTLY_GOOD,
    MOSTLY_GOOD,
    MOSTLY_GOOD,
    GO_AHEAD,
    MOSTLY_GOOD,
    st.sampled_from([whole, in_pieces]),
)
def test_pipelined_and_step_by_step_are_the_same(
    mail: bytes,
    first: bytes,
    second: bytes,
    data: bytes,
    end: bytes,
    write: Callable[[socket.socket, bytes], None],
) -> None:
    answers: Answers = {"MAIL": mail, "RCPT": [first, second], "DATA": data, "END": end}
    pipelined = outcome_of(answers, smtplib.SMTP, PIPELINING, write)
    by_core = outcome_of(answers, smtplib.SMTP, LOCK_STEP)
    by_steps = outcome_of(answers, Overriding, PIPELINING)
    assert by_core == by_steps
    result, is_open, reset, contents = pipelined
    assert by_core[::3] == (result, contents)
    if not is_open:
        # Something wrong in the group may stand behind the refusal at which steps would end.
        assert not reset
    elif by_core[1]:
        assert by_core[2] == reset
    if isinstance(result, dict):
        # R: never delivered without a whole 2yz to the end of data.
        assert end.startswith(b"25")
        assert contents == [b"hi\r\n"]


@pytest.mark.parametrize("extensions", [PIPELINING, LOCK_STEP])
class TestOutcomes:
    def check(self, extensions: list[str], answers: Answers) -> tuple[object, ...]:
        return outcome_of(answers, smtplib.SMTP, extensions)[:3]

    def test_all_accepted(self, extensions: list[str]) -> None:
        assert self.check(extensions, {}) == ({}, True, False)

    def test_some_refused(self, extensions: list[str]) -> None:
        answers = {"RCPT": [b"250 ok\r\n", b"550 5.1.1 no\r\n"]}
        refused = {"c@example.net": (550, b"5.1.1 no")}
        assert self.check(extensions, answers) == (refused, True, False)

    def test_all_refused(self, extensions: list[str]) -> None:
        refused = {"b@example.net": (550, b"no"), "c@example.net": (450, b"later")}
        answers: Answers = {"RCPT": [b"550 no\r\n", b"450 later\r\n"], "DATA": b"503 nobody\r\n"}
        error = smtplib.SMTPRecipientsRefused, (refused,)
        assert self.check(extensions, answers) == (error, True, True)

    @pytest.mark.requirement("T35")
    def test_nobody_accepted_and_354_all_the_same(self, extensions: list[str]) -> None:
        answers: Answers = {"RCPT": b"550 no\r\n", "END": b"554 nobody\r\n"}
        refused = dict.fromkeys(MAIL[1], (550, b"no"))
        error = smtplib.SMTPRecipientsRefused, (refused,)
        assert outcome_of(answers, smtplib.SMTP, extensions) == (error, True, True, [])

    def test_sender_refused(self, extensions: list[str]) -> None:
        answers = {"MAIL": b"550 not you\r\n", "RCPT": b"503 first\r\n", "DATA": b"503 first\r\n"}
        error = smtplib.SMTPSenderRefused, (550, b"not you", "a@example.org")
        assert self.check(extensions, answers) == (error, True, True)

    def test_data_refused_is_followed_by_rset(self, extensions: list[str]) -> None:
        error = smtplib.SMTPDataError, (451, b"later")
        assert self.check(extensions, {"DATA": b"451 later\r\n"}) == (error, True, True)

    def test_content_refused(self, extensions: list[str]) -> None:
        error = smtplib.SMTPDataError, (554, b"spam")
        assert self.check(extensions, {"END": b"554 spam\r\n"}) == (error, True, True)

    def test_251_and_252_are_acceptance(self, extensions: list[str]) -> None:
        answers = {"RCPT": [b"251 forwarded\r\n", b"252 maybe\r\n"]}
        assert self.check(extensions, answers) == ({}, True, False)

    @pytest.mark.requirement("T33")
    @pytest.mark.parametrize("where", ["MAIL", "RCPT", "DATA", "END"])
    def test_421_closes(self, extensions: list[str], where: str) -> None:
        errors: dict[str, tuple[type, tuple[object, ...]]] = {
            "MAIL": (smtplib.SMTPSenderRefused, (421, b"bye", "a@example.org")),
            "RCPT": (smtplib.SMTPRecipientsRefused, ({"b@example.net": (421, b"bye")},)),
            "DATA": (smtplib.SMTPDataError, (421, b"bye")),
            "END": (smtplib.SMTPDataError, (421, b"bye")),
        }
        assert self.check(extensions, {where: b"421 bye\r\n"}) == (errors[where], False, False)

    def test_421_at_the_second_recipient(self, extensions: list[str]) -> None:
        answers = {"RCPT": [b"250 ok\r\n", b"421 bye\r\n"]}
        error = smtplib.SMTPRecipientsRefused, ({"c@example.net": (421, b"bye")},)
        assert self.check(extensions, answers) == (error, False, False)

    @pytest.mark.parametrize("where", ["MAIL", "RCPT", "DATA"])
    def test_lost_before_the_content(self, extensions: list[str], where: str) -> None:
        lost = smtplib.SMTPServerDisconnected, False
        assert self.check(extensions, {where: CLOSE})[:2] == (lost, False)

    @pytest.mark.requirement("T39")
    @pytest.mark.parametrize("end", [CLOSE, b"250 queu" + CLOSE, b"250-a\r\n550 b\r\n", b"354 x\n"])
    def test_lost_after_the_content_is_in_doubt(self, extensions: list[str], end: bytes) -> None:
        in_doubt = smtplib.SMTPServerDisconnected, True
        assert self.check(extensions, {"END": end})[:2] == (in_doubt, False)

    def test_a_reply_that_comes_too_early_is_not_believed(self, extensions: list[str]) -> None:
        answers = {"DATA": b"354 go\r\n250 queued\r\n", "END": CLOSE}
        result, is_open, _ = self.check(extensions, answers)
        lost = [(smtplib.SMTPServerDisconnected, in_doubt) for in_doubt in (True, False)]
        assert result in lost
        assert not is_open


@pytest.mark.requirement("T32")
@pytest.mark.parametrize("size", [10, 100_000])
def test_a_reply_between_the_354_and_the_content_is_not_its_reply(size: int) -> None:
    seen = threading.Event()

    class Late(ReplyFile):
        """Goes on after the 354 only when more has come."""

        def read1(self) -> bytes:
            octets = super().read1()
            if b"354" in octets:
                seen.set()
                assert select.select([self._socket.fileno()], [], [], 10)[0]
            return octets

    def write(connection: socket.socket, octets: bytes) -> None:
        connection.sendall(octets)
        if octets.startswith(b"354"):
            assert seen.wait(10)
            connection.sendall(b"250 queued\r\n")

    with serving(extensions=PIPELINING, write=write) as server:
        client = client_of(server)
        assert client.sock is not None
        client.file = Late(client.sock)
        with pytest.raises(smtplib.SMTPServerDisconnected) as caught:
            client.sendmail("a@example.org", "b@example.net", b"x" * size)
        assert "in doubt" not in str(caught.value)
        assert client.sock is None
    assert server.contents == []


@pytest.mark.parametrize("kind", [smtplib.SMTP, Overriding])
@pytest.mark.parametrize("extensions", [PIPELINING, LOCK_STEP])
def test_replies_out_of_step_are_noticed(kind: type[smtplib.SMTP], extensions: list[str]) -> None:
    with serving({"NOOP": b"250 ok\r\n250 ok\r\n"}, extensions=extensions) as server:
        client = client_of(server, kind)
        client.noop()
        client.ehlo_resp, client.does_esmtp = b"", True
        client.esmtp_features = {name.lower(): "" for name in extensions}
        with pytest.raises(smtplib.SMTPServerDisconnected, match="nobody asked for"):
            client.sendmail(*MAIL)
        assert client.sock is None
    assert server.commands == ["noop"]


@pytest.mark.parametrize("kind", [smtplib.SMTP, Overriding])
@pytest.mark.parametrize("extensions", [PIPELINING, LOCK_STEP])
def test_a_421_that_waits(kind: type[smtplib.SMTP], extensions: list[str]) -> None:
    with serving({"NOOP": b"250 ok\r\n421 too long\r\n" + CLOSE}, extensions=extensions) as server:
        client = client_of(server, kind)
        client.noop()
        client.ehlo_resp, client.does_esmtp = b"", True
        client.esmtp_features = {name.lower(): "" for name in extensions}
        with pytest.raises(smtplib.SMTPSenderRefused) as caught:
            client.sendmail(*MAIL)
        assert caught.value.args == (421, b"too long", "a@example.org")
        assert client.sock is None


@pytest.fixture
def server() -> Iterator[ScriptedServer]:
    with ScriptedServer(extensions=["PIPELINING", "SIZE 1000", "8BITMIME", "DSN"]) as server:
        yield server


def test_what_is_written_with_pipelining(server: ScriptedServer) -> None:
    with client_of(server) as client:
        client.ehlo()
        server.writes.clear()
        client.sendmail(*MAIL)
        client.sendmail(*MAIL)
        group = (
            b"mail from:<a@example.org> size=2\r\n"
            b"rcpt to:<b@example.net>\r\nrcpt to:<c@example.net>\r\nDATA\r\n"
        )
        assert server.writes == [group, b"hi\r\n.\r\n"] * 2


def test_what_is_written_without() -> None:
    with serving(extensions=["SIZE"]) as server, client_of(server) as client:
        client.sendmail(*MAIL)
        assert server.writes == [
            b"ehlo client.example.org\r\n",
            b"mail from:<a@example.org> size=2\r\n",
            b"rcpt to:<b@example.net>\r\n",
            b"rcpt to:<c@example.net>\r\n",
            b"data\r\n",
            b"hi\r\n.\r\n",
        ]


@pytest.mark.parametrize("step", ["mail", "rcpt", "data", "docmd", "putcmd", "getreply", "send"])
def test_a_replaced_step_is_used(server: ScriptedServer, step: str) -> None:
    with client_of(server) as client:
        calls: list[object] = []
        original = getattr(client, step)

        def replaced(*args: object) -> object:
            calls.append(args)
            return original(*args)

        setattr(client, step, replaced)
        assert client.sendmail(*MAIL) == {}
        client.rset()
        assert calls
    assert "data" in server.commands


def test_a_step_that_is_its_own_again_is_pipelined(server: ScriptedServer) -> None:
    with client_of(server) as client:
        with (
            mock.patch.object(client, "rcpt", return_value=(550, b"by the test")),
            pytest.raises(smtplib.SMTPRecipientsRefused),
        ):
            client.sendmail(*MAIL)
        server.writes.clear()
        assert client.sendmail(*MAIL) == {}
        assert len(server.writes) == 2


def test_a_step_replaced_in_the_class(monkeypatch: pytest.MonkeyPatch) -> None:
    with serving() as server, client_of(server) as client:
        monkeypatch.setattr(smtplib.SMTP, "rcpt", lambda *_: (550, b"by the test"))
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail(*MAIL)
        assert not any(command.startswith("rcpt") for command in server.commands)


def test_patched_line_helpers_are_used(
    server: ScriptedServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(smtplib, "_fix_eols", lambda text: text + "fixed")
    monkeypatch.setattr(smtplib, "_quote_periods", lambda octets: octets + b"quoted")
    with client_of(server) as client:
        client.sendmail("a@example.org", "b@example.net", "x")
        client.sendmail("a@example.org", "b@example.net", b"y\nz")
    assert server.contents == [b"xfixedquoted\r\n", b"y\nzquoted\r\n"]


@pytest.mark.parametrize("kind", [smtplib.SMTP, Overriding])
@pytest.mark.parametrize(
    ("content", "written"),
    [
        ("", b"\r\n"),
        (b"", b"\r\n"),
        ("a", b"a\r\n"),
        ("a\n.b\r.\r\n", b"a\r\n..b\r\n..\r\n"),
        (b"a\n.b\r.\r\n", b"a\r\n..b\r\n..\r\n"),
        (b".\n", b"..\r\n"),
        (b"\r\r\n\xff", b"\r\n\r\n\xff\r\n"),
        (b"x\r\n" * 30000, b"x\r\n" * 30000),
        (b".\n" * 50000, b"..\r\n" * 50000),
    ],
)
def test_content(kind: type[smtplib.SMTP], content: bytes | str, written: bytes) -> None:
    for extensions in (["PIPELINING"], []):
        with serving(extensions=extensions) as server, client_of(server, kind) as client:
            assert client.sendmail("a@example.org", "b@example.net", content) == {}
        assert server.contents == [written]


@pytest.mark.requirement("T9")
@given(st.lists(st.sampled_from([b"a", b".", b"\r", b"\n", b"\r\n"])).map(b"".join))
@settings(max_examples=50, deadline=None)
def test_no_bare_line_end_ever_leaves(content: bytes) -> None:
    with serving() as server, client_of(server) as client:
        client.sendmail("a@example.org", "b@example.net", content)
        client.data(content)
    pipelined, by_data = server.contents
    assert pipelined == by_data
    rest = pipelined.replace(b"\r\n", b"")
    assert b"\r" not in rest
    assert b"\n" not in rest


@pytest.mark.parametrize("kind", [smtplib.SMTP, Overriding])
@pytest.mark.parametrize("like_bytes", [bytearray, memoryview])
def test_what_is_like_bytes(
    server: ScriptedServer, kind: type[smtplib.SMTP], like_bytes: Callable[[bytes], bytes]
) -> None:
    with client_of(server, kind) as client:
        client.sendmail("a@example.org", "b@example.net", like_bytes(b".hi\n"))
        client.data(like_bytes(b".hi\n"))
    assert server.contents == [b"..hi\r\n"] * 2


def test_text_must_be_ascii(server: ScriptedServer) -> None:
    with client_of(server) as client:
        with pytest.raises(UnicodeEncodeError):
            client.sendmail("a@example.org", "b@example.net", "ä")
        assert not any(command.startswith("mail") for command in server.commands)


@pytest.mark.parametrize(
    ("content", "size"), [("hi", 2), ("a\nb", 4), (b"a\nb\n", 6), (b"", 0), (b".\r\n", 3)]
)
def test_size(server: ScriptedServer, content: bytes | str, size: int) -> None:
    with client_of(server) as client:
        client.sendmail("a@example.org", "b@example.net", content)
    assert f"mail from:<a@example.org> size={size}" in server.commands


def test_a_size_of_the_callers_own(server: ScriptedServer) -> None:
    with client_of(server) as client:
        client.sendmail("a@example.org", "b@example.net", "hi", ["SIZE=7"])
    assert "mail from:<a@example.org> SIZE=7" in server.commands


def test_options_go_where_they_are_offered(server: ScriptedServer) -> None:
    wanted = [
        "BODY=8BITMIME", "RET=HDRS", "ENVID=x", "BY=60;R", "HOLDFOR=5", "REQUIRETLS", "AUTH=<>",
        "MT-PRIORITY=3", "BODY=BINARYMIME", "X-OWN=1", "8bitmime",
    ]  # fmt: skip
    with client_of(server) as client:
        client.sendmail(
            "a@example.org", "b@example.net", "hi", wanted,
            ["NOTIFY=NEVER", "ORCPT=rfc822;b@example.net", "RRVS=2014-04-03T23:01:00Z"],
        )  # fmt: skip
    assert server.commands[1:3] == [
        "mail from:<a@example.org> size=2 BODY=8BITMIME RET=HDRS ENVID=x X-OWN=1 8bitmime",
        "rcpt to:<b@example.net> NOTIFY=NEVER ORCPT=rfc822;b@example.net",
    ]


def test_options_without_any_extension() -> None:
    with serving(extensions=["HELP"]) as server, client_of(server) as client:
        client.sendmail("a@example.org", "b@example.net", "hi", ["BODY=8BITMIME"], ["NOTIFY=NEVER"])
        assert server.commands[1:3] == ["mail from:<a@example.org>", "rcpt to:<b@example.net>"]


def test_smtputf8_that_is_not_offered(server: ScriptedServer) -> None:
    with client_of(server) as client:
        with pytest.raises(smtplib.SMTPNotSupportedError):
            client.sendmail("a@example.org", "b@example.net", "hi", ["SMTPUTF8"])
        assert client.sendmail("a@example.org", "b@example.net", "hi") == {}


def test_smtputf8_holds_for_one_transaction() -> None:
    with Server() as server, client_of(server) as client:
        for options in (["SMTPUTF8"], ["SMTPUTF8", "BODY=8BITMIME"]):
            client.sendmail("jőhn@example.org", "sálly@example.net", b"hi", options)
        with pytest.raises(UnicodeEncodeError):
            client.sendmail("jőhn@example.org", "b@example.net", b"hi")
        client.command_encoding = "utf-8"  # by hand it has always stayed
        client.ehlo_or_helo_if_needed()
        assert client.mail("a@example.org")[0] == 250
        assert client.command_encoding == "utf-8"
    assert server.messages[0].sender == "jőhn@example.org"
    assert len(server.messages) == 2


def test_a_single_string_is_one_address(server: ScriptedServer) -> None:
    with client_of(server) as client:
        client.sendmail("a@example.org", "Bob <b@example.net>", "hi")
        with pytest.raises(AddressError, match="recipient"):
            client.sendmail("a@example.org", "b@example.net, c@example.net", "hi")
    assert "rcpt to:<b@example.net>" in server.commands


def test_no_recipients(server: ScriptedServer) -> None:
    with client_of(server) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused) as caught:
            client.sendmail("a@example.org", [], "hi")
        assert caught.value.recipients == {}
        assert client.sendmail("a@example.org", ("b@example.net",), "hi") == {}


def test_duplicates_are_sent_twice(server: ScriptedServer) -> None:
    with client_of(server) as client:
        client.sendmail("a@example.org", ["b@example.net"] * 2, "hi")
    assert server.commands.count("rcpt to:<b@example.net>") == 2


def test_duplicates_that_are_all_refused() -> None:
    with serving({"RCPT": b"550 no\r\n"}) as server, client_of(server) as client:
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail("a@example.org", ["b@example.net"] * 2, "hi")
        assert not any(server.contents)


def test_pipelining_can_be_forgotten(server: ScriptedServer) -> None:
    with client_of(server) as client:
        client.ehlo()
        client.esmtp_features.pop("pipelining")
        client.sendmail("a@example.org", "b@example.net", "hi")
    assert "data" in server.commands


@pytest.mark.parametrize("sender", ["", "<>"])
def test_the_null_sender(server: ScriptedServer, sender: str) -> None:
    with client_of(server) as client:
        client.sendmail(sender, "b@example.net", "hi")
    assert "mail from:<> size=2" in server.commands


@pytest.mark.parametrize(
    ("given", "path"),
    [
        ("John", "John"),
        ("Name <n@example.net>", "n@example.net"),
        ('"Last, First" <n@example.net>', "n@example.net"),
        (" n@example.net ", "n@example.net"),
        ("n@example.net (comment)", "n@example.net"),
        ('"a b"@example.net', '"a b"@example.net'),
        ('X <"a b"@example.net>', '"a b"@example.net'),
        ("n@[192.0.2.1]", "n@[192.0.2.1]"),
        ("n@bücher.example", "n@xn--bcher-kva.example"),
        ("Jürg <n@bücher.example>", "n@xn--bcher-kva.example"),
    ],
)
def test_addresses(server: ScriptedServer, given: str, path: str) -> None:
    with client_of(server) as client:
        client.sendmail(given, [given], "hi")
    assert server.commands[1:3] == [f"mail from:<{path}> size=2", f"rcpt to:<{path}>"]


@pytest.mark.requirement("T2")
@pytest.mark.requirement("T3")
@pytest.mark.parametrize(
    "address",
    [
        "a@b c@d", "a@exam ple.net", "a@b, c@d", "Last, First <a@b.example>", "a@b> X=1",
        "a@b><c@d", "@r:a@b", "a@b@c", "a..b@c", "undisclosed:;", "None", None, 7, b"a@b",
        ["a@b", "c@d"], "x" * 300 + "@example.net", "a b", "<a@b> <c@d>", " ",
        "a@b <", "<@r:a@b>", "x <a@b> y", "a@b;", "Name " * 1000 + "<a@b>",
    ],
)  # fmt: skip
def test_what_is_no_address_is_refused_before_a_byte(server: ScriptedServer, address: Any) -> None:
    with client_of(server) as client:
        for sender, recipients in ((address, ["b@example.net"]), ("a@example.org", [address])):
            with pytest.raises(AddressError):
                client.sendmail(sender, recipients, "hi")
        client.ehlo()
        for step in (client.mail, client.rcpt):
            with pytest.raises(AddressError):
                step(address)
    assert [command.split()[0] for command in server.commands] == ["ehlo", "QUIT"]


@pytest.mark.parametrize("address", ["", "<>"])
def test_an_empty_recipient_is_refused(server: ScriptedServer, address: str) -> None:
    with client_of(server) as client:
        with pytest.raises(AddressError):
            client.sendmail("a@example.org", address, "hi")
        with pytest.raises(AddressError):
            client.rcpt(address)
    assert server.commands == ["QUIT"]


def test_many_recipients_pass_the_window() -> None:
    everyone = [f"user{number}@example.net" for number in range(1000)]
    refused = dict.fromkeys(everyone[::10], "550 no")
    with Server(refuse_recipients=refused) as server, client_of(server) as client:
        result = client.sendmail("a@example.org", everyone, "hi")
    assert {address: code for address, (code, _) in result.items()} == dict.fromkeys(refused, 550)
    assert len(server.messages[0].recipients) == 900
    assert not server.breaches


@pytest.mark.requirement("T34")
@pytest.mark.parametrize("extensions", [PIPELINING, LOCK_STEP])
def test_an_early_refusal_of_the_content_is_told(extensions: list[str]) -> None:
    def write(connection: socket.socket, octets: bytes) -> None:
        connection.sendall(octets)
        if octets.startswith(b"354"):
            connection.recv(100)
            connection.sendall(b"552 5.3.4 too large\r\n")
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(65536):
                pass

    with serving(extensions=extensions, write=write) as server:
        client = client_of(server)
        with pytest.raises(smtplib.SMTPDataError) as caught:
            client.sendmail("a@example.org", "b@example.net", b"x\r\n" * 1_000_000)
        assert caught.value.args == (552, b"5.3.4 too large")
        assert client.sock is None


@pytest.mark.parametrize("kind", [smtplib.SMTP, Overriding])
@pytest.mark.parametrize("extensions", [PIPELINING, LOCK_STEP])
def test_a_server_that_closes_behind_its_acceptance(
    kind: type[smtplib.SMTP], extensions: list[str]
) -> None:
    with serving({"END": b"250 queued\r\n" + CLOSE}, extensions=extensions) as server:
        client = client_of(server, kind)
        assert client.sendmail(*MAIL) == {}
        with pytest.raises(smtplib.SMTPServerDisconnected):
            client.sendmail(*MAIL)
        client.close()


@pytest.mark.parametrize("end", [b"250 stray\r\n554 refused\r\n", b"554 stray\r\n250 queued\r\n"])
def test_a_reply_too_many_to_the_end_of_data_is_a_doubt(end: bytes) -> None:
    with serving({"END": end}, extensions=PIPELINING) as server:
        client = client_of(server)
        with pytest.raises(smtplib.SMTPServerDisconnected, match="in doubt"):
            client.sendmail(*MAIL)
        client.close()


def test_a_421_to_a_recipient_ends_it_whatever_the_server_does_then() -> None:
    """The caller is told that nobody gets it: so nobody does, though DATA is answered by 354."""
    answers: Answers = {
        "RCPT": [b"250 ok\r\n421 go away\r\n", b""],
        "DATA": b"354 go ahead\r\n",
    }
    with serving(answers, extensions=PIPELINING) as server:
        client = client_of(server)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail(*MAIL)
        assert client.sock is None
    assert server.contents == []


@pytest.mark.parametrize("extensions", [PIPELINING, LOCK_STEP])
def test_a_421_to_the_rset_behind_a_refusal_ends_it_too(extensions: list[str]) -> None:
    """RFC 5321 §3.8: what comes after it, such as a 5yz to the next MAIL, is no refusal of that."""
    answers: Answers = {"RCPT": b"550 no\r\n", "RSET": b"421 too many errors\r\n"}
    with serving(answers, extensions=extensions) as server:
        client = client_of(server)
        with pytest.raises(smtplib.SMTPRecipientsRefused):
            client.sendmail(*MAIL)
        assert client.sock is None


def test_nobody_gets_an_empty_message() -> None:
    """MAIL was refused and DATA was not: the transaction is another message's."""
    answers: Answers = {"MAIL": b"503 nested MAIL\r\n", "DATA": b"354 go ahead\r\n"}
    with serving(answers, extensions=PIPELINING) as server:
        client = client_of(server)
        with pytest.raises(smtplib.SMTPSenderRefused):
            client.sendmail(*MAIL)
        client.close()
    assert server.contents == []


def test_a_reply_too_many_before_data_is_not_waited_for() -> None:
    """The 550 is not DATA's, and RSET would be taken for content: nothing answers it."""
    again = AppendToReply("RCPT", b"250 again\r\n", nth=1)
    with Server(faults=[again], refuse_recipients={"c@y.test": "550 no"}) as server:
        client = smtplib.SMTP(server.host, server.port, timeout=10)
        begun = time.monotonic()
        with pytest.raises(smtplib.SMTPDataError):
            client.sendmail("a@x.test", ["b@y.test", "c@y.test"], b"Subject: x\r\n\r\nx\r\n")
        assert time.monotonic() - begun < 5
        assert client.sock is None
