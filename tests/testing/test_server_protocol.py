"""The oracle itself: what it answers, what it keeps, and every breach it knows."""

import base64
import hmac

import pytest

from smtpx.testing import (
    ALL_EXTENSIONS,
    OAUTHBEARER,
    USUAL_EXTENSIONS,
    XOAUTH2,
    AuthForm,
    Extension,
    ServerOptions,
    ServerProtocol,
    Then,
    Via,
)


def talk(protocol, *inputs):
    """Give `inputs` one after another, as a client that waits; return what is answered."""
    said = b""
    for data in inputs:
        protocol.receive_data(data if isinstance(data, bytes) else data.encode() + b"\r\n")
        while command := protocol.next_command():
            answer = protocol.answer(command)
            said += answer.reply
            if answer.then is Then.START_TLS:
                protocol.tls_started()
    return said.decode()


def opened(*, tls=False, **options):
    options.setdefault("extensions", ALL_EXTENSIONS)
    protocol = ServerProtocol(ServerOptions(**options), tls=tls)
    assert protocol.greet().reply.startswith(b"220 mail.test ")
    talk(protocol, "LHLO me.example" if options.get("lmtp") else "EHLO me.example")
    return protocol


def codes(text):
    return [int(line[:3]) for line in text.splitlines() if line[3] == " "]


def b64(text):
    return base64.b64encode(text if isinstance(text, bytes) else text.encode()).decode()


ENVELOPE = ("MAIL FROM:<a@b.example>", "RCPT TO:<x@y.example>")


def test_a_message_by_data():
    protocol = opened()
    said = talk(protocol, *ENVELOPE, "DATA", b"Subject: x\r\n\r\n..dot\r\n.\r\n", "QUIT")
    assert codes(said) == [250, 250, 354, 250, 221]
    (message,) = protocol.mailbox.messages
    assert message.content == b"Subject: x\r\n\r\n.dot\r\n"
    assert (message.sender, message.recipients) == ("a@b.example", ("x@y.example",))
    assert (message.via, message.helo, message.tls, message.user) == (
        Via.DATA,
        "me.example",
        False,
        None,
    )
    assert len(message.queue_id) == 10
    assert f"250 2.0.0 Ok: queued as {message.queue_id}\r\n" in said
    assert "354 End data" in said
    assert protocol.breaches == []
    assert protocol.commands == ["EHLO me.example", *ENVELOPE, "DATA", "QUIT"]


def test_an_empty_content():
    protocol = opened()
    assert codes(talk(protocol, *ENVELOPE, "DATA", ".")) == [250, 250, 354, 250]
    assert protocol.mailbox.messages[0].content == b""


@pytest.mark.parametrize("size", [1, 2, 3, 7])
def test_content_comes_in_pieces(size):
    protocol = opened()
    talk(protocol, *ENVELOPE, "DATA")
    stream = b"a\r\n..\r\n...\r\nb\r\n.\r\n"
    talk(protocol, *(stream[start : start + size] for start in range(0, len(stream), size)))
    assert protocol.mailbox.messages[0].content == b"a\r\n.\r\n..\r\nb\r\n"
    assert protocol.breaches == []


def test_bdat_in_one_group():
    protocol = opened()
    group = (
        b"MAIL FROM:<> BODY=BINARYMIME\r\nRCPT TO:<x@y.example>\r\n"
        b"BDAT 3\r\na\nbBDAT 2 LAST\r\n\0\xff"
    )
    assert codes(talk(protocol, group)) == [250, 250, 250, 250]
    (message,) = protocol.mailbox.messages
    assert (message.content, message.via) == (b"a\nb\0\xff", Via.BDAT)
    assert protocol.breaches == []


def test_bdat_chunk_in_pieces():
    protocol = opened()
    assert codes(talk(protocol, *ENVELOPE, "BDAT 6 LAST", b"ab\r", b"\ncd")) == [250, 250, 250]
    assert protocol.mailbox.messages[0].content == b"ab\r\ncd"


def test_refused_chunk_needs_rset():
    protocol = opened()
    talk(protocol, *ENVELOPE)
    protocol.receive_data(b"BDAT 1\r\nx")
    assert protocol.refuse(protocol.next_command(), "452 4.3.1 full").reply == b"452 4.3.1 full\r\n"
    assert codes(talk(protocol, b"BDAT 1 LAST\r\nx", ENVELOPE[0], "RSET", ENVELOPE[0])) == [
        503,
        503,
        250,
        250,
    ]
    assert protocol.mailbox.messages == []
    assert protocol.breaches == []


