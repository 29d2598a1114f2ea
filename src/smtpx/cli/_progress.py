"""How far a merge has come, for whoever watches it."""

from __future__ import annotations

import sys
import threading
import time

from smtpx._starting import Joined
from smtpx.cli._console import Console
from smtpx.cli._drawing import Bar, bar
from smtpx.outbox import Outbox, State

__all__ = ["Progress"]

_EVERY = 10.0
_FRAME = 0.5
_UNDONE = (State.WAITING, State.SENDING)
_TOLD = (State.REFUSED, State.IN_DOUBT)


class Progress:
    """A bar on a terminal, else a line every ten seconds."""

    def __init__(self, outbox: Outbox, campaign: str, count: int, console: Console) -> None:
        self._outbox, self._campaign, self._count = outbox, campaign, count
        self._console = console
        self._over = threading.Event()
        self._thread = Joined(self._watch, "smtpx progress")
        self._begun = time.monotonic()
        self._before = 0

    def __enter__(self) -> None:
        if not self._console.quiet:
            self._before, _ = self._look()
            self._thread.start()

    def __exit__(self, *_: object) -> None:
        self._over.set()
        if not self._console.quiet:
            self._thread.join()

    def _watch(self) -> None:
        with bar(sys.stderr, self._count) as drawn:
            while True:
                if self._over.wait(_EVERY if drawn is None else _FRAME):
                    break
                self._show(drawn)

    def _show(self, drawn: Bar | None) -> None:
        done, text = self._look()
        if drawn is None:
            self._console.story(text)
        else:
            drawn.show(done, text)

    def _look(self) -> tuple[int, str]:
        """How many are done, and what there is to say of it."""
        counts = self._outbox.counts(self._campaign)
        done = self._count - sum(counts.get(state, 0) for state in _UNDONE)
        said = [f"{done:,} of {self._count:,}"]
        said += [f"{counts[state]:,} {state.value}" for state in _TOLD if counts.get(state)]
        if counts.doubted:
            said.append(f"{counts.doubted:,} doubted")
        pace = (done - self._before) / max(time.monotonic() - self._begun, 0.001)
        if pace > 0:
            left = round((self._count - done) / pace)
            said += [f"{pace * 60:,.0f} a minute", f"{left // 60}:{left % 60:02} left"]
        return done, ", ".join(said)
