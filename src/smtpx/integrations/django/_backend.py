"""The backend: Django's interface over the clients of this process."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from asgiref.sync import sync_to_async
from django.core.mail import EmailMessage
from django.core.mail.backends.base import BaseEmailBackend
from django.views.decorators.debug import sensitive_variables

from smtpx import Outbox, SendResult, Session, SMTPError, TLSMode
from smtpx.integrations.django._clients import alent, lent
from smtpx.integrations.django._course import Course, Noted, results_of
from smtpx.integrations.django._outboxes import opened
from smtpx.integrations.django._putting import put
from smtpx.integrations.django._settings import OPTIONS, read, said_by

# A loop does not hold its tasks.
_telling: set[asyncio.Task[None]] = set()


class EmailBackend(BaseEmailBackend):
    """Sends Django's messages, pipelined, by a pool of connections that the process shares.

    Each message gets its `smtpx.SendResult` as `message.smtpx_result`. The options are those of
    Django's own backend, those of a `smtpx.Client`, and ``url``, ``pool``, ``partial``, ``outbox``.

    With an ``outbox`` messages are put into that, by Django's connection and in its transaction,
    and sent by ``manage.py smtpx outbox run``. Each gets its id there as `message.smtpx_id`.
    """

    __module__ = "smtpx.integrations.django"

    @sensitive_variables()
    def __init__(
        self,
        host: str | None = None,
        port: int | None = None,
        username: str | None = None,
        password: str | None = None,
        use_tls: bool | None = None,
        fail_silently: bool = False,
        use_ssl: bool | None = None,
        timeout: float | None = None,
        ssl_keyfile: str | None = None,
        ssl_certfile: str | None = None,
        *,
        alias: str | None = None,
        **options: Any,
    ) -> None:
        """Read the options; nothing is dialled yet.

        Without an `alias`, what is not said comes from ``SMTPX`` and the ``EMAIL_…`` settings. A
        `host` replaces a ``url`` there, with the login in it.

        Raises:
            InvalidMailer: an option of ``MAILERS`` is wrong.
            TypeError, ValueError, smtpx.LocalProtocolError: another option is.
        """
        options |= {
            "host": host,
            "port": port,
            "username": username,
            "password": password,
            "use_tls": use_tls,
            "use_ssl": use_ssl,
            "timeout": timeout,
            "ssl_keyfile": ssl_keyfile,
            "ssl_certfile": ssl_certfile,
        }
        super().__init__(**_for_django(options, alias))
        try:
            if alias is None:
                options = said_by(options)
            self._settings = read(options)
            with lent(self._settings):  # What a client does not take is told here.
                pass
        except (SMTPError, TypeError, ValueError) as error:
            if alias is None:
                raise
            from django.core.mail import InvalidMailer  # 6.1: none has an alias before

            raise InvalidMailer(str(error), alias=alias) from error
        self.alias = alias
        self.fail_silently = fail_silently
        self._is_open = False

    @property
    def _is_exposed(self) -> bool:
        """True if mail goes to another machine in plain text, or may."""
        endpoint, policy = self._settings.endpoint, self._settings.options.get("tls")
        mode = (policy or endpoint.policy(peer_is_local=False)).mode
        return not endpoint.is_local and mode in (TLSMode.NONE, TLSMode.OPPORTUNISTIC)

    @property
    def outbox(self) -> Outbox | None:
        """The outbox that messages are put into, where there is one."""
        kept = self._settings.outbox
        return None if kept is None else opened(kept)

    def open(self) -> bool | None:
        """See to it that the server can be reached; true if it had to be asked.

        Only where this process has no connection to it, one is opened, and closed again.

        Raises:
            smtpx.SMTPError: it cannot; with `fail_silently` the answer is None.
        """
        if self._is_open:
            return False
        with lent(self._settings) as client:
            is_connected = client.statistics().open > 0
        if not is_connected:
            try:
                with Session(self._settings.endpoint, **self._settings.options):
                    pass
            except SMTPError:
                if self.fail_silently:
                    return None
                raise
        self._is_open = True
        return True

    def close(self) -> None:
        """End what `open` began. The connections stay, for the next who sends."""
        self._is_open = False

    def send_messages(self, email_messages: Iterable[EmailMessage]) -> int:
        """Send them all, or put them into the outbox; return how many somebody accepted, or it did.

        What fails stops no other: the first failure is raised when all have been tried.

        Raises:
            ValueError: a message has no valid address, or a header that cannot be.
            Exception: what the message raises when it is written.
            smtpx.SMTPError: a message was accepted by nobody, or the outbox cannot be had, and then
                none of them is in it; not with `fail_silently`.
        """
        course = Course(email_messages, partial_raises=self._settings.partial_raises)
        if self._settings.outbox is not None:
            put(course, self._settings.outbox)
            return course.outcome(fail_silently=self.fail_silently)
        try:
            with lent(self._settings) as client:
                for result in client.send_many(course.items()):
                    self._tell(course, result)
        except SMTPError as error:
            course.fail(error)
        except BaseException as interruption:
            for result in results_of(interruption):
                self._tell(course, result)
            raise
        return course.outcome(fail_silently=self.fail_silently)

    async def asend_messages(self, email_messages: Iterable[EmailMessage]) -> int:
        """Do as `send_messages` does, without holding up the loop."""
        if self._settings.outbox is not None:
            return await sync_to_async(self.send_messages)(email_messages)
        course = Course(email_messages, partial_raises=self._settings.partial_raises)
        try:
            async with alent(self._settings) as client:
                async for result in client.send_many(course.items()):
                    await self._atell_all([(course.note(result), result)])
        except SMTPError as error:
            course.fail(error)
        except BaseException as interruption:
            noted = [(course.note(result), result) for result in results_of(interruption)]
            if not isinstance(interruption, GeneratorExit):  # Then nothing can be awaited.
                # Another cancellation does not keep a receiver from what it has to know.
                telling = asyncio.ensure_future(self._atell_all(noted))
                _telling.add(telling)
                telling.add_done_callback(_telling.discard)
                await asyncio.shield(telling)
            raise
        return course.outcome(fail_silently=self.fail_silently)

    def _tell(self, course: Course, result: SendResult) -> None:
        message, signal = course.note(result)
        if signal is not None:
            signal.send_robust(type(self), message=message, result=result, alias=self.alias)

    async def _atell_all(self, noted: Iterable[tuple[Noted, SendResult]]) -> None:
        for (message, signal), result in noted:
            if signal is not None:
                await signal.asend_robust(
                    type(self), message=message, result=result, alias=self.alias
                )


def _for_django(options: dict[str, Any], alias: str | None) -> dict[str, Any]:
    """What is left to Django to complain of, with the alias, where it knows such a thing."""
    if alias is None:
        return {}
    return {
        "alias": alias,
        **{name: options.pop(name) for name in [*options] if name not in OPTIONS},
    }
