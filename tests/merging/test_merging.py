"""`Template`: whatever the values are, each copy is a message that says just them."""

from __future__ import annotations

import csv
import html
import re
from collections import defaultdict
from collections.abc import Callable
from email import charset, message_from_bytes, policy
from email.header import decode_header, make_header
from email.headerregistry import Address as HeaderAddress
from email.message import EmailMessage, MIMEPart
from email.mime.text import MIMEText
from typing import Any

import fast_mail_parser
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import smtpx
from smtpx import AddressError, LocalProtocolError, Template
from smtpx.testing import Server

TEXT = (
    "Dear {{name}},\n\nyour {{ thing }} is =on= its way to {{city}}: 100 %.\n\n{{note}}\n{{city}}"
)
MARKUP = (
    '<p style="margin: 0">Dear <b>{{name}}</b>,</p>\n<p>{{thing}} &amp; {{city}}</p>'
    + "<td>no line end in sight</td>" * 9
    + '<a href="https://example.org/u/{{token}}" title="{{note}}">leave</a></p>\n'
)


def letter(text: str = TEXT, markup: str | None = MARKUP, cte: str | None = None) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "Shop <shop@example.org>"
    message["To"] = "{{name}} <{{address}}>"
    message["Subject"] = "{{name}}: your {{thing}}"
    message["Reply-To"] = "{{thing}} desk <reply+{{token}}@example.org>"
    message["List-Unsubscribe"] = (
        "<https://example.org/u/{{token}}>, <mailto:{{token}}@example.org>"
    )
    message["X-Note"] = "{{note}}"
    message.set_content(text, cte=cte)
    if markup is not None:
        message.add_alternative(markup, subtype="html", cte=cte)
    return message


ROW = {
    "name": "Bob",
    "address": "bob@example.net",
    "thing": "parcel",
    "city": "Leeds",
    "note": "",
    "token": "t0k3n",
}


def filled(text: str, values: dict[str, str], escape: Callable[[str], str] = str) -> str:
    def value(field: re.Match[str]) -> str:
        return re.sub(r"\r\n|\r", "\n", escape(values[field[1]]))

    return re.sub(r"\{\{ *(\w+) *\}\}", value, text)


def read(octets: bytes) -> EmailMessage:
    message = message_from_bytes(octets, policy=policy.default)
    assert isinstance(message, EmailMessage)
    return message


def text_of(message: MIMEPart, kind: str) -> str:
    part = message.get_body((kind,))
    assert part is not None
    return re.sub(r"\r\n", "\n", part.get_content())


def independently(octets: bytes) -> Any:
    return fast_mail_parser.parse_email(octets)


# --- the property -------------------------------------------------------------------------------

# What a header holds: no control characters, no halves of surrogate pairs.
LINES = st.text(st.characters(exclude_categories=["Cc", "Cs", "Zl", "Zp"]), max_size=120)
TRICKY = st.lists(
    st.sampled_from(
        [
            *["=?utf-8?q?a?=", "=?", "?=", " ", "  ", '"', "\\", ",", "<x@y>", "%s", "%(name)s"],
            *["{{x}}", "=", ".", "=20", "é", "日本", "\U0001f600", "e\u0301", "a" * 80, "word "],
            *["ü" * 40, "_", "&", "'", "@"],
        ]
    ),
    max_size=8,
).map("".join)
PHRASES = st.one_of(LINES, TRICKY)
ANY_TEXT = st.one_of(PHRASES, st.text(st.characters(exclude_categories=["Cs"]), max_size=200)).map(
    lambda text: text.replace("\0", "")
) | st.lists(st.sampled_from(["\n", "\r\n", "\r", ".", " \n", "--=_", "\t", "From "])).map("".join)
TOKENS = st.text(st.sampled_from("abcXYZ0123456789-_~%/?=&"), max_size=300)
ADDRESSES = st.sampled_from(
    ["bob@example.net", "b.o.b+x@sub.example.net", '"b o b"@example.net', "x" * 60 + "@example.net"]
)
ROWS = st.fixed_dictionaries(
    {
        "name": PHRASES,
        "address": ADDRESSES,
        "thing": PHRASES,
        "city": ANY_TEXT,
        "note": PHRASES,
        "token": TOKENS.map(lambda token: token[:40] or "x"),
    }
)


# What may mostly stand as it is, and what may not.
NEARLY_PLAIN = st.lists(
    st.sampled_from(
        [
            *[
                "Bob",
                "Miller",
                "b",
                "x" * 20,
                "3.50",
                "A-1",
                "O'Brien",
                "&",
                "a=b",
                "=?",
                "?",
                ".",
                "<",
            ],
            *["(c)", "@", "-", "\t", "é", '"', "a,b;c:d", "--", "1/2"],
        ]
    ),
    min_size=1,
    max_size=3,
).flatmap(lambda words: st.sampled_from(["", " ", "  "]).map(lambda between: between.join(words)))
HEADERS: tuple[dict[str, str], ...] = (
    {},
    {"Reply-To": "{{thing}} desk <reply+{{token}}@example.org>"},
    {"Subject": "={{name}}{{thing}}", "To": "Dr. {{name}} <{{address}}>"},
    {"To": "{{name}} {{thing}} <{{address}}>", "Subject": "=?utf-8?q?x?= {{city}}"},
    {"To": "<{{address}}>", "X-Long": "x" * 60 + " {{city}} {{city}} {{name}}"},
)


