"""Who may ask the inbox, and what a hostile mail can make of it (U25 to U36)."""

from __future__ import annotations

import socket
import time
from html.parser import HTMLParser
from pathlib import Path

import pytest

from smtpx.inbox import Inbox, _html, _reading, _structure, app
from tests.inbox.attacks import ATTACKS, LISTENER, VECTORS

from .conftest import Taken, message

PLAIN = b"From: ann@example.org\r\nSubject: x\r\n\r\nhi\r\n"


def html(body: str) -> bytes:
    return (
        b"From: ann@example.org\r\nSubject: x\r\nMIME-Version: 1.0\r\n"
        b"Content-Type: text/html; charset=utf-8\r\n\r\n" + body.encode()
    )


# Three layers around HTML.


@pytest.mark.parametrize("attack", (ATTACKS | VECTORS).values(), ids=ATTACKS | VECTORS)
def test_u25_nh3_takes_out_what_runs_or_connects(attack: str, taken: Taken) -> None:
    number = taken.take(html(attack))
    found = Elements()
    found.feed(taken.get(f"/api/messages/{number}/html").text.partition("<base target=_blank>")[2])
    found.close()
    assert not found.tags & {
        *("script", "iframe", "frame", "object", "embed", "form", "input", "meta", "base"),
        *("link", "svg", "math", "video", "audio", "source", "template", "noscript", "portal"),
    }
    assert not [name for name in found.attributes if name.startswith(("on", "form", "srcdoc"))]
    schemes = {url.partition(":")[0].lower() for url in found.urls if ":" in url}
    assert schemes <= {"http", "https", "data", "cid"}
    assert not [url for url in found.links if url.lower().startswith("data:")]


class Elements(HTMLParser):
    """What elements there are, what attributes, and where they lead."""

    def __init__(self) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.urls: list[str] = []
        self.links: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes |= {name for name, _ in attrs}
        self.urls += [value or "" for name, value in attrs if name in ("href", "src")]
        self.links += [value or "" for name, value in attrs if name == "href"]


def test_u25_the_page_of_a_mail_has_a_policy_of_its_own(taken: Taken) -> None:
    number = taken.take(html(f"<img src={LISTENER}x.png>"))
    answer = taken.get(f"/api/messages/{number}/html")
    policy = answer.headers["content-security-policy"]
    assert policy.startswith(
        "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'"
    )
    assert "img-src data:;" in policy
    assert "allow-scripts" not in policy
    assert "allow-same-origin" not in policy
    remote = taken.get(f"/api/messages/{number}/html", images="remote")
    assert "img-src data: http: https:;" in remote.headers["content-security-policy"]
    assert remote.headers["referrer-policy"] == "no-referrer"


def test_the_original_is_as_it_came(taken: Taken) -> None:
    number = taken.take(html("<form>x</form>"))
    clean = taken.get(f"/api/messages/{number}/html")
    original = taken.get(f"/api/messages/{number}/html", original="")
    assert ("<form>" in clean.text, "<form>" in original.text) == (False, True)
    names = ("content-security-policy", "referrer-policy", "x-content-type-options")
    assert [clean.headers[name] for name in names] == [original.headers[name] for name in names]


def test_what_is_harmless_stays(taken: Taken) -> None:
    body = (
        "<style>p{color:red}</style><table bgcolor='#fff'><tr><td style='padding:4px'>"
        "<a href='https://example.com/'>x</a><img src='cid:Logo@x' alt=logo></td></tr></table>"
    )
    png = b"\x89PNG\r\n\x1a\n"
    mail = (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/html\r\n\r\n" + body.encode() + b"\r\n"
        b"--b\r\nContent-Type: image/png\r\nContent-ID:  <logo@X>\r\n"
        b"Content-Transfer-Encoding: 8bit\r\n\r\n" + png + b"\r\n--b--\r\n"
    )
    number = taken.take(mail)
    page = taken.get(f"/api/messages/{number}/html").text
    assert "<style>p{color:red}</style>" in page
    assert 'style="padding:4px"' in page
    assert 'rel="noopener noreferrer"' in page
    assert "data:image/png;base64," in page  # U23: by an odd Content-ID


