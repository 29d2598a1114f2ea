"""Commands, parameters and extensions as lines on the wire."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from smtpx._wire import commands
from smtpx._wire.commands import Phase, command
from smtpx._wire.extensions import Extensions
from smtpx._wire.parameters import mail_parameters, rcpt_parameters, xtext
from smtpx.addresses import Address
from smtpx.envelope import BodyType, DeliverBy, Envelope, Notify, Recipient, Ret
from smtpx.errors import ExtensionMissing, LocalProtocolError
from smtpx.replies import Reply

CONTROLS = [chr(code) for code in [*range(0x20), 0x7F]]
NOON = datetime(2026, 11, 23, 12, 0, 0, 999, tzinfo=timezone(timedelta(hours=2)))


@pytest.mark.requirement("T1")
@pytest.mark.parametrize("bad", CONTROLS)
def test_no_control_character_passes_the_guard(bad):
    direct = Address.__new__(Address)  # not even an address that nobody checked
    for name, value in [("local_part", f"a{bad}b"), ("domain", "x"), ("_text", f"a{bad}b@x")]:
        object.__setattr__(direct, name, value)
    for make in (
        lambda: command(Phase.OTHER, f"NOOP {bad}"),
        lambda: commands.ehlo("EHLO", f"me{bad}"),
        lambda: commands.mail(direct),
        lambda: commands.rcpt(direct),
        lambda: commands.mail(None, f" X={bad}"),
        lambda: commands.envelope_commands(direct, "", [], reset=True),
        lambda: commands.envelope_commands(None, f" X={bad}", [], reset=True),
        lambda: commands.envelope_commands(None, "", [f"b{bad}@x"], reset=False),
    ):
        with pytest.raises(LocalProtocolError):
            _ = make()


@pytest.mark.requirement("T4")
@pytest.mark.parametrize("bad", ["\ud800", "a\udfff"])
def test_surrogates_are_no_text(bad):
    with pytest.raises(LocalProtocolError):
        _ = command(Phase.OTHER, bad)
    with pytest.raises(LocalProtocolError):
        _ = commands.envelope_commands(None, "", [bad], reset=True)


@pytest.mark.parametrize("name", ["", "two words", " x"])
def test_an_ehlo_name_is_one_word(name):
    with pytest.raises(LocalProtocolError):
        _ = commands.ehlo("EHLO", name)


def test_a_group_is_the_commands_one_after_the_other():
    group = commands.envelope_commands(
        Address.parse("a@x.test"), " SIZE=1", ["b@y.test", '"c d"@y.test'], reset=True
    )
    assert group == (
        b'RSET\r\nMAIL FROM:<a@x.test> SIZE=1\r\nRCPT TO:<b@y.test>\r\nRCPT TO:<"c d"@y.test>\r\n'
    )


@pytest.mark.requirement("T26")
def test_secrets_are_not_shown():
    secret = command(Phase.AUTH, "AUTH PLAIN AGJvYgBzM2NyZXQ=", secret=True)
    assert secret.shown == "AUTH PLAIN [redacted]"
    assert "AGJv" not in repr(secret)
    assert command(Phase.AUTH, "AGJvYgBzM2NyZXQ=", secret=True).shown == "[redacted]"
    with pytest.raises(LocalProtocolError) as caught:
        _ = command(Phase.AUTH, "s3cret\n", secret=True)
    assert "s3cret" not in str(caught.value)


OFFERS = Extensions(
    {
        "SIZE": "1000",
        "8BITMIME": "",
        "SMTPUTF8": "",
        "DSN": "",
        "AUTH": "PLAIN",
        "REQUIRETLS": "",
        "DELIVERBY": "60",
        "FUTURERELEASE": "3600 2027-01-01T00:00:00Z",
        "MT-PRIORITY": "",
        "RRVS": "",
        "CHUNKING": "",
        "BINARYMIME": "",
    }
)
OPTIONS = [
    ({"ret": Ret.HEADERS}, " RET=HDRS", "DSN"),
    ({"ret": Ret.FULL}, " RET=FULL", "DSN"),
    ({"envid": "Q+Q=1"}, " ENVID=Q+2BQ+3D1", "DSN"),
    ({"auth": "<>"}, " AUTH=<>", "AUTH"),
    ({"auth": "e+mc2@example.com"}, " AUTH=e+2Bmc2@example.com", "AUTH"),
    ({"require_tls": True}, " REQUIRETLS", "REQUIRETLS"),
    ({"deliver_by": DeliverBy(120)}, " BY=120;R", "DELIVERBY"),
    ({"deliver_by": DeliverBy(-5, returned=False, trace=True)}, " BY=-5;NT", "DELIVERBY"),
    ({"hold": 30}, " HOLDFOR=30", "FUTURERELEASE"),
    ({"hold": NOON}, " HOLDUNTIL=2026-11-23T10:00:00Z", "FUTURERELEASE"),
    ({"priority": -9}, " MT-PRIORITY=-9", "MT-PRIORITY"),
]


def mail(envelope, extensions=OFFERS, *, size=None, body=BodyType.SEVEN_BIT, utf8=False, tls=True):
    return mail_parameters(envelope, extensions, size=size, body=body, smtputf8=utf8, tls=tls)


@pytest.mark.parametrize(("options", "wire", "keyword"), OPTIONS)
def test_each_option_of_mail(options, wire, keyword):
    assert mail(Envelope("a@x.test", "b@y.test", **options)) == wire
    without = Extensions({k: v for k, v in OFFERS.keywords.items() if k != keyword})
    with pytest.raises(ExtensionMissing) as caught:
        _ = mail(Envelope("a@x.test", "b@y.test", **options), without)
    assert caught.value.keyword == keyword
    assert mail(Envelope("a@x.test", "b@y.test", drop_unsupported=True, **options), without) == ""


@pytest.mark.parametrize(
    ("options", "wire", "keyword"),
    [
        ({"notify": Notify.NEVER}, " NOTIFY=NEVER", "DSN"),
        ({"notify": Notify.SUCCESS | Notify.FAILURE}, " NOTIFY=SUCCESS,FAILURE", "DSN"),
        ({"orcpt": "b+c@x.test"}, " ORCPT=rfc822;b+2Bc@x.test", "DSN"),
        ({"orcpt": "x400;/C=US/"}, " ORCPT=x400;/C+3DUS/", "DSN"),
        ({"orcpt": "jörg@x.test"}, r" ORCPT=utf-8;j\x{F6}rg@x.test", "DSN"),
        ({"unchanged_since": NOON}, " RRVS=2026-11-23T10:00:00Z", "RRVS"),
    ],
)
def test_each_option_of_rcpt(options, wire, keyword):
    recipient = Recipient("b@y.test", **options)
    assert rcpt_parameters(recipient, OFFERS, drop=False) == wire
    without = Extensions({k: v for k, v in OFFERS.keywords.items() if k != keyword})
    with pytest.raises(ExtensionMissing):
        _ = rcpt_parameters(recipient, without, drop=False)
    assert rcpt_parameters(recipient, without, drop=True) == ""


def test_what_the_content_asks_for_is_never_dropped():
    envelope = Envelope("a@x.test", "b@y.test", drop_unsupported=True)
    assert mail(envelope, size=9, body=BodyType.EIGHT_BIT, utf8=True) == (
        " SIZE=9 BODY=8BITMIME SMTPUTF8"
    )
    assert mail(envelope, body=BodyType.BINARY) == " BODY=BINARYMIME"
    nothing = Extensions({})
    assert mail(envelope, nothing, size=9) == ""
    for asked in ({"body": BodyType.EIGHT_BIT}, {"body": BodyType.BINARY}, {"utf8": True}):
        with pytest.raises(ExtensionMissing):
            _ = mail(envelope, nothing, **asked)


@pytest.mark.parametrize(
    ("options", "size"),
    [
        ({}, 1001),
        ({"deliver_by": DeliverBy(59)}, None),
        ({"hold": 3601}, None),
        ({"hold": datetime(2027, 1, 2, tzinfo=UTC)}, None),
        ({"auth": "jörg@x.test"}, None),
    ],
)
def test_values_beyond_what_the_server_states(options, size):
    with pytest.raises(LocalProtocolError):
        _ = mail(Envelope("a@x.test", "b@y.test", **options), size=size)


def test_8689_requiretls_needs_tls_here_first():
    with pytest.raises(ExtensionMissing, match="no TLS"):
        _ = mail(Envelope("a@x.test", "b@y.test", require_tls=True), tls=False)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126)))
def test_3461_xtext_can_be_read_back(text):
    encoded = xtext(text)
    assert encoded.isascii()
    assert " " not in encoded
    assert "=" not in encoded
    parts = encoded.split("+")
    again = parts[0] + "".join(chr(int(part[:2], 16)) + part[2:] for part in parts[1:])
    assert again == text


class TestExtensions:
    def read(self, *lines: str) -> Extensions:
        return Extensions.of(Reply.of(250, "mx.test", *lines))

    def test_typed(self):
        offers = self.read(
            "PIPELINING", "size 12345", "8bitmime", "SMTPUTF8", "DSN", "STARTTLS", "CHUNKING",
            "BINARYMIME", "ENHANCEDSTATUSCODES", "REQUIRETLS", "RRVS", "DELIVERBY 240",
            "FUTURERELEASE 1000 2027-01-01T00:00:00Z", "MT-PRIORITY STANAG4406",
            "LIMITS MAILMAX=20 RCPTMAX=100 RCPTDOMAINMAX=5 ODD", "X-UNKNOWN a b=c",
        )  # fmt: skip
        assert offers.size == 12345
        assert all(
            (offers.pipelining, offers.eight_bit_mime, offers.smtputf8, offers.dsn,
             offers.starttls, offers.chunking, offers.binary_mime, offers.require_tls,
             offers.enhanced_status_codes, offers.rrvs)
        )  # fmt: skip
        assert offers.deliver_by == 240
        assert offers.future_release == (1000, "2027-01-01T00:00:00Z")
        assert offers.mt_priority == "STANAG4406"
        assert offers.limits == {"MAILMAX": 20, "RCPTMAX": 100, "RCPTDOMAINMAX": 5}
        assert offers.keywords["X-UNKNOWN"] == "a b=c"
        assert "x-unknown" in offers

    @pytest.mark.parametrize(
        ("lines", "mechanisms"),
        [
            (["AUTH PLAIN LOGIN"], ("PLAIN", "LOGIN")),
            (["AUTH=PLAIN LOGIN"], ("PLAIN", "LOGIN")),
            (["AUTH=LOGIN", "AUTH PLAIN LOGIN"], ("LOGIN", "PLAIN")),
            (["auth plain", "AUTH=cram-md5"], ("PLAIN", "CRAM-MD5")),
            (["AUTH"], ()),
            ([], ()),
        ],
    )
    def test_auth_in_both_forms(self, lines, mechanisms):
        assert self.read(*lines).auth == mechanisms

    @pytest.mark.parametrize("params", ["", "0", "x", "-1", "1e9", "9" * 30, "٣"])
    def test_no_size(self, params):
        assert self.read(f"SIZE {params}").size is None

    def test_the_first_line_is_no_keyword_and_neither_is_nonsense(self):
        offers = Extensions.of(Reply.of(250, "PIPELINING greets you", "", "-x", "\x01", "DSN"))
        assert list(offers.keywords) == ["DSN"]

    def test_binarymime_needs_chunking(self):
        assert not self.read("BINARYMIME").binary_mime
