"""``smtpx send --merge``: a letter to each row of a table, by way of an outbox.

The outbox's ledger makes it safe to kill: resumed, nobody is mailed twice, and who is in doubt is
listed.
"""

from __future__ import annotations

import argparse
import csv
import json
import re
import shlex
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager
from datetime import UTC, datetime
from email import policy
from email.message import EmailMessage
from email.parser import BytesParser
from itertools import islice, takewhile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import smtpx
from smtpx._headers import with_plain_names
from smtpx.cli import _shapes
from smtpx.cli._console import SCHEMA, Console, cell, counted, printable
from smtpx.cli._exits import Exit, Stop
from smtpx.cli._ledgers import deliveries, ledger
from smtpx.cli._letters import make_folder, read_octets
from smtpx.cli._progress import Progress
from smtpx.cli._row_problems import RowProblems
from smtpx.cli._rows import Named, Row, rows_in
from smtpx.cli._stopping import Stopping, stopping
from smtpx.cli._trusted import private
from smtpx.outbox import Limit, Outbox, State

if TYPE_CHECKING:
    from smtpx.delivery import Delivery

__all__ = ["merge", "preview", "template_of"]

_CAMPAIGN = "smtpx send --merge"
_LEASE = 5.0
_WITH_PASSWORD = re.compile(r"([\w+-]+://[^\s:@/]*):\S*@(\S*)")
_NOT_SENT = (State.REFUSED, State.IN_DOUBT, State.EXPIRED, State.CANCELLED, State.WAITING)


# What is to be sent.


def template_of(
    file: str | None, message: EmailMessage | None, sender: str | None
) -> smtpx.Template:
    """The letter with its fields: of a file, or made of flags; `sender` is its reverse-path."""
    if message is None:
        if file is None:
            raise Stop("which letter? smtpx send --merge ROWS.csv letter.eml")
        message = BytesParser(policy=policy.default).parsebytes(with_plain_names(read_octets(file)))
    try:
        return smtpx.Template(message, sender="" if sender == "<>" else sender)
    except smtpx.SMTPError as error:
        raise Stop(f"{file or 'the letter'}: {error}", Exit.CONTENT_REFUSED) from None


def _rows(arguments: argparse.Namespace) -> Iterator[Named]:
    return islice(rows_in(arguments.merge, arguments.group_by), arguments.limit)


def _checked(arguments: argparse.Namespace, template: smtpx.Template, console: Console) -> int:
    """Render every row before anything is sent; return how many there are.

    Raises:
        Stop: some cannot be, and are named; or all of them are for one reader.
    """
    problems = RowProblems()
    readers: Counter[str] = Counter()
    try:
        for where, row, problem in _rows(arguments):
            try:
                readers[_reader(template, row, problem).casefold()] += 1
            except (smtpx.SMTPError, ValueError) as error:
                problems.add(where, str(error))
    except Stop as stop:
        problems.stop(stop)
    problems.tell(console)
    count = readers.total()
    if not count:
        raise Stop(f"{arguments.merge} has no rows", Exit.CONTENT_REFUSED)
    _check_readers(readers, template, console)
    return count


def _reader(template: smtpx.Template, row: Row, problem: str) -> str:
    """Who gets the copy of a row.

    Raises:
        ValueError, smtpx.SMTPError: there can be none of it.
    """
    if problem:
        raise ValueError(problem)
    missing = [field for field in template.fields if field not in row]
    if missing:
        named = " and no column ".join(map(repr, missing))
        raise ValueError(
            f"there is no column {named}, which the letter has; "
            f"there are {', '.join(map(str, row))}"
        )
    odd = [field for field in template.fields if isinstance(row[field], (bool, dict, list))]
    if odd:
        raise ValueError(
            f"field {odd[0]!r} is {json.dumps(row[odd[0]])[:60]}: give text, or a number"
        )
    _, envelope = template.render(row)
    return str(envelope.recipients[0].address)


