"""Commands as lines: one guard, one form, secrets left out of what is shown."""

from __future__ import annotations

import re
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx._wire import commands
from smtpx._wire.commands import Command, Phase, command
from smtpx.addresses import Address
from smtpx.errors import AddressError, LocalProtocolError, SMTPError
from smtpx.options import Timeouts

ANN = Address.parse("ann@x.test")


def group_of(
    sender: Address | None, parameters: str, recipients: list[str], *, reset: bool = False
) -> bytes:
    paths = commands.paths_of(sender, recipients)
    return commands.envelope_commands(paths, parameters, reset, then="")


BUILDERS: dict[str, Callable[[str], object]] = {
    "command": lambda text: command(Phase.OTHER, f"VRFY {text}"),
    "secret": lambda text: command(Phase.AUTH, text, secret=True),
    "EHLO": lambda text: commands.ehlo("EHLO", text),
    "LHLO": lambda text: commands.ehlo("LHLO", text),
    "MAIL local-part": lambda text: commands.mail(Address(text, "x.test")),
    "MAIL domain": lambda text: commands.mail(Address("a", text)),
    "MAIL parameters": lambda text: commands.mail(None, f" ENVID={text}"),
    "RCPT local-part": lambda text: commands.rcpt(Address(text, "x.test")),
    "RCPT domain": lambda text: commands.rcpt(Address("a", text)),
    "RCPT parameters": lambda text: commands.rcpt(ANN, f" ORCPT={text}"),
    "group, sender": lambda text: group_of(Address(text, "x.test"), "", ["b@x.test"]),
    "group, parameters": lambda text: group_of(None, f" X={text}", ["b@x.test"], reset=True),
    "group, first recipient": lambda text: group_of(None, "", [text, "b@x.test"]),
    "group, last recipient": lambda text: group_of(None, "", ["b@x.test", text]),
}
every_builder = pytest.mark.parametrize("build", BUILDERS.values(), ids=BUILDERS.keys())


def is_refused(build: Callable[[str], object], text: str) -> bool:
    try:
        build(text)
    except (LocalProtocolError, AddressError):
        return True
    return False


@every_builder
@pytest.mark.requirement("T1")
@pytest.mark.parametrize("shape", ["a{}b", "{}ab", "ab{}"])
def test_a_control_character_is_refused_whoever_builds_the_line(
    build: Callable[[str], object], shape: str
) -> None:
    codes = [*range(0x20), 0x7F]
    assert [code for code in codes if not is_refused(build, shape.format(chr(code)))] == []


@every_builder
@pytest.mark.requirement("T4")
def test_a_surrogate_is_refused_never_encoded_somehow(build: Callable[[str], object]) -> None:
    codes = [0xD800, 0xDBFF, 0xDC0A, 0xDC80, 0xDFFF]
    assert [hex(code) for code in codes if not is_refused(build, f"a{chr(code)}b")] == []


@pytest.mark.requirement("T1")
@given(st.text(max_size=30) | st.text("a\r\n \0\x7f\t", max_size=6))
def test_a_command_is_one_line_or_refused(text: str) -> None:
    for build in BUILDERS.values():
        try:
            built = build(text)
        except SMTPError:
            continue
        wire = built.wire if isinstance(built, Command) else built
        assert isinstance(wire, bytes)
        lines = wire.split(b"\r\n")
        assert lines.pop() == b""
        assert len(lines) <= 4
        assert not re.search(rb"[\x00-\x1f\x7f]", b"".join(lines))
        if isinstance(built, Command):
            assert len(lines) == 1


@pytest.mark.requirement("T4")
@pytest.mark.parametrize("text", ["\u010d\u010aRCPT", "\u560d\u560a", "\u2028", "ü"])
def test_what_is_not_ascii_leaves_as_utf8(text: str) -> None:
    assert command(Phase.OTHER, text).wire == text.encode() + b"\r\n"


