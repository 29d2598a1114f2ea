"""`serialise` writes what the standard generator writes, octet by octet, and mostly without it."""

from __future__ import annotations

import re
from collections.abc import Callable
from contextlib import suppress
from email import message_from_bytes, policy
from email.generator import BytesGenerator
from email.headerregistry import AddressHeader, HeaderRegistry, UnstructuredHeader
from email.message import EmailMessage, Message
from email.mime.application import MIMEApplication
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText
from io import BytesIO
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpx._message import names
from smtpx._message.flattening import Unsure, flattened
from smtpx._message.serialising import careful, serialise
from smtpx.errors import LocalProtocolError

FIXTURES = sorted((Path(__file__).parent / "messages").glob("*.eml"))
REWRITTEN = [name.encode() for name in {*names.ADDRESSES, *names.EXACT, "list-id"}]
POLICIES = [
    policy.default,
    policy.SMTP,
    policy.SMTPUTF8,
    policy.HTTP,
    policy.compat32,
    policy.default.clone(refold_source="all"),
    policy.default.clone(refold_source="none"),
]


def with_boundaries_numbered(octets: bytes) -> bytes:
    """Those that were drawn by lot, one the n-th that occurs."""
    numbers: dict[bytes, bytes] = {}
    return re.sub(
        rb"(?<=={15})\d{19}(?===)", lambda m: numbers.setdefault(m[0], b"%d" % len(numbers)), octets
    )


def generated(message: Any, *, smtputf8: bool, seven_bit: bool) -> bytes:
    """As the standard library has it."""
    wanted = message.policy.clone(
        linesep="\r\n", cte_type="7bit" if seven_bit else "8bit", max_line_length=78
    )
    if isinstance(wanted, policy.EmailPolicy):
        wanted = wanted.clone(utf8=smtputf8)
    for name in ("Bcc", "Resent-Bcc"):
        del message[name]
    buffer = BytesIO()
    BytesGenerator(buffer, mangle_from_=False, policy=wanted).flatten(message)
    return buffer.getvalue()


def without_rewritten(octets: bytes) -> bytes:
    """Without the fields that are written otherwise than the package would, see test_rewriting."""
    return re.sub(
        rb"^(?:%b):.*\r\n(?:[ \t].*\r\n)*" % b"|".join(map(re.escape, REWRITTEN)),
        b"",
        octets,
        flags=re.M | re.I,
    )


def breaks_out(octets: bytes) -> bool:
    """True if the header section has a bare LF, or a line that is neither a field nor folded."""
    header = octets.partition(b"\r\n\r\n")[0]
    if re.search(rb"(?<!\r)\n", header):
        return True
    return any(not re.match(rb"[A-Za-z-]+:|[ \t]", line) for line in header.split(b"\r\n") if line)


def _has_to_be_encoded(text: str) -> bool:
    return not text.isascii() and " " in text


def without_texts_to_encode(message: Any) -> None:
    """Those of several words are written otherwise, as the package loses spaces: test_rewriting."""
    for part in message.walk():
        for name, value in list(part.raw_items()):
            if isinstance(value, UnstructuredHeader) and _has_to_be_encoded(str(value)):
                del part[name]


def agree(message: Any) -> None:
    """Ours first: the generator writes boundaries into the parts of what it is given."""
    for smtputf8, seven_bit in [(True, False), (True, True), (False, False), (False, True)]:
        if not (smtputf8 and isinstance(message.policy, policy.EmailPolicy)):
            without_texts_to_encode(message)
        try:
            ours: bytes | None = serialise(message, smtputf8=smtputf8, seven_bit=seven_bit)
        except LocalProtocolError:
            ours = None
        try:
            standard = generated(message, smtputf8=smtputf8, seven_bit=seven_bit)
        except Exception:
            assert ours is None
            continue
        # Else a field breaks out, which the generator lets pass, or does itself to a long name.
        if ours is not None and not breaks_out(standard):
            ours, standard = without_rewritten(ours), without_rewritten(standard)
            assert with_boundaries_numbered(ours) == with_boundaries_numbered(standard)


def agree_whole(message: Any) -> None:
    """The short way and the generator's, under the policy that rewrites fields."""
    wanted: Any = message.policy.clone(linesep="\r\n", cte_type="8bit", max_line_length=78)
    chosen: Any = careful(cast("Any", type(wanted)))(**vars(wanted))
    buffer = BytesIO()
    try:
        short = flattened(message, chosen, without=())
        BytesGenerator(buffer, mangle_from_=False, policy=chosen).flatten(message)
    except (Unsure, Exception):
        return
    assert with_boundaries_numbered(short) == with_boundaries_numbered(buffer.getvalue())


# --- what programs compose ----------------------------------------------------------------------