@pytest.mark.parametrize(
    ("url", "named"),
    [
        ("8547-28b3@8340be=", "8547-28b3@8340be="),
        ("a%40b%3D", "a@b="),
        ("x+y", "X+y"),
        ("<a>", "a"),
        ("a b", "a b"),
    ],
)
def test_u23_images_by_odd_names(url: str, named: str, taken: Taken) -> None:
    """Of a bug report of Mailpit: also where it is said to be an attachment."""
    mail = (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/related; boundary=b\r\n\r\n"
        b'--b\r\nContent-Type: text/html\r\n\r\n<img src="cid:%b">\r\n'
        b"--b\r\nContent-Type: image/png; name=x.png\r\nContent-ID: <%b>\r\n"
        b"Content-Disposition: attachment; filename=x.png\r\n\r\npng\r\n--b--\r\n"
    )
    number = taken.take(mail % (url.encode(), named.encode()))
    assert "data:image/png;base64," in taken.get(f"/api/messages/{number}/html").text


@pytest.mark.parametrize(
    "scheme", ["javascript:alert(1)", "data:text/html,x", "vbscript:x", "file:///x"]
)
def test_links_go_to_the_web_alone(scheme: str, taken: Taken) -> None:
    number = taken.take(html(f"<a href='{scheme}'>x</a><img src='{scheme}'>"))
    page = taken.get(f"/api/messages/{number}/html").text
    assert scheme not in page
    assert "<img src" not in page


def test_u34_u35_headers_of_every_answer(taken: Taken) -> None:
    number = taken.take(PLAIN)
    for path in ("/", "/api/messages", f"/api/messages/{number}/source", "/app.js", "/nowhere"):
        answer = taken.client.get(path)
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["cross-origin-resource-policy"] == "same-origin"
        policy = answer.headers["content-security-policy"]
        assert "frame-ancestors 'none'" in policy or policy.startswith("sandbox")
        assert "access-control-allow-origin" not in answer.headers
    page = taken.client.get("/").headers["content-security-policy"]
    assert "require-trusted-types-for 'script'" in page
    assert "unsafe" not in page


def test_u35_a_part_does_not_run_in_our_origin(taken: Taken) -> None:
    mail = (
        b"Subject: x\r\nMIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
        b"--b\r\nContent-Type: text/html\r\n"
        b"Content-Disposition: attachment; filename=a.html\r\n\r\n"
        b"<script>x</script>\r\n--b\r\nContent-Type: image/svg+xml\r\n\r\n<svg/>\r\n--b--\r\n"
    )
    number = taken.take(mail)
    for part in (0, 1):
        answer = taken.get(f"/api/messages/{number}/parts/{part}")
        assert answer.headers["content-type"] == "application/octet-stream"
        assert answer.headers["content-disposition"].startswith("attachment")
        assert answer.headers["content-security-policy"].startswith("sandbox")


# Who may ask.


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "",
        "localhost:x",
        "[::2]:1",
    ],
)
@pytest.mark.parametrize("path", ["/", "/api/messages", "/api/events", "/nowhere"])
def test_u28_a_foreign_host_gets_nothing(host: str, path: str, taken: Taken) -> None:
    answer = taken.client.get(path, headers={"Host": host})
    assert (answer.status_code, answer.content) == (400, b"")


@pytest.mark.parametrize("host", ["localhost:8025", "127.0.0.1:8025", "[::1]:8025", "LOCALHOST"])
def test_u28_loopback_has_its_names(host: str, taken: Taken) -> None:
    assert taken.client.get("/livez", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "null", "http://localhost:9999", "https://localhost:8025"]
)
@pytest.mark.parametrize(
    ("method", "path"), [("GET", "/api/events"), ("DELETE", "/api/messages?query=")]
)
def test_u27_u29_another_origin(origin: str, method: str, path: str, taken: Taken) -> None:
    number = taken.take(PLAIN)
    answer = taken.client.request(method, path, headers={"Origin": origin})
    assert answer.status_code == 403
    assert taken.get(f"/api/messages/{number}")


def test_u29_none_of_several_origins_may_be_another(taken: Taken) -> None:
    ours = [("Origin", "http://testserver"), ("Origin", "http://evil.example")]
    for headers in (ours, ours[::-1]):
        answer = taken.client.get("/livez", headers=headers)
        assert answer.status_code == 403


def test_u29_json_alone(taken: Taken) -> None:
    for kind in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data"):
        answer = taken.client.put(
            "/api/faults", content=b'{"faults": []}', headers={"Content-Type": kind}
        )
        assert answer.status_code == 415
    crossing = {"Sec-Fetch-Site": "same-site"}
    assert taken.client.delete("/api/messages?query=", headers=crossing).status_code == 403
    huge = taken.client.put("/api/faults", json={"faults": ["x" * 100_000]})
    assert huge.status_code == 413


