"""Personal mail: what a message costs before it is sent, and a million of them at once.

`python -m bench merge` prints all of it. The client that sends them is a process of its own,
`python -m bench.merge PORT N CONNECTIONS`, which prints one line of JSON when all results are
there. `python -m bench against TREE` measures it beside that of another checkout.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import time
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence
from email import policy
from email.generator import BytesGenerator
from email.message import EmailMessage
from io import BytesIO
from pathlib import Path
from typing import Any, NamedTuple

import smtpx
from bench import processes, sink
from smtpx._message.serialising import serialise

CONNECTIONS = 10
RTT = 50  # milliseconds
WINDOW = 256
MEASURED = 100_000
PROMISED = 1_000_000
ROUNDS = 15
EACH = 40  # messages a round

LINE = "This is an ordinary line of a message, as there are many in each of them."
TEXT = (
    "Dear {{name}},\n\nyour order {{order}} is on its way to {{city}}.\n\n"
    + f"{LINE}\n" * 14
    + "\nNo more of these: https://shop.example.org/leave/{{token}}\n"
)
MARKUP = (
    "<p>Dear {{name}},</p>\n<p>your order <b>{{order}}</b> is on its way to {{city}}.</p>\n"
    + f"<p>{LINE}</p>\n" * 16
    + '<p><a href="https://shop.example.org/leave/{{token}}">No more of these</a></p>\n'
)
NAMES = ("Bob Miller", "Ann Example", "Sean O'Brien", "Zoe & Co")
NOT_ASCII = ("Jürgen Müller", "Zoë Brontë", "José Núñez", "Łukasz Żak")


def fill(text: str, row: dict[str, str]) -> str:
    for name, value in row.items():
        text = text.replace(f"{{{{{name}}}}}", value)
    return text


def rows(count: int, names: Sequence[str] = (*NAMES, *NOT_ASCII[:1])) -> Iterator[dict[str, str]]:
    """So many readers; one of five has a name that is not ASCII, unless the names are given."""
    for number in range(count):
        yield {
            "name": names[number % len(names)],
            "address": f"reader.{number}@example.net",
            "order": str(1_000_000 + number),
            "city": "Leeds",
            "token": f"{number * 2654435761 % 2**64:016x}",
        }


def letter(row: dict[str, str] | None = None, attachment: bytes = b"") -> EmailMessage:
    """The message of one reader, or of none: a template's."""
    said = (lambda text: fill(text, row)) if row else str
    message = EmailMessage()
    message["From"] = "Shop <shop@example.org>"
    message["To"] = said("{{name}} <{{address}}>")
    message["Subject"] = said("{{name}}, your order {{order}} is on its way")
    message["Date"] = "Thu, 26 Nov 2026 10:00:00 +0000"
    message["Message-ID"] = said("<{{token}}@shop.example.org>")
    message["List-Unsubscribe"] = said("<https://shop.example.org/leave/{{token}}>")
    message["List-Unsubscribe-Post"] = "List-Unsubscribe=One-Click"
    message.set_content(said(TEXT))
    message.add_alternative(said(MARKUP), subtype="html")
    if attachment:
        message.add_attachment(attachment, "application", "pdf", filename="invoice.pdf")
    return message


def generated(message: EmailMessage) -> bytes:
    buffer = BytesIO()
    BytesGenerator(buffer, mangle_from_=False, policy=policy.SMTP).flatten(message)
    return buffer.getvalue()


def cpu(work: Callable[[Any], object], things: Sequence[Any]) -> float:
    """Seconds of CPU for one of them."""
    started = time.process_time()
    for thing in things:
        _ = work(thing)
    return (time.process_time() - started) / len(things)


def composed(row: dict[str, str], attachment: bytes = b"") -> EmailMessage:
    """The same by `compose`."""
    return smtpx.compose(
        sender=("Shop", "shop@example.org"),
        to=(row["name"], row["address"]),
        subject=fill("{{name}}, your order {{order}} is on its way", row),
        text=fill(TEXT, row),
        html=fill(MARKUP, row),
        list_unsubscribe=fill("https://shop.example.org/leave/{{token}}", row),
        one_click=True,
        attachments=[smtpx.Attachment(attachment, "invoice.pdf")] if attachment else None,
    )


class Cost(NamedTuple):
    """CPU for one message, in microseconds."""

    build: float
    generate: float
    serialise: float
    """What `generate` does, of the same messages."""
    compose: float
    write: float
    """`serialise`, of what `compose` made."""


def messages(names: Sequence[str] = NAMES, attachment: bytes = b"") -> Cost:
    """What making a message and writing it takes; those who do it take turns."""
    rounds: list[tuple[float, ...]] = []
    for _ in range(ROUNDS):
        readers = list(rows(EACH, names))
        build = cpu(lambda row: letter(row, attachment), readers)
        compose = cpu(lambda row: composed(row, attachment), readers)
        # Each gets messages of its own: the generator leaves boundaries in them.
        theirs, ours = ([letter(row, attachment) for row in readers] for _ in range(2))
        made = [composed(row, attachment) for row in readers]
        generate, serialised = cpu(generated, theirs), cpu(serialise, ours)
        rounds.append((build, generate, serialised, compose, cpu(serialise, made)))
    return Cost(*(1e6 * statistics.median(column) for column in zip(*rounds, strict=True)))


