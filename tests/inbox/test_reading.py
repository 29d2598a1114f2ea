"""A message read as spans, against the `email` package, which reads it as a tree."""

from __future__ import annotations

import base64
import binascii
import os
import random
from email import message_from_bytes
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx.inbox import _decoding, _reading, _structure
from tests.bounces import reports

LARGE = os.urandom(700_000)
COMPOSED = smtpx.compose(
    sender="Ann <ann@example.org>",
    to="bob@example.net",
    subject="parts",
    text="grüße = ü\n" * 3,
    html="<p>grüße <img src='cid:logo'>",
    inline={"logo": smtpx.Attachment(b"\x89PNG", "logo.png")},
    attachments=[smtpx.Attachment(LARGE, "large.bin"), smtpx.Attachment(b"", "nothing.txt")],
).as_bytes()

NESTED = (
    b'Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="a b"\r\n\r\n'
    b"preamble\r\n--a b-not\r\n--a b  \r\nContent-Type: multipart/alternative; boundary=a\r\n\r\n"
    b"--a\r\n\r\nfirst\r\n--a b is text\r\n--a\r\nContent-Type: text/html\r\n\r\n<p>\r\n--a--\r\n"
    b"epilogue\r\n--a b\r\nContent-Type: message/rfc822\r\n\r\nSubject: inner\r\n\r\nin it\r\n"
    b"--a b\r\n\r\nafter it\r\n--a b--\r\nepilogue\r\n"
)
MAILS = {
    "composed": COMPOSED,
    "nested": NESTED,
    "LF alone": NESTED.replace(b"\r\n", b"\n"),
    "without an end": NESTED.partition(b"after it")[0],
    "without a delimiter": b"Content-Type: multipart/mixed; boundary=b\r\n\r\nhi\r\n",
    "without a boundary": b"Content-Type: multipart/mixed\r\n\r\nhi\r\n",
    "without a header": b"\r\nhi\r\n",
    "without a body": b"Subject: x\r\n",
    "a header that ends early": b"Subject: x\r\nthis is the body\r\n\r\nand this\r\n",
    "a digest": b"Content-Type: multipart/digest; boundary=b\r\n\r\n--b\r\n\r\nSubject: y\r\n\r\n"
    b"hi\r\n--b--",
    "encoded": b"Content-Type: multipart/mixed; boundary=b\r\n\r\n--b\r\n"
    b"Content-Transfer-Encoding: base64\r\n\r\naGVs\r\nbG8=\r\n--b\r\n"
    b"Content-Transfer-Encoding: Quoted-Printable\r\n\r\na=20b=\r\nc=C3=BC=\r\n--b--\r\n",
} | {name: value for name, value in vars(reports).items() if isinstance(value, bytes)}


def as_a_tree(content: bytes) -> list[tuple[str, bytes | None]]:
    """Kind and octets of each part; of a message in it, what nobody writes anew."""
    found: list[tuple[str, bytes | None]] = []

    def walk(part: Any) -> None:
        kind = part.get_content_type()
        if kind.startswith("message/") or not part.is_multipart():
            payload = part.get_payload(decode=True)
            found.append((kind, payload))
        else:
            for each in part.get_payload():
                walk(each)

    walk(message_from_bytes(content))
    return found


