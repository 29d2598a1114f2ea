"""What `smtpx send` sends: a message from flags, from a file, or as sendmail is given one."""

from __future__ import annotations

import argparse
import re
import sys
from dataclasses import dataclass
from email import policy
from email.message import EmailMessage
from email.parser import BytesHeaderParser
from pathlib import Path

import smtpx
from smtpx._headers import BCC, header_section, with_plain_names, without
from smtpx.cli._console import printable
from smtpx.cli._exits import Exit, Stop
from smtpx.cli._fields import fields
from smtpx.cli._marks import unmarked
from smtpx.cli._reading import reading
from smtpx.cli._sendmail import before_dot, qualified, ret_of, with_author, without_mark
from smtpx.cli._shapes import sentence_of

__all__ = [
    "Letter",
    "addresses_of",
    "composed",
    "in_flags",
    "make_folder",
    "octets_of_size",
    "read_letter",
    "read_octets",
]

_FLAGS = {
    "sender": "from",
    "attachments": "attach",
    "inline": "attach",
    "headers": "header",
    "reply_to": "reply-to",
    "date": "header Date",
    "message_id": "header Message-ID",
    "in_reply_to": "header In-Reply-To",
    "references": "header References",
    "list_unsubscribe": "header List-Unsubscribe",
    "one_click": "header List-Unsubscribe-Post",
}
_ARGUMENT = re.compile(
    rf"^(to|cc|bcc|subject|text|html|{'|'.join(_FLAGS)})\b(?:\['([^']*)'\]|\[\d+\])?(=?)"
)
_FOR_ANOTHER = re.compile(r"what the argument '(\w+)' is for")
_IN_WORDS = (
    ("several as a list of strings", "several with commas between them"),
    (
        "as ('Display, Name', 'bob@example.net')",
        "in quotes, such as '\"Display, Name\" <bob@example.net>'",
    ),
)
_LARGEST = 256 * 1024**2
# One that is not in quotes, as a name with a comma is (RFC 5322 §3.2.5).
_COMMA = re.compile(r",(?=(?:[^\"]*\"[^\"]*\")*[^\"]*$)")
_FIELD = re.compile(rb"[!-9;-~]+[ \t]*:")
_NOBODY = "nobody@example.invalid"
_MOST_OCTETS = 1024**4
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3}
_NOTIFY = {"never": smtpx.Notify.NEVER} | {
    name.lower(): smtpx.Notify[name] for name in ("SUCCESS", "FAILURE", "DELAY")
}


@dataclass(frozen=True, slots=True)
class Letter:
    """A message, and who gets it."""

    message: EmailMessage | bytes
    envelope: smtpx.Envelope
    subject: str = ""


def octets_of_size(text: str) -> int:
    """Read a size such as ``20M``; the units are powers of 1024.

    Raises:
        argparse.ArgumentTypeError: it is none.
    """
    match = re.fullmatch(r"([0-9]{1,12})([KMG]?)B?", text.strip().upper())
    if match is None or not int(match[1]):
        raise argparse.ArgumentTypeError(f"{text!r} is no size such as 500K, 20M or 1G")
    size = int(match[1]) * _UNITS[match[2]]
    if size > _MOST_OCTETS:
        raise argparse.ArgumentTypeError(f"{text!r} is more than 1024G")
    return size


# From flags.


def composed(
    arguments: argparse.Namespace, sender: str | None, *, is_template: bool = False
) -> Letter:
    """A message made of the flags; its text is standard input where no flag has one.

    A template has fields in its addresses: its envelope is nobody's.

    Raises:
        Stop: a flag is missing, or wrong.
        smtpx.SMTPError: an address or a header is wrong.
    """
    author = arguments.sender or sender
    if author is None:
        raise Stop("say whom it is from: --from 'Ann <ann@example.org>'")
    if not (arguments.to or arguments.cc or arguments.bcc):
        raise Stop("say who gets it: --to bob@example.net")
    if arguments.text == arguments.html == "-":
        raise Stop("--text - and --html -: standard input can be one of them")
    text, html = _said(arguments.text, "--text"), _said(arguments.html, "--html")
    if text is None and html is None and not arguments.attach:
        text = "" if sys.stdin.isatty() else _decoded(read_octets("-"), "standard input")
    attachments: list[str | smtpx.Attachment] = [*arguments.attach]
    if arguments.size is not None:
        attachments.append(_padding(arguments.size))
    try:
        message = smtpx.compose(
            sender=author,
            to=arguments.to,
            cc=arguments.cc,
            bcc=arguments.bcc,
            reply_to=arguments.reply_to,
            subject=arguments.subject or "",
            text=text,
            html=html,
            attachments=attachments,
            **fields(arguments.header),
        )
    except (ValueError, smtpx.LocalProtocolError) as error:
        raise Stop(in_flags(str(error))) from error
    if is_template:
        return Letter(message, smtpx.Envelope(None, _NOBODY))
    envelope = smtpx.Envelope.from_message(
        message, notify=_notify(arguments.notify), envid=arguments.envid
    )
    if arguments.envelope_sender is not None:
        envelope = envelope.replace(sender=_reverse_path(arguments.envelope_sender))
    return Letter(message, envelope, str(message["Subject"] or ""))


