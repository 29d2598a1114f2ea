"""What Django's settings and OPTIONS mean for the connection."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

import pytest

import smtpx
from smtpx.integrations.django import EmailBackend
from smtpx.testing import Server, ServerTLS
from tests.integrations.django.setting_up import BACKEND, HAS_MAILERS

Mailer = Callable[..., None]

LOGS = "smtpx.integrations.logs.MailHandler"

PROXY = "socks5://ann:hunter2@proxy.test"

STARTTLS, IMPLICIT, NONE = smtpx.TLSMode.STARTTLS, smtpx.TLSMode.IMPLICIT, smtpx.TLSMode.NONE


class WithProxy(EmailBackend):
    """As docs/django.md shows it."""

    def __init__(self, **options: Any) -> None:
        super().__init__(proxy=PROXY, **options)


def read(**options: Any) -> Any:
    from smtpx.integrations.django._settings import read

    return read(options)


@pytest.mark.parametrize(
    ("options", "endpoint"),
    [
        ({"host": "mail.example.com"}, smtpx.Endpoint("mail.example.com", 25)),
        ({"host": "mail.example.com", "port": 26}, smtpx.Endpoint("mail.example.com", 26)),
        # As what is read from the environment is.
        ({"host": "mail.example.com", "port": "26"}, smtpx.Endpoint("mail.example.com", 26)),
        (
            {"host": "mail.example.com", "use_tls": True},
            smtpx.Endpoint("mail.example.com", 587, STARTTLS),
        ),
        (
            {"host": "mail.example.com", "use_tls": True, "port": 25},
            smtpx.Endpoint("mail.example.com", 25, STARTTLS),
        ),
        (
            {"host": "mail.example.com", "use_ssl": True, "use_tls": False},
            smtpx.Endpoint("mail.example.com", 465, IMPLICIT),
        ),
        (
            {"host": "mail.example.com", "use_tls": False},
            smtpx.Endpoint("mail.example.com", 25, NONE),
        ),
        (
            {"url": "smtps://mail.example.com"},
            smtpx.Endpoint("mail.example.com", 465, IMPLICIT),
        ),
    ],
)
def test_where_mail_goes(options: dict[str, Any], endpoint: smtpx.Endpoint):
    assert read(**options).endpoint == endpoint


def test_a_timeout_is_for_each_wait_as_djangos_is():
    assert read(host="localhost", timeout=7).options["timeouts"] == smtpx.Timeouts.each(7)


def test_empty_credentials_are_none():
    assert "credentials" not in read(host="localhost", username="", password="").options


@pytest.mark.parametrize(
    ("options", "user"),
    [
        ({"url": "gmail://ann@gmail.com", "password": "hunter2"}, "ann@gmail.com"),
        ({"url": "smtps://ann@mx.test", "password": "hunter2"}, "ann"),
        ({"url": "smtps://ann@mx.test", "username": "bob", "password": "hunter2"}, "bob"),
    ],
)
def test_the_user_may_stand_in_the_url_and_the_password_apart(options: dict[str, Any], user: str):
    assert read(**options).options["credentials"] == smtpx.Credentials(user, "hunter2")


def test_options_of_a_client_go_to_the_client():
    options = read(host="localhost", client_name="mx.example.org", check=smtpx.Check.FIX).options
    assert options == {"client_name": "mx.example.org", "check": smtpx.Check.FIX}


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({}, "must define 'url' or 'host'"),
        ({"host": ""}, "must define 'url' or 'host'"),
        ({"host": "localhost", "use_tls": True, "use_ssl": True}, "mutually exclusive"),
        ({"url": "smtp://localhost", "port": 25}, "leave out port"),
        ({"url": "localhost"}, "not scheme://host"),
        ({"host": "localhost", "username": "ann"}, "both username and password"),
        ({"host": "localhost", "password": "secret"}, "both username and password"),
        ({"url": "smtps://ann:x@mx.test", "password": "secret"}, "both username and password"),
        ({"host": "localhost", "ssl_keyfile": "key.pem"}, "needs ssl_certfile"),
        ({"host": "localhost", "timeout": 3, "timeouts": smtpx.Timeouts()}, "leave one out"),
        ({"host": "localhost", "partial": "loudly"}, "'signal' or 'raise'"),
        ({"host": "localhost", "hots": 1}, "[uU]nknown option"),
        ({"host": "localhost", "timeout": "10"}, "timeout: give seconds"),
        ({"host": "localhost", "port": "smtp"}, "port: give an int"),
        ({"host": "localhost", "pool": 5}, "PoolLimits"),
        # A str that comes from the environment is true, whatever it says.
        ({"host": "localhost", "use_tls": "False"}, "use_tls: give True or False"),
        ({"host": "localhost", "use_ssl": "True"}, "use_ssl: give True or False"),
        # In Django's words, for there may be no URL.
        ({"host": "mail.example.com", "port": 465}, "use_ssl=True"),
        ({"host": "mail.example.com", "port": "465", "use_tls": None}, "use_ssl=True"),
        ({"host": "localhost", "ssl_certfile": "missing.pem"}, "missing.pem"),
    ],
)
def test_a_wrong_option_is_told_before_anything_is_sent(
    mailer: Mailer, options: dict[str, Any], complaint: str
):
    if not HAS_MAILERS and not options.get("host", "localhost"):
        pytest.skip("EMAIL_HOST has a default")
    if not HAS_MAILERS and not options:
        pytest.skip("EMAIL_HOST has a default")
    from django.core import mail

    mailer(**options)
    if HAS_MAILERS:
        from django.core.mail import InvalidMailer

        with pytest.raises(InvalidMailer, match=complaint):
            mail.mailers.default  # noqa: B018 - a backend is made
    else:
        with pytest.raises((TypeError, ValueError, smtpx.LocalProtocolError), match=complaint):
            mail.get_connection()


@pytest.mark.skipif(HAS_MAILERS, reason="6.1 deprecates the settings")
class TestOldSettings:
    """``EMAIL_…``, and ``SMTPX`` beside them."""

    def made(self, **said: Any) -> Any:
        from django.core.mail import get_connection
        from django.test import override_settings

        with override_settings(**said):
            made: Any = get_connection()
            return made._settings

    def test_the_settings_are_read(self):
        made = self.made(
            EMAIL_HOST="mail.example.com",
            EMAIL_PORT=587,
            EMAIL_USE_TLS=True,
            EMAIL_HOST_USER="ann",
            EMAIL_HOST_PASSWORD="secret",
            EMAIL_TIMEOUT=9,
        )
        assert made.endpoint == smtpx.Endpoint("mail.example.com", 587, STARTTLS)
        assert made.options == {
            "credentials": smtpx.Credentials("ann", "secret"),
            "timeouts": smtpx.Timeouts.each(9),
        }

    def test_what_nobody_wrote_is_no_wish_for_plain_text(self):
        assert self.made(EMAIL_HOST="mail.example.com").endpoint.tls is None
        assert self.made(EMAIL_HOST="mail.example.com", EMAIL_USE_TLS=False).endpoint.tls is NONE

    def test_smtpx_adds_to_them(self):
        made = self.made(EMAIL_HOST="mail.example.com", SMTPX={"pool": smtpx.PoolLimits(open=2)})
        assert (made.endpoint.host, made.pool.open) == ("mail.example.com", 2)

    def test_a_url_beside_them_is_told(self):
        with pytest.raises(ValueError, match="leave out EMAIL_HOST"):
            self.made(EMAIL_HOST="mail.example.com", SMTPX={"url": "smtp://localhost"})

    def test_smtpx_is_a_dict(self):
        with pytest.raises(TypeError, match="dict of options"):
            self.made(SMTPX="smtp://localhost")

    def test_arguments_go_before_settings(self):
        from django.core.mail import get_connection
        from django.test import override_settings

        with override_settings(EMAIL_HOST="mail.example.com", EMAIL_HOST_USER="ann"):
            made: Any = get_connection(host="localhost", username="", password="")
        assert made._settings.endpoint.host == "localhost"
        assert "credentials" not in made._settings.options

    @pytest.mark.parametrize(
        "settings",
        [
            {"SMTPX": {"url": "submission://ann:hunter2@mail.example.com"}},
            {
                "EMAIL_HOST": "mail.example.com",
                "EMAIL_PORT": 26,
                "EMAIL_USE_TLS": True,
                "EMAIL_HOST_USER": "ann",
                "EMAIL_HOST_PASSWORD": "hunter2",
            },
            {
                "EMAIL_HOST": "mail.example.com",
                "SMTPX": {"credentials": smtpx.Credentials("ann", "hunter2")},
            },
            {
                "SMTPX": {
                    "url": "smtps://mail.example.com",
                    "credentials": smtpx.Credentials("ann", "hunter2"),
                }
            },
        ],
    )
    @pytest.mark.parametrize(
        ("call", "endpoint", "user"),
        [
            (
                {"host": "tenant.example", "port": 2525, "username": "bob", "password": "secret"},
                ("tenant.example", 2525),
                "bob",
            ),
            (
                {"url": "smtps://bob:secret@tenant.example"},
                ("tenant.example", 465),
                "bob",
            ),
            # The password of one server is not told to another.
            ({"url": "smtps://tenant.example"}, ("tenant.example", 465), None),
        ],
    )
    def test_the_server_of_a_tenant_goes_before_that_of_the_settings(
        self,
        settings: dict[str, Any],
        call: dict[str, Any],
        endpoint: tuple[str, int],
        user: str | None,
    ):
        from django.core.mail import get_connection
        from django.test import override_settings

        with override_settings(**settings):
            made: Any = get_connection(**call)
        told, who = made._settings.endpoint, made._settings.options.get("credentials")
        assert (told.host, told.port) == endpoint
        assert (told.user if who is None else who.user) == user
        assert (told.password if who is None else who.password) == (user and "secret")

    def test_a_host_alone_does_not_have_the_login_of_a_url(self):
        from django.core.mail import get_connection
        from django.test import override_settings

        said = {"url": "smtps://ann:hunter2@mail.example.com"}
        with override_settings(SMTPX=said):
            made: Any = get_connection(host="tenant.example")
        assert made._settings.endpoint == smtpx.Endpoint("tenant.example", 25)

    @pytest.mark.parametrize(
        ("said", "call", "complaint"),
        [
            ({}, {"port": 26}, r"give the host, too, or say get_connection\(url=…\)"),
            ({}, {"use_tls": True}, "which says use_tls"),
            ({"outbox": {}}, {"host": "tenant.example"}, "leave out host, or send at once"),
            ({"outbox": {}}, {"username": "bob", "password": "secret"}, "leave out username"),
        ],
    )
    def test_what_cannot_hold_is_told_with_the_way_out(
        self, said: dict[str, Any], call: dict[str, Any], complaint: str
    ):
        from django.core.mail import get_connection
        from django.test import override_settings

        said = {"url": "smtps://mail.example.com", **said}
        with (
            override_settings(SMTPX=said),
            pytest.raises(ValueError, match=complaint),
        ):
            get_connection(**call)

    @pytest.mark.parametrize("call", [{}, {"host": "tenant.example"}, {"partial": "raise"}])
    def test_a_call_may_say_that_there_is_no_outbox(self, call: dict[str, Any]):
        from django.core.mail import get_connection
        from django.test import override_settings

        said = {"url": "smtps://mail.example.com", "outbox": {}}
        with override_settings(SMTPX=said):
            kept: Any = get_connection()
            made: Any = get_connection(outbox=None, **call)
        assert kept._settings.outbox is not None
        assert made._settings.outbox is None
        assert made._settings.endpoint.host == call.get("host", "mail.example.com")

    @pytest.mark.parametrize("outbox", [False, "", 0])
    def test_what_only_looks_like_no_outbox_is_told(self, outbox: Any):
        from django.core.mail import get_connection
        from django.test import override_settings

        said = {"url": "smtps://mail.example.com", "outbox": {}}
        with (
            override_settings(SMTPX=said),
            pytest.raises(TypeError, match=r"outbox: give a dict .* or None"),
        ):
            get_connection(outbox=outbox)

    def test_the_timeout_of_a_call_goes_before_timeouts(self):
        from django.core.mail import get_connection
        from django.test import override_settings

        with override_settings(SMTPX={"timeouts": smtpx.Timeouts(total=9)}):
            made: Any = get_connection(timeout=7)
        assert made._settings.options["timeouts"] == smtpx.Timeouts.each(7)


@pytest.mark.parametrize(
    "options",
    [
        {"host": "localhost", "username": "ann", "password": "hunter2", "port": "x"},
        {"url": "smtp://mx.test", "proxy": PROXY, "client_name": "no name"},
        {"url": "smtp://ann:hunter2@mx.test", "client_name": "no name"},
        {"url": "smtp//mx.test", "proxy": PROXY},
    ],
)
def test_a_password_is_in_no_report_of_an_error(mailer: Mailer, options: dict[str, Any]):
    from django.core import mail
    from django.views.debug import ExceptionReporter

    mailer(**options)
    with pytest.raises(Exception, match=r"port|client_name|URL") as caught:
        _ = mail.mailers.default if HAS_MAILERS else mail.get_connection()
    error = caught.value
    report = ExceptionReporter(None, type(error), error, error.__traceback__)
    shown = report.get_traceback_data()["frames"]  # as the debug page has them
    frames = [frame for frame in shown if "smtpx" in frame["filename"]]
    told = [str(value) for frame in frames for _, value in frame["vars"]]
    assert frames
    assert "hunter2" not in "".join([*told, *traceback.format_exception(error)])


def test_tls_is_verified(mailer: Mailer):
    from django.core.mail import EmailMessage

    with Server(tls=ServerTLS.STARTTLS) as server:
        message = EmailMessage("hi", "hello", "ann@example.org", ["bob@example.net"])
        mailer(host="127.0.0.1", port=server.port, use_tls=True)
        with pytest.raises(smtpx.TLSPolicyError):
            message.send()
        message = EmailMessage("hi", "hello", "ann@example.org", ["bob@example.net"])
        mailer(url=f"smtp://127.0.0.1:{server.port}?tls=starttls&ca={server.ca_file}")
        assert message.send() == 1
        assert server.sessions[-1].tls_version


class TestChecks:
    """``manage.py check``."""

    def found(self) -> list[str]:
        from django.core.checks import run_checks

        return [str(found.id) for found in run_checks() if str(found.id).startswith("smtpx.")]

    def test_plain_text_over_a_network_is_warned_of(self, mailer: Mailer):
        mailer(host="mail.example.com", use_tls=False)
        assert self.found() == ["smtpx.W001"]

    def test_plain_text_on_this_machine_is_not(self, mailer: Mailer):
        mailer(host="localhost", use_tls=False)
        assert self.found() == []

    def test_what_may_be_in_plain_text_is(self, mailer: Mailer):
        mailer(url="smtp://mail.example.com?tls=opportunistic")
        assert self.found() == ["smtpx.W001"]

    @pytest.mark.parametrize(
        ("options", "shown"),
        [
            ({"url": "submission://ann:hunter2@mail.example.com"}, ["url"]),
            ({"url": "gmail://ann@gmail.com:hunter2"}, ["url"]),
            ({"url": "smtps://mail.example.com", "proxy": PROXY}, ["proxy"]),
            ({"url": "smtps://ann:hunter2@mail.example.com", "proxy": PROXY}, ["url", "proxy"]),
            ({"url": "smtps://mail.example.com", "username": "ann", "password": "hunter2"}, []),
            ({"url": "smtps://mail.example.com", "proxy": "http://ann@proxy.test"}, []),
            (
                {
                    "url": "smtps://mail.example.com",
                    "credentials": smtpx.Credentials("ann", "hunter2"),
                },
                [],
            ),
        ],
    )
    def test_a_password_that_djangos_error_reports_show_is_warned_of(
        self, mailer: Mailer, options: dict[str, Any], shown: list[str]
    ):
        from django.core.checks import run_checks
        from django.views.debug import SafeExceptionReporterFilter

        mailer(**options)
        assert ("hunter2" in str(SafeExceptionReporterFilter().get_safe_settings())) is bool(shown)
        told = [found.msg for found in run_checks() if found.id == "smtpx.W002"]
        for each, text in zip(shown, told, strict=True):
            assert f"the password in its {each} is shown" in text

    def test_a_password_that_a_backend_of_the_project_adds_is_not(self):
        from django.test import override_settings

        own = f"{__name__}.WithProxy"
        said: dict[str, Any] = {"EMAIL_BACKEND": own, "SMTPX": {"url": "smtps://mx.test"}}
        if HAS_MAILERS:
            mailer = {"BACKEND": own, "OPTIONS": {"url": "smtps://mx.test"}}
            said = {"MAILERS": {"default": mailer}}
        with override_settings(**said):
            assert self.found() == []

    @pytest.mark.parametrize(
        ("handler", "is_told"),
        [
            ({"class": LOGS, "url": "submission://ann:hunter2@mail.example.com"}, True),
            ({"class": LOGS, "mailhost": "localhost", "credentials": ("ann", "hunter2")}, True),
            ({"()": LOGS, "url": "submission://ann:hunter2@mail.example.com"}, True),
            ({"class": LOGS, "url": "submission://mail.example.com"}, False),
            ({"class": LOGS, "url": "mail.example.com"}, False),
            ({"class": "logging.StreamHandler", "url": "smtp://ann:x@mail.example.com"}, False),
            ({"()": print, "url": "smtp://ann:x@mail.example.com"}, False),
            (None, False),
        ],
    )
    def test_a_password_in_the_settings_of_a_log_handler_is_warned_of(
        self, mailer: Mailer, handler: Any, is_told: bool
    ):
        from django.conf import settings

        mailer(url="submission://mail.example.com")
        before = settings.LOGGING
        settings.LOGGING = {"handlers": {"mail": handler}}  # Overridden, it would be set up.
        try:
            assert self.found() == (["smtpx.W002"] if is_told else [])
        finally:
            settings.LOGGING = before

    def test_the_default_is_not(self, mailer: Mailer):
        mailer(host="mail.example.com")
        assert self.found() == []

    def test_a_mistake_is_an_error(self, mailer: Mailer):
        mailer(url="localhost")
        assert self.found() == ["smtpx.E001"]

    def test_a_mistake_names_its_mailer_once(self, mailer: Mailer):
        from django.core.checks import run_checks

        mailer(url="localhost")
        (told,) = (found.msg for found in run_checks() if found.id == "smtpx.E001")
        where = "MAILERS['default']: " if HAS_MAILERS else "EMAIL_BACKEND: "
        assert told.startswith(where)
        assert told.count(where) == 1

    def test_what_is_no_path_is_left_to_django(self):
        from django.test import override_settings

        said: list[dict[str, Any]] = [{"EMAIL_BACKEND": None}]
        if HAS_MAILERS:
            mailers: list[Any] = [[], {"default": None}, {"default": {"BACKEND": None}}]
            said = [{"MAILERS": each} for each in mailers]
        for each in said:
            with override_settings(**each):
                assert self.found() == []

    @pytest.mark.skipif(not HAS_MAILERS, reason="6.1 has MAILERS")
    @pytest.mark.parametrize("options", [None, [], "smtp://localhost"])
    def test_options_that_are_no_dict_are_a_mistake(self, options: Any):
        from django.core.checks import run_checks
        from django.test import override_settings

        with override_settings(MAILERS={"default": {"BACKEND": BACKEND, "OPTIONS": options}}):
            (told,) = (found.msg for found in run_checks() if found.id == "smtpx.E001")
        assert "OPTIONS: give a dict" in told

    def test_other_backends_are_left_alone(self):
        from django.test import override_settings

        other = "django.core.mail.backends.locmem.EmailBackend"
        said: dict[str, Any] = (
            {"MAILERS": {"default": {"BACKEND": other}}}
            if HAS_MAILERS
            else {"EMAIL_BACKEND": other}
        )
        assert other != BACKEND
        with override_settings(**said, SMTPX={"url": "localhost"}):
            assert self.found() == []
