"""Flask's mail: settings, apps side by side, tests that send nothing."""

from __future__ import annotations

import gc
from typing import Any

import pytest

import smtpx
from smtpx.testing import Server, ServerTLS, Stall

flask = pytest.importorskip("flask", reason="Flask is not installed: group `integrations`")


def app_with(**settings: Any) -> Any:
    app = flask.Flask("tests")
    app.config.update(settings)
    return app


def mail_for(app: Any, **options: Any) -> Any:
    from smtpx.integrations.flask import Mail

    return Mail(app, **options)


HELLO: dict[str, Any] = {"to": "bob@example.net", "subject": "hi", "text": "hello"}


def test_requests_share_a_connection():
    with Server() as server:
        app = app_with(SMTPX_URL=server.url, MAIL_DEFAULT_SENDER=("Ann", "ann@example.org"))
        mail = mail_for(app)

        def index() -> str:
            return str(mail.send(mail.compose(**HELLO)).complete)

        app.add_url_rule("/", view_func=index)
        web = app.test_client()
        assert [web.get("/").text for _ in range(5)] == ["True"] * 5
        assert len(server.sessions) == 1
        assert server.messages[0].parsed["From"] == "Ann <ann@example.org>"


def test_the_settings_of_flask_mail():
    with Server(tls=ServerTLS.STARTTLS, users={"ann": "secret"}) as server:
        app = app_with(
            MAIL_SERVER="127.0.0.1",
            MAIL_PORT=str(server.port),
            MAIL_USE_TLS=True,
            MAIL_USERNAME="ann",
            MAIL_PASSWORD="secret",
            MAIL_MAX_EMAILS="1",
        )
        context = server.client_context()
        policy = smtpx.TLSPolicy(smtpx.TLSMode.STARTTLS, context=context)
        mail = mail_for(app, tls=policy)
        with app.app_context():
            for _ in range(2):
                assert mail.send(mail.compose(sender="ann@example.org", **HELLO)).complete
        assert [message.user for message in server.messages] == ["ann", "ann"]
        assert len(server.sessions) == 2


def test_what_the_environment_does_not_have_is_not_said():
    unset = dict.fromkeys(["SERVER", "PORT", "USE_TLS", "USERNAME", "PASSWORD", "MAX_EMAILS"])
    app = app_with(**{f"MAIL_{name}": value for name, value in unset.items()})
    mail = mail_for(app)
    with app.app_context():
        assert mail.client is not None


def test_a_translation_that_is_made_late_is_text():
    class Late:  # as flask_babel.LazyString has it
        def __getattr__(self, name: str) -> Any:
            return getattr(str(self), name)

        def __str__(self) -> str:
            return "Grüße"

    app = app_with(SMTPX_URL="smtp://localhost")
    with app.app_context():
        message = mail_for(app).compose(
            sender="ann@example.org", to="bob@example.net", subject=Late(), text=Late()
        )
    assert message["Subject"] == "Grüße"
    assert "Grüße" in message.get_content()


def test_a_sender_may_be_what_extensions_give():
    local: Any = pytest.importorskip("werkzeug.local")
    for sender in ("shop@example.org", ("Shop", "shop@example.org")):
        app = app_with(SMTPX_URL="smtp://localhost")
        with app.app_context():
            proxy = local.LocalProxy(lambda sender=sender: sender)
            message = mail_for(app).compose(sender=proxy, **HELLO)
        assert "shop@example.org" in str(message["From"])


def test_the_default_sender_may_be_known_within_a_request_only():
    local: Any = pytest.importorskip("werkzeug.local")
    sender = local.LocalProxy(lambda: flask.current_app.config["SHOP"])
    app = app_with(MAIL_DEFAULT_SENDER=sender, SHOP="shop@example.org")
    mail = mail_for(app)
    with app.app_context():
        assert mail.compose(**HELLO)["From"] == "shop@example.org"


def test_send_many_tells_of_each():
    with Server(refuse_recipients={"gone@example.net": "550 5.1.1 No such user"}) as server:
        app = app_with(SMTPX_URL=server.url, MAIL_DEFAULT_SENDER="ann@example.org")
        mail = mail_for(app)
        with app.app_context():
            to = ["gone@example.net", "bob@example.net"]
            messages = [mail.compose(**HELLO | {"to": one}) for one in to]
            assert [result.complete for result in mail.send_many(messages)] == [False, True]


