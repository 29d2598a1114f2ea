"""``smtpx bounces``: who did not get mail, and why, out of what came back."""

from __future__ import annotations

import argparse
import csv
import io
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator

from smtpx import bounces, verp
from smtpx.bounces import DeliveryReport, Report
from smtpx.cli import _shapes
from smtpx.cli._console import SCHEMA, Console, cell, counted, printable, written
from smtpx.cli._drawing import table
from smtpx.cli._exits import Exit
from smtpx.cli._mail_files import messages_in
from smtpx.cli._running import Parser

__all__ = ["parser", "run"]

_EPILOG = """\
examples:
  smtpx bounces bounce.eml
  smtpx bounces --csv ~/Maildir/.Bounces > bounces.csv
  smtpx bounces --jsonl spool.mbox | jq .recipients
  smtpx bounces --group-by domain ~/Maildir/.Bounces

Exit codes: 0 reports were found, 1 none was.
"""
_HEADINGS = ("message", "recipient", "action", "reason", "status", "diagnostic")
_NOT_TOLD = "none"
_COLUMNS = ("recipient", "action", "reason", "status")


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
    parser.add_argument(
        "--group-by", choices=list(_GROUPS), help="how many recipients there are of each"
    )
    return parser


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Read them all."""
    tally = Counter[str]()
    found = _found(arguments, console, tally)
    if arguments.group_by is None:
        fields = _listed(found, arguments, console)
    else:
        fields = _grouped(found, arguments, console)
    reports, others = tally["reports"], tally["others"]
    console.result(f"{counted(reports, 'report')}, {counted(others, 'other message')}")
    code = Exit.DONE if reports else Exit.FOUND
    if code is Exit.FOUND:
        console.problem(f"no report among {counted(others, 'message')}")
    console.document("bounces", code, {**fields, "others": others})
    return code


def _found(
    arguments: argparse.Namespace, console: Console, tally: Counter[str]
) -> Iterator[tuple[str, Report]]:
    """Each report with where it is; how many there were, and how many others, is in `tally`."""
    for name in arguments.names:
        for where, octets in messages_in(name, console):
            report = bounces.parse(octets, verp=verp.decode if arguments.verp else None)
            tally["others" if report is None else "reports"] += 1
            if report is not None:
                yield where, report


def _listed(
    found: Iterable[tuple[str, Report]], arguments: argparse.Namespace, console: Console
) -> _shapes.JSON:
    """Tell each of them; return what the document has of them."""
    documents: list[_shapes.JSON] = []
    rows: list[tuple[str, ...]] = []
    if arguments.csv:
        _write_csv(_HEADINGS)
    for where, report in found:
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
    table(console, _HEADINGS, [tuple(map(printable, row)) for row in rows])
    return {"reports": documents}


def _grouped(
    found: Iterable[tuple[str, Report]], arguments: argparse.Namespace, console: Console
) -> _shapes.JSON:
    """Tell how many recipients have the same in a column; return it for the document."""
    column, value_of = _GROUPS[arguments.group_by]
    counts = Counter(value_of(row[column]) or _NOT_TOLD for each in found for row in _rows(*each))
    rows = [(value, str(count)) for value, count in counts.most_common()]
    if arguments.csv:
        for row in [(arguments.group_by, "count"), *rows]:
            _write_csv(row)
    if arguments.jsonl:
        for value, count in counts.most_common():
            console.line({"schema": SCHEMA, arguments.group_by: value, "count": count})
    table(console, (arguments.group_by, "count"), [(printable(value), n) for value, n in rows])
    return {"group_by": arguments.group_by, "groups": dict(counts.most_common())}


def _domain(address: str) -> str:
    return address.rpartition("@")[2].lower()


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


_GROUPS: dict[str, tuple[int, Callable[[str], str]]] = {
    **{name: (_HEADINGS.index(name), str) for name in _COLUMNS},
    "domain": (_HEADINGS.index("recipient"), _domain),
}


def _write_csv(row: tuple[str, ...]) -> None:
    text = io.StringIO()
    csv.writer(text).writerow([cell(each) for each in row])
    written(sys.stdout, text.getvalue())
