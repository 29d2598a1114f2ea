"""Which elements of HTML are open, and whether one of them hides what is in it.

In mail there are elements without end tags, some by right (HTML §13.1.2.4), some by mistake. A
hidden one ends where a browser has it end; one whose end tag was forgotten, at the next block.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from typing import Final

from smtpx.composing._markup import FOREIGN, Tag, leaves_foreign

__all__ = ["BLOCKS", "PARAGRAPHS", "Elements", "is_hidden", "with_end_tags"]

BLOCKS: Final = frozenset(
    {"address", "article", "aside", "center", "div", "dd", "dl", "dt", "footer", "form", "header"}
    | {"li", "main", "nav", "ol", "section", "table", "tr", "ul", "pre", "figure", "figcaption"}
    | {"details", "summary", "fieldset", "legend"}
)
PARAGRAPHS: Final = frozenset(
    {"p", "h1", "h2", "h3", "h4", "h5", "h6", "blockquote", "ul", "ol", "table", "pre", "dl"}
)
_VOID: Final = frozenset(
    {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "param", "source"}
    | {"track", "wbr"}
)
_UNSEEN: Final = frozenset({"script", "style", "template", "title", "svg", "datalist"})
_SECTIONS: Final = ("tbody", "thead", "tfoot")
_CELLS: Final = ("td", "th", "caption")
_OF_A_TABLE: Final = frozenset({"tr", *_SECTIONS, *_CELLS})
_WITHOUT_END_TAG: Final = _OF_A_TABLE | {
    *("p", "li", "dt", "dd", "option", "colgroup", "head", "body", "html")
}
# What a start tag ends, and within what it does not look for it.
_ENDS: Final[dict[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    **dict.fromkeys(
        (BLOCKS | PARAGRAPHS | {"hr"}) - {"li", "dd", "dt", "tr"},
        (("p",), ("table", *_CELLS)),
    ),
    "li": (("li",), ("ul", "ol", "table", *_CELLS)),
    **dict.fromkeys(("dt", "dd"), (("dt", "dd"), ("dl", "table", *_CELLS))),
    **dict.fromkeys(("td", "th"), (("td", "th", "caption"), ("table", "tr"))),
    "tr": (("tr", "caption"), ("table",)),
    **dict.fromkeys(_SECTIONS, ((*_SECTIONS, "tr", "caption"), ("table",))),
    "option": (("option",), ("select",)),
    "a": (("a",), ("table", *_CELLS)),
    "body": (("head",), ()),
}
# Within these of a foreign element there is HTML again (HTML §13.2.6).
_HTML_AGAIN: Final = ("foreignobject", "desc", "title", "mi", "mo", "mn", "ms", "mtext")
_ZERO: Final = re.compile(r"0+(?:\.0*)?(?:[a-z]+|%)?|\.0+")
_COMMENT: Final = re.compile(r"/\*.*?(?:\*/|\Z)", re.DOTALL)


class Elements:
    """The elements that are open, one within the other."""

    def __init__(self, with_end_tags: frozenset[int] = frozenset()) -> None:
        self._with_end_tags = with_end_tags
        self._begun = 0
        self._open: list[tuple[str, int]] = []  # The name of each, and the how manieth it is.
        self._places: dict[str, list[int]] = {}  # Where in the list those of a name are.
        self._hidden_at: int | None = None
        self._ends_at_block = False

    @property
    def hidden(self) -> bool:
        """True if what comes now is not seen."""
        return self._hidden_at is not None

    @property
    def hidden_by(self) -> int:
        """The number of the element that hides what comes now, 0 if none does."""
        return 0 if self._hidden_at is None else self._open[self._hidden_at][1]

    def begin(self, begun: Tag) -> None:
        """A start tag."""
        tag, attributes = begun.name, begun.attributes
        if self._is_foreign and leaves_foreign(begun):
            self._leave_foreign()
        if self._is_foreign or tag in FOREIGN:
            self._begun += 1
            if not begun.is_closed:
                self._push(tag, attributes)
            return
        ended, bounds = _ENDS.get(tag, ((), ()))
        places = [self._places[each][-1] for each in ended if self._places.get(each)]
        if places:
            bound = self._innermost(bounds)
            self._end_from(min((each for each in places if each > bound), default=-1))
        if self._hidden_at is not None and self._ends_at_block and tag in BLOCKS | PARAGRAPHS:
            self._end_from(self._hidden_at)
        self._begun += 1
        if tag in _VOID:
            return
        self._push(tag, attributes)

    def _push(self, tag: str, attributes: dict[str, str]) -> None:
        if self._hidden_at is None and (tag in _UNSEEN or is_hidden(attributes)):
            self._hidden_at = len(self._open)
            self._ends_at_block = not (
                tag in _UNSEEN or tag in _WITHOUT_END_TAG or self._begun in self._with_end_tags
            )
        self._places.setdefault(tag, []).append(len(self._open))
        self._open.append((tag, self._begun))

    def end(self, ended: Tag) -> int:
        """An end tag; the number of the element it ends, 0 if there is none."""
        tag = ended.name
        if self._is_foreign and leaves_foreign(ended):
            self._leave_foreign()
        place = self._last(tag)
        if place < 0:
            return 0
        bounds = ("table",) if tag in _OF_A_TABLE else ("table", *_CELLS)
        if tag != "table" and place < self._innermost(bounds):
            return 0
        number = self._open[place][1]
        self._end_from(place)
        return number

    @property
    def _is_foreign(self) -> bool:
        root = self._innermost(FOREIGN)
        return root >= 0 and root > self._innermost(_HTML_AGAIN)

    def _leave_foreign(self) -> None:
        while self._is_foreign:
            self._end_from(self._innermost(FOREIGN))

    def _last(self, tag: str) -> int:
        places = self._places.get(tag)
        return places[-1] if places else -1

    def _innermost(self, tags: Iterable[str]) -> int:
        return max((self._last(tag) for tag in tags), default=-1)

    def _end_from(self, place: int) -> None:
        if place < 0:
            return
        while len(self._open) > place:
            _ = self._places[self._open.pop()[0]].pop()
        if self._hidden_at is not None and self._hidden_at >= place:
            self._hidden_at = None


def with_end_tags(markup: Iterable[Tag | str]) -> frozenset[int]:
    """The elements that have an end tag, by their number."""
    elements = Elements()
    found: set[int] = set()
    for each in markup:
        if isinstance(each, str):
            continue
        if each.is_end:
            found.add(elements.end(each))
        else:
            elements.begin(Tag(each.name, {}, is_end=False, is_closed=each.is_closed))
    return frozenset(found)


def is_hidden(attributes: dict[str, str]) -> bool:
    """True for what no reader shows. What Outlook alone hides (mso-hide), the others do."""
    if "hidden" in attributes:
        return True
    style = attributes.get("style")
    if not style:
        return False
    said: dict[str, str] = {}
    for declaration in _COMMENT.sub("", style.lower()).split(";"):
        name, _, value = declaration.partition(":")
        said[name.strip()] = value.partition("!")[0].strip()
    if said.get("display") == "none" or said.get("visibility") in ("hidden", "collapse"):
        return True
    if _ZERO.fullmatch(said.get("opacity", "")):
        return True
    sizes = (said.get(name, "") for name in ("max-height", "height", "max-width", "width"))
    return said.get("overflow") == "hidden" and any(_ZERO.fullmatch(size) for size in sizes)
