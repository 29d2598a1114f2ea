"""One call of `send_messages`: what goes out, and what became of it."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator
from typing import TypeAlias

from django.core.mail import EmailMessage
from django.dispatch import Signal

from smtpx import SendResult, SMTPError
from smtpx.integrations.django._messages import Item, written
from smtpx.integrations.django._signals import mail_in_doubt, mail_partial, mail_refused

Noted: TypeAlias = "tuple[EmailMessage, Signal | None]"
"""A message, and the signal that what became of it calls for."""


class Course:
    """The messages of one call, on their way."""

    def __init__(self, messages: Iterable[EmailMessage], *, partial_raises: bool) -> None:
        if isinstance(messages, Collection):
            for message in messages:
                _tell(message, None)
        self._messages = messages
        self._partial_raises = partial_raises
        self._under_way: dict[int, EmailMessage] = {}
        """By the identity of what is sent for them."""
        self._sent = 0
        self._mistake: Exception | None = None
        self._failure: SMTPError | None = None

    def items(self) -> Iterator[Item]:
        """What is to be sent. What cannot be written is passed over, and noted."""
        for message, (content, envelope) in self.written():
            self._under_way[id(content)] = message
            yield content, envelope

    def written(self) -> Iterator[tuple[EmailMessage, Item]]:
        """Each message with what goes out for it. What cannot be written is passed over."""
        for message in self._messages:
            _tell(message, None)
            if not message.recipients():
                continue
            try:
                item = written(message)
            except Exception as mistake:
                self.refuse(mistake)
                continue
            yield message, item

    def note(self, result: SendResult) -> Noted:
        """Write down what became of a message; return it, and the signal that this calls for."""
        message = self._under_way.pop(id(result.message))
        _tell(message, result)
        if result.accepted:
            self._sent += 1
        if self._partial_raises or not result.accepted:
            try:
                result.raise_for_refused()
            except SMTPError as error:
                self.fail(error)
        return message, _signal(result)

    def kept(self, message: EmailMessage, id: str) -> None:
        """Write down under which id a message is in the outbox."""
        _tell(message, None, id)
        self._sent += 1

    def refuse(self, mistake: Exception) -> None:
        """Note that a message cannot be sent as it is: the first such counts."""
        self._mistake = self._mistake or mistake

    def fail(self, error: SMTPError) -> None:
        """Note a failure: the first one counts."""
        self._failure = self._failure or error

    def outcome(self, *, fail_silently: bool) -> int:
        """How many messages somebody accepted, or the outbox has taken.

        Raises:
            Exception: a message could not be written; ValueError, if it has a wrong address.
            SMTPError: a message failed.
        """
        if self._mistake is not None:
            raise self._mistake
        if self._failure is not None and not fail_silently:
            raise self._failure
        return self._sent


def results_of(interruption: BaseException) -> list[SendResult]:
    """What became of the messages that were under way when a call was interrupted."""
    return list(vars(interruption).get("results", ()))


def _tell(message: EmailMessage, result: SendResult | None, id: str | None = None) -> None:
    message.smtpx_result = result  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue] - ours
    message.smtpx_id = id  # type: ignore[attr-defined] # pyright: ignore[reportAttributeAccessIssue] - ours


def _signal(result: SendResult) -> Signal | None:
    if result.complete:
        return None
    if result.in_doubt:
        return mail_in_doubt
    return mail_partial if result.accepted else mail_refused
