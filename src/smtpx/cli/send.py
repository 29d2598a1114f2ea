"""``smtpx send``: one message, to whoever it is for."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from email.message import EmailMessage
from functools import partial
from pathlib import Path
from typing import Any

import smtpx
from smtpx.cli import _shapes
from smtpx.cli._accounts import (
    Account,
    account_of,
    add_password_options,
    anonymous,
    is_target,
)
from smtpx.cli._console import SCHEMA, Console, counted, printable
from smtpx.cli._deliveries import add_deliver, delivering
from smtpx.cli._dialogues import Dialogue
from smtpx.cli._exits import Exit, Stop, of_error, of_refusals, of_reply, of_result
from smtpx.cli._ledgers import client_of
from smtpx.cli._letters import (
    Letter,
    addresses_of,
    composed,
    make_folder,
    octets_of_size,
    read_letter,
    read_octets,
)
from smtpx.cli._rates import rate_of
from smtpx.cli._running import Parser, count_of, seconds_of
from smtpx.cli._sendmail import add_sendmail, is_recipient, is_sendmail
from smtpx.cli._trusted import private

__all__ = ["parser", "run"]

_EPILOG = """\
examples:
  smtpx send submission://ann@mail.example.com --from ann@x.test --to bob@x.test --text Hi
  smtpx send @work letter.eml
  smtpx send --dry-run letter.eml
  smtpx send --deliver letter.eml                to the mail exchangers of each recipient
  smtpx send -t -i < letter.eml                  as sendmail; for php.ini's sendmail_path, too

URL may be left out: SMTPX_URL says it, or [default] in ~/.config/smtpx.toml or ./smtpx.toml.
Exit codes: 0 all accepted, 3 some, 4 in doubt, 75 try later; the others are in the documentation.
"""
_PHASES = ("hello", "auth", "mail", "rcpt")
_FOR_MANY = ("group_by", "resume", "rate", "limit")
_FOR_ONE = ("stop_after", "notify", "envid", "keep_bcc")


def parser() -> Parser:
    """What it takes."""
    parser = Parser("send", "Send a message; tell what became of each recipient.", _EPILOG)
    parser.add_argument(
        "words",
        nargs="*",
        metavar="URL|@ACCOUNT|FILE|-",
        help="the server; the message, - is stdin",
    )
    message = parser.add_argument_group("the message, where no file has it")
    message.add_argument("--from", dest="sender", metavar="ADDRESS")
    for flag in ("--to", "--cc", "--bcc", "--reply-to"):
        message.add_argument(
            flag, action="extend", type=addresses_of, default=[], metavar="ADDRESS"
        )
    message.add_argument("--subject", metavar="TEXT")
    for flag in ("--text", "--html"):
        message.add_argument(flag, metavar="TEXT", help="as it stands; @FILE; or - for stdin")
    message.add_argument("--attach", action="append", default=[], metavar="FILE")
    message.add_argument("--header", action="append", default=[], metavar="'NAME: VALUE'")
    message.add_argument(
        "--size", type=octets_of_size, metavar="SIZE", help="pad the message, to try a limit: 20M"
    )
    ways = parser.add_argument_group("how it goes")
    ways.add_argument("--all-or-nothing", action="store_true", help="to everybody, or to nobody")
    ways.add_argument(
        *("--notify", "-N"), metavar="WHEN", help="success,failure,delay or never (RFC 3461)"
    )
    ways.add_argument("--envid", "-V", metavar="ID", help="what reports name it by (RFC 3461)")
    ways.add_argument("--keep-bcc", action="store_true", help="leave Bcc in a file's header")
    ways.add_argument("--timeout", type=seconds_of, metavar="SECONDS", help="for the whole of it")
    ways.add_argument("--transcript", "-X", metavar="FILE", help="write the dialogue there")
    ways.add_argument("--dkim-key", metavar="PEM", help="sign; with the domain and the selector")
    ways.add_argument("--dkim-domain", metavar="DOMAIN")
    ways.add_argument("--dkim-selector", metavar="NAME")
    add_deliver(parser)
    instead = parser.add_argument_group("in place of sending")
    instead.add_argument("--dry-run", action="store_true", help="say what would be sent")
    instead.add_argument("--out", metavar="DIR", help="write it there as .eml")
    instead.add_argument("--stop-after", choices=_PHASES, help="go no further than that")
    add_sendmail(parser)
    many = parser.add_argument_group("to each row of a table")
    many.add_argument("--merge", metavar="ROWS", help=".csv with a header, .json or .jsonl")
    many.add_argument("--group-by", metavar="COLUMN", help="one letter to all rows of the same")
    many.add_argument("--resume", metavar="LEDGER", help="go on with what was killed")
    many.add_argument("--rate", type=rate_of, metavar="N/UNIT", help="10/s, 600/min, 50/5m")
    many.add_argument("--connections", type=count_of, default=2, metavar="N")
    many.add_argument("--limit", type=count_of, metavar="N", help="only the first N letters")
    parser.add_argument("--jsonl", action="store_true", help="print a JSON value a recipient")
    add_password_options(parser)
    return parser


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Send, or do what is to be done instead."""
    target, file = _sorted(arguments)
    if arguments.as_sendmail and not arguments.verbose:
        # What it prints would be part of a page where PHP runs as CGI.
        console.is_for_people = False
    _check_flags(arguments)
    if arguments.deliver:
        _check_deliver(arguments)
    if arguments.merge is not None:
        return _merged(arguments, target, file, console)
    if arguments.out is not None or arguments.dry_run:
        letter = _letter(arguments, file, _sender_at_hand(target, arguments, console))
        return _shown(arguments, console, letter)
    if arguments.deliver:
        return _delivered(arguments, target, file, console)
    signer = _signer(arguments)
    login = arguments.stop_after != "hello"
    account = account_of(target, arguments, console, login=login)
    letter = _letter(arguments, file, account.sender)
    dialogue = Dialogue(console, arguments.transcript)
    options: dict[str, Any] = {
        "credentials": account.credentials,
        "observer": dialogue,
        "timeout": arguments.timeout,
        "signer": signer,
    }
    if arguments.as_sendmail:
        # What programs hand to sendmail may lack a Date, and has line ends of its own.
        options["check"] = smtpx.Check.FIX
    try:
        if arguments.stop_after is not None:
            return _tried(arguments.stop_after, account, letter, options, console)
        return _sent(arguments, account, letter, options, console)
    finally:
        dialogue.save()


