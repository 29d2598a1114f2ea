"""Many messages at once, of which each is told when it is done; for threads."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Collection, Iterable, Iterator
from email.message import Message as EmailMessage
from functools import partial
from queue import Empty, SimpleQueue
from typing import Any, TypeAlias, cast

from smtpx import _checks
from smtpx._accounting import account_again
from smtpx._ends import no_end
from smtpx._starting import Claims, start_thread
from smtpx._unbegun import Unbegun
from smtpx.envelope import Envelope
from smtpx.errors import ConnectionLost, LocalProtocolError, MarkRefused, SMTPError
from smtpx.marking import Mark
from smtpx.pausing import NOTHING_YET, PAUSE, NothingYet
from smtpx.results import Status

from ._crowd import Crowd
from ._settings import AnyContent, ready
from ._standing import interrupted
from .outcomes import DeliveryOutcome, DeliveryResult

__all__ = [
    "Message",
    "at_once",
    "check_many",
    "domains_of",
    "heed",
    "octets_of",
    "sent",
    "taken",
    "told_as",
    "unsendable",
    "unsent",
]

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
    message: object,
    error: SMTPError,
    envelope: Envelope | None = None,
    status: Status = Status.NOT_TRIED,
) -> DeliveryResult:
    """The result for a message that nobody was asked to take; maybe it has not even an envelope."""
    recipients = () if envelope is None else envelope.recipients
    outcomes = [DeliveryOutcome(one.address, status, None) for one in recipients]
    result = DeliveryResult(outcomes, None, error)
    result.message = told_as(message)
    error.result = result
    return result


def unsent(
    message: object, error: SMTPError | None = None, *, status: Status = Status.NOT_TRIED
) -> DeliveryResult:
    """The result for a message that was read from the caller, and of which nothing is known."""
    return unsendable(message, error or interrupted(status), _envelope_of(message), status)


def _envelope_of(message: object) -> Envelope | None:
    """Who was to get a message; ``None`` where it does not say so."""
    envelope: object = None
    try:
        if isinstance(message, tuple):
            _, envelope = cast("tuple[object, object]", message)
        else:
            _, envelope = ready(message, None)
    except (MemoryError, RecursionError):
        raise
    except (Exception, GeneratorExit):
        pass  # Whatever the message's own code raises, the message is accounted for.
    return envelope if isinstance(envelope, Envelope) else None


def domains_of(message: object) -> Collection[str]:
    """The domains that a message is for, as far as it says so."""
    envelope = _envelope_of(message)
    return {one.address.domain.lower() for one in envelope.recipients} if envelope else ()


def octets_of(message: object) -> int:
    """About how many octets of memory a message takes; what is not yet read takes none."""
    content: Any = told_as(message)
    if isinstance(content, EmailMessage):
        parts = cast("EmailMessage[str, str]", content).walk()
        payloads: list[Any] = [part.get_payload() for part in parts]
        return sum(len(each) for each in payloads if isinstance(each, str))
    return len(content) if hasattr(content, "__len__") else 0


def heed(said: object) -> None:
    """Go on, if the mark says so of a message.

    Raises:
        MarkRefused: it does not.
    """
    if not next(iter(cast("Iterable[object]", said))):
        raise MarkRefused("the mark says that the message must not be sent")


_NOTHING = object()


class _Worker:
    """One message on its way, in a thread of its own."""

    def __init__(self, message: object, events: SimpleQueue[Any], deliver: _Deliver) -> None:
        self.message = message
        self.marked: SimpleQueue[bool] = SimpleQueue()
        """What the mark says, once that is asked."""
        self.result: DeliveryResult | None = None
        self.failure: BaseException | None = None
        self.ended = threading.Event()
        self._events = events
        self._deliver = deliver
        self._claims = Claims()
        self._is_refused = False

    def start(self) -> None:
        """Send it; or tell that it was not sent, where there can be no other thread."""
        try:
            start_thread(self._run, "smtpx.delivery")
        except RecursionError:
            raise  # It says nothing of threads.
        except RuntimeError as error:
            lost = ConnectionLost(f"there can be no thread for it: {error}", phase="connect")
            self._end(unsent(self.message, lost))

    def claim(self, who: object) -> bool:
        """True for its thread, which is to send it then, or for whoever does not wait for that."""
        return self._claims.is_first(who)

    def _run(self) -> None:
        if not self.claim(self):
            return
        try:
            content, envelope = taken(self.message)
        except SMTPError as error:
            self._end(unsendable(self.message, error))
        except BaseException as error:
            self._end(unsent(self.message), error)
        else:
            self._send(content, envelope)

    def _send(self, content: AnyContent, envelope: Envelope) -> None:
        try:
            result = self._deliver(content, envelope, self._ask)
        except SMTPError as error:  # Of the delivery, which is closed: none of the message's.
            self._end(unsendable(self.message, error, envelope), error)
        except BaseException as error:
            known = vars(error).get("result")
            self._end(known if isinstance(known, DeliveryResult) else unsent(self.message), error)
        else:
            self._end(result)

    def _end(self, result: DeliveryResult, failure: BaseException | None = None) -> None:
        result.message = told_as(self.message)
        self.result, self.failure = result, failure
        self.ended.set()
        self._events.put((self, True))

    def refuse(self) -> None:
        """Answer by no whatever it asks the mark, now or later."""
        self._is_refused = True
        self.marked.put(False)

    def _ask(self) -> None:
        if self._is_refused:
            heed([False])
        self._events.put((self, False))
        heed([self.marked.get()])


class _Many:
    """The messages of one call, each told of once, whatever interrupts.

    They are read, and the mark is asked, in the thread of the caller.
    """

    def __init__(
        self,
        messages: Iterable[Message | NothingYet],
        most: int,
        mark: Mark | None,
        deliver: _Deliver,
    ) -> None:
        self.results: list[DeliveryResult] = []
        """What the caller was not told yet."""
        self._source = iter(messages)
        self._crowd: Crowd[_Worker] = Crowd(most)
        self._mark = mark
        self._deliver = deliver
        self._events: SimpleQueue[tuple[_Worker, bool]] = SimpleQueue()
        self._read: object = _NOTHING
        """What was taken from the caller, until a worker has it."""
        self._working: dict[_Worker, None] = {}
        self._is_over = False
        self._asked_again = 0.0
        """When the caller's iterable is asked again, which had nothing yet."""
        self._process = os.getpid()

    def go_on(self) -> bool:
        """Send until there are results; False if there will be none.

        Raises:
            LocalProtocolError: it is the parent process that sends.
            BaseException: what the caller's iterable or mark raised.
        """
        while not self.results:
            if self._process != os.getpid():
                raise LocalProtocolError(
                    "this send_many is the parent process's, which is told of all results: call "
                    "send_many anew in the child"
                )
            self._fill()
            if self._is_over and not self._working:
                return False
            try:
                worker, is_done = self._events.get(timeout=self._patience)
            except Empty:
                continue
            if not is_done:
                worker.marked.put(self._is_marked(worker))
                continue
            self._tell(worker)
            _ = self._working.pop(worker)
            self._crowd.done(worker)
            self._asked_again = 0.0
            if worker.failure is not None:
                raise worker.failure
        return True

    def end(self, error: BaseException, *, waits: bool = True) -> None:
        """Begin nothing more, and hang on the error what was not told.

        What has begun is waited for. Whoever is interrupted in that calls it again, not to wait.
        """
        if self._process != os.getpid():
            return  # The threads are the parent's.
        self._is_over = True
        if self._read is not _NOTHING:
            self.results.append(unsent(self._read))
            self._read = _NOTHING
        for worker in self._working:
            worker.refuse()
        for worker in self._working:
            if worker.claim(self):
                if worker.result is None:
                    worker.result = unsent(worker.message)
            elif waits:
                _ = worker.ended.wait()
            self._tell(worker)
        vars(error)["results"] = self.results

    @property
    def _patience(self) -> float | None:
        """Seconds until there is something to do, if nothing happens before."""
        now = time.monotonic()
        if not self._is_over and self._crowd.wants_more(now):
            return max(self._asked_again - now, 0.0)
        again = self._crowd.looks_again(now)
        return None if again is None else max(again - now, 0.0)

    def _fill(self) -> None:
        """Read as many messages as may be on their way, and begin those whose turn it is."""
        source = self._source
        while True:
            now = time.monotonic()
            following = self._crowd.next(now)
            if following is not None:
                following.start()
                continue
            if self._is_over or not self._crowd.wants_more(now):
                return
            if self._working and now < self._asked_again:
                return
            self._is_over = True
            # CPython runs no signal handler between the iterator and the name that a loop gives
            # to its item, nor between what the two assignments do.
            for self._read in source:
                if self._read is NOTHING_YET:
                    self._read = _NOTHING
                    self._asked_again = time.monotonic() + PAUSE
                    self._is_over = False
                    return
                worker = _Worker(self._read, self._events, self._deliver)
                self._working[worker] = None
                self._read = _NOTHING
                self._crowd.add(worker, domains_of(worker.message), octets_of(worker.message))
                self._is_over = False
                break

    def _tell(self, worker: _Worker) -> None:
        result = worker.result or unsent(worker.message, status=Status.IN_DOUBT)
        if not any(result is one for one in self.results):
            self.results.append(result)

    def _is_marked(self, worker: _Worker) -> bool:
        mark = self._mark
        return mark is None or bool(
            next(iter(cast("Iterable[object]", mark([told_as(worker.message)], []))))
        )


def sent(
    unbegun: Unbegun,
    messages: Iterable[Message | NothingYet],
    most: int,
    mark: Mark | None,
    deliver: _Deliver,
) -> Iterator[DeliveryResult]:
    """Send the messages, at most so many at once, and yield each result as it comes."""
    unbegun.begin()
    many = _Many(messages, most, mark, deliver)
    results = many.results
    try:
        while True:
            if not many.go_on():
                break
            while True:
                if not results:
                    break
                # No signal handler runs between these, as it would after a call.
                result = results[0]
                del results[0]
                yield result
    except BaseException as error:
        reason = error
        try:
            reason = no_end(error, "what send_many was given")
            many.end(reason)
        except BaseException as another:
            waits = isinstance(another, RecursionError)  # Nobody has lost patience.
            account_again(partial(many.end, waits=waits), another)
            raise
        if reason is not error:
            raise reason from error
        raise