def test_lmtp_answers_for_each_recipient():
    protocol = opened(lmtp=True, lmtp_replies={"b@y.example": "452 4.2.2 full"})
    said = talk(
        protocol,
        "MAIL FROM:<>",
        *(f"RCPT TO:<{name}@y.example>" for name in "abab"),
        "DATA",
        b"x\r\n.\r\n",
    )
    assert codes(said)[-4:] == [250, 452, 250, 452]
    assert protocol.mailbox.messages[0].recipients == ("a@y.example", "a@y.example")
    protocol.receive_data(b"MAIL FROM:<>\r\n")
    protocol.answer(protocol.next_command())
    talk(protocol, "RCPT TO:<a@y.example>", "RCPT TO:<c@y.example>")
    protocol.receive_data(b"BDAT 1 LAST\r\nx")
    refused = protocol.refuse(protocol.next_command(), "451 later")
    assert refused.reply == b"451 later\r\n" * 2
    assert protocol.breaches == []


def test_ehlo_shows_what_it_is_told():
    protocol = ServerProtocol(
        ServerOptions(
            extensions=ALL_EXTENSIONS,
            users={"jo": "pw"},
            starttls=True,
            size_limit=1000,
            mail_limit=3,
            recipient_limit=2,
            auth_form=AuthForm.BOTH,
            ehlo_lines=["X-ODD  two  spaces"],
        )
    )
    lines = [line[4:] for line in talk(protocol, "EHLO [127.0.0.1]").splitlines()]
    assert {"SIZE 1000", "LIMITS MAILMAX=3 RCPTMAX=2", "X-ODD  two  spaces"} <= set(lines)
    assert {"AUTH PLAIN LOGIN CRAM-MD5", "AUTH=PLAIN LOGIN CRAM-MD5", "STARTTLS"} <= set(lines)
    assert "REQUIRETLS" not in lines
    talk(protocol, "STARTTLS")
    lines = [line[4:] for line in talk(protocol, "EHLO [IPv6:::1]").splitlines()]
    assert "REQUIRETLS" in lines
    assert "STARTTLS" not in lines
    assert protocol.breaches == []


def test_old_auth_form_only():
    protocol = ServerProtocol(ServerOptions(users={"jo": "pw"}, auth_form=AuthForm.OLD))
    said = talk(protocol, "EHLO me")
    assert "AUTH=PLAIN LOGIN CRAM-MD5" in said
    assert "AUTH PLAIN" not in said


def test_helo_only():
    protocol = ServerProtocol(ServerOptions(refuse_ehlo=True))
    said = talk(protocol, "EHLO me", "HELO me", *ENVELOPE, "DATA", b"x\r\n.\r\n")
    assert codes(said) == [502, 250, 250, 250, 354, 250]
    assert "2.1.0" not in said
    assert protocol.breaches == []


def test_starttls_forgets():
    protocol = opened(starttls=True, users={"jo": "pw"})
    talk(protocol, f"AUTH PLAIN {b64(chr(0) + 'jo' + chr(0) + 'pw')}")
    assert protocol.user == "jo"
    assert codes(talk(protocol, "STARTTLS", "MAIL FROM:<>")) == [220, 503]
    assert protocol.user is None
    assert protocol.breaches == ["out of order: MAIL before EHLO"]