def _check_flags(arguments: argparse.Namespace) -> None:
    """What has no meaning here is told, and not passed over."""
    is_merge = arguments.merge is not None
    for name in _FOR_ONE if is_merge else _FOR_MANY:
        if getattr(arguments, name):
            flag = f"--{name.replace('_', '-')}"
            raise Stop(
                f"{flag} is for one message: leave out --merge"
                if is_merge
                else f"{flag} is for --merge ROWS: give that too, or leave {flag} out"
            )


def _merged(
    arguments: argparse.Namespace, target: str | None, file: str | None, console: Console
) -> int:
    from smtpx.cli import _merge

    preview = arguments.out is not None or arguments.dry_run
    is_local = preview or arguments.deliver
    account = None if is_local else account_of(target, arguments, console)
    message: EmailMessage | None = None
    if file is None:
        sender = _sender_at_hand(target, arguments, console) if account is None else account.sender
        made = composed(arguments, sender, is_template=True).message
        message = made if isinstance(made, EmailMessage) else None
    else:
        _check_read(arguments, file)
    template = _merge.template_of(file, message, arguments.envelope_sender)
    if preview:
        return _merge.preview(arguments, console, template)
    dialogue = Dialogue(console, arguments.transcript)
    options: dict[str, Any] = {"observer": dialogue, "signer": _signer(arguments)}
    try:
        if account is None:
            via = delivering(arguments, target, **options, **_timeouts(arguments))
            return _merge.merge(arguments, via, template, console)
        count: int = arguments.connections
        client = client_of(account, count, **options, timeout=arguments.timeout)
        return _merge.merge(arguments, client, template, console)
    finally:
        dialogue.save()


def _sorted(arguments: argparse.Namespace) -> tuple[str | None, str | None]:
    """Which word is the server, which the message; as sendmail, the others are recipients."""
    targets = [word for word in arguments.words if is_target(word)]
    if len(targets) > 1:
        raise Stop("two servers are named: give one URL, or one @ACCOUNT")
    target = targets[0] if targets else None
    others = [word for word in arguments.words if word is not target]
    arguments.as_sendmail = is_sendmail(arguments, others)
    recipients: list[str] = []
    if arguments.as_sendmail:
        files = [word for word in others if word == "-" or Path(word).exists()]
        for word in others:
            if word not in files:
                recipients += addresses_of(word)
        files = files or ["-"]
    else:
        files = others
    arguments.words_to = recipients
    if len(files) > 1:
        raise Stop(f"{printable(files[1])!r} is one file too many: give one message")
    if files and not arguments.as_sendmail and is_recipient(files[0]):
        raise Stop(f"{printable(files[0])} is no file: name a recipient by --to {files[0]}")
    return target, files[0] if files else None


def _letter(arguments: argparse.Namespace, file: str | None, sender: str | None) -> Letter:
    if file is None:
        return composed(arguments, sender)
    _check_read(arguments, file)
    return read_letter(arguments, file, sender)


