"""``smtpx outbox``: what waits, what became of it, and what is to be done about it."""

from __future__ import annotations

import argparse
import os
from collections import Counter
from collections.abc import Callable, Generator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote

import smtpx
from smtpx.cli import _shapes
from smtpx.cli._accounts import account_of, add_password_options
from smtpx.cli._console import Console, printable
from smtpx.cli._deliveries import add_deliver, delivering
from smtpx.cli._drawing import table
from smtpx.cli._exits import Exit, Stop
from smtpx.cli._ledgers import client_of, deliveries, ledger
from smtpx.cli._rates import rate_of
from smtpx.cli._running import Parser, count_of
from smtpx.cli._stopping import stopping
from smtpx.outbox import Delivery, Limit, NotInOutbox, Outbox, OutboxOptions, State

if TYPE_CHECKING:
    from smtpx.delivery import Delivery as MailExchangers

__all__ = ["parser", "run"]

_EPILOG = """\
what:
  status               how many recipients are in each state; of those that wait, the doubted
  list [STATE]         each of them: waiting, accepted, refused, "in doubt" ...
  show ID              all about one message
  run [URL|@ACCOUNT]   send what is due, until Ctrl-C; with --until-empty, until nothing is
  run --deliver        the same to the mail exchangers of each recipient
  retry ID...          try again what was refused or has expired
  resolve ID RECIPIENT accepted|resend     settle a doubt
  cancel ID...         what nobody can have accepted yet
  reconcile            take from dead workers what they had

Exit codes: 0 done; 1 too late to cancel, or in doubt and left to resolve; 2 for
an ID that is unknown, though others were dealt with; of "run --until-empty"
those of "smtpx send", such as 4 for a doubt.
"""


def parser() -> Parser:
    """What it takes."""
    parser = Parser("outbox", "See, and settle, what an outbox holds.", _EPILOG)
    parser.add_argument("what", choices=list(_WHAT), metavar="WHAT")
    parser.add_argument("words", nargs="*", metavar="...")
    parser.add_argument(
        "--db", metavar="URL", help="sqlite:///mail.db or postgresql://…; else SMTPX_OUTBOX"
    )
    parser.add_argument("--limit", type=count_of, default=1000, metavar="N", help="of the list")
    parser.add_argument("--until-empty", action="store_true", help="run: end when nothing is due")
    parser.add_argument("--connections", type=count_of, default=4, metavar="N")
    parser.add_argument(
        "--rate",
        type=_named_rate,
        action="append",
        default=[],
        metavar="[DOMAIN=]N/UNIT",
        help="run: no faster than 600/min to each next hop, or to DOMAIN; may be repeated",
    )
    parser.add_argument(
        "--bounces", metavar="ADDRESS", help="run: report failures to the senders, as from ADDRESS"
    )
    add_deliver(parser)
    add_password_options(parser)
    return parser


def run(arguments: argparse.Namespace, console: Console) -> int:
    """Do what is asked."""
    url, options = arguments.db, OutboxOptions()
    if url is None and arguments.outbox is not None:
        url, options = arguments.outbox
    options = options | _of_the_worker(arguments)
    is_given = url is not None
    url = os.environ.get("SMTPX_OUTBOX") if url is None else url
    if not url:
        raise Stop("which outbox? Give --db sqlite:///mail.db, or set SMTPX_OUTBOX")
    _check_there(url)
    with _opened(url, options, "--db" if is_given else "SMTPX_OUTBOX") as outbox:
        return _WHAT[arguments.what](outbox, arguments, console)


def _named_rate(text: str) -> tuple[str, Limit]:
    """Read ``600/min``, of each next hop, or ``example.org=50/5m``, of one domain."""
    name, _, rate = text.rpartition("=")
    return name.strip() or "*", Limit(rate=rate_of(rate))


def _of_the_worker(arguments: argparse.Namespace) -> OutboxOptions:
    """Those options of an outbox that its worker is asked to keep."""
    options = OutboxOptions()
    for flag in ("rate", "bounces"):
        if getattr(arguments, flag) and arguments.what != "run":
            raise Stop(f"--{flag} goes with smtpx outbox run")
    if arguments.rate:
        options["limits"] = dict(arguments.rate)
    if arguments.bounces is not None:
        options["bounces"] = str(smtpx.Address.parse(arguments.bounces))
    return options


