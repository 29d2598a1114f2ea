"""Why not: what real servers say, and what it comes down to."""

from __future__ import annotations

import pytest

from smtpx.bounces import DeliveryReport, Reason, RecipientReport, parse

from . import reports

SAID = [
    ("550 5.1.1 User unknown", Reason.BAD_MAILBOX),
    ("550 No such user here", Reason.BAD_MAILBOX),
    ("550 Requested action not taken: mailbox unavailable", Reason.BAD_MAILBOX),
    ("550 5.4.1 Recipient address rejected: Access denied. [x.prod.example]", Reason.BAD_MAILBOX),
    ("550 5.4.1 [bob@example.net]: Recipient address rejected: Access denied", Reason.BAD_MAILBOX),
    ("550 5.4.1 All recipient addresses rejected : Access denied", Reason.BAD_MAILBOX),
    ("541 5.4.1 Mail rejected by destination domain", Reason.POLICY),
    ("550 5.4.1 No answer from host", Reason.NETWORK),
    ("550 5.4.1 Relay access denied", Reason.POLICY),
    ("550 Destinatario desconocido o no disponible", Reason.OTHER),
    ("550 Utilisateur inconnu ou boîte pleine", Reason.MAILBOX_FULL),
    ("550 Empfänger unbekannt oder gesperrt", Reason.OTHER),
    ("550 User unknown/mailbox full", Reason.MAILBOX_FULL),
    ("554 delivery error: This user doesn't have an account (bob@example.net)", Reason.BAD_MAILBOX),
    ("553 sorry, that is not here", Reason.BAD_MAILBOX),
    ("550 5.1.2 Host unknown", Reason.BAD_DOMAIN),
    ("556 5.1.10 Recipient address has null MX", Reason.BAD_DOMAIN),
    ("556 no", Reason.BAD_DOMAIN),
    ("DNS lookup failure: host mx.example.net not found", Reason.BAD_DOMAIN),
    ("553 mail.example.net does not exist", Reason.BAD_DOMAIN),
    ("553 bob@mail.example.net does not exist", Reason.BAD_MAILBOX),
    ("550 <bob@example.net>: Destinatario desconocido", Reason.BAD_MAILBOX),
    ("550 5.4.4 Host or domain name not found", Reason.BAD_DOMAIN),
    ("451 4.4.4 Host or domain name not found, try again", Reason.NETWORK),
    ("550 5.2.1 The email account that you tried to reach is disabled", Reason.INACTIVE),
    ("550 This mailbox is disabled (554.30)", Reason.INACTIVE),
    ("452 4.2.2 The recipient's inbox is out of storage space", Reason.MAILBOX_FULL),
    ("552 Mailbox full", Reason.MAILBOX_FULL),
    ("552 5.3.4 Message size exceeds fixed limit", Reason.TOO_LARGE),
    ("552 message is too large", Reason.TOO_LARGE),
    ("550 5.7.1 Message identified as spam", Reason.CONTENT),
    ("552 5.7.0 This message was blocked because its content presents an issue", Reason.CONTENT),
    ("550 5.2.0 Mail rejete. Mail rejected. ofr_506 [506]", Reason.CONTENT),
    ("550 5.7.26 This mail is unauthenticated", Reason.AUTHENTICATION),
    ("550 5.7.1 Rejected due to the DMARC policy of example.org", Reason.AUTHENTICATION),
    ("550 5.7.23 SPF validation failed", Reason.AUTHENTICATION),
    ("554 5.7.1 Service unavailable; Client host [192.0.2.7] blocked using zen", Reason.REPUTATION),
    ("554 5.7.1 blocked using zen.spamhaus.org", Reason.REPUTATION),
    ("550 5.7.606 Access denied, banned sending IP [192.0.2.7]", Reason.REPUTATION),
    ("550 5.7.25 The IP address has no PTR record", Reason.REPUTATION),
    ("421 4.7.28 Our system has detected an unusual rate of mail", Reason.RATE),
    ("450 4.2.0 <bob@example.net>: Recipient address rejected: Greylisted", Reason.RATE),
    ("421 Too many connections from 192.0.2.7", Reason.RATE),
    ("550 5.7.1 Relaying denied", Reason.POLICY),
    ("This email inbox bob@example.net is no longer in use.", Reason.INACTIVE),
    ("weil die Adresse nicht gefunden wurde oder keine E-Mails empfängt", Reason.BAD_MAILBOX),
    ("car l'adresse est introuvable ou ne peut recevoir de messages", Reason.BAD_MAILBOX),
    ("porque no se ha encontrado la dirección", Reason.BAD_MAILBOX),
    ("554 dd Not a valid recipient (in reply to end of DATA command)", Reason.BAD_MAILBOX),
    ("550 5.7.1 we do not want it", Reason.POLICY),
    ("550 5.7.1 User not found in allowed senders list for this group", Reason.POLICY),
    ("550 5.7.1 Address not found on the recipient's whitelist", Reason.POLICY),
    ("550 Administrative prohibition: unknown user agent", Reason.POLICY),
    ("550 Administrative prohibition", Reason.POLICY),
    ("421 4.4.2 mx.example.net Error: timeout exceeded", Reason.NETWORK),
    ("connect to mx.example.net[192.0.2.25]:25: Connection refused", Reason.NETWORK),
    ("451 4.3.0 Temporary system problem", Reason.SYSTEM),
    ("554 5.4.6 Routing loop detected", Reason.SYSTEM),
    ("554 5.4.0 Error: too many hops", Reason.SYSTEM),
    ("451 later", Reason.SYSTEM),
    ("554 Transaction failed", Reason.OTHER),
    ("550", Reason.OTHER),
    ("", Reason.OTHER),
]


