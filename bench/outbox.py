"""The outbox beside what people have: a Celery task a mail, django-mailer, django-post_office.

`python -m bench outbox`. Each contender is a process of its own that keeps so many mails of 2 KB,
and then sends them to the same sink. Each of the two is measured alone, and nobody is spared the
disk. Those are left out that are not installed: Celery and redis-server,
django-mailer, django-post_office. `--postgres` is about one ledger in PostgreSQL that several
processes share, and what it costs that events are committed in their order.
"""

from __future__ import annotations

import json
import os
import resource
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from bench import processes
from bench.client import octets, pieces

SIZE = octets("2k")
ROUNDS = 3
RTT = 50.0
PATH = os.pathsep.join([str(processes.ROOT), str(processes.ROOT / "src")])
LINE = "The quick brown fox jumps over the lazy dog, and the dog does not mind.\n"
TEXT = LINE * 24


class Stopwatch:
    """Wall time, and CPU time of this process and those that it has waited for."""

    def __init__(self) -> None:
        self._wall, self._cpu = time.perf_counter(), self._spent()

    def _spent(self) -> float:
        both = (
            resource.getrusage(kind) for kind in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
        )
        return sum(one.ru_utime + one.ru_stime for one in both)

    def read(self, count: int) -> dict[str, float]:
        """Seconds of both, for one of so many."""
        wall = time.perf_counter() - self._wall
        return {"wall": wall / count, "cpu": (self._spent() - self._cpu) / count}


def told(**figures: object) -> None:
    print(json.dumps(figures), flush=True)


def contents(count: int) -> Iterator[bytes]:
    for serial in range(count):
        yield b"".join(pieces(SIZE, serial))


# The contenders


