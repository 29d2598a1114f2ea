"""MAIL and RCPT parameters: each on its command, in its RFC's form, refused or dropped."""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta, timezone
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx._wire.extensions import NO_EXTENSIONS, Extensions
from smtpx._wire.parameters import mail_parameters, rcpt_parameters, xtext
from smtpx.envelope import BodyType, DeliverBy, Envelope, Notify, Recipient, Ret
from smtpx.errors import AddressError, ExtensionMissing, LocalProtocolError

EVERYTHING = Extensions(
    dict.fromkeys(
        [
            "8BITMIME",
            "AUTH",
            "BINARYMIME",
            "CHUNKING",
            "DELIVERBY",
            "DSN",
            "FUTURERELEASE",
            "MT-PRIORITY",
            "REQUIRETLS",
            "RRVS",
            "SIZE",
            "SMTPUTF8",
        ],
        "",
    )
)
EAST = timezone(timedelta(hours=5, minutes=30))
NOON = datetime(2030, 1, 2, 12, 0, 0, 999999, tzinfo=UTC)
BOB = "bob@x.test"
# RFC 5321 §4.1.2: esmtp-param.
PARAMETERS = re.compile(r"(?: [A-Za-z0-9][A-Za-z0-9\-]*(?:=[!-<>-~]+)?)*")


def mail(
    extensions: Extensions = EVERYTHING,
    *,
    size: int | None = None,
    body: BodyType = BodyType.SEVEN_BIT,
    smtputf8: bool = False,
    tls: bool = True,
    **options: Any,
) -> str:
    words = mail_parameters(
        Envelope(None, BOB, **options), extensions, size=size, body=body, smtputf8=smtputf8, tls=tls
    )
    assert PARAMETERS.fullmatch(words)
    return words


def rcpt(extensions: Extensions = EVERYTHING, *, drop: bool = False, **options: Any) -> str:
    words = rcpt_parameters(Recipient(BOB, **options), extensions, drop=drop)
    assert PARAMETERS.fullmatch(words)
    return words


def without(keyword: str) -> Extensions:
    return Extensions({k: v for k, v in EVERYTHING.keywords.items() if k != keyword})


def stating(keyword: str, parameters: str) -> Extensions:
    return Extensions({**EVERYTHING.keywords, keyword: parameters})


# option, what it becomes on MAIL, the keyword it needs
ON_MAIL: list[tuple[dict[str, Any], str, str]] = [
    ({"ret": Ret.FULL}, "RET=FULL", "DSN"),
    ({"ret": Ret.HEADERS}, "RET=HDRS", "DSN"),
    ({"envid": "QQ314159"}, "ENVID=QQ314159", "DSN"),
    ({"envid": "a+b=c d"}, "ENVID=a+2Bb+3Dc+20d", "DSN"),
    ({"envid": "x" * 100}, "ENVID=" + "x" * 100, "DSN"),
    ({"auth": "<>"}, "AUTH=<>", "AUTH"),
    ({"auth": "e=mc2@example.com"}, "AUTH=e+3Dmc2@example.com", "AUTH"),
    ({"auth": "ann"}, "AUTH=ann", "AUTH"),
    ({"auth": '"a b"@x.test'}, 'AUTH="a+20b"@x.test', "AUTH"),
    ({"deliver_by": DeliverBy(125)}, "BY=125;R", "DELIVERBY"),
    ({"deliver_by": DeliverBy(125, returned=False)}, "BY=125;N", "DELIVERBY"),
    ({"deliver_by": DeliverBy(125, trace=True)}, "BY=125;RT", "DELIVERBY"),
    ({"deliver_by": DeliverBy(-15, False, True)}, "BY=-15;NT", "DELIVERBY"),
    ({"deliver_by": DeliverBy(0, False)}, "BY=0;N", "DELIVERBY"),
    ({"hold": 86400}, "HOLDFOR=86400", "FUTURERELEASE"),
    ({"hold": NOON}, "HOLDUNTIL=2030-01-02T12:00:00Z", "FUTURERELEASE"),
    ({"hold": NOON.astimezone(EAST)}, "HOLDUNTIL=2030-01-02T12:00:00Z", "FUTURERELEASE"),
    ({"priority": 3}, "MT-PRIORITY=3", "MT-PRIORITY"),
    ({"priority": -9}, "MT-PRIORITY=-9", "MT-PRIORITY"),
    ({"priority": 0}, "MT-PRIORITY=0", "MT-PRIORITY"),
]
ON_RCPT: list[tuple[dict[str, Any], str, str]] = [
    ({"notify": Notify.NEVER}, "NOTIFY=NEVER", "DSN"),
    ({"notify": Notify.SUCCESS}, "NOTIFY=SUCCESS", "DSN"),
    ({"notify": Notify.DELAY | Notify.FAILURE}, "NOTIFY=FAILURE,DELAY", "DSN"),
    (
        {"notify": Notify.DELAY | Notify.FAILURE | Notify.SUCCESS},
        "NOTIFY=SUCCESS,FAILURE,DELAY",
        "DSN",
    ),
    ({"orcpt": "bob@x.test"}, "ORCPT=rfc822;bob@x.test", "DSN"),
    ({"orcpt": "b+o=b@x.test"}, "ORCPT=rfc822;b+2Bo+3Db@x.test", "DSN"),
    ({"orcpt": '"b b"@x.test'}, 'ORCPT=rfc822;"b+20b"@x.test', "DSN"),
    ({"orcpt": "rfc822;Bob@X.test"}, "ORCPT=rfc822;Bob@X.test", "DSN"),
    ({"orcpt": "x400;/c=de/"}, "ORCPT=x400;/c+3Dde/", "DSN"),
    ({"orcpt": "bücher@x.test"}, r"ORCPT=utf-8;b\x{FC}cher@x.test", "DSN"),
    ({"orcpt": "utf-8;漢+\\@x.test"}, r"ORCPT=utf-8;\x{6F22}\x{2B}\x{5C}@x.test", "DSN"),
    ({"orcpt": "UTF-8;😀 =@x.test"}, r"ORCPT=UTF-8;\x{1F600}\x{20}\x{3D}@x.test", "DSN"),
    ({"orcpt": "bob@bücher.test"}, "ORCPT=rfc822;bob@xn--bcher-kva.test", "DSN"),
    ({"unchanged_since": NOON}, "RRVS=2030-01-02T12:00:00Z", "RRVS"),
    ({"unchanged_since": NOON.astimezone(EAST)}, "RRVS=2030-01-02T12:00:00Z", "RRVS"),
    (
        {"unchanged_since": datetime(987, 6, 5, tzinfo=UTC)},
        "RRVS=0987-06-05T00:00:00Z",
        "RRVS",
    ),
]