@pytest.mark.parametrize(
    ("dialogue", "expected"),
    [
        ([f"AUTH PLAIN {b64(chr(0) + 'jo' + chr(0) + 'pw')}"], [235]),
        (["AUTH PLAIN", b64("\0jo\0pw")], [334, 235]),
        (["AUTH PLAIN", b64("\0jo\0no")], [334, 535]),
        (["AUTH LOGIN", b64("jo"), b64("pw")], [334, 334, 235]),
        ([f"AUTH LOGIN {b64('jo')}", b64("pw")], [334, 235]),
        (["AUTH LOGIN", "*"], [334, 501]),
        (
            [
                "AUTH CRAM-MD5",
                b64(
                    b"jo "
                    + hmac.new(b"pw", b"<1896.697170952@mail.test>", "md5").hexdigest().encode()
                ),
            ],
            [334, 235],
        ),
        (["AUTH CRAM-MD5", b64("jo beef")], [334, 535]),
        (["AUTH CRAM-MD5", b64("who beef")], [334, 535]),
        ([f"AUTH XOAUTH2 {b64('user=jo' + chr(1) + 'auth=Bearer pw' + chr(1) * 2)}"], [235]),
        (
            [f"AUTH XOAUTH2 {b64('user=jo' + chr(1) + 'auth=Bearer x' + chr(1) * 2)}", ""],
            [334, 535],
        ),
        (
            [f"AUTH OAUTHBEARER {b64('n,a=jo,' + chr(1) + 'auth=Bearer pw' + chr(1) * 2)}"],
            [235],
        ),
        (
            [
                f"AUTH OAUTHBEARER {b64('n,a=jo,' + chr(1) + 'auth=Bearer x' + chr(1) * 2)}",
                b64("\1"),
            ],
            [334, 535],
        ),
    ],
)
def test_authentication(dialogue, expected):
    mechanisms = (*ServerOptions().mechanisms, XOAUTH2, OAUTHBEARER)
    protocol = opened(users={"jo": "pw"}, mechanisms=mechanisms, require_authentication=True)
    assert codes(talk(protocol, *dialogue)) == expected
    assert protocol.user == ("jo" if expected[-1] == 235 else None)
    assert codes(talk(protocol, "MAIL FROM:<>")) == [250 if protocol.user else 530]
    assert protocol.breaches == []
    assert protocol.commands[1:-1] == dialogue


def test_refusals():
    protocol = opened(
        refuse_senders={"bad@b.example": "550 5.7.1 go\naway"},
        refuse_recipients=lambda address: "450 later" if address.startswith("x") else None,
        refuse_content="554 5.6.0 spam",
        size_limit=100,
    )
    said = talk(protocol, "MAIL FROM:<bad@b.example>", "MAIL FROM:<> SIZE=101", "MAIL FROM:<>")
    assert said == ("550-5.7.1 go\r\n550 away\r\n552 5.3.4 Message too big\r\n250 2.1.0 Ok\r\n")
    said = talk(protocol, "RCPT TO:<x@y.example>", "RCPT TO:<Postmaster>", "DATA", b"x\r\n.\r\n")
    assert codes(said) == [450, 250, 354, 554]
    said = talk(protocol, "MAIL FROM:<>", "RCPT TO:<z@y>", "DATA", b"x" * 101 + b"\r\n.\r\n")
    assert codes(said)[-1] == 552
    assert protocol.mailbox.messages == []
    assert protocol.breaches == []


def test_limits():
    protocol = opened(
        mail_limit=1, recipient_limit=1, extensions=USUAL_EXTENSIONS - {Extension.LIMITS}
    )
    said = talk(protocol, *ENVELOPE, ENVELOPE[1], "DATA", b"\r\n.\r\n", ENVELOPE[0])
    assert codes(said) == [250, 250, 452, 354, 250, 452]
    assert protocol.breaches == []


def test_small_commands():
    protocol = opened()
    assert codes(talk(protocol, "NOOP", "NOOP x", "HELP", "VRFY jo", "EXPN all", "RSET")) == [
        250,
        250,
        214,
        252,
        502,
        250,
    ]
    assert protocol.breaches == []


def test_turned_away():
    protocol = ServerProtocol(ServerOptions(greeting="554 5.3.2 not\nhere"))
    assert protocol.greet().reply == b"554-5.3.2 not\r\n554 here\r\n"
    assert codes(talk(protocol, "EHLO me", "QUIT")) == [503, 221]
    assert protocol.breaches == ["EHLO, though the greeting turned the client away"]


# RFC 2920: groups.


def test_2920_group_whose_mail_is_refused_is_no_breach():
    protocol = opened(refuse_senders={"a@b.example": "550 no"})
    group = "\r\n".join([*ENVELOPE, "DATA"])
    assert codes(talk(protocol, group)) == [550, 503, 503]
    assert codes(talk(protocol, "MAIL FROM:<c@b.example>\r\nRCPT TO:<x@y.example>\r\nRSET")) == [
        250,
        250,
        250,
    ]
    assert protocol.breaches == []