def recipient_of(said: str, status: str) -> RecipientReport:
    report = parse(
        reports.report(
            "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822;bob@example.net\nAction: failed\n"
            f"Status: {status}\nDiagnostic-Code: smtp; {said}\n"
        )
    )
    assert isinstance(report, DeliveryReport)
    return report.recipients[0]


def reason_of(said: str, status: str) -> Reason | None:
    return recipient_of(said, status).reason


@pytest.mark.parametrize(("said", "reason"), SAID)
def test_by_what_was_said(said: str, reason: Reason):
    assert reason_of(said, "5.0.0") is reason


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        ("5.1.1", "we do not want it", Reason.BAD_MAILBOX),
        ("5.2.2", "550 spam", Reason.MAILBOX_FULL),
        ("5.0.0", "550 5.1.1 rejected", Reason.BAD_MAILBOX),
        ("4.4.7", "timed out", Reason.NETWORK),
        ("5.4.7", "", Reason.NETWORK),
        ("5.3.0", "", Reason.SYSTEM),
        ("5.7.0", "", Reason.POLICY),
        ("5.5.0", "550 no such user", Reason.BAD_MAILBOX),
        ("", "550 5.6.0 bad", Reason.CONTENT),
    ],
)
@pytest.mark.requirement("RFC 3463 §3")
def test_the_enhanced_status_code_goes_first(status: str, said: str, reason: Reason):
    assert reason_of(said, status) is reason


OF_SENDERS = [
    "550 Sender verify failed",
    "550-Verification failed for <me@x.test> 550-Unrouteable address 550 Sender verify failed",
    "550 5.1.0 <me@x.test>: Sender address rejected: User unknown in virtual alias table",
    "450 4.1.8 <me@x.test>: Sender address rejected: Domain not found",
    "553 5.1.8 <me@x.test>... Domain of sender address me@x.test does not exist",
    "450 4.7.1 <me>: Helo command rejected: Host not found",
    "550 unknown sender",
    "550 5.1.1 sender mailbox does not exist",
    "551 5.7.1 Sender user unknown",
    "550 5.1.1 User unknown (in reply to MAIL FROM command)",
    "550 5.2.1 mailbox is inactive (in reply to MAIL FROM command)",
    "552 5.2.2 mailbox is full (in reply to EHLO command)",
    "SMTP error from remote mail server after MAIL FROM:<me@x.test>: host mx: 550 5.1.1 unknown",
    "SMTP error from remote mail server after pipelined MAIL FROM:<me@x.test> SIZE=9: 550 no user",
    "Connected to 192.0.2.7 but sender was rejected. Remote host said: 550 user unknown",
    "550 Your domain does not exist",
    "550 Verification failed for <me@x.test>",
    "550 5.1.1 <me@x.test>: unauthorized sender (in reply to RCPT TO command)",
    "550 Requested action not taken: mailbox unavailable invalid DNS MX or A/AAAA resource record",
    "550 Requested action not taken: mailbox unavailable Sender address has null MX",
    "550 Return address verification failed: no such user here",
    "550 5.1.1 the return path does not exist: no such user",
    "550 Originator unknown: no such user",
    "550 The originating mailbox does not exist",
    "550 unknown user in From",
    "550 no such user in the 'From' field",
    "550 5.2.1 sender's account is disabled",
    "550 Account of sender suspended",
    "550 Your account has been suspended, please contact support",
    "550 5.2.2 your mailbox is over quota, so you cannot send",
    "550 Outgoing mail from example.org has been suspended",
    "554 5.7.1 The account ann@example.org has been disabled for sending",
    "552 5.2.2 Sender mailbox is over quota",
    "552 sender has exceeded quota; mailbox full",
    "550 5.1.2 the sending domain does not exist",
    "550 client host unknown",
    "550 Absender: Benutzer unbekannt",
    "550 expéditeur: utilisateur inconnu",
    "550 remitente: usuario desconocido",
    "550 5.1.8 no such user",
    "Connected to 192.0.2.7 but greeting failed. Remote host said: 550 no such user",
    "192.0.2.7 does not like sender. Remote host said: 550 5.1.1 User unknown",
    "SMTP error from remote mail server after initial connection: 550 no such user",
    "host mx.example.net[192.0.2.4] refused to talk to me: 550 no such user",
]