@pytest.mark.requirement("RFC 3461 §4.3, §4.4; 4954 §5; 8689 §2; 2852 §4; 4865 §4; 6710 §5")
@pytest.mark.parametrize(("options", "word", "keyword"), ON_MAIL, ids=lambda value: str(value)[:40])
def test_an_option_of_the_message_goes_on_mail_if_it_is_offered(
    options: dict[str, Any], word: str, keyword: str
) -> None:
    assert mail(**options) == f" {word}"
    with pytest.raises(ExtensionMissing, match="drop_unsupported=True") as caught:
        mail(without(keyword), **options)
    assert caught.value.keyword == keyword
    assert mail(without(keyword), **options, drop_unsupported=True) == ""


@pytest.mark.requirement("RFC 3461 §4.1, §4.2; 6533 §3; 7293 §4")
@pytest.mark.parametrize(("options", "word", "keyword"), ON_RCPT, ids=lambda value: str(value)[:40])
def test_an_option_of_a_recipient_goes_on_rcpt_if_it_is_offered(
    options: dict[str, Any], word: str, keyword: str
) -> None:
    assert rcpt(**options) == f" {word}"
    with pytest.raises(ExtensionMissing, match=r"bob@x\.test") as caught:
        rcpt(without(keyword), **options)
    assert caught.value.keyword == keyword
    assert rcpt(without(keyword), drop=True, **options) == ""


def test_no_option_costs_nothing_anywhere() -> None:
    for extensions in (EVERYTHING, NO_EXTENSIONS):
        assert mail(extensions) == ""
        assert rcpt(extensions) == ""


def test_all_of_them_go_together_each_once() -> None:
    words = mail(
        size=7,
        body=BodyType.EIGHT_BIT,
        smtputf8=True,
        ret=Ret.FULL,
        envid="id",
        auth="<>",
        require_tls=True,
        deliver_by=DeliverBy(60),
        hold=30,
        priority=1,
    ).split()
    assert sorted(words) == [
        "AUTH=<>", "BODY=8BITMIME", "BY=60;R", "ENVID=id", "HOLDFOR=30", "MT-PRIORITY=1",
        "REQUIRETLS", "RET=FULL", "SIZE=7", "SMTPUTF8",
    ]  # fmt: skip
    words = rcpt(notify=Notify.NEVER, orcpt=BOB, unchanged_since=NOON).split()
    assert [word.partition("=")[0] for word in words] == ["NOTIFY", "ORCPT", "RRVS"]


# --- SIZE, BODY, SMTPUTF8 ----------------------------------------------------------------------


