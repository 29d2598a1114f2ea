"""The inbox in a real browser: what a mail can make it do, and what a person can do with it.

It needs Chromium and playwright, which ``.ci/run`` brings along; without, it is skipped.
"""

from __future__ import annotations

import os
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx.inbox import Inbox, app
from smtpx.testing import Mailbox, Server
from tests.inbox.attacks import ATTACKS, LISTENER, VECTORS

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
FLAGS = [
    *("--no-sandbox", "--disable-dev-shm-usage", "--disable-background-networking"),
    *("--disable-component-update", "--disable-quic"),
    "--host-resolver-rules=MAP evil.example 127.0.0.1",
]
PATIENCE = 30_000  # milliseconds: the machine may be slow
LOOKED_AT = os.environ.get("SMTPX_SCREENSHOTS")

pytestmark = [
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: .ci/run installs it"),
    pytest.mark.skipif(
        find_spec("playwright") is None, reason="there is no playwright: .ci/run installs it"
    ),
    pytest.mark.xdist_group("browser"),
    pytest.mark.timeout(300),
]


class Listener:
    """Counts who connects: what a browser asks for, it asks here."""

    def __init__(self) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.settimeout(0.2)
        self.port: int = self._socket.getsockname()[1]
        self.heard: list[bytes] = []
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._listen)
        self._thread.start()

    def _listen(self) -> None:
        while not self._over.is_set():
            try:
                peer, _ = self._socket.accept()
            except TimeoutError:
                continue
            with peer:
                peer.settimeout(0.5)
                try:
                    self.heard.append(peer.recv(200) or b"(a connection)")
                except OSError:
                    self.heard.append(b"(a connection)")

    def close(self) -> None:
        self._over.set()
        self._thread.join()
        self._socket.close()