OF_SENDERS_TOO = [
    "550 your mail account is disabled",
    "550 Account locked due to outgoing spam",
    "550 5.1.1 user unknown - message from unknown user",
    "550 5.1.1 Unknown user in reverse-path",
    "550 User ann@example.org is not allowed to send mail: account suspended",
    "550 The user ann@example.org exceeded its sending quota: mailbox full",
    "550 Authenticated user disabled",
    "535 user unknown",
    "550 5.7.1 submission denied: account suspended",
    "550 Callback verification failed: user unknown",
    "550 callout: mailbox unavailable",
    "550 We could not verify your address: user unknown",
    "550 5.1.1 Email account you are sending from does not exist",
    "550 The address you sent from is invalid",
    "550 reply address does not exist",
    "550 the From: mailbox is disabled",
    "550 your organization's mailbox quota exceeded",
    "550 relaying account inactive",
    "550 the author's address does not exist",
    "550 The domain of the sender does not exist",
    "550 ARC fail, no such domain",
]


@pytest.mark.parametrize("said", OF_SENDERS_TOO)
@pytest.mark.parametrize("status", ["5.0.0", "5.1.1"])
def test_what_is_said_of_the_sender_is_never_one_of_a_recipient(said: str, status: str):
    told = (Reason.BAD_MAILBOX, Reason.BAD_DOMAIN, Reason.INACTIVE, Reason.MAILBOX_FULL)
    assert reason_of(said, status) not in (None, *told)


@pytest.mark.parametrize("said", OF_SENDERS)
@pytest.mark.parametrize("status", ["5.0.0", "5.1.1"])
def test_what_is_said_of_the_sender_is_no_reason_about_the_recipient(said: str, status: str):
    assert reason_of(said, status) is Reason.POLICY


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("550 5.7.1 Your domain is listed in Spamhaus (in reply to MAIL FROM)", Reason.REPUTATION),
        ("450 too many connections (in reply to EHLO command)", Reason.RATE),
        ("550 5.7.23 SPF failed for the sender domain", Reason.AUTHENTICATION),
        ("550 DMARC: no such user, policy reject", Reason.AUTHENTICATION),
        ("550 5.1.1 SPF fail; user unknown", Reason.AUTHENTICATION),
        ("550 5.7.26 no such user", Reason.AUTHENTICATION),
        ("550 5.7.25 mailbox unavailable", Reason.REPUTATION),
        ("550 Too many unknown users from your host; access denied", Reason.RATE),
        ("550 too many invalid users", Reason.RATE),
        ("550 excessive number of invalid recipients: user unknown", Reason.RATE),
        ("554 5.7.1 directory harvest attack, too many user unknown", Reason.REPUTATION),
        ("550 5.1.1 user unknown; returned to sender, not delivered", Reason.BAD_MAILBOX),
        ("550 5.1.1 User unknown. Please contact the sender of it", Reason.BAD_MAILBOX),
        ("550 user unknown, please check your address book", Reason.BAD_MAILBOX),
        ("550 No such mailbox; your server should stop trying", Reason.BAD_MAILBOX),
        ("550 user not found, see our anti-spam page", Reason.BAD_MAILBOX),
        ("550 Your mail was refused because the address doesn't exist", Reason.BAD_MAILBOX),
        ("552 5.2.2 The account that you tried to reach is over quota", Reason.MAILBOX_FULL),
    ],
)
def test_what_else_is_said_of_the_sender_and_what_is_not(said: str, reason: Reason):
    assert reason_of(said, "5.0.0") is reason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("550 no such user (in reply to end of DATA command)", Reason.POLICY),
        ("550 : User unknown (in reply to end of DATA command)", Reason.POLICY),
        ("error from remote mail server after end of data: 550 unknown user", Reason.POLICY),
        ("550 5.2.0 Unknown user (in reply to end of DATA command)", Reason.POLICY),
        ("550 5.1.10 RecipientNotFound (in reply to end of DATA command)", Reason.BAD_MAILBOX),
        (
            "550 invalid mailbox: user not found (in reply to end of DATA command)",
            Reason.BAD_MAILBOX,
        ),
        ("550 <bob@example.net> does not exist (in reply to end of DATA)", Reason.BAD_MAILBOX),
        ("554 no: This user doesn't have an account (in reply to end of DATA)", Reason.BAD_MAILBOX),
        ("552 5.2.2 over quota (in reply to end of DATA command)", Reason.MAILBOX_FULL),
        ("550 no such user (in reply to DATA command)", Reason.POLICY),
        ("SMTP error from remote mail server after DATA: host mx: 550 unknown user", Reason.POLICY),
        ("550 unknown user -------SMTP command DATA", Reason.POLICY),
        ("192.0.2.7 failed after I sent the message. said: 550 User unknown", Reason.POLICY),
        ("192.0.2.7 failed on DATA command. said: 550 User unknown", Reason.POLICY),
        ("550 no such user (in reply to RCPT TO command)", Reason.BAD_MAILBOX),
    ],
)
def test_a_recipient_that_was_accepted_before_the_content_exists(said: str, reason: Reason):
    assert reason_of(said, "5.0.0") is reason


