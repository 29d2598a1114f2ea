"""A logging handler that mails digests, from a thread of its own.

The first record is mailed at once. After that a mail goes at most every `interval` seconds, with
all that came meanwhile. The same record is written once, with a count.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from email.message import EmailMessage
from email.utils import getaddresses
from functools import partial
from threading import Condition, local
from typing import Any

from smtpx import (
    Address,
    ClientCertificate,
    Credentials,
    Endpoint,
    Envelope,
    ReplyError,
    SendResult,
    Session,
    SMTPError,
    Status,
    TLSMode,
    TLSPolicy,
    _checks,
    compose,
    send,
)
from smtpx._starting import start_thread

__all__ = ["MailHandler"]

# Characters of one record that are mailed.
_LONGEST = 10_000
# Seconds within which a handler is closed that `logging.shutdown` has flushed.
_AT_ONCE = 1.0


@dataclass(slots=True)
class _Entry:
    """A record, and how often it came."""

    text: str
    subject: str
    count: int = 1


@dataclass(slots=True)
class _Digest:
    """The records of one mail."""

    entries: dict[object, _Entry] = field(default_factory=lambda: dict[object, _Entry]())
    dropped: int = 0

    @property
    def records(self) -> int:
        """How many it has, the dropped ones among them."""
        return self.dropped + sum(entry.count for entry in self.entries.values())

    def add(self, later: _Digest, capacity: int) -> None:
        """Take in what came afterwards, as far as there is room."""
        self.dropped += later.dropped
        for key, entry in later.entries.items():
            if key in self.entries:
                self.entries[key].count += entry.count
            elif len(self.entries) < capacity:
                self.entries[key] = replace(entry)
            else:
                self.dropped += entry.count


class MailHandler(logging.Handler):
    """Mails log records, as `logging.handlers.SMTPHandler` does, but never holds up the caller.

    At most `capacity` different records are kept for a mail. What does not fit is dropped, counted,
    and told in the next one. Records of smtpx itself are left out.
    """

    level = logging.NOTSET  # A handler's repr has it, also that of one that is refused.

    def __init__(
        self,
        mailhost: str | tuple[str, int] | None = None,
        fromaddr: str = "",
        toaddrs: str | Sequence[str] = (),
        subject: str = "",
        credentials: tuple[str, str] | None = None,
        secure: tuple[()] | tuple[str] | tuple[str, str] | None = None,
        timeout: float = 30.0,
        *,
        url: str | None = None,
        interval: float = 60.0,
        capacity: int = 1000,
    ) -> None:
        """Take the arguments of `SMTPHandler`; or a `url`, in place of the first and of `secure`.

        `toaddrs` are addresses in a list or a tuple, or a text with commas between them.
        `timeout` are the seconds for each mail, and for all that is left when the program ends.
        Another machine must offer STARTTLS, unless the `url` says otherwise.

        Raises:
            TypeError, ValueError, smtpx.SMTPError: an argument is wrong.
        """
        if (mailhost is None) == (url is None):
            raise ValueError("give a url or a mailhost, and not both")
        if url is not None and secure is not None:
            raise ValueError("secure: leave it out beside a url, which says it")
        if not isinstance(subject, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("subject", subject, "a str")
        _checks.amount("timeout", timeout, "seconds")
        _checks.amount("interval", interval, "seconds")
        if type(capacity) is not int or capacity < 1:
            raise ValueError(f"capacity={capacity!r}: give an int, 1 or more")
        self.fromaddr = fromaddr
        self.toaddrs = _listed(toaddrs)
        self.subject = subject
        try:
            _ = self._envelope()
        except (SMTPError, TypeError) as error:
            raise type(error)(f"fromaddr, toaddrs: {error}") from error
        where = _endpoint_of(mailhost) if url is None else Endpoint.parse(url)
        who, policy = _credentials_of(credentials), _policy_of(secure)
        _ = Session(where, credentials=who, tls=policy, timeout=timeout)  # It looks at them.
        self._send = partial(send, endpoint=where, credentials=who, tls=policy)
        self._timeout = timeout
        self._interval = interval
        self._capacity = capacity
        self._begin_anew()
        super().__init__()  # From here on it is flushed at exit.

    def _begin_anew(self) -> None:
        self._process = os.getpid()
        self._changed = Condition()
        self._kept = _Digest()
        self._owed: dict[tuple[Address, ...], _Digest] = {}  # No address is in two of them.
        self._at_hand = 0  # Records of what is being mailed.
        self._flushed = 0.0, 0.0  # When that ended, and until when it could have waited.
        self._thread: object = None  # Which one mails: another may have been begun, and struck.
        self._here = local()  # What is so in the thread that mails.
        self._next = 0.0
        self._is_mailing = False
        self._is_hurried = False
        self._is_closing = False

    def getSubject(self, record: logging.LogRecord) -> str:  # noqa: N802 - as in SMTPHandler
        """The subject of a mail whose first record is this one."""
        return self.subject

    def filter(self, record: logging.LogRecord) -> Any:
        """Leave out what sending itself logs, before the handler's lock is asked for."""
        is_own = str(record.name).partition(".")[0] == "smtpx" or hasattr(self._here, "mails")
        return False if is_own else super().filter(record)

    def emit(self, record: logging.LogRecord) -> None:
        """Keep a record for the next mail; nothing is waited for."""
        try:
            self._leave_parent()
            # An exception makes it another record, whatever the message says.
            kind = record.exc_info[0] if record.exc_info else None
            message = record.getMessage()
            key = (record.name, record.levelno, message[:_LONGEST], len(message), kind)
            with self._changed:
                entries = self._kept.entries
                if (entry := entries.get(key)) is not None:
                    entry.count += 1
                elif len(entries) >= self._capacity:
                    self._kept.dropped += 1
                else:
                    text = _plain(self.format(record))
                    entries[key] = _Entry(text, _plain(self.getSubject(record)))
                is_forsaken = not self._has_thread() and self._is_closing
                self._changed.notify_all()
            if is_forsaken:
                self._mail_kept(time.monotonic() + self._timeout)
        except Exception:
            self.handleError(record)

    def flush(self) -> None:
        """Have what is kept mailed now; wait for that for `timeout` seconds at most."""
        self._leave_parent()
        until = time.monotonic() + self._timeout
        with self._changed:
            self._is_hurried = self._has_mail
            is_forsaken = self._is_hurried and not self._has_thread()
            self._changed.notify_all()
        if is_forsaken:
            self._mail_kept(until)
        with self._changed:
            _ = self._changed.wait_for(
                lambda: not (self._is_hurried or self._is_mailing), until - time.monotonic()
            )
        self._flushed = time.monotonic(), until

    def close(self) -> None:
        """Mail what is left, within `timeout` seconds, and end the thread.

        Closed at once after `flush`, as at exit, it has what that left of its `timeout`.
        """
        self._leave_parent()
        now, (flushed, until) = time.monotonic(), self._flushed
        if now - flushed > _AT_ONCE:
            until = now + self._timeout
        with self._changed:
            self._is_closing = True
            is_forsaken = self._has_mail and not self._has_thread()
            self._changed.notify_all()
        if is_forsaken:
            self._mail_kept(until)
        with self._changed:
            is_over = self._changed.wait_for(
                lambda: not (self._has_mail or self._is_mailing), until - time.monotonic()
            )
            left = self._at_hand + sum(each.records for each in (self._kept, *self._owed.values()))
        if not is_over:
            self._report_lost(f"the time to mail them was up: {_counted(left)} may be lost")
        super().close()

    def _leave_parent(self) -> None:
        # After a fork the thread, the lock and what is kept are the parent's.
        if self._process != os.getpid():
            self._begin_anew()

    def _has_thread(self) -> bool:
        """See to it that a thread mails; false if there can be none, as where Python ends."""
        if self._thread is not None:
            return True
        if sys.is_finalizing():  # CPython 3.11 would begin it, and let it do nothing.
            return False
        me = object()
        try:
            start_thread(partial(self._work, me), "smtpx logs")
        except RuntimeError:
            return False
        self._thread = me
        self._see_to_the_end_of_a_worker()
        return True

    def _see_to_the_end_of_a_worker(self) -> None:
        # A process of `multiprocessing` ends by its own finalizers, without `logging.shutdown`.
        if "multiprocessing.util" in sys.modules:
            from multiprocessing import process, util

            if process.parent_process() is not None:
                _ = util.Finalize(None, self.flush, exitpriority=0)

    def _work(self, me: object) -> None:
        """Mail what comes, until the handler is closed."""
        with self._changed:
            self._thread = self._thread or me
            if self._thread is not me:
                return  # Whoever began it was interrupted, and another was begun.
        self._here.mails = True
        try:
            while True:
                if not self._await():
                    break
                self._mail_kept(None)
        finally:
            with self._changed:
                self._thread = None if self._thread is me else self._thread

    def _await(self) -> bool:
        """Wait until a mail is due; false if there will be none any more."""
        with self._changed:
            while True:
                if self._is_due():
                    return True
                if self._is_closing and not self._has_mail:
                    self._thread = None  # Whoever comes from now on begins another.
                    return False
                patience = self._next - time.monotonic() if self._has_mail else None
                _ = self._changed.wait(
                    None if patience is None else min(patience, _checks.LONGEST_WAIT)
                )

    def _mail_kept(self, until: float | None) -> None:
        """Mail what is kept; each digest within the usual time, and all within this one."""
        with self._changed:
            kept, self._kept = self._kept, _Digest()
            owed, self._owed = self._owed, {}
            self._is_mailing, self._is_hurried = True, False
            self._at_hand = sum(each.records for each in (kept, *owed.values()))
        still_owed: dict[tuple[Address, ...], _Digest] = {}
        try:
            self._share_out(owed, kept)
            while True:
                seconds = self._timeout if until is None else until - time.monotonic()
                if not owed or seconds <= 0:
                    break
                recipients, digest = owed.popitem()  # Interrupted, it may have arrived.
                if late := self._mail(recipients, digest, seconds):
                    still_owed[late] = digest
        except Exception as error:  # `fromaddr` or `toaddrs` was changed, and is wrong.
            self._report(str(error))
        finally:
            left = owed | still_owed
            if left and self._is_closing:
                lost = sum(each.records for each in left.values())
                told = f"{_counted(lost)} did not reach everybody"
                self._report_lost(f"the handler is closed: {told}")
                left.clear()
            with self._changed:
                self._owed = left
                self._next = time.monotonic() + self._interval
                self._is_mailing, self._at_hand = False, 0
                self._changed.notify_all()

    def _share_out(self, owed: dict[tuple[Address, ...], _Digest], kept: _Digest) -> None:
        """Add to what is owed what came since, and for everybody else that alone."""
        if not kept.entries:
            return
        for digest in owed.values():
            digest.add(kept, self._capacity)
        owing = {recipient for recipients in owed for recipient in recipients}
        everybody = [recipient.address for recipient in self._envelope().recipients]
        if others := tuple(address for address in everybody if address not in owing):
            owed[others] = kept

    def _is_due(self) -> bool:
        is_time = self._is_hurried or self._is_closing or time.monotonic() >= self._next
        return self._has_mail and is_time

    @property
    def _has_mail(self) -> bool:
        return bool(self._kept.entries or self._owed)

    def _envelope(self) -> Envelope:
        """Of a mail to everybody."""
        return Envelope.from_message(self._message("", ""))

    def _message(self, subject: str, text: str) -> EmailMessage:
        return compose(sender=self.fromaddr, to=_listed(self.toaddrs), subject=subject, text=text)

    def _mail(
        self, recipients: tuple[Address, ...], digest: _Digest, seconds: float
    ) -> tuple[Address, ...]:
        """Mail a digest; return those to whom it can be sent again, and who have not got it."""
        result: SendResult | None = None
        try:
            entries = [*digest.entries.values()]
            message = self._message(_subject(entries), _text(entries, digest.dropped))
            sender = Envelope.from_message(message).sender
            envelope = Envelope(sender, recipients)
            result = self._send(message, envelope=envelope, timeout=seconds)
            result.raise_for_refused()
        except Exception as error:
            if result is None and isinstance(error, SMTPError):
                result = error.result
            self._report(f"{_told(error, result)} (a mail of {_counted(digest.records)})")
            if result is not None:
                return tuple(each.recipient for each in result.outcomes if each.retryable)
            is_final = isinstance(error, ReplyError) and not error.transient
            return () if is_final or not isinstance(error, SMTPError) else recipients
        return ()

    def _report_lost(self, told: str) -> None:
        try:
            raise SMTPError(told)  # What `handleError` reports is an exception.
        except SMTPError:
            self._report(told)

    def _report(self, told: str) -> None:
        self.handleError(logging.makeLogRecord({"name": __name__, "msg": told}))