def in_flags(text: str) -> str:
    """What is said of arguments, in the words of who gave flags."""
    told = _ARGUMENT.sub(_flag_of, text, count=1)
    told = _FOR_ANOTHER.sub(lambda found: f"what --{_FLAGS.get(found[1], found[1])} is for", told)
    for of_programs, of_people in _IN_WORDS:
        told = told.replace(of_programs, of_people)
    return re.sub(r"\[Errno -?[0-9]+\] ", "", told)


def _flag_of(found: re.Match[str]) -> str:
    flag = f"--{_FLAGS.get(found[1], found[1])}"
    if found[2]:
        flag = f"{flag} {found[2]}"
    return f"{flag} " if found[3] else flag


def addresses_of(text: str) -> list[str]:
    """Read addresses, with commas between them."""
    return [each.strip() for each in _COMMA.split(text) if each.strip()] or [text]


def _said(value: str | None, flag: str) -> str | None:
    """A text: as it is, of ``@FILE``, or of standard input for ``-``."""
    if value == "-":
        return _decoded(read_octets("-"), "standard input")
    if value is not None and value.startswith("@"):
        return _decoded(_of_file(value, flag), f"{flag} {value}")
    return value


def _of_file(value: str, flag: str) -> bytes:
    try:
        return read_octets(value[1:] or ".")
    except OSError as error:
        raise Stop(
            f"{flag} {printable(value)!r}: {error.strerror}: after @ stands the name of a file; "
            f"a text that begins with @ is given by standard input, and {flag} -"
        ) from None


def _decoded(octets: bytes, where: str) -> str:
    try:
        return octets.decode()
    except UnicodeDecodeError:
        raise Stop(f"{where} is not UTF-8: convert it", Exit.CONTENT_REFUSED) from None