@pytest.mark.requirement("RFC 1870 §6")
def test_the_size_is_stated_where_it_is_known_and_wanted() -> None:
    assert mail(size=1234) == " SIZE=1234"
    assert mail(size=0) == " SIZE=0"
    assert mail(size=None) == ""
    assert mail(without("SIZE"), size=1234) == ""


@pytest.mark.requirement("RFC 1870 §6.1")
@pytest.mark.parametrize("drop", [False, True])
def test_content_above_the_servers_limit_is_not_even_offered(drop: bool) -> None:
    assert mail(stating("SIZE", "1000"), size=1000, drop_unsupported=drop) == " SIZE=1000"
    with pytest.raises(LocalProtocolError, match=r"1001 octets.*at most 1000"):
        mail(stating("SIZE", "1000"), size=1001, drop_unsupported=drop)
    assert mail(stating("SIZE", "0"), size=10**9) == f" SIZE={10**9}"


@pytest.mark.requirement("RFC 6152 §2, RFC 3030 §3")
@pytest.mark.parametrize("drop", [False, True])
def test_the_body_type_is_stated_where_needed_and_never_dropped(drop: bool) -> None:
    assert mail(body=BodyType.SEVEN_BIT) == ""
    assert mail(body=BodyType.EIGHT_BIT) == " BODY=8BITMIME"
    assert mail(body=BodyType.BINARY) == " BODY=BINARYMIME"
    for keyword, needed, body in (
        ("8BITMIME", "8BITMIME", BodyType.EIGHT_BIT),
        ("BINARYMIME", "BINARYMIME", BodyType.BINARY),
        ("CHUNKING", "BINARYMIME", BodyType.BINARY),
    ):
        with pytest.raises(ExtensionMissing) as caught:
            mail(without(keyword), body=body, drop_unsupported=drop)
        assert caught.value.keyword == needed


@pytest.mark.requirement("T37")
@pytest.mark.parametrize("drop", [False, True])
def test_smtputf8_is_never_dropped(drop: bool) -> None:
    assert mail(smtputf8=True) == " SMTPUTF8"
    with pytest.raises(ExtensionMissing) as caught:
        mail(without("SMTPUTF8"), smtputf8=True, drop_unsupported=drop)
    assert caught.value.keyword == "SMTPUTF8"
    with pytest.raises(ExtensionMissing) as caught:  # To encode the content would not help.
        mail(Extensions({}), smtputf8=True, body=BodyType.EIGHT_BIT)
    assert caught.value.keyword == "SMTPUTF8"


# --- values within what the server states ------------------------------------------------------


@pytest.mark.requirement("RFC 8689 §4")
@pytest.mark.parametrize("drop", [False, True])
def test_requiretls_needs_tls_here_first(drop: bool) -> None:
    with pytest.raises(ExtensionMissing, match="no TLS"):
        mail(tls=False, require_tls=True, drop_unsupported=drop)


@pytest.mark.requirement("RFC 2852 §4")
def test_deliver_by_keeps_to_the_servers_shortest_time() -> None:
    by = stating("DELIVERBY", "240")
    assert mail(by, deliver_by=DeliverBy(240)) == " BY=240;R"
    with pytest.raises(LocalProtocolError, match="240 seconds or later"):
        mail(by, deliver_by=DeliverBy(239))
    assert mail(by, deliver_by=DeliverBy(239, returned=False)) == " BY=239;N"


@pytest.mark.requirement("RFC 4865 §4")
def test_a_hold_keeps_to_the_servers_longest_time() -> None:
    stated = stating("FUTURERELEASE", "3600 2030-01-02T12:00:00Z")
    assert mail(stated, hold=3600) == " HOLDFOR=3600"
    with pytest.raises(LocalProtocolError, match="3600 seconds at most"):
        mail(stated, hold=3601)
    noon = NOON.replace(microsecond=0)
    assert mail(stated, hold=noon) == " HOLDUNTIL=2030-01-02T12:00:00Z"
    for later in (noon + timedelta(seconds=1), (noon + timedelta(seconds=1)).astimezone(EAST)):
        with pytest.raises(LocalProtocolError, match="until 2030-01-02T12:00:00Z at most"):
            mail(stated, hold=later)


@pytest.mark.parametrize("stated", ["", "x y", "- 2030-13-45T00:00:00Z", "x 2030-01-01T00:00:00"])
def test_a_limit_that_cannot_be_read_is_left_to_the_server(stated: str) -> None:
    assert mail(stating("FUTURERELEASE", stated), hold=10**8) == f" HOLDFOR={10**8}"
    assert mail(stating("FUTURERELEASE", stated), hold=NOON).startswith(" HOLDUNTIL=")


# --- xtext -------------------------------------------------------------------------------------


def plain(encoded: str) -> str:
    """RFC 3461 §4, read backwards."""
    return re.sub(r"\+([0-9A-F]{2})", lambda match: chr(int(match[1], 16)), encoded)


PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126))


@pytest.mark.requirement("RFC 3461 §4")
@given(PRINTABLE)
def test_xtext_can_be_undone_and_has_nothing_that_ends_a_parameter(text: str) -> None:
    encoded = xtext(text)
    assert re.fullmatch(r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})*", encoded)
    assert plain(encoded) == text


@pytest.mark.requirement("RFC 3461 §4")
@pytest.mark.parametrize("code", [*range(0x20), 0x7F, 0x80, 0xA0, 0xE9, 0x2028, 0x6F22, 0xD800])
def test_xtext_is_of_printable_ascii_only(code: int) -> None:
    with pytest.raises(LocalProtocolError, match="printable ASCII"):
        xtext(f"a{chr(code)}b")


@given(PRINTABLE.filter(lambda text: 0 < len(text) <= 33))
def test_any_printable_envid_arrives(envid: str) -> None:
    assert plain(mail(envid=envid).removeprefix(" ENVID=")) == envid


@pytest.mark.requirement("RFC 3461 §4.4")
def test_an_envid_counts_as_it_is_written() -> None:
    assert mail(envid="+" * 33 + "x") == " ENVID=" + "+2B" * 33 + "x"
    with pytest.raises(LocalProtocolError, match="1 to 100 characters"):
        mail(envid="+" * 34)


@pytest.mark.requirement("RFC 8689 §4.2.1")
def test_requiretls_is_never_dropped() -> None:
    assert mail(require_tls=True) == " REQUIRETLS"
    for drop in (False, True):
        with pytest.raises(ExtensionMissing, match="require_tls"):
            mail(without("REQUIRETLS"), require_tls=True, drop_unsupported=drop)


CONTROLS = [*map(chr, range(0x20)), "\x7f", "\x85", "\u2028", "\ud800"]


@pytest.mark.requirement("T1")
@pytest.mark.parametrize("control", CONTROLS)
def test_no_control_character_gets_into_a_parameter(control: str) -> None:
    with pytest.raises(LocalProtocolError):
        mail(envid=f"a{control}b")
    with pytest.raises(AddressError):
        mail(auth=f"a{control}b@x.test")
    for orcpt in (f"rfc822;a{control}b", f"utf-8;a{control}b", f"x400;a{control}"):
        with pytest.raises(LocalProtocolError):
            rcpt(orcpt=orcpt)
    with pytest.raises((AddressError, LocalProtocolError)):
        rcpt(orcpt=f"a{control}b@x.test")
    with pytest.raises((AddressError, LocalProtocolError)):
        rcpt(orcpt=f"rfc{control}822;b@x.test")


@pytest.mark.requirement("T1")
@given(st.text(st.characters(exclude_categories=["Cs"]), max_size=40) | PRINTABLE)
def test_whatever_the_value_it_is_one_parameter_or_refused(value: str) -> None:
    for make in (
        lambda: mail(envid=value),
        lambda: mail(auth=value),
        lambda: rcpt(orcpt=value),
        lambda: rcpt(orcpt=f"rfc822;{value}"),
        lambda: rcpt(orcpt=f"utf-8;{value}"),
    ):
        try:
            words = make()
        except (LocalProtocolError, AddressError):
            continue
        assert words.count(" ") == 1
        assert words.isascii()


@pytest.mark.requirement("RFC 4954 §5")
@pytest.mark.parametrize("auth", ["bücher@x.test", "a@b> X=1", "", "<a@x.test>"])
def test_the_submitter_is_an_ascii_address(auth: str) -> None:
    with pytest.raises((LocalProtocolError, AddressError)):
        mail(auth=auth)


@pytest.mark.requirement("RFC 3461 §4.2")
def test_orcpt_has_500_characters_at_most() -> None:
    assert rcpt(orcpt="x400;" + "a" * 495).endswith("a" * 495)
    for longer in ("x400;" + "a" * 496, "x400;" + "=" * 166, "utf-8;" + "漢" * 100):
        with pytest.raises(LocalProtocolError, match="500"):
            rcpt(orcpt=longer)


@pytest.mark.requirement("RFC 6533 §3")
@given(st.text(st.characters(exclude_categories=["C", "Z"]), min_size=1, max_size=30))
def test_an_internationalized_orcpt_can_be_undone(local_part: str) -> None:
    word = rcpt(orcpt=f"utf-8;{local_part}@x.test").removeprefix(" ORCPT=utf-8;")
    assert re.fullmatch(r"(?:[!-*,-<>-\[\]-~]|\\x\{[0-9A-F]+\})+", word)
    undone = re.sub(r"\\x\{([0-9A-F]+)\}", lambda match: chr(int(match[1], 16)), word)
    assert undone == f"{local_part}@x.test"