@pytest.mark.parametrize("status", ["4.0.0", "5.0.0"])
def test_what_stands_behind_a_status_tells_why_where_nothing_else_does(status: str):
    fields = (
        "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822;bob@example.net\nAction: failed\n"
        f"Status: {status} (mx.example.net: host name lookup failure)\n"
    )
    report = parse(reports.report(fields))
    assert isinstance(report, DeliveryReport)
    assert report.recipients[0].reason is Reason.NETWORK


@pytest.mark.parametrize(
    ("status", "said", "reason"),
    [
        ("5.1.1", "550 5.7.1 IP address blacklisted by recipient", Reason.REPUTATION),
        ("5.1.1", "550 5.2.2 over quota", Reason.MAILBOX_FULL),
        ("5.1.1", "550 Relaying denied", Reason.POLICY),  # 5.1.1 is sendmail's word for any 550.
        ("5.1.1", "550 blocked by policy", Reason.POLICY),
        ("5.1.3", "553 see http://www.spamhaus.org/query/bl?ip=192.0.2.7", Reason.REPUTATION),
        ("5.2.2", "552 message size exceeds the limit", Reason.TOO_LARGE),
        ("5.1.1", "550 we are closed", Reason.OTHER),
        ("5.1.1", "550", Reason.OTHER),
        ("5.1.1", "550 5.1.0 we are closed", Reason.OTHER),
        ("5.1.1", "we are closed", Reason.BAD_MAILBOX),
        ("5.1.0", "5.1.0 - Unknown address error 554-'Refused, go away'", Reason.POLICY),
        ("5.1.0", "5.1.0 - Unknown address error 550-'5.1.1 <bob>: no'", Reason.BAD_MAILBOX),
    ],
)
def test_the_server_goes_before_the_reporter(status: str, said: str, reason: Reason):
    assert reason_of(said, status) is reason


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("554 5.7.1 Service unavailable; Client host blocked using bl.example", Reason.REPUTATION),
        ("550 5.1.1 you are on our block list", Reason.REPUTATION),
        ("550 5.7.1 Client host rejected: cannot find your hostname", Reason.REPUTATION),
        ("450 4.2.1 The user is receiving mail at a rate that prevents more", Reason.RATE),
        ("550 5.1.1 192.0.2.7 has sent to too many recipients this hour", Reason.RATE),
        ("550 Connection frequency limited", Reason.RATE),
        ("452 4.3.2 Connection rate limit exceeded", Reason.RATE),
        ("550 5.4.5 Daily user sending quota exceeded", Reason.RATE),
        ("452 4.2.2 daily quota of messages exceeded", Reason.RATE),
        ("450 4.1.1 unverified address: Address verification in progress", Reason.RATE),
        ("535 5.7.8 Username and Password not accepted", Reason.POLICY),
        ("534 5.7.9 Application-specific password required", Reason.POLICY),
        ("530 5.7.0 Authentication required", Reason.POLICY),
        ("550 User bob (bob@example.net) not listed in Domino Directory", Reason.BAD_MAILBOX),
        ("550 User not listed in public Name & Address Book", Reason.BAD_MAILBOX),
        ("554 dd This user doesn't have a yahoo.com account [-9]", Reason.BAD_MAILBOX),
        ("550 5.2.1 <bob@example.net>... User unknown", Reason.BAD_MAILBOX),
        ("550 5.2.1 Mailbox unavailable", Reason.INACTIVE),
        ("421 4.2.1 Service refused, please try later", Reason.POLICY),
        ("521 5.7.1 refused by policy", Reason.POLICY),
        ("550 blacklisted URL in message, see multi.surbl.org", Reason.CONTENT),
        ("550 IP address 192.0.2.7: not found", Reason.REPUTATION),
        ("550 mailbox unavailable or access denied", Reason.POLICY),
        ("550 The account may not exist", Reason.OTHER),
        ("552 5.2.3 the user's maildir has overdrawn his diskspace quota", Reason.MAILBOX_FULL),
        ("550 Messages without To: fields are not accepted here", Reason.CONTENT),
        ("550 5.1.1 user missing from our directory", Reason.BAD_MAILBOX),
        ("554 5.2.0 STOREDRV.Deliver.Exception:QuotaExceededException", Reason.MAILBOX_FULL),
        ("554 mail.example.net: 192.0.2.7 found on one or more DNSBLs", Reason.REPUTATION),
        ("550 recipient address rejected: blocked", Reason.POLICY),
        ("550 5.7.1 Recipient address rejected: Blocked by the gateway", Reason.POLICY),
        ("550 the account is locked", Reason.INACTIVE),
        ("550 The recipient account is blocked. LPN007_426", Reason.INACTIVE),
        ("550 5.1.1 bob@example.net has blocked you", Reason.POLICY),
        ("550 the recipient was invited: user unknown or blocked", Reason.POLICY),
        ("550 5.1.1 too many bad recipients from your IP", Reason.RATE),
        ("550 Too many invalid recipients", Reason.RATE),
        ("550 no mailbox space left", Reason.MAILBOX_FULL),
        ("550 Empfaenger unbekannt", Reason.BAD_MAILBOX),
        ("550 5.1.1 No existe el usuario", Reason.BAD_MAILBOX),
        ("550 La dirección no existe", Reason.BAD_MAILBOX),
        ("550 Usuário não encontrado", Reason.BAD_MAILBOX),
        ("550 casella inesistente", Reason.BAD_MAILBOX),
        ("550 Пользователь не найден", Reason.BAD_MAILBOX),
        ("550 нет такого пользователя", Reason.BAD_MAILBOX),
        ("550 宛先のメールアドレスが見つかりません", Reason.BAD_MAILBOX),
        ("550 收件人不存在", Reason.BAD_MAILBOX),
        ("553 5.7.2 [TSS09] All messages from 192.0.2.1 will be deferred", Reason.REPUTATION),
        ("unable to look up host mx.example.net", Reason.NETWORK),
        ("550 5.1.1 RCP-P2 Refused due to recipient preferences", Reason.POLICY),
        ("550 5.7.1 not accepted by the recipient's preferences", Reason.POLICY),
        ('procmail: Couldn\'t create "/var/mail/bob": no such user', Reason.SYSTEM),
        ("5.3.0 can't create output: unknown user bob", Reason.SYSTEM),
        ("451 Unable to contact LDAP server. (#4.4.3)", Reason.SYSTEM),
        ("pipe to |/usr/local/bin/sort generated by bob@example.net", Reason.SYSTEM),
        ("554 5.3.0 Recipient address rejected: Mailer error", Reason.SYSTEM),
        ("504 Command parameter not implemented", Reason.SYSTEM),
        ("503 5.5.1", Reason.SYSTEM),
        ("550 Please use the smtp server of your ISP", Reason.REPUTATION),
        ("554 use your provider's mail server instead", Reason.REPUTATION),
        ("550 5.1.0 sender rejected. AUP#CDRBL", Reason.REPUTATION),
        ("They may be blacklisted, or may not exist", Reason.OTHER),
        ("550 Unauthenticated senders not allowed", Reason.POLICY),
        ("550 unknown recipient domain", Reason.BAD_DOMAIN),
        ("550 no such recipient domain", Reason.BAD_DOMAIN),
        ("550 5.1.1 This group only accepts mail from members", Reason.POLICY),
        ("550 5.1.1 Members only: posting refused", Reason.POLICY),
        ("550 5.1.1 Address is not allowed to receive external mail", Reason.POLICY),
        ("550 5.1.1 recipient verification failed: timeout", Reason.NETWORK),
        ("550 5.1.1 undeliverable address: connect to mx: Connection timed out", Reason.NETWORK),
        ("550 5.1.1 undeliverable address: host mx said: 450 4.2.1 busy", Reason.SYSTEM),
        ("550 5.1.1 undeliverable address: host mx said: 550 5.1.1 no", Reason.BAD_MAILBOX),
        ("554 5.4.11 Agent generated message depth exceeded", Reason.SYSTEM),
        ("554 5.4.14 Hop count exceeded", Reason.SYSTEM),
        ("554 5.2.0 STOREDRV.Deliver.Exception:AccountDisabledException", Reason.INACTIVE),
        ("554 5.7.1 Spam message rejected; contact abuse. no mailbox", Reason.CONTENT),
        ("550 <bob@spam.example>: no such user", Reason.BAD_MAILBOX),
        ("550 Użytkownik nieznany", Reason.BAD_MAILBOX),
        ("550 nie ma takiego użytkownika", Reason.BAD_MAILBOX),
        ("550 skrzynka odbiorcy jest pełna", Reason.MAILBOX_FULL),
        ("550 utilizador desconhecido", Reason.BAD_MAILBOX),
        ("550 caixa postal cheia", Reason.MAILBOX_FULL),
        ("550 5.7.1 Messages with multiple addresses in From: are not taken", Reason.CONTENT),
    ],
)
def test_each_kind_has_its_own_reason(said: str, reason: Reason):
    assert reason_of(said, "5.0.0") is reason


