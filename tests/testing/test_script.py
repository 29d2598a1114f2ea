"""The script player: what it plays, in three modes, and what it will not let pass."""

import ssl

import pytest

from smtpx._core.steps import Glance, Receive, Send, StartTLS
from smtpx.testing import Mode, TranscriptMismatch, play
from smtpx.testing._transcript import read_script, write_entry

modes = pytest.mark.parametrize("mode", list(Mode))

receive = Receive(10.0, True)


def send(text):
    return Send(text.encode() if isinstance(text, str) else text, 10.0)


def reply():
    """Read one reply, and return it whole."""
    said = b""
    while True:
        data = yield receive
        said += data
        lines = said.splitlines(keepends=True)
        if not data or (lines and lines[-1].endswith(b"\n") and lines[-1][3:4] != b"-"):
            return said


def hello():
    greeting = yield from reply()
    yield send("EHLO me\r\n")
    ehlo = yield from reply()
    return greeting, ehlo


HELLO = """
    # a comment
    S: 220 mail.test

    C: EHLO me
    S: 250-mail.test
    S: 250 PIPELINING
"""


@modes
def test_plays(mode):
    played = play(hello(), HELLO, mode)
    assert played.value == (b"220 mail.test\r\n", b"250-mail.test\r\n250 PIPELINING\r\n")
    assert (played.writes, played.round_trips, played.sent) == (1, 1, b"EHLO me\r\n")


def count(script, mode):
    def counting():
        number = 0
        while (yield receive):
            number += 1
        return number

    return play(counting(), script, mode).value


def test_modes_differ_in_what_comes_at_once():
    script = "S: ab\nS: c\nS: <close>"
    assert [count(script, mode) for mode in Mode] == [1, 2, 7]
    assert count("S: ab\\\nS: <close>", Mode.BYTE) == 2


@modes
def test_group_in_one_write_or_many(mode):
    script = """
        C: MAIL FROM:<>
        C: RCPT TO:<x@y>
        S: 250 a
        S: 250 b
    """

    def one():
        yield send("MAIL FROM:<>\r\nRCPT TO:<x@y>\r\n")
        return (yield receive)

    def many():
        yield send("MAIL FROM:<>\r")
        yield send("\nRCPT TO:<x@y>\r")
        yield send(memoryview(b"\n"))
        return (yield receive)

    for procedure, writes in ((one, 1), (many, 3)):
        if mode is Mode.WHOLE:
            played = play(procedure(), script, mode)
            assert (played.writes, played.round_trips) == (writes, 1)
            assert played.value == b"250 a\r\n250 b\r\n"
        else:
            with pytest.raises(TranscriptMismatch, match="returned too early"):
                play(procedure(), script, mode)


@modes
def test_close(mode):
    def reads():
        return (yield receive), (yield receive)

    assert play(reads(), "S: <close>", mode).value == (b"", b"")


@modes
@pytest.mark.parametrize("step", [receive, send("x\r\n"), StartTLS(1.0)])
def test_reset_fails_the_next_step(mode, step):
    def breaks():
        try:
            yield step
        except ConnectionResetError:
            return (yield receive)

    assert play(breaks(), "S: <reset>", mode).value == b""


@modes
def test_what_came_before_a_reset_can_be_read(mode):
    def sends():
        yield send("a\r\n")
        try:
            yield send("b\r\n")
        except ConnectionResetError:
            return (yield from reply())

    script = "C: a\nS!: 552 too big\nS: <reset>"
    assert play(sends(), script, mode).value == b"552 too big\r\n"


@modes
def test_silence(mode):
    def waits():
        yield send("NOOP\r\n")
        try:
            yield receive
        except TimeoutError:
            yield send("QUIT\r\n")
            return (yield from reply())

    played = play(waits(), "C: NOOP\nS: <silence>\nC: QUIT\nS: 221 bye", mode)
    assert played.value == b"221 bye\r\n"
    assert played.round_trips == 1


@modes
def test_what_the_procedure_does_not_catch_goes_through(mode):
    def waits():
        yield receive

    with pytest.raises(TimeoutError) as caught:
        play(waits(), "S: <silence>\nC: QUIT\nS: 221 bye", mode)
    assert caught.value.__notes__ == ["The script was not finished:\nC: QUIT\nS: 221 bye"]

    def fails():
        yield receive
        raise KeyError("x")

    with pytest.raises(KeyError) as finished:
        play(fails(), "S: <close>", mode)
    assert not hasattr(finished.value, "__notes__")


@modes
def test_tls(mode):
    def starts():
        yield send("STARTTLS\r\n")
        yield from reply()
        return (yield StartTLS(1.0)), (yield Glance())

    script = "C: STARTTLS\nS: 220 go\n--tls--"
    assert play(starts(), script, mode).value == (b"", None)
    with pytest.raises(ssl.SSLError):
        play(starts(), script.replace("--tls--", "--tls failure--"), mode)
    with pytest.raises(TimeoutError):
        play(starts(), script.replace("--tls--", "S: <silence>"), mode)
    with pytest.raises(TranscriptMismatch, match="starts TLS"):
        play(starts(), script.replace("--tls--", "C: EHLO me"), mode)