@contextmanager
def _opened(url: str, options: OutboxOptions, whence: str) -> Generator[Outbox]:
    """The outbox of a URL; what is wrong with that is told of where it comes from."""
    with ExitStack() as stack:
        try:
            outbox = stack.enter_context(ledger(url, **options))
        except ValueError as error:
            what, _, said = str(error).partition(": ")
            given = "--rate" if what == "limits" else whence
            code = Exit.USAGE if given.startswith("--") else Exit.CONFIGURATION
            raise Stop(f"{given}: {said if what in ('limits', 'url') else error}", code) from None
        yield outbox


def _check_there(url: str) -> None:
    """Whoever asks about a file that is not there, or would send from it, has mistyped its name."""
    kind, _, path = url.partition(":///")
    # What else is wrong is told by who opens it.
    if kind.lower() != "sqlite" or path == ":memory:" or {"?", "#"} & set(path):
        return
    try:
        _ = Path(unquote(path)).stat()
    except FileNotFoundError:
        problem = (
            f"{printable(path)} does not exist: look at its name; "
            "the program that puts mail in makes it, by smtpx.Outbox(url)"
        )
        raise Stop(problem, Exit.CONFIGURATION) from None
    except (OSError, ValueError):
        pass


def _status(outbox: Outbox, arguments: argparse.Namespace, console: Console) -> Exit:
    _ = _words(arguments, 0)
    found = outbox.counts()
    counts = {state.value: count for state, count in found.items()}
    rows = [(state, str(n)) for state, n in counts.items()]
    table(console, ("state", "recipients"), [*rows, ("doubted", str(found.doubted))])
    return _done(console, counts=counts, doubted=found.doubted)


def _list(outbox: Outbox, arguments: argparse.Namespace, console: Console) -> Exit:
    state: State | None = None
    if arguments.words:
        name = " ".join(arguments.words)
        known = {each.value: each for each in State}
        if name not in known:
            raise Stop(f"{printable(name)!r} is no state: there are {', '.join(known)}")
        state = known[name]
    found: list[Delivery] = []
    for delivery in outbox.find(state=state):
        if len(found) == arguments.limit:
            console.story(f"there are more: these are the first {arguments.limit}")
            break
        found.append(delivery)
    return _told(found, console)


def _show(outbox: Outbox, arguments: argparse.Namespace, console: Console) -> Exit:
    (number,) = _words(arguments, 1)
    submission = outbox.status(number)
    console.result(f"{submission.id}  from <{printable(submission.sender)}>, {submission.created}")
    return _told(submission.deliveries, console)


def _run(outbox: Outbox, arguments: argparse.Namespace, console: Console) -> Exit:
    target = arguments.words[0] if arguments.words else None
    connections: int = arguments.connections
    via: smtpx.Client | MailExchangers
    if arguments.deliver:
        via = delivering(arguments, target)
    else:
        account = account_of(target, arguments, console)
        if account.pool is not None:
            connections = min(connections, account.pool.open)
        via = client_of(account, connections)
    before = outbox.counts()
    with via as sending, stopping(outbox) as stop:
        outbox.run(sending, connections=connections, until_empty=arguments.until_empty)
    if not arguments.until_empty:
        return _done(console)
    done = _done_since(before, outbox.counts())
    if stop.is_asked() and done[State.WAITING]:
        console.problem("interrupted: smtpx outbox status tells what is left")
        console.document("outbox", Exit.INTERRUPTED, {"error": _shapes.INTERRUPTED})
        return Exit.INTERRUPTED
    code = deliveries(done)
    if code is not Exit.DONE:
        console.problem("not every recipient has accepted: smtpx outbox status tells")
    console.document("outbox", code, {})
    return code


def _done_since(before: Mapping[State, int], after: Mapping[State, int]) -> dict[State, int]:
    """For how many recipients it has ended in each state meanwhile; and how many still wait.

    What has ended before is no news, and what is on its way is another worker's.
    """
    done = {state: max(after[state] - before[state], 0) for state in State}
    return {**done, State.WAITING: after[State.WAITING], State.SENDING: 0}