def rendering() -> float:
    """CPU for one copy, in microseconds."""
    template = smtpx.Template(letter())
    readers = list(rows(1000))
    return 1e6 * statistics.median(cpu(template.render, readers) for _ in range(ROUNDS))


class Sent(NamedTuple):
    """A run: seconds for all, and each process's CPU for one copy in µs."""

    wall: float
    client: float
    sink: float
    octets: float
    """Of a copy, on average."""


def headline(count: int = MEASURED, rtt: float = RTT) -> Sent:
    """Send so many over a long wire."""
    with processes.sink() as server, processes.wire(server, rtt) as wire:
        return sent(server, wire.port, count, CONNECTIONS)


def sent(
    server: processes.Service, port: int, count: int, connections: int, tree: Path | None = None
) -> Sent:
    """Send so many by a client; exits if the sink has not just what was rendered.

    `tree` is another checkout, whose smtpx it is.
    """
    done = subprocess.run(
        [sys.executable, "-m", "bench.merge", str(port), str(count), str(connections)],
        cwd=processes.ROOT,
        env=os.environ if tree is None else {**os.environ, "PYTHONPATH": str(tree / "src")},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    taken, report = server.report(), json.loads(done.stdout)
    if (taken["messages"], taken["digest"]) != (count, report["digest"]):
        sys.exit(f"{count} copies were rendered, {taken['messages']} came, or not as they were")
    return Sent(
        report["wall"],
        1e6 * report["cpu"] / count,
        1e6 * taken["cpu"] / count,
        report["octets"] / count,
    )


def main() -> None:
    port, count, connections = map(int, sys.argv[1:4])
    template = smtpx.Template(letter())
    # In one piece: as many objects as there are copies would have Python look for garbage in them.
    octets, sizes = bytearray(), array("L")

    def rendered() -> Iterator[tuple[bytes, smtpx.Envelope]]:
        nonlocal octets
        for row in rows(count):
            copy = template.render(row)
            octets += copy[0]
            sizes.append(len(copy[0]))
            yield copy

    limits = smtpx.PoolLimits(open=connections, idle=connections, messages=None)
    with smtpx.Client(f"smtp://127.0.0.1:{port}", pool=limits) as client:
        cpu, wall = time.process_time(), time.perf_counter()
        results = client.send_many(rendered(), connections=connections, window=WINDOW)
        failed = [result.error for result in results if result.error is not None]
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
    assert not failed, failed[0]
    report = {"wall": wall, "cpu": cpu, "octets": len(octets)}
    print(json.dumps({**report, "digest": sink.digest(taken_apart(memoryview(octets), sizes))}))


def taken_apart(octets: memoryview, sizes: Iterable[int]) -> Iterator[tuple[bytes, bytes]]:
    """The envelopes and the contents of all copies."""
    for row, size in zip(rows(sys.maxsize), sizes, strict=False):
        yield f"<shop@example.org><{row['address']}>".encode(), bytes(octets[:size])
        octets = octets[size:]


def lines() -> Iterator[str]:
    yield "CPU for one message of 3 kB, text and HTML, in microseconds"
    yield f"{'':20}{'build':>7}{'generator':>11}{'serialise':>11}{'':9}{'compose':>9}{'write':>7}"
    plain = messages()
    for title, cost in (
        ("as it is", plain),
        ("with 50 kB attached", messages(attachment=os.urandom(50_000))),
        ("to names not ASCII", messages(NOT_ASCII)),
    ):
        ratio = cost.generate / cost.serialise
        both = (cost.build + cost.generate) / (cost.compose + cost.write)
        yield (
            f"{title:20}{cost.build:7.0f}{cost.generate:11.0f}{cost.serialise:11.0f}"
            f"{ratio:7.1f} ×{cost.compose:9.0f}{cost.write:7.0f}{both:7.1f} × all in all"
        )
    copy = rendering()
    ratio = (plain.build + plain.generate) / copy
    yield f"Template.render: {copy:.1f}, {ratio:.0f} times less than to build and generate it"
    yield ""
    with processes.sink() as server:
        alone = sent(server, server.port, MEASURED // 4, 1)
    yield f"rendered and sent, over one connection to this machine: {alone.client:.1f}"
    done = headline()
    yield (
        f"{MEASURED:,} copies of {done.octets:,.0f} octets, by send_many over {CONNECTIONS} "
        f"connections at {RTT} ms: {done.wall:.1f} s,"
    )
    million = done.wall * PROMISED / MEASURED
    yield f"so {PROMISED:,} in {million:.0f} s; each came as it was rendered, by its hash"
    yield f"CPU for one of them: the client's {done.client:.0f} µs, the sink's {done.sink:.0f} µs"


if __name__ == "__main__":
    main()
