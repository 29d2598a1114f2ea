"""``smtpx send --merge``: a letter to each row of a table, by way of an outbox.

The outbox's ledger makes it safe to kill: resumed, nobody is mailed twice, and who is in doubt is
listed.
"""

from __future__ import annotations

import argparse
import csv
import json
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from itertools import islice
from pathlib import Path
from typing import Any, cast

import smtpx
from smtpx.cli._accounts import Account
from smtpx.cli._console import Console, has_colour, printable
from smtpx.cli._exits import Exit, Stop
from smtpx.cli._ledgers import client_of, deliveries, ledger
from smtpx.cli._letters import read_octets
from smtpx.outbox import Limit, Outbox, State

__all__ = ["merge", "preview", "template_of"]

_CAMPAIGN = "smtpx send --merge"
_EVERY = 10.0
_FRAME = 0.5
_LEASE = 5.0
_NOT_SENT = (State.REFUSED, State.IN_DOUBT, State.EXPIRED, State.CANCELLED, State.WAITING)


# What is to be sent.


def template_of(file: str | None, message: EmailMessage | None) -> smtpx.Template:
    """The letter with its fields: of a file, or made of flags."""
    if message is None:
        if file is None:
            raise Stop("which letter? smtpx send --merge ROWS.csv letter.eml")
        message = BytesParser(policy=policy.default).parsebytes(read_octets(file))
    try:
        return smtpx.Template(message)
    except smtpx.SMTPError as error:
        raise Stop(f"{file or 'the letter'}: {error}", Exit.CONTENT_REFUSED) from None


def rows_in(name: str) -> Iterator[dict[str, Any]]:
    """The rows of a CSV with a header, a JSON list, or JSON lines.

    Raises:
        Stop: it is none of these.
    """
    path = Path(name)
    with path.open(encoding="utf-8-sig", newline="") as file:
        try:
            match path.suffix.lower():
                case ".json":
                    yield from _objects(name, json.load(file))
                case ".jsonl" | ".ndjson":
                    yield from _objects(name, (json.loads(line) for line in file if line.strip()))
                case _:
                    yield from _lines(name, csv.DictReader(file, strict=True))
        except (json.JSONDecodeError, csv.Error, UnicodeDecodeError) as error:
            raise Stop(f"{name} cannot be read: {error}", Exit.CONTENT_REFUSED) from None


def _objects(name: str, found: Any) -> Iterator[dict[str, Any]]:
    if not hasattr(found, "__iter__") or isinstance(found, (dict, str)):
        raise Stop(f"{name}: write a list of objects", Exit.CONTENT_REFUSED)
    for number, row in enumerate(found, 1):
        if not isinstance(row, dict):
            raise Stop(f"{name}, row {number}: write an object", Exit.CONTENT_REFUSED)
        yield cast("dict[str, Any]", row)


def _lines(name: str, reader: csv.DictReader[str]) -> Iterator[dict[str, Any]]:
    names = reader.fieldnames or []
    if not names or any(not each.strip() for each in names):
        raise Stop(
            f"{name} has no header: name its columns in the first line", Exit.CONTENT_REFUSED
        )
    for number, row in enumerate(reader, 1):
        if None in row or None in row.values():
            raise Stop(
                f"{name}, row {number}: it has not as many columns as the header",
                Exit.CONTENT_REFUSED,
            )
        yield dict(row)


def _checked(name: str, template: smtpx.Template, most: int | None) -> int:
    """Render every row before anything is sent; return how many there are.

    Raises:
        Stop: one cannot be; its row and its column are named.
    """
    count = 0
    for count, row in enumerate(islice(rows_in(name), most), 1):
        missing = [field for field in template.fields if field not in row]
        if missing:
            raise Stop(
                f"{name}, row {count}: there is no column {missing[0]!r}, which the letter has; "
                f"there are {', '.join(map(str, row))}",
                Exit.CONTENT_REFUSED,
            )
        try:
            _ = template.render(row)
        except (smtpx.SMTPError, ValueError) as error:
            raise Stop(f"{name}, row {count}: {error}", Exit.CONTENT_REFUSED) from None
    if not count:
        raise Stop(f"{name} has no rows", Exit.CONTENT_REFUSED)
    return count


def preview(arguments: argparse.Namespace, console: Console, template: smtpx.Template) -> int:
    """Say what would be sent, or write it."""
    count = _checked(arguments.merge, template, arguments.limit)
    folder = None if arguments.out is None else Path(arguments.out)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        for number, row in enumerate(islice(rows_in(arguments.merge), arguments.limit), 1):
            content, _ = template.render(row)
            with (folder / f"{number:06}.eml").open("xb") as file:
                _ = file.write(content)
    console.result(f"{count} rows, each with {', '.join(template.fields) or 'no fields'}")
    console.document("send", 0, {"rows": count, "written": None if folder is None else str(folder)})
    return 0


# Sending.


