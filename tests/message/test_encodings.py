"""Parts encoded anew for servers without 8BITMIME, or left binary for those with BINARYMIME."""

from __future__ import annotations

import re
from email import message_from_bytes, policy
from email.message import EmailMessage, Message

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx._message.encodings import as_octets, encoded_anew, seven_bit
from smtpx._message.messages import AnyMessage
from smtpx.errors import LocalProtocolError

POLICIES = {"compat32": policy.compat32, "default": policy.default, "SMTP": policy.SMTP}

LATIN_1 = "grüß dich\r\n".encode("latin-1")
UTF_8 = "grüß dich\r\n".encode()


def content(*lines: bytes) -> bytes:
    return b"\r\n".join(lines)


def written(message: AnyMessage, *, eight_bit: bool = False, binary: bool = False) -> bytes:
    return as_octets(message, smtputf8=False, eight_bit=eight_bit, binary=binary)[0]


def leaves(octets: bytes) -> list[tuple[str, bytes]]:
    """Media type and decoded octets of each leaf, as a receiver has them."""
    return [
        (part.get_content_type(), part.get_payload(decode=True))  # type: ignore[misc]
        for part in message_from_bytes(octets).walk()
        if not part.is_multipart()
    ]


def canonical(data: bytes) -> bytes:
    return re.sub(rb"\r\n|\r|\n", b"\r\n", data)


# A leaf as it is written in a message: its fields, its octets, and what they mean.
eight_bit_lines = st.binary(max_size=60).map(lambda data: canonical(data.replace(b"-", b"")))
leaf = st.tuples(
    st.sampled_from(
        [b"text/plain; charset=utf-8", b"text/html; charset=latin-1", b"application/x-y", b"text/x"]
    ),
    st.sampled_from([b"8bit", b"7bit", b""]),
    eight_bit_lines,
)


def as_part(kind: bytes, encoding: bytes, data: bytes) -> bytes:
    fields = [b"Content-Type: " + kind]
    if encoding:
        fields.append(b"Content-Transfer-Encoding: " + encoding)
    return content(*fields, b"", data)


def as_multipart(parts: list[bytes], number: int) -> bytes:
    boundary = b"border%d" % number
    lines = [b"MIME-Version: 1.0", b"Content-Type: multipart/mixed; boundary=" + boundary]
    lines.append(b"Content-Transfer-Encoding: 8bit")
    inner = b"".join(b"\r\n--" + boundary + b"\r\n" + part for part in parts)
    return content(*lines, b"") + inner + b"\r\n--" + boundary + b"--\r\n"


def as_enclosed(message: bytes) -> bytes:
    return content(
        b"Content-Type: message/rfc822", b"Content-Transfer-Encoding: 8bit", b"", message
    )


@st.composite
def trees(draw: st.DrawFn) -> tuple[bytes, list[bytes]]:
    """A message as octets, and the octets of its leaves."""
    numbers = iter(range(100))

    def part(depth: int) -> tuple[bytes, list[bytes]]:
        shape = draw(
            st.sampled_from(["leaf", "leaf", "multipart", "message"] if depth else ["leaf"])
        )
        if shape == "leaf":
            one = draw(leaf)
            return as_part(*one), [one[2]]
        if shape == "message":
            inner, found = part(depth - 1)
            return as_enclosed(b"Subject: inner\r\n" + inner), found
        inside = [part(depth - 1) for _ in range(draw(st.integers(1, 3)))]
        found = [data for _, datas in inside for data in datas]
        return as_multipart([octets for octets, _ in inside], next(numbers)), found

    octets, found = part(3)
    return b"From: a@x.test\r\n" + octets, found


