"""What is read to get something done is read once: no sentence has more than 25 words."""

from __future__ import annotations

from pathlib import Path

import pytest
from tools import prose, site

ROOT = Path(__file__).parents[2]
PAGES = [
    *("README.md", "CHANGELOG.md", "CONTRIBUTING.md", "SECURITY.md", "CODE_OF_CONDUCT.md"),
    *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").rglob("*.md")),
]


@pytest.mark.parametrize("name", PAGES)
def test_no_sentence_is_too_long(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert prose.long_sentences(text) == []


@pytest.mark.parametrize("name", PAGES)
def test_whoever_is_meant_has_a_noun(name: str):
    text = (ROOT / name).read_text(encoding="utf-8")
    assert prose.nameless(text) == []


def test_somebody_without_a_noun_is_found():
    found = ["Who waits has a queue.", "So: whoever asks gets it.", "It is the turn of who waits."]
    assert prose.nameless(" ".join(found)) == found
    assert prose.nameless("Who sees an inbox? Those who may. You say who logs in.") == []


def test_a_long_sentence_is_found_in_a_paragraph_an_item_and_a_cell():
    long = "word " * (prose.LIMIT + 1)
    for text in (f"{long}.", f"Short.\n\n- {long}", f"| a | {long} |\n|---|---|", f"So: {long}"):
        assert [count for count, _ in prose.long_sentences(text)] != [], text


def test_a_heading_a_list_of_names_and_where_links_lead_are_no_part_of_a_sentence():
    half, names = "word " * 15, ", ".join(["`name`"] * 30)
    text = f"### {half}\n{half}. These: {names}.\n\n[smtpx.Line]: events.md 'a title'\n" * 9
    assert prose.long_sentences(text) == []


def test_code_links_and_short_sentences_are_not():
    half = "word " * 15
    text = f"{half}. Then {half}.\n\n```python\n{half * 3}\n```\n\n[{half}](a b c d e f g h i j k)"
    assert prose.long_sentences(text) == []


def test_a_sentence_ends_within_bold_and_before_code():
    half = ("word " * 15).strip()
    assert prose.long_sentences(f"**`Code` {half}.** Then {half}. `code` {half}.") == []
    (found,) = prose.long_sentences(f"Short. **{half}, {half}.** Then {half}.")
    assert found[0] == 30


def test_every_page_has_its_place_in_the_navigation():
    placed = [path for _, path in site.pages()]
    docs = ROOT / "docs"
    written = {path.relative_to(docs).as_posix() for path in docs.rglob("*.md")}
    own = {"index.md" if name == "README.md" else name for name in site.PROJECT}
    assert sorted(placed) == sorted(set(placed)), "a page has two places in zensical.toml"
    assert (written | own) - set(placed) == set(), "give it its place in zensical.toml"
    assert set(placed) - (written | own) == set(), "there is no such page any more"
