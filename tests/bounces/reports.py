"""Reports as the systems write them: made from their documented shapes, with invented people."""

# ruff: noqa: E501, W291 - their lines are as long as they are
from __future__ import annotations

RETURNED = """\
Return-Path: <news@example.org>
Received: from client.example.org (client.example.org [192.0.2.7])
\tby mail.example.org (Postfix) with ESMTPS id 4ABC
\tfor <bob@example.net>; Thu, 26 Nov 2026 09:30:00 +0000 (UTC)
From: Ann <ann@example.org>
To: bob@example.net
Subject: news
Message-ID: <1234@example.org>
X-Campaign: winter
"""

POSTFIX_TEXT = """\
This is the mail system at host mail.example.org.

I'm sorry to have to inform you that your message could not
be delivered to one or more recipients. It's attached below.

For further assistance, please send mail to postmaster.

If you do so, please include this problem report. You can
delete your own text from the attached returned message.

                   The mail system

<bob@example.net>: host mx.example.net[192.0.2.25] said: 550 5.1.1
    <bob@example.net>: Recipient address rejected: User unknown in virtual
    mailbox table (in reply to RCPT TO command)

<carol@example.com> (expanded from <staff@example.org>): connect to
    mx.example.com[192.0.2.26]:25: Connection timed out
"""


def report(
    status: str,
    *,
    text: str = "It could not be delivered.\n",
    returned: str = RETURNED,
    status_type: str = "message/delivery-status",
    returned_type: str = "text/rfc822-headers",
    to: str = "news@example.org",
) -> bytes:
    """A multipart/report of RFC 6522."""
    return f"""\
Return-Path: <>
Delivered-To: {to}
From: MAILER-DAEMON@mail.example.org (Mail Delivery System)
To: {to}
Subject: Undelivered Mail Returned to Sender
Auto-Submitted: auto-replied
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status;
\tboundary="4ABC.1764149400/mail.example.org"

This is a MIME-encapsulated message.

--4ABC.1764149400/mail.example.org
Content-Description: Notification
Content-Type: text/plain; charset=us-ascii

{text}
--4ABC.1764149400/mail.example.org
Content-Description: Delivery report
Content-Type: {status_type}

{status}
--4ABC.1764149400/mail.example.org
Content-Description: Undelivered Message
Content-Type: {returned_type}

{returned}
--4ABC.1764149400/mail.example.org--
""".replace("\n", "\r\n").encode()


def plain(text: str, *header: str) -> bytes:
    """A report that is one text."""
    fields = "".join(f"{field}\n" for field in header)
    return (
        "Return-Path: <>\nFrom: MAILER-DAEMON@mail.example.org\nTo: news@example.org\n"
        f"Subject: failure notice\n{fields}\n{text}"
    ).encode()


POSTFIX = report(
    """\
Reporting-MTA: dns; mail.example.org
Original-Envelope-Id: campaign+7
X-Postfix-Queue-ID: 4ABC
X-Postfix-Sender: rfc822; news@example.org
Received-From-MTA: dns; client.example.org (192.0.2.7)
Arrival-Date: Thu, 26 Nov 2026 09:30:00 +0000 (UTC)

Final-Recipient: rfc822; bob@example.net
Original-Recipient: rfc822;bob+news@example.org
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.net
Diagnostic-Code: smtp; 550 5.1.1 <bob@example.net>: Recipient address rejected:
    User unknown in virtual mailbox table
Last-Attempt-Date: Thu, 26 Nov 2026 10:30:01 +0100

Final-Recipient: rfc822; carol@example.com
Original-Recipient: rfc822;staff@example.org
Action: delayed
Status: 4.4.1
Diagnostic-Code: X-Postfix; connect to mx.example.com[192.0.2.26]:25:
    Connection timed out
Will-Retry-Until: Tue, 1 Dec 2026 09:30:00 +0000 (UTC)
""",
    text=POSTFIX_TEXT,
)

SUCCESS = report(
    """\
Reporting-MTA: dns; mail.example.org

Final-Recipient: rfc822; bob@example.net
Action: relayed
Status: 2.0.0
Diagnostic-Code: smtp; 250 2.0.0 Ok: queued as 4DEF

Final-Recipient: rfc822; dora@example.net
Action: delivered (to mailbox)
Status: 2.1.5

Final-Recipient: rfc822; list@example.net
Action: expanded
Status: 2.1.5
"""
)

