"""Runs rounds, one after the other, in a process that may hang or die: ``python -m … worker``.

It reads a seed a line and answers each with what came of it, as JSON. A round that takes too long
ends the process, with the stack of every thread on standard error.
"""

from __future__ import annotations

import faulthandler
import gc
import json
import os
import pkgutil
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from importlib import import_module
from pathlib import Path
from random import Random
from types import TracebackType
from typing import Any, Self

import trustme

from tests.certainty.driving import Scene, drive
from tests.certainty.judge import Ledger, Told, Violation, judge
from tests.certainty.mails import mails
from tests.certainty.plans import FACES, WORLDS, Plan, plan

HANG = 60.0
"""Seconds after which a round hangs."""


class Server:
    """The hostile server, in its process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.certainty.hostile"],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            # Ctrl-C is for the client.
            start_new_session=True,
        )

    def ask(self, **request: Any) -> Any:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        with self._lock:
            print(json.dumps(request), file=self._process.stdin, flush=True)
            return json.loads(self._process.stdout.readline())

    def end(self) -> None:
        assert self._process.stdin is not None
        self._process.stdin.close()
        assert self._process.stdout is not None
        self._process.stdout.close()
        _ = self._process.wait(10)


class Noise:
    """Whatever is reported where nobody can raise it, and every warning."""

    def __init__(self, told: Told, face: str) -> None:
        self._told = told
        self._face = face

    def __enter__(self) -> Self:
        self._before = sys.unraisablehook, threading.excepthook
        sys.unraisablehook = self._unraisable
        threading.excepthook = self._in_thread
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        where: TracebackType | None,
    ) -> None:
        # An event may have an error, with a traceback, with frames that have a socket.
        self._told.events.clear()
        _ = gc.collect()
        sys.unraisablehook, threading.excepthook = self._before

    def _unraisable(self, what: Any) -> None:
        interrupted = "interrupted" in self._face
        if interrupted and isinstance(what.exc_value, ResourceWarning):
            # A call that has returned and whose value has not yet arrived can be interrupted, too.
            return
        if "was never iterated over" in str(what.exc_value) and not self._told.read:
            return  # It was abandoned, or cancelled, before its first message.
        self._told.problem("noise", f"{what.exc_value!r} {what.err_msg} {what.object!r}")

    def _in_thread(self, what: Any) -> None:
        text = "".join(traceback.format_exception(what.exc_value)[-6:])
        self._told.problem("noise", f"in a thread: {text}")


@contextmanager
def few_files(spare: int | None) -> Iterator[None]:
    """Let this process open no more than so many files than it has."""
    if spare is None or sys.platform == "win32":
        yield
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(open_files(), default=8) + 1 + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def open_files() -> dict[int, str]:
    """What is open, where the system tells."""
    found = {}
    try:
        for each in os.listdir("/proc/self/fd"):
            try:
                found[int(each)] = os.readlink(f"/proc/self/fd/{each}")
            except OSError:
                pass  # The one for the directory itself.
    except OSError:
        pass
    return found


class Leaks:
    """Descriptors and threads that are left over."""

    def __init__(self) -> None:
        self._files = open_files()
        self._threads = set(threading.enumerate())

    def find(self) -> list[Violation]:
        for _ in range(40):
            files = {
                number: name
                for number, name in open_files().items()
                if self._files.get(number) != name
            }
            threads = [
                each
                for each in threading.enumerate()
                # trio keeps a thread of its own for the next call, for some seconds.
                if each not in self._threads and not each.name.startswith("Trio thread")
            ]
            if not files and not threads:
                return []
            time.sleep(0.01)
        found = [Violation("a leaked descriptor", name) for name in files.values()]
        return found + [Violation("a leaked thread", str(thread)) for thread in threads]


class Worker:
    def __init__(self, folder: str, ledgers: str = "") -> None:
        self.ledgers = ledgers
        self.server = Server()
        self.ledger = Path(folder) / "ledger"
        authority = trustme.CA()
        self.ca_file = str(Path(folder) / "ca.pem")
        self.certificate = str(Path(folder) / "server.pem")
        authority.cert_pem.write_to_path(self.ca_file)
        authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(
            self.certificate
        )

    def run(self, plan: Plan) -> dict[str, Any]:
        """Run one round and judge it."""
        self.ledger.write_text("")
        told = Told(
            mails(
                plan.count,
                Random(f"mails {plan.seed}"),
                plan.kind,
            )
        )
        server = {**plan.server, "ledger": str(self.ledger), "certificate": self.certificate}
        ports = self.server.ask(open=server)
        leaks = Leaks()
        began = time.monotonic()
        with Noise(told, plan.face), few_files(plan.spare_files):
            end_idle = partial(self.server.ask, idle=0)
            drive(Scene(plan, ports, self.ca_file, told, end_idle, self.ledgers))
        seconds = time.monotonic() - began
        found = leaks.find()
        sessions = self.server.ask(finish=5)
        if sessions["left open"]:
            found.append(Violation("a connection left open", str(sessions)))
        judgement = judge(told, Ledger.read(self.ledger), gentle=plan.gentle)
        found += judgement.violations
        if "smtplib" in plan.face:
            # Whoever speaks the old API minds the limits himself.
            found = [each for each in found if each.kind != "more than an announced limit"]
        if plan.theme == "dead" and "many" in plan.face and plan.exchangers is None:
            most = 15 + 5 * plan.connections
            if sessions["sessions"] > most * (3 if plan.face == "interrupted many" else 1):
                found.append(Violation("no end of hope", f"{sessions['sessions']} sessions"))
        return {
            "seed": plan.seed,
            "plan": str(plan),
            "messages": len(told.read),
            "recipients": sum(len(mail.recipients) for mail in told.read),
            "excused": judgement.excused,
            "words": judgement.words,
            "seconds": round(seconds, 2),
            "sessions": sessions["sessions"],
            "violations": [[each.kind, each.what] for each in found],
            "transcript": self.server.ask(transcript=0)["transcript"] if found else [],
        }


def warm_up(worlds: tuple[str, ...]) -> None:
    """Do what is done once: an interruption of the importer says nothing of smtpx."""
    for floor in ("_core", "_drivers", "_faces", "_message", "_smtplib", "_wire"):
        package = import_module(f"smtpx.{floor}")
        for module in pkgutil.iter_modules(package.__path__, f"smtpx.{floor}."):
            _ = import_module(module.name)
    _ = import_module("python_socks._connectors.factory_async")
    if "uvloop" in worlds:
        # It keeps a pair of pipes for the whole process.
        import uvloop

        uvloop.new_event_loop().close()


def main(
    faces: tuple[str, ...] = FACES, worlds: tuple[str, ...] = WORLDS, ledgers: str = ""
) -> None:
    warnings.simplefilter("error")
    warm_up(worlds)
    with tempfile.TemporaryDirectory() as folder:
        worker = Worker(folder, ledgers)
        for line in sys.stdin:
            faulthandler.dump_traceback_later(HANG, exit=True)
            report = worker.run(plan(int(line), faces, worlds))
            faulthandler.cancel_dump_traceback_later()
            print(json.dumps(report), flush=True)
        worker.server.end()
