"""Fields of addresses, and those that programs read, say on the wire what they were set to say."""

from __future__ import annotations

import re
from collections.abc import Callable
from email import message_from_bytes, message_from_string, policy
from email.header import Header, decode_header, make_header
from email.headerregistry import Address, Group
from email.message import EmailMessage, Message
from email.mime.text import MIMEText
from email.utils import formataddr, getaddresses
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from smtpx import Address as Mailbox
from smtpx import AddressError, Envelope, LocalProtocolError
from smtpx._message.names import ADDRESSES, EXACT, OF_THE_MESSAGE
from smtpx._message.serialising import serialise
from smtpx._smtplib.composing import written

fast_mail_parser = pytest.importorskip("fast_mail_parser")

LONG = ("word " * 3000).rstrip()


@pytest.mark.parametrize("kind", ["set", "of two spaces", "parsed"])
def test_a_field_of_many_words_does_not_take_the_packages_time(
    kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which grows with the square of their number: 40,000 words took it five seconds."""
    text = LONG.replace(" ", "  ") if kind == "of two spaces" else LONG
    if kind == "parsed":
        message = message_from_string(f"Subject: {text}\n\nhi\n", policy=policy.default)
    else:
        message = EmailMessage()
        message["Subject"] = text
    monkeypatch.delattr("email._header_value_parser._refold_parse_tree")
    octets = serialise(message)
    assert max(map(len, octets.splitlines())) <= 78
    monkeypatch.undo()
    written = message_from_bytes(octets)["Subject"]
    assert str(make_header(decode_header(written))).replace("\r\n", "") == text


characters = st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp", "Cn", "Co"])
NAMES = st.one_of(
    st.just(""),
    st.sampled_from(
        [
            *[
                "Ann",
                "Doe, Jane",
                "J. Doe",
                "a@evil.test",
                "x <eve@evil.test>",
                "Zoë",
                "名前",
                "A;B:C",
            ],
            *['say "hi"', "back\\slash", "Long " * 15 + ", x", "Größe, " * 12, "(c)"],
            *["eve@evil.test, bob", "x" * 100, "👨‍👩‍👧 family", "tab\there"],
        ]
    ),
    st.text(characters, min_size=1, max_size=80),
).map(lambda name: " ".join(name.replace("=?", "").split()))  # which the package decodes
SPECS = st.sampled_from(
    [
        *["ann@x.test", "a.b+c@y.test", '"a, b"@x.test', "bob@bücher.example", "bob@[192.0.2.1]"],
        *["a" * 60 + "@" + "b." * 30 + "test", '"@"@x.test', "o'neil@x.test", "x@日本.test"],
    ]
)
PEOPLE = st.lists(st.tuples(NAMES, SPECS), min_size=1, max_size=4)
People = list[tuple[str, str]]


def quoted(name: str) -> str:
    escaped = name.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def text_of(people: People) -> str:
    return ", ".join(f"{quoted(name)} <{spec}>" if name else spec for name, spec in people)


def objects(people: People) -> list[Address]:
    return [Address(name, addr_spec=spec) for name, spec in people]


def encoded(people: People) -> str:
    """As `formataddr` and `Header` prepare them; domains stay as they are."""
    return ", ".join(
        f"{Header(name, 'utf-8').encode(maxlinelen=0)} <{spec}>" if name else spec
        for name, spec in people
    )


WAYS: dict[str, Callable[[str, People], Any]] = {
    "text": lambda name, people: (EmailMessage(), text_of(people)),
    "list": lambda name, people: (EmailMessage(), [text_of([one]) for one in people]),
    "tuple": lambda name, people: (EmailMessage(), tuple(text_of([one]) for one in people)),
    "encoded": lambda name, people: (EmailMessage(), encoded(people)),
    "SMTP": lambda name, people: (EmailMessage(policy.SMTP), text_of(people)),
    "HTTP": lambda name, people: (EmailMessage(policy.HTTP), text_of(people)),
    "MIMEText": lambda name, people: (MIMEText("hi"), text_of(people)),
    "Header": lambda name, people: (MIMEText("hi"), Header(text_of(people), "utf-8")),
    "Message": lambda name, people: (Message(), text_of(people)),
}
OBJECTS: dict[str, Callable[[str, People], Any]] = {
    "objects": lambda name, people: (EmailMessage(), objects(people)),
    "mixed": lambda name, people: (EmailMessage(), [text_of(people[:1]), *objects(people[1:])]),
    "group": lambda name, people: (EmailMessage(), [Group("Team, Größe", tuple(objects(people)))]),
    "another's": lambda name, people: (
        EmailMessage(),
        _set(EmailMessage(), "Cc", objects(people))["Cc"],
    ),
}


def _set(message: Any, name: str, value: Any) -> Any:
    message[name] = value
    return message


def built(way: str, name: str, people: People) -> Any:
    message, value = (WAYS | OBJECTS)[way](name, people)
    return _set(message, name, value)


def meant(people: People) -> People:
    # Readers differ in the white space between encoded words.
    return [("".join(name.split()), str(Mailbox.parse(spec))) for name, spec in people]


def read_strictly(octets: bytes, name: str) -> People:
    (value,) = [value for field, value in message_from_bytes(octets).items() if field == name]
    again = message_from_bytes(
        b"To: " + value.encode() + b"\n\n", policy=policy.default + policy.strict
    )
    assert not again["To"].defects
    return [("".join(each.display_name.split()), each.addr_spec) for each in again["To"].addresses]


def read_by_the_older(octets: bytes, name: str) -> list[str]:
    return [spec for _, spec in getaddresses(message_from_bytes(octets).get_all(name, []))]


def read_by_another(octets: bytes, name: str) -> list[str]:
    value = message_from_bytes(octets)[name]
    return [
        each.address
        for each in fast_mail_parser.parse_email(b"To: " + value.encode() + b"\r\n\r\n").to
    ]


def agrees(octets: bytes, name: str, people: People) -> None:
    header = octets.partition(b"\r\n\r\n")[0]
    assert header.isascii()
    # A line is longer than it should be only where a word, or a quoted name, is.
    apart = re.sub(rb'"(?:[^"\\]|\\.)*"', lambda quoted: b"x" * len(quoted[0]), header)
    assert not [line for line in apart.split(b"\r\n") if len(line) > 78 and b" " in line[24:]]
    assert max(map(len, apart.split(b"\r\n"))) <= 998
    expected = meant(people)
    assert read_strictly(octets, name) == expected
    if not any("[" in spec for _, spec in expected):  # which Python 3.13 does not read
        assert read_by_the_older(octets, name) == [spec for _, spec in expected]


@given(st.sampled_from(sorted(WAYS | OBJECTS)), PEOPLE)
def test_whatever_the_way_the_same_people_arrive(way: str, people: People) -> None:
    octets = serialise(built(way, "To", people))
    if b"<" in octets:
        agrees(octets, "To", people)
    if not any(spec.startswith('"') for _, spec in people):  # which this reader does not know
        assert read_by_another(octets, "To") == [spec for _, spec in meant(people)]


@given(st.sampled_from(sorted(WAYS | OBJECTS)), PEOPLE)
def test_who_gets_it_is_who_stands_in_the_header(way: str, people: People) -> None:
    message = built(way, "To", people)
    message["From"] = "ann@example.org"
    envelope = Envelope.from_message(message)
    expected = list(dict.fromkeys(spec for _, spec in meant(people)))
    assert [str(each) for each in envelope.recipients] == expected


@pytest.mark.parametrize("way", ["text", "encoded", "MIMEText"])
@pytest.mark.parametrize("name", sorted(ADDRESSES - {"bcc", "resent-bcc"}))
def test_every_field_that_holds_addresses(name: str, way: str) -> None:
    several = [("Müller, Zoë", "zoe@bücher.example"), ("Long " * 15 + ", x", "ann@x.test")]
    people = several[:1] if name in ("sender", "resent-sender") else several
    octets = serialise(built(way, name.title(), people))
    agrees(octets, name.title(), people)


@given(PEOPLE)
def test_with_smtputf8_names_stay_as_they_are(people: People) -> None:
    octets = serialise(built("text", "To", people), smtputf8=True)
    again = message_from_string(octets.decode(), policy=policy.default)
    assert [
        (("".join(each.display_name.split())), each.addr_spec) for each in again["To"].addresses
    ] == meant(people)


@pytest.mark.requirement("RFC 6532")
def test_a_local_part_beyond_ascii_needs_smtputf8_wherever_it_stands() -> None:
    for name in ("Reply-To", "Errors-To"):
        message = built("text", name, [("Zoë", "zoë@x.test")])
        with pytest.raises(LocalProtocolError):
            _ = serialise(message)
        assert f"{name}: Zoë <zoë@x.test>\r\n".encode() in serialise(message, smtputf8=True)


@pytest.mark.requirement("RFC 6532")
def test_an_older_message_can_have_a_local_part_beyond_ascii() -> None:
    message = MIMEText("Hello")
    message["To"], message["Subject"] = "Zoë <zoë@x.test>", "Grüße"
    with pytest.raises(LocalProtocolError):
        _ = serialise(message)
    octets = serialise(message, smtputf8=True)
    assert octets == written(message, utf8=True)
    assert "\r\nTo: =?utf-8?b?Wm/Dqw==?= <zoë@x.test>\r\nSubject: =?utf-8?".encode() in octets


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("J. Doe <j@x.test>", '"J. Doe" <j@x.test>'),
        ("<j@x.test>", "j@x.test"),
        ("j@x.test (Jürgen)", "=?utf-8?b?SsO8cmdlbg==?= <j@x.test>"),
        ("Zoë (at (work)) <z@x.test>", "=?utf-8?b?Wm/DqyAoYXQgKHdvcmspKQ==?= <z@x.test>"),
        (
            "=?utf-8?q?Zo=C3=AB?= (=?utf-8?q?=C3=A9t=C3=A9?=) <z@x.test>",
            "=?utf-8?b?Wm/DqyAow6l0w6kp?= <z@x.test>",
        ),
        (
            "Größe: a@x.test, Zoë <z@x.test>;",
            "=?utf-8?b?R3LDtsOfZQ==?= : a@x.test, =?utf-8?b?Wm/Dqw==?= <z@x.test>;",
        ),
        ("Niemand für sich:;", "=?utf-8?q?Niemand_f=C3=BCr_sich?= :;"),
        (
            "=?utf-8?q?M=C3=BC?= =?utf-8?q?ller=2C_J?= <j@x.test>",
            "=?utf-8?b?TcO8bGxlciwgSg==?= <j@x.test>",
        ),
        ("=?utf-8?q?Eve=2C_eve=40evil=2Etest=2C?= <b@x.test>", '"Eve, eve@evil.test," <b@x.test>'),
        ("=?utf-8?q?x=3E=2Ceve=40evil=2Etest?= <b@x.test>", '"x>,eve@evil.test" <b@x.test>'),
        ("Zoë <@route.test:z@x.test>", "=?utf-8?b?Wm/Dqw==?= <z@x.test>"),
        ("Zoë <z @ x.test>,, b@x.test", "=?utf-8?b?Wm/Dqw==?= <z@x.test>, b@x.test"),
        ("ann@x.test", "ann@x.test"),
        ("Ann <ann@x.test>, bob@x.test", "Ann <ann@x.test>, bob@x.test"),
        ("root", "root"),
    ],
)
def test_how_it_is_written(text: str, written: str) -> None:
    for name in ("To", "Errors-To"):
        octets = serialise(_set(EmailMessage(), name, text))
        if name == "Errors-To" and text.isascii() and "=?" not in text:
            written = text  # To the package it is a text, which needs no encoding.
        assert octets.replace(b"\r\n ", b" ") == f"{name}: {written}\r\n\r\n".encode()


@pytest.mark.parametrize("name", ["Subject", "X-Note"])
@pytest.mark.parametrize("chosen", [policy.default, policy.SMTP, policy.SMTPUTF8])
def test_a_line_end_that_came_encoded_stays_encoded(name: str, chosen: Any) -> None:
    encoded = "=?utf-8?B?" + "VGVzdC1OYWNocmljaHQg" * 4 + "bmV3cwo=?="  # … "news\n"
    came = message_from_string(f"{name}: {encoded}\r\n\r\nhi\r\n", policy=chosen)
    copied = EmailMessage(chosen)
    copied[name] = came[name]
    copied.set_content("hi\n")
    for message in (came, copied):
        again = message_from_bytes(serialise(message), policy=policy.default)
        assert again.keys()[0] == name
        assert again[name].split() == came[name].split()
        assert again.get_content() == "hi\r\n"


@pytest.mark.requirement("T5")
@pytest.mark.parametrize("name", ["To", "Errors-To", "References", "List-ID"])
@pytest.mark.parametrize(
    "value",
    [
        "=?utf-8?q?a=0D=0AEvil=3A_y?= <a@x.test>",
        "Zoë =?utf-8?q?a=0D=0A=0D=0AEvil=3A_y?= <a@x.test>" + ", b@x.test" * 20,
    ],
)
def test_nothing_that_was_encoded_breaks_out(name: str, value: str) -> None:
    for message in (EmailMessage(), MIMEText("hi")):
        try:
            message[name] = value
            octets = serialise(message)
        except (ValueError, LocalProtocolError):
            continue
        lines = re.split(rb"[\r\n]+", octets)
        assert not [line for line in lines if line.lower().startswith(b"evil")]


@pytest.mark.parametrize("way", [EmailMessage, lambda: EmailMessage(policy.SMTP), Message])
@pytest.mark.parametrize("name", sorted(EXACT - {"content-id"}))
def test_what_programs_read_is_not_encoded(name: str, way: Any) -> None:
    value = f"<{'i' * 90}@x.test> <{'j' * 90}@x.test>"
    message = _set(
        way(), name.title(), value[: 99 if name.endswith("message-id") else None].strip()
    )
    octets = serialise(message)
    assert b"=?" not in octets
    assert message_from_bytes(octets)[name].split() == str(message[name]).split()


def test_a_name_of_a_list_is_encoded_and_its_identifier_is_not() -> None:
    message = _set(
        EmailMessage(), "List-ID", f"Zoës Liste für {'alle ' * 20}<{'l' * 40}.example.org>"
    )
    octets = serialise(message)
    assert f"<{'l' * 40}.example.org>".encode() in octets
    assert octets.isascii()
    assert serialise(
        _set(EmailMessage(), "List-ID", f"<{'l' * 90}.x>")
    ) == b"List-ID: <%b.x>\r\n\r\n" % (b"l" * 90)


WORDS = ["Grüße", "a,b", "Köln", "=?", "_", "x" * 21, '"q"', "?=", "\\", "(c)", "日本語", "é" * 12]


@pytest.mark.parametrize("name", ["Subject", "X-Campaign"])
@given(words=st.lists(st.sampled_from(WORDS), min_size=1, max_size=14))
@example(
    words=[
        "Grüße",
        "Köln",
        "Grüße",
        "=?",
        "_",
        "Köln",
        "Köln",
        "a,b",
        "Köln",
        "xxxxxxxxxxxxxxxxxxxxx",
        "Köln",
    ]
)
def test_a_text_for_people_keeps_its_spaces(name: str, words: list[str]) -> None:
    """Of which the package loses some beside an encoded word (as of 3.11.7)."""
    text = " ".join(words)
    octets = serialise(_set(EmailMessage(), name, text))
    read = message_from_bytes(octets)[name].replace("\r\n", "").lstrip()  # It may begin folded.
    assert str(make_header(decode_header(read))) == text


def test_what_came_folded_and_in_ascii_keeps_its_lines() -> None:
    octets = b"To: Ann\r\n\t<ann@x.test>,\r\n   bob@x.test (Bob)\r\n"
    octets += b"References: <a@b>\r\n\t<c@d>\r\n\r\nhi\r\n"
    for chosen in (policy.default, policy.SMTP, policy.compat32):
        assert serialise(message_from_bytes(octets, policy=chosen)) == octets


def test_what_came_in_long_lines_is_folded_and_no_more() -> None:
    """So that a signature over it goes on to hold (RFC 6376 §3.4.2)."""
    name = '"Doe, Jane of the house with a long name, and more" <j@x.test> (her)'
    source = f'"Ann" <a@x.test>,   =?utf-8?q?Zo=C3=AB=2C?= <z@x.test>, {name}, {name}'
    for chosen in (policy.default, policy.compat32):
        octets = serialise(message_from_bytes(f"To: {source}\n\nhi\n".encode(), policy=chosen))
        assert octets.replace(b"\r\n ", b" ") == f"To: {source}\r\n\r\nhi\r\n".encode()
        assert name.encode() in octets
        assert octets.index(b"\r\n") < 80


def test_what_came_without_white_space_is_written_anew() -> None:
    source = ",".join(f'"a" <user{number}@x.test>'.replace(" ", "") for number in range(200))
    octets = serialise(message_from_bytes(f"To: {source}\n\n".encode(), policy=policy.default))
    assert max(map(len, octets.split(b"\r\n"))) <= 78
    assert len(read_by_the_older(octets, "To")) == 200


def test_octets_that_came_in_an_address_field_are_encoded_or_kept() -> None:
    octets = "To: Zoë <zoe@bücher.example>\r\n\r\nhi\r\n".encode()
    assert serialise(message_from_bytes(octets)) == octets
    again = serialise(message_from_bytes(octets, policy=policy.default))
    assert again == b"To: =?utf-8?b?Wm/Dqw==?= <zoe@xn--bcher-kva.example>\r\n\r\nhi\r\n"


@pytest.mark.parametrize("value", ["a@x.test; Zoë", "Zoë <a@x.test", "Zoë", "名前" * 40])
def test_what_cannot_be_read_is_left_to_the_package(value: str) -> None:
    for message in (EmailMessage(), MIMEText("hi")):
        message["To"] = value
        assert serialise(message).isascii()


def test_a_text_where_there_may_be_addresses_stays_as_it_is() -> None:
    for text in ("J. Doe", "scripts v1.2 (of the house)", "a  b", "Bob"):
        octets = serialise(_set(EmailMessage(), "X-Sender", text))
        assert octets == f"X-Sender: {text}\r\n\r\n".encode()


@pytest.mark.parametrize(
    "value",
    [
        'attachment; filename="käse.txt"',
        "attachment; size=12; filename=käse.txt",
        'attachment; filename="kä;se \\"neu\\".txt"',
        f'attachment; filename="{"käse " * 40}.txt"',
    ],
)
def test_parameters_beyond_ascii_are_no_text(value: str) -> None:
    """As many programs write them by hand; the older messages encode all of the field."""
    message = MIMEText("hi")
    message["Content-Disposition"] = value
    read = message_from_bytes(serialise(message))
    meant = re.search(r'filename="?((?:\\"|[^"])*)', value)
    assert meant is not None
    assert read.get_content_disposition() == "attachment"
    assert read.get_filename() == meant[1].replace('\\"', '"')
    assert read.get_param("size", header="Content-Disposition") == (
        "12" if "size" in value else None
    )
    assert max(map(len, serialise(message).split(b"\r\n"))) <= 78


def test_the_type_of_a_part_keeps_its_charset_and_name() -> None:
    message = MIMEText("hi")
    message.replace_header("Content-Type", 'text/plain; charset="us-ascii"; name="käse.txt"')
    read = message_from_bytes(serialise(message))
    assert (read.get_content_charset(), read.get_filename()) == ("us-ascii", "käse.txt")


@pytest.mark.parametrize("value", ["käse", "käse; a=b", "attachment; käse=1", "attachment; ä"])
def test_what_are_no_parameters_is_left_to_the_package(value: str) -> None:
    message = MIMEText("hi")
    message["Content-Disposition"] = value
    assert str(message_from_bytes(serialise(message))["Content-Disposition"]).startswith("=?")


@pytest.mark.parametrize("kind", [Message, EmailMessage, MIMEText])
@pytest.mark.parametrize(
    "value",
    [["a@x.test", None], [3], object(), b"a@x.test", 3, ["a@x.test", ("Bob", "b@x.test")], [["b"]]],
)
def test_what_is_no_text_is_refused(kind: Any, value: Any) -> None:
    message = kind("hi") if kind is MIMEText else kind()
    message["From"] = "ann@x.test"
    try:
        message["To"] = value
    except (TypeError, AttributeError):
        return
    with pytest.raises((LocalProtocolError, ValueError)):
        _ = Envelope.from_message(message)


def test_none_is_an_empty_field_to_an_older_message() -> None:
    message: Any = MIMEText("hi")
    message["From"], message["To"], message["Cc"] = "ann@x.test", "bob@x.test", None
    assert [str(each) for each in Envelope.from_message(message).recipients] == ["bob@x.test"]
    assert b"Cc:" in serialise(message)


def test_the_fields_of_a_message_are_a_part_of_all() -> None:
    assert OF_THE_MESSAGE < ADDRESSES
    assert not ADDRESSES & EXACT


def test_a_long_name_is_parted_where_it_has_white_space() -> None:
    name = "A very long name for people who have a lot of them, and one more of these"
    octets = serialise(_set(EmailMessage(), "To", f'"{name}" <a@x.test>'))
    assert b"_and_?=" in octets or b"_one_?=" in octets
    # Some versions of the package show the white space between encoded words.
    shown = message_from_bytes(octets, policy=policy.default)["To"].addresses[0].display_name
    assert shown.replace("  ", " ") == name


def test_formataddr_is_understood() -> None:
    message = _set(EmailMessage(), "To", formataddr(("Müller, Jürgen", "j@x.test")))
    assert serialise(message) == b"To: =?utf-8?b?TcO8bGxlciwgSsO8cmdlbg==?= <j@x.test>\r\n\r\n"


# --- what other software stumbled over ------------------------------------------------------------

STUMBLED = [
    ('"someone@evil.test x"@internal.test', ['"someone@evil.test x"@internal.test']),
    ("=?utf-8?Q??= <right@x.test>", ["right@x.test"]),
    ("DHL Worldwide Delivery < DHL-International@x.test >", ["DHL-International@x.test"]),
    ("me@server.test <me@server.test>", ["me@server.test"]),
    ("foo @ beep <foo@beep.test>", None),
    ("(c):", None),
    ("(x): a@b.test;", ["a@b.test"]),
    ('"', None),
    ('a@x.test, "', None),
    ("Böhm <user@x.test>", ["user@x.test"]),
    ('"The \\"Best\\" in town" <me@x.test>', ["me@x.test"]),
    ('"홍<evil@evil.test>" <real@x.test>', ["real@x.test"]),
    ("=?utf-8?q?=ED=99=8D=3Cevil=40evil=2Etest=3E?= <real@x.test>", ["real@x.test"]),
    ("=?utf-8?q?a=0D=0ATo=3A_ceo=40evil=2Etest?= <a@x.test>", ["a@x.test"]),
    ("Mr, Example 1 <one@x.test>, Mrs Example 2 <two@x.test>", None),
    ("a@x.test,\r\n\tb@x.test", ["a@x.test", "b@x.test"]),
]


@pytest.mark.parametrize("way", ["parsed", "older", "set"])
@pytest.mark.parametrize(("field", "expected"), STUMBLED)
def test_what_other_software_stumbled_over(
    field: str, expected: list[str] | None, way: str
) -> None:
    source = f"From: ann@example.org\nTo: {field}\n\n".encode()
    message: Any = message_from_bytes(
        source, policy=policy.compat32 if way == "older" else policy.default
    )
    if way == "set":
        message = EmailMessage()
        message["From"] = "ann@example.org"
        try:
            message["To"] = field
        except (IndexError, ValueError):
            return  # The package itself stumbles.
    if expected is None:
        with pytest.raises((LocalProtocolError, AddressError)):
            _ = Envelope.from_message(message)
        return
    assert [str(each) for each in Envelope.from_message(message).recipients] == expected
    try:
        octets = serialise(message)
    except LocalProtocolError:
        assert "=0D=0A" in field
    else:
        assert b"evil" not in octets.lower() or read_by_the_older(octets, "To") == expected
