"""The site in a real browser: it fits wide and narrow, light and dark, and asks nobody else.

``make test-site`` runs it. It needs Chromium and playwright, which ``.ci/run`` brings along.
"""

from __future__ import annotations

import http.server
import shutil
import threading
from collections.abc import Iterator
from functools import partial
from importlib import import_module
from importlib.util import find_spec
from typing import Any

import pytest
from tools import site

from tests.inbox.test_browser import FLAGS, PATIENCE, serious

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
NEEDED = ("playwright", "zensical", "mkdocstrings")
WIDE, NARROW = 1280, 390

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="there is no Chromium: .ci/run installs it"),
    pytest.mark.skipif(
        None in map(find_spec, NEEDED), reason="needs the groups `docs` and `browser`"
    ),
    pytest.mark.xdist_group("site"),
    pytest.mark.timeout(300),
]


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format: str, *args: Any) -> None:
        """Nobody reads it."""


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    assert site.build() == 0
    handler = partial(_Quiet, directory=str(site.SITE))
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
        thread.join()


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with import_module("playwright.sync_api").sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        yield browser
        browser.close()


@pytest.mark.parametrize(("width", "scheme"), [(WIDE, "light"), (NARROW, "dark")])
def test_every_page_fits_and_asks_nobody_else(address: str, browser: Any, width: int, scheme: str):
    context = browser.new_context(
        viewport={"width": width, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    elsewhere, errors, too_wide = list[str](), list[str](), list[str]()
    page.on("request", lambda request: elsewhere.append(request.url))
    page.on("pageerror", lambda error: errors.append(str(error)))
    pages = sorted(path.relative_to(site.SITE).as_posix() for path in site.SITE.rglob("index.html"))
    for path in pages:
        page.goto(f"{address}/{path}")
        if page.evaluate("document.documentElement.scrollWidth > innerWidth"):
            too_wide.append(path)
    background = page.evaluate("getComputedStyle(document.body).backgroundColor")
    context.close()
    own = (address, "data:", "blob:")
    assert [url for url in elsewhere if not url.startswith(own)] == []
    assert errors == []
    assert too_wide == []
    dark = [int(number) < 128 for number in background[4:-1].split(", ")[:3]]
    assert all(dark) if scheme == "dark" else not any(dark), background
    assert len(pages) == len(site.pages())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_everybody_can_read_it(address: str, browser: Any, scheme: str):
    context = browser.new_context(
        viewport={"width": WIDE, "height": 900}, color_scheme=scheme, reduced_motion="reduce"
    )
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    for path in ("", "start/", "reference/client/"):
        page.goto(f"{address}/{path}")
        assert serious(page) == [], path
    context.close()


def test_a_name_of_the_library_is_found_by_the_search(address: str, browser: Any):
    context = browser.new_context(viewport={"width": WIDE, "height": 900})
    page = context.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(address)
    page.click(".md-search__button")
    page.get_by_role("combobox", name="Search").fill("RecipientsRefused")
    found = page.locator("[role=option][href*='reference/errors']")
    found.filter(has_text="RecipientsRefused").first.wait_for()
    context.close()


def test_the_picture_is_there(address: str, browser: Any):
    page = browser.new_page()
    page.set_default_timeout(PATIENCE)
    page.goto(f"{address}/performance/")
    image = page.locator("article img").first
    image.wait_for()
    assert image.evaluate("image => image.complete && image.naturalWidth > 0")
    page.close()