class World:
    """A server, its inbox served at an address, and what connects elsewhere."""

    def __init__(self, inbox: Inbox, server: Server, url: str, listener: Listener) -> None:
        self.inbox, self.server, self.url, self.listener = inbox, server, url, listener

    def send(self, **parts: Any) -> None:
        given = {"sender": "Ann <ann@example.org>", "to": "bob@example.net", "text": "hi", **parts}
        _ = smtpx.send(smtpx.compose(**given), self.server.url)

    def send_html(self, html: str, subject: str = "x") -> None:
        self.send(subject=subject, html=html.replace("LISTEN", str(self.listener.port)))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with import_module("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.fixture
def world() -> Iterator[World]:
    uvicorn = import_module("uvicorn")
    listener = Listener()
    with (
        Inbox(keep=100_000) as inbox,
        Server(refuse_content=inbox.take, mailbox=Mailbox(keep=0), keep_sessions=100) as server,
        socket.create_server(("127.0.0.1", 0)) as bound,
    ):
        inbox.watch(server)
        config = uvicorn.Config(
            app(inbox), log_level="error", lifespan="off", timeout_graceful_shutdown=1
        )
        pages = uvicorn.Server(config)
        thread = threading.Thread(target=pages.run, kwargs={"sockets": [bound]})
        thread.start()
        try:
            port = bound.getsockname()[1]
            yield World(inbox, server, f"http://127.0.0.1:{port}", listener)
        finally:
            pages.should_exit = True
            inbox.changes.close()
            thread.join()
            listener.close()


Open = Callable[..., Any]


@pytest.fixture
def opened(browser: Any, world: World) -> Iterator[Open]:
    """Opens the inbox in a context of its own; whatever goes wrong on a page fails the test."""
    contexts: list[Any] = []
    errors: list[str] = []

    def noted(dialog: Any) -> None:
        errors.append(dialog.message)
        dialog.dismiss()

    def open(path: str = "/", width: int = 1400, height: int = 900, **options: Any) -> Any:
        context = browser.new_context(viewport={"width": width, "height": height}, **options)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(PATIENCE)
        page.on("pageerror", lambda error: errors.append(str(error)))
        page.on("dialog", noted)
        page.goto(f"{world.url}{path}")
        return page

    yield open
    for context in contexts:
        context.close()
    assert errors == []


def expect(thing: Any) -> Any:
    expect = import_module("playwright.sync_api").expect
    expect.set_options(timeout=PATIENCE)
    return expect(thing)


# Security.


def test_u25_no_attack_gets_out(world: World, opened: Open) -> None:
    """Each in its frame as people see it; the verdict is a listening socket's."""
    for name, attack in ATTACKS.items():
        world.send_html(attack, name)
    page = opened()
    expect(page.locator("#found")).to_have_text(f"{len(ATTACKS)} messages")
    for number, name in enumerate(ATTACKS, 1):
        page.click(f"#m{number}")
        expect(page.locator(".head h2")).to_have_text(name)
        frame = page.frame_locator("iframe")
        expect(frame.locator("body")).to_be_attached()
        assert page.title() == "smtpx inbox"
        assert page.url.startswith(world.url)
    # What was asked for would be on its way by now.
    page.wait_for_timeout(1000)
    assert world.listener.heard == []


def test_u25_the_policies_hold_without_nh3(world: World, opened: Open) -> None:
    """The original has two layers alone: no request but what browsers connect for all the same."""
    known = {"iframe", "frameset", "preconnect", "dns-prefetch"}
    names = [name for name in ATTACKS if name not in known]
    for name in names:
        world.send_html(ATTACKS[name], name)
    page = opened()
    show_all(page, world, len(names), "?original")
    assert world.listener.heard == []
    assert page.title() == "frames"


def show_all(page: Any, world: World, count: int, query: str = "") -> None:
    """Show the first so many mails, each in its frame as the page has it, a few at a time."""
    page.route(
        f"{world.url}/frames",
        lambda route: route.fulfill(body="<title>frames</title>", content_type="text/html"),
    )
    page.goto(f"{world.url}/frames")
    for first in range(1, count + 1, 24):
        shown = page.evaluate(
            """([numbers, query]) => Promise.all(numbers.map((number) => new Promise((done) => {
              const frame = document.createElement("iframe");
              frame.sandbox = "allow-popups allow-popups-to-escape-sandbox";
              frame.referrerPolicy = "no-referrer";
              frame.onload = () => done(1);
              frame.src = `/api/messages/${number}/html${query}`;
              document.body.append(frame);
            })))""",
            [list(range(first, min(first + 24, count + 1))), query],
        )
        assert sum(shown) == min(24, count + 1 - first)
    # What was asked for would be on its way by now.
    page.wait_for_timeout(1000)


def test_u25_no_vector_of_sanitisers_gets_out(world: World, opened: Open) -> None:
    """What sanitisers were got round by, in the ways of public lists."""
    for name, vector in VECTORS.items():
        world.send_html(vector, name)
    page = opened()
    show_all(page, world, len(VECTORS))
    assert world.listener.heard == []
    assert page.title() == "frames"
    # Whatever is in them runs nothing without the first layer, either.
    show_all(page, world, len(VECTORS), "?original")
    assert page.title() == "frames"
    allowed = {b"(a connection)"}  # What browsers connect for, without a request.
    assert set(world.listener.heard) <= allowed


def test_remote_images_load_when_asked_for(world: World, opened: Open) -> None:
    world.send_html(f"<img src={LISTENER}img><link rel=stylesheet href={LISTENER}css>")
    page = opened("/m/1")
    page.get_by_label("load remote images").check()
    for _ in range(100):
        if world.listener.heard:
            break
        page.wait_for_timeout(100)
    assert [line.partition(b" HTTP")[0] for line in world.listener.heard] == [b"GET /img"]
    assert b"Referer" not in world.listener.heard[0]


def test_u28_a_rebound_name_reads_nothing(world: World, opened: Open) -> None:
    page = opened()
    port = world.url.rpartition(":")[2]
    answers: list[int] = []

    def note(response: Any) -> None:
        if "evil.example" in response.url:
            answers.append(response.status)

    page.on("response", note)
    with pytest.raises(Exception, match="ERR_HTTP_RESPONSE_CODE_FAILURE"):  # nothing to show
        page.goto(f"http://evil.example:{port}/api/messages")
    assert answers == [400]


def test_u27_u29_another_page_changes_nothing(world: World, opened: Open) -> None:
    """A page at another port of this machine: same site, another origin."""
    world.send(subject="stays")
    page = opened("/livez")
    port = world.url.rpartition(":")[2]
    page.route(
        "http://127.0.0.1:9/",
        lambda route: route.fulfill(body="<title>evil</title>", content_type="text/html"),
    )
    page.goto("http://127.0.0.1:9/")
    said = page.evaluate(
        """async (url) => {
          const tries = [];
          const attempt = async (path, options) => {
            try { tries.push((await fetch(url + path, options)).status); }
            catch (error) { tries.push("refused"); }
          };
          await attempt("/api/messages", {});
          await attempt("/api/messages?query=", { method: "DELETE" });
          const json = { "Content-Type": "application/json" };
          const faults = '{"faults": ["MAIL: close"]}';
          await attempt("/api/faults", { method: "PUT", body: faults, headers: json });
          await attempt("/api/faults", { method: "POST", mode: "no-cors", body: faults });
          const events = await new Promise((done) => {
            const source = new EventSource(url + "/api/events");
            source.onopen = () => done("open"); source.onerror = () => done("refused");
          });
          return [...tries, events];
        }""",
        f"http://127.0.0.1:{port}",
    )
    assert said == ["refused"] * 5
    assert world.inbox.store.count("subject:stays") == 1
    assert world.server.faults == []


def test_u34_it_cannot_be_framed(world: World, opened: Open) -> None:
    page = opened("/livez")
    page.route(
        "http://127.0.0.1:9/",
        lambda route: route.fulfill(
            body=f"<iframe src={world.url}/></iframe>", content_type="text/html"
        ),
    )
    page.goto("http://127.0.0.1:9/")
    page.wait_for_timeout(500)
    assert all("smtpx" not in frame.content() for frame in page.frames[1:])


def test_the_page_cannot_assign_html(world: World, opened: Open) -> None:
    page = opened()
    for code in (
        "document.body.innerHTML = 'x'",
        "document.body.insertAdjacentHTML('afterend', 'x')",
    ):
        said = page.evaluate(
            f"() => {{ try {{ {code}; return 'done'; }} catch (e) {{ return e.name; }} }}"
        )
        assert said == "TypeError"


# Use.


def test_mail_appears_by_itself(world: World, opened: Open) -> None:
    page = opened()
    expect(page.locator("#live .word")).to_have_text("live")
    expect(page.locator("#found")).to_have_text("No messages yet")
    world.send(subject="it came")
    expect(page.locator("#list li .subject").first).to_have_text("it came")
    world.send(subject="another")
    expect(page.locator("#list li .subject").first).to_have_text("another")


def test_one_list_is_waited_for_and_shown_while_mail_comes(world: World, opened: Open) -> None:
    page = opened()
    expect(page.locator("#live .word")).to_have_text("live")
    world.send(subject="first")
    expect(page.locator("#list li .subject")).to_have_text(["first"])
    held: list[Any] = []
    page.route("**/api/messages?*", lambda route: held.append(route), times=1)
    with page.expect_request("**/api/messages?*"):
        world.send(subject="second")
    asked: list[Any] = []
    page.on("request", lambda request: asked.append(request))
    world.send(subject="third")
    page.wait_for_timeout(600)
    assert asked == []
    with page.expect_request("**/api/messages?*"):  # for what came meanwhile
        held[0].continue_()
    expect(page.locator("#list li .subject").first).to_have_text("third")


def test_a_link_opens_a_new_tab(world: World, opened: Open) -> None:
    world.send_html(f"<a href='{LISTENER}clicked'>click me</a>")
    page = opened("/m/1")
    page.frame_locator("iframe").get_by_text("click me").click()
    asked: list[bytes] = []
    for _ in range(100):
        # A browser also makes connections that it may want.
        asked = [each for each in world.listener.heard if each.startswith(b"GET ")]
        if asked:
            break
        page.wait_for_timeout(100)
    assert asked[0].startswith(b"GET /clicked")
    assert b"Referer" not in asked[0]
    assert page.url.startswith(world.url)


def test_by_keyboard_alone(world: World, opened: Open) -> None:
    for n in range(3):
        world.send(subject=f"mail {n}", html="<p>x")
    page = opened()
    expect(page.locator("#list li[role=option]")).to_have_count(3)
    page.keyboard.press("j")
    expect(page.locator(".head h2")).to_have_text("mail 2")
    page.keyboard.press("j")
    expect(page.locator(".head h2")).to_have_text("mail 1")
    page.keyboard.press("k")
    expect(page.locator(".head h2")).to_have_text("mail 2")
    page.keyboard.press("6")
    expect(page.locator("#tab-smtp")).to_have_attribute("aria-selected", "true")
    expect(page.locator("table.dialogue")).to_contain_text("MAIL FROM:<ann@example.org>")
    page.keyboard.press("/")
    page.keyboard.type("subject:0")
    expect(page.locator("#found")).to_have_text("1 match")
    page.keyboard.press("Escape")
    page.keyboard.press("j")
    expect(page.locator(".head h2")).to_have_text("mail 0")
    page.keyboard.press("d")
    expect(page.locator("#found")).to_have_text("Nothing matches")
    page.keyboard.press("?")
    expect(page.locator("#keys")).to_be_visible()


def test_what_is_shown_is_what_is_deleted(world: World, opened: Open) -> None:
    """A server that begins anew gives the same numbers to other messages."""
    world.send(subject="old")
    page = opened("/m/1")
    expect(page.locator(".head h2")).to_have_text("old")
    world.inbox.store.epoch = "another"
    page.keyboard.press("d")
    expect(page.locator("#pane")).to_contain_text("This message is gone")
    expect(page.locator("#pane button:visible")).to_have_count(0)
    assert world.inbox.store.count("") == 1
    page.keyboard.press("j")
    expect(page.locator(".head h2")).to_have_text("old")
    page.keyboard.press("d")
    expect(page.locator("#found")).to_have_text("No messages yet")


@pytest.mark.parametrize("way", ["deleted elsewhere", "pushed out"])
def test_a_message_that_is_gone_is_shown_as_gone(way: str, world: World, opened: Open) -> None:
    world.send(subject="first")
    world.send(subject="second")
    page = opened("/m/1", 390, 844)
    expect(page.locator(".head h2")).to_have_text("first")
    if way == "deleted elsewhere":
        assert world.inbox.remove("", number=1) == 1
    else:
        world.inbox.store._keep = 2
        world.send(subject="third")
    expect(page.locator("#pane")).to_contain_text("This message is gone")
    page.get_by_role("button", name="Back").click()
    expect(page.locator("#list")).to_be_visible()


def test_back_leads_to_the_list(world: World, opened: Open) -> None:
    for subject in ("one", "two"):
        world.send(subject=subject)
    page = opened("/", 390, 844)
    page.click("#m1")
    expect(page.locator(".head h2")).to_have_text("one")
    page.keyboard.press("k")
    expect(page.locator(".head h2")).to_have_text("two")
    page.go_back()  # a step, however many were read
    expect(page.locator("#list")).to_be_visible()
    page.go_forward()
    expect(page.locator(".head h2")).to_have_text("two")
    page.get_by_role("button", name="Back").click()
    expect(page.locator("#list")).to_be_visible()
    for view in ("sessions", "faults"):
        page.click(f"#show-{view}")
        expect(page.locator("#pane h2")).to_have_text(view.capitalize())
        page.go_back()
        expect(page.locator("#list")).to_be_visible()
    page = opened("/m/1", 390, 844)  # by a link, before which there was no list
    page.get_by_role("button", name="Back").click()
    expect(page.locator("#list")).to_be_visible()


@pytest.mark.parametrize("width", [1400, 390])
@pytest.mark.parametrize("begin", ["/", "/m/1"])
def test_a_step_in_history_leads_to_the_message_that_was_there(
    begin: str, width: int, world: World, opened: Open
) -> None:
    """Another server has another message of that number."""
    world.send(subject="old")
    page = opened(begin, width)
    if begin == "/":
        page.click("#m1")
    expect(page.locator(".head h2")).to_have_text("old")
    if begin != "/":
        page.evaluate("location.hash = ''")
        expect(page.locator("#list")).to_be_visible()
    world.inbox.store.epoch = "another"
    if begin == "/":
        world.send(subject="new")
        expect(page.locator("#pane")).to_contain_text("This message is gone")
        page.go_back()
        expect(page).to_have_url(f"{world.url}/")
        expect(page.locator("#list")).to_be_visible()
        expect(page.locator("#pane")).not_to_contain_text("gone")
        page.go_forward()
    else:
        page.go_back()
    expect(page.locator("#pane")).to_be_visible()
    expect(page.locator("#pane")).to_contain_text("This message is gone")
    expect(page).to_have_url(f"{world.url}/#/m/1")
    page.reload()
    expect(page.locator("#pane")).to_contain_text("This message is gone")


def test_a_link_to_a_message_that_is_not_there(world: World, opened: Open) -> None:
    page = opened("/m/7", 390)
    expect(page.locator("#pane")).to_contain_text("This message is gone")
    page.get_by_role("button", name="Back").click()
    expect(page.locator("#list")).to_be_visible()


@pytest.mark.parametrize(("width", "where"), [(1400, "list"), (390, "pane")])
def test_the_focus_is_never_lost(width: int, where: str, world: World, opened: Open) -> None:
    for n in range(4):
        world.send(subject=f"mail {n}")
    page = opened("/", width)
    expect(page.locator("#list li")).to_have_count(4)
    page.focus("#list")
    page.keyboard.press("ArrowDown")
    expect(page.locator(".head h2")).to_have_text("mail 3")
    expect(page.locator(f"#{where}")).to_be_focused()
    page.keyboard.press("Escape")
    expect(page.locator("#list")).to_be_visible()
    expect(page.locator("#list")).to_be_focused()
    expect(page).to_have_url(f"{world.url}/")
    page.keyboard.press("Enter")
    expect(page.locator(".head h2")).to_have_text("mail 3")
    expect(page.locator(f"#{where}")).to_be_focused()
    for key in ("d", "Enter"):
        count = page.locator("#list li").count()
        if key == "Enter":
            if width == 390:
                page.click("#m2")
            page.get_by_role("button", name="Delete", exact=True).focus()
        page.keyboard.press(key)
        expect(page.locator("#list li")).to_have_count(count - 1)
        if width == 1400:
            expect(page.locator(".head h2")).to_have_text(f"mail {count - 2}")
        expect(page.locator("#list")).to_be_focused()


def test_what_is_deleted_is_never_the_next_to_be_shown(world: World, opened: Open) -> None:
    """The list is asked for twice, and answered late: who deletes it is told by the second."""
    for n in range(4):
        world.send(subject=f"mail {n}")
    page = opened("/m/3")
    expect(page.locator(".head h2")).to_have_text("mail 2")

    def late(route: Any) -> None:
        time.sleep(0.5)
        route.continue_()

    page.route("**/api/messages?limit=*", late)
    page.focus("#list")
    page.keyboard.press("d")
    expect(page.locator("#list li")).to_have_count(3)
    expect(page.locator(".head h2")).to_have_text("mail 1")
    expect(page.locator("#error")).to_be_hidden()


def test_a_link_is_followed_while_others_ask_for_the_list(world: World, opened: Open) -> None:
    world.send(subject="first")
    page = opened()
    expect(page.locator("#live .word")).to_have_text("live")

    def late(route: Any) -> None:
        time.sleep(0.5)
        route.continue_()

    page.route("**/api/messages?limit=*", late)
    page.goto("about:blank")
    page.goto(f"{world.url}/m/1")
    expect(page.locator(".head h2")).to_have_text("first")
    expect(page.locator("#error")).to_be_hidden()


def test_keys_of_a_list(world: World, opened: Open) -> None:
    for n in range(4):
        world.send(subject=f"mail {n}")
    page = opened()
    expect(page.locator("#list li")).to_have_count(4)
    page.focus("#list")
    for key, number in (("End", 1), ("Home", 4), ("ArrowDown", 3), ("Delete", 2)):
        page.keyboard.press(key)
        expect(page.locator("#list")).to_have_attribute("aria-activedescendant", f"m{number}")
        expect(page.locator(f"#m{number}")).to_have_attribute("aria-selected", "true")
    assert world.inbox.store.count("") == 3


def test_the_next_message_is_the_next_one_whatever_came(world: World, opened: Open) -> None:
    for n in range(1, 5):
        world.send(subject=f"mail {n}")
    page = opened("/m/3")
    expect(page.locator(".head h2")).to_have_text("mail 3")
    from .conftest import message

    for n in range(5, 130):
        assert world.inbox.take(message(b"Subject: mail %d\r\n\r\nhi\r\n" % n)) is None
    expect(page.locator("#found")).to_have_text("129 messages")
    for key, number in (("j", 2), ("k", 3), ("k", 4), ("k", 5), ("k", 6)):
        page.keyboard.press(key)
        expect(page.locator(".head h2")).to_have_text(f"mail {number}")
        expect(page.locator("#list")).to_have_attribute("aria-activedescendant", f"m{number}")
    world.send(subject="one more")  # The list stays where it is read.
    expect(page.locator("#found")).to_have_text("130 messages")
    expect(page.locator("#m6")).to_be_visible()
    page.get_by_text("Newer messages").click()
    expect(page.locator("#m57")).to_be_attached()
    page.get_by_text("Newer messages").click()
    expect(page.locator("#list li .subject").first).to_have_text("one more")
    expect(page.get_by_text("Newer messages")).to_be_hidden()


def test_whom_it_is_to_does_not_end_without_a_word(world: World, opened: Open) -> None:
    everybody = [f"p{n}@example.net" for n in range(60)]
    world.send(to=everybody, subject="to many")
    page = opened("/m/1")
    expect(page.locator(".facts")).to_contain_text("p49@example.net and 10 more")


def test_a_name_is_not_turned_round(world: World, opened: Open) -> None:
    world.send(subject="photo\u202egpj.exe", text="x\u202ey")
    page = opened("/m/1")
    for place in (".head h2", "#list li .subject"):
        expect(page.locator(place)).to_have_text("photo[U+202E]gpj.exe")
    expect(page.locator("#view pre")).to_contain_text("x\u202ey")  # as it came


def test_a_long_subject_leaves_the_message_in_sight(world: World, opened: Open) -> None:
    from .conftest import message

    people = [f"p{n}@example.net" for n in range(60)]
    to = ",\r\n ".join(people).encode()
    content = b"Subject: %s\r\nTo: %s\r\n\r\nhi\r\n" % (b"word " * 7600, to)
    assert world.inbox.take(message(content, *people)) is None
    page = opened("/m/1", 390, 844)
    expect(page.locator("#view pre")).to_be_in_viewport(ratio=1)
    expect(page.locator(".facts")).to_contain_text("p7@example.net and 52 more")
    expect(page.get_by_role("button", name="Back")).to_be_in_viewport(ratio=1)


def test_enter_releases_and_the_outcome_is_told(world: World, opened: Open) -> None:
    outcomes = {
        "bob@example.net": smtpx.Status.ACCEPTED,
        "kim@example.net": smtpx.Status.IN_DOUBT,
    }

    async def release(content: bytes, envelope: smtpx.Envelope) -> smtpx.SendResult:
        return smtpx.SendResult(
            [
                smtpx.Outcome(each.address, outcomes[str(each)], None)
                for each in envelope.recipients
            ],
            None,
        )

    world.inbox._release, world.inbox._allow = release, ("*",)
    world.send(subject="out")
    page = opened("/m/1")
    page.get_by_role("button", name="Release").click()
    page.fill("#ask-value", "bob@example.net, kim@example.net")
    page.keyboard.press("Enter")
    expect(page.locator("#ask-title")).to_have_text("What became of it")
    expect(page.locator("#ask-text")).to_contain_text("bob@example.net: accepted")
    expect(page.locator("#ask-text")).to_contain_text("Do not release it again blindly")
    expect(page.locator("#ask button:visible")).to_have_count(1)
    page.keyboard.press("Enter")
    expect(page.locator("#ask")).to_be_hidden()


def test_enter_deletes_nothing_that_was_not_asked_for(world: World, opened: Open) -> None:
    world.send(subject="stays")
    page = opened()
    page.click("#clear")
    page.keyboard.press("Enter")
    expect(page.locator("#ask")).to_be_hidden()
    assert world.inbox.store.count("") == 1


@pytest.mark.parametrize("query", ["", "to:bob"])
def test_what_was_told_is_what_is_deleted(query: str, world: World, opened: Open) -> None:
    """Mail that comes while somebody is asked was not in the question."""
    for _ in range(3):
        world.send(subject="asked")
    page = opened()
    page.fill("#query", query)
    expect(page.locator("#found")).to_contain_text("3 matches" if query else "3 messages")
    page.click("#clear")
    expect(page.locator("#ask-text")).to_contain_text("3 messages")
    for _ in range(2):
        world.send(subject="late")
    expect(page.locator("#list li")).to_have_count(5)
    page.click("#ask-yes")
    expect(page.locator("#list li")).to_have_count(2)
    assert [row["subject"] for row in world.inbox.store.rows("", limit=9)] == ["late", "late"]


def test_what_came_just_before_the_question_is_told(world: World, opened: Open) -> None:
    world.send(subject="shown")
    page = opened()
    expect(page.locator("#list li")).to_have_count(1)
    page.route("**/api/events", lambda route: route.abort())
    page.reload()
    expect(page.locator("#list li")).to_have_count(1)
    world.send(subject="not yet shown")
    page.click("#clear")
    expect(page.locator("#ask-text")).to_contain_text("2 messages")
    page.click("#ask-yes")
    expect(page.locator("#list li")).to_have_count(0)
    page.click("#clear")
    expect(page.locator("#ask-title")).to_have_text("There is nothing to delete")


def test_faults_from_the_page(world: World, opened: Open) -> None:
    page = opened()
    page.click("#show-faults")
    page.fill("#faults", "MAIL: 451 4.3.0 later x1")
    page.get_by_text("Arm these").click()
    expect(page.locator("#fault-count")).to_have_text(" 1")
    with pytest.raises(smtpx.SenderRefused):
        world.send()
    page.fill("#faults", "nonsense")
    page.get_by_text("Arm these").click()
    expect(page.get_by_text("is no fault")).to_be_visible()


def test_u16_fifty_thousand_messages(world: World, opened: Open) -> None:
    from .conftest import message

    store = world.inbox.store
    content = b"Subject: many\r\n\r\nhi\r\n"
    one = message(content)
    _ = store.add(one)
    with store._writing() as connection:
        _ = connection.execute(
            "INSERT INTO messages (taken, queue_id, session, sender, recipients, parameters, helo, "
            "user, tls, via, size, subject, described) WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL "
            "SELECT i + 1 FROM n WHERE i < 49999) SELECT taken, queue_id, session, sender, "
            "recipients, parameters, helo, user, tls, via, size, 'many ' || i, 1 FROM messages, n"
        )
        store._count += 49_999
    asked: list[str] = []
    page = opened("/livez")
    page.on("request", lambda request: asked.append(request.url))
    page.goto(world.url)
    expect(page.locator("#found")).to_have_text("50,000 messages")
    assert len([url for url in asked if "/api/messages?" in url]) <= 2
    assert page.locator("#list > *").count() < 200
    page.get_by_text("Older messages").click()
    expect(page.locator("#list li .subject").first).to_have_text("many 49949")
    assert page.locator("#list > *").count() < 200
    page.fill("#query", "subject:49123")
    expect(page.locator("#found")).to_have_text("1 match")


def test_u17_a_burst_is_a_few_fetches(world: World, opened: Open) -> None:
    from .conftest import message

    page = opened()
    expect(page.locator("#live .word")).to_have_text("live")
    asked: list[float] = []
    page.on(
        "request",
        lambda request: asked.append(time.monotonic()) if "/api/messages?" in request.url else None,
    )
    begun = time.monotonic()
    for n in range(1500):
        assert world.inbox.take(message(b"Subject: burst %d\r\n\r\nhi\r\n" % n)) is None
    expect(page.locator("#found")).to_have_text("1,500 messages", timeout=60_000)
    seconds = time.monotonic() - begun
    assert len(asked) <= 4 * seconds + 2
    while not world.inbox._to_read.empty():
        page.wait_for_timeout(100)
    page.wait_for_timeout(1000)
    before = len(asked)
    page.wait_for_timeout(1500)
    assert len(asked) == before  # it does not feed itself


# Looks, and whoever does not look.


def fill_for_looks(world: World) -> None:
    world.send(subject="Your sign-in code is 483920", text="Your code is 483920.")
    world.send(
        to=["bob@example.net", "lee@example.net"],
        bcc="carol@example.net",
        subject="Grüße aus Zürich: the minutes of our meeting",
        html="<h1>Hello Bob</h1><p>The minutes are <a href='https://example.com'>here</a>.",
        attachments=[smtpx.Attachment(b"%PDF-1.7" * 400, "minutes.pdf")],
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("width", "height"), [(1400, 900), (390, 844)])
def test_looks_and_accessibility(
    scheme: str, width: int, height: int, world: World, opened: Open, tmp_path: Path
) -> None:
    fill_for_looks(world)
    page = opened("/", width, height, color_scheme=scheme)
    expect(page.locator("#list li[role=option]")).to_have_count(2)
    folder = Path(LOOKED_AT) if LOOKED_AT else tmp_path
    views = {"list": lambda: None, "mail": lambda: page.keyboard.press("j")}
    for tab in ("source", "headers", "parts", "smtp", "lint"):
        views[tab] = partial(page.click, f"#tab-{tab}")
    views |= {
        "sessions": lambda: page.click("#show-sessions"),
        "faults": lambda: page.click("#show-faults"),
    }
    for name, go in views.items():
        go()
        page.wait_for_timeout(300)
        page.screenshot(path=folder / f"{name}-{scheme}-{width}.png")
        assert page.evaluate("document.documentElement.scrollWidth <= innerWidth"), name
        assert serious(page) == [], name
        if name in ("mail", "lint"):
            for tab in page.locator("[role=tab]").all():
                expect(tab).to_be_in_viewport(ratio=1)
        if name == "list":
            expect(page.locator("#help")).to_be_in_viewport(ratio=1)


def serious(page: Any) -> list[str]:
    """What axe finds that keeps somebody out."""
    if find_spec("axe_playwright_python") is None:
        pytest.skip("there is no axe: .ci/run installs it")
    axe = import_module("axe_playwright_python.sync_playwright").Axe()
    # The page's policy forbids to add a script: axe is told to the browser beside it.
    found = axe.run(page)
    return [
        f"{each['id']}: {each['help']} {[node['html'][:120] for node in each['nodes'][:3]]}"
        for each in found.response["violations"]
        if each["impact"] in ("serious", "critical")
    ]


def test_the_pictures_of_the_documentation(world: World, opened: Open, tmp_path: Path) -> None:
    """Drawn into ``docs`` by ``SMTPX_SCREENSHOTS=docs``, and elsewhere to see that it can be."""
    fill_for_looks(world)
    page = opened("/", 1000, 560, color_scheme="light")
    expect(page.locator("#list li[role=option]")).to_have_count(2)
    page.keyboard.press("j")
    folder = Path(LOOKED_AT) if LOOKED_AT else tmp_path
    for tab, name in (("html", "inbox.png"), ("smtp", "inbox-dialogue.png")):
        page.click(f"#tab-{tab}")
        page.wait_for_timeout(300)
        page.screenshot(path=folder / name)
        assert (folder / name).stat().st_size > 10_000