@pytest.mark.requirement("RFC 6152")
@given(trees(), st.sampled_from(sorted(POLICIES)))
def test_every_part_says_the_same_in_seven_bits(tree: tuple[bytes, list[bytes]], name: str) -> None:
    octets, found = tree
    message = message_from_bytes(octets, policy=POLICIES[name])
    before = message.as_bytes()
    for result in (written(message), seven_bit(octets)):
        assert result.isascii()
        assert max(map(len, result.split(b"\r\n"))) <= 998
        received = [canonical(data) for _, data in leaves(result)]
        assert [data.rstrip() for data in received] == [data.rstrip() for data in found]
    assert message.as_bytes() == before


@given(trees())
def test_what_a_server_can_take_is_left_as_it_is(tree: tuple[bytes, list[bytes]]) -> None:
    message = message_from_bytes(tree[0], policy=policy.compat32)
    assert encoded_anew(message, lambda _, is_binary: is_binary) is message


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.parametrize(
    ("kind", "data", "encoding"),
    [
        (b"text/plain; charset=utf-8", b"mostly ASCII, but for \xc3\xa9\r\n", "quoted-printable"),
        (b"text/plain; charset=utf-8", "нет латинских букв\r\n".encode(), "base64"),
        (b"application/x-y", b"mostly ASCII, but for \xc3\xa9\r\n", "base64"),
    ],
)
def test_the_encoding_is_the_shorter_one_and_quoted_printable_is_for_text(
    name: str, kind: bytes, data: bytes, encoding: str
) -> None:
    message = message_from_bytes(as_part(kind, b"8bit", data), policy=POLICIES[name])
    again = message_from_bytes(written(message))
    assert again["Content-Transfer-Encoding"] == encoding
    assert again["MIME-Version"] == "1.0"
    assert again.get_payload(decode=True) == data


def test_text_of_no_charset_that_can_only_be_utf_8_is_called_so() -> None:
    again = message_from_bytes(seven_bit(b"Subject: hi\r\n\r\n" + UTF_8), policy=policy.default)
    assert again.get_content().split() == ["grüß", "dich"]
    other = message_from_bytes(seven_bit(b"Subject: hi\r\n\r\n" + LATIN_1))
    assert other.get_content_charset() is None
    assert other.get_payload(decode=True) == LATIN_1


@pytest.mark.requirement("RFC 2045 §6.4")
def test_a_container_is_labelled_as_its_parts_are_now() -> None:
    part = as_part(b"text/plain; charset=utf-8", b"8bit", UTF_8)
    inner = as_enclosed(b"Subject: x\r\n" + part)
    message = message_from_bytes(as_multipart([inner], 1))
    encodings = [
        part["Content-Transfer-Encoding"] for part in message_from_bytes(written(message)).walk()
    ]
    assert encodings == ["7bit", "7bit", "base64"]


@pytest.mark.parametrize("name", POLICIES)
@pytest.mark.requirement("RFC 1847 §2.1")
def test_a_signed_part_is_never_changed(name: str) -> None:
    part = as_part(b"text/plain; charset=utf-8", b"8bit", UTF_8)
    signed = as_multipart([part, as_part(b"application/pgp-signature", b"", b"sig\r\n")], 1)
    signed = signed.replace(b"multipart/mixed;", b"multipart/signed;")
    for octets in (signed, as_multipart([signed], 2), as_multipart([as_enclosed(signed)], 2)):
        for attempt in (
            lambda octets=octets: written(message_from_bytes(octets, policy=POLICIES[name])),
            lambda octets=octets: seven_bit(octets),
        ):
            with pytest.raises(LocalProtocolError, match="signed"):
                _ = attempt()


@pytest.mark.requirement("RFC 6376 §5.3")
@pytest.mark.parametrize("field", [b"DKIM-Signature", b"dkim-signature", b"ARC-Message-Signature"])
def test_a_message_with_a_dkim_signature_is_never_changed(field: bytes) -> None:
    octets = field + b": v=1\r\n" + as_part(b"text/plain; charset=utf-8", b"8bit", UTF_8)
    with pytest.raises(LocalProtocolError, match="signed"):
        _ = seven_bit(octets)
    with pytest.raises(LocalProtocolError, match="signed"):
        _ = written(message_from_bytes(octets, policy=policy.default))


