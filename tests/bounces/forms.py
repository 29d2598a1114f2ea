"""The forms of reports for people: made from what they look like, with invented people."""

# ruff: noqa: E501 - their lines are as long as they are
from __future__ import annotations

from smtpx.bounces import Action, Reason

from .reports import RETURNED, plain, report

BOB, CAROL = "bob@example.net", "carol@example.com"
FAILED, DELAYED = Action.FAILED, Action.DELAYED

Told = list[tuple[str, Action, Reason]]

MULTIPART = "MIME-Version: 1.0\nContent-Type: multipart/mixed; boundary=x"
REPORT = (
    "MIME-Version: 1.0\nContent-Type: multipart/report; report-type=delivery-status; boundary=x"
)

FORMS: dict[str, tuple[bytes, Told]] = {
    "Exchange, in German": (
        "From: postmaster@example.net\nSubject: Unzustellbar: news\n"
        "Content-Type: text/plain; charset=utf-8\n\n"
        "Fehler bei der Nachrichtenzustellung an folgende Empfänger oder Verteilerlisten:\n\n"
        f"Bob ({BOB})\nDie eingegebene E-Mail-Adresse konnte nicht gefunden werden.\n\n"
        "Diagnoseinformationen für Administratoren:\n\nGenerierender Server: ex.example.net\n\n"
        f"{BOB}\n#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##\n\n"
        f"Ursprüngliche Nachrichtenkopfzeilen:\n\n{RETURNED}".encode(),
        [(BOB, FAILED, Reason.BAD_MAILBOX)],
    ),
    "a postmaster's, which calls itself an answer": (
        b"Return-Path: <>\nAuto-Submitted: auto-replied\nFrom: postmaster@example.net\n"
        b"Subject: email bounce notification\n\nYour message was rejected and discarded.\n\n"
        b"reject reason: Mailbox full\ntarget mail address: bob@example.net\n",
        [(BOB, FAILED, Reason.MAILBOX_FULL)],
    ),
    "MDaemon: recipients stand where quotations do": (
        plain(
            f"YOUR MESSAGE WAS NOT DELIVERED!\n\n> {BOB}\n\n"
            f"--- Session Transcript ---\n RCPT To:<{BOB}>\n 552 Mailbox full\n"
        ),
        [(BOB, FAILED, Reason.MAILBOX_FULL)],
    ),
    "Google Workspace: the delivery status is empty": (
        plain(
            "--x\nContent-Type: text/plain; charset=UTF-8\n\n"
            "** Message not delivered **\n\n"
            "The settings of your account are out of date.\n\nThe response was:\n\n"
            "Unspecified Error (SENT_SECOND_EHLO): the server does not advertise AUTH\n\n"
            "--x\nContent-Type: message/delivery-status\n\n\n"
            f"--x\nContent-Type: message/rfc822\n\n{RETURNED}\nhello\n--x--\n",
            REPORT,
            f"X-Failed-Recipients: {BOB}",
        ),
        [(BOB, FAILED, Reason.POLICY)],
    ),
    "Amazon WorkMail: the fields of RFC 3464 in a text": (
        plain(
            "--x\nContent-Type: text/plain; charset=iso-8859-15\n\n"
            f"An error occurred while trying to deliver the mail to the following recipients:\n{BOB}\n\n"
            "Technical report:\n\nReporting-MTA: dsn; out.example.org\n\n"
            f"Action: failed\nFinal-Recipient: rfc822; {BOB}\n"
            "Diagnostic-Code: smtp; 552 5.2.2 <bob@example.net>... Mailbox Full\nStatus: 5.2.2\n\n\n"
            f"--x\nContent-Type: message/rfc822\n\n{RETURNED}\nhello\n--x--\n",
            MULTIPART,
        ),
        [(BOB, FAILED, Reason.MAILBOX_FULL)],
    ),
    "sendmail: a list took the MIME header away": (
        plain(
            "This is a MIME-encapsulated message\n\n--w5/mail.example.org\n\n"
            "   ----- The following addresses had permanent fatal errors -----\n"
            f"<{BOB}>\n    (reason: 550 5.7.1 Rejected as spam)\n\n"
            "--w5/mail.example.org\nContent-Type: message/delivery-status\n\n"
            "Reporting-MTA: dns; mail.example.org\n\n"
            f"Final-Recipient: RFC822; {BOB}\nAction: failed\nStatus: 5.7.1\n"
            "Diagnostic-Code: SMTP; 550 5.7.1 Rejected as spam\n\n--w5/mail.example.org--\n"
        ),
        [(BOB, FAILED, Reason.CONTENT)],
    ),
    "Postfix: the boundary is another than the header says": (
        plain(
            "--y\nContent-Type: text/plain\n\nThis is the mail system at host mail.example.org.\n\n"
            f"<{BOB}>: host mx.example.net[192.0.2.25] said: 550 5.1.1 no such user\n\n"
            "--y\nContent-Type: message/delivery-status\n\nReporting-MTA: dns; mail.example.org\n\n"
            f"Final-Recipient: rfc822; {BOB}\nAction: failed\nStatus: 5.1.1\n"
            "Diagnostic-Code: smtp; 550 5.1.1 no such user\n\n--y--\n",
            REPORT,
        ),
        [(BOB, FAILED, Reason.BAD_MAILBOX)],
    ),
    "Mail.Ru: Exim's opening further down, after another language": (
        plain(
            "Это письмо создано автоматически сервером.\n\n"
            f"  {BOB}\n    SMTP error from remote mail server after RCPT TO:<{BOB}>:\n"
            "    host mx.example.net [192.0.2.25]: 550 5.1.1 <bob@example.net>... User Unknown\n\n"
            "**********************\n\n"
            "This message was created automatically by mail delivery software.\n\n"
            "The following address(es) failed:\n\n"
            f"  {BOB}\n    SMTP error from remote mail server after RCPT TO:<{BOB}>:\n"
            "    host mx.example.net [192.0.2.25]: 550 5.1.1 <bob@example.net>... User Unknown\n\n"
            f"------ This is a copy of the message, including all the headers. ------\n\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.BAD_MAILBOX)],
    ),
    "GMX: the address in quotation marks": (
        plain(
            "This message was created automatically by mail delivery software.\n\n"
            "A message that you sent could not be delivered to one or more of\nits recipients. "
            "This is a permanent error. The following address\nfailed:\n\n"
            f'"{BOB}":\nSMTP error from remote server after RCPT command:\nhost: mx.example.net\n'
            "5.2.2 <bob@example.net>... Mailbox Full\n\n\n"
            f"--- The header of the original message is following. ---\n\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.MAILBOX_FULL)],
    ),
    "1&1: the address bare, at the margin": (
        plain(
            "This message was created automatically by mail delivery software.\n\n"
            "The following address(es)\nfailed:\n\n"
            f"{BOB}:\nSMTP error from remote server for TEXT command, host: mx.example.net "
            "(192.0.2.25) reason: 552 5.3.4 Message size exceeds limit\n\n"
            f"<{CAROL}>\nReason:\ndelivery retry timeout exceeded\n\n\n"
            f"--- The header of the original message is following. ---\n\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.TOO_LARGE), (CAROL, FAILED, Reason.NETWORK)],
    ),
    "Exim: a file or a program, and whom it stands for": (
        plain(
            "This message was created automatically by mail delivery software.\n\n"
            "The following address(es) failed:\n\n"
            f"  |/usr/local/bin/filter\n    generated by {BOB}\n    mailbox is full\n\n"
            "  carol@forward.example\n    (ultimately generated from carol@example.com)\n"
            "    Unrouteable address\n\n"
            f"------ This is a copy of your message ------\n\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.MAILBOX_FULL), (CAROL, FAILED, Reason.BAD_DOMAIN)],
    ),
    "T-Online": (
        plain(
            "|------------------------- Message log follows: -------------------------|\n"
            " no valid recipients were found for this message\n"
            "|------------------------- Failed addresses follow: ---------------------|\n"
            f" <{BOB}>\n   552 5.2.2 <{BOB}> Quota exceeded (mailbox for user is full)\n\n"
            f"|------------------------- Message header follows: ----------------------|\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.MAILBOX_FULL)],
    ),
    "smail": (
        plain(
            "|------------------------- Failed addresses follow: ---------------------|\n"
            f" {BOB} ... unknown host\n"
            f"|------------------------- Message text follows: ------------------------|\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.BAD_DOMAIN)],
    ),
    "Yahoo": (
        plain(
            "Sorry, we were unable to deliver your message to the following address.\n\n"
            f"<{BOB}>:\n554: 5.7.9 Message not accepted for policy reasons\n\n"
            f"<{CAROL}>:\nRemote host said:\n550 5.1.1 <{CAROL}>... User Unknown\n[RCPT_TO]\n\n"
            f"--- Below this line is a copy of the message.\n\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.POLICY), (CAROL, FAILED, Reason.BAD_MAILBOX)],
    ),
    "OpenSMTPD": (
        plain(
            "    Hi!\n\n    This is the MAILER-DAEMON, please DO NOT REPLY to this e-mail.\n\n"
            "    An error has occurred while attempting to deliver a message for\n"
            "    the following list of recipients:\n\n"
            f"{BOB}: 550 5.1.1 <{BOB}>: User unknown\n{CAROL}: Envelope expired\n\n"
            f"    Below is a copy of the original message:\n\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.BAD_MAILBOX), (CAROL, FAILED, Reason.NETWORK)],
    ),
    "OpenSMTPD, a delay": (
        plain(
            "    Hi!\n\n    A message is delayed for more than 10 minutes for the following\n"
            f"    list of recipients:\n\n{BOB}: Network error on destination MXs\n\n"
            "    Please note that this is only a temporary failure report.\n"
        ),
        [(BOB, DELAYED, Reason.NETWORK)],
    ),
    "OpenSMTPD: the status has no diagnostic, the text has": (
        report(
            f"Reporting-MTA: dns; x\n\nFinal-Recipient: rfc822; {BOB}\nAction: failed\n"
            f"Status: 5.0.0\n\nFinal-Recipient: rfc822; {CAROL}\nAction: failed\nStatus: 5.0.0\n",
            text="the following list of recipients:\n\n"
            f"{BOB}: 550 5.1.1 <{BOB}>: User unknown\n{CAROL}: 552 5.2.2 Mailbox full\n\n"
            "    Below is a copy of the original message:\n",
        ),
        [(BOB, FAILED, Reason.BAD_MAILBOX), (CAROL, FAILED, Reason.MAILBOX_FULL)],
    ),
    "DragonFly": (
        plain(
            "This is the DragonFly Mail Agent v0.13 at mail.example.org.\n\n"
            f"There was an error delivering your mail to <{BOB}>.\n\n"
            "mx.example.net [192.0.2.25] did not like our RCPT TO:\n"
            "550 5.7.25 Reverse DNS validation failed\n\n"
            f"Message headers follow.\n\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.REPUTATION)],
    ),
    "Domino": (
        plain(
            "Your message\n\n  Subject: news\n\nwas not delivered to:\n\n"
            f"  {BOB}\n\nbecause:\n\n  User bob ({BOB}) not listed in Domino Directory\n"
        ),
        [(BOB, FAILED, Reason.BAD_MAILBOX)],
    ),
    "Exchange 5.5": (
        plain(
            f"Your message\n\n  To:      {CAROL}\n  Subject: news\n\n"
            f"did not reach the following recipient(s):\n\n{BOB} on Thu, 26 Nov 2026 09:30:00 +0000\n"
            "    The recipient name is not recognized\n    MSEXCH:IMS:EX:BO:SRV 0 (000C05A6)\n"
        ),
        [(BOB, FAILED, Reason.BAD_MAILBOX)],
    ),
    "Exchange 5.5, an X.400 address": (
        plain(
            f"Your message\n\n  To:      {CAROL}\n  Subject: news\n\n"
            "did not reach the following recipient(s):\n\n"
            f"c=US;a= ;p=EX;o=EX;dda:SMTP={BOB}; on Thu, 26 Nov 2026\n09:30:00 +0000\n"
            "    The recipient name is not recognized\n"
        ),
        [(BOB, FAILED, Reason.BAD_MAILBOX)],
    ),
    "a gateway, which nobody knows": (
        plain(
            f"Your message with Subject: news\ncould not be delivered to the following recipients:\n\n"
            f"{BOB}\n\nDelivery attempts will continue to be made for 5 day(s).\n"
        ).replace(b"MAILER-DAEMON", b"gateway"),
        [(BOB, DELAYED, Reason.OTHER)],
    ),
    "a gateway that goes on trying": (
        plain(
            f'Delivery of email to this address\n\n"{BOB}"\n\nhas been postponed due to a full mailbox.\n\n'
            "We will continue to try to deliver your message over the next few days.\n"
        ),
        [(BOB, DELAYED, Reason.MAILBOX_FULL)],
    ),
    "a gateway that has stopped trying": (
        plain(
            f"Unable to deliver your message to:\n\n<{BOB}>\n\nThe mailbox is full. No further delivery "
            "attempts will be made, and we will not continue to try.\n"
        ),
        [(BOB, FAILED, Reason.MAILBOX_FULL)],
    ),
    "a message came back that tells of a delay": (
        plain(
            f"<{BOB}>:\nSorry, no mailbox here by that name. (#5.1.1)\n"
            + "\n> and so on" * 20
            + "\n> The concert has been postponed. We will keep trying.\n"
        ),
        [(BOB, FAILED, Reason.BAD_MAILBOX)],
    ),
    "without a word in the header": (
        b"Return-Path: <>\nFrom: <>\nTo: news@example.org\nAuto-Submitted: auto-replied\n\n"
        b"You sent mail to bob@example.net. That's not a valid user here.\n",
        [(BOB, FAILED, Reason.BAD_MAILBOX)],
    ),
    "sendmail: an alias, and what is made of it": (
        plain(
            "   ----- The following addresses had permanent fatal errors -----\n"
            "robert@forward.example\n    (reason: 553 SPF check: fail)\n"
            f"    (expanded from: <{BOB}>)\n\n   ----- Transcript of session follows -----\n"
            ">>> DATA\n<<< 553 SPF check: fail\n550 5.1.1 robert@forward.example... User unknown\n"
            f"<<< 503 RCPT first (#5.5.1)\n\n   ----- Message header follows -----\n\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.AUTHENTICATION)],
    ),
    "sendmail: the sender is refused": (
        plain(
            f"   ----- The following addresses had permanent fatal errors -----\n<{BOB}>\n\n"
            "   ----- Transcript of session follows -----\n... while talking to mx.example.net.:\n"
            "<<< 220 mx.example.net ESMTP\n>>> MAIL From:<news@example.org>\n"
            f"<<< 550 5.1.1 no such user\n550 5.1.1 <{BOB}>... User unknown\n\n"
            f"   ----- Original message follows -----\n\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.POLICY)],
    ),
    "sendmail 5": (
        plain(
            "   ----- Transcript of session follows -----\nWhile talking to mx.example.net:\n"
            f">>> RCPT To:<{BOB}>\n<<< 550 <{BOB}>, User Unknown\n550 <{BOB}>... User unknown\n\n"
            f"   ----- Unsent message follows -----\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.BAD_MAILBOX)],
    ),
    "sendmail 5, which names nobody": (
        plain(
            "   ----- Transcript of session follows -----\n"
            "421 example.net (smtp)... Deferred: Connection timed out during user open\n\n"
            f"   ----- Unsent message follows -----\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.NETWORK)],
    ),
    "IMail": (
        plain(
            f"User mailbox exceeds allowed size: {BOB}\n\n\nOriginal message follows.\n\n{RETURNED}"
        ),
        [(BOB, FAILED, Reason.MAILBOX_FULL)],
    ),
    "MailMarshal: the reason comes first": (
        plain(
            "Your message:\n   From:    news@example.org\n   Subject: news\n\n"
            "Could not be delivered because of\n\n550 5.1.1 User unknown\n\n"
            f"The following recipients were affected: \n    {BOB}\n\n"
            "Additional Information\n======================\nOriginal Sender:    <news@example.org>\n"
        ),
        [(BOB, FAILED, Reason.BAD_MAILBOX)],
    ),
    "InterScan": (
        plain(
            "****** Message from InterScan Messaging Security Suite ******\n\n"
            f"Sent <<< RCPT TO:<{BOB}>\nReceived >>> 550 5.1.1 unknown user\n\n"
            f"Unable to deliver message to <{BOB}> (and other recipients in the same domain).\n"
        ),
        [(BOB, FAILED, Reason.BAD_MAILBOX)],
    ),
    "Zoho": (
        plain(
            "This message was created automatically by mail delivery software.\n"
            "A message that you sent could not be delivered to one or more of its recipients.\n\n"
            f"{BOB} Invalid Address, ERROR_CODE :550, ERROR_CODE :5.2.2 <{BOB}>... Mailbox Full\n\n\n"
            f"{RETURNED}"
        ),
        [(BOB, FAILED, Reason.MAILBOX_FULL)],
    ),
    "HTML alone": (
        plain(
            "<html><head><style>a{b:c@d.test}</style></head><body><p>Your message was not delivered "
            f'to</p><p>&lt;<a href="mailto:{BOB}">{BOB}</a>&gt;:</p><p>552 mailbox is full</p></body>',
            "Content-Type: text/html; charset=utf-8",
        ),
        [(BOB, FAILED, Reason.MAILBOX_FULL)],
    ),
    "in another charset": (
        plain(
            "\u3053\u306e\u30e1\u30fc\u30eb\u306f\u9001\u4fe1\u3067\u304d\u307e\u305b\u3093\n",
            "Content-Type: text/plain; charset=iso-2022-jp",
        )
        .decode()
        .encode("iso-2022-jp")
        + f"\n{BOB}\n\n-------server message\n550 unknown user <{BOB}>\n\n-------original message\n".encode(),
        [(BOB, FAILED, Reason.BAD_MAILBOX)],
    ),
    "au one net: the English behind the Japanese": (
        plain(
            "--x\nContent-Type: text/plain; charset=utf-8\n\n"
            "\u9001\u4fe1\u3067\u304d\u307e\u305b\u3093\u3067\u3057\u305f\u3002\n\n"
            "Your mail sent on: Thu, 29 Apr 2013 23:45:22 +0900\n"
            f"     Could not be delivered to: <{BOB}>\n     As their mailbox is full.\n\n"
            f"--x\nContent-Type: message/rfc822\n\n{RETURNED}\nhello\n--x--\n",
            MULTIPART,
        )
        .replace(b"MAILER-DAEMON", b"no-reply")
        .replace(b"Return-Path: <>\n", b"")
        .replace(b"failure notice", b"your mail"),
        [(BOB, FAILED, Reason.MAILBOX_FULL)],
    ),
    "AOL: one recipient after the other, without an empty line": (
        report(
            f"Reporting-MTA: dns; out.example.org\nFinal-Recipient: rfc822; {BOB}\n"
            "Action: failed\nStatus: 5.2.2\nDiagnostic-Code: smtp; 550 5.2.2 Mailbox Full\n"
            f"Final-Recipient: rfc822; {CAROL}\nAction: failed\nStatus: 5.1.1\n"
            "Diagnostic-Code: smtp; 550 5.1.1 User Unknown\n"
        ),
        [(BOB, FAILED, Reason.MAILBOX_FULL), (CAROL, FAILED, Reason.BAD_MAILBOX)],
    ),
}


IRONPORT = report(
    f"Reporting-MTA: dns; out.example.org\n\nFinal-Recipient: rfc822;{BOB}\nAction: failed\n"
    "Status: 5.1.0 (Unknown address)\n"
    "Diagnostic-Code: smtp; 5.1.0 - Unknown address error 550-'5.7.1 Message refused: policy' "
    "(delivery attempts: 0)\n"
)

SUPPLEMENTARY = report(
    f"Reporting-MTA: dns; ex.example.org\n\nFinal-Recipient: RFC822;\n {BOB}\nAction: failed\n"
    "Status: 5.1.1\nRemote-MTA: dns; mx.example.net\n"
    "X-Supplementary-Info: <mx.example.net #5.1.1 smtp;550 5.7.1 Client host blocked using dnsbl>\n"
)