@pytest.mark.parametrize(
    ("built", "wire", "phase"),
    [
        (commands.ehlo("EHLO", "me.test"), b"EHLO me.test\r\n", Phase.HELLO),
        (commands.ehlo("HELO", "[192.0.2.1]"), b"HELO [192.0.2.1]\r\n", Phase.HELLO),
        (commands.ehlo("LHLO", "[IPv6:::1]"), b"LHLO [IPv6:::1]\r\n", Phase.HELLO),
        (commands.mail(None), b"MAIL FROM:<>\r\n", Phase.MAIL),
        (commands.mail(ANN), b"MAIL FROM:<ann@x.test>\r\n", Phase.MAIL),
        (commands.mail(ANN, " SIZE=1"), b"MAIL FROM:<ann@x.test> SIZE=1\r\n", Phase.MAIL),
        (commands.rcpt(ANN), b"RCPT TO:<ann@x.test>\r\n", Phase.RCPT),
        (
            commands.rcpt(Address.parse('"a b"@x.test'), " NOTIFY=NEVER"),
            b'RCPT TO:<"a b"@x.test> NOTIFY=NEVER\r\n',
            Phase.RCPT,
        ),
        (
            commands.rcpt(Address.parse("ü@ü.test")),
            "RCPT TO:<ü@xn--tda.test>\r\n".encode(),
            Phase.RCPT,
        ),
        (commands.rcpt(Address.parse("postmaster")), b"RCPT TO:<postmaster>\r\n", Phase.RCPT),
        (commands.bdat(0, last=True), b"BDAT 0 LAST\r\n", Phase.DATA_TERMINATION),
        (commands.bdat(65536, last=False), b"BDAT 65536\r\n", Phase.DATA_BLOCK),
        (commands.DATA, b"DATA\r\n", Phase.DATA_INITIATION),
        (commands.END_OF_DATA, b".\r\n", Phase.DATA_TERMINATION),
        (commands.RSET, b"RSET\r\n", Phase.OTHER),
        (commands.STARTTLS, b"STARTTLS\r\n", Phase.TLS),
        (commands.QUIT, b"QUIT\r\n", Phase.QUIT),
        (commands.GREETING, b"", Phase.GREETING),
    ],
    ids=lambda value: str(value),
)
def test_a_command_has_the_rfcs_form_and_its_phase(
    built: Command, wire: bytes, phase: Phase
) -> None:
    assert built.wire == wire
    assert built.phase is phase
    assert not built.secret


@pytest.mark.requirement("RFC 2920 §3.1")
@pytest.mark.parametrize("reset", [False, True])
@pytest.mark.parametrize("sender", [None, ANN])
@pytest.mark.parametrize("recipients", [["b@x.test"], ["b@x.test", '"c d"@x.test', "ü@x.test"]])
def test_a_group_is_what_its_commands_are_one_by_one(
    sender: Address | None, recipients: list[str], reset: bool
) -> None:
    one_by_one = [commands.mail(sender, " SIZE=1")]
    one_by_one += [commands.rcpt(Address.parse(recipient)) for recipient in recipients]
    if reset:
        one_by_one.insert(0, commands.RSET)
    group = group_of(sender, " SIZE=1", recipients, reset=reset)
    assert group == b"".join(built.wire for built in one_by_one)


@pytest.mark.requirement("RFC 5321 §4.1.1.1")
@pytest.mark.parametrize("name", ["", " ", "a b", " a", "a "])
def test_a_client_is_identified_by_one_word(name: str) -> None:
    with pytest.raises(LocalProtocolError, match="cannot identify a client"):
        commands.ehlo("EHLO", name)


@pytest.mark.requirement("RFC 6531 §3.7.1")
def test_before_ehlo_is_answered_nothing_but_ascii_is_said() -> None:
    with pytest.raises(LocalProtocolError, match="cannot identify a client"):
        commands.ehlo("EHLO", "bücher.test")


@pytest.mark.requirement("T26")
@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("AUTH PLAIN AGFubgBodW50ZXIy", "AUTH PLAIN [redacted]"),
        ("auth plain AGFubgBodW50ZXIy", "auth plain [redacted]"),
        ("AUTH LOGIN", "AUTH LOGIN"),
        ("AUTH", "AUTH"),
        ("AUTH X a hunter2", "AUTH X [redacted]"),
        ("aHVudGVyMg==", "[redacted]"),
        ("", "[redacted]"),
        ("*", "[redacted]"),
    ],
)
def test_of_an_auth_exchange_only_the_mechanism_is_shown(text: str, shown: str) -> None:
    built = command(Phase.AUTH, text, secret=True)
    assert built.wire == text.encode() + b"\r\n"
    assert built.shown == shown
    assert repr(built) == str(built) == f"<Command {shown}>"


@pytest.mark.requirement("T26")
@pytest.mark.parametrize("bad", ["hunter2\r\n", "hunter2\ud800"])
def test_a_secret_that_is_refused_is_not_quoted(bad: str) -> None:
    with pytest.raises(LocalProtocolError) as caught:
        command(Phase.AUTH, bad, secret=True)
    assert "hunter2" not in str(caught.value)
    assert caught.value.__cause__ is None


def test_what_is_no_secret_is_shown_without_its_line_end() -> None:
    assert commands.mail(ANN).shown == "MAIL FROM:<ann@x.test>"
    assert commands.GREETING.shown == ""


def test_a_phase_is_named_like_its_timeout() -> None:
    for phase in Phase:
        assert getattr(Timeouts(), phase.field) is not None


def test_a_group_is_its_commands_one_after_the_other() -> None:
    recipients = [Address.parse(text) for text in ("b@y.test", '"c d"@y.test')]
    group = group_of(ANN, " SIZE=1", [str(each) for each in recipients], reset=True)
    alone = [commands.RSET, commands.mail(ANN, " SIZE=1"), *map(commands.rcpt, recipients)]
    assert group == b"".join(line.wire for line in alone)