def _told(error: Exception, result: SendResult | None) -> str:
    """What is reported: each recipient without the digest, where that is known."""
    if result is None:
        return str(error)
    return "; ".join(str(each) for each in result.outcomes if each.status is not Status.ACCEPTED)


def _counted(records: int) -> str:
    return "1 record" if records == 1 else f"{records:,} records"


def _subject(entries: list[_Entry]) -> str:
    records = sum(entry.count for entry in entries)
    more = f" (and {records - 1:,} more)" if records > 1 else ""
    return " ".join(entries[0].subject.split()) + more


def _text(entries: list[_Entry], dropped: int) -> str:
    texts = [
        entry.text if entry.count == 1 else f"{entry.text}\n({entry.count:,} times)"
        for entry in entries
    ]
    if dropped:
        texts.append(f"{dropped:,} more records were dropped: they did not fit.")
    return "\n\n".join(texts) + "\n"


def _plain(text: str) -> str:
    """What can be mailed: no surrogates, no control characters, no end of it."""
    if len(text) > _LONGEST:
        text = f"{text[:_LONGEST]}\n… ({len(text) - _LONGEST:,} characters more)"
    text = text.encode("utf-8", "backslashreplace").decode("utf-8")
    return "".join(c if c.isprintable() or c in "\n\t" else ascii(c)[1:-1] for c in text)