def _check_readers(readers: Counter[str], template: smtpx.Template, console: Console) -> None:
    """One forgotten field would mail a whole table to one reader."""
    count = readers.total()
    reader, most = readers.most_common(1)[0]
    if most == 1:
        return
    to = str(BytesParser(policy=policy.default).parsebytes(template.source, True)["To"])
    if "{{" not in to.rpartition("<")[2]:
        raise Stop(
            f"all {count} rows would go to {printable(reader)}: the letter's To has no field for "
            "the address, such as {{address}}"
        )
    twice = sum(number for number in readers.values() if number > 1)
    console.warning(
        f"{twice} rows have an address that another row has too, such as {printable(reader)}: "
        "each row is a letter of its own; --group-by makes one of them"
    )


def preview(arguments: argparse.Namespace, console: Console, template: smtpx.Template) -> int:
    """Say what would be sent, or write it."""
    count = _checked(arguments, template, console)
    folder = None if arguments.out is None else Path(arguments.out)
    if folder is not None:
        make_folder(folder)
        for number, each in enumerate(_rows(arguments), 1):
            content, _ = template.render(each.row)
            with open(folder / f"{number:06}.eml", "xb", opener=private) as file:
                _ = file.write(content)
    console.result(
        f"{counted(count, 'row')}, each with {', '.join(template.fields) or 'no fields'}"
    )
    console.document("send", 0, {"rows": count, "written": None if folder is None else str(folder)})
    return 0


# Sending.


def merge(
    arguments: argparse.Namespace,
    via: AbstractContextManager[smtpx.Client | Delivery],
    template: smtpx.Template,
    console: Console,
) -> int:
    """Put every row into the outbox, send what is due, and tell what became of it.

    `via` is what sends, not yet entered.
    """
    count = _checked(arguments, template, console)
    path = _ledger_path(arguments)
    how: dict[str, Any] = {"lease": _LEASE}
    if arguments.rate is not None:
        how["limits"] = {"*": Limit(rate=arguments.rate)}
    path.touch(mode=0o600)
    url = f"sqlite:///{path.absolute().as_posix()}"
    with ledger(url, **how) as outbox, stopping(outbox) as stop:
        rows = (each.row for each in takewhile(lambda _: not stop.is_asked(), _rows(arguments)))
        is_interrupted = False
        try:
            _put(outbox, template, rows, path)
            with via as sending, Progress(outbox, _CAMPAIGN, count, console):
                _send(outbox, sending, arguments.connections, stop)
        except KeyboardInterrupt:
            is_interrupted = True
        except smtpx.SMTPError:
            console.problem(f"it goes on with: {_again(arguments, path)}")
            raise
        counts = outbox.counts(_CAMPAIGN)
        is_left = _is_left(counts, count)
        code = deliveries(counts)
        if is_interrupted or (stop.is_asked() and is_left):
            code = Exit.INTERRUPTED
        return _tell(arguments, outbox, count, path, console, code, is_left=is_left)


def _put(outbox: Outbox, template: smtpx.Template, rows: Iterator[Row], path: Path) -> None:
    try:
        _ = outbox.put_merge(template, rows, campaign=_CAMPAIGN, on_doubt="hold")
    except smtpx.SMTPError as error:
        if type(error).__name__ != "IdempotencyConflict":
            raise
        raise Stop(
            f"{path} was begun with other rows, or with another letter: give both as they "
            "were; for a new letter leave out --resume, and give its rows in a file of "
            "another name"
        ) from None


def _is_left(counts: Mapping[State, int], count: int) -> bool:
    """True if some rows wait, are on their way, or were not even put in."""
    undone = counts[State.WAITING] + counts[State.SENDING]
    return bool(undone) or sum(counts.values()) < count


def _send(outbox: Outbox, via: smtpx.Client | Delivery, connections: int, stop: Stopping) -> None:
    while not stop.is_asked():
        outbox.run(via, connections=connections, until_empty=True)
        if stop.is_asked() or not _held_by_the_dead(outbox):
            break
        # A run that was killed holds its rows until it has shown no sign of life so long.
        stop.sleep(_LEASE)
        _ = outbox.reconcile()