def test_the_password_may_stand_apart_from_the_url():
    with Server(users={"ann": "secret"}) as server:
        url = server.url.replace("://", "://ann@")
        app = app_with(SMTPX_URL=url, MAIL_PASSWORD="secret", MAIL_DEFAULT_SENDER="a@example.org")
        with app.app_context():
            mail = mail_for(app)
            assert mail.send(mail.compose(**HELLO)).complete
        assert server.messages[0].user == "ann"
    with Server() as server:  # Without a user there, nobody logs in.
        app = app_with(SMTPX_URL=server.url, MAIL_PASSWORD="x", MAIL_DEFAULT_SENDER="a@example.org")
        with app.app_context():
            mail = mail_for(app)
            assert mail.send(mail.compose(**HELLO)).complete
        assert server.messages[0].user is None


def test_a_test_sends_nothing_and_sees_all():
    app = app_with(TESTING=True, SMTPX_URL="smtp://localhost", MAIL_DEFAULT_SENDER="a@example.org")
    mail = mail_for(app)
    with app.app_context():
        first, second = mail.compose(**HELLO), mail.compose(**HELLO | {"subject": "second"})
        (of_many,) = mail.send_many([second])
        results = [mail.send(first), of_many]
        assert [each.as_bytes() for each in mail.outbox] == [second.as_bytes(), first.as_bytes()]
        assert mail.client.statistics().opened == 0
    assert [result.complete for result in results] == [True, True]
    assert [str(result) for result in results] == ["bob@example.net accepted"] * 2
    assert [result.reply or result.server for result in results] == [None, None]
    assert [result.message for result in results] == [None, second]


def test_a_test_sees_each_message_as_it_would_have_been_sent():
    """A program may go on with the message that it has sent."""
    app = app_with(TESTING=True, MAIL_DEFAULT_SENDER="a@example.org")
    mail = mail_for(app)

    def changed(message: Any) -> Any:
        for number in "234":
            message.replace_header("Subject", number)
            if number == "3":
                message.add_attachment(b"x", maintype="a", subtype="b", filename="late.txt")
            yield message

    with app.app_context():
        message = mail.compose(**HELLO | {"subject": "1"})
        mail.send(message)
        list(mail.send_many(changed(message)))
        assert [each["Subject"] for each in mail.outbox] == ["1", "2", "3", "4"]
        assert [len([*each.walk()]) for each in mail.outbox] == [1, 1, 3, 3]


def test_a_test_fails_as_sending_does():
    """What cannot be sent, and what nobody iterates over, is not kept."""
    app = app_with(TESTING=True)
    mail = mail_for(app)
    with app.app_context():
        nobody = mail.compose(sender="ann@example.org", **HELLO)
        del nobody["To"]
        with pytest.raises(smtpx.LocalProtocolError) as caught:
            mail.send(nobody)
        (result,) = mail.send_many([nobody])
        assert (str(result.error), result.complete) == (str(caught.value), False)
        message = mail.compose(sender="ann@example.org", **HELLO)
        with pytest.warns(RuntimeWarning, match="never iterated over: nothing was kept"):
            mail.send_many([message])
        assert mail.outbox == []


def test_a_test_that_sends_says_so():
    with Server() as server:
        app = app_with(TESTING=True, SMTPX_URL=server.url, MAIL_SUPPRESS_SEND=False)
        mail = mail_for(app)
        with app.app_context():
            assert mail.send(mail.compose(sender="ann@example.org", **HELLO)).complete


def test_a_test_may_say_so_after_the_app_was_made():
    """As in Flask's documentation: a fixture calls the factory, then updates the settings."""
    with Server() as server:
        app = app_with(SMTPX_URL=server.url, MAIL_DEFAULT_SENDER="ann@example.org")
        mail = mail_for(app)
        app.config.update(TESTING=True)
        with app.app_context():
            assert mail.send(mail.compose(**HELLO)).complete
            assert len(mail.outbox) == 1
            app.config.update(MAIL_SUPPRESS_SEND=False)
            assert mail.send(mail.compose(**HELLO)).complete
        assert len(server.messages) == 1


