"""Plain text out of the HTML of a mail: what a person would read aloud."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Final

from smtpx import _checks
from smtpx.composing._elements import BLOCKS, PARAGRAPHS, Elements, is_hidden, with_end_tags
from smtpx.composing._markup import Tag, markup_in

__all__ = ["plain_text"]

# What marketing mail fills its previews with.
_INVISIBLE: Final = dict.fromkeys(map(ord, "\u00ad\u200b\u2060\ufeff"))
# The same, but for within a word: there they join its letters, or an emoji's parts.
_JOINERS: Final = "\u034f\u200c\u200d"
_BESIDE_WORDS: Final = re.compile(
    rf"(?<=\s)[{_JOINERS}]++|(?<![{_JOINERS}])[{_JOINERS}]++(?=\s)|(?<=\s)[\u200e\u200f]++(?=\s)"
)
# Lists in lists, and quotes in quotes, that are shown as such; joiners before a word that are kept.
_DEEPEST: Final = 16
_SPACE: Final = re.compile(r"[ \t\r\n\f\xa0\u2007]+")
_BREAKS: Final = re.compile(r"[\t\r\n]+")
_INTEGER: Final = re.compile(r"[ \t\r\n\f]*[+-]?[0-9]{1,6}[ \t\r\n\f]*", re.ASCII)
_ROMAN: Final = (
    *((1000, "m"), (900, "cm"), (500, "d"), (400, "cd"), (100, "c"), (90, "xc"), (50, "l")),
    *((40, "xl"), (10, "x"), (9, "ix"), (5, "v"), (4, "iv"), (1, "i")),
)
_AROUND_A_LINK: Final = "<>()[]{}\"'“”‘’«»„‚.,:;!?\u2026"


def plain_text(html: str) -> str:
    """What an HTML body says, as plain text: links with their targets, lists, quotes, tables.

    For `compose(html=html, text=smtpx.plain_text(html))`. A text written for the purpose is
    better.

    Raises:
        TypeError: it is no text.
    """
    _checks.text("html", html)
    markup = list(markup_in(html))
    reader = _Reader(Elements(with_end_tags(markup)), _items_of_each(markup))
    reader.read(markup)
    return reader.text()


plain_text.__module__ = "smtpx.composing"


@dataclass(slots=True)
class _Numbered:
    """An open list, and the number of its next item."""

    number: int
    step: int
    kind: str


class _Reader:
    def __init__(self, elements: Elements, items: Iterator[int]) -> None:
        self._elements = elements
        self._items = items  # How many each numbered list has, in their order.
        self._lines: list[str] = []
        self._line = ""
        self._space = False  # White space is due before the next word.
        self._joiners: str = ""  # What joins the last word to the next, if there is no white space.
        self._gap: int | None = None  # An empty line is due, in so many quotes.
        self._lists: list[_Numbered | None] = []
        self._links: list[tuple[str, int, int]] = []  # Target, and where its text begins.
        self._quotes = 0
        self._pre = 0
        self._mark = ""  # What the next line begins with.

    def read(self, markup: Iterable[Tag | str]) -> None:
        for each in markup:
            if isinstance(each, str):
                self._read_text(each)
            elif each.is_end:
                self._end(each)
            else:
                self._begin(each)

    def text(self) -> str:
        if self._links:
            self._end_link()
        self._break()
        text = "\n".join(self._lines).strip("\n")
        return text + "\n" if text else ""

    def _begin(self, begun: Tag) -> None:
        self._elements.begin(begun)
        tag, named = begun.name, begun.attributes
        items = next(self._items) if tag == "ol" else 0
        if self._elements.hidden or is_hidden(named):
            return
        if tag in BLOCKS or tag in PARAGRAPHS:
            self._break(gap=tag in PARAGRAPHS and not self._lists)
        match tag:
            case "br":
                self._break(empty=True)
            case "hr":
                self._break()
                self._say("-" * 20)
                self._break()
            case "img":
                self._words(named.get("alt", ""))
            case "a":
                if self._links:
                    self._end_link()
                self._links.append((named.get("href", ""), len(self._lines), len(self._line)))
            case "ul":
                self._lists.append(None)
            case "ol":
                step = -1 if "reversed" in named else 1
                number = _number(named.get("start"), items if step < 0 else 1)
                self._lists.append(_Numbered(number, step, named.get("type", "")))
            case "li":
                self._mark = self._bullet(named.get("value"))
            case "td" | "th" if self._line:
                self._space = False
                self._line += "  "
            case "blockquote":
                self._quotes += 1
            case "pre":
                self._pre += 1
            case _:
                pass

    def _end(self, end: Tag) -> None:
        hidden_by, ended = self._elements.hidden_by, self._elements.end(end)
        tag = end.name
        if hidden_by and not 0 < ended < hidden_by:
            return  # It is in the hidden element, or ends that alone.
        if tag == "a" and self._links:
            self._end_link()
        if tag in BLOCKS or tag in PARAGRAPHS:
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
        if tag in PARAGRAPHS and not self._lists:
            self._break(gap=True)

    def _read_text(self, data: str) -> None:
        if self._elements.hidden:
            return
        if not self._pre:
            self._words(data)
            return
        data = _BESIDE_WORDS.sub("", data.translate(_INVISIBLE))
        first, *others = data.replace("\r\n", "\n").replace("\r", "\n").split("\n")
        self._say(first)
        for line in others:
            self._break(empty=True)
            self._say(line)

    def _words(self, text: str) -> None:
        """Text in which any white space is one space."""
        follows_a_word = self._line[-1:] not in ("", " ") and not self._space
        text = self._joiners + text.translate(_INVISIBLE)
        if not follows_a_word:
            text = text.lstrip(_JOINERS)
        visible = text.rstrip(_JOINERS)
        self._joiners = text[len(visible) :][:_DEEPEST]
        words = _SPACE.sub(" ", _BESIDE_WORDS.sub("", visible))
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
        self._line, self._space, self._joiners = "", False, ""
        if gap and self._lines:
            self._gap = self._quotes if self._gap is None else min(self._gap, self._quotes)

    def _bullet(self, value: str | None) -> str:
        indent = "  " * (min(len(self._lists), _DEEPEST) - 1)
        numbered = self._lists[-1] if self._lists else None
        if numbered is None:
            return f"{indent}- "
        number = _number(value, numbered.number)
        numbered.number = number + numbered.step
        return f"{indent}{_numeral(number, numbered.kind)}. "

    def _end_link(self) -> None:
        target, lines, start = self._links.pop()
        target = _BREAKS.sub("", target).strip()
        scheme, _, rest = target.partition(":")
        scheme = scheme.lower()
        if not target or target.startswith("#") or scheme == "javascript":
            return
        address, is_asked, _ = rest.partition("?")
        bare = rest if scheme in ("mailto", "tel") and not is_asked else target
        text = "\n".join([*self._lines[max(lines, len(self._lines) - 9) :], self._line])
        shown = {word.strip(_AROUND_A_LINK).rstrip("/") for word in text[start:].split()}
        if not shown & {
            bare.strip(_AROUND_A_LINK).rstrip("/"),
            address if scheme == "mailto" else bare,
        }:
            is_due = self._space
            self._words(f" <{bare}>")
            self._space = is_due


def _quoted(depth: int) -> str:
    return "> " * min(depth, _DEEPEST)


def _items_of_each(markup: Iterable[Tag | str]) -> Iterator[int]:
    """How many items each numbered list has, in the order in which they begin."""
    counts: list[int] = []
    lists: list[int | None] = []  # Of those that are open, where they are counted.
    for tag in markup:
        if isinstance(tag, str):
            continue
        if tag.name in ("ol", "ul") and tag.is_end:
            _ = lists and lists.pop()
        elif tag.name == "ol":
            lists.append(len(counts))
            counts.append(0)
        elif tag.name == "ul":
            lists.append(None)
        elif tag.name == "li" and not tag.is_end and lists and lists[-1] is not None:
            counts[lists[-1]] += 1
    return iter(counts)


def _number(given: str | None, otherwise: int) -> int:
    return int(given) if given and _INTEGER.fullmatch(given) else otherwise


def _numeral(number: int, kind: str) -> str:
    """A number as the list's `type` has it, which not every number can be written by."""
    if kind in ("a", "A") and number > 0:
        letters = ""
        while number:
            number, letter = divmod(number - 1, 26)
            letters = chr(ord(kind) + letter) + letters
        return letters
    if kind in ("i", "I") and 0 < number < 4000:
        numeral = ""
        for value, written in _ROMAN:
            count, number = divmod(number, value)
            numeral += written * count
        return numeral if kind == "i" else numeral.upper()
    return str(number)
