"""Many messages at once, of which each is told when it is done; for threads."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterable, Iterator
from queue import SimpleQueue
from typing import Any, TypeAlias, cast

from smtpx import _checks
from smtpx._unbegun import Unbegun
from smtpx.envelope import Envelope
from smtpx.errors import LocalProtocolError, MarkRefused, SMTPError
from smtpx.marking import Mark
from smtpx.results import Status

from ._settings import AnyContent, ready
from .outcomes import DeliveryOutcome, DeliveryResult

__all__ = ["Message", "at_once", "check_many", "heed", "sent", "taken", "told_as", "unsendable"]

Message: TypeAlias = "AnyContent | tuple[AnyContent, Envelope]"
# Messages on their way at once, whatever is asked for.
_MOST = 64
_Deliver: TypeAlias = Callable[[AnyContent, Envelope, Callable[[], None]], DeliveryResult]


def check_many(messages: object, connections: int, window: int, mark: object) -> int:
    """How many messages may be on their way at once.

    Raises:
        TypeError, ValueError: an argument is wrong.
    """
    if isinstance(messages, (str, bytes)) or not hasattr(messages, "__iter__"):
        raise _checks.complaint("messages", messages, "an iterable of messages")
    return at_once(connections, window, mark)


def at_once(connections: int, window: int, mark: object) -> int:
    """The same, whatever the messages come from."""
    _checks.count("connections", connections, 1)
    _checks.count("window", window, 1)
    if mark is not None and (not callable(mark) or isinstance(mark, type)):
        raise _checks.complaint("mark", mark, "what can be called, or None")
    return min(connections * window, _MOST)


def taken(message: Any) -> tuple[AnyContent, Envelope]:
    """A message with its envelope, as `send_many` was given it.

    Raises:
        LocalProtocolError, AddressError, TypeError: it cannot be sent.
    """
    if isinstance(message, tuple):
        content, envelope = cast("tuple[Any, Any]", message)
        return ready(content, envelope)
    return ready(message, None)


def told_as(message: object) -> object:
    """The message as marks and results name it: what came with its envelope, without that."""
    return cast("tuple[object, object]", message)[0] if isinstance(message, tuple) else message


def unsendable(
    message: object, error: SMTPError, envelope: Envelope | None = None
) -> DeliveryResult:
    """The result for a message that nobody was asked to take; maybe it has not even an envelope."""
    recipients = () if envelope is None else envelope.recipients
    outcomes = [DeliveryOutcome(one.address, Status.NOT_TRIED, None) for one in recipients]
    result = DeliveryResult(outcomes, None, error)
    result.message = told_as(message)
    return result


def heed(said: object) -> None:
    """Go on, if the mark says so of a message.

    Raises:
        MarkRefused: it does not.
    """
    if not next(iter(cast("Iterable[object]", said))):
        raise MarkRefused("the mark says that the message must not be sent")


class _Worker:
    """One message on its way, in a thread of its own."""

    def __init__(self, message: object, events: SimpleQueue[Any], deliver: _Deliver) -> None:
        self.message = message
        self.marked: SimpleQueue[bool] = SimpleQueue()
        """What the mark says, once that is asked."""
        self.result: DeliveryResult | None = None
        self.failure: BaseException | None = None
        self._events = events
        self._deliver = deliver
        thread = threading.Thread(target=self._run, name="smtpx.delivery", daemon=True)
        thread.start()

    def _run(self) -> None:
        try:
            content, envelope = taken(self.message)
        except SMTPError as error:
            self.result = unsendable(self.message, error)
        except BaseException as error:
            self.failure = error
        else:
            self._send(content, envelope)
        self._events.put((self, True))

    def _send(self, content: AnyContent, envelope: Envelope) -> None:
        try:
            self.result = self._deliver(content, envelope, self._ask)
            self.result.message = told_as(self.message)
        except SMTPError as error:  # Of the delivery, which is closed: none of the message's.
            self.result, self.failure = unsendable(self.message, error, envelope), error
        except BaseException as error:
            self.failure = error

    def _ask(self) -> None:
        self._events.put((self, False))
        heed([self.marked.get()])


def sent(
    unbegun: Unbegun,
    messages: Iterable[Message],
    most: int,
    mark: Mark | None,
    deliver: _Deliver,
) -> Iterator[DeliveryResult]:
    """Send the messages, at most so many at once, and yield each result as it comes.

    The messages are read, and the mark is asked, in the thread of the caller.
    """
    unbegun.begin()
    source = iter(messages)
    events: SimpleQueue[tuple[_Worker, bool]] = SimpleQueue()
    working: set[_Worker] = set()
    untold: list[DeliveryResult] = []
    process = os.getpid()
    try:
        is_over = False
        while True:
            if process != os.getpid():
                raise LocalProtocolError(
                    "this send_many is the parent process's, which is told of all results: call "
                    "send_many anew in the child"
                )
            while True:
                if is_over or len(working) >= most:
                    break
                message = next(source, source)
                is_over = message is source
                if not is_over:
                    working.add(_Worker(message, events, deliver))
            if not working:
                return
            worker, is_done = events.get()
            if not is_done:
                worker.marked.put(_is_marked(worker, mark))
                continue
            working.discard(worker)
            if worker.result is not None:
                untold.append(worker.result)
            if worker.failure is not None:
                raise worker.failure
            if worker.result is not None:
                yield worker.result
                untold.clear()
    except BaseException as error:
        # Nothing more begins; what has begun is brought to its end, and told.
        if isinstance(error, GeneratorExit):
            untold.clear()
        if process != os.getpid():
            # The threads are the parent's.
            raise
        while working:
            worker, is_done = events.get()
            if not is_done:
                worker.marked.put(False)
                continue
            working.discard(worker)
            if worker.result is not None:
                untold.append(worker.result)
        vars(error)["results"] = untold
        raise


def _is_marked(worker: _Worker, mark: Mark | None) -> bool:
    try:
        return mark is None or bool(
            next(iter(cast("Iterable[object]", mark([told_as(worker.message)], []))))
        )
    except BaseException:
        worker.marked.put(False)
        raise