def smtpx_outbox(port: int, count: int) -> None:
    import smtpx

    several = [
        (content, smtpx.Envelope("sender@example.com", [f"r{n}@example.net"]))
        for n, content in enumerate(contents(count))
    ]
    single = several[: count // 10]
    with smtpx.Outbox("sqlite:///mail.db") as outbox:
        watch = Stopwatch()
        for content, envelope in single:
            _ = outbox.put(content, envelope)
        put = watch.read(len(single))
        watch = Stopwatch()
        for _ in outbox.put_many(several[len(single) :]):
            pass
        put_many = watch.read(count - len(single))
        watch = Stopwatch()
        outbox.run(f"smtp://127.0.0.1:{port}", until_empty=True)
        told(put=put, put_many=put_many, drain=watch.read(count))


def celery(port: int, count: int) -> None:
    import smtplib

    from celery import Celery
    from celery.signals import worker_ready

    app = Celery("bench", broker=os.environ["BENCH_REDIS"])
    app.conf.worker_redirect_stdouts = False
    lock, left = threading.Lock(), count
    watch: Stopwatch | None = None

    def mail(content: str, recipient: str) -> None:
        nonlocal left
        with smtplib.SMTP("127.0.0.1", port) as server:
            _ = server.sendmail("sender@example.com", [recipient], content)
        with lock:
            left -= 1
            if not left:
                assert watch is not None
                told(put=put, drain=watch.read(count))
                os._exit(0)

    def begin(**_: object) -> None:
        nonlocal watch
        watch = Stopwatch()

    worker_ready.connect(begin, weak=False)
    task = app.task(name="mail", acks_late=True, ignore_result=True)(mail)
    keeping = Stopwatch()
    for n, content in enumerate(contents(count)):
        _ = task.delay(content.decode(), f"r{n}@example.net")
    put = keeping.read(count)
    words = (
        "worker --pool threads --concurrency 4 --loglevel ERROR --without-gossip --without-mingle"
    )
    app.worker_main(words.split())


def _django(port: int, *apps: str, **settings: object) -> None:
    import django
    from django.conf import settings as configured
    from django.core.management import call_command

    configured.configure(
        INSTALLED_APPS=["django.contrib.contenttypes", *apps],
        DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": "mail.db"}},
        DEFAULT_AUTO_FIELD="django.db.models.BigAutoField",
        EMAIL_HOST="127.0.0.1",
        EMAIL_PORT=port,
        USE_TZ=True,
        LOGGING_CONFIG=None,
        **settings,
    )
    django.setup()
    call_command("migrate", verbosity=0)


def django_mailer(port: int, count: int) -> None:
    smtp = "django.core.mail.backends.smtp.EmailBackend"
    _django(port, "mailer", EMAIL_BACKEND="mailer.backend.DbBackend", MAILER_EMAIL_BACKEND=smtp)
    from django.core.mail import send_mail
    from mailer.engine import send_all

    watch = Stopwatch()
    for n in range(count):
        send_mail(f"benchmark message {n}", TEXT, "sender@example.com", [f"r{n}@example.net"])
    put = watch.read(count)
    watch = Stopwatch()
    send_all()
    told(put=put, drain=watch.read(count))


def django_post_office(port: int, count: int) -> None:
    templates = {"BACKEND": "django.template.backends.django.DjangoTemplates"}
    _django(port, "post_office", EMAIL_BACKEND="post_office.EmailBackend", TEMPLATES=[templates])
    from django.core.mail import send_mail
    from post_office.mail import send_queued_mail_until_done

    watch = Stopwatch()
    for n in range(count):
        send_mail(f"benchmark message {n}", TEXT, "sender@example.com", [f"r{n}@example.net"])
    put = watch.read(count)
    watch = Stopwatch()
    send_queued_mail_until_done()
    told(put=put, drain=watch.read(count))


CONTENDERS: dict[str, tuple[Callable[[int, int], None], int]] = {
    "smtpx.Outbox": (smtpx_outbox, 10_000),
    "Celery, a task a mail": (celery, 1_000),
    "django-mailer": (django_mailer, 300),
    "django-post_office": (django_post_office, 300),
}
PACKAGES = {"django-mailer": "mailer", "django-post_office": "post_office"}


# A million recipients


def merged(port: int, count: int) -> None:
    """Put a template in for so many, look how far it is, and send the first of them."""
    import smtpx

    letter = smtpx.compose(
        sender="shop@example.org",
        to="{{name}} <{{address}}>",
        subject="Hello {{name}}",
        text=f"Dear {{{{name}}}},\n\n{TEXT}",
    )
    rows = (
        {"name": f"Customer {n}", "address": f"customer-{n}@{n % 2000}.example.net"}
        for n in range(count)
    )
    with smtpx.Outbox("sqlite:///mail.db") as outbox:
        watch = Stopwatch()
        _ = outbox.put_merge(smtpx.Template(letter), rows, campaign="spring")
        put = watch.read(count)
        started = time.perf_counter()
        assert outbox.counts("spring")[smtpx.outbox.State.WAITING] == count
        progress = time.perf_counter() - started
        claims = _timed(outbox, "claim")
        most = min(count, 20_000)
        sent = 0

        class Counted(smtpx.Client):
            def send_many(self, *arguments: Any, **named: Any) -> Iterator[Any]:
                nonlocal sent
                for result in super().send_many(*arguments, **named):
                    sent += 1
                    if sent == most:
                        outbox.stop()
                    yield result

        watch = Stopwatch()
        with Counted(f"smtp://127.0.0.1:{port}") as client:
            outbox.run(client, until_empty=True)
        drain = watch.read(sent)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    claims.sort()
    told(
        put=put,
        drain=drain,
        progress=progress,
        claim=claims[int(len(claims) * 0.95)],
        peak=peak,
    )


def _timed(outbox: Any, wanted: str) -> list[float]:
    """What transactions of one kind will take, in seconds."""
    times: list[float] = []
    transact = outbox._store.transact

    def timed(operation: Any, *arguments: Any) -> Any:
        started = time.perf_counter()
        value = transact(operation, *arguments)
        if operation.__name__ == wanted:
            times.append(time.perf_counter() - started)
        return value

    outbox._store.transact = timed
    return times


# One ledger in PostgreSQL, and several processes

# What a transaction with events does before it writes them.
LOCKS = {"shares a lock": "{telling}", "waits for a lock": "{told}", "has no lock": "SELECT 1"}
SHARED, ALONE = 4_000, 400
"""Messages that are sent, and of these those that are put in one at a time."""


def process(port: int, count: int) -> None:
    """Put so many in, the last one at a time, when it is told to; and send what all have put in."""
    import smtpx

    several = [
        (content, smtpx.Envelope("sender@example.com", [f"r{n}@example.net"]))
        for n, content in enumerate(contents(count))
    ]
    with smtpx.Outbox(os.environ["BENCH_LEDGER"]) as outbox:
        dialect: Any = outbox._store.dialect
        written = dialect.written
        lock = os.environ["BENCH_LOCK"]
        dialect.written = lambda text: written(lock if text == "{telling}" else text)
        alone = count * ALONE // SHARED
        for _ in outbox.put_many(several[alone:]):
            pass
        told()
        _ = sys.stdin.readline()
        watch = Stopwatch()
        for content, envelope in several[:alone]:
            _ = outbox.put(content, envelope)
        told(**watch.read(1))
        _ = sys.stdin.readline()
        watch = Stopwatch()
        outbox.run(f"smtp://127.0.0.1:{port}", until_empty=True)
        told(**watch.read(1))


def spent(server: int) -> float:
    """CPU seconds of a process and of its children, those that have ended too (Linux)."""
    ticks = 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            fields = (folder / "stat").read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(folder.name) == server:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == server:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def shared(server: Any, port: int, several: int, lock: str) -> dict[str, dict[str, float]]:
    """What so many processes take for a message, with the server, to put it in and to send it."""
    pid = int((server.directory / "data" / "postmaster.pid").read_text().split()[0])
    ledger = {"BENCH_LEDGER": server.database(), "BENCH_LOCK": lock}
    words = [sys.executable, "-m", "bench.outbox", "process", str(port), str(SHARED // several)]
    found: dict[str, dict[str, float]] = {}
    with ExitStack() as stack:
        processes = [
            stack.enter_context(
                subprocess.Popen(
                    words,
                    env={**os.environ, "PYTHONPATH": PATH, **ledger},
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    text=True,
                )
            )
            for _ in range(several)
        ]

        def heard() -> list[dict[str, float]]:
            return [json.loads(one.stdout.readline()) for one in processes if one.stdout]

        _ = heard()
        for kind, count in (("put", ALONE), ("drain", SHARED)):
            before, began = spent(pid), time.perf_counter()
            for one in processes:
                assert one.stdin is not None
                _ = one.stdin.write("go\n")
                one.stdin.flush()
            cpu = sum(figures["cpu"] for figures in heard()) + spent(pid) - before
            wall = time.perf_counter() - began
            found[kind] = {"wall": wall / count, "cpu": cpu / count}
    return found


def several_processes() -> Iterator[str]:
    from tests.outbox import postgres

    if postgres.programs() is None:
        yield "it needs a PostgreSQL server"
        return
    yield "A ledger in PostgreSQL, mails of 2 KB a second; of CPU in brackets, the server's with it"
    yield f"{'':24}{'a transaction with events':28}{'put':>16}{'sent':>16}{'wall':>8}{'CPU':>8}"
    with postgres.running() as server, processes.sink() as sink:
        for several in (2, 4):
            rounds: dict[str, list[dict[str, dict[str, float]]]] = {lock: [] for lock in LOCKS}
            for _ in range(ROUNDS):
                for lock, text in LOCKS.items():
                    rounds[lock].append(shared(server, sink.port, several, text))
                    if sink.report()["messages"] != SHARED:
                        sys.exit(f"{several} processes: not each message came once")
            best = {
                lock: {
                    kind: {what: min(r[kind][what] for r in found) for what in ("wall", "cpu")}
                    for kind in ("put", "drain")
                }
                for lock, found in rounds.items()
            }
            least = best["has no lock"]["drain"]
            for lock, kinds in best.items():
                ratios = [kinds["drain"][what] / least[what] for what in ("wall", "cpu")]
                row = f"{f'{several} processes':24}{lock:28}"
                row += "".join(f"{_rates(kinds[kind]):>16}" for kind in ("put", "drain"))
                yield row + "".join(f"{ratio:6.2f} ×" for ratio in ratios)


# How they are run


@contextmanager
def redis(folder: Path) -> Iterator[str | None]:
    program = shutil.which("redis-server")
    if program is None:
        yield None
        return
    with socket.create_server(("127.0.0.1", 0)) as bound:
        port = bound.getsockname()[1]
    command = [program, "--port", str(port), "--dir", str(folder), "--appendonly", "yes"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while True:
            try:
                socket.create_connection(("127.0.0.1", port)).close()
                break
            except OSError:
                time.sleep(0.02)
        try:
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            process.terminate()


def run(name: str, port: int, count: int, **environment: str) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [sys.executable, "-m", "bench.outbox", name, str(port), str(count)],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": PATH, **environment},
            capture_output=True,
            text=True,
            check=False,
        )
    if done.returncode:
        sys.exit(f"{name} failed:\n{done.stderr}")
    figures: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return figures


def _is_there(package: str) -> bool:
    from importlib.util import find_spec

    return find_spec(package) is not None


def lines(recipients: int) -> Iterator[str]:
    yield "Mails of 2 KB a second, kept on the disk and then sent; of CPU in brackets"
    yield f"{'':24}{'put':>16}{'put_many':>18}{'sent':>16}{'times less CPU':>16}"
    with ExitStack() as stack:
        sink = stack.enter_context(processes.sink())
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        broker = stack.enter_context(redis(folder))
        ours = 0.0
        for name, (_, count) in CONTENDERS.items():
            if name.startswith("Celery") and (broker is None or not _is_there("celery")):
                yield f"{name}: it needs Celery, and redis-server"
                continue
            if name in PACKAGES and not _is_there(PACKAGES[name]):
                yield f"{name}: it is not installed"
                continue
            rounds = [run(name, sink.port, count, BENCH_REDIS=broker or "") for _ in range(ROUNDS)]
            taken = sink.report()["messages"]
            if taken != ROUNDS * count:
                sys.exit(f"{name}: {ROUNDS * count} were sent, and {taken} came")
            best = {
                kind: min((r[kind] for r in rounds), key=lambda figures: float(figures["cpu"]))
                for kind in rounds[0]
            }
            ours = ours or best["drain"]["cpu"]
            row = f"{name:24}"
            for kind, width in (("put", 16), ("put_many", 18), ("drain", 16)):
                row += f"{_rates(best[kind]) if kind in best else '':>{width}}"
            yield f"{row}{best['drain']['cpu'] / ours:14.1f} ×"
        yield ""
        with processes.wire(sink, RTT) as wire:
            far = run("smtpx.Outbox", wire.port, 5_000)
        yield f"sent at {RTT:g} ms, over 4 connections: {_rates(far['drain'])}"
        yield ""
        yield "A template with so many rows: µs of CPU to put a row in, and to send it"
        for count in dict.fromkeys([min(1_000, recipients), min(100_000, recipients), recipients]):
            each = run("merged", sink.port, count)
            yield (
                f"{count:>11,}: put {each['put']['cpu'] * 1e6:4.0f}, sent "
                f"{each['drain']['cpu'] * 1e6:4.0f}; progress in {each['progress'] * 1e3:.1f} ms, "
                f"95 % of claims in {each['claim'] * 1e3:.1f} ms; {each['peak']:.0f} MB at most"
            )


def _rates(figures: dict[str, float]) -> str:
    return f"{1 / figures['wall']:,.0f} ({1 / figures['cpu']:,.0f})"


if __name__ == "__main__":
    called, on, many = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
    others = {"merged": merged, "process": process}
    (others.get(called) or CONTENDERS[called][0])(on, many)