NAMES = ["Subject", "subject", "X-Note", "Comments", "References", "List-Unsubscribe", "Keywords"]
ADDRESS_NAMES = ["From", "To", "Cc", "Reply-To", "Sender", "resent-to", "Bcc"]
PIECES = [
    *["word", "two words", "=?utf-8?q?caf=C3=A9?=", "=?utf-8?b?w7w=?=", "é", "日本", "\U0001f600"],
    *[
        " ",
        "  ",
        "\t",
        ",",
        ";",
        ":",
        "<",
        ">",
        '"',
        "(",
        ")",
        "\\",
        "@",
        "=?",
        "?=",
        ".",
        "a" * 60,
    ],
    *[
        "x" * 90,
        "https://example.org/" + "p" * 50,
        "1234567890 " * 7,
        "\x0b",
        "\x7f",
        "\xa0",
        "\x85",
    ],
    *["<a.b@example.org>", "Thu, 26 Nov 2026 00:00:00 +0000", "a/b; c=d", "\r\n x", "\n"],
]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=6).map("".join)
ADDRESSES = st.lists(
    st.one_of(
        st.sampled_from(
            [
                *[
                    "ann@example.org",
                    "Ann Example <ann@example.org>",
                    '"Doe, Jane" <j@example.org>',
                ],
                *["Jürgen <j@example.org>", "jürgen@example.org", "Team: a@b.test, c@d.test;"],
                *["ann@example.org (comment)", "Ann   Example   <ann@example.org>", "<ann@b.test>"],
                *["bob @ example.org", '"b o b"@x.test', "=?utf-8?q?J=C3=BC?= <j@example.org>"],
                *["undisclosed-recipients:;", "x" * 70 + "@example.org", "J. Doe <j@x.test>"],
            ]
        ),
        TEXTS,
    ),
    max_size=4,
).map(", ".join)
BODIES = st.lists(
    st.sampled_from(
        [
            "",
            "hello",
            "From here",
            ".",
            "..",
            " trailing ",
            "é",
            "日本語",
            "=",
            "x" * 1100,
            "--b",
            "\0",
        ]
    ),
    max_size=5,
).flatmap(lambda lines: st.sampled_from(["\n", "\r\n", "\r"]).map(lambda end: end.join(lines)))
CTES = [None, "7bit", "8bit", "quoted-printable", "base64"]
FILENAMES = st.sampled_from(
    [None, "a.bin", "two words.pdf", "käse.bin", "n" * 90 + ".txt", 'q"uote.txt', "a;b.txt"]
)


@st.composite
def texts(draw: st.DrawFn, kind: str = "plain") -> EmailMessage:
    part = EmailMessage(draw(st.sampled_from(POLICIES[:3])))
    body = draw(BODIES)
    charset = draw(st.sampled_from(["utf-8", "iso-8859-1", "us-ascii"]))
    try:
        part.set_content(body, subtype=kind, charset=charset, cte=draw(st.sampled_from(CTES)))
    except (UnicodeError, ValueError):
        part.set_content(body, subtype=kind)
    return part


def old_parts() -> st.SearchStrategy[Any]:
    makers: list[Callable[[], Any]] = [
        lambda: MIMEText("hi\n"),
        lambda: MIMEText("grüß dich\n", "html", "utf-8"),
        lambda: MIMEApplication(b"\0\1\r\n" * 50, Name="käse.bin"),
        lambda: MIMEMultipart("mixed", None, [MIMEText("in\n")]),
        lambda: MIMEMultipart("alternative", "b0undary", [MIMEText("in\n"), MIMEText("<p>")]),
        lambda: MIMEMultipart("signed", None, [MIMEText("in\n"), MIMEText("sig")], protocol="x"),
        Message,
    ]
    return st.sampled_from(makers).map(lambda make: make())


