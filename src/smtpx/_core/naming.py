"""Errors as they leave a session: each names the server, and some say what to do.

What raises them need not know it: this is done once, where a procedure lets them out.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING

from smtpx._core.connection import Connection
from smtpx._core.steps import Steps, T
from smtpx._loading import loading
from smtpx.errors import (
    WHERE_TO_SUBMIT,
    AuthenticationRefused,
    HelloRefused,
    LocalProtocolError,
    ReplyError,
    SMTPError,
)
from smtpx.replies import Reply
from smtpx.results import SendResult

if TYPE_CHECKING:
    from smtpx.services import Service

# What servers say to a client that has not logged in, beside 530 (RFC 4954 §6).
_WANTS_LOGIN = (
    r"(?i)\brelay|authentication (?:is )?required|not (?:been )?authenticated|not logged in"
    r"|log ?in\b|must authenticate|auth(?:entication|enticate)?(?: command)? first"
)
_WANTS_TLS = r"(?i)\b(?:START)?TLS\b|\bSSL\b|encrypt"
# What providers say to who has logged in, and sends from an address that is another's.
_NOT_AS_SENDER = (
    r"(?i)\bsend(?:ing)? (?:as|on behalf)\b|SendAsDenied|not owned by|relaying disallowed as"
    r"|\b(?:address|sender|identity|domain)\b.{0,20}\bnot (?:been )?verified"
)
# How a domain shows that it sends: nothing that a login would change.
_OF_DOMAINS = r"SPF|DKIM|DMARC"
# RFC 4954 §6: 535, or another code of those who do without it; 534 and 538 are about mechanisms.
_CREDENTIALS_INVALID = (535, 530, 550, 554)
_MECHANISM_INVALID = (534, 538)
_UNKNOWN_COMMAND = (500, 502)
# RFC 5321 §4.2.2: what is wrong is what we call ourselves.
_ARGUMENT_INVALID = (501, 504)
_WANTS_NAME = r"(?i)\b(?:HELO|EHLO|host ?names?|FQDN|fully[ -]qualified|domain name)\b"
_NAME_IT = (
    "the server does not like what this machine calls itself: give client_name= its full name, "
    "as the DNS has it"
)
# Who greets by 220 and is no mail server (RFC 959 §4.2), and who by 200 or 201 (RFC 3977 §5.1).
_OF_FILES, _OF_NEWS = r"(?i)\A(?!.*SMTP).*(?:FTP|FileZilla)", (200, 201)
_WANTS_USER = r"(?i)\b(?:USER|PASS|log(?:ged)? ?in)\b"


def named(connection: Connection, procedure: Steps[T]) -> Steps[T]:
    """Run a procedure; the error that it raises, or that its result has, names the server."""
    try:
        value = yield from procedure
    except SMTPError as error:
        name(connection, error)
        raise
    if isinstance(value, SendResult):
        name_in(connection, value)
    return value


def naming(
    connection: Connection, emit: Callable[[SendResult], None]
) -> Callable[[SendResult], None]:
    """What emits results whose errors name the server."""
    server = connection.server

    def emit_named(result: SendResult) -> None:
        result.server = server
        if result.error is not None:
            name(connection, result.error)
        emit(result)

    return emit_named


def name_in(connection: Connection, result: SendResult) -> None:
    """Have a result's error name the server, also one that it has yet to raise."""
    result.server = connection.server
    if result.error is not None:
        name(connection, result.error)


def name(connection: Connection, error: SMTPError) -> None:
    """Have an error name the server it came of, and say what to do where that is known."""
    if error.server is None:
        error.server = connection.server
    if isinstance(error, ReplyError) and not error.hint:
        error.hint = _hint_of(connection, error)


def _hint_of(connection: Connection, error: ReplyError) -> str:
    if isinstance(error, AuthenticationRefused) and not _is_for_tls(connection, error.reply):
        return _of_login(error)
    if isinstance(error, HelloRefused):
        return _of_protocol(connection, error.reply)
    if connection.authenticated:
        return _of_sender(error.reply)
    return _of_missing_login(connection, error.reply)