def _held_by_the_dead(outbox: Outbox) -> bool:
    if outbox.counts(_CAMPAIGN).get(State.SENDING, 0):
        return True
    now = datetime.now(UTC)
    waiting = outbox.find(state=State.WAITING)
    # What has a reason was tried: its destination is left alone for a while.
    return any(each.due is not None and each.due <= now and not each.reason for each in waiting)


def _ledger_path(arguments: argparse.Namespace) -> Path:
    if arguments.resume is not None:
        path = Path(arguments.resume)
        if not path.is_file():
            raise Stop(f"{path} is no file: leave out --resume to begin anew")
        return path
    path = Path(arguments.merge).with_suffix(".ledger")
    if path.exists():
        raise Stop(f"{path} is there already: remove it, or go on with: {_again(arguments, path)}")
    return path


def _again(arguments: argparse.Namespace, path: Path) -> str:
    """The command that goes on with a ledger, without a password."""
    resume = ["--resume", str(path)] if arguments.resume is None else []
    return shlex.join(["smtpx", "send", *resume, *map(_shown, arguments.said)])


def _shown(word: str) -> str:
    secret = _WITH_PASSWORD.fullmatch(word)
    return word if secret is None else f"{secret[1]}:PASSWORD@{secret[2]}"


def _tell(
    arguments: argparse.Namespace,
    outbox: Outbox,
    count: int,
    path: Path,
    console: Console,
    code: Exit,
    *,
    is_left: bool,
) -> Exit:
    counts = outbox.counts(_CAMPAIGN)
    told = {state.value: number for state, number in counts.items() if number}
    states = ", ".join(f"{number} {state}" for state, number in told.items())
    if counts.doubted:
        states += f", {counts.doubted} of them doubted"
    console.result(f"{counted(count, 'row')}: {states}")
    failures = _failures(outbox, path.with_suffix(".failures.csv"), console)
    for recipient in islice(_in_doubt(outbox), 20):
        console.story(f"in doubt: {printable(recipient)}", "yellow")
    is_interrupted = code is Exit.INTERRUPTED
    if code is not Exit.DONE:
        why = "interrupted: " if is_interrupted else ""
        again = f"; later it goes on with: {_again(arguments, path)}" if is_left else ""
        seen = f": see {failures}" if failures else ""
        console.problem(f"{why}not everybody has accepted it{seen}{again}")
    if arguments.jsonl:
        for delivery in outbox.find():
            console.line({"schema": SCHEMA, **_shapes.delivery(delivery)})
    fields: _shapes.JSON = {
        "rows": count,
        "counts": told,
        "doubted": counts.doubted,
        "ledger": str(path),
        "failures": failures,
        "error": _shapes.INTERRUPTED if is_interrupted else None,
    }
    console.document("send", code, fields)
    return code


def _in_doubt(outbox: Outbox) -> Iterator[str]:
    return (delivery.recipient for delivery in outbox.find(state=State.IN_DOUBT))


def _failures(outbox: Outbox, path: Path, console: Console) -> str | None:
    try:
        return _write_failures(outbox, path)
    except OSError as error:
        console.problem(f"{path} cannot be written: {error.strerror}")
        return None


def _write_failures(outbox: Outbox, path: Path) -> str | None:
    """A CSV of those who have not accepted it; None, if there are none."""
    file, writer = None, None
    try:
        for state in _NOT_SENT:
            for delivery in outbox.find(state=state):
                if writer is None:
                    file = open(path, "w", encoding="utf-8", newline="", opener=private)  # noqa: SIM115
                    writer = csv.writer(file)
                    writer.writerow(("recipient", "state", "reply"))
                why = delivery.reason if delivery.reply is None else str(delivery.reply)
                row = (delivery.recipient, delivery.state.value, why)
                writer.writerow([cell(each) for each in row])
    finally:
        if file is not None:
            file.close()
    return None if writer is None else str(path)