def merge(
    arguments: argparse.Namespace,
    account: Account,
    template: smtpx.Template,
    options: dict[str, Any],
    console: Console,
) -> int:
    """Put every row into the outbox, send what is due, and tell what became of it."""
    count = _checked(arguments.merge, template, arguments.limit)
    path = _ledger_path(arguments)
    how: dict[str, Any] = {"lease": _LEASE}
    if arguments.rate is not None:
        how["limits"] = {"*": Limit(rate=arguments.rate)}
    with ledger(f"sqlite:///{path.absolute().as_posix()}", **how) as outbox:
        rows = islice(rows_in(arguments.merge), arguments.limit)
        try:
            _ = outbox.put_merge(template, rows, campaign=_CAMPAIGN, on_doubt="hold")
        except smtpx.SMTPError as error:
            if type(error).__name__ != "IdempotencyConflict":
                raise
            raise Stop(f"{path} is of other rows, or of another letter: {error}") from None
        with (
            client_of(account, arguments.connections, **options) as client,
            _Progress(outbox, count, console),
        ):
            outbox.run(client, connections=arguments.connections, until_empty=True)
            while _held_by_the_dead(outbox):
                # A run that was killed holds its rows until it has shown no sign of life so long.
                time.sleep(_LEASE)
                _ = outbox.reconcile()
                outbox.run(client, connections=arguments.connections, until_empty=True)
        return _tell(arguments, outbox, count, path, console)


def _held_by_the_dead(outbox: Outbox) -> bool:
    if outbox.counts(_CAMPAIGN).get(State.SENDING, 0):
        return True
    now = datetime.now(UTC)
    waiting = outbox.find(state=State.WAITING)
    return any(each.due is not None and each.due <= now for each in waiting)


def _ledger_path(arguments: argparse.Namespace) -> Path:
    if arguments.resume is not None:
        path = Path(arguments.resume)
        if not path.exists():
            raise Stop(f"{path} does not exist: leave out --resume to begin anew")
        return path
    path = Path(arguments.merge).with_suffix(".ledger")
    if path.exists():
        raise Stop(f"{path} is there already: go on with --resume {path}, or remove it")
    return path


def _tell(
    arguments: argparse.Namespace, outbox: Outbox, count: int, path: Path, console: Console
) -> Exit:
    counts = outbox.counts(_CAMPAIGN)
    code = deliveries(counts)
    told = {state.value: number for state, number in counts.items() if number}
    console.result(
        f"{count} rows: " + ", ".join(f"{number} {state}" for state, number in told.items())
    )
    failures = _write_failures(outbox, path.with_suffix(".failures.csv"))
    for recipient in islice(_in_doubt(outbox), 20):
        console.story(f"in doubt: {printable(recipient)}", "yellow")
    if code is not Exit.DONE:
        again = f"; later: --resume {path}" if told.get("waiting") else ""
        console.problem(f"not everybody has accepted it: see {failures}{again}")
    fields = {"rows": count, "counts": told, "ledger": str(path), "failures": failures}
    console.document("send", code, fields)
    return code


def _in_doubt(outbox: Outbox) -> Iterator[str]:
    return (delivery.recipient for delivery in outbox.find(state=State.IN_DOUBT))


def _write_failures(outbox: Outbox, path: Path) -> str | None:
    """A CSV of those who have not accepted it; None, if there are none."""
    file, writer = None, None
    try:
        for state in _NOT_SENT:
            for delivery in outbox.find(state=state):
                if writer is None:
                    file = path.open("w", encoding="utf-8", newline="")
                    writer = csv.writer(file)
                    writer.writerow(("recipient", "state", "reply"))
                why = delivery.reason if delivery.reply is None else str(delivery.reply)
                writer.writerow((delivery.recipient, delivery.state.value, why))
    finally:
        if file is not None:
            file.close()
    return None if writer is None else str(path)


class _Progress:
    """How far it has come: a line on a terminal, else a line every ten seconds."""

    def __init__(self, outbox: Outbox, count: int, console: Console) -> None:
        self._outbox = outbox
        self._count = count
        self._console = console
        self._over = threading.Event()
        self._is_terminal = has_colour(sys.stderr)
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._begun = time.monotonic()

    def __enter__(self) -> None:
        if not self._console.quiet:
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if self._thread.is_alive():
            self._thread.join()
        if self._is_terminal and not self._console.quiet:
            sys.stderr.write("\r\x1b[K")

    def _watch(self) -> None:
        before = self._done()
        while not self._over.wait(_FRAME if self._is_terminal else _EVERY):
            done, seconds = self._done(), time.monotonic() - self._begun
            pace = (done - before) / seconds
            left = f", {(self._count - done) / pace:.0f} s left" if pace > 0 else ""
            text = f"{done:,} of {self._count:,}, {pace * 60:,.0f} a minute{left}"
            if self._is_terminal:
                width = shutil.get_terminal_size().columns - 1
                sys.stderr.write(f"\r\x1b[K{text[:width]}")
                sys.stderr.flush()
            else:
                self._console.story(text)

    def _done(self) -> int:
        counts = self._outbox.counts(_CAMPAIGN)
        return self._count - counts.get(State.WAITING, 0) - counts.get(State.SENDING, 0)