@pytest.mark.parametrize("status", ["4.1.1", "5.1.1", "5.0.0"])
@pytest.mark.parametrize(
    "said",
    [
        "450 4.1.1 User unknown in local recipient table",
        "450 User unknown",
        "451 4.1.2 Host unknown",
        "450 4.1.1 Recipient address rejected: no such user",
        "421 4.4.4 domain not found",
    ],
)
@pytest.mark.requirement("RFC 5321 §4.2.1")
def test_what_is_transient_is_no_bad_address(said: str, status: str):
    assert reason_of(said, status) not in (Reason.BAD_MAILBOX, Reason.BAD_DOMAIN, None)
    assert recipient_of(said, status).transient


@pytest.mark.requirement("RFC 7505 §4")
@pytest.mark.parametrize(
    ("said", "status", "reason"),
    [
        ("DNS type 'mx' lookup: returned Null MX", "5.0.0", Reason.BAD_DOMAIN),
        ("DNS type 'mx' lookup: returned Null MX", "4.0.0", Reason.NETWORK),
        ("450 4.1.10 null MX", "4.0.0", Reason.NETWORK),
    ],
)
def test_a_null_mx_is_a_bad_domain_unless_it_is_for_now(said: str, status: str, reason: Reason):
    assert reason_of(said, status) is reason