def _listed(given: str | Sequence[str | tuple[str, str]]) -> Sequence[str | tuple[str, str]]:
    """The addresses of a text as it stands in a field, or that itself if it is none.

    To `SMTPHandler` a tuple is a list: to `compose` it would be a name and an address.
    """
    if not isinstance(given, str):
        return [*given] if isinstance(given, tuple) else given
    pairs = getaddresses([given])
    return pairs if all(address for _, address in pairs) else [given]


def _endpoint_of(mailhost: object) -> Endpoint:
    match mailhost:
        case str(host):
            return Endpoint(host, 25)
        case (str(host), 465):  # RFC 8314 §7.3
            raise ValueError(
                "mailhost: port 465 begins with TLS, and `secure` is STARTTLS: give "
                f"url='smtps://{host}' in place of both"
            )
        case (str(host), int(port)):
            return Endpoint(host, port)
        case _:
            raise TypeError("mailhost: give a host, or a tuple of host and port")


def _credentials_of(credentials: object) -> Credentials | None:
    match credentials:
        case None:
            return None
        case (str(user), str(password)):
            return Credentials(user, password)
        case _:
            raise TypeError("credentials: give a tuple of user and password, or None")


def _policy_of(secure: object) -> TLSPolicy | None:
    """What `SMTPHandler` takes: nothing, a key file, or the files of key and certificate."""
    match secure:
        case None:
            return None
        case ():
            return TLSPolicy(TLSMode.STARTTLS)
        case (str(file),):
            certificate = ClientCertificate(file)
        case (str(key_file), str(file)):
            certificate = ClientCertificate(file, key_file)
        case _:
            raise TypeError("secure: give an empty tuple, or one of key and certificate file")
    return TLSPolicy(TLSMode.STARTTLS, client_certificate=certificate)