def test_2920_data_without_recipients_may_be_accepted():
    protocol = opened(refuse_recipients={"x@y.example": "550 no"}, data_without_recipients=True)
    assert codes(talk(protocol, "\r\n".join([*ENVELOPE, "DATA"]), ".")) == [250, 550, 354, 554]
    assert protocol.breaches == []
    talk(protocol, "\r\n".join([*ENVELOPE, "DATA"]), b"x\r\n.\r\n")
    assert protocol.breaches == ["content sent though no recipient was accepted (RFC 2920 §3.1)"]
    assert protocol.mailbox.messages == []


def test_2920_end_of_data_and_the_next_group_together():
    protocol = opened()
    talk(protocol, "\r\n".join([*ENVELOPE, "DATA"]), b".\r\nMAIL FROM:<>\r\nQUIT\r\n")
    assert protocol.breaches == []


@pytest.mark.parametrize("last", ["EHLO me", "NOOP", "VRFY x", "EXPN x", "QUIT", "DATA", "XYZ"])
def test_2920_last_of_a_group(last):
    protocol = opened()
    talk(protocol, *(ENVELOPE if last == "DATA" else ()), f"{last}\r\nRSET")
    assert any("last of its command group" in breach for breach in protocol.breaches)


def test_2920_not_offered():
    protocol = opened(extensions=ALL_EXTENSIONS - {Extension.PIPELINING})
    talk(protocol, "MAIL FROM:<>\r\nRCPT TO:<x@y.example>")
    assert protocol.breaches == [
        "'RCPT TO:<x@y.example>\\r\\n' sent before the reply to MAIL, "
        "but PIPELINING was not offered (RFC 2920 §3.1)"
    ]


def test_2920_unanswered():
    protocol = opened()
    talk(protocol, "NOOP")
    protocol.receive_data(b"RSET\r\n", unanswered=True)
    assert "NOOP must be the last" in protocol.breaches[0]


def test_3207_plaintext_after_starttls_is_dropped():
    protocol = opened(starttls=True)
    talk(protocol, "STARTTLS\r\nEHLO injected")
    assert "STARTTLS must be the last" in protocol.breaches[0]
    assert protocol.commands == ["EHLO me.example", "STARTTLS"]
    quit_ = opened()
    talk(quit_, "QUIT", "NOOP")
    assert quit_.breaches == ["'NOOP\\r\\n' sent after QUIT"]


# Breaches, one by one.


