"""Every mechanism with every real server that has it: the table in docs/authentication.md."""

from __future__ import annotations

import re
import ssl
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from smtpx import (
    AuthenticationRefused,
    Credentials,
    Observer,
    Session,
    SMTPError,
    TLSMode,
    TLSPolicy,
)
from smtpx.sasl import MUTUAL

from .kerberos import REALM
from .sasl_servers import (
    ASCII_PASSWORD,
    ASCII_USER,
    CYRUS_USER,
    HOSTNAME,
    PASSWORD,
    SERVERS,
    TOKEN,
    USER,
    Offer,
    kerberos_missing,
    missing,
)

# In one process, which starts one of each.
pytestmark = [pytest.mark.interop, pytest.mark.xdist_group("sasl")]

POSTFIX_DOVECOT, POSTFIX_CYRUS, SUBMISSION, CYRUS = SERVERS
BY_PASSWORD = ("SCRAM-SHA-256", "SCRAM-SHA-1", "CRAM-MD5", "PLAIN", "LOGIN")
BY_TOKEN = ("OAUTHBEARER", "XOAUTH2")
KERBEROS = ("GSSAPI", "GSS-SPNEGO")
CELLS = [
    *((POSTFIX_DOVECOT, name) for name in (*BY_PASSWORD, *BY_TOKEN, *KERBEROS, "ANONYMOUS")),
    *((POSTFIX_CYRUS, name) for name in ("SCRAM-SHA-512", *BY_PASSWORD, "NTLM", "ANONYMOUS")),
    *((SUBMISSION, name) for name in (*BY_PASSWORD, *BY_TOKEN, "EXTERNAL")),
    *((CYRUS, name) for name in (*MUTUAL, "PLAIN")),
]

# In TLS 1.3 Python has no binding that Cyrus knows.
TLS13 = ssl.TLSVersion.TLSv1_3

_RUNNING = ExitStack()
_OFFERS: dict[str, Offer] = {}


@pytest.fixture(scope="module", autouse=True)
def _servers() -> Iterator[None]:
    with _RUNNING:
        yield
    _OFFERS.clear()


def offer_of(server: str) -> Offer:
    if (reason := missing(server)) is not None:
        pytest.skip(reason)
    if server not in _OFFERS:
        _OFFERS[server] = _RUNNING.enter_context(SERVERS[server]())
    return _OFFERS[server]


def right(mechanism: str, server: str = "") -> Credentials:
    if server == CYRUS:
        return Credentials(CYRUS_USER, PASSWORD)
    if mechanism in BY_TOKEN:
        return Credentials(USER, token=TOKEN)
    if mechanism == "NTLM":
        return Credentials(ASCII_USER, ASCII_PASSWORD)
    if mechanism in KERBEROS:
        return Credentials(f"ned@{REALM}", ASCII_PASSWORD)
    return Credentials(USER, None if mechanism in ("EXTERNAL", "ANONYMOUS") else PASSWORD)


def session(
    offer: Offer,
    credentials: Credentials,
    *mechanisms: str,
    observer: Observer | None = None,
    version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_2,
) -> Session:
    context = ssl.create_default_context(cafile=str(offer.ca_file))
    context.maximum_version = version
    if "EXTERNAL" in mechanisms and offer.client_certificate is not None:
        context.load_cert_chain(offer.client_certificate)
    return Session(
        f"{offer.scheme}://{HOSTNAME}:{offer.port}",
        tls=TLSPolicy(TLSMode.STARTTLS, context=context),
        credentials=credentials,
        mechanisms=mechanisms or None,
        observer=observer,
    )


