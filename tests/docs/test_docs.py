"""Every Python block of the README and of docs/ runs, against the embedded server.

A block of text that follows it at once is what it prints.
"""

from __future__ import annotations

import ast
import json
import os
import re
import socket
import ssl
import sys
import tomllib
from collections.abc import Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from email.message import EmailMessage
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from _pytest.mark.structures import ParameterSet
from cryptography.hazmat.primitives.asymmetric import ed25519
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

import smtpx
from smtpx._drivers import contexts
from smtpx.testing import (
    OAUTHBEARER,
    SCRAM_MECHANISMS,
    STANDARD_MECHANISMS,
    XOAUTH2,
    Server,
    ServerTLS,
)
from tests.bounces import reports
from tests.certificates import rsa_key

ROOT = Path(__file__).parents[2]
PAGES = [
    *(ROOT / name for name in ("README.md", "CONTRIBUTING.md")),
    *sorted((ROOT / "docs").glob("*.md")),
]
BLOCK = re.compile(r"^```python\n(.*?)^```$(?:\n\n```text\n(.*?)^```$)?", re.MULTILINE | re.DOTALL)

_PLAIN = (Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
DKIM_KEYS = {
    "rsa.pem": rsa_key().private_bytes(*_PLAIN),
    "ed25519.pem": ed25519.Ed25519PrivateKey.generate().private_bytes(*_PLAIN),
}


# As google-auth keeps it; it is good for long, so that nothing is asked for a new one.
TOKEN = {
    "token": "ya29.an-access-token",
    "refresh_token": "1//x",
    "client_id": "x.apps.googleusercontent.com",
    "client_secret": "x",
    "expiry": "2099-01-01T00:00:00Z",
}

# What the blocks of a page need besides smtpx.
NEEDS = {
    "django.md": ["django"],
    "django-outbox.md": ["django"],
    "flask.md": ["flask"],
    "outbox.md": ["django"],
    "frameworks.md": [
        *("fastapi", "httpx2", "starlette", "litestar", "aiohttp"),
        *("apscheduler", "structlog", "sentry_sdk"),
    ],
}

# What a block needs that has these words.
NAMED = {"from fastapi": ["fastapi", "httpx2"], "google.auth": ["google.auth"]}


# Pages of whole programs, with servers of their own: tests/integrations runs them.
PROGRAMS = {"tasks.md"}


def blocks() -> Iterator[ParameterSet]:
    for path in PAGES:
        if path.name in PROGRAMS:
            continue
        text = path.read_text(encoding="utf-8")
        for match in BLOCK.finditer(text):
            line = text.count("\n", 0, match.start()) + 2
            yield pytest.param(match[1], match[2], id=f"{path.name}:{line}")


NAMES = ["mail.example.com", "localhost", "smtp.gmail.com", "smtp.office365.com"]
GONE = {"gone@example.net": "550 5.1.1 No such user here"}
USUAL: dict[str, Any] = {
    "users": {
        "user": "secret",
        "ann@example.org": "ya29.an-access-token",
        "carol@example.org": "abcd efgh ijkl mnop",
    },
    "mechanisms": (*SCRAM_MECHANISMS, *STANDARD_MECHANISMS, OAUTHBEARER, XOAUTH2),
}


@contextmanager
def world_with(
    monkeypatch: pytest.MonkeyPatch, folder: Path, **options: Any
) -> Iterator[dict[int, Server]]:
    """A world where mail.example.com and localhost are embedded servers, by their usual ports."""
    monkeypatch.setattr(os, "environ", os.environ.copy())  # What is set is the block's alone.
    certified: dict[str, Any] = {"certificate_names": NAMES}
    with ExitStack() as stack:
        servers = {
            port: stack.enter_context(Server(tls=tls, **USUAL | named | options))
            for port, tls, named in [
                (25, ServerTLS.NONE, dict[str, Any]()),
                (1025, ServerTLS.NONE, dict[str, Any](refuse_recipients=GONE)),
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
        _ = Path("token.json").write_text(json.dumps(TOKEN), "utf-8")
        for name, key in DKIM_KEYS.items():
            _ = Path(name).write_bytes(key)
        yield servers


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[dict[int, Server]]:
    with world_with(monkeypatch, tmp_path) as servers:
        yield servers


@pytest.mark.parametrize(("code", "printed"), list(blocks()))
def test_the_documentation_runs(
    code: str,
    printed: str | None,
    world: dict[int, Server],
    request: pytest.FixtureRequest,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
):
    page = request.node.callspec.id.partition(":")[0]
    skip_without_packages(page, code)
    message = EmailMessage()
    message["From"] = "ann@example.org"
    message["To"] = "bob@example.net"
    message["Subject"] = "hi"
    message.set_content("hello\n")
    with set_up(page):
        program = compile(code, "a block of the documentation", "exec", dont_inherit=True)
        shown = ModuleType("shown")
        vars(shown)["message"] = message
        monkeypatch.setitem(sys.modules, "shown", shown)  # Some look there for what is in it.
        exec(program, vars(shown))
    if printed is not None:
        assert capsys.readouterr().out == printed
    assert [breach for server in world.values() for breach in server.breaches] == []


def skip_without_packages(page: str, code: str) -> None:
    named = [package for word, packages in NAMED.items() if word in code for package in packages]
    for package in [*NEEDS.get(page, ()), *named]:
        _ = pytest.importorskip(package, reason=f"{package} is not installed: group `integrations`")


def set_up(page: str) -> AbstractContextManager[None]:
    if page not in ("django.md", "django-outbox.md", "outbox.md"):
        return nullcontext()
    from tests.integrations.django import setting_up

    # Django is configured once in a process.
    setting_up.set_up()
    if page == "django-outbox.md":
        return setting_up.project_with_an_outbox(Path.cwd())
    return setting_up.mail_by(url="smtp://localhost")


def test_the_documentation_has_blocks():
    assert len(list(blocks())) >= 6
    assert any(block.values[1] for block in blocks())


@pytest.mark.parametrize(("code", "printed"), list(blocks()))
def test_a_block_needs_no_module_that_another_has_loaded(code: str, printed: str | None):
    named = re.sub(r'"[^"\n]*"', "", code)
    rooms = set(re.findall(r"\bsmtpx\.([a-z_]+)\.\w", named))
    imported = set(re.findall(r"(?:import|from) smtpx\.([a-z_]+)", code))
    assert rooms - imported <= set(smtpx.__all__)


def names_from_elsewhere(code: str) -> set[str]:
    """The names that a block uses and does not make."""
    nodes = list(ast.walk(ast.parse(code)))
    names = [node for node in nodes if isinstance(node, ast.Name)]
    made = {node.id for node in names if isinstance(node.ctx, ast.Store)}
    made |= {node.arg for node in nodes if isinstance(node, ast.arg)}
    return {node.id for node in names} - made


def test_where_a_message_comes_from_is_said():
    """A reader who copies a block alone has to know what else it needs."""
    said = "`message` is [a message of yours](start.md#3-send-a-message)"
    for path in (ROOT / "docs").glob("*.md"):
        text = path.read_text(encoding="utf-8")
        uses = [
            match for match in BLOCK.finditer(text) if "message" in names_from_elsewhere(match[1])
        ]
        assert (said in text) == bool(uses), path.name


def test_what_is_to_be_installed_is_there():
    """From a checkout alone, until the package is published; and by the names of its extras."""
    extras = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"][
        "optional-dependencies"
    ]
    for path in PAGES:
        text = path.read_text(encoding="utf-8")
        assert "smtpx[" not in text, path.name
        for wanted in re.findall(r"pip install (.*?)[`\n]", text):
            match = re.match(r"(?:\.|\"\.\[([a-z,]+)\]\")(?= |$)", wanted)
            assert match is not None, f"{path.name}: {wanted}"
            assert set(filter(None, (match[1] or "").split(","))) <= extras.keys(), wanted


@pytest.mark.parametrize(("code", "printed"), list(blocks()))
def test_what_is_printed_stands_in_a_block_that_is_compared(code: str, printed: str | None):
    """A comment behind it says the same, and goes on saying it when the output has changed."""
    assert re.findall(r"^ *print\(.*\) +#.*$", code, re.MULTILINE) == []