def _check_read(arguments: argparse.Namespace, file: str) -> None:
    """A file has its own subject and texts."""
    for name in ("subject", "text", "html", "attach", "header", "reply_to", "size"):
        if getattr(arguments, name):
            flag = name.replace("_", "-")
            raise Stop(f"--{flag} is for a message made here: leave it out, or leave out {file}")


def _sender_at_hand(
    target: str | None, arguments: argparse.Namespace, console: Console
) -> str | None:
    """Whom an account says mail is from; without an account, nobody."""
    try:
        return account_of(target, arguments, console, login=False).sender
    except Stop as stop:
        if target is None and stop.code is Exit.USAGE:
            return None  # There is none, and nothing is sent.
        raise


def _signer(arguments: argparse.Namespace) -> smtpx.DKIMSigner | None:
    parts = (arguments.dkim_key, arguments.dkim_domain, arguments.dkim_selector)
    if not any(parts):
        return None
    if not all(parts):
        raise Stop("DKIM needs --dkim-key, --dkim-domain and --dkim-selector: give all three")
    key, domain, selector = parts
    octets = read_octets(key)
    try:
        return smtpx.DKIMSigner(smtpx.DKIMKey(domain, selector, octets))
    except (ValueError, smtpx.LocalProtocolError) as error:
        said = re.sub("^(domain|selector)=", r"--dkim-\1 ", str(error))
        if said.startswith("key="):
            locked = "it has a password: take it off, as by openssl pkey"
            why = locked if "has a password" in said else "it is no private key in PEM"
            said = f"--dkim-key {printable(key)}: {why}"
        raise Stop(said) from None


# What sends.


def _check_deliver(arguments: argparse.Namespace) -> None:
    for name in ("stop_after", "all_or_nothing"):
        if getattr(arguments, name):
            raise Stop(f"--{name.replace('_', '-')} does not go with --deliver: leave one out")


def _timeouts(arguments: argparse.Namespace) -> dict[str, Any]:
    """As a delivery has them, for which the whole is a session's."""
    given: float | None = arguments.timeout
    return {} if given is None else {"timeouts": smtpx.Timeouts(total=given)}


def _delivered(
    arguments: argparse.Namespace, target: str | None, file: str | None, console: Console
) -> int:
    """To the mail exchangers of each recipient."""
    dialogue = Dialogue(console, arguments.transcript)
    options: dict[str, Any] = {"observer": dialogue, "signer": _signer(arguments)}
    try:
        with delivering(arguments, target, **options, **_timeouts(arguments)) as delivery:
            letter = _letter(arguments, file, None)
            send = partial(delivery.send, letter.message, letter.envelope)
            return _told_of(send, console, is_lines=arguments.jsonl)
    finally:
        dialogue.save()


def _sent(
    arguments: argparse.Namespace,
    account: Account,
    letter: Letter,
    options: dict[str, Any],
    console: Console,
) -> int:
    with smtpx.Client(account.endpoint, **options) as client:
        return _told_of(
            lambda: client.send(
                letter.message, letter.envelope, all_or_nothing=arguments.all_or_nothing
            ),
            console,
            is_lines=arguments.jsonl,
        )


def _told_of(send: Callable[[], smtpx.SendResult], console: Console, *, is_lines: bool) -> int:
    """Send, and tell what became of each recipient."""
    try:
        result = send()
    except smtpx.SMTPError as error:
        if error.result is None:
            raise
        code = of_error(error)
        _tell(error.result, code, console, is_lines=is_lines)
        told = _shapes.error(error)
        said = _shapes.sentence_of(error)
        decisive = _decisive(error.result, code)
        if decisive is not None:
            said = _summary(error.result, code)
            told |= {"message": str(decisive), "reply": _shapes.reply(decisive.reply)}
            told |= {"command": f"RCPT TO:<{decisive.recipient}>"} if "command" in told else {}
        console.problem(printable(f"{said}{_advice(code)}"))
        console.document("send", code, _shapes.result(error.result) | {"error": told})
        return code
    code = of_result(result)
    _tell(result, code, console, is_lines=is_lines)
    if code is not Exit.DONE:
        console.problem(printable(f"{_summary(result, code)}{_advice(code)}"))
    console.document("send", code, _shapes.result(result))
    return code


def _advice(code: Exit) -> str:
    if code is Exit.IN_DOUBT:
        return _shapes.DOUBT
    return "; try again later" if code is Exit.LATER else ""


def _decisive(result: smtpx.SendResult, code: Exit) -> smtpx.Outcome | None:
    """The outcome that the code is about, where it is said beside others that will never change."""
    retryable = [each for each in result.outcomes if each.retryable]
    is_mixed = code is Exit.LATER and 0 < len(retryable) < len(result.outcomes)
    return retryable[0] if is_mixed else None