def test_mail_goes_where_the_settings_say_now():
    """A fixture says where, when the app of production was made; the next one says it again."""
    with Server() as production, Server() as first, Server() as second:
        app = app_with(MAIL_SERVER="127.0.0.1", MAIL_PORT=production.port)
        mail = mail_for(app)
        with app.app_context():
            for server in (first, second):
                app.config.update(SMTPX_URL=server.url, MAIL_DEFAULT_SENDER="ann@example.org")
                for _ in range(2):
                    assert mail.send(mail.compose(**HELLO)).complete
            app.config.update(SMTPX_URL="localhost")
            with pytest.raises(smtpx.EndpointError):
                mail.send(mail.compose(**HELLO))
        assert [len(server.sessions) for server in (production, first, second)] == [0, 1, 1]
        assert len(second.messages) == 2
        assert first.wait_until_idle()[0].quit


@pytest.mark.parametrize(
    ("settings", "sent"),
    [
        ({"MAIL_BACKEND": "smtp"}, 1),
        ({"MAIL_BACKEND": "flask_mailman.backends.smtp.EmailBackend", "TESTING": True}, 1),
        ({"MAIL_BACKEND": "locmem"}, 0),
        ({"MAIL_BACKEND": "flask_mailman.backends.locmem.EmailBackend"}, 0),
        ({"MAIL_BACKEND": "memory"}, 0),
        ({"MAIL_BACKEND": "dummy"}, 0),
        ({"MAIL_BACKEND": None, "TESTING": True}, 0),
        ({"MAIL_BACKEND": "", "TESTING": True}, 0),
        ({"MAIL_BACKEND": "console", "MAIL_SUPPRESS_SEND": True}, 0),
        ({"MAIL_BACKEND": "locmem", "MAIL_SUPPRESS_SEND": False}, 1),
        ({"SUPPRESS_SEND": 0, "MAIL_STARTTLS": False}, 1),
    ],
)
def test_the_backend_of_flask_mailman_says_whether_mail_goes_out(
    settings: dict[str, Any], sent: int
):
    with Server() as server:
        app = app_with(SMTPX_URL=server.url, MAIL_DEFAULT_SENDER="ann@example.org", **settings)
        mail = mail_for(app)
        with app.app_context():
            assert mail.send(mail.compose(**HELLO)).complete
            assert len(mail.outbox) == 1 - sent
        assert len(server.messages) == sent


def test_nothing_goes_out_that_a_setting_of_another_library_keeps():
    """Also where a fixture says so when the app was made."""
    with Server() as server:
        app = app_with(SMTPX_URL=server.url, MAIL_DEFAULT_SENDER="ann@example.org")
        mail = mail_for(app)
        for setting, value in (("SUPPRESS_SEND", 1), ("MAIL_BACKEND", "file")):
            app.config[setting] = value
            with app.app_context(), pytest.raises(ValueError, match=setting):
                mail.send(mail.compose(**HELLO))
            with app.app_context(), pytest.raises(ValueError, match=setting):
                _ = list(mail.send_many([mail.compose(**HELLO)]))
            del app.config[setting]
        assert server.sessions == []


@pytest.mark.parametrize("seconds", [0.05, "1"])
def test_a_timeout_is_for_each_wait_as_in_flask_mailman(seconds: Any):
    with Server(faults=[Stall("EHLO")]) as server:
        app = app_with(SMTPX_URL=server.url, MAIL_TIMEOUT=seconds)
        mail = mail_for(app)
        with app.app_context(), pytest.raises(smtpx.TimedOut):
            mail.send(mail.compose(sender="ann@example.org", **HELLO))


def test_without_a_sender_the_error_names_the_setting():
    app = app_with()
    mail = mail_for(app)
    with app.app_context():
        with pytest.raises(TypeError, match="MAIL_DEFAULT_SENDER"):
            mail.compose(**HELLO)
        assert mail.compose(sender="ann@example.org", **HELLO)["From"] == "ann@example.org"


