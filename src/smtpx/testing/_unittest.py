"""A mixin for `unittest`: a mail server for each test, and what it received."""

from __future__ import annotations

import os
import unittest
from unittest import mock

from ._client_url import client_url
from ._django_settings import is_djangos_own, pointed_at
from ._mails import Mail, Mails
from ._spelling import fault_text
from .server import Server


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

    def setUp(self) -> None:
        """Start the server."""
        super().setUp()
        self.smtp_server = self.make_smtp_server()
        self.smtp_server.start()
        # The last that is added comes first.
        self.addCleanup(self._check_smtp_server)
        self.addCleanup(self.smtp_server.close)
        self.mail = Mails(self.smtp_server)
        """What was received, to be asked for."""
        environment = mock.patch.dict(os.environ, SMTPX_URL=client_url(self.smtp_server))
        _ = environment.start()
        self.addCleanup(environment.stop)
        settings, self._is_djangos = pointed_at(self.smtp_server)
        self.enterContext(settings)

    def make_smtp_server(self) -> Server:
        """Make the server; override it for one that behaves otherwise."""
        return Server()

    def _check_smtp_server(self) -> None:
        server = self.smtp_server
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