def test_u29_reading_changes_nothing(taken: Taken) -> None:
    number = taken.take(PLAIN)
    for path in ("", "/source", "/headers", "/text", "/findings"):
        _ = taken.get(f"/api/messages/{number}{path}")
    (row,) = taken.get("/api/messages").json()["messages"]
    assert row["seen"] is False
    assert taken.client.get(f"/api/messages/{number}/release").status_code == 405


def test_u26_a_token() -> None:
    from starlette.testclient import TestClient

    with Inbox() as inbox:
        client = TestClient(
            app(inbox, hosts=["mail.example"], token="a-token-of-some-length"),
            base_url="http://mail.example:8025",
        )
        for path in ("/", "/api/messages", "/api/events", "/app.js", "/?token=wrong"):
            assert client.get(path).status_code == 401, path
        refused = client.delete("/api/messages?query=")
        assert (refused.status_code, refused.headers["www-authenticate"]) == (401, "Bearer")
        assert "token" in refused.json()["error"]
        assert client.get("/").headers["content-type"].startswith("text/plain")  # for people
        shown = {"Authorization": "Bearer a-token-of-some-length"}
        assert client.get("/api/messages", headers=shown).status_code == 200
        answer = client.get("/?token=a-token-of-some-length", follow_redirects=False)
        assert answer.status_code == 303
        assert "token" not in answer.headers["location"]
        cookie = answer.headers["set-cookie"].lower()
        assert "httponly" in cookie
        assert "samesite=strict" in cookie
        assert client.get("/api/messages").status_code == 200  # by the cookie


def test_no_websocket_and_no_other_method(taken: Taken) -> None:
    assert taken.client.post("/api/messages").status_code == 405
    from starlette.websockets import WebSocketDisconnect

    with pytest.raises(WebSocketDisconnect), taken.client.websocket_connect("/api/events"):
        pass


# Hostile sizes (U32).


def nested(depth: int) -> bytes:
    head = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\n--b%d\r\n" % (n, n)
        for n in range(depth)
    )
    return b"Subject: deep\r\nMIME-Version: 1.0\r\n" + head + b"\r\nhi\r\n"


HOSTILE = {
    "50,000 parts": b"Subject: wide\r\nContent-Type: multipart/mixed; boundary=b\r\n\r\n"
    + b"--b\r\n\r\nx\r\n" * 50_000,
    "parts by many boundaries": b"Subject: x\r\n"
    + b"".join(b"X: ; boundary=b%d\r\n" % n for n in range(300))
    + b"\r\n" * 3,
    "3,000 levels": nested(3000),
    "messages in messages": b"Subject: x\r\n" + b"Content-Type: message/rfc822\r\n\r\n" * 3000,
    "100,000 fields": b"Subject: x\r\n" + b"X-A: b\r\n" * 100_000 + b"\r\nhi\r\n",
    "20,000 addresses": b"Subject: x\r\nTo: "
    + b"a@example.org,\r\n " * 20_000
    + b"b@x.test\r\n\r\nhi\r\n",
    "an endless line": b"Subject: " + b"x" * 5_000_000 + b"\r\n\r\nhi\r\n",
    "encoded words": b"Subject: " + b"=?utf-8?q?x?=\r\n " * 20_000 + b"\r\n\r\nhi\r\n",
    "an encoded word without end": b"Subject: " + b"=?utf-8?q?" * 50_000 + b"\r\n\r\nhi\r\n",
    "comments in comments": b"Subject: x\r\nTo: " + b"(" * 20_000 + b"a@x.test\r\n\r\nhi\r\n",
    "groups in groups": b"Subject: x\r\nTo: " + b"a:" * 20_000 + b";\r\n\r\nhi\r\n",
    "brackets in brackets": b"Subject: x\r\nTo: " + b"<" * 20_000 + b"\r\n\r\nhi\r\n",
    "a file name in pieces": b"Subject: x\r\nContent-Disposition: attachment; "
    + b"".join(b"filename*%d*=utf-8''%%ff; " % n for n in range(3000))
    + b"\r\n\r\nhi\r\n",
    "nothing": b"",
    "noise": bytes(range(256)) * 1000,
    "a charset nobody knows": b"Subject: =?x-no?q?a?=\r\n"
    b"Content-Type: text/plain; charset=x-no\r\n\r\nhi\r\n",
    "tags": html("<div>" * 200_000),
    "tags that are closed": html("<b></b>" * 100_000),
    "half of a surrogate pair": b"Subject: =?utf-16?b?2AA=?=\r\n\r\n\xed\xa0\x80\r\n",
    "NUL": b"Subject: a\0b\r\n\r\n\0\r\n",
    "comments": html("<!--" * 100_000),
    "one code after the other": b"Subject: code\r\n\r\n" + b"code 483920 " * 50_000,
}