@modes
def test_glance(mode):
    def glances():
        first = yield Glance()
        yield send("a\r\n")
        return first, (yield Glance()), (yield Glance()), (yield Glance())

    script = "C: a\nS!: 421 bye\nS!: now\nS!: <close>"
    assert play(glances(), script, mode).value == (None, b"421 bye\r\nnow\r\n", b"", b"")


def test_glance_does_not_see_an_answer():
    def glances():
        yield send("a\r\n")
        seen = yield Glance()
        return seen, (yield receive)

    assert play(glances(), "C: a\nS: 250 ok").value == (None, b"250 ok\r\n")


def test_glance_at_a_reset():
    def glances():
        yield Glance()

    with pytest.raises(ConnectionResetError):
        play(glances(), "S!: <reset>")


@modes
def test_who_does_not_glance_gets_it_with_the_next_receive(mode):
    def sends():
        yield send("a\r\n")
        return (yield from reply())

    assert play(sends(), "S!: 421 bye\nC: a", mode).value == b"421 bye\r\n"


@modes
def test_large_content(mode):
    content = b"x" * 70 + b"\r\n"

    def sends():
        yield send(content * 1000)
        yield receive

    script = "C: " + "x" * 70 + ("\n" + "x" * 70) * 999 + "\nS: <close>"
    assert play(sends(), script, mode).sent == content * 1000


def test_escapes_and_lines():
    entries = read_script("C: a\\x00\\t\\\\\n   b\\\nS: \\xff\\r\\n\\0\\\\\\\nS:\nS: ä")
    assert [getattr(entry, "data", None) for entry in entries] == [
        b"a\0\t\\\r\n",
        b"b",
        b"\xff\r\n\0\\",
        b"\r\n",
        "ä\r\n".encode(),
    ]
    assert write_entry(entries[0]) == "C: a\\x00\\x09\\\\"
    assert write_entry(entries[1]) == "C: b\\"


@pytest.mark.parametrize(
    ("script", "message"), [("hello", "line 1 .* no speaker"), ("\nC: \\q", "line 2 .* escape")]
)
def test_scripts_that_cannot_be_read(script, message):
    with pytest.raises(ValueError, match=message):
        play(hello(), script)


# What it will not let pass.


@modes
def test_other_words(mode):
    with pytest.raises(TranscriptMismatch) as caught:
        play(hello(), HELLO.replace("EHLO me", "EHLO you\nC: more"), mode)
    assert str(caught.value).split("\n") == [
        "the client says otherwise (- the script, + the procedure)",
        "  S: 220 mail.test",
        "- C: EHLO you",
        "- C: more",
        "+ C: EHLO me",
    ]


@modes
def test_too_many_words(mode):
    def chatters():
        yield send("a\r\nb\r\n")

    with pytest.raises(TranscriptMismatch, match=r"C: b"):
        play(chatters(), "C: a\nS: 250 ok", mode)


@modes
@pytest.mark.parametrize("script", ["S: 220-a\nS: 220 b\nC: EHLO me", "S: 220 b\n--tls--"])
def test_speaking_out_of_turn(mode, script):
    def hasty():
        yield receive
        yield send("EHLO me\r\n")
        yield receive

    if mode is Mode.WHOLE and "--tls--" not in script:
        script += "\nS: 220 c\nS: 250 d\nC: x"
        with pytest.raises(TranscriptMismatch, match="returned too early"):
            play(hasty(), script, mode)
        return
    with pytest.raises(TranscriptMismatch, match="speaks out of turn"):
        play(hasty(), script, mode)


@modes
def test_waiting_out_of_turn(mode):
    def waits():
        yield receive

    with pytest.raises(TranscriptMismatch, match=r"the client waits[^$]*- C: EHLO me"):
        play(waits(), "C: EHLO me\nS: 250 ok", mode)
    with pytest.raises(TranscriptMismatch, match=r"the end of the script"):
        play(waits(), "", mode)


@modes
def test_returning_early(mode):
    def returns():
        yield receive

    with pytest.raises(TranscriptMismatch, match="returned too early") as caught:
        play(returns(), "S: 220 ok\nC: EHLO me", mode)
    assert "- C: EHLO me" in str(caught.value)


@modes
def test_half_a_line_is_not_the_line(mode):
    def halves():
        yield send("EHL")

    with pytest.raises(TranscriptMismatch, match="returned too early"):
        play(halves(), "C: EHLO", mode)


def test_nothing_is_not_worth_a_write():
    def writes():
        yield send("")

    with pytest.raises(TranscriptMismatch):
        play(writes(), "C: a")


def test_a_procedure_that_will_not_stop():
    def stubborn():
        try:
            yield send("a\r\n")
        finally:
            yield send("QUIT\r\n")

    with pytest.raises(TranscriptMismatch) as caught:
        play(stubborn(), "C: b")
    assert "GeneratorExit" in caught.value.__notes__[0]


def test_what_was_said_unasked_and_not_read_is_left():
    def sends():
        yield send("a\r\n")

    with pytest.raises(TranscriptMismatch, match="S: 421 bye"):
        play(sends(), "S!: 421 bye\nC: a")
