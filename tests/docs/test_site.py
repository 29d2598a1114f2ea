"""The site that is built, and what would be found in it."""

from __future__ import annotations

import re
import shutil
from importlib.util import find_spec
from pathlib import Path

import pytest
from tools import site

PAGE = '<html><head>{head}</head><body><h1 id="here">x</h1>{body}</body></html>'


def built(folder: Path, body: str = "", head: str = "") -> Path:
    _ = (folder / "index.html").write_text(PAGE.format(head=head, body=body), encoding="utf-8")
    (folder / "other").mkdir()
    other = PAGE.format(head="", body="")
    _ = (folder / "other" / "index.html").write_text(other, encoding="utf-8")
    return folder


@pytest.mark.parametrize(
    "body",
    [
        '<a href="other/#here">there</a><a href="other/">there</a><a href="#here">here</a>',
        '<a href="https://example.com/">elsewhere</a><a href="mailto:ann@example.org">write</a>',
    ],
)
def test_what_leads_somewhere_is_right(body: str, tmp_path: Path):
    assert site.faults(built(tmp_path, body)) == []


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        ('<a href="nowhere/">x</a>', "not there"),
        ('<a href="other/#gone">x</a>', "no such anchor"),
        ('<a href="#gone">x</a>', "no such anchor"),
        ('<img src="gone.png">', "not there"),
        ('<img src="https://example.com/x.png">', "loads https://example.com/x.png"),
        ('<script src="//example.com/x.js"></script>', "loads //example.com/x.js"),
    ],
)
def test_what_leads_nowhere_or_asks_elsewhere_is_found(body: str, problem: str, tmp_path: Path):
    (found,) = site.faults(built(tmp_path, body))
    assert problem in found


def test_fonts_of_another_host_are_found(tmp_path: Path):
    head = '<link rel="stylesheet" href="https://fonts.example.com/css">'
    _ = (tmp_path / "style.css").write_text('@import "https://fonts.example.com/x";', "utf-8")
    assert len(site.faults(built(tmp_path, head=head))) == 2


def test_links_between_folders_are_right_in_the_site(tmp_path: Path):
    site.gather(tmp_path)
    assert "](outbox.md" in (tmp_path / "index.md").read_text(encoding="utf-8")
    migrating = (tmp_path / "migrating.md").read_text(encoding="utf-8")
    assert "](examples/migration/smtplib_after.py)" in migrating
    for path in tmp_path.rglob("*.md"):
        for target in re.findall(r"\]\(([^)#\s:]+)[)#]", path.read_text(encoding="utf-8")):
            assert (path.parent / target).exists(), f"{path.name}: {target}"


def test_the_list_for_models_has_every_page(tmp_path: Path):
    site.gather(tmp_path / "source")
    site.write_for_models(tmp_path / "source", tmp_path)
    listed = (tmp_path / "llms.txt").read_text(encoding="utf-8")
    assert re.findall(r"\]\(([^)]+)\): \S", listed) == [path for _, path in site.pages()]
    whole = (tmp_path / "llms-full.txt").read_text(encoding="utf-8")
    assert "# Your first mail" in whole
    assert "### smtpx.Client(endpoint: " in whole
    assert "Safe to share between threads" in whole
    assert "\n::: " not in whole


@pytest.mark.slow
@pytest.mark.skipif(
    None in map(find_spec, ("zensical", "mkdocstrings")), reason="needs the group `docs`"
)
def test_the_site_is_built_and_is_right(monkeypatch: pytest.MonkeyPatch):
    shutil.rmtree(site.SITE, ignore_errors=True)
    assert site.build() == 0
    assert site.missing() == []
