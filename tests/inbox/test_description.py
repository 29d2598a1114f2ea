"""``/api/openapi.json`` tells the truth: real answers are held to what it says (U20)."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib import import_module
from importlib.resources import files
from typing import Any

import pytest
from starlette.routing import Route

import smtpx
from smtpx.inbox import Inbox, app
from smtpx.testing import Mailbox, Server

from .conftest import Taken

DESCRIPTION: dict[str, Any] = json.loads(
    files("smtpx.inbox").joinpath("pages").joinpath("openapi.json").read_text(encoding="utf-8")
)


def closed(schema: Any) -> Any:
    """The schema, to which nothing may be added: what is not described is found so."""
    if isinstance(schema, list):
        return [closed(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {name: closed(each) for name, each in schema.items()}
    is_object = inner.get("type") == "object" and "properties" in inner
    return {**inner, "additionalProperties": False} if is_object else inner


def answer_schema(path: str, method: str, status: int) -> Any:
    """What is described, closed; None where another kind than JSON is."""
    content = DESCRIPTION["paths"][path][method]["responses"][str(status)]["content"]
    if "application/json" not in content:
        return None
    schema = _inlined(content["application/json"]["schema"])
    return closed(schema)


def _inlined(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_inlined(each) for each in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        return _inlined(DESCRIPTION["components"]["schemas"][schema["$ref"].rpartition("/")[2]])
    inner = {name: _inlined(each) for name, each in schema.items()}
    if "allOf" in inner:
        # One object: each alone would be closed to what the others have.
        parts = inner["allOf"]
        return {
            "type": "object",
            "required": [name for part in parts for name in part["required"]],
            "properties": {name: of for part in parts for name, of in part["properties"].items()},
        }
    return inner


def hold(path: str, method: str, answer: Any) -> None:
    """Judge an answer by what is described."""
    described = DESCRIPTION["paths"][path][method]["responses"]
    assert str(answer.status_code) in described, (path, answer.status_code, answer.text)
    schema = answer_schema(path, method, answer.status_code)
    kind = answer.headers["content-type"].partition(";")[0]
    if schema is None:
        assert {kind, "*/*"} & set(described[str(answer.status_code)]["content"])
        return
    assert kind == "application/json"
    jsonschema: Any = import_module("jsonschema")
    jsonschema.Draft202012Validator(schema).validate(answer.json())


@pytest.fixture
def busy() -> Iterator[tuple[Taken, Server]]:
    """An inbox that has something of everything."""
    with Server() as real:

        async def release(content: bytes, envelope: smtpx.Envelope) -> smtpx.SendResult:
            return await smtpx.asend(content, real.url, envelope)

        with (
            Inbox(release=release, release_allow=["*@example.net"]) as inbox,
            Server(refuse_content=inbox.take, mailbox=Mailbox(keep=0)) as server,
        ):
            inbox.watch(server)
            yield Taken(inbox), server


SIGNED = (
    b"DKIM-Signature: v=1; a=rsa-sha256; d=example.org; s=k; h=from; bh=x; b=y\r\n"
    b"From: Ann <ann@example.org>\r\nTo: bob@example.net\r\nSubject: code 483920\r\n"
    b"Content-Type: multipart/mixed; boundary=b\r\n\r\n"
    b"--b\r\nContent-Type: text/html\r\n\r\n<a href=https://example.com>x</a>\r\n"
    b"--b\r\nContent-Disposition: attachment; filename=a.txt\r\n\r\nx\r\n--b--\r\n"
)
ASKED: dict[tuple[str, str], dict[str, Any]] = {
    ("/api/messages", "delete"): {"params": {"query": "subject:nothing"}},
    ("/api/messages/{id}", "patch"): {"json": {"seen": True, "tags": "x"}},
    ("/api/messages/{id}/release", "post"): {"json": {"to": ["bob@example.net"]}},
    ("/api/faults", "put"): {"json": {"faults": ["RCPT late@*: 451 4.3.0 later"]}},
    ("/api/messages", "get"): {"params": {"limit": 1}},
    ("/api/messages/{id}/source", "get"): {"params": {"download": ""}},
}


def test_each_answer_is_as_it_is_described(busy: tuple[Taken, Server]) -> None:
    taken, server = busy
    text = smtpx.compose(
        sender="ann@example.org", to="bob@example.net", bcc="kim@example.net", text="code 1234"
    )
    assert smtpx.send(text, server.url).complete
    envelope = smtpx.Envelope("ann@example.org", "bob@example.net")
    assert smtpx.send(SIGNED, server.url, envelope).complete
    newest = taken.get("/api/messages/wait", count=2, timeout=20).json()["messages"][0]["id"]
    numbers = {"{id}": str(newest), "{number}": "1"}
    described = [
        (path, method)
        for path, methods in DESCRIPTION["paths"].items()
        for method in methods
        if path != "/api/events"
    ]
    described.sort(key=lambda each: each[1] == "delete")
    for path, method in described:
        concrete = re.sub(r"\{\w+\}", lambda match: numbers[match[0]], path)
        if path.endswith("/text"):
            concrete = concrete.replace(str(newest), str(newest - 1))
        words = ASKED.get((path, method), {})
        answer = taken.client.request(method, concrete, **words)
        assert answer.status_code == 200, (path, method, answer.text)
        hold(path, method, answer)


WRONG = {
    "a query": ("/api/messages", "get", {"params": {"query": "has:wings"}}, 400),
    "a query of what goes": ("/api/messages", "delete", {"params": {"query": "is:odd"}}, 400),
    "another epoch": ("/api/messages/{id}", "delete", {"params": {"epoch": "x"}}, 410),
    "no query": ("/api/messages", "delete", {}, 400),
    "a number": ("/api/messages", "get", {"params": {"limit": "x"}}, 400),
    "a wait": ("/api/messages/wait", "get", {"params": {"timeout": "x"}}, 400),
    "the time is up": ("/api/messages/wait", "get", {"params": {"timeout": "0"}}, 408),
    "no message": ("/api/messages/{id}", "get", {}, 404),
    "none to delete": ("/api/messages/{id}", "delete", {}, 404),
    "none to mark": ("/api/messages/{id}", "patch", {"json": {"seen": True}}, 404),
    "a mark": ("/api/messages/{id}", "patch", {"json": {"seen": 1}}, 400),
    "a limit": ("/api/messages/{id}/source", "get", {"params": {"limit": "-1"}}, 404),
    "no part": ("/api/messages/{id}/parts/{number}", "get", {}, 404),
    "to nobody": ("/api/messages/{id}/release", "post", {"json": {"to": []}}, 400),
    "no session": ("/api/sessions/{number}", "get", {}, 404),
    "sessions": ("/api/sessions", "get", {"params": {"limit": "x"}}, 400),
    "no fault": ("/api/faults", "put", {"json": {"faults": ["x"]}}, 400),
    "a form": ("/api/faults", "put", {"data": {"faults": "x"}}, 415),
    "a mark by a form": ("/api/messages/{id}", "patch", {"data": {"seen": "x"}}, 415),
    "a release by a form": ("/api/messages/{id}/release", "post", {"data": {"to": "x"}}, 415),
    "too much": ("/api/faults", "put", {"json": {"faults": ["x" * 2**21]}}, 413),
    "another page": ("/api/faults", "put", {"headers": {"Origin": "http://x.test"}}, 403),
    "another page's deletion": ("/api/faults", "delete", {"headers": {"Origin": "null"}}, 403),
}


@pytest.mark.parametrize(("path", "method", "words", "status"), WRONG.values(), ids=WRONG)
def test_what_fails_is_described_too(
    path: str, method: str, words: dict[str, Any], status: int, busy: tuple[Taken, Server]
) -> None:
    answer = busy[0].client.request(method, re.sub(r"\{\w+\}", "99", path), **words)
    assert answer.status_code == status
    hold(path, method, answer)


def test_u26_who_shows_no_token_is_told_as_it_is_described() -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.testclient import TestClient

    (scheme,) = DESCRIPTION["components"]["securitySchemes"].items()
    assert scheme == ("token", {"type": "http", "scheme": "bearer"})
    assert DESCRIPTION["security"] == [{}, {"token": []}]  # It is asked for where there is one.
    with Inbox() as inbox:
        mounted = Starlette(routes=[Mount("/mail", app(inbox, token="a-token"))])
        for application, root in ((app(inbox, token="a-token"), ""), (mounted, "/mail")):
            client = TestClient(application, base_url="http://localhost:8025")
            for path, methods in DESCRIPTION["paths"].items():
                for method in methods:
                    concrete = root + re.sub(r"\{\w+\}", "1", path)
                    answer = client.request(method, concrete)
                    assert answer.status_code == 401
                    hold(path, method, answer)


def test_u20_it_has_every_route_and_a_schema_of_each_answer() -> None:
    with Inbox() as inbox:
        routes = {
            (route.path.replace(":int", ""), method.lower())
            for route in app(inbox).routes
            if isinstance(route, Route)
            for method in route.methods or ()
            if method != "HEAD"
        }
    pages = {("/", "get"), ("/app.js", "get"), ("/app.css", "get"), ("/icon.svg", "get")}
    described = {
        (path, method): operation
        for path, methods in DESCRIPTION["paths"].items()
        for method, operation in methods.items()
    }
    assert routes - pages - {("/m/{id}", "get")} == set(described)
    for operation in described.values():
        for answer in operation["responses"].values():
            assert (
                answer["content"].get("application/json", {"schema": {}}).get("schema") is not None
            )


def test_u20_what_is_described_as_wrong_is_refused_and_nothing_else(taken: Taken) -> None:
    """What a generator of requests takes from the description."""
    for path, methods in DESCRIPTION["paths"].items():
        for method, operation in methods.items():
            parameters = operation.get("parameters", ())
            wanted = {
                each["name"]: ""
                for each in parameters
                if each["in"] == "query" and each["required"]
            }
            for parameter in parameters:
                schema = parameter["schema"]
                if parameter["in"] != "query" or "type" not in schema or path == "/api/events":
                    continue
                if schema["type"] in ("integer", "number"):
                    least = taken.client.request(
                        method,
                        path.replace("{id}", "1"),
                        params={**wanted, parameter["name"]: schema["minimum"]},
                    )
                    assert least.status_code != 400, (path, parameter)
                if parameter.get("required"):
                    assert taken.client.request(method, path).status_code == 400


@pytest.mark.parametrize(
    ("path", "method", "allowed"),
    [
        ("/api/faults", "post", "DELETE, GET, HEAD, PUT"),
        ("/api/messages", "put", "DELETE, GET, HEAD"),
        ("/api/messages/1", "put", "DELETE, GET, HEAD, PATCH"),
        ("/", "delete", "GET, HEAD"),
    ],
)
@pytest.mark.parametrize("root", ["", "/mail"])
def test_a_method_that_is_none_there_is_told_which_are(
    path: str, method: str, allowed: str, root: str
) -> None:
    from starlette.applications import Starlette
    from starlette.routing import Mount
    from starlette.testclient import TestClient

    with Inbox() as inbox:
        routed = app(inbox) if not root else Starlette(routes=[Mount(root, app(inbox))])
        client = TestClient(routed, base_url="http://localhost:8025")
        answer = client.request(method, root + path)
    assert (answer.status_code, answer.headers.get("allow")) == (405, allowed)