def _each(
    act: Callable[[Outbox, str], int], past: str, missed: Mapping[State, str]
) -> Callable[..., Exit]:
    """What is done to messages by their ids; `missed` has the states in which it comes to nothing
    that somebody may count on, each with what to do.
    """

    def do(outbox: Outbox, arguments: argparse.Namespace, console: Console) -> Exit:
        if not arguments.words:
            raise Stop(f"which message? smtpx outbox {arguments.what} ID...")
        code, unknown = Exit.DONE, list[str]()
        changed: dict[str, int] = {}
        for number in arguments.words:
            try:
                changed[number] = act(outbox, number)
            except NotInOutbox as error:
                unknown.append(number)
                console.problem(str(error))
                continue
            console.result(f"{printable(number)}: {changed[number]} {past}")
        for number in [number for number, count in changed.items() if not count]:
            states = Counter(each.state for each in outbox.status(number).deliveries)
            for state in missed.keys() & states.keys():
                code = Exit.FOUND
                what = f"{states[state]} {state.value}: {missed[state]}"
                console.problem(f"{printable(number)}: nothing was done: {what}")
        code = Exit.USAGE if unknown else code
        console.document("outbox", code, {"changed": changed, "unknown": unknown})
        return code

    return do


def _cancelled(outbox: Outbox, number: str) -> int:
    """Cancel a message; return for how many. Who may have it already is in doubt from then on."""
    before = _count_of(State.CANCELLED, outbox, number)
    _ = outbox.cancel(number)
    return _count_of(State.CANCELLED, outbox, number) - before


def _count_of(state: State, outbox: Outbox, number: str) -> int:
    return sum(each.state is state for each in outbox.status(number).deliveries)


def _resolve(outbox: Outbox, arguments: argparse.Namespace, console: Console) -> Exit:
    number, recipient, verdict = _words(arguments, 3)
    if verdict == "accepted":
        outbox.resolve(number, recipient, "accepted")
    elif verdict == "resend":
        outbox.resolve(number, recipient, "resend")
    else:
        raise Stop(f"{printable(verdict)!r}: say accepted, or resend")
    return _done(console)


def _reconcile(outbox: Outbox, arguments: argparse.Namespace, console: Console) -> Exit:
    _ = _words(arguments, 0)
    batches = outbox.reconcile()
    console.result(f"{len(batches)} batches are due, and taken by nobody")
    return _done(console, batches=batches)


_WHAT: dict[str, Callable[[Outbox, argparse.Namespace, Console], Exit]] = {
    "status": _status,
    "list": _list,
    "show": _show,
    "run": _run,
    "retry": _each(
        lambda outbox, number: outbox.retry(number),
        "are tried again",
        {State.IN_DOUBT: "smtpx outbox resolve ID RECIPIENT resend sends it again"},
    ),
    "resolve": _resolve,
    "cancel": _each(
        _cancelled,
        "cancelled",
        {
            State.ACCEPTED: "it was sent",
            State.SENDING: "it is on its way",
            State.IN_DOUBT: "it may have been sent",
        },
    ),
    "reconcile": _reconcile,
}


def _words(arguments: argparse.Namespace, count: int) -> list[str]:
    words: list[str] = arguments.words
    if len(words) != count:
        raise Stop(f"smtpx outbox {arguments.what} takes {count} words: see smtpx outbox --help")
    return words


def _told(found: list[Delivery] | tuple[Delivery, ...], console: Console) -> Exit:
    rows = [
        (
            each.submission,
            printable(each.recipient),
            _state(each),
            printable(str(each.reply) if each.reply is not None else each.reason),
        )
        for each in found
    ]
    table(console, ("message", "recipient", "state", "reply"), rows)
    return _done(console, deliveries=[_shapes.delivery(each) for each in found])


def _state(delivery: Delivery) -> str:
    """In a word, and that it may have been accepted, where the word does not say so."""
    is_hidden = delivery.doubted and delivery.state is not State.IN_DOUBT
    return f"{delivery.state.value}, doubted" if is_hidden else delivery.state.value


def _done(console: Console, **fields: object) -> Exit:
    console.document("outbox", Exit.DONE, fields)
    return Exit.DONE
