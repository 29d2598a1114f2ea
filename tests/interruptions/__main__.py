"""Interrupts calls: ``python -m tests.interruptions COUNT [SEED [MOST_LOST]]``.

Half of them by SIGINT and SIGALRM at random moments, half where a function is called or has
returned, which is where Python looks for signals. What is left in a circle is
collected before anything is looked at, as it would be by and by.
"""

from __future__ import annotations

import faulthandler
import gc
import logging
import os
import random
import signal
import subprocess
import sys
import threading
import time
import traceback
from collections import Counter
from collections.abc import Callable
from types import FrameType

import smtpx
from tests.interruptions.points import Points
from tests.interruptions.subjects import SUBJECTS, Hung, Subject, left_behind, open_files

_WATCHDOG = 60


class Interrupted(BaseException):
    """Nothing that smtpx could expect."""


def _interrupt() -> None:
    raise Interrupted


class Interrupter:
    """Interrupts the main thread, once, while it is `armed`."""

    def __init__(self) -> None:
        self.armed = False
        self._delay = 0.0
        self._go, self._fired, self._cancel = (
            threading.Semaphore(0),
            threading.Semaphore(0),
            threading.Event(),
        )
        self._main = threading.main_thread().ident or 0
        signal.signal(signal.SIGINT, self._on_signal)
        signal.signal(signal.SIGALRM, self._on_signal)
        threading.Thread(target=self._press_keys, name="interrupter", daemon=True).start()

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.armed:
            self.armed = False
            raise KeyboardInterrupt if number == signal.SIGINT else Interrupted

    def _press_keys(self) -> None:
        """Ctrl-C, by a thread."""
        while True:
            _ = self._go.acquire()
            if not self._cancel.wait(self._delay):
                signal.pthread_kill(self._main, signal.SIGINT)
            self._fired.release()

    def by_alarm(self, subject: Subject, delay: float) -> str:
        def call() -> None:
            try:
                self.armed = True
                _ = signal.setitimer(signal.ITIMER_REAL, delay)
                _ = subject.call()
            finally:
                self.armed = False
                _ = signal.setitimer(signal.ITIMER_REAL, 0)

        return self._during(subject, call)

    def by_key(self, subject: Subject, delay: float) -> str:
        def call() -> None:
            try:
                self._delay = delay
                self._cancel.clear()
                self.armed = True
                self._go.release()
                _ = subject.call()
            finally:
                self.armed = False
                self._cancel.set()

        where = self._during(subject, call)
        self._cancel.set()
        _ = self._fired.acquire()
        return where

    def at_point(self, subject: Subject, number: int) -> tuple[str, int]:
        """At the so-manieth point; the other value is how many there were."""
        points = Points(number, _interrupt)
        where = self._during(subject, lambda: points.run(subject.call))
        return (f"{where} (point {number})" if where else ""), points.seen

    def _during(self, subject: Subject, call: Callable[[], object]) -> str:
        """Where the call was interrupted; nothing if it was not."""
        try:
            _ = call()
        except (KeyboardInterrupt, Interrupted) as error:
            # Its frames hold what they were about, and go with it.
            return f"{type(error).__name__} at {_where(error)}"
        except smtpx.SMTPError:
            pass  # The call had its own end before.
        except Exception as error:
            subject.wrong.append(f"raised {type(error).__name__}: {error}")
            return f"{type(error).__name__} at {_where(error)}"
        return ""


class Account:
    """What was interrupted, and what was lost by it."""

    def __init__(self) -> None:
        self.interruptions = 0
        self.lost = 0
        self.faults: Counter[str] = Counter()

    def look(self, subject: Subject, where: str, files: int, threads: int) -> None:
        """See what was lost by an interruption there, if there was one."""
        self.interruptions += bool(where)
        _ = gc.collect()
        try:
            faults = subject.wrong + subject.faults()
        except Hung:
            print(f"lost: {type(subject).__name__}, {where}: a lock", flush=True)
            faulthandler.dump_traceback(all_threads=True)
            os._exit(3)
        # A session that was not opened has nothing to be closed.
        vars(subject).clear()
        faults += left_behind(files, threads)
        self.lost += bool(faults)
        self.faults.update(faults)
        for fault in faults:
            print(f"lost: {type(subject).__name__}, {where}: {fault}", flush=True)


def _where(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return " < ".join(f"{frame.name}:{frame.lineno}" for frame in reversed(frames[-6:]))


def run(url: str, count: int, seed: int, most_lost: int) -> Account:
    """Interrupt so many times, all subjects and ways by turns; stop when too much is lost."""
    chance = random.Random(seed)
    interrupter, account = Interrupter(), Account()
    points: dict[type[Subject], int] = {}
    seconds: dict[type[Subject], float] = {}
    for kind in SUBJECTS:
        for _ in range(2):  # The first of all imports much, and fills caches.
            subject = kind()
            subject.prepare(url)
            began = time.monotonic()
            _, points[kind] = interrupter.at_point(subject, 0)
            seconds[kind] = time.monotonic() - began
            _ = subject.faults()
            vars(subject).clear()
    gc.freeze()
    files, threads = open_files(), threading.active_count()
    turn = 0
    while account.interruptions < count and account.lost < most_lost:
        kind = SUBJECTS[turn % len(SUBJECTS)]
        way = turn // len(SUBJECTS) % 4
        turn += 1
        faulthandler.dump_traceback_later(_WATCHDOG, exit=True)
        subject = kind()
        subject.prepare(url)
        if way == 0:
            where = interrupter.by_key(subject, chance.uniform(0, seconds[kind]))
        elif way == 1:
            where = interrupter.by_alarm(subject, chance.uniform(1e-6, seconds[kind]))
        else:
            where, _ = interrupter.at_point(subject, chance.randint(1, points[kind]))
        account.look(subject, where, files, threads)
    faulthandler.cancel_dump_traceback_later()
    return account


def main(count: int = 10_000, seed: int = 1, most_lost: int = 100) -> int:
    logging.basicConfig(level=logging.WARNING)
    sink = subprocess.Popen(
        [sys.executable, "-m", "tests.scale.sink", os.devnull, "0"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert sink.stdin is not None
    assert sink.stdout is not None
    with sink:
        url = f"smtp://127.0.0.1:{sink.stdout.readline().strip()}"
        account = run(url, count, seed, most_lost)
        sink.stdin.close()
    for fault, times in account.faults.most_common():
        print(f"{times} × {fault}")
    print(f"{account.interruptions:,} interruptions: {account.lost} lost")
    return 1 if account.lost else 0


if __name__ == "__main__":
    sys.exit(main(*[int(argument) for argument in sys.argv[1:]]))