@pytest.mark.parametrize("window", [17, _decoding.WINDOW])
@pytest.mark.parametrize("content", MAILS.values(), ids=MAILS)
def test_spans_are_what_the_email_package_finds(
    content: bytes, window: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    if window < 100 and len(content) > 100_000:
        pytest.skip("that is a great many windows")
    for module in (_structure, _decoding):
        monkeypatch.setattr(module, "WINDOW", window)
    reading = _reading.read(content)
    assert reading.problem is None
    tree = as_a_tree(content)
    assert [part.kind for part in reading.parts] == [kind for kind, _ in tree]
    for part, (_, octets) in zip(reading.parts, tree, strict=True):
        mine = b"".join(part.octets(content))
        assert part.size == len(mine)
        assert octets is None or mine == octets


def test_what_ends_before_it_begins_is_one_part() -> None:
    content = b"Content-Type: multipart/mixed; boundary=b\r\n\r\nhi\r\n--b--\r\n"
    (part,) = _reading.read(content).parts
    assert b"".join(part.octets(content)) == b"hi\r\n--b--\r\n"


def test_what_follows_a_message_in_a_message_is_not_lost() -> None:
    reading = _reading.read(NESTED)
    assert [part.kind for part in reading.parts] == [
        *("text/plain", "text/html", "message/rfc822", "text/plain")
    ]
    inner = reading.parts[2]
    assert b"".join(inner.octets(NESTED)) == b"Subject: inner\r\n\r\nin it"


@pytest.mark.parametrize("window", [1, 5, 64, 1000])
def test_encodings_in_pieces(window: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_decoding, "WINDOW", window)
    choose = random.Random(window)
    for _ in range(30):
        octets = bytes(choose.choice(b"a =\xc3\xbc\t.") for _ in range(choose.randrange(300)))
        written = base64.encodebytes(octets).replace(b"\n", choose.choice([b"\r\n", b"", b" \n"]))
        assert b"".join(_decoding.decoded(written, 0, len(written), "base64")) == octets
        quoted = binascii.b2a_qp(octets).replace(b"\n", b"\r\n")
        pieces = _decoding.decoded(quoted, 0, len(quoted), "quoted-printable")
        if window >= 80:  # No line is longer, nor cut.
            assert b"".join(pieces) == octets


@pytest.mark.parametrize("octets", [b"=", b"====", b"a", b"ab", b"abc", b"a=b=c", b"\xff\xfe", b""])
def test_base64_that_is_none(octets: bytes) -> None:
    _ = b"".join(_decoding.decoded(octets, 0, len(octets), "base64"))


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        ("iso-8859-2", b"\xb3", "ł"),
        ("koi8-r", b"\xd2", "р"),
        ("shift_jis", "日本".encode("shift_jis"), "日本"),
        ("iso-2022-jp", "日本".encode("iso-2022-jp"), "日本"),
        ("utf-8", b"\xc3\xbc\xff", "ü\ufffd"),
        ("", b"\xc3\xbc", "ü"),
        ("", b"\xfc", "ü"),
        ("x-nobody-knows", b"\xfc", "ü"),
        ("unicode_escape", b"\\x41", "\\x41"),
        ("punycode", b"a-b", "a-b"),
        ("base64", b"YQ==", "YQ=="),
        ("utf-16\0", b"a", "a"),
    ],
)
def test_charsets(charset: str, octets: bytes, text: str) -> None:
    assert _decoding.text_of(octets, charset) == text


def test_delimiters_without_end_are_counted() -> None:
    hits = b"--b!\r\n" * 30_000
    content = b"Content-Type: multipart/mixed; boundary=b\r\n\r\n" + hits
    assert "delimiters" in str(_reading.read(content).problem)


def test_the_fixtures_on_disk_are_the_same_both_ways() -> None:
    for path in Path(__file__).parents[1].rglob("*.eml"):
        content = path.read_bytes()
        kinds = [part.kind for part in _reading.read(content).parts]
        assert kinds == [kind for kind, _ in as_a_tree(content)], path.name


FIELD = b"Content-Type: application/pdf; name="
NAMES = {
    "raw UTF-8": FIELD + b'"caf\xc3\xa9.pdf"',
    "raw Latin-1": FIELD + b'"caf\xe9.pdf"',
    "RFC 2231": b"Content-Type: application/pdf; name*=utf-8''caf%C3%A9.pdf",
    "RFC 2047": FIELD + b'"=?utf-8?q?caf=C3=A9.pdf?="',
}