def test_two_apps_have_two_servers():
    mail = mail_for(None)
    with Server() as first, Server() as second:
        apps = [app_with(SMTPX_URL=server.url) for server in (first, second)]
        for app in apps:
            mail.init_app(app)
        for app in apps:
            with app.app_context():
                mail.send(mail.compose(sender="ann@example.org", **HELLO))
        assert (len(first.messages), len(second.messages)) == (1, 1)


def test_connections_end_with_their_app():
    with Server() as server:
        app = app_with(SMTPX_URL=server.url)
        mail = mail_for(app)
        with app.app_context():
            mail.send(mail.compose(sender="ann@example.org", **HELLO))
        del app
        _ = gc.collect()
        (session,) = server.wait_until_idle()
        assert session.quit


def test_an_app_without_mail_is_told_what_to_do():
    mail = mail_for(None)
    with app_with().app_context(), pytest.raises(RuntimeError, match=r"init_app\(app\)"):
        _ = mail.client


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"SMTPX_URL": "localhost"}, "scheme://host"),
        ({"SMTPX_URL": 25}, "SMTPX_URL"),
        ({"MAIL_USE_TLS": True, "MAIL_USE_SSL": True}, "contradict"),
        ({"MAIL_USE_TLS": "False"}, "MAIL_USE_TLS"),
        ({"MAIL_SUPPRESS_SEND": "yes"}, "MAIL_SUPPRESS_SEND"),
        ({"MAIL_USERNAME": "ann"}, "MAIL_PASSWORD"),
        ({"MAIL_PORT": "smtp"}, "MAIL_PORT: give an int or None, not str"),
        ({"MAIL_MAX_EMAILS": "many"}, "MAIL_MAX_EMAILS: give an int"),
        ({"SMTPX_TIMEOUT": 5}, r"SMTPX_TIMEOUT \(did you mean the argument timeout of Mail\?\)"),
        ({"SMTPX_URI": "smtp://localhost"}, r"SMTPX_URI \(did you mean SMTPX_URL\?\)"),
        ({"MAIL_MAX_EMAILS": 0}, "MAIL_MAX_EMAILS=0: give 1 or more"),
        ({"MAIL_SERVER": "mail.example.com:587"}, "MAIL_SERVER, MAIL_PORT: host: give a name"),
        ({"MAIL_PORT": "465", "MAIL_SERVER": "mail.example.com"}, "MAIL_USE_SSL=True"),
        ({"MAIL_DEFAULT_SENDER": "nobody"}, "MAIL_DEFAULT_SENDER: "),
        ({"MAIL_BACKEND": "console"}, "MAIL_BACKEND='console' is not here: say MAIL_SUPPRESS_SEND"),
        ({"MAIL_BACKEND": "shop.mail.Backend"}, "MAIL_BACKEND"),
        ({"MAIL_BACKEND": "file", "MAIL_FILE_PATH": "mail"}, "MAIL_BACKEND"),
        ({"SUPPRESS_SEND": 1}, "SUPPRESS_SEND is not read here: say MAIL_SUPPRESS_SEND"),
        ({"MAIL_STARTTLS": True}, "MAIL_STARTTLS is not read here: say MAIL_USE_TLS"),
        ({"MAIL_SSL_TLS": True}, "say MAIL_USE_SSL"),
        ({"MAIL_SSL_CERTFILE": "mail.pem"}, "client_certificate"),
        ({"MAIL_TIMEOUT": "soon"}, "MAIL_TIMEOUT: give seconds"),
        ({"MAIL_DEFAULT_SENDER": ("Ann",)}, "MAIL_DEFAULT_SENDER: "),
    ],
)
def test_a_wrong_setting_is_told_at_once(settings: dict[str, Any], complaint: str):
    with pytest.raises((TypeError, ValueError, smtpx.SMTPError), match=complaint):
        mail_for(app_with(**settings))


def test_a_wrong_argument_is_told():
    with pytest.raises(TypeError, match="app"):
        mail_for("app")
    with pytest.raises(TypeError, match="unknown option"):
        mail_for(app_with(), hots=1)