def steps() -> st.SearchStrategy[Any]:
    """What a program may do to a message, one after the other."""
    names = st.sampled_from(NAMES + ADDRESS_NAMES)
    dates = st.sampled_from(["Thu, 26 Nov 2026 00:00:00 +0000", "nonsense", ""])
    boundaries = st.sampled_from(
        ["b", "=" * 15 + "1" * 19 + "==", "sp ace", "=?utf-8?q?a?=", "q'u", "x" * 70, "a.0", ""]
    )
    padding = st.sampled_from([None, "", "MIME\n", "é", "a\rb", "\udce9\n", "\r\n"])
    return st.one_of(
        st.builds(lambda n, v: lambda m: m.__setitem__(n, v), names, TEXTS),
        st.builds(
            lambda n, v: lambda m: m.__setitem__(n, v), st.sampled_from(ADDRESS_NAMES), ADDRESSES
        ),
        st.builds(lambda v: lambda m: m.__setitem__("Date", v), dates),
        st.builds(lambda b: lambda m: m.add_alternative("<p>" + b, subtype="html"), BODIES),
        st.just(lambda m: m.add_related(b"png" * 30, "image", "png", cid="<x@y>")),
        st.builds(
            lambda data, name: (
                lambda m: m.add_attachment(data, "application", "pdf", filename=name)
            ),
            st.binary(max_size=200),
            FILENAMES,
        ),
        st.builds(lambda part: lambda m: m.attach(part), st.one_of(old_parts(), texts("html"))),
        st.builds(lambda inner: lambda m: m.add_attachment(inner), texts()),  # message/rfc822
        st.builds(lambda b: lambda m: m.set_boundary(b), boundaries),
        st.builds(lambda p: lambda m: setattr(m, "preamble", p), padding),
        st.builds(lambda p: lambda m: setattr(m, "epilogue", p), padding),
        st.builds(lambda p: lambda m: setattr(m, "policy", p), st.sampled_from(POLICIES)),
    )


@st.composite
def composed(draw: st.DrawFn) -> EmailMessage:
    message = draw(texts())
    for step in draw(st.lists(steps(), max_size=10)):
        with suppress(Exception):  # What the package refuses, or trips over.
            step(message)
    return message


@given(composed())
def test_what_is_composed_is_written_as_the_generator_writes_it(message: EmailMessage) -> None:
    agree(message)


def with_group_without_a_name() -> EmailMessage:
    message = EmailMessage()
    message["From"] = ":;"
    return message


@given(composed())
@example(with_group_without_a_name())
def test_both_ways_write_the_same(message: EmailMessage) -> None:
    if type(message.policy) is policy.EmailPolicy:
        agree_whole(message)


# --- what comes from elsewhere ------------------------------------------------------------------

FIELDS = [
    *["From: Ann <ann@example.org>", "To: b@x.test,\n c@x.test", "Subject: " + "long " * 30],
    *["Subject: caf\xe9", "Subject: a\n\tfolded\n  field ", "Subject:", "Subject:   ", "X: \t"],
    *[
        "Subject: =?utf-8?q?caf=C3=A9?=",
        "X-Ff: a\x0cb",
        "X-Cr: a\rb",
        "X Y: z",
        "x-dup: 1\nX-Dup: 2",
    ],
    *["Received: from a by b\n\tfor <c@x.test>; Mon, 7 Jan 2030 12:00:00 +0000", "Bcc: s@x.test"],
    *["Content-Transfer-Encoding: 8bit", "Content-Transfer-Encoding: base64", "MIME-Version: 1.0"],
    *["Content-Disposition: attachment; filename*=utf-8''k%C3%A4se", "DKIM-Signature: v=1; " * 6],
]
TYPES = [
    *[
        "text/plain",
        "text/plain; charset=utf-8",
        "Text/HTML;\n charset=iso-8859-1",
        "text",
        "a/b/c",
    ],
    *["multipart/mixed; boundary=b", 'multipart/mixed; boundary="b"', "multipart/mixed"],
    *['Multipart/Alternative;\n boundary="b"', 'multipart/digest; boundary="b"', "message/rfc822"],
    *['multipart/signed; boundary="b"; micalg=x', 'multipart/related; type=x; boundary="b"'],
    *['multipart/report; boundary="b"', "message/delivery-status", "multipart/mixed; boundary=b=c"],
    *[
        "multipart/mixed;\tboundary=b",
        "multipart/mixed ; boundary=b",
        "multipart/mixed; boundary=''",
    ],
    *['multipart/mixed; boundary="=?utf-8?q?b?="', "ſext/plain", "multipart/mixed; boundary*0=b"],
    *['multipart/mixed; boundary="===============1234567890123456789=="', "text/plain (comment)"],
]
PARTS = [
    *["\nhi\n", "\n", "", "Content-Type: text/html\n\n<p>caf\xe9\n", "X: y\n\nfold", "\nno end"],
    *["Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: 8bit\n\ngr\xfc\xdf\n"],
    *["Content-Type: multipart/mixed; boundary=c\n\n--c\n\nin\n--c--\n", "\nFrom here\n"],
    *["Content-Type: message/rfc822\n\nSubject: in\n\nin\n"],
]