@pytest.mark.parametrize("field", NAMES.values(), ids=NAMES)
def test_names_as_programs_write_them(field: bytes) -> None:
    """Of bug reports of MailCatcher and MailHog: names, and fields, that nobody has encoded."""
    content = b"Subject: caf\xe9\r\n" + field + b"\r\n\r\nx\r\n"
    reading = _reading.read(content)
    assert (reading.subject, reading.parts[0].name) == ("café", "café.pdf")
    assert b"".join(reading.parts[0].octets(content)) == b"x\r\n"


# Words and texts in the charsets of others.

WORDS = {
    "=?iso-8859-8-i?B?+ezl7Q==?=": "שלום",
    "=?iso-8859-1?q?=93x=94?=": "“x”",
    "=?gb2312?B?lkI=?=": "朆",
    "=?x-gbk?B?lkI=?=": "朆",
    "=?shift_jis?B?h0A=?=": "①",
    "=?windows-31j?B?h0A=?=": "①",
    "=?windows-874?B?ocM=?=": "กร",
    "=?windows-949?B?vsiz5w==?=": "안녕",
    "=?us-ascii?Q?=C3=BC?=": "ü",
    "=?utf-8*en?q?=C3=BC?=": "ü",
    "=?x-unknown?q?=C3=BC?=": "ü",
    "=?unknown-8bit?q?=FC?=": "ü",
    "=?utf-8?q?=C3?= x": "� x",
    "=?utf-8?q?=E2=9C?= =?utf-8?q?=93?=": "✓",
    '"=?utf-8?q?J=C3=BC?=" <a@b.test>': '"Jü" <a@b.test>',
    "Grüße ✓ =?utf-8?q?=C3=BC?=": "Grüße ✓ ü",
    "=?utf-8?Q?a_b?= c =?utf-8?Q?d?=": "a b c d",
    "=?utf-8?b?w7": "=?utf-8?b?w7",
}


@pytest.mark.parametrize(("word", "text"), WORDS.items())
def test_encoded_words_are_read_as_they_are_meant(word: str, text: str) -> None:
    assert _reading.read(f"Subject: {word}\r\n\r\n".encode()).subject == text


@pytest.mark.parametrize(
    ("charset", "octets", "text"),
    [
        ("ISO-8859-1", b"\x93x\x94", "“x”"),
        ("iso-8859-8-i", b"\xf9\xec\xe5\xed", "שלום"),
        ("gb2312", b"\x96\x42", "朆"),
        ("x-mac-cyrillic", b"\xcf", "ѕ"),
        ("utf-7", b"+AOQ-", "ä"),
        ("us-ascii", "ü".encode(), "ü"),
        ("none", b"\xfc", "ü"),
    ],
)
def test_texts_are_read_as_they_are_meant(charset: str, octets: bytes, text: str) -> None:
    header = f"MIME-Version: 1.0\r\nContent-Type: text/plain; charset={charset}\r\n\r\n"
    assert _reading.read(header.encode() + octets).text == text


@pytest.mark.parametrize(
    ("header", "is_attachment"),
    [
        (b"Content-ID: <logo>\r\nContent-Disposition: inline; filename=logo.png", False),
        (b"Content-ID: <logo>", False),
        (b"Content-ID: <logo>\r\nContent-Disposition: attachment; filename=logo.png", True),
        (b"Content-Disposition: inline; filename=photo.png", True),
    ],
)
def test_an_image_that_is_shown_is_none_that_is_attached(
    header: bytes, is_attachment: bool
) -> None:
    mail = (
        b"Content-Type: multipart/related; boundary=b\r\n\r\n--b\r\nContent-Type: text/html\r\n\r\n"
        b"<img src='cid:logo'>\r\n--b\r\nContent-Type: image/png; name=logo.png\r\n%s\r\n\r\nx"
        b"\r\n--b--\r\n"
    )
    reading = _reading.read(mail % header)
    assert (reading.attachments, reading.parts[1].is_attachment) == (is_attachment, is_attachment)