@pytest.mark.parametrize(
    ("said", "status", "transient"),
    [
        ("550 5.1.1 no", "4.0.0", False),
        ("450 4.2.0 later", "5.0.0", True),
        ("no", "4.4.7", True),
        ("no", "5.4.7", False),
    ],
)
def test_the_servers_reply_tells_whether_it_is_transient(said: str, status: str, transient: bool):
    assert recipient_of(said, status).transient is transient


@pytest.mark.parametrize(
    ("said", "code", "enhanced"),
    [
        ("550 5.1.1 no", 550, "5.1.1"),
        ("550-5.1.1 no", 550, "5.1.1"),
        ("host mx[192.0.2.4] said: 452 full", 452, None),
        ("host mx [192.0.2.4]: 550 no", 550, None),
        ("host mx[5.1.1.9] refused to talk", None, None),
        ("no (#5.1.2)", None, "5.1.2"),
        ("call 555 1234", None, None),
        ("version 5.1.1.2", None, None),
        ("bob-550@example.net", None, None),
        ("550 mx.example.net Exim 4.98.1 says no", 550, None),
        ("550 mx.example.net MTA 2.11.3", 550, None),
        ("550 mx.example.net Postfix 5.2.1: no", 550, None),
        ("refused by Exim 4.7.1", None, None),
        ("refused by smtpd/5.0.1", None, None),
        ("450 5.1.1 no", 450, None),
        ("550 4.2.2 5.1.1 no", 550, "5.1.1"),
        ("550 no (#5.1.1)", 550, "5.1.1"),
        ("5.1.0 - Unknown address error 550-'5.1.1 <bob>: no'", 550, "5.1.1"),
        ("550: 5.2.2 full", 550, "5.2.2"),
        ("ERROR_CODE :550, ERROR_CODE :5.1.1 no", 550, "5.1.1"),
        ("after RCPT TO:<bob@example.net>: 550 no", 550, None),
        ("250 2.1.5 Ok; 451 4.3.0 queue file write error", 451, "4.3.0"),
        ("250 2.1.5 Ok", 250, "2.1.5"),
        ("[(0) [2001:db8:220:6d::1]:25: no]", None, None),
        ("permanent failure, status 5.1.1", None, "5.1.1"),
    ],
)
def test_codes_in_a_text(said: str, code: int | None, enhanced: str | None):
    from smtpx.bounces import Diagnostic

    diagnostic = Diagnostic("", said)
    assert diagnostic.reply_code == code
    assert (None if diagnostic.enhanced is None else str(diagnostic.enhanced)) == enhanced


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("550 Requested action not taken: mailbox unavailable", Reason.BAD_MAILBOX),
        (
            "550-Requested action not taken: mailbox unavailable 550-Reject due to policy "
            "restrictions. 550 For explanation visit http://postmaster.example/en?c=poli",
            Reason.POLICY,
        ),
        ("550 5.7.1 Mailbox unavailable due to policy", Reason.POLICY),
        ("550 messages from [192.0.2.1] weren't sent. mailbox unavailable", Reason.REPUTATION),
        ("550 mailbox unavailable: mail system problem", Reason.OTHER),
        ("550 Mailbox temporarily unavailable", Reason.SYSTEM),
        ("550 Unknown user or user temporarily unavailable", Reason.SYSTEM),
        ("550 No such user or access denied", Reason.POLICY),
        ("550 access denied or no such user", Reason.POLICY),
        ("550 mailbox not found or blocked", Reason.POLICY),
        ("550 Unable to relay; unknown user in your org", Reason.POLICY),
        ("550 unknown user due to directory failure", Reason.OTHER),
        ("550 5.7.1 invalid user name or password", Reason.POLICY),
        ("550 5.7.1 prvs tag check failed: no such user", Reason.POLICY),
        ("550 5.1.1 relay.example.net: no such user", Reason.BAD_MAILBOX),
        ("550 5.1.1 <b@policy.example>: User unknown in relay recipient table", Reason.BAD_MAILBOX),
        ("550 5.3.0 - Other mail system problem 550-'Unknown user bob'", Reason.BAD_MAILBOX),
    ],
)
def test_what_may_mean_two_things_is_no_bad_mailbox(said: str, reason: Reason):
    assert reason_of(said, "5.0.0") is reason