@pytest.fixture
def _realm(mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if mechanism in KERBEROS:
        if (reason := kerberos_missing()) is not None:
            pytest.skip(reason)
        realm = offer_of(POSTFIX_DOVECOT).realm
        assert realm is not None
        monkeypatch.setenv("KRB5_CONFIG", str(realm.configuration))


@pytest.mark.usefixtures("_realm")
@pytest.mark.parametrize(("server", "mechanism"), CELLS)
def test_the_right_credentials_are_taken(server: str, mechanism: str) -> None:
    with session(offer_of(server), right(mechanism, server), mechanism) as opened:
        assert mechanism in opened.extensions.auth
        # Whoever is not logged in gets a 503 or a 535 to this.
        assert opened.noop().positive


WRONG = [cell for cell in CELLS if cell[1] not in ("ANONYMOUS", "EXTERNAL", *KERBEROS)]


@pytest.mark.parametrize(("server", "mechanism"), WRONG)
def test_the_wrong_ones_are_not(server: str, mechanism: str) -> None:
    wrong = Credentials(USER, "not-the-password-of-ann")
    if mechanism in BY_TOKEN:
        wrong = Credentials(USER, token="ya29.not-a-token-of-ann")
    with pytest.raises(AuthenticationRefused) as caught:
        session(offer_of(server), wrong, mechanism).open()
    assert caught.value.reply.code == (501 if server == CYRUS else 535)
    assert caught.value.command == f"AUTH {mechanism}"


@pytest.mark.usefixtures("_realm")
@pytest.mark.parametrize("mechanism", KERBEROS)
def test_a_ticket_will_do(mechanism: str, monkeypatch: pytest.MonkeyPatch) -> None:
    offer = offer_of(POSTFIX_DOVECOT)
    assert offer.realm is not None
    monkeypatch.setenv("KRB5CCNAME", str(offer.realm.ticket("ned")))
    with session(offer, Credentials(), mechanism) as opened:
        assert opened.noop().positive


@pytest.mark.requirement("T23")
@pytest.mark.usefixtures("_realm")
@pytest.mark.parametrize("mechanism", KERBEROS)
def test_a_password_that_the_realm_refuses_goes_nowhere_else(mechanism: str) -> None:
    lines: list[str] = []
    offer, wrong = offer_of(POSTFIX_DOVECOT), Credentials(f"ned@{REALM}", "not-the-password-of-ned")
    opened = session(
        offer, wrong, mechanism, "PLAIN", observer=lambda line: lines.append(str(line))
    )
    # Negotiation goes on to NTLM, which the server refuses.
    match = "cannot begin" if mechanism == "GSSAPI" else "refused: 535"
    with pytest.raises(SMTPError, match=match):
        opened.open()
    assert not any("C: AUTH PLAIN" in line for line in lines)


def test_external_needs_the_certificate() -> None:
    offer = offer_of(SUBMISSION)
    with pytest.raises(AuthenticationRefused):
        session(Offer(offer.port, offer.ca_file), Credentials(USER), "EXTERNAL").open()


@pytest.mark.parametrize("server", [POSTFIX_DOVECOT, SUBMISSION])
def test_the_error_holds_what_the_server_says_of_a_token(server: str) -> None:
    wrong = Credentials(USER, token="ya29.not-a-token-of-ann")
    with pytest.raises(AuthenticationRefused) as caught:
        session(offer_of(server), wrong, "XOAUTH2").open()
    details = caught.value.details
    assert (details["status"], details["schemes"], details["scope"]) == ("401", "bearer", "mail")
    with pytest.raises(AuthenticationRefused, match="invalid_token") as caught:
        session(offer_of(server), wrong, "OAUTHBEARER").open()
    assert caught.value.details["status"] == "invalid_token"


def test_a_token_that_expired_is_renewed_on_the_same_connection() -> None:
    tokens = ["ya29.expired-token-of-ann", TOKEN]
    with session(offer_of(POSTFIX_DOVECOT), Credentials(USER, token=lambda: tokens.pop(0))):
        assert tokens == []


@pytest.mark.parametrize(
    ("server", "strongest"),
    [
        (POSTFIX_DOVECOT, "SCRAM-SHA-256"),
        (POSTFIX_CYRUS, "SCRAM-SHA-512"),
        (SUBMISSION, "SCRAM-SHA-256"),
        (CYRUS, "SCRAM-SHA-512-PLUS"),
    ],
)
def test_the_strongest_is_chosen(server: str, strongest: str) -> None:
    lines: list[str] = []
    with session(
        offer_of(server), right("PLAIN", server), observer=lambda line: lines.append(str(line))
    ):
        assert [line for line in lines if "AUTH" in line[:8]] == [f"C: AUTH {strongest} [redacted]"]


def test_cyrus_takes_no_binding_that_python_has_in_tls_1_3() -> None:
    """It says so only after the proof, when it could as well be the password."""
    ann = right("PLAIN", CYRUS)
    with pytest.raises(AuthenticationRefused):
        session(offer_of(CYRUS), ann, *MUTUAL, version=TLS13).open()
    with session(offer_of(CYRUS), ann, "SCRAM-SHA-512", version=TLS13) as opened:
        assert opened.noop().positive


def test_the_docs_show_these_cells_and_no_others() -> None:
    text = Path(__file__).parents[2].joinpath("docs", "authentication.md").read_text("utf-8")
    table = re.findall(r"^\|(.+)\|$", text.partition("## Real servers")[2], re.MULTILINE)
    header, _, *rows = ([cell.strip() for cell in row.split("|")] for row in table)
    shown = {
        (server.partition(" (")[0], row[0])
        for row in rows
        for server, cell in zip(header[1:], row[1:], strict=True)
        if cell == "yes"
    }
    assert shown == set(CELLS)
