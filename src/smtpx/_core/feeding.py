"""Content that comes from where the core cannot wait: it is fed between steps, and read in them."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import TypeVar

from smtpx._core.steps import More, Steps
from smtpx._wire.content import PIECE

T = TypeVar("T")

# A procedure reads a piece or two before it asks for its next step, and looks a piece ahead.
_ENOUGH = 4 * PIECE


class Fed:
    """An iterator over octets that are put in at its other end."""

    def __init__(self) -> None:
        self._waiting: deque[bytes] = deque()
        self._size = 0
        self._has_ended = False
        self._error: Exception | None = None

    @property
    def is_low(self) -> bool:
        """True if a procedure that went on could find nothing where there is still to be more."""
        return not self._has_ended and self._size < _ENOUGH

    def feed(self, octets: bytes) -> None:
        """Add some octets."""
        self._waiting.append(octets)
        self._size += len(octets)

    def end(self, error: Exception | None = None) -> None:
        """Add no more. The error is raised where the end would be."""
        self._has_ended = True
        self._error = error

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._waiting:
            octets = self._waiting.popleft()
            self._size -= len(octets)
            return octets
        if not self._has_ended:
            raise AssertionError("a procedure has read more at once than it was fed")
        if self._error is not None:
            raise self._error
        raise StopIteration


def fed(procedure: Steps[T], content: Fed) -> Steps[T]:
    """Run a procedure that sends such content; ask for `More` of it where it gets low."""
    try:
        step = next(procedure)
        while True:
            try:
                answer = yield step
                if content.is_low:
                    _ = yield More()
            except OSError as error:
                step = procedure.throw(error)
            else:
                step = procedure.send(answer)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        procedure.close()
