"""Plain text out of the HTML of a mail: what a person would read aloud."""

from __future__ import annotations

import re
from html.parser import HTMLParser
from typing import Final

from smtpx import _checks

__all__ = ["plain_text"]

_UNSEEN: Final = frozenset({"script", "style", "template", "title", "svg"})
_VOID: Final = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "wbr"}
)
_BLOCKS: Final = frozenset(
    {"address", "article", "aside", "center", "div", "dd", "dl", "dt", "footer", "form", "header"}
    | {"li", "main", "nav", "ol", "section", "table", "tr", "ul", "pre"}
)
_PARAGRAPHS: Final = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "table", "pre", "dl"}
)
_HIDDEN: Final = re.compile(r"display\s*:\s*none|mso-hide\s*:\s*all", re.IGNORECASE)
# <![endif]> and the like, on which some versions of the parser stumble; not the end of a comment.
_MARKED_SECTION: Final = re.compile(r"<!\[[^>]*?(?:(?=-->)|>|\Z)")
# What marketing mail fills its previews with.
_INVISIBLE: Final = dict.fromkeys(map(ord, "\u00ad\u034f\u200b\u200c\u200d\u2060\ufeff"))
# No character has such a number, and `int` takes no number of thousands of digits.
_NO_CHARACTER: Final = re.compile(r"&#0*[0-9]{8,};?")
# Lists in lists, and quotes in quotes, that are shown as such.
_DEEPEST: Final = 16
_SPACE: Final = re.compile(r"[ \t\r\n\f\xa0]+")


def plain_text(html: str) -> str:
    """What an HTML body says, as plain text: links with their targets, lists, quotes, tables.

    For `compose(html=html, text=smtpx.plain_text(html))`. A text written for the purpose is
    better.

    Raises:
        TypeError: it is no text.
    """
    _checks.text("html", html)
    reader = _Reader()
    html = _NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", _MARKED_SECTION.sub("", html))
    reader.feed(html)
    reader.close()
    return reader.text()


class _Reader(HTMLParser):
    def __init__(self) -> None:
        super().__init__(convert_charrefs=True)
        self._lines: list[str] = []
        self._line = ""
        self._space = False  # White space is due before the next word.
        self._gap: int | None = None  # An empty line is due, in so many quotes.
        self._unseen = ""  # The element that hides what is in it, …
        self._unseen_depth = 0  # … and how many of its kind are open, itself included.
        self._lists: list[int | None] = []  # The number of each open list's next item.
        self._links: list[tuple[str, int, int]] = []  # Target, and where its text begins.
        self._quotes = 0
        self._pre = 0
        self._mark = ""  # What the next line begins with.

    def text(self) -> str:
        self._break()
        text = "\n".join(self._lines).strip("\n")
        return text + "\n" if text else ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        if self._unseen:
            self._unseen_depth += tag == self._unseen
            return
        if tag in _UNSEEN or _is_hidden(named):
            if tag not in _VOID:
                self._unseen, self._unseen_depth = tag, 1
            return
        if tag in _BLOCKS or tag in _PARAGRAPHS:
            self._break(gap=tag in _PARAGRAPHS and not self._lists)
        match tag:
            case "br":
                self._break(empty=True)
            case "hr":
                self._break()
                self._say("-" * 20)
                self._break()
            case "img":
                self._words(named.get("alt") or "")
            case "a":
                self._links.append((named.get("href") or "", len(self._lines), len(self._line)))
            case "ul":
                self._lists.append(None)
            case "ol":
                self._lists.append(_number(named.get("start")))
            case "li":
                self._mark = self._bullet()
            case "td" | "th" if self._line:
                self._space = False
                self._line += "  "
            case "blockquote":
                self._quotes += 1
            case "pre":
                self._pre += 1
            case _:
                pass

    def handle_endtag(self, tag: str) -> None:
        if self._unseen:
            self._unseen_depth -= tag == self._unseen
            if not self._unseen_depth:
                self._unseen = ""
            return
        if tag == "a" and self._links:
            self._end_link()
        if tag in _BLOCKS or tag in _PARAGRAPHS:
            self._break()
            self._mark = ""
        match tag:
            case "ul" | "ol" if self._lists:
                _ = self._lists.pop()
            case "blockquote" if self._quotes:
                self._quotes -= 1
            case "pre" if self._pre:
                self._pre -= 1
            case _:
                pass
        if tag in _PARAGRAPHS and not self._lists:
            self._break(gap=True)

    def handle_data(self, data: str) -> None:
        if self._unseen:
            return
        data = data.translate(_INVISIBLE)
        if not self._pre:
            self._words(data)
            return
        first, *others = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._say(first)
        for line in others:
            self._break(empty=True)
            self._say(line)

    def _words(self, text: str) -> None:
        """Text in which any white space is one space."""
        words = _SPACE.sub(" ", text)
        if words.startswith(" "):
            self._space = True
        if stripped := words.strip(" "):
            self._say((" " if self._space and self._line.strip() else "") + stripped)
            self._space = words.endswith(" ")

    def _say(self, text: str) -> None:
        if not text:
            return
        if not self._line:
            if self._gap is not None:
                self._lines.append(_quoted(self._gap).rstrip())
            self._gap = None
            self._line = _quoted(self._quotes) + self._mark
            self._mark = " " * len(self._mark)
        self._line += text

    def _break(self, *, gap: bool = False, empty: bool = False) -> None:
        if self._line or empty:
            self._lines.append(self._line.rstrip())
        self._line, self._space = "", False
        if gap and self._lines:
            self._gap = self._quotes if self._gap is None else min(self._gap, self._quotes)

    def _bullet(self) -> str:
        indent = "  " * (min(len(self._lists), _DEEPEST) - 1)
        number = self._lists[-1] if self._lists else None
        if number is None:
            return f"{indent}- "
        self._lists[-1] = number + 1
        return f"{indent}{number}. "

    def _end_link(self) -> None:
        target, lines, start = self._links.pop()
        text = self._line[start:] if lines == len(self._lines) else self._line
        target = target.strip()
        if not target or target.startswith(("#", "javascript:")):
            return
        bare = target.removeprefix("mailto:").removeprefix("tel:")
        if bare.rstrip("/") not in text:
            self._words(f" <{bare}>")


def _quoted(depth: int) -> str:
    return "> " * min(depth, _DEEPEST)


def _is_hidden(named: dict[str, str | None]) -> bool:
    return "hidden" in named or bool(_HIDDEN.search(named.get("style") or ""))


def _number(start: str | None) -> int:
    return int(start) if start and re.fullmatch(r"[0-9]{1,6}", start) else 1