def _of_protocol(connection: Connection, reply: Reply) -> str:
    """What to do where even the first command is unknown."""
    other = _other_protocol(connection.greeting, reply)
    if other is not None:
        return f"the server speaks {other} on this port, and not SMTP: {WHERE_TO_SUBMIT}"
    if reply.code not in _UNKNOWN_COMMAND:
        is_of_name = reply.code in _ARGUMENT_INVALID or re.search(
            _WANTS_NAME, " ".join(reply.lines)
        )
        return _NAME_IT if is_of_name and reply.permanent else ""
    if connection.lmtp:
        return "a server of SMTP? use smtp://"
    return "a server of LMTP? use lmtp://"


def _other_protocol(greeting: Reply | None, reply: Reply) -> str | None:
    """What is spoken by a server that greets as one of mail may."""
    if greeting is None or reply.code == 421:
        return None
    if greeting.code in _OF_NEWS:
        return "NNTP"
    is_ftp = reply.code in _UNKNOWN_COMMAND and re.search(_OF_FILES, " ".join(greeting.lines))
    if is_ftp or (reply.code == 530 and re.search(_WANTS_USER, " ".join(reply.lines))):
        return "FTP"
    return None


def _of_login(error: AuthenticationRefused) -> str:
    """What to do about a login that was refused for good; the command names the mechanism."""
    if error.transient:
        return "not for good, so the user and password may be right"
    is_token = any(name in (error.command or "") for name in ("XOAUTH2", "OAUTHBEARER"))
    service = _service_of(error)
    if service is not None and not is_token:
        return service.login  # Such services have codes and reasons of their own.
    if error.reply.code in _MECHANISM_INVALID:
        return "the server wants another mechanism: name one by mechanisms=[…]"
    if error.reply.code not in _CREDENTIALS_INVALID:
        return ""
    if is_token:
        return "the token may have expired, or be for another user, scope or server"
    if error.command in ("AUTH EXTERNAL", "AUTH GSSAPI", "AUTH GSS-SPNEGO", "AUTH ANONYMOUS"):
        return ""
    return (
        "user or password is wrong, or the server wants an app password or a token "
        "(Credentials(token=…)) in place of the account's password, as the large providers do"
    )


def _of_sender(reply: Reply) -> str:
    """What to do where the login is good, and the sender not the one that it is for."""
    if not re.search(_NOT_AS_SENDER, " ".join(reply.lines)):
        return ""
    return "send from the address of the user who logged in, or have the provider allow this one"


def _service_of(error: SMTPError) -> Service | None:
    """The service whose server an error came of."""
    host = (error.server or "").rpartition(":")[0]
    try:
        with loading("what is known of services"):
            from smtpx.services import at

            return at(host)
    except LocalProtocolError:
        return None  # It is for an advice only.


def _is_for_tls(connection: Connection, reply: Reply) -> bool:
    """True if TLS is what the server misses."""
    if connection.tls:
        return False
    # RFC 4954 §6: 538 is about nothing else.
    return reply.code == 538 or (
        reply.code == 530 and re.search(_WANTS_TLS, " ".join(reply.lines)) is not None
    )


def _of_missing_login(connection: Connection, reply: Reply) -> str:
    """What to do about a refusal that a login would have spared us."""
    text = " ".join(reply.lines)
    if _is_for_tls(connection, reply):
        return "use smtps://, or submission:// with ?tls=starttls"
    if reply.code != 530 and (not re.search(_WANTS_LOGIN, text) or re.search(_OF_DOMAINS, text)):
        return ""
    if connection.extensions.auth:
        return (
            "no credentials were given: put them in the URL (submission://user:password@…), or "
            "give credentials=smtpx.Credentials(…)"
        )
    return (
        "no credentials were given, and the server takes none here: submit it to your own "
        "provider's server, as by submission://user:password@…"
    )