@pytest.mark.parametrize("content", HOSTILE.values(), ids=HOSTILE)
def test_u32_hostile_mail_is_shown_in_a_moment(content: bytes, taken: Taken) -> None:
    number = taken.take(content)
    path = f"/api/messages/{number}"
    for view in ("", "/source", "/headers", "/text", "/html", "/findings", "/links", "/codes"):
        answer = taken.client.get(f"{path}{view}")
        assert answer.status_code in (200, 404), view
    found = taken.get(path).json()
    assert len(found["parts"]) <= 1000
    assert taken.get("/api/messages").json()["total"] == 1


def test_u32_what_would_take_long_is_not_parsed() -> None:
    for name in ("50,000 parts", "3,000 levels", "100,000 fields"):
        assert _reading.read(HOSTILE[name]).problem is not None, name
    assert _html.shown(_reading.read(HOSTILE["tags"]), b"") is None


def test_u23_the_corpus_of_our_own_fixtures_opens(taken: Taken) -> None:
    from tests.bounces import reports

    mails = [value for value in vars(reports).values() if isinstance(value, bytes)]
    mails += [path.read_bytes() for path in Path(__file__).parent.parent.rglob("*.eml")]
    assert len(mails) >= 10
    for content in mails:
        number = taken.take(content)
        assert taken.get(f"/api/messages/{number}").json()["problem"] is None
        assert taken.get(f"/api/messages/{number}/source").content == content


def test_a_boundary_that_is_not_one_is_no_attack() -> None:
    """A text that says ``boundary=`` now and then is shown like any other."""
    reading = _reading.read(b"Subject: x\r\n\r\n" + b"boundary=x and so on\r\n-- \r\nAnn\r\n" * 20)
    assert reading.problem is None


def test_reading_is_bounded_by_counts_and_not_by_luck() -> None:
    begun = time.process_time()
    for content in HOSTILE.values():
        _ = _reading.read(content)
    # A machine as slow as can be: what is not bounded takes minutes here.
    assert time.process_time() - begun < 60