def _tell(result: smtpx.SendResult, code: Exit, console: Console, *, is_lines: bool) -> None:
    for outcome in result.outcomes:
        good = outcome.status is smtpx.Status.ACCEPTED
        console.result(printable(str(outcome)), "" if code is Exit.DONE or good else "red")
        if is_lines:
            console.line({"schema": SCHEMA, **_shapes.outcome(outcome)})


def _summary(result: smtpx.SendResult, code: Exit) -> str:
    counts = {
        "accepted": len(result.accepted),
        "refused": len(result.refused),
        "in doubt": len(result.in_doubt),
        "not tried": len(result.not_tried),
    }
    told = ", ".join(f"{count} {word}" for word, count in counts.items() if count)
    firsts = [*result.in_doubt, *result.refused, *result.not_tried]
    shown = _decisive(result, code) or next(iter(firsts), None)
    return told if shown is None else f"{told}; {shown}"


# What goes only so far.


def _tried(
    phase: str, account: Account, letter: Letter, options: dict[str, Any], console: Console
) -> int:
    """Go as far as `phase`, and end the session in good order."""
    endpoint = account.endpoint
    if phase == "hello":
        del options["credentials"]
        if endpoint.user is not None:
            endpoint = anonymous(endpoint)
    code, refusals = Exit.DONE, list[str]()
    with smtpx.Session(endpoint, **options) as session:
        envelope = letter.envelope
        utf8 = " SMTPUTF8" if envelope.needs_smtputf8 else ""
        if phase in ("mail", "rcpt"):
            reply = session.command(f"MAIL FROM:<{envelope.sender or ''}>{utf8}")
            if not reply.positive:
                code = of_reply(reply, Exit.REFUSED)
                refusals.append(f"MAIL: {reply}")
            elif phase == "rcpt":
                code = _asked(session, envelope, refusals, console)
            _ = session.reset()
    for refusal in refusals:
        console.problem(printable(refusal))
    if code is Exit.DONE:
        console.result(f"stopped after {phase}: nothing was sent")
    console.document("send", code, {"stopped_after": phase, "refused": refusals})
    return code


def _asked(
    session: smtpx.Session, envelope: smtpx.Envelope, refusals: list[str], console: Console
) -> Exit:
    replies = list[smtpx.Reply]()
    for recipient in envelope.recipients:
        reply = session.command(f"RCPT TO:<{recipient}>")
        console.result(printable(f"{recipient}: {reply}"))
        if not reply.positive:
            refusals.append(f"{recipient} refused: {reply}")
            replies.append(reply)
    if not refusals:
        return Exit.DONE
    if len(refusals) < len(envelope.recipients):
        return Exit.PARTLY
    return of_refusals(replies)


# What does not send.


def _shown(arguments: argparse.Namespace, console: Console, letter: Letter) -> int:
    """Say, or write, what would be sent."""
    content, envelope = _content_of(letter.message), letter.envelope
    findings = smtpx.check(letter.message, envelope)
    errors = [each for each in findings if each.severity is smtpx.Severity.ERROR]
    path = None
    if arguments.out is not None:
        path = _written(Path(arguments.out), content)
        console.result(str(path))
    else:
        console.result(f"sender     {envelope.sender or '<>'}")
        for recipient in envelope.recipients:
            console.result(f"recipient  {printable(str(recipient))}")
        console.result(f"subject    {printable(letter.subject)}")
        console.result(f"size       {len(content)} octets")
    for each in findings:
        console.story(printable(str(each)), "yellow")
    code = Exit.FOUND if errors else Exit.DONE
    if errors:
        console.problem(f"{counted(len(errors), 'error')} in the message; nothing was sent")
    fields: _shapes.JSON = {
        "sender": str(envelope.sender or ""),
        "recipients": [str(recipient) for recipient in envelope.recipients],
        "subject": letter.subject,
        "size": len(content),
        "findings": [_shapes.finding(each) for each in findings],
        "file": None if path is None else str(path),
    }
    console.document("send", code, fields)
    return code


def _content_of(message: EmailMessage | bytes) -> bytes:
    """The octets as they would be written, Bcc left out."""
    if isinstance(message, bytes):
        return message.replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
    return smtpx.flatten(message)


def _written(folder: Path, content: bytes) -> Path:
    """Write a message under a name of ours: nothing in a message becomes a path."""
    make_folder(folder)
    number = 1
    while True:
        path = folder / f"{number:06}.eml"
        try:
            with open(path, "xb", opener=private) as file:
                _ = file.write(content)
        except FileExistsError:
            number += 1
        else:
            return path
