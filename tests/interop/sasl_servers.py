"""The real servers that mechanisms are tried with: Postfix with Dovecot's SASL, Postfix with
Cyrus SASL, and Dovecot's own submission service.

Debian 12: postfix dovecot-core dovecot-submissiond sasl2-bin libsasl2-modules.
"""

import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import trustme

from tests.interop.cyrus import CyrusLMTP
from tests.interop.daemon import free_ports, program
from tests.interop.dovecot import DovecotAuth
from tests.interop.kerberos import Realm
from tests.interop.postfix import MAILBOX_USER, Postfix
from tests.interop.tokens import TokenEndpoint

USER, PASSWORD = "ann@example.test", "Pa\u00dfw\u00f6rt-of-ann"
# For NTLM: Cyrus SASL reads the octets of UTF-8 as if they were Latin-1.
ASCII_USER, ASCII_PASSWORD = "ned@example.test", "Password-of-ned"
# Cyrus' lmtpd wants no domain in the names of its administrators.
CYRUS_USER = "ann"
USERS = {USER: PASSWORD, ASCII_USER: ASCII_PASSWORD}
TOKEN = "ya29.a-token-that-is-good"
HOSTNAME = "localhost"


@dataclass(frozen=True)
class Offer:
    """A server that runs."""

    port: int
    ca_file: Path
    scheme: str = "submission"
    client_certificate: Path | None = None
    """Certificate and key of `USER`, where the server takes them."""
    realm: Realm | None = None
    """The Kerberos realm that the server is part of, where it is."""


_TOKENS = """\
passdb {{
  driver = oauth2
  mechanisms = xoauth2 oauthbearer
  args = {file}
}}
"""

_INTROSPECTION = """\
introspection_url = {url}
introspection_mode = get
username_attribute = username
active_attribute = active
active_value = true
openid_configuration_url = http://{host}/.well-known/openid-configuration
"""


@contextmanager
def _tokens() -> Iterator[str]:
    """The lines of Dovecot's configuration that have it ask an endpoint of ours."""
    with (
        TokenEndpoint({TOKEN: USER}) as endpoint,
        tempfile.TemporaryDirectory(prefix="smtpx-tokens-") as directory,
    ):
        Path(directory).chmod(0o755)
        file = Path(directory, "oauth2.conf")
        file.write_text(_INTROSPECTION.format(url=endpoint.url, host=HOSTNAME), "utf-8")
        file.chmod(0o644)
        yield _TOKENS.format(file=file)


_KERBEROS = """\
auth_krb5_keytab = {keytab}
auth_gssapi_hostname = "$ALL"
import_environment = TZ KRB5_CONFIG={configuration} KRB5RCACHETYPE=none
"""


@contextmanager
def _kerberos() -> Iterator[tuple[Realm | None, str]]:
    """A realm, and the lines of Dovecot's configuration that make it part of that."""
    if kerberos_missing() is not None:
        yield None, ""
        return
    with Realm({ASCII_USER.partition("@")[0]: ASCII_PASSWORD}, [f"smtp/{HOSTNAME}"]) as realm:
        yield realm, _KERBEROS.format(keytab=realm.keytab, configuration=realm.configuration)


def kerberos_missing() -> str | None:
    """Why GSSAPI cannot be tried here; None when it can."""
    if find_spec("gssapi") is None:
        return "GSSAPI needs smtpx[kerberos], which is built with Kerberos' headers"
    if not Path("/usr/lib/dovecot/modules/auth/libmech_gssapi.so").exists():
        return "Dovecot has no GSSAPI (Debian: dovecot-gssapi)"
    return Realm.missing()


_DOVECOT = [
    *("plain", "login", "cram-md5", "scram-sha-1", "scram-sha-256"),
    *("oauthbearer", "xoauth2", "anonymous"),
]


@contextmanager
def _postfix_with_dovecot() -> Iterator[Offer]:
    settings = {
        "smtpd_sasl_security_options": "",
        "smtpd_sasl_tls_security_options": "",
    }
    with (
        _tokens() as tokens,
        _kerberos() as (realm, kerberos),
        Postfix(
            {USER: PASSWORD},
            mechanisms=[*_DOVECOT, *(("gssapi", "gss-spnego") if realm else ())],
            settings=settings,
            dovecot=tokens + kerberos + "auth_anonymous_username = nobody\n",
        ) as postfix,
    ):
        yield Offer(postfix.port, postfix.ca_file, realm=realm)


_CYRUS = """\
pwcheck_method: auxprop
auxprop_plugin: sasldb
sasldb_path: {database}
mech_list: {mechanisms}
"""
_CYRUS_MECHANISMS = [
    *("PLAIN", "LOGIN", "CRAM-MD5", "SCRAM-SHA-1", "SCRAM-SHA-256", "SCRAM-SHA-512"),
    *("NTLM", "ANONYMOUS"),
]