def _padding(size: int) -> smtpx.Attachment:
    """An attachment that makes the message about that large, written in base64."""
    if size > _LARGEST:
        raise Stop("--size: the message is made in memory: give 256M at most")
    return smtpx.Attachment(bytes(size * 3 // 4 * 76 // 78), "padding.bin")


def _notify(text: str | None) -> smtpx.Notify | None:
    """Read ``failure,delay``."""
    if text is None:
        return None
    wanted = smtpx.Notify.NEVER
    words = text.lower().split(",")
    for word in words:
        if word not in _NOTIFY or (word == "never" and len(words) > 1):
            raise Stop(f"--notify {printable(word)}: give never, or some of success,failure,delay")
        wanted |= _NOTIFY[word]
    return wanted


# From a file, or from standard input.


def make_folder(path: Path) -> None:
    """Make a folder, if there is none.

    Raises:
        Stop: a file is in its place.
        OSError: it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError):
        raise Stop(f"{path} is no folder: give another") from None


def read_octets(name: str) -> bytes:
    """The text of a file, or of standard input for ``-``, without a byte order mark.

    Raises:
        Stop: it is not in the encoding that its mark tells.
        OSError: it cannot be read.
    """
    where = "standard input" if name == "-" else name
    with reading(where):
        octets = sys.stdin.buffer.read() if name == "-" else Path(name).read_bytes()
    try:
        return unmarked(octets)
    except UnicodeDecodeError:
        problem = f"{where} has the mark of UTF-16 and is not UTF-16: save it as UTF-8"
        raise Stop(problem, Exit.CONTENT_REFUSED) from None


def read_letter(arguments: argparse.Namespace, name: str, sender: str | None) -> Letter:
    """A message as it is, without its Bcc; who gets it is in the flags, or else in its header.

    Raises:
        Stop: it is no message, or names nobody.
        smtpx.SMTPError: an address is none.
    """
    octets = read_octets(name)
    where = "standard input" if name == "-" else name
    if arguments.as_sendmail:
        octets = without_mark(octets if name != "-" else before_dot(octets, arguments))
    if not _FIELD.match(octets):
        if not (arguments.as_sendmail and arguments.words_to and octets.strip()):
            raise _no_message(octets, where)
        octets = b"\n" + octets
    section = with_plain_names(header_section(octets))
    header = BytesHeaderParser(policy=policy.default).parsebytes(section)
    given = [*arguments.to, *arguments.cc, *arguments.bcc, *arguments.words_to]
    envelope = _envelope(arguments, header, given, sender, where)
    if not arguments.keep_bcc:
        octets = without(BCC, octets)
    if arguments.as_sendmail and not _has_author(header):
        author = str(envelope.sender or "MAILER-DAEMON")
        octets = with_author(octets, author, arguments.full_name or header["From"])
    return Letter(octets, envelope, str(header["Subject"] or ""))


def _no_message(octets: bytes, where: str) -> Stop:
    if not octets.strip():
        why = "it is empty"
    elif octets.startswith(b"From "):
        why = "it is an mbox: take one message out of it"
    else:
        why = "it does not begin with a header field such as 'Subject: …'"
    return Stop(f"{where} is no message: {why}", Exit.CONTENT_REFUSED)


def _envelope(
    arguments: argparse.Namespace,
    header: EmailMessage,
    given: list[str],
    sender: str | None,
    where: str,
) -> smtpx.Envelope:
    recipients = [qualified(_address_of(address), "the recipient") for address in given]
    if arguments.from_header or not recipients:
        try:
            named = smtpx.Envelope.from_message(header, sender=_NOBODY).recipients
        except smtpx.SMTPError as error:
            if not recipients:
                problem = f"{where} does not say who gets it ({sentence_of(error)}): give --to"
                raise Stop(problem, Exit.CONTENT_REFUSED) from None
            named = ()
        recipients = list(dict.fromkeys([*recipients, *(str(each) for each in named)]))
    notify = _notify(arguments.notify)
    return smtpx.Envelope(
        _sender(arguments, header, sender, where),
        [smtpx.Recipient(address, notify=notify) for address in recipients],
        ret=ret_of(arguments),
        envid=arguments.envid,
    )


def _sender(
    arguments: argparse.Namespace, header: EmailMessage, sender: str | None, where: str
) -> str | smtpx.Address | None:
    if arguments.envelope_sender is not None:
        return _said_sender(arguments.envelope_sender, arguments, sender)
    if arguments.sender is not None:
        return _address_of(arguments.sender)
    if header["From"] is not None:
        try:
            return _author_of(header)
        except smtpx.SMTPError as error:
            # Of cron it is root, a user of this machine.
            if not (arguments.as_sendmail and sender):
                problem = f"{where} does not say whom it is from ({sentence_of(error)})"
                raise Stop(f"{problem}: give --from or -f", Exit.CONTENT_REFUSED) from None
    if sender is not None:
        return _address_of(sender)
    raise Stop(f"{where} does not say whom it is from: give --from or -f, or an account's from")


def _said_sender(text: str, arguments: argparse.Namespace, sender: str | None) -> str | None:
    """The reverse-path of the flag; an account's, where it names a user of this machine."""
    path = _reverse_path(text)
    if path is None or "@" in path or not arguments.as_sendmail:
        return path
    return qualified(path, "the sender") if sender is None else _address_of(sender)


def _has_author(header: EmailMessage) -> bool:
    try:
        return header["From"] is not None and _author_of(header) is not None
    except smtpx.SMTPError:
        return False


def _author_of(header: EmailMessage) -> smtpx.Address | None:
    probe = EmailMessage(policy=policy.default)
    for name in ("From", "Sender"):
        if header[name] is not None:
            probe[name] = str(header[name])
    probe["To"] = _NOBODY
    return smtpx.Envelope.from_message(probe).sender


def _reverse_path(text: str) -> str | None:
    """Empty, or ``<>``, is the null reverse-path."""
    return None if text in ("", "<>") else _address_of(text)


def _address_of(text: str) -> str:
    """The address in ``Bob <bob@example.net>``, or the text itself."""
    _, bracket, rest = text.rpartition("<")
    return rest.rstrip("> ") if bracket else text.strip()