@pytest.mark.parametrize(
    ("line", "code", "breach"),
    [
        (b"NOOP\n", 250, "bare LF"),
        (b"NOOP a\rb\r\n", 250, "bare CR"),
        (b"NOOP \0\r\n", 250, "control character"),
        (b"NOOP \r\n", 250, "trailing space"),
        (b"NOOP \xc3\xa4\r\n", 250, "non-ASCII"),
        (b"NOOP \xff\r\n", 250, "not UTF-8"),
        (b"NOOP " + b"x" * 506 + b"\r\n", 250, "513 octets, 512 are allowed"),
        (b"XYZZY\r\n", 500, "unknown command"),
        (b"RSET x\r\n", 501, "takes no argument"),
        (b"VRFY\r\n", 501, "needs an argument"),
        (b"VRFY \xc3\xa4\r\n", 553, "without SMTPUTF8"),
        (b"EHLO under_score\r\n", 501, "no domain"),
        (b"EHLO\r\n", 501, "no domain"),
        (b"HELO [1.2.3]\r\n", 501, "no domain"),
        (b"LHLO me\r\n", 500, "said to an SMTP server"),
        (b"RCPT TO:<x@y>\r\n", 503, "RCPT without MAIL"),
        (b"DATA\r\n", 503, "DATA without MAIL"),
        (b"BDAT 0 LAST\r\n", 503, "BDAT without MAIL"),
        (b"BDAT x\r\n", 501, "malformed BDAT"),
        (b"BDAT 1 FIRST\r\n", 501, "malformed BDAT"),
        (b"STARTTLS\r\n", 502, "STARTTLS was not offered"),
        (b"AUTH PLAIN\r\n", 502, "AUTH was not offered"),
        (b"MAIL <a@b>\r\n", 501, "MAIL without FROM:"),
        (b"MAIL FROM: <a@b>\r\n", 501, "path unknown"),
        (b"MAIL FROM:a@b\r\n", 501, "path unknown"),
        (b"MAIL FROM:<a>\r\n", 501, "path unknown"),
        (b"MAIL FROM:<a..b@c>\r\n", 501, "path unknown"),
        (b"MAIL FROM:<a b@c>\r\n", 501, "path unknown"),
        (b"MAIL FROM:<a@b_c>\r\n", 501, "path unknown"),
        (b"MAIL FROM:<a@-b>\r\n", 501, "path unknown"),
        (b"MAIL FROM:<a@[1.2.3.400]>\r\n", 501, "path unknown"),
        (b"MAIL FROM:<a@[IPv6:zz]>\r\n", 501, "path unknown"),
        (b"MAIL FROM:<" + b"a" * 65 + b"@b>\r\n", 250, "local-part longer"),
        (b"MAIL FROM:<a@" + b"b." * 127 + b"bb>\r\n", 250, "domain longer"),
        (b"MAIL FROM:<" + b"a" * 60 + b"@" + b"b." * 100 + b"b>\r\n", 250, "path longer"),
        (b"MAIL FROM:<\xc3\xa4@b>\r\n", 553, "without SMTPUTF8"),
        (b"MAIL FROM:<a@b>SIZE=1\r\n", 555, "without a space"),
        (b"MAIL FROM:<a@b>  SIZE=1\r\n", 555, "malformed parameter"),
        (b"MAIL FROM:<a@b> SIZE=\r\n", 555, "malformed parameter"),
        (b"MAIL FROM:<a@b> SIZE=1 SIZE=2\r\n", 555, "given twice"),
        (b"MAIL FROM:<a@b> SIZE=1k\r\n", 555, "malformed value"),
        (b"MAIL FROM:<a@b> SIZE\r\n", 555, "malformed value"),
        (b"MAIL FROM:<a@b> FOO=1\r\n", 555, "unknown parameter"),
        (b"MAIL FROM:<a@b> NOTIFY=NEVER\r\n", 555, "belongs to RCPT"),
        (b"MAIL FROM:<a@b> SMTPUTF8=1\r\n", 555, "takes no value"),
        (b"MAIL FROM:<a@b> REQUIRETLS\r\n", 555, "REQUIRETLS was not offered"),
        (b"MAIL FROM:<a@b> BODY=9BIT\r\n", 555, "malformed value"),
        (b"MAIL FROM:<a@b> RET=ALL\r\n", 555, "malformed value"),
        (b"MAIL FROM:<a@b> ENVID=a+b\r\n", 555, "malformed value"),
        (b"MAIL FROM:<a@b> ENVID=" + b"a" * 101 + b"\r\n", 555, "malformed value"),
        (b"MAIL FROM:<a@b> BY=0;R\r\n", 555, "malformed value"),
        (b"MAIL FROM:<a@b> HOLDFOR=0\r\n", 555, "malformed value"),
        (b"MAIL FROM:<a@b> HOLDUNTIL=now\r\n", 555, "malformed value"),
        (b"MAIL FROM:<a@b> HOLDFOR=1 HOLDUNTIL=2030-01-01T00:00:00Z\r\n", 555, "exclude"),
        (b"MAIL FROM:<a@b> MT-PRIORITY=10\r\n", 555, "malformed value"),
        (b"MAIL FROM:<a@b> AUTH=x\r\n", 555, "AUTH was not offered"),
    ],
)
def test_breach(line, code, breach):
    protocol = opened()
    assert codes(talk(protocol, line)) == [code]
    found = protocol.breaches[0]
    assert breach in found


@pytest.mark.parametrize(
    ("line", "breach"),
    [
        (b"RCPT TO:<>\r\n", "path unknown"),
        (b"RCPT TO:<x@y> NOTIFY=NEVER,DELAY\r\n", "malformed value"),
        (b"RCPT TO:<x@y> NOTIFY=DELAY,DELAY\r\n", "malformed value"),
        (b"RCPT TO:<x@y> ORCPT=x@y\r\n", "malformed value"),
        (b"RCPT TO:<x@y> RRVS=x\r\n", "malformed value"),
        (b"RCPT TO:<x@y> SIZE=1\r\n", "belongs to MAIL"),
        (b"RCPT TO:<\xc3\xa4@y>\r\n", "without SMTPUTF8"),
        (b"MAIL FROM:<>\r\n", "nested MAIL"),
        (b"AUTH PLAIN\r\n", "within a mail transaction"),
    ],
)
def test_breach_within_a_transaction(line, breach):
    protocol = opened(users={"jo": "pw"})
    talk(protocol, ENVELOPE[0], line)
    (found,) = protocol.breaches
    assert breach in found


