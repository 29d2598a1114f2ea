"""``smtpx send`` as programs call sendmail: PHP, cron, git send-email, mutt, logwatch.

What they give beside a message are sendmail's options (sendmail(8)), of which some mean nothing
here, and recipients as words. What they hand over may lack a From, and may begin with the line of
a mailbox file.
"""

from __future__ import annotations

import argparse
import re
from email.utils import formataddr
from pathlib import Path

import smtpx
from smtpx._headers import FROM, without
from smtpx.cli._console import printable
from smtpx.cli._exits import Stop

__all__ = [
    "add_sendmail",
    "before_dot",
    "is_recipient",
    "is_sendmail",
    "qualified",
    "ret_of",
    "with_author",
    "without_mark",
]

_DOT = re.compile(rb"^\.\r?(?:\n|\Z)", re.MULTILINE)
_MARK = re.compile(rb">?From [^\n]*\n")
_RET = {"full": smtpx.Ret.FULL, "hdrs": smtpx.Ret.HEADERS}


def add_sendmail(parser: argparse.ArgumentParser) -> None:
    """What sendmail takes."""
    group = parser.add_argument_group("as sendmail")
    group.add_argument(
        "-t", dest="from_header", action="store_true", help="the header says who gets it"
    )
    group.add_argument(
        "-i", dest="ignore_dots", action="store_true", help="a lone dot does not end stdin"
    )
    group.add_argument(
        *("-f", "-r"), dest="envelope_sender", metavar="ADDRESS", help="the reverse-path"
    )
    group.add_argument("-F", dest="full_name", metavar="NAME", help="of a From that is missing")
    group.add_argument("-R", dest="ret", choices=list(_RET), help="what failure reports return")
    group.add_argument("-o", dest="sendmail_o", action="append", help=argparse.SUPPRESS)
    for flag in ("-O", "-B", "-b", "-e", "-A", "-L"):
        # A message says by itself what they do; of -b, only -bm is known.
        group.add_argument(flag, dest=f"sendmail_{flag[1]}", help=argparse.SUPPRESS)
    for flag in ("-n", "-m", "-G", "-U"):
        group.add_argument(
            flag, dest="sendmail_words", action="append_const", const=flag, help=argparse.SUPPRESS
        )


def is_sendmail(arguments: argparse.Namespace, others: list[str]) -> bool:
    """True if it is called as sendmail is, with these words `others` than the server."""
    mode: str | None = arguments.sendmail_b
    if mode not in (None, "m"):
        raise Stop(f"-b{printable(mode)}: of sendmail's modes there is only -bm, to send a message")
    its_own = [word for name, word in vars(arguments).items() if name.startswith("sendmail_")]
    said = (*its_own, arguments.full_name, arguments.ret)
    if arguments.from_header or arguments.ignore_dots or any(word is not None for word in said):
        return True
    shared = (arguments.envelope_sender, arguments.notify, arguments.envid)
    is_asked = any(word is not None for word in shared)
    return is_asked and bool(others) and all(is_recipient(word) for word in others)


def is_recipient(word: str) -> bool:
    """True for an address, and not the file of that name."""
    return "@" in word and not Path(word).exists()


def ret_of(arguments: argparse.Namespace) -> smtpx.Ret | None:
    """What a report of a failure shall return (RFC 3461 §4.3)."""
    return None if arguments.ret is None else _RET[arguments.ret]


def qualified(address: str, what: str) -> str:
    """An address with a domain.

    Raises:
        Stop: it has none, as a user of this machine has not; `what` says whose address it is.
    """
    if "@" not in address:
        raise Stop(
            f"{what} {printable(address)!r} has no domain, and nothing is delivered on this "
            "machine: give a whole address, as by MAILTO for cron"
        )
    return address


def without_mark(octets: bytes) -> bytes:
    """A message without the first line of a mailbox file, which procmail and formail leave."""
    mark = _MARK.match(octets)
    return octets if mark is None else octets[mark.end() :]


def before_dot(octets: bytes, arguments: argparse.Namespace) -> bytes:
    """What stands before a line of a lone dot, which ends it without ``-i`` or ``-oi``."""
    if arguments.ignore_dots or "i" in (arguments.sendmail_o or ()):
        return octets
    end = _DOT.search(octets)
    return octets if end is None else octets[: end.start()]


def with_author(octets: bytes, address: str, name: str | None) -> bytes:
    """A message with this author, in place of whom it names as it is none."""
    author = formataddr((name or "", address), "utf-8")
    return b"From: %s\n%s" % (author.encode(), without(FROM, octets))
