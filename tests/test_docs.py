"""Every Python block of the README and of docs/ runs, against the embedded server.

Each `except` of theirs is entered, too, in one trouble or another.
"""

from __future__ import annotations

import ast
import re
import socket
import ssl
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from email.message import EmailMessage
from pathlib import Path
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import smtpx
from smtpx._drivers import contexts
from smtpx.testing import (
    OAUTHBEARER,
    SCRAM_MECHANISMS,
    STANDARD_MECHANISMS,
    USUAL_EXTENSIONS,
    XOAUTH2,
    Close,
    Extension,
    Refuse,
    Server,
    ServerTLS,
    TruncateReply,
)

from .bounces import reports

ROOT = Path(__file__).parent.parent
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)

_PLAIN = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
DKIM_KEYS = {
    "rsa.pem": rsa.generate_private_key(65537, 2048).private_bytes(*_PLAIN),
    "ed25519.pem": ed25519.Ed25519PrivateKey.generate().private_bytes(*_PLAIN),
}


def blocks() -> Iterator[ParameterSet]:
    for path in [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]:
        text = path.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            yield pytest.param(match[1], id=f"{path.name}:{line}")


NAMES = ["mail.example.com", "localhost"]
USUAL: dict[str, Any] = {
    "users": {"user": "secret", "ann@example.org": "ya29.an-access-token"},
    "mechanisms": (*SCRAM_MECHANISMS, *STANDARD_MECHANISMS, OAUTHBEARER, XOAUTH2),
}
TROUBLES: dict[str, dict[str, Any]] = {
    "none": {},
    "another password": {"users": {"user": "n3w", "ann@example.org": "ya29.a-newer-token"}},
    "no password for now": {"faults": [Refuse("AUTH", "454 4.7.0 try later")]},
    "no STARTTLS": {"extensions": USUAL_EXTENSIONS - {Extension.STARTTLS}},
    "no greeting": {"greeting": "554 5.3.2 go away"},
    "no such sender": {"refuse_senders": lambda _: "550 5.7.1 not you"},
    "no such recipient": {"refuse_recipients": lambda _: "550 5.1.1 nobody"},
    "no such content": {"refuse_content": "554 5.7.1 spam"},
    "a lost connection": {"faults": [Close("MAIL")]},
    "a doubt": {"faults": [TruncateReply("END-OF-DATA", keep=0)]},
}


@contextmanager
def world_with(
    monkeypatch: pytest.MonkeyPatch, folder: Path, **options: Any
) -> Iterator[dict[int, Server]]:
    """A world where mail.example.com and localhost are embedded servers, by their usual ports."""
    certified: dict[str, Any] = {"certificate_names": NAMES}
    with ExitStack() as stack:
        servers = {
            port: stack.enter_context(Server(tls=tls, **named, **USUAL | options))
            for port, tls, named in [
                (25, ServerTLS.NONE, dict[str, Any]()),
                (465, ServerTLS.IMPLICIT, certified),
                (587, ServerTLS.STARTTLS, certified),
            ]
        }
        trusting = ssl.create_default_context(cafile=servers[465].ca_file)
        trusting.load_verify_locations(servers[587].ca_file)
        monkeypatch.setattr(contexts, "_system_context", lambda: trusting)
        resolve = socket.getaddrinfo

        def found(host, port, *args, **kwargs):
            if host in NAMES and port in servers:
                host, port = "127.0.0.1", servers[port].port
            return resolve(host, port, *args, **kwargs)

        monkeypatch.setattr(socket, "getaddrinfo", found)
        monkeypatch.chdir(folder)
        _ = Path("message.eml").write_bytes(b"Subject: a file\n\nhello\n")
        _ = Path("bounce.eml").write_bytes(reports.POSTFIX)
        for name, key in DKIM_KEYS.items():
            _ = Path(name).write_bytes(key)
        yield servers


def code_of(block: ParameterSet) -> str:
    return str(block.values[0])


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[int, Server]]:
    with world_with(monkeypatch, tmp_path) as servers:
        yield servers


def hello() -> EmailMessage:
    message = EmailMessage()
    message["From"] = "ann@example.org"
    message["To"] = "bob@example.net"
    message["Subject"] = "hi"
    message.set_content("hello\n")
    return message


@pytest.mark.parametrize("code", list(blocks()))
def test_the_documentation_runs(code: str, world: dict[int, Server]):
    exec(compile(code, "a block of the documentation", "exec"), {"message": hello()})
    assert [breach for server in world.values() for breach in server.breaches] == []


def test_the_documentation_has_blocks():
    assert len(list(blocks())) >= 6


class Marked(ast.NodeTransformer):
    """Code whose every `except` clause says so when it is entered."""

    def __init__(self) -> None:
        self.lines: set[int] = set()

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.ExceptHandler:
        _ = self.generic_visit(node)
        self.lines.add(node.lineno)
        node.body[:0] = ast.parse(f"entered({node.lineno})").body
        return node


def excepts(code: str) -> set[int]:
    """The lines of the `except` clauses."""
    marked = Marked()
    _ = marked.visit(ast.parse(code))
    return marked.lines


def entered(code: str) -> set[int]:
    """Run `code`; return the lines of the `except` clauses that were entered, and served."""
    lines: set[int] = set()
    tree = ast.fix_missing_locations(Marked().visit(ast.parse(code)))
    program = compile(tree, "a block of the documentation", "exec")
    try:
        exec(program, {"message": hello(), "entered": lines.add})
    except smtpx.SMTPError:
        return lines  # In this trouble the block leaves it to its caller.
    except Exception:
        return set()  # It is written for another one.
    return lines


@pytest.mark.parametrize(
    "code",
    [pytest.param(block.values[0], id=block.id) for block in blocks() if excepts(code_of(block))],
)
def test_every_except_of_the_documentation_is_entered(
    code: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Each serves in some trouble: a clause that never strikes tells readers what is not so."""
    never = excepts(code)
    for options in TROUBLES.values():
        if not never:
            break
        with (
            monkeypatch.context() as patch,
            world_with(patch, tmp_path, **options) as servers,
        ):
            never -= entered(code)
            assert [breach for server in servers.values() for breach in server.breaches] == []
    assert [code.splitlines()[line - 1] for line in sorted(never)] == []


@pytest.mark.parametrize(
    ("clause", "served"),
    [("ValueError", True), ("KeyError", False), ("smtpx.SMTPError", False)],
)
def test_an_except_that_is_never_entered_is_found(clause: str, served: bool):
    code = f"import smtpx\ntry:\n    int('x')\nexcept {clause}: print('no number')\n"
    assert entered(code) == ({4} if served else set())
    assert entered(code.replace("print", "no_such_name")) == set()