def test_u30_nothing_in_a_mail_is_fetched(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever is asked of the server, it connects to nobody, and looks nobody up."""
    asked: list[object] = []

    def refused(*words: object, **_: object) -> None:
        asked.append(words)
        raise OSError("nobody may connect here")

    body = "".join((ATTACKS | VECTORS).values()).replace("\0", "")
    signed = (
        b"DKIM-Signature: v=1; d=example.org; s=x; b=\r\nList-Unsubscribe: <http://x.test/>\r\n"
    )
    number = taken.take(signed + html(body))
    for name in ("connect", "connect_ex", "sendto"):
        monkeypatch.setattr(socket.socket, name, refused)
    for name in ("getaddrinfo", "gethostbyname", "create_connection"):
        monkeypatch.setattr(socket, name, refused)
    for view in ("", "/source", "/headers", "/text", "/html", "/findings", "/links", "/codes"):
        _ = taken.client.get(f"/api/messages/{number}{view}")
    _ = taken.client.get(f"/api/messages/{number}/html?images=remote&original")
    assert asked == []


def test_what_cannot_be_read_stops_nothing(taken: Taken, monkeypatch: pytest.MonkeyPatch) -> None:
    """The thread that reads goes on with the next message, whatever happens."""
    read = _reading.read

    def fails(content: bytes) -> _reading.Reading:
        if b"hostile" in content:
            raise RecursionError
        return read(content)

    monkeypatch.setattr("smtpx.inbox._keeping.read", fails)
    for content in (b"Subject: hostile\r\n\r\n", b"Subject: next\r\n\r\nhi\r\n"):
        assert taken.inbox.take(message(content)) is None
    found = taken.get("/api/messages/wait", query="subject:next", timeout=20).json()
    assert found["messages"][0]["subject"] == "next"


@pytest.mark.parametrize("query", ["\ud800", "a" * 1000, '"x' * 40, "to:" * 300, "NEAR(", "*"])
def test_queries_that_are_odd(query: str, taken: Taken) -> None:
    _ = taken.take(PLAIN)
    answer = taken.client.get(
        "/api/messages", params={"query": query.encode("utf-8", "replace").decode()}
    )
    assert answer.status_code == 200


TOO_MUCH = ["\0", "to:bob\0", "a" * 1001, "to:bob " * 21]


@pytest.mark.parametrize("query", TOO_MUCH)
@pytest.mark.parametrize("method", ["GET", "DELETE"])
def test_no_part_of_a_query_is_passed_over(method: str, query: str, taken: Taken) -> None:
    _ = taken.take(PLAIN)
    answer = taken.client.request(method, "/api/messages", params={"query": query})
    assert answer.status_code == 400
    assert "20 words and 1000 characters at most" in answer.json()["error"]
    assert taken.get("/api/messages").json()["total"] == 1


@pytest.mark.parametrize("query", ['"', '""', 'to:""', " ", '-""'])
def test_what_asks_for_nothing_deletes_nothing(query: str, taken: Taken) -> None:
    _ = taken.take(PLAIN)
    assert taken.client.delete("/api/messages", params={"query": query}).status_code == 400
    assert taken.get("/api/messages").json()["total"] == 1
    assert taken.client.delete("/api/messages", params={"query": ""}).json() == {"removed": 1}


# URLs, as a browser reads them.


@pytest.mark.parametrize(
    "url",
    [
        *("javascript:alert(1)", "java&Tab;script:alert(1)", "&#1;javascript:x", "vbscript:x"),
        *("data:text/html,x", "d&Tab;ata:text/html,x", "d&NewLine;ata:text/html,x", " data:,x"),
        *("file:///etc/passwd", "blob:x", "filesystem:x", "about:blank", "view-source:x"),
        *("/api/messages", "api/faults", "?token=x", "..", "/\\evil.test", "x", "."),
    ],
)
@pytest.mark.parametrize("attribute", ["a href", "img src", "table background", "td background"])
def test_u25_a_url_leads_out_or_nowhere(url: str, attribute: str, taken: Taken) -> None:
    """A relative one would lead into the inbox."""
    tag, _, name = attribute.partition(" ")
    start = "<table><tr>" if tag == "td" else ""
    number = taken.take(html(f'{start}<{tag} {name}="{url}">x'))
    shown = taken.get(f"/api/messages/{number}/html").text.partition("<base target=_blank>")[2]
    assert f"{name}=" not in shown, shown


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ('<a href="HTTPS://example.org/?a&amp;b">', 'href="HTTPS://example.org/?a&amp;b"'),
        ('<a href="//example.org">', 'href="//example.org"'),
        ('<a href="mailto:ann@example.org">', 'href="mailto:ann@example.org"'),
        ('<a href="htt&Tab;ps://example.org">', 'href="https://example.org"'),
        ('<img src=" data:image/png;base64,AA">', 'src="data:image/png;base64,AA"'),
        ('<table background="http://example.org/x">', 'background="http://example.org/x"'),
    ],
)
def test_a_url_that_leads_out_stays(given: str, kept: str, taken: Taken) -> None:
    number = taken.take(html(given))
    assert kept in taken.get(f"/api/messages/{number}/html").text


# What other pages may ask for.


@pytest.mark.parametrize("site", ["cross-site", "same-site"])
def test_another_page_gets_nothing_by_a_request_it_cannot_read(site: str, taken: Taken) -> None:
    """How long a search takes, and that it was made at all, would tell something."""
    for mode in ("no-cors", "cors", "websocket", ""):
        headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": mode}
        for path in ("/api/messages?query=secret", "/api/events", "/app.js"):
            assert taken.client.get(path, headers=headers).status_code == 403
    headers = {"Sec-Fetch-Site": site, "Sec-Fetch-Mode": "navigate"}
    assert taken.client.get("/", headers=headers).status_code == 200  # A link leads here.


# What is out of every range.


@pytest.mark.parametrize("path", ["", "/source", "/parts/" + "9" * 30, "/parts/" + "9" * 5000])
def test_a_number_larger_than_any(path: str, taken: Taken) -> None:
    assert taken.client.get(f"/api/messages/{'9' * 30}{path}").status_code == 404


def test_tags_are_short(taken: Taken) -> None:
    number = taken.take(PLAIN)
    path = f"/api/messages/{number}"
    for tags in ("x" * 201, "\ud800"):
        answer = taken.client.patch(
            path,
            content=b'{"tags": "%s"}' % tags.encode("ascii", "backslashreplace"),
            headers={"Content-Type": "application/json"},
        )
        assert answer.status_code == 400
        assert "200 characters" in answer.json()["error"]


@pytest.mark.parametrize("field", ["Content-Type: text/plain", "Content-Disposition: attachment"])
def test_u32_a_field_of_parameters_is_read_within_bounds(field: str) -> None:
    """Reading its parameters takes as long as its length squared."""
    content = f"From: ann@example.org\r\n{field}; name=a{';' * 150_000}\r\n\r\nx".encode()
    assert _reading.read(content).parts[0].kind == "text/plain"
    (leaf,) = _structure.leaves(content)
    assert len(leaf.header[field.partition(":")[0]]) <= 4096
