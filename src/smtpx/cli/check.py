"""``smtpx check``: what is wrong with a message, before anybody else says so."""

from __future__ import annotations

import argparse

import smtpx
from smtpx._headers import header_section, with_plain_names
from smtpx.cli import _shapes
from smtpx.cli._accounts import account_of, add_password_options
from smtpx.cli._console import Console, counted, printable
from smtpx.cli._exits import Exit, Stop
from smtpx.cli._letters import read_octets
from smtpx.cli._running import Parser
from smtpx.cli._trusted import private

__all__ = ["parser", "run"]

_EPILOG = """\
examples:
  smtpx check letter.eml
  smtpx check --for submission://mail.example.com letter.eml      what that server can take
  smtpx check --rule=-DATE_MISSING --rule=-NOT_ALIGNED *.eml      all rules but these
  smtpx check --fix mended.eml letter.eml

Exit codes: 0 no errors (warnings may be), 1 errors.
"""


def parser() -> Parser:
    """What it takes."""
    parser = Parser("check", "Find what is wrong with messages, and what to do.", _EPILOG)
    parser.add_argument("files", nargs="+", metavar="FILE|-")
    parser.add_argument(
        "--for", dest="server", metavar="URL|@ACCOUNT", help="what that server offers, too"
    )
    parser.add_argument(
        "--rule",
        action="append",
        default=[],
        metavar="±NAME",
        help="=+NAME: only such rules; =-NAME: not that one",
    )
    parser.add_argument("--fix", metavar="OUT", help="write a mended copy of one message there")
    add_password_options(parser)
    return parser


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Check each message."""
    if arguments.fix is not None and len(arguments.files) > 1:
        raise Stop("--fix writes one message: give one file")
    wanted = _rules(arguments.rule)
    extensions = None if arguments.server is None else _extensions(arguments, console)
    errors, checked = 0, list[_shapes.JSON]()
    for name in arguments.files:
        octets = read_octets(name)
        if not octets.strip():
            raise Stop(f"{name} is empty: give a message", Exit.CONTENT_REFUSED)
        found = [each for each in _found(octets, extensions) if each.rule in wanted]
        for each in found:
            is_error = each.severity is smtpx.Severity.ERROR
            errors += is_error
            console.result(f"{name}: {printable(str(each))}", "red" if is_error else "yellow")
        checked.append({"file": name, "findings": [_shapes.finding(each) for each in found]})
        if arguments.fix is not None:
            with open(arguments.fix, "wb", opener=private) as file:
                _ = file.write(_mended(octets))
    code = Exit.FOUND if errors else Exit.DONE
    if errors:
        console.problem(f"{counted(errors, 'error')} found")
    console.document("check", code, {"messages": checked})
    return code


def _rules(given: list[str]) -> set[smtpx.Rule]:
    """Those that count: all but the ones taken out, or only the ones put in."""
    only, without = set[smtpx.Rule](), set[smtpx.Rule]()
    for text in given:
        name = text.lstrip("+-").upper().replace("-", "_")
        if name not in smtpx.Rule.__members__:
            raise Stop(f"--rule={printable(text)}: known are {', '.join(smtpx.Rule.__members__)}")
        (without if text.startswith("-") else only).add(smtpx.Rule[name])
    return (only or set(smtpx.Rule)) - without


def _extensions(arguments: argparse.Namespace, console: Console) -> smtpx.Extensions:
    account = account_of(arguments.server, arguments, console)
    with smtpx.Session(account.endpoint, credentials=account.credentials) as session:
        return session.extensions


def _found(octets: bytes, extensions: smtpx.Extensions | None) -> tuple[smtpx.Finding, ...]:
    # Of a file with LF alone it is not held against it: whatever sends it makes CRLF of them.
    return smtpx.check(octets, _envelope(octets), extensions)


def _envelope(octets: bytes) -> smtpx.Envelope | None:
    from email.parser import BytesHeaderParser
    from email.policy import default

    try:
        section = with_plain_names(header_section(octets))
        header = BytesHeaderParser(policy=default).parsebytes(section)
        return smtpx.Envelope.from_message(header)
    except Exception:  # What is malformed makes the package fail in many ways: it is found below.
        return None


def _mended(octets: bytes) -> bytes:
    envelope = _envelope(octets)
    mended = smtpx.mend(octets, envelope)
    left = [each for each in smtpx.check(mended, envelope) if each.severity is smtpx.Severity.ERROR]
    if left:
        raise Stop(f"it cannot be mended: {'; '.join(map(str, left))}", Exit.FOUND)
    return mended