GLOBAL = report(
    """\
Reporting-MTA: dns; mail.example.org

Final-Recipient: utf-8; jörg@bücher.example
Original-Recipient: utf-8;j\\x{F6}rg\\x{2B}\\x{1F4E7}@b\\x{fc}cher.example
Action: failed
Status: 5.2.2
Diagnostic-Code: smtp; 552 5.2.2 Postfach voll – quota
""",
    status_type="message/global-delivery-status",
    returned_type="message/global-headers",
    returned="Message-ID: <ü1234@example.org>\nSubject: grüße\n",
)

EXCHANGE_ONLINE = report(
    """\
Reporting-MTA: dns;AM0PR01MB0001.eurprd01.prod.exchange.example
Received-From-MTA: dns;client.example.org
Arrival-Date: Thu, 26 Nov 2026 09:30:00 +0000

Original-Recipient: rfc822;bob@example.net
Final-Recipient: rfc822;bob@example.net
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound; Recipient not found by SMTP address lookup
"""
)

GMAIL = report(
    """\
Reporting-MTA: dns; googlemail.com
Arrival-Date: Thu, 26 Nov 2026 01:30:00 -0800 (PST)
X-Original-Message-ID: <1234@example.org>

Final-Recipient: rfc822; bob@example.net
Action: failed
Status: 5.1.1
Remote-MTA: dns; mx.example.net. (192.0.2.25, the server for the domain example.net.)
Diagnostic-Code: smtp; 550-5.1.1 The email account that you tried to reach does not exist. Please try
 550-5.1.1 double-checking the recipient's email address for typos or
 550 5.1.1 unnecessary spaces.
Last-Attempt-Date: Thu, 26 Nov 2026 01:30:01 -0800 (PST)
""",
    returned_type="message/rfc822",
    returned=RETURNED + "\nhello\n",
)

EXIM_STANDARD = report(
    """\
Reporting-MTA: dns; mail.example.org

Action: failed
Final-Recipient: rfc822;bob@example.net
Status: 5.0.0
Remote-MTA: dns; mx.example.net
Diagnostic-Code: smtp; 552 5.2.2 The mailbox is over quota
"""
)

EXIM = plain(
    """\
This message was created automatically by mail delivery software.

A message that you sent could not be delivered to one or more of its
recipients. This is a permanent error. The following address(es) failed:

  bob@example.net
    host mx.example.net [192.0.2.25]
    SMTP error from remote mail server after RCPT TO:<bob@example.net>:
    550 5.1.1 No such user
  carol@example.com
    all relevant MX records point to non-existent hosts

------ This is a copy of the message, including all the headers. ------

"""
    + RETURNED
    + "\nhello\n",
    "Auto-Submitted: auto-replied",
    "X-Failed-Recipients: bob@example.net,\n  carol@example.com",
)

EXIM_DELAY = plain(
    """\
This message was created automatically by mail delivery software.
A message that you sent has not yet been delivered to one or more of its
recipients after more than 24 hours on the queue on mail.example.org.

The message identifier is:     1aBcDe-000001-AB
The subject of the message is: news

The address to which the message has not yet been delivered is:

  bob@example.net
    Delay reason: Connection timed out

No action is required on your part. Delivery attempts will continue for
some time, and this warning may be repeated at intervals if the message
remains undelivered.
"""
)

QMAIL = plain(
    """\
Hi. This is the qmail-send program at mail.example.org.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<bob@example.net>:
192.0.2.25 does not like recipient.
Remote host said: 550 sorry, no mailbox here by that name
Giving up on 192.0.2.25.

<carol@nowhere.example>:
Sorry, I couldn't find any host named nowhere.example. (#5.1.2)

<dora@example.com>:
Sorry, I wasn't able to establish an SMTP connection. (#4.4.1)
I'm not going to try again; this message has been in the queue too long.

--- Below this line is a copy of the message.

"""
    + RETURNED
    + "\nhello\n"
)

POSTFIX_PLAIN = plain(POSTFIX_TEXT)

GMAIL_OLD = plain(
    """\
Delivery to the following recipient failed permanently:

     bob@example.net

Technical details of permanent failure: 
Google tried to deliver your message, but it was rejected by the server for the recipient domain example.net by mx.example.net. [192.0.2.25].

The error that the other server returned was:
550 5.7.1 Message blocked due to the reputation of the sending address

----- Original message -----

"""
    + RETURNED,
    "X-Failed-Recipients: bob@example.net",
)