@pytest.mark.parametrize("header", HEADERS)
@given(st.dictionaries(st.sampled_from(sorted(ROW)), NEARLY_PLAIN, max_size=2), ADDRESSES)
@example({}, "bob@example.net")
@example({"token": "a b"}, "bob@example.net")
@example({"name": "A. B"}, "bob@example.net")
@example({"city": "<i>'\"&amp;"}, "bob@example.net")
@example({"city": "'" * 7}, "bob@example.net")
@example({"name": "x" * 33}, "bob@example.net")
@example({"name": "Bob  Miller"}, "bob@example.net")
def test_a_copy_that_is_filled_at_once_is_the_one_that_is_written_piece_by_piece(
    header, changed, address
):
    row = {**ROW, "note": "none", "address": address, **changed}
    message = letter()
    message["Message-ID"] = "<{{token}}@example.org>"
    del message["Reply-To"]
    for name, text in header.items():
        del message[name]
        message[name] = text
    at_once, by_pieces = Template(message), Template(message)
    by_pieces._row = re.compile("(?!)")

    def rendered(template: Template) -> object:
        try:
            octets, envelope = template.render(row)
        except smtpx.SMTPError as error:
            return str(error)
        fields = re.sub(rb"=_[0-9a-f]{24}|Date: [^\r]*", b"", octets)
        return fields, envelope

    assert rendered(at_once) == rendered(by_pieces)