@contextmanager
def _postfix_with_cyrus() -> Iterator[Offer]:
    with tempfile.TemporaryDirectory(prefix="smtpx-cyrus-") as directory:
        Path(directory).chmod(0o755)
        database = Path(directory, "sasldb2")
        saslpasswd2 = [program("saslpasswd2") or "saslpasswd2", "-c", "-p", "-f", str(database)]
        for user, password in USERS.items():
            name, realm = user.split("@")
            _ = subprocess.run(
                [*saslpasswd2, "-u", realm, name],
                input=password.encode(),
                check=True,
                capture_output=True,
            )
        shutil.chown(database, "postfix")
        settings = {
            "smtpd_sasl_local_domain": USER.partition("@")[2],
            "smtpd_sasl_security_options": "",
            "smtpd_sasl_tls_security_options": "",
        }
        cyrus = _CYRUS.format(database=database, mechanisms=" ".join(_CYRUS_MECHANISMS))
        with Postfix(settings=settings, cyrus=cyrus) as postfix:
            yield Offer(postfix.port, postfix.ca_file)


_SUBMISSION = """\
protocols = submission
ssl = yes
ssl_cert = <{directory}/server.pem
ssl_key = <{directory}/server.pem
ssl_ca = <{directory}/ca.pem
ssl_require_crl = no
ssl_verify_client_cert = yes
auth_ssl_username_from_cert = yes
hostname = mail.example.test
# Nothing is relayed: what the tests want to know has been said before.
submission_relay_host = 127.0.0.1
submission_relay_port = {relay}
submission_backend_capabilities =
mail_location = maildir:{directory}/mail
passdb {{
  driver = static
  mechanisms = external
  args = nopassword=yes
}}
userdb {{
  driver = static
  args = uid={uid} gid={gid} home={directory}/mail
}}
service submission-login {{
  inet_listener submission {{
    port = {port}
  }}
  inet_listener submissions {{
    port = 0
  }}
}}
"""


@contextmanager
def _dovecot_submission() -> Iterator[Offer]:
    with (
        _tokens() as tokens,
        tempfile.TemporaryDirectory(prefix="smtpx-submission-") as name,
        Postfix() as relay,
    ):
        directory = Path(name)
        directory.chmod(0o755)
        authority = trustme.CA()
        authority.cert_pem.write_to_path(directory / "ca.pem")
        server = authority.issue_cert(HOSTNAME)
        server.private_key_and_cert_chain_pem.write_to_path(directory / "server.pem")
        client = authority.issue_cert(USER, common_name=USER)
        client.private_key_and_cert_chain_pem.write_to_path(directory / "client.pem")
        nobody = pwd.getpwnam(MAILBOX_USER)
        (directory / "mail").mkdir()
        shutil.chown(directory / "mail", nobody.pw_uid, nobody.pw_gid)
        [port] = free_ports("127.0.0.1", 1)
        extra = _SUBMISSION.format(
            directory=directory,
            relay=relay.port,
            port=port,
            uid=nobody.pw_uid,
            gid=nobody.pw_gid,
        )
        with DovecotAuth(
            directory / "dovecot",
            users={USER: PASSWORD},
            mechanisms=[*_DOVECOT[:-1], "external"],
            listener_user="root",
            extra=tokens + extra,
        ):
            yield Offer(port, directory / "ca.pem", client_certificate=directory / "client.pem")


@contextmanager
def _cyrus_lmtp() -> Iterator[Offer]:
    with CyrusLMTP({CYRUS_USER: PASSWORD}) as cyrus:
        yield Offer(cyrus.port, cyrus.ca_file, scheme="lmtp")


SERVERS: dict[str, Callable[[], AbstractContextManager[Offer]]] = {
    "Postfix + Dovecot SASL": _postfix_with_dovecot,
    "Postfix + Cyrus SASL": _postfix_with_cyrus,
    "Dovecot submission": _dovecot_submission,
    "Cyrus LMTP": _cyrus_lmtp,
}


def missing(server: str) -> str | None:
    """Why a server cannot be started here; None when it can."""
    if server == "Cyrus LMTP":
        return CyrusLMTP.missing()
    if (reason := Postfix.missing()) is not None:
        return reason
    if server == "Postfix + Cyrus SASL" and program("saslpasswd2") is None:
        return "Cyrus SASL is not installed (Debian: sasl2-bin, libsasl2-modules)"
    if server == "Dovecot submission" and not Path("/usr/lib/dovecot/submission").exists():
        return "Dovecot's submission service is not installed (Debian: dovecot-submissiond)"
    return None