@st.composite
def received(draw: st.DrawFn) -> bytes:
    fields = draw(st.lists(st.sampled_from(FIELDS), max_size=6))
    fields += [
        f"Content-Type: {kind}" for kind in draw(st.lists(st.sampled_from(TYPES), max_size=2))
    ]
    parts = draw(st.lists(st.sampled_from(PARTS), max_size=3))
    boundary = draw(st.sampled_from(["b", "b", "=" * 15 + "1234567890123456789=="]))
    body = draw(st.sampled_from(["", "preamble\n"]))
    body += "".join(f"--{boundary}\n{part}\n" for part in parts)
    body += draw(
        st.sampled_from([f"--{boundary}--\n", f"--{boundary}--", "", f"--{boundary}--\nend"])
    )
    whole = "\n".join(draw(st.permutations(fields))) + "\n\n" + body
    return whole.replace("\n", draw(st.sampled_from(["\n", "\r\n"]))).encode("latin-1", "replace")


@given(received(), st.sampled_from(POLICIES))
def test_what_is_received_is_written_as_the_generator_writes_it(octets: bytes, chosen: Any) -> None:
    agree(message_from_bytes(octets, policy=chosen))


@given(st.binary(max_size=300), st.sampled_from(POLICIES[:2]))
@example(b"Content-Type: multipart/mixed; boundary=\n\n--\n\n----\n", policy.default)
def test_so_is_noise(octets: bytes, chosen: Any) -> None:
    agree(message_from_bytes(octets, policy=chosen))


@pytest.mark.parametrize("chosen", POLICIES)
@pytest.mark.parametrize("path", FIXTURES, ids=lambda path: path.stem)
def test_so_are_messages_as_they_come(path: Path, chosen: Any) -> None:
    agree(message_from_bytes(path.read_bytes(), policy=chosen))


@pytest.mark.parametrize(
    "octets",
    [
        b'Content-Type: multipart/signed; boundary="b"\n\n--b\nX-Long: %b\n\nhi\n--b--\n'
        % (b"word " * 30),
        b"Content-Type: text/plain\nContent-Type: multipart/mixed; boundary=b\n\nhi\n",
        b'Content-Type: multipart/digest; boundary="b"\n\n--b\n\nSubject: in\n\nhi\n--b--\n',
        b"Subject: =?utf-8?q?a=0A?= b\n\nhi\n",
    ],
)
def test_so_is_what_the_generator_treats_in_a_way_of_its_own(octets: bytes) -> None:
    agree(message_from_bytes(octets, policy=policy.default))


def test_there_are_messages() -> None:
    assert len(FIXTURES) >= 6


# --- what asks the generator --------------------------------------------------------------------


class Shouted(AddressHeader):
    """A class of field that is not the package's."""

    def fold(self, *, policy: Any) -> str:
        return "To: SHOUTED\r\n"


def test_a_field_with_a_folding_of_its_own_keeps_it() -> None:
    registry = HeaderRegistry()
    registry.map_to_type("to", cast("Any", Shouted))
    message = EmailMessage(policy.default.clone(header_factory=registry))
    message["To"] = "ann@example.org"
    assert serialise(message) == b"To: SHOUTED\r\n\r\n"


def test_a_message_that_writes_itself_is_let() -> None:
    class Signed(EmailMessage):
        def _write_headers(self, generator: Any) -> None:
            generator.write("X-Signed: yes\r\n\r\n")

    message = Signed()
    message.set_content("hi\n")
    assert serialise(message) == b"X-Signed: yes\r\n\r\nhi\r\n"


def ordinary() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Ann Example <ann@example.org>"
    message["To"] = "Bob <bob@example.net>, carol@example.net"
    message["Subject"] = "Your order 12345 is on its way"
    message["Date"] = "Thu, 26 Nov 2026 00:00:00 +0000"
    message["Message-ID"] = "<1@example.org>"
    message["List-Unsubscribe"] = "<https://example.org/u/1>"
    message.set_content("Dear Bob,\n\nit is on its way.\n")
    message.add_alternative("<p>Dear Bob,\n<p>it is on its way.\n", subtype="html")
    message.add_attachment(
        bytes(300), maintype="application", subtype="pdf", filename="invoice.pdf"
    )
    return message


class Refusing(policy.EmailPolicy):
    """A policy that is not to be asked."""

    def fold_binary(self, name: str, value: Any) -> bytes:
        raise AssertionError(name)


@pytest.mark.parametrize("again", [False, True])
def test_an_ordinary_message_needs_no_folding(again: bool) -> None:
    message = ordinary()
    if again:  # The generator has given it its boundaries.
        _ = message.as_bytes()
    chosen = Refusing(linesep="\r\n", cte_type="8bit", max_line_length=78)
    octets = flattened(message, chosen, without=())
    standard = generated(message, smtputf8=False, seven_bit=False)
    assert with_boundaries_numbered(octets) == with_boundaries_numbered(standard)
    assert octets.count(b"\r\n") == octets.count(b"\n") > 40


def test_the_callers_message_gets_no_boundary() -> None:
    message = ordinary()
    _ = serialise(message)
    assert all(part.get_boundary() is None for part in message.walk())
