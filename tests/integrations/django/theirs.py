"""Django's own tests of its SMTP backend, held against ours.

Run by ``make django-tests``. It fetches the source of the Django that is installed.
What is left out looks inside Django's backend, or asks for what we do otherwise on purpose.
"""

from __future__ import annotations

import subprocess
import sys
import tarfile
import tempfile
import unittest
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import django
from django.conf import settings

BACKEND = "smtpx.integrations.django.EmailBackend"
HAS_MAILERS = django.VERSION >= (6, 1)

_ATTRIBUTES = "looks at attributes of Django's backend: test_settings.py tries what settings mean"
_INSIDE = "replaces the smtplib connection within Django's backend; we have none"
_ERRORS = "expects an error of smtplib's; ours is a smtpx.SMTPError, raised at the same place"
_OTHERWISE = (
    "asks for what we do otherwise on purpose: SMTPUTF8 is sent, an unknown option is an error"
)
_WORDS = "expects another wording of the same error"
LEFT_OUT = {
    **dict.fromkeys(
        [
            "test_connection_timeout_custom",
            "test_connection_timeout_default",
            "test_email_authentication_override_settings",
            "test_email_authentication_use_settings",
            "test_email_disabled_authentication",
            "test_email_host_override_settings",
            "test_email_host_use_settings",
            "test_email_ssl_certfile_default_disabled",
            "test_email_ssl_certfile_override_settings",
            "test_email_ssl_certfile_use_settings",
            "test_email_ssl_default_disabled",
            "test_email_ssl_keyfile_default_disabled",
            "test_email_ssl_keyfile_override_settings",
            "test_email_ssl_keyfile_use_settings",
            "test_email_ssl_override_settings",
            "test_email_ssl_use_settings",
            "test_email_timeout_override_settings",
            "test_email_timeout_use_settings",
            "test_email_tls_default_disabled",
            "test_email_tls_override_settings",
            "test_email_tls_use_settings",
            "test_ignores_settings_when_initialized_with_alias",
            "test_port_default_adapts_to_security",
        ],
        _ATTRIBUTES,
    ),
    **dict.fromkeys(
        [
            "test_email_msg_uses_crlf",
            "test_prep_address_without_force_ascii",
            "test_reopen_connection",
            "test_reopen_replaces_partial_connection",
            "test_send_messages_after_open_failed",
            "test_serialized_message_uses_crlf_line_ending",
            "test_server_open",
            "test_smtp_connection_uses_host_and_port",
            "test_smtp_connection_uses_timeout",
            "test_ssl_context_uses_ssl_certfile_and_keyfile",
        ],
        _INSIDE,
    ),
    **dict.fromkeys(
        [
            "test_auth_attempted",
            "test_email_ssl_attempts_ssl_connection",
            "test_email_tls_attempts_starttls",
            "test_fail_silently_on_connection_error",
        ],
        _ERRORS,
    ),
}
if HAS_MAILERS:
    LEFT_OUT |= dict.fromkeys(
        [
            "test_rejects_non_ascii_local_part",
            "test_unknown_kwargs_ignored",
            "test_direct_construction_deprecated",
        ],
        _OTHERWISE,
    )
    LEFT_OUT |= dict.fromkeys(
        ["test_host_option_required", "test_ssl_tls_mutually_exclusive"], _WORDS
    )


def suite(source: Path) -> unittest.TestSuite:
    """Django's cases with our backend in the place of theirs, but for those left out."""
    sys.path.insert(0, str(source / "tests"))
    tests: Any = import_module("mail.test_backends" if HAS_MAILERS else "mail.tests")

    from smtpx.integrations.django import EmailBackend

    tests.smtp = SimpleNamespace(EmailBackend=EmailBackend)
    tests.SMTPBackendTests.email_backend = BACKEND
    tests.SMTPBackendTests.backend_class = EmailBackend
    whole = unittest.TestSuite()
    for case in (tests.SMTPBackendTests, tests.SMTPBackendStoppedServerTests):
        for name in unittest.TestLoader().getTestCaseNames(case):
            if name not in LEFT_OUT:
                whole.addTest(case(name))
    return whole


def fetched(folder: Path) -> Path:
    """The source of the Django that is installed, which has the tests."""
    version = django.__version__
    source = f"django=={version}"
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--no-binary=:all:"]
    _ = subprocess.run([*pip, f"--dest={folder}", source], check=True)
    (archive,) = folder.glob("*.tar.gz")
    with tarfile.open(archive) as packed:
        packed.extractall(folder, filter="data")
    return folder / f"django-{version}"


def main() -> int:
    settings.configure(SECRET_KEY="for tests", USE_TZ=True)
    django.setup()
    with tempfile.TemporaryDirectory() as folder:
        result = unittest.TextTestRunner(verbosity=1).run(suite(fetched(Path(folder))))
    print(f"Django {django.__version__}: {result.testsRun} run, {len(LEFT_OUT)} names left out")
    return 0 if result.wasSuccessful() and result.testsRun > 15 else 1


if __name__ == "__main__":
    sys.exit(main())