GMAIL_NEW = plain(
    """\
** Address not found **

Your message wasn’t delivered to bob@example.net because the address couldn't be found, or is unable to receive mail.

The response from the remote server was:

550 5.1.1 <bob@example.net>: user unknown
"""
)

GMAIL_DELAY = plain(
    """\
** Delivery incomplete **

There was a temporary problem delivering your message to bob@example.net. Gmail will retry for 47 more hours. You'll be notified if the delivery fails permanently.

The response was:

The recipient server did not accept our requests to connect. mx.example.net: timed out
"""
)

EXCHANGE = plain(
    """\
Delivery has failed to these recipients or groups:

Bob (bob@example.net)
The e-mail address you entered couldn't be found. Please check the recipient's
e-mail address and try to resend the message.

Carol (carol@example.com)
Your message is larger than the recipient's system takes.


Diagnostic information for administrators:

Generating server: mail.example.org

bob@example.net
#550 5.1.1 RESOLVER.ADR.RecipNotFound; not found ##

carol@example.com
mx.example.com
Remote Server returned '552 5.3.4 Message size exceeds fixed limit'

Original message headers:

"""
    + RETURNED
)

EXCHANGE_OLD = plain(
    """\
Your message did not reach some or all of the intended recipients.

      Subject:\tnews
      Sent:\t11/26/2026 9:30 AM

The following recipient(s) could not be reached:

      'bob@example.net' on 11/26/2026 9:31 AM
            The e-mail account does not exist at the organization this message was sent to.
            <mail.example.org #5.1.1 smtp;550 5.1.1 User unknown>
"""
)

ARF = b"""\
From: <abusedesk@example.com>
Date: Thu, 26 Nov 2026 17:40:36 EDT
Subject: FW: news
To: <abuse@example.org>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=feedback-report;
     boundary="part1_13d.2e68ed54_boundary"

--part1_13d.2e68ed54_boundary
Content-Type: text/plain; charset="US-ASCII"
Content-Transfer-Encoding: 7bit

This is an email abuse report for an email message received from IP
192.0.2.7 on Thu, 26 Nov 2026 14:00:00 EDT.

--part1_13d.2e68ed54_boundary
Content-Type: message/feedback-report

Feedback-Type: Abuse
User-Agent: SomeGenerator/1.0
Version: 1
Original-Envelope-Id: campaign+7
Original-Mail-From: <news+bob=example.com@example.org>
Original-Rcpt-To: <bob@example.com>
Original-Rcpt-To: rfc822;carol@example.com
Arrival-Date: Thu, 26 Nov 2026 14:00:00 -0400
Reporting-MTA: dns; mail.example.com
Source-IP: 192.0.2.7
Incidents: 3
Authentication-Results: mail.example.com; spf=pass smtp.mail=news@example.org
Reported-Domain: example.org
Reported-Uri: https://example.org/

--part1_13d.2e68ed54_boundary
Content-Type: message/rfc822
Content-Disposition: inline

From: <ann@example.org>
Received: from mail.example.org by mail.example.com
To: <bob@example.com>
Message-ID: <1234@example.org>

hello
--part1_13d.2e68ed54_boundary--
"""

VACATION = b"""\
From: Bob <bob@example.net>
To: ann@example.org
Subject: Auto: news
Auto-Submitted: auto-replied (vacation)
In-Reply-To: <1234@example.org>

I am away until Monday. Mail to postmaster@example.net if delivery has failed.
"""

READ = b"""\
From: Bob <bob@example.net>
To: ann@example.org
Content-Type: multipart/report; report-type=disposition-notification; boundary="x"

--x

It was displayed.
--x
Content-Type: message/disposition-notification

Final-Recipient: rfc822;bob@example.net
Original-Message-ID: <1234@example.org>
Disposition: manual-action/MDN-sent-manually; displayed

--x--
"""

FORWARDED = (
    b"From: ann@example.org\nTo: help@example.org\nSubject: what is this?\n"
    b'Content-Type: multipart/mixed; boundary="outer"\n\n--outer\n\nI got this:\n'
    b"--outer\nContent-Type: message/rfc822\n\n" + POSTFIX + b"\n--outer--\n"
)

ALL = {
    name: value
    for name, value in list(globals().items())
    if isinstance(value, bytes) and name.isupper()
}