@pytest.mark.parametrize("code", ["5.1.1", "5.1.2"])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("mailbox is disabled", Reason.INACTIVE),
        ("552 over quota", Reason.MAILBOX_FULL),
        ("Message too large", Reason.TOO_LARGE),
        ("Content rejected", Reason.CONTENT),
        ("connection rate exceeded", Reason.RATE),
        ("system error", Reason.SYSTEM),
    ],
)
def test_a_code_for_an_address_says_less_than_words_for_something_else(
    code: str, said: str, reason: Reason
):
    assert reason_of(f"550 {code} {said}", "5.0.0") is reason
    assert reason_of(f"550 {said}", code) is reason


@pytest.mark.parametrize("status", ["4.1.1", "4.1.2"])
@pytest.mark.parametrize(
    ("said", "reason"),
    [
        ("550 mailbox disabled", Reason.INACTIVE),
        ("550 refused", Reason.POLICY),
        ("554", Reason.OTHER),
    ],
)
def test_a_status_of_another_class_than_the_reply_says_nothing(
    status: str, said: str, reason: Reason
):
    assert reason_of(said, status) is reason


FULL = (
    *("casella piena", "La casella di posta del destinatario è piena", "cuota excedida"),
    *("Caixa postal do destinatário cheia", "buzón de correo lleno", "boîte aux lettres pleine"),
    *("Mailbox des Empfängers voll", "postvak vol", "Skrzynka odbiorcy jest przepełniona"),
    *("почтовый ящик переполнен", "превышена квота", "schránka je plná", "posta kutusu dolu"),
    *("メールボックスがいっぱいです", "メールボックス容量超過", "收件人邮箱已满", "信箱已滿"),
    *("메일함 용량 초과", "hộp thư đầy", "inkorgen är full", "postilaatikko täynnä"),
)
SENDERS = (
    *(
        "Absenderadresse existiert nicht",
        "送信元アドレスが存在しません",
        "寄件者不存在",
        "发信人不存在",
    ),
    *("avsändaren finns inte", "gönderen bulunamadı", "odesílatel neexistuje", "nieznany nadawca"),
    *("MAIL FROM: no such user", "bounce address invalid: user unknown", "invalid return path"),
    *("unknown host name in HELO", "message-id host does not exist"),
)
PASSING = (
    *("try again later", "user unknown for now", "disk full, user not found in cache"),
    *("backend down; recipient unknown", "unable to verify recipient", "mailbox busy"),
    *("recipient address verification failed; try later", "recipient verification pending"),
    *("bad destination system: connection timed out", "no MX: SERVFAIL", "mail loop: user unknown"),
    *("Empfänger vorübergehend nicht erreichbar", "destinataire temporairement inconnu"),
    *("utente sconosciuto, riprovare più tardi", "пользователь временно не найден"),
    *("用户暂时不存在", "一時的にユーザーが見つかりません"),
)
REFUSING = (
    *("STARTTLS required", "must issue a STARTTLS command first", "Relaying denied for domain"),
    *("recipient does not want mail from you", "recipient rejected your mail"),
    *("user unknown rate is high", "invalid header: recipient does not exist"),
)
CODES = ("5.1.1", "5.1.2", "5.7.1", "")
NO_ADDRESS = (Reason.BAD_MAILBOX, Reason.BAD_DOMAIN)