@pytest.mark.parametrize(
    "line",
    [
        "MAIL FROM:<> SIZE=1 BODY=8BITMIME SMTPUTF8 RET=HDRS ENVID=a+2Bb AUTH=<>",
        "MAIL FROM:<@r.example,@s.example:a@b.example> BY=120;RT MT-PRIORITY=-9",
        'MAIL FROM:<"a b\\""@[127.0.0.1]> HOLDUNTIL=2030-01-01T00:00:00Z',
        "MAIL FROM:<ä@ö.example> SMTPUTF8 HOLDFOR=10 REQUIRETLS",
        "MAIL FROM:<a@[IPv6:2001:db8::1]> BY=-5;N body=binarymime AUTH=e+3Dmc2",
    ],
)
def test_no_breach_in_mail(line):
    protocol = opened(users={"jo": "pw"}, tls=True)
    assert codes(talk(protocol, line)) == [250]
    assert protocol.breaches == []


@pytest.mark.parametrize(
    "line",
    [
        "RCPT TO:<x@y> NOTIFY=SUCCESS,FAILURE,DELAY ORCPT=rfc822;x+2By@z",
        "RCPT TO:<x@y> NOTIFY=NEVER RRVS=2014-04-03T23:01:00Z;C",
        "RCPT TO:<postmaster>",
        "RCPT TO:<x@y> ORCPT=utf-8;ä@\\x{F6}.example",
    ],
)
def test_no_breach_in_rcpt(line):
    protocol = opened()
    assert codes(talk(protocol, "MAIL FROM:<> SMTPUTF8", line)) == [250, 250]
    assert protocol.breaches == []
    assert len(protocol._transaction.recipient_parameters) == 1


@pytest.mark.parametrize("extension", list(Extension))
def test_parameters_of_extensions_not_offered(extension):
    example = {
        Extension.SIZE: "SIZE=1",
        Extension.EIGHT_BIT_MIME: "BODY=8BITMIME",
        Extension.SMTPUTF8: "SMTPUTF8",
        Extension.DSN: "RET=FULL",
        Extension.BINARYMIME: "BODY=BINARYMIME",
        Extension.AUTH: "AUTH=<>",
        Extension.REQUIRETLS: "REQUIRETLS",
        Extension.DELIVERBY: "BY=9;N",
        Extension.FUTURERELEASE: "HOLDFOR=9",
        Extension.MT_PRIORITY: "MT-PRIORITY=1",
    }.get(extension)
    if example is None:
        return
    protocol = opened(users={"jo": "pw"}, extensions=ALL_EXTENSIONS - {extension}, tls=True)
    assert codes(talk(protocol, f"MAIL FROM:<> {example}")) == [555]
    assert f"{extension.value} was not offered" in protocol.breaches[0]


def test_parameters_after_helo():
    protocol = ServerProtocol()
    talk(protocol, "HELO me", "MAIL FROM:<> SIZE=1")
    assert protocol.breaches == ["MAIL: parameter SIZE, but SIZE was not offered"]


def test_extensions_lengthen_the_line():
    protocol = opened()
    line = f"RCPT TO:<x@y> ORCPT=rfc822;{'x' * 493}"
    assert len(line) > 510
    talk(protocol, ENVELOPE[0], line)
    assert protocol.breaches == []


@pytest.mark.parametrize(
    ("body", "content", "breach"),
    [
        ("7BIT", b"a\nb\r\n", "bare LF"),
        ("7BIT", b"a\rb\r\n", "bare CR"),
        ("7BIT", b"x" * 999 + b"\r\n", "longer than 998"),
        ("7BIT", b"ok\r\n" * 300 + b"x" * 999 + b"\r\nok\r\n", "longer than 998"),
        ("7BIT", b".x\r\n", "single dot"),
        ("7BIT", b"a\r\n.x\r\n", "single dot"),
        ("7BIT", b"\xe4\r\n", "8-bit content"),
        ("7BIT SMTPUTF8", b"Subject: x\r\n\r\n\xe4\r\n", "8-bit content"),
        ("7BIT SMTPUTF8", b"Subject: \xe4\r\n\r\nx\r\n", None),
        ("8BITMIME", b"\xe4\r\n", None),
        ("7BIT", (b"x" * 998 + b"\r\n") * 3, None),
        ("7BIT", b"..\r\n..x\r\na\r\n..\r\n", None),
    ],
)
def test_breach_in_content(body, content, breach):
    protocol = opened()
    said = talk(protocol, f"MAIL FROM:<> BODY={body}", ENVELOPE[1], "DATA", content + b".\r\n")
    assert codes(said)[-1] == 250
    assert len(protocol.mailbox.messages) == 1
    assert [breach in found for found in protocol.breaches] == ([True] if breach else [])


