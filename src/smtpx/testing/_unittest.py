"""A mixin for `unittest`: a mail server for each test, and what it received."""

from __future__ import annotations

import os
import unittest
from collections.abc import Callable
from functools import cached_property, wraps
from typing import Any
from unittest import mock

from ._client_url import client_url
from ._django_settings import is_djangos_own, pointed_at
from ._mails import Mail, Mails
from ._spelling import fault_text
from .server import Server


def _with_server(set_up: Callable[[MailTestCase], None]) -> Callable[[MailTestCase], None]:
    """A `setUp`, after which the server runs, whatever it calls."""

    @wraps(set_up)
    def begun(case: MailTestCase) -> None:
        set_up(case)
        _ = case.smtp_server

    return begun


class MailTestCase(unittest.TestCase):
    """A `unittest.TestCase` with a mail server, whose URL is in SMTPX_URL.

    Where Django is configured, its settings point there as well.

    ::

        class SignupTest(MailTestCase):
            def test_welcome(self):
                sign_up("bob@example.net")
                self.assertMailSent(to="bob@example.net", subject="Welcome")

    At its end, a test whose client broke the protocol fails, and one in which a fault never struck.
    """

    __module__ = "smtpx.testing"

    def __init_subclass__(cls, **keywords: Any) -> None:
        super().__init_subclass__(**keywords)
        if cls.setUp is not MailTestCase.setUp:
            cls.setUp = _with_server(cls.setUp)  # type: ignore[assignment, method-assign]

    def setUp(self) -> None:
        """Start the server; a `setUp` of one's own need not call this one."""
        super().setUp()
        _ = self.smtp_server

    @cached_property
    def smtp_server(self) -> Server:
        """The server of this test, which is started by then."""
        server = self.make_smtp_server()
        server.start()
        # The last that is added comes first; and a test that runs again has a server of its own.
        for name in ("smtp_server", "mail"):
            self.addCleanup(vars(self).pop, name, None)
        self.addCleanup(self._check_smtp_server, server)
        self.addCleanup(server.close)
        environment = mock.patch.dict(os.environ, SMTPX_URL=client_url(server))
        _ = environment.start()
        self.addCleanup(environment.stop)
        settings, self._is_djangos = pointed_at(server)
        self.enterContext(settings)
        return server

    @cached_property
    def mail(self) -> Mails:
        """What was received, to be asked for."""
        return Mails(self.smtp_server)

    def make_smtp_server(self) -> Server:
        """Make the server; override it for one that behaves otherwise."""
        return Server()

    def _check_smtp_server(self, server: Server) -> None:
        breaches = [
            each for each in server.breaches if not (self._is_djangos and is_djangos_own(each))
        ]
        wrong = [f"the client broke the protocol: {each}" for each in breaches]
        wrong += [f"a fault never struck: {fault_text(each)}" for each in server.unstruck]
        if wrong:
            self.fail("\n".join(wrong))

    def assertMailSent(  # noqa: N802 - as unittest's own
        self, *, to: str | None = None, sender: str | None = None, subject: str | None = None
    ) -> Mail:
        """Assert that exactly one such message comes; return it."""
        return self.mail.only(to=to, sender=sender, subject=subject)
