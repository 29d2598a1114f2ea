"""`make bench`: smtpx beside the standard library's smtplib and aiosmtplib.

Times differ from machine to machine and from hour to hour, ratios less so: the contenders take
turns for a few short rounds, and each figure is the median of its rounds. What arrived is checked
by digest in the same run; a client that lost, doubled or damaged anything ends it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterable
from pathlib import Path

from bench import (
    against,
    bounces,
    cold,
    deciding,
    dkim,
    imports,
    instructions,
    merge,
    outbox,
    throughput,
)
from bench.contest import hold
from bench.contests import contests
from bench.processes import share_one_core
from bench.table import Table

RESULTS = Path(__file__).parent / "results"
LEGEND = """
time, CPU, sink CPU: for a message; the client's wall time and CPU, and the CPU of the sink.
speed, CPU: so many times better than smtplib, the first of each group; what is promised is in
brackets. peak, grown: the client's resident memory at most, and what of it the messages took.
of limit: the share of its time that is left where a page of Python does the same exchange, with the
same checks and nothing else (bench/limit.py).
The sink is Python too: where its CPU comes near the time, it bounds the speed, and the client's
CPU tells more."""


def show(lines: Iterable[str]) -> None:
    for line in lines:
        print(line, flush=True)


def everything(options: argparse.Namespace) -> None:
    table = Table()
    print(
        "The client and the sink share one core."
        if share_one_core()
        else "This system cannot keep two processes on one core: expect less even figures."
    )
    for contest in contests(options.file):
        if options.only.lower() not in contest.title.lower():
            continue
        results = hold(contest)
        show(table.contest(contest, results))
        show(table.dearer(contest, results))
    if not options.only:
        show(table.round_trips(cold.measure()))
        show(table.imports(imports.measure()))
        show(dkim.lines(dkim.measure()))
    print(LEGEND)
    if table.missed:
        print("\nPromised, and not measured this time:")
        show(f"  {line}" for line in table.missed)


def plotted(options: argparse.Namespace) -> None:
    _ = share_one_core()
    peers = dict(peer.split("=", 1) for peer in options.peer)
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / "throughput.json"
    _ = path.write_text(json.dumps(throughput.measure(peers), indent=1) + "\n")
    print(path)


def compared(tree: Path, rounds: int) -> None:
    _ = share_one_core()
    show(against.lines(tree.resolve(), rounds))


def merged(options: argparse.Namespace) -> None:
    show(merge.lines())


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench")
    _ = parser.add_argument("--only", default="", help="the groups whose title has these words")
    _ = parser.add_argument("--file", default="100m", help="the large file's size: 100m, 500m, …")
    parser.set_defaults(run=everything)
    commands = parser.add_subparsers()
    over = commands.add_parser("throughput", help="messages a second over the round-trip time")
    _ = over.add_argument(
        "--peer",
        action="append",
        default=[],
        metavar="NAME=COMMAND",
        help="measure another program too, which is called as bench/client.py without MODE",
    )
    over.set_defaults(run=plotted)
    merging = commands.add_parser("merge", help="personal mail: serialising, rendering, a million")
    merging.set_defaults(run=merged)
    keeping = commands.add_parser("outbox", help="mail kept and sent, beside what people have")
    _ = keeping.add_argument("--recipients", type=int, default=1_000_000, help="of one template")
    _ = keeping.add_argument(
        "--postgres", action="store_true", help="a ledger there that several processes share"
    )
    keeping.set_defaults(
        run=lambda options: show(
            outbox.several_processes() if options.postgres else outbox.lines(options.recipients)
        )
    )
    signing = commands.add_parser("dkim", help="what a DKIM signature costs")
    signing.set_defaults(run=lambda _: show(dkim.lines(dkim.measure())))
    deciding_ = commands.add_parser("deciding", help="a delivery's decision where all is known")
    deciding_.set_defaults(run=lambda _: show(deciding.lines()))
    counting = commands.add_parser("instructions", help="what a message takes, beside the limit")
    counting.set_defaults(run=lambda _: show(instructions.lines()))
    reading = commands.add_parser("bounces", help="recipients and reasons that are read right")
    _ = reading.add_argument(
        "folder", type=Path, help="mails, and expected.tsv: see bench/bounces.py"
    )
    reading.set_defaults(run=lambda options: show(bounces.lines(options.folder)))
    comparing = commands.add_parser("against", help="this smtpx beside that of another checkout")
    _ = comparing.add_argument("tree", type=Path)
    _ = comparing.add_argument("--rounds", type=int, default=9)
    comparing.set_defaults(run=lambda options: compared(options.tree, options.rounds))
    options = parser.parse_args()
    options.run(options)


if __name__ == "__main__":
    main()
