"""What a test asks of the mail that came: find it, wait for it, read it."""

from __future__ import annotations

import asyncio
import sys
from email.message import EmailMessage
from fnmatch import fnmatch
from functools import cached_property

from smtpx import _checks

from ._mailbox import ReceivedMessage
from ._texts import codes_in, links_in
from .server import Server


class Mail:
    """A message that a server received, as a test looks at it: what crossed the socket."""

    __module__ = "smtpx.testing"

    def __init__(self, received: ReceivedMessage) -> None:
        _checks.instance("received", received, ReceivedMessage)
        self.received = received
        """The envelope and the octets."""

    @cached_property
    def header(self) -> EmailMessage:
        """The message as Python's `email` package reads it; its fields by their names."""
        return self.received.parsed

    @property
    def sender(self) -> str:
        """The reverse-path."""
        return self.received.sender

    @property
    def recipients(self) -> tuple[str, ...]:
        """The forward-paths, Bcc among them."""
        return self.received.recipients

    @property
    def subject(self) -> str:
        """Decoded; empty without one."""
        return str(self.header["Subject"] or "")

    @property
    def text(self) -> str:
        """The plain text; empty without one."""
        return self._part("plain")

    @property
    def html(self) -> str:
        """The HTML; empty without one."""
        return self._part("html")

    def _part(self, kind: str) -> str:
        part = self.header.get_body((kind,))
        return "" if part is None else str(part.get_content())

    @property
    def attachments(self) -> dict[str, bytes]:
        """What is attached, by its file name."""
        return {
            part.get_filename() or f"part {number}": bytes(part.get_payload(decode=True) or b"")
            for number, part in enumerate(self.header.iter_attachments())
        }

    def links(self) -> list[str]:
        """The web addresses in its texts."""
        return links_in(self.text, self.html)

    def codes(self) -> list[str]:
        """What look like one-time codes in its subject and texts."""
        return codes_in(self.subject, self.text or self.html)

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"<Mail {self.subject!r} from <{self.sender}> to {', '.join(self.recipients)}>"


class Mails:
    """The mail that a server has received, as a test asks for it.

    `to` and `sender` are addresses of the envelope, `subject` a part of the subject; shell
    wildcards may stand in the first two. What is not given is not asked for.
    """

    __module__ = "smtpx.testing"

    def __init__(self, server: Server) -> None:
        _checks.instance("server", server, Server)
        self.server = server

    def all(self) -> list[Mail]:
        """Everything that came so far, oldest first."""
        return [Mail(received) for received in self.server.messages]

    def __len__(self) -> int:
        return len(self.server.messages)

    def find(
        self, *, to: str | None = None, sender: str | None = None, subject: str | None = None
    ) -> list[Mail]:
        """What came so far and matches, oldest first."""
        for name, value in (("to", to), ("sender", sender), ("subject", subject)):
            _checks.text(name, value, or_none=True)
        return [mail for mail in self.all() if _matches(mail, to, sender, subject)]

    def only(
        self,
        *,
        to: str | None = None,
        sender: str | None = None,
        subject: str | None = None,
        timeout: float = 5.0,
    ) -> Mail:
        """The one message that matches; it is waited for, up to `timeout` seconds.

        Raises:
            AssertionError: none came in time, or several did; what came is told.
        """
        _checks.amount("timeout", timeout, "seconds")
        found = self.find(to=to, sender=sender, subject=subject)
        if not found:
            try:
                self.server.wait_for(
                    lambda: bool(self.find(to=to, sender=sender, subject=subject)), timeout
                )
            except TimeoutError:
                pass
            found = self.find(to=to, sender=sender, subject=subject)
        wanted = ", ".join(
            f"{name} {value}"
            for name, value in (("to", to), ("sender", sender), ("subject", subject))
            if value is not None
        )
        if not found:
            came = "".join(f"\n  {mail}" for mail in self.all()) or " nothing"
            raise AssertionError(f"no mail {wanted} within {timeout} s; what came:{came}")
        if len(found) > 1:
            raise AssertionError(
                f"{len(found)} mails {wanted}:" + "".join(f"\n  {mail}" for mail in found)
            )
        return found[0]

    async def wait_one(
        self,
        *,
        to: str | None = None,
        sender: str | None = None,
        subject: str | None = None,
        timeout: float = 5.0,
    ) -> Mail:
        """The same for asynchronous tests, on asyncio or trio."""

        def wait() -> Mail:
            return self.only(to=to, sender=sender, subject=subject, timeout=timeout)

        try:
            _ = asyncio.get_running_loop()
        except RuntimeError:
            mail: Mail = await sys.modules["trio"].to_thread.run_sync(wait)
            return mail
        return await asyncio.to_thread(wait)


def _matches(mail: Mail, to: str | None, sender: str | None, subject: str | None) -> bool:
    return (
        (to is None or any(fnmatch(each.lower(), to.lower()) for each in mail.recipients))
        and (sender is None or fnmatch(mail.sender.lower(), sender.lower()))
        and (subject is None or subject in mail.subject)
    )