def test_breach_in_bdat_content():
    protocol = opened()
    talk(protocol, *ENVELOPE, b"BDAT 2 LAST\r\n\n\xff")
    assert len(protocol.breaches) == 2


def test_data_with_binarymime():
    protocol = opened()
    said = talk(protocol, "MAIL FROM:<> BODY=BINARYMIME", ENVELOPE[1], "DATA")
    assert codes(said)[-1] == 503
    assert "DATA with BODY=BINARYMIME" in protocol.breaches[0]


@pytest.mark.parametrize("late", ["DATA", "RCPT TO:<z@y>"])
def test_after_bdat(late):
    protocol = opened()
    assert codes(talk(protocol, *ENVELOPE, b"BDAT 1\r\nx", late))[-1] == 503
    assert "after BDAT" in protocol.breaches[0]


def test_out_of_order_without_pipelining():
    protocol = opened(
        extensions=ALL_EXTENSIONS - {Extension.PIPELINING},
        refuse_recipients={"x@y.example": "550 no"},
        refuse_senders={"no@b": "550 no"},
    )
    talk(protocol, "MAIL FROM:<no@b>", "RCPT TO:<x@y.example>", *ENVELOPE, "DATA")
    assert protocol.breaches == [
        "out of order: RCPT without MAIL",
        "out of order: DATA without an accepted recipient",
    ]


def test_bdat_not_offered():
    protocol = opened(extensions=ALL_EXTENSIONS - {Extension.CHUNKING})
    assert codes(talk(protocol, *ENVELOPE, b"BDAT 1 LAST\r\nx"))[-1] == 502
    assert protocol.breaches == ["BDAT, but CHUNKING was not offered"]


def test_limits_broken():
    protocol = opened(mail_limit=1, recipient_limit=1)
    talk(protocol, *ENVELOPE, ENVELOPE[1], "RSET", ENVELOPE[0])
    assert ["RCPTMAX" in protocol.breaches[0], "MAILMAX" in protocol.breaches[1]] == [True, True]


@pytest.mark.parametrize(
    ("dialogue", "code", "breach"),
    [
        (["AUTH NTLM"], 504, "not offered"),
        (["AUTH CRAM-MD5 eA=="], 501, "server speaks first"),
        (["AUTH PLAIN ?"], 501, "malformed response"),
        (["AUTH PLAIN "], 501, None),
        (
            [
                "AUTH PLAIN =",
            ],
            501,
            "malformed response",
        ),
        (["AUTH PLAIN", "eA=="], 501, "malformed response"),
        (["AUTH PLAIN", "eA=" + "=" * 12300], 501, None),
        (["AUTH PLAIN AGpvAHB3", "AUTH PLAIN AGpvAHB3"], 503, "AUTH after authentication"),
    ],
)
def test_breach_in_auth(dialogue, code, breach):
    protocol = opened(users={"jo": "pw"})
    assert codes(talk(protocol, *dialogue))[-1] == code
    assert any((breach or "") in found for found in protocol.breaches)
    assert codes(talk(protocol, "NOOP")) == [250]


def test_starttls_twice():
    protocol = opened(starttls=True, tls=True)
    assert codes(talk(protocol, "STARTTLS")) == [503]
    assert protocol.breaches == ["out of order: STARTTLS under TLS"]


@pytest.mark.parametrize("hello", ["EHLO me", "HELO me"])
def test_smtp_hello_to_lmtp(hello):
    protocol = ServerProtocol(ServerOptions(lmtp=True))
    assert codes(talk(protocol, hello)) == [500]
    assert "LMTP server" in protocol.breaches[0]


def test_endless_command_line_is_cut():
    protocol = opened()
    for _ in range(20):
        talk(protocol, b"x" * 100_000)
    assert len(protocol._reader._buffer) < 1_200_000
    assert any("octets" in breach for breach in protocol.breaches)


def test_queue_ids_differ():
    protocol = ServerProtocol()
    assert len({protocol.mailbox._next_id() for _ in range(10_000)}) == 10_000