@pytest.mark.parametrize(
    ("changed", "is_at_once"),
    [
        ({}, True),
        ({"name": "Bob Miller", "city": "St. Gallen (SG)"}, True),
        ({"name": "B\u00f6b"}, False),
        ({"city": "a & b"}, True),
        ({"city": "a & b" + "'" * 7}, False),
        ({"city": "x" * 41}, False),
        ({"token": "t" * 60}, False),
        ({"note": ""}, False),
        ({"thing": 1}, False),
    ],
)
def test_a_copy_is_filled_at_once_where_all_values_may_stand_as_they_are(
    changed: dict[str, object], is_at_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[object] = []
    by_pieces = Template._written

    def noted(*given: Any) -> str:
        written.append(given)
        return by_pieces(*given)

    monkeypatch.setattr(Template, "_written", noted)
    Template(letter()).render({**ROW, "note": "none", **changed})
    assert bool(written) is not is_at_once


def well_formed(octets: bytes) -> None:
    assert octets.isascii()
    assert octets.count(b"\r") == octets.count(b"\n") == octets.count(b"\r\n")
    header, _, body = octets.partition(b"\r\n\r\n")
    for line in header.split(b"\r\n"):
        one_word = b" " not in line.partition(b": ")[2] and b"=?utf-8?" not in line
        assert len(line) <= (998 if one_word else 78), line
        assert line.strip(), "a line of a field that has nothing but white space"
        assert b"=?utf-8?" not in line or b"@" in line or len(line) <= 76
    assert max(map(len, body.split(b"\r\n"))) <= 78
    assert not re.search(rb"[ \t]\r\n", body)


@pytest.mark.parametrize("cte", [None, "base64", "quoted-printable"])
@given(ROWS)
@example({**ROW, "name": "Doe, Jane", "note": "=?utf-8?q?a?="})
@example({**ROW, "name": "", "thing": " " + "0" * 62})
@example({**ROW, "name": "日本語のとても長い名前" * 6, "thing": "é" * 50, "city": ".\n..\n."})
def test_a_copy_says_just_what_its_values_are(cte: str | None, values: dict[str, str]) -> None:
    octets, envelope = template_of(cte).render(values)
    well_formed(octets)
    assert [str(one) for one in envelope.recipients] == [values["address"]]

    copy = read(octets)
    markup = filled(MARKUP, values, html.escape)
    assert [part.get_content_type() for part in copy.walk()] == [
        "multipart/alternative",
        "text/plain",
        "text/html",
    ]
    assert text_of(copy, "plain") == filled(TEXT + "\n", values)
    assert text_of(copy, "html") == markup
    assert [address.addr_spec for address in copy["To"].addresses] == [values["address"]]
    assert copy["X-Note"].strip(" ") == values["note"].strip(" ")
    token = values["token"]
    assert copy["List-Unsubscribe"].split(", ") == [
        f"<https://example.org/u/{token}>",
        f"<mailto:{token}@example.org>",
    ]
    subject = filled("{{name}}: your {{thing}}", values)
    assert str(make_header(decode_header(copy_of_source(octets, "Subject")))) == subject

    other = independently(octets)
    assert other.subject == subject
    if '"' not in values["address"]:  # which this parser does not take for an address
        # … and in which no white space is left at the ends.
        assert (other.to[0].display_name or "").strip() == values["name"].strip()
    assert [re.sub(r"\r\n", "\n", text) for text in other.text_plain] == [
        filled(TEXT + "\n", values)
    ]
    assert [re.sub(r"\r\n", "\n", text) for text in other.text_html] == [markup]


def copy_of_source(octets: bytes, name: str) -> str:
    """A field as it was written, unfolded."""
    found = re.search(rb"^%b: ((?:.|\r\n[ \t])*)\r\n" % name.encode(), octets, re.MULTILINE)
    assert found is not None
    return found[1].replace(b"\r\n", b"").decode()


_templates: dict[str | None, Template] = {}


def template_of(cte: str | None) -> Template:
    if cte not in _templates:
        _templates[cte] = Template(letter(cte=cte))
    return _templates[cte]


# --- what a copy is otherwise -------------------------------------------------------------------


def test_a_message_is_compiled_and_left_alone() -> None:
    message = letter()
    before = message.as_bytes()
    first, _ = Template(message).render(ROW)
    assert message.as_bytes() == before
    assert read(first)["From"] == "Shop <shop@example.org>"


def test_copies_differ_by_their_message_id_and_have_a_date() -> None:
    message = letter()
    message["Date"] = "Thu, 26 Nov 2020 00:00:00 +0000"
    message["Message-ID"] = "<composed@example.org>"
    template = Template(message)
    copies = [read(template.render(ROW)[0]) for _ in range(3)]
    ids = {copy["Message-ID"] for copy in copies}
    assert len(ids) == 3
    assert all(re.fullmatch("<[0-9a-f]{32}@example.org>", one) for one in ids)
    assert all(len(copy.get_all("Date", [])) == 1 for copy in copies)
    assert all(copy["Date"].datetime.year >= 2025 for copy in copies)


def test_a_message_id_of_ones_own() -> None:
    message = letter()
    message["Message-ID"] = "<{{token}}.1@example.org>"
    copy = read(Template(message).render(ROW)[0])
    assert copy.get_all("Message-ID") == ["<t0k3n.1@example.org>"]


def test_the_fields_are_known() -> None:
    assert set(Template(letter()).fields) == set(ROW)
    assert Template(letter(), sender="b+{{id}}@example.org").fields[-1] == "id"


@pytest.mark.parametrize(
    ("sender", "expected"),
    [
        (None, "shop@example.org"),
        ("bounces@example.org", "bounces@example.org"),
        ("bounces+{{token}}@example.org", "bounces+t0k3n@example.org"),
        ("", "None"),
    ],
)
def test_the_reverse_path(sender: str | None, expected: str) -> None:
    _, envelope = Template(letter(), sender=sender).render(ROW)
    assert str(envelope.sender) == expected


def test_sender_goes_before_from() -> None:
    message = letter()
    message["Sender"] = "{{name}} <office@example.org>"
    octets, envelope = Template(message).render({**ROW, "name": "Zoë"})
    assert str(envelope.sender) == "office@example.org"
    assert read(octets)["Sender"] == "Zoë <office@example.org>"


@pytest.mark.parametrize(
    ("to", "values", "expected"),
    [
        ("{{address}}", ROW, "bob@example.net"),
        ("{{name}} <{{address}}>", {**ROW, "name": ""}, "bob@example.net"),
        ("{{ name }} <{{ address }}>", ROW, "Bob <bob@example.net>"),
        ('"{{city}}, {{name}}" <{{address}}>', ROW, '"Leeds, Bob" <bob@example.net>'),
        ("{{name}} <{{token}}@example.net>", ROW, "Bob <t0k3n@example.net>"),
        ("all@example.net", ROW, "all@example.net"),
    ],
)
def test_to_says_who_gets_the_copy(to: str, values: dict[str, str], expected: str) -> None:
    message = letter()
    message.replace_header("To", to)
    octets, envelope = Template(message).render(values)
    assert read(octets)["To"] == expected
    assert (
        str(envelope.recipients[0])
        == HeaderAddress(addr_spec=read(octets)["To"].addresses[0].addr_spec).addr_spec
    )


def test_an_address_that_needs_smtputf8_is_written_as_such() -> None:
    octets, envelope = Template(letter()).render({**ROW, "address": "jürgen@bücher.example"})
    assert envelope.needs_smtputf8
    assert "To: Bob <jürgen@xn--bcher-kva.example>\r\n".encode() in octets


def test_another_one_that_does_is_refused() -> None:
    with pytest.raises(AddressError, match=r"field 'token': .* is not ASCII, as Reply-To"):
        _ = Template(letter()).render({**ROW, "token": "日本"})


def test_values_need_not_be_text() -> None:
    octets, _ = Template(letter()).render({**ROW, "thing": 12, "city": 1.5})
    assert "your 12 is =on= its way to 1.5" in text_of(read(octets), "plain")


class Markup(str):
    """As in MarkupSafe."""

    def __html__(self) -> str:
        return str(self)


def test_markup_is_not_escaped_twice() -> None:
    row = {**ROW, "name": Markup("<i>Bob</i>"), "note": '" onload="x'}
    markup = text_of(read(Template(letter()).render(row)[0]), "html")
    assert "Dear <b><i>Bob</i></b>" in markup
    assert 'title="&quot; onload=&quot;x"' in markup


def test_long_values_have_their_lines_encoded_anew() -> None:
    link = "a" * 300
    octets, _ = Template(letter()).render({**ROW, "token": link[:50], "city": link, "note": link})
    well_formed(octets)
    assert f"its way to {link}: 100 %." in text_of(read(octets), "plain")


@pytest.mark.parametrize("value", ["", " ", "x ", "=", "\t"])
def test_no_line_ends_with_white_space(value: str) -> None:
    octets, _ = Template(letter("Dear {{city}}\n{{city}}\n\t{{city}}", None)).render(
        {**ROW, "city": value}
    )
    well_formed(octets)
    assert text_of(read(octets), "plain") == f"Dear {value}\n{value}\n\t{value}\n"


def test_what_is_not_ascii_throughout_is_base64() -> None:
    text = "Уважаемый {{name}}, ваш заказ уже в пути.\n" * 5
    octets, _ = Template(letter(text, None)).render({**ROW, "name": "Борис"})
    copy = read(octets)
    assert copy["Content-Transfer-Encoding"] == "base64"
    assert text_of(copy, "plain") == text.replace("{{name}}", "Борис")


def test_other_parts_are_the_same_in_all_copies() -> None:
    message = letter()
    message.get_body(("html",)).add_related(b"png", "image", "png", cid="<logo>")  # type: ignore[union-attr]
    message.add_attachment(
        bytes(range(256)), maintype="application", subtype="pdf", filename="ä.pdf"
    )
    message.add_attachment("{{1, 2}} is no field, grüße\n", filename="notes.txt")
    octets, _ = Template(message).render(ROW)
    assert octets.isascii()
    pdf, notes = read(octets).iter_attachments()
    assert (pdf.get_filename(), pdf.get_content()) == ("ä.pdf", bytes(range(256)))
    assert notes.get_content().splitlines() == ["{{1, 2}} is no field, grüße"]
    assert independently(octets).attachments[0].content == b"png"


def test_a_value_cannot_end_a_part() -> None:
    message = letter()
    message.set_boundary("known")
    octets, _ = Template(message).render({**ROW, "city": "x\n--known--\n--known\n\nevil"})
    assert len(list(read(octets).walk())) == 3


def test_a_parsed_message_serves_as_well() -> None:
    header = "Subject: =?utf-8?q?caf=C3=A9_=7B=7Bname=7D=7D?=\nTo: {{address}}\nFrom: a@b.test\n"
    message = read(f"{header}\nDear {{{{name}}}}\n".encode())
    copy = read(Template(message).render(ROW)[0])
    assert (copy["Subject"], text_of(copy, "plain")) == ("café Bob", "Dear Bob\n")
    assert copy["MIME-Version"] == "1.0"


@pytest.mark.parametrize(
    ("to", "expected"),
    [
        ("{{address}}", "bob@example.net"),
        ("{{ name }} <{{ address }}>", "Bob <bob@example.net>"),
        (("{{city}}, {{name}}", "{{ address }}"), '"Leeds, Bob" <bob@example.net>'),
        (["Bob <{{token}}@example.net>"], "Bob <t0k3n@example.net>"),
    ],
)
def test_what_is_composed_serves_as_well(to: Any, expected: str) -> None:
    link = "https://example.org/" + "x" * 80
    message = smtpx.compose(
        sender="Büro <office@example.org>",
        to=to,
        reply_to="{{thing}} desk <{{address}}>",
        subject="Für {{name}}",
        html="<p>{{name}} & Co",
        list_unsubscribe=[f"{link}/{{{{token}}}}"],
        headers={"X-Link": link},
    )
    copy = read(Template(message).render(ROW)[0])
    assert (copy["To"], copy["Reply-To"]) == (expected, "parcel desk <bob@example.net>")
    assert (copy["From"], copy["Subject"]) == ("Büro <office@example.org>", "Für Bob")
    assert (copy["X-Link"].strip(), copy["List-Unsubscribe"]) == (link, f"<{link}/t0k3n>")


def test_what_is_composed_for_a_template_is_sent_to_nobody() -> None:
    message = smtpx.compose(sender="a@b.test", to="{{address}}", text="hi")
    with pytest.raises(AddressError, match=r"'\{\{address\}\}'"):
        _ = smtpx.Envelope.from_message(message)
    with pytest.raises(LocalProtocolError, match="sender needs an address with a domain"):
        _ = smtpx.compose(sender="{{address}}", to="a@b.test", text="hi")


def test_copies_feed_send_many() -> None:
    template = Template(letter())
    rows = [{**ROW, "name": f"Reader {i}", "address": f"r{i}@example.net"} for i in range(50)]
    with Server() as server, smtpx.Client(server.url) as client:
        results = list(client.send_many(map(template.render, rows)))
        assert all(result.error is None for result in results)
        received = sorted(
            (str(read(message.content)["To"]), list(map(str, message.recipients)))
            for message in server.messages
        )
    assert received == sorted(
        (f"Reader {i} <r{i}@example.net>", [f"r{i}@example.net"]) for i in range(50)
    )


# --- what is refused ----------------------------------------------------------------------------


@pytest.mark.requirement("T5")
@pytest.mark.parametrize(
    "break_", ["\n", "\r", "\r\n", "\0", "\x0b", "\x85", "\u2028", "\x7f", "\ud800"]
)
@pytest.mark.parametrize("name", ["name", "thing", "note", "token", "address"])
def test_no_value_breaks_out_of_its_header(name: str, break_: str) -> None:
    template = Template(letter())
    with pytest.raises((LocalProtocolError, AddressError), match=f"field '{name}'"):
        template.render({**ROW, name: f"x{break_}Bcc: evil@example.org"})


@pytest.mark.parametrize("token", ["a b", "a>", "<a", "ä", "a" * 1000])
def test_a_url_takes_what_a_url_can_hold(token: str) -> None:
    message = letter()
    del message["Reply-To"]
    with pytest.raises(LocalProtocolError, match=r"field 'token' .* List-Unsubscribe"):
        Template(message).render({**ROW, "token": token})


@pytest.mark.parametrize(
    "address", ["", "bob", "bob@", "a@b.test, c@d.test", "<bob@example.net>", "a b@c.d"]
)
def test_an_address_that_is_none_is_named(address: str) -> None:
    with pytest.raises(AddressError, match="field 'address': not an address"):
        Template(letter()).render({**ROW, "address": address})


@pytest.mark.parametrize("value", [None, b"Bob"])
def test_a_value_that_is_no_text_is_named(value: object) -> None:
    with pytest.raises(LocalProtocolError, match="field 'name' is"):
        Template(letter()).render({**ROW, "name": value})


def test_a_value_that_is_missing_is_named() -> None:
    with pytest.raises(LocalProtocolError, match="no value for the field 'city'"):
        Template(letter()).render({name: value for name, value in ROW.items() if name != "city"})


def test_values_may_make_what_they_lack() -> None:
    given = {name: value for name, value in ROW.items() if name != "city"}
    content, _ = Template(letter()).render(defaultdict(lambda: "Atlantis", given))
    assert b"Atlantis" in content


def test_half_a_surrogate_pair_in_a_text_is_named() -> None:
    with pytest.raises(LocalProtocolError, match="field 'city' has half of a surrogate pair"):
        Template(letter()).render({**ROW, "city": "x\ud83d"})


@pytest.mark.parametrize(
    "text", ["{{#if x}}", "{{ a.b }}", "{{name", "{{}}", "{{{name}}}", "{{1}}"]
)
def test_what_only_looks_like_a_field_reaches_nobody(text: str) -> None:
    for message in (letter(text, None), letter("hi", f"<p>{text}")):
        with pytest.raises(LocalProtocolError, match="is not a field"):
            Template(message)


def edited(**fields: str) -> EmailMessage:
    message = letter()
    for name, value in fields.items():
        del message[name]
        if value:
            message[name] = value
    return message


@pytest.mark.parametrize(
    ("message", "why"),
    [
        (edited(To=""), "no To"),
        (edited(From=""), "no From"),
        (edited(Cc="a@b.test"), "Cc, and they would get every copy"),
        (edited(Bcc="{{address}}"), "Bcc, and they would get every copy"),
        (edited(To="a@b.test, {{address}}"), "it is one mailbox"),
        (edited(To="Team: {{address}};"), "it is one mailbox"),
        (edited(From="{{address}}"), "only the display name"),
        (edited(From="jürgen@example.org"), "not ASCII"),
        (edited(**{"Reply-To": "a@b.test, {{address}}"}), "one mailbox"),
        (edited(Date="{{date}}"), "Date is the time of rendering"),
        (edited(References="é {{token}}"), "the rest must be ASCII"),
        (MIMEText("Dear {{name}}"), "made of an EmailMessage"),
    ],
)
def test_a_message_that_makes_no_template_is_refused(message: Any, why: str) -> None:
    with pytest.raises(LocalProtocolError, match=why):
        Template(message)


@pytest.mark.parametrize("wrong", [None, "Dear {{name}}", b"To: x", EmailMessage, [letter()]])
def test_what_is_no_message_makes_no_template(wrong: Any) -> None:
    with pytest.raises(TypeError, match="message: give "):
        Template(wrong)


@pytest.mark.parametrize(
    "octets",
    [
        b"From: \xff@b.test\nTo: {{address}}\n\nhi\n",
        b"From: a@b.test\nTo: {{address}}\nContent-Type: text/plain; charset=x\n\n\xff\n",
    ],
)
def test_what_the_email_package_stumbles_over_is_refused(octets: bytes) -> None:
    with pytest.raises(LocalProtocolError, match="cannot be read"):
        _ = Template(message_from_bytes(octets, policy=policy.default))


def test_a_long_value_of_spaces_takes_no_time() -> None:
    value = " " * 200_000
    copy = read(Template(letter()).render(ROW | {"note": value, "thing": f"x{value}y"})[0])
    assert copy["X-Note"] == value


def test_a_field_in_the_header_of_a_part_is_refused() -> None:
    message = letter()
    message.add_attachment(b"x", maintype="application", subtype="pdf", filename="{{name}}.pdf")
    with pytest.raises(LocalProtocolError, match="Content-Disposition of a part has a field"):
        Template(message)


@pytest.mark.parametrize("name", ["X-{{name}}", "{{name}}", "X-{{"])
def test_a_field_in_the_name_of_a_header_field_is_refused(name: str) -> None:
    message = letter()
    message[name] = "v"
    with pytest.raises(LocalProtocolError, match="names of fields are the same in all"):
        Template(message)
    message = letter()
    message.get_body(("html",))[name] = "v"  # type: ignore[index]
    with pytest.raises(LocalProtocolError, match="names of fields are the same in all"):
        Template(message)


def test_a_field_in_an_attached_text_is_refused_for_nobody_fills_it() -> None:
    message = letter()
    message.add_attachment("Dear {{name}}\n", subtype="csv", filename="letter.csv")
    with pytest.raises(LocalProtocolError, match=r"an attachment has the field \{\{name\}\}"):
        Template(message)
    message = letter()
    message.add_attachment(letter())
    with pytest.raises(LocalProtocolError, match=r"an attachment has the field \{\{"):
        Template(message)
    message = letter()
    message.add_attachment(b"{{name}}", "application", "octet-stream", filename="example.txt")
    (example,) = read(Template(message).render(ROW)[0]).iter_attachments()
    assert example.get_content() == b"{{name}}"


@pytest.mark.parametrize("subtype", ["csv", "markdown", "vcard", "xml", "enriched", "rtf"])
def test_a_text_is_refused_in_which_a_value_could_be_more(subtype: str) -> None:
    message = letter()
    message.add_alternative("{{name}},x", subtype=subtype)
    with pytest.raises(LocalProtocolError, match="only text/plain, text/html and text/calendar"):
        Template(message)


def test_in_html_for_amp_a_value_is_a_text_too() -> None:
    message = letter()
    message.add_alternative("<p>{{name}}</p>", subtype="x-amp-html")
    octets, _ = Template(message).render({**ROW, "name": "<b>&"})
    *_, amp = read(octets).walk()
    assert amp.get_payload(decode=True).strip() == b"<p>&lt;b&gt;&amp;</p>"  # type: ignore[union-attr]


@pytest.mark.parametrize("name", ["Errors-To", "X-Reply-To", "Mail-Followup-To"])
def test_a_value_adds_no_address(name: str) -> None:
    message = letter()
    message[name] = "{{return}}"
    template = Template(message)
    with pytest.raises(AddressError, match="field 'return'"):
        template.render({**ROW, "return": "a@x.test,evil@x.test"})
    octets, _ = template.render({**ROW, "return": "a@x.test"})
    assert f"\r\n{name}: a@x.test\r\n".encode() in octets


@pytest.mark.parametrize("header", ["name,address", '"name",address'])
def test_a_byte_order_mark_before_the_first_column_is_named(header: str) -> None:
    (row,) = csv.DictReader([f"\ufeff{header}", "Bob,bob@example.net"])
    message = letter("Dear {{name}}", None)
    del message["Subject"], message["Reply-To"], message["List-Unsubscribe"], message["X-Note"]
    with pytest.raises(LocalProtocolError, match=r"'name': a byte order mark .*utf-8-sig"):
        Template(message).render(row)
    with pytest.raises(LocalProtocolError, match=r"no value for the field 'name'$"):
        Template(message).render({"address": "bob@example.net"})


# Calendars


def invitation(*lines: str) -> EmailMessage:
    calendar = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//x//EN", "METHOD:REQUEST"]
    calendar += ["BEGIN:VEVENT", "UID:1@example.org", "DTSTAMP:20300107T120000Z", *lines]
    calendar += ["DTSTART:20300108T120000Z", "END:VEVENT", "END:VCALENDAR", ""]
    return smtpx.compose(
        sender="ann@example.org", to="{{address}}", text="Come", calendar="\r\n".join(calendar)
    )


def calendars(octets: bytes) -> list[str]:
    """The invitation as programs read it, and as a file, both as they are."""
    kinds = ("text/calendar", "application/ics")
    found: list[Any] = [part for part in read(octets).walk() if part.get_content_type() in kinds]
    assert [part.get_content_type() for part in found] == list(kinds)
    return [part.get_payload(decode=True).decode().replace("\r\n", "\n") for part in found]


def lines_of(octets: bytes) -> list[str]:
    """The lines of the event, unfolded (RFC 5545 §3.1)."""
    first, second = calendars(octets)
    assert first == second
    assert max(len(line.encode()) for line in first.split("\n")) <= 75
    lines = re.sub(r"\n[ \t]", "", first).split("\n")
    assert [lines[0], lines[-2]] == ["BEGIN:VCALENDAR", "END:VCALENDAR"]
    return lines[7:-4]


def test_a_calendar_is_filled_as_a_file_too() -> None:
    message = invitation("SUMMARY:Lunch with {{ name }}", "ATTENDEE:mailto:{{address}}")
    octets, _ = Template(message).render(ROW)
    assert lines_of(octets) == ["SUMMARY:Lunch with Bob", "ATTENDEE:mailto:bob@example.net"]


@pytest.mark.parametrize(
    ("line", "value", "filled"),
    [
        ("SUMMARY:{{x}}", "B\r\nATTACH:https://evil.test", r"SUMMARY:B\nATTACH:https://evil.test"),
        ("SUMMARY:{{x}}", "a;b,c\\d", r"SUMMARY:a\;b\,c\\d"),
        ("summary;LANGUAGE=de:{{x}}!", "a\rb", r"summary;LANGUAGE=de:a\nb!"),
        ("CATEGORIES:{{x}},b", "a,c", r"CATEGORIES:a\,c,b"),
        ("X-NOTE:{{x}}", "a,b", r"X-NOTE:a\,b"),
        ("SUM\r\n MARY:{{\r\n x}}", "y", "SUMMARY:y"),
        ("DESCRIPTION:{{x}}", "grüße " * 40, "DESCRIPTION:" + "grüße " * 40),
        ("URL:https://x.test/{{x}}", "a;b,c", "URL:https://x.test/a;b,c"),
        ("DTEND:{{x}}", "20300108T130000Z", "DTEND:20300108T130000Z"),
        ("DTEND;VALUE=DATE:{{x}}", "20300108", "DTEND;VALUE=DATE:20300108"),
        ("X-END;VALUE=DATE:{{x}}", "20300108", "X-END;VALUE=DATE:20300108"),
        ("ATTACH;VALUE=TEXT:{{x}}", "a,b", r"ATTACH;VALUE=TEXT:a\,b"),
        ("ATTENDEE;CN={{x}};X-A=B:mailto:a@x", "Bob", "ATTENDEE;CN=Bob;X-A=B:mailto:a@x"),
        ("ATTENDEE;CN={{x}}:mailto:a@x", "B:mailto:c", 'ATTENDEE;CN="B:mailto:c":mailto:a@x'),
        ("ATTENDEE;CN=Dr. {{x}}:mailto:a@x", "B;X=1", 'ATTENDEE;CN="Dr. B;X=1":mailto:a@x'),
        ('ATTENDEE;CN="{{x}}":mailto:a@x', 'B":x', 'ATTENDEE;CN="B^\':x":mailto:a@x'),
        ("ATTENDEE;CN={{x}}:mailto:a@x", "a^b\nc", "ATTENDEE;CN=a^^b^nc:mailto:a@x"),
        ('X;MEMBER="mailto:g@x",{{x}}:y', "m,n", 'X;MEMBER="mailto:g@x","m,n":y'),
    ],
)
def test_a_value_stays_in_its_place_of_a_calendar(line: str, value: str, filled: str) -> None:
    octets, _ = Template(invitation(line)).render({**ROW, "x": value})
    assert lines_of(octets) == [filled]


@pytest.mark.parametrize(
    ("line", "value"),
    [
        ("SUMMARY:{{x}}", "a\x0bb"),
        ("SUMMARY:{{x}}", "a\u2028b"),
        ("ATTENDEE;CN={{x}}:mailto:a@x", "a\0b"),
        ("ATTENDEE:mailto:{{x}}", "a@x\nATTACH:evil"),
        ("URL:{{x}}", "a b"),
        ("ATTACH;VALUE=uri:{{x}}", "a\nb"),
        ("DTEND:{{x}}", "20300108\nATTACH:evil"),
        ("RRULE:FREQ=DAILY;COUNT={{x}}", "3;INTERVAL=2"),
        ("RDATE:{{x}}", "20300108,20300109"),
        ("X-END;VALUE=DATE:{{x}}", "1,2"),
    ],
)
def test_a_value_that_a_calendar_cannot_hold_there_is_refused(line: str, value: str) -> None:
    template = Template(invitation(line))
    with pytest.raises(LocalProtocolError, match="field 'x'"):
        template.render({**ROW, "x": value})


@pytest.mark.parametrize(
    "line", ["{{x}}", "{{x}}:value", "X-{{x}}:value", "X;{{x}}=1:value", "X;A={{x}}", "BEGIN{{x}}"]
)
def test_a_field_in_no_value_of_a_calendar_is_refused(line: str) -> None:
    with pytest.raises(LocalProtocolError, match="stands in the value of a property"):
        Template(invitation(line))


def test_a_calendar_of_another_language_is_shortest_in_base64() -> None:
    text = "Обед " * 60
    octets, _ = Template(invitation(f"SUMMARY:{text}{{{{name}}}}")).render(ROW)
    assert lines_of(octets) == [f"SUMMARY:{text}Bob"]


def test_a_signed_text_is_no_template() -> None:
    message = EmailMessage()
    message["From"], message["To"] = "a@b.test", "{{address}}"
    message["Content-Type"] = "multipart/signed"
    part = EmailMessage()
    part.set_content("Dear {{name}}")
    message.attach(part)
    with pytest.raises(LocalProtocolError, match="signed"):
        Template(message)


def test_a_part_of_the_old_kind_is_refused_for_its_fields_are_not_seen() -> None:
    message = letter()
    message.attach(MIMEText("Dear {{name}}"))  # type: ignore[arg-type] # as programs do
    with pytest.raises(LocalProtocolError, match="a part is a MIMEText"):
        Template(message)


@pytest.mark.parametrize("encoding", ["", "Content-Transfer-Encoding: 8bit\n"])
def test_text_is_encoded_whatever_the_program_has_set_for_its_charset(
    encoding: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Flask-Mail, as it is imported, has the whole process write UTF-8 as it is."""
    as_it_is = (charset.SHORTEST, None, "utf-8")
    monkeypatch.setitem(vars(charset)["CHARSETS"], "utf-8", as_it_is)
    header = "From: ann@example.org\nTo: {{name}} <{{address}}>\n"
    kind = f"Content-Type: text/plain; charset=utf-8\n{encoding}"
    octets = f"{header}{kind}\ngrüß dich\n".encode()
    template: Any = Template(message_from_bytes(octets, policy=policy.default))
    content, _ = template.render(ROW)
    assert content.isascii()
    assert "grüß dich" in message_from_bytes(content, policy=policy.default).get_content()


# Octets that the letter does not declare


FIELDS = b"From: ann@example.org\nTo: {{name}} <{{address}}>\n"


def letter_of(octets: bytes) -> EmailMessage:
    return read(FIELDS + octets)


UNDECLARED = {
    "nothing": b"",
    "another charset": b"Content-Type: text/plain; charset=us-ascii\n",
    "another charset, by another name": b"Content-Type: text/plain; charset=ANSI_X3.4-1968\n",
    "eight bits": b"MIME-Version: 1.0\nContent-Type: text/plain\nContent-Transfer-Encoding: 8bit\n",
}


@pytest.mark.parametrize("field", UNDECLARED.values(), ids=UNDECLARED)
@pytest.mark.parametrize("name", ["{{name}}", "Bob"])
def test_what_a_letter_does_not_declare_is_utf8(name: str, field: bytes) -> None:
    text = f"Liebe {name}, schöne Grüße — 日本\n"
    subject = f"Subject: Grüße, {name}\n".encode()
    template = Template(letter_of(subject + field + b"\n" + text.encode()))
    for each in (template, Template.parse(template.source)):
        octets, _ = each.render(ROW)
        assert octets.isascii()
        copy = read(octets)
        assert copy["Subject"] == "Grüße, Bob"
        assert text_of(copy, "plain") == filled(text, ROW)
        assert copy.get_content_charset() == "utf-8"


def test_headers_that_are_not_declared_are_utf8_in_the_parts_too() -> None:
    octets, _ = Template(
        letter_of(
            "Reply-To: Zoë <zoe@example.org>\nContent-Type: multipart/mixed; boundary=b\n\n"
            '--b\nContent-Disposition: attachment; filename="Grüße.bin"\n\nfür\n--b--\n'.encode()
        )
    ).render(ROW)
    copy = read(octets)
    part: Any = next(copy.iter_attachments())
    assert (copy["Reply-To"], part.get_filename()) == ("Zoë <zoe@example.org>", "Grüße.bin")
    assert part.get_payload(decode=True).rstrip() == "für".encode()


def test_what_is_declared_is_what_it_says() -> None:
    field = b"Content-Type: text/plain; charset=windows-1252\n\n"
    octets, _ = Template(letter_of(field + "{{name}}: 5 €".encode("cp1252"))).render(ROW)
    assert text_of(read(octets), "plain") == "Bob: 5 €"


def test_an_attachment_keeps_its_octets() -> None:
    part = b"--b\nContent-Type: text/csv\nContent-Disposition: attachment\n\nf\xfcr\n--b--\n"
    octets, _ = Template(letter_of(b"Content-Type: multipart/mixed; boundary=b\n\n" + part)).render(
        ROW
    )
    attached: Any = next(read(octets).iter_attachments())
    assert attached.get_payload(decode=True).rstrip() == b"f\xfcr"


UNREADABLE = {
    "a text": (b"\nf\xfcr {{name}}", "the text/plain part is not UTF-8"),
    "a text without a field": (b"\nf\xfcr", "the text/plain part is not UTF-8"),
    "in base64": (b"Content-Transfer-Encoding: base64\n\nZvxy", "the text/plain part is not UTF-8"),
    "declared in vain": (b"Content-Type: text/html; charset=utf-8\n\nf\xfcr", "is not utf-8"),
    "declared as nothing known": (b"Content-Type: text/html; charset=x-1\n\nf\xfcr", "x-1"),
    "a subject": (b"Subject: f\xfcr {{name}}\n\nx", "field Subject is not UTF-8"),
    "a subject without a field": (b"Subject: f\xfcr\n\nx", "field Subject is not UTF-8"),
    "a name": (b"Reply-To: Zo\xeb <zoe@example.org>\n\nx", "field Reply-To is not UTF-8"),
    "a preamble": (b"Content-Type: multipart/mixed; boundary=b\n\n\xfc\n--b\n\nx\n--b--\n", "127"),
}


@pytest.mark.parametrize(("octets", "said"), UNREADABLE.values(), ids=UNREADABLE)
def test_what_can_be_no_text_is_refused(octets: bytes, said: str) -> None:
    with pytest.raises(LocalProtocolError, match=said):
        _ = Template(letter_of(octets))