@pytest.mark.parametrize("code", ["5.1.1", ""])
@pytest.mark.parametrize("said", FULL)
def test_a_full_mailbox_is_one_in_any_language(said: str, code: str):
    assert reason_of(f"550 {code} {said}", code or "5.0.0") is Reason.MAILBOX_FULL


@pytest.mark.parametrize("code", CODES)
@pytest.mark.parametrize("said", [*SENDERS, *PASSING, *REFUSING])
def test_words_of_the_sender_of_time_and_of_policy_leave_a_doubt(said: str, code: str):
    assert reason_of(f"550 {code} {said}", code or "5.0.0") not in NO_ADDRESS


@pytest.mark.parametrize(
    "said",
    [
        "550 4.4.7 QUEUE.Expired; message expired. LastError: 450 4.1.1 User unknown",
        "550 5.4.300 Message expired -> 450 4.1.1 <bob@example.net>: User unknown",
        "554 5.4.7 Delivery expired (message too old): 450 4.2.1 user unknown",
        "554 5.4.7 [internal] exceeded max time without delivery (450 user unknown)",
        "550 retry timeout exceeded; 451 4.1.2 no such domain",
    ],
)
def test_what_a_server_said_for_now_is_not_for_ever_when_time_is_up(said: str):
    one = recipient_of(said, "5.4.7")
    assert one.reason is Reason.NETWORK
    assert not one.transient


@pytest.mark.parametrize(("said", "status"), [("user unknown", "1.1"), ("no such domain", "1.2")])
@pytest.mark.parametrize("class_", [4, 5])
def test_a_delay_tells_of_no_bad_address(said: str, status: str, class_: int):
    report = parse(
        reports.report(
            "Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822;bob@example.net\nAction: delayed\n"
            f"Status: {class_}.{status}\nDiagnostic-Code: smtp; 550 5.{status} {said}\n"
        )
    )
    assert isinstance(report, DeliveryReport)
    assert report.recipients[0].reason not in NO_ADDRESS
    assert report.recipients[0].transient


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            "550-5.1.1 The email account that you tried to reach does not exist. Please try "
            "double-checking the address",
            Reason.BAD_MAILBOX,
        ),
        ("550 5.1.1 address couldn't be found. Check for typos and try again.", Reason.BAD_MAILBOX),
        ("550 5.4.1 Recipient address rejected: Access denied.", Reason.BAD_MAILBOX),
        ("550 5.1.1 User unknown (MTA 4.98.1)", Reason.BAD_MAILBOX),
        (
            "550 permanent failure for one or more recipients (bob@example.net:550 5.1.1 user "
            "unknown)",
            Reason.BAD_MAILBOX,
        ),
        ("550 5.5.0 Boite du destinataire archivee. Archived destination.", Reason.INACTIVE),
    ],
)
def test_words_that_leave_no_doubt(said: str, reason: Reason):
    assert reason_of(said, "5.0.0") is reason
