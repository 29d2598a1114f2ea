"""``smtpx bounces``: who did not get mail, and why, out of what came back."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections.abc import Iterator

from smtpx import bounces, verp
from smtpx.bounces import DeliveryReport, Report
from smtpx.cli import _shapes
from smtpx.cli._console import SCHEMA, Console, columns, printable, written
from smtpx.cli._exits import Exit
from smtpx.cli._mail_files import messages_in
from smtpx.cli._running import Parser

__all__ = ["parser", "run"]

_EPILOG = """\
examples:
  smtpx bounces bounce.eml
  smtpx bounces --csv ~/Maildir/.Bounces > bounces.csv
  smtpx bounces --jsonl spool.mbox | jq .recipients

Exit codes: 0 reports were found, 1 none was.
"""
_HEADINGS = ("message", "recipient", "action", "reason", "status", "diagnostic")


def parser() -> Parser:
    """What it takes."""
    parser = Parser("bounces", "Read delivery reports (bounces) and complaints.", _EPILOG)
    parser.add_argument("names", nargs="+", metavar="FILE|MBOX|MAILDIR|DIR|-")
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--csv", action="store_true", help="a line for each recipient")
    form.add_argument("--jsonl", action="store_true", help="a JSON value for each report")
    parser.add_argument(
        "--verp", action="store_true", help="the address it came to tells whom mail was for"
    )
    return parser


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Read them all."""
    reports, others, documents = 0, 0, list[_shapes.JSON]()
    rows: list[tuple[str, ...]] = []
    if arguments.csv:
        _write_csv(_HEADINGS)
    for name in arguments.names:
        for where, octets in messages_in(name, console):
            report = bounces.parse(octets, verp=verp.decode if arguments.verp else None)
            if report is None:
                others += 1
                continue
            reports += 1
            shape: _shapes.JSON = {"message": where, **_shapes.report(report)}
            if arguments.jsonl:
                console.line({"schema": SCHEMA, **shape})
            elif arguments.csv:
                for row in _rows(where, report):
                    _write_csv(row)
            elif arguments.json:
                documents.append(shape)
            else:
                rows += _rows(where, report)
    for line in columns([tuple(map(printable, row)) for row in rows]):
        console.result(line)
    if not (arguments.csv or arguments.jsonl):
        console.result(f"{reports} reports, {others} other messages")
    code = Exit.DONE if reports else Exit.FOUND
    if code is Exit.FOUND:
        console.problem(f"no report among {others} messages")
    console.document("bounces", code, {"reports": documents, "others": others})
    return code


def _rows(where: str, report: Report) -> Iterator[tuple[str, ...]]:
    if not isinstance(report, DeliveryReport):
        for recipient in report.recipients or (report.verp_recipient or "",):
            yield where, recipient, "feedback", report.feedback_type, "", ""
        return
    if not report.recipients:
        yield where, report.verp_recipient or "", "", "", "", "the report names no recipient"
    for each in report.recipients:
        yield (
            where,
            report.verp_recipient or each.recipient or "",
            each.action.value,
            "" if each.reason is None else each.reason.value,
            "" if each.status is None else str(each.status),
            "" if each.diagnostic is None else each.diagnostic.text,
        )


def _write_csv(row: tuple[str, ...]) -> None:
    text = io.StringIO()
    # A stranger's text must not become a formula where the file is opened as a table.
    csv.writer(text).writerow(
        [f"'{cell}" if cell[:1] in "=+-@\t\r" and cell else cell for cell in row]
    )
    written(sys.stdout, text.getvalue())