def test_what_is_signed_and_fits_goes_out_and_what_stands_beside_it_is_changed() -> None:
    part = as_part(b"text/plain", b"", b"only ASCII\r\n")
    signed = as_multipart([part, as_part(b"application/pgp-signature", b"", b"sig\r\n")], 1)
    signed = signed.replace(b"multipart/mixed;", b"multipart/signed;")
    beside = as_part(b"text/plain; charset=utf-8", b"8bit", UTF_8)
    octets = seven_bit(as_multipart([signed, beside], 2))
    assert signed.partition(b"\r\n\r\n")[2] in octets
    assert octets.isascii()


def test_octets_that_belong_to_no_part_are_refused() -> None:
    octets = as_multipart([as_part(b"text/plain", b"", b"x")], 1)
    with pytest.raises(LocalProtocolError, match="outside of its parts"):
        _ = seven_bit(octets.replace(b"\r\n\r\n--", b"\r\n\r\npr\xe9amble\r\n--", 1))
    with pytest.raises(LocalProtocolError, match="a header of the content"):
        _ = seven_bit(b"Subject: gr\xc3\xbc\xc3\x9f\r\n\r\nhi\r\n")


def test_parts_without_end_are_refused() -> None:
    message = Message()
    message.set_payload("\udcff")
    for _ in range(2000):
        outer = Message()
        outer["Content-Type"] = "multipart/mixed"
        outer.attach(message)
        message = outer
    with pytest.raises(LocalProtocolError, match=r"nested too deep|cannot be written"):
        _ = as_octets(message, smtputf8=False, eight_bit=False, binary=False)


# --- BINARYMIME --------------------------------------------------------------------------------


def with_binary(*datas: bytes) -> EmailMessage:
    message = EmailMessage()
    message["From"] = "a@x.test"
    message.set_content("hi\n")
    for data in datas:
        message.add_attachment(data, "application", "octet-stream", cte="binary")
    return message


@pytest.mark.requirement("RFC 3030 §3")
@given(st.lists(st.binary(max_size=200), min_size=1, max_size=3))
def test_binary_parts_go_out_octet_by_octet_or_in_base64(datas: list[bytes]) -> None:
    message = with_binary(*datas)
    octets, binary = as_octets(message, smtputf8=False, eight_bit=True, binary=True)
    assert binary
    boundary = str(message_from_bytes(octets).get_boundary()).encode()
    *_, parts = octets.split(b"\r\n--" + boundary + b"\r\n", 1)
    found = [part.partition(b"\r\n\r\n")[2] for part in parts.split(b"\r\n--" + boundary)]
    assert found[1 : len(datas) + 1] == datas
    for eight_bit in (False, True):
        octets, binary = as_octets(message, smtputf8=False, eight_bit=eight_bit, binary=False)
        assert not binary
        assert [data for _, data in leaves(octets)[1:]] == datas
    assert message.get_boundary() is None


def test_a_binary_part_in_a_message_without_others() -> None:
    message = EmailMessage()
    message.set_content(b"\r\0\n\xff", "application", "octet-stream", cte="binary")
    octets, binary = as_octets(message, smtputf8=False, eight_bit=True, binary=True)
    assert binary
    assert octets.endswith(b"\r\n\r\n\r\0\n\xff")


def test_a_boundary_within_a_binary_part_is_refused() -> None:
    message = with_binary(b"\r\n--here--\r\n")
    message.set_boundary("here")
    with pytest.raises(LocalProtocolError, match="boundary"):
        _ = as_octets(message, smtputf8=False, eight_bit=True, binary=True)


def test_a_message_without_binary_parts_is_not_binary() -> None:
    message = EmailMessage()
    message.set_content("hi\n")
    assert not as_octets(message, smtputf8=False, eight_bit=True, binary=True)[1]
