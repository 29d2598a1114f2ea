"""HTML cut into tags and texts, as a browser cuts it (HTML §13.2.5).

`html.parser` takes time that grows with the square of what is not closed, and each Python's has
other ends of comments. Here every construct takes what is left where it has no end, so that no
octet is looked at again.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from smtpx._message.characters import unescaped

__all__ = ["FOREIGN", "Tag", "leaves_foreign", "markup_in"]

_BEGIN: Final = re.compile(
    r"<(?:(?P<comment>!--)|(?P<bogus>[!?]|/(?![a-z]))|(?P<end>/?)(?P<name>[a-z][^ \t\n\f\r/>]*+))",
    re.IGNORECASE,
)
_COMMENT: Final = re.compile(r"-?>|.*?(?:--!?>|\Z)", re.DOTALL)
_BOGUS: Final = re.compile(r"[^>]*+>?")
_ATTRIBUTE: Final = re.compile(
    r"""[ \t\n\f\r/]*+(?P<name>[^ \t\n\f\r/>][^ \t\n\f\r/>=]*+)
    (?:[ \t\n\f\r]*+=[ \t\n\f\r]*+
       (?: "(?P<quoted>[^"]*+)(?:"|\Z) | '(?P<single>[^']*+)(?:'|\Z) | (?P<bare>[^ \t\n\f\r>]*+) )
    )?+""",
    re.VERBOSE,
)
_TAG_END: Final = re.compile(r"(?:[ \t\n\f\r]|/(?!>))*+(/?)>")
_TEXT_UNTIL: Final = {
    name: re.compile(rf".*?(?=</{name}[ \t\n\f\r/>]|\Z)", re.DOTALL | re.IGNORECASE)
    for name in ("script", "style", "textarea", "title", "xmp")
}
FOREIGN: Final = frozenset({"svg", "math"})
"""What another language is in: there "/>" ends an element, and no text is raw (HTML §13.2.6.5)."""
_OF_HTML: Final = frozenset(
    {"b", "big", "blockquote", "body", "br", "center", "code", "dd", "div", "dl", "dt", "em"}
    | {"embed", "h1", "h2", "h3", "h4", "h5", "h6", "head", "hr", "i", "img", "li", "listing"}
    | {"menu", "meta", "nobr", "ol", "p", "pre", "ruby", "s", "small", "span", "strong", "strike"}
    | {"sub", "sup", "table", "tt", "u", "ul", "var"}
)
# In a URL "&copy=1" is no reference.
_REFERENCE: Final = re.compile(r"&(?:#\w++;?|[a-z][a-z0-9]*+(?:;|(?!=)))", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Tag:
    """A start tag or an end tag."""

    name: str
    """In lower case."""
    attributes: dict[str, str]
    is_end: bool
    is_closed: bool = False
    """Whether it ends by "/>", which says something in other languages than HTML."""


def leaves_foreign(tag: Tag) -> bool:
    """Whether a tag cannot be in SVG or MathML, so that it ends what was not closed there."""
    if tag.name == "font":
        return not tag.is_end and not tag.attributes.keys().isdisjoint(("color", "face", "size"))
    return tag.name in ("p", "br") if tag.is_end else tag.name in _OF_HTML


def markup_in(html: str) -> Iterator[Tag | str]:
    """The tags, and the texts between them; comments and the like left out."""
    place, is_foreign = 0, False
    while (begin := _BEGIN.search(html, place)) is not None:
        if begin.start() > place:
            yield unescaped(html[place : begin.start()])
        place = begin.end()
        if begin["name"] is None:
            rest = _BOGUS if begin["comment"] is None else _COMMENT
            place = _end(rest, html, place)
            continue
        name, attributes = begin["name"].lower(), dict[str, str]()
        while (attribute := _ATTRIBUTE.match(html, place)) is not None:
            place = attribute.end()
            value = attribute["quoted"] or attribute["single"] or attribute["bare"] or ""
            _ = attributes.setdefault(attribute["name"].lower(), _value_of(value))
        if not (end := _TAG_END.match(html, place)):
            return
        place = end.end()
        tag = Tag(name, attributes, bool(begin["end"]), bool(end[1]))
        yield tag
        if name in FOREIGN:
            is_foreign = not (tag.is_end or tag.is_closed)
        elif tag.is_end or leaves_foreign(tag):
            is_foreign = is_foreign and tag.is_end and name not in _OF_HTML
        if name in _TEXT_UNTIL and not tag.is_end and not is_foreign:
            until = _end(_TEXT_UNTIL[tag.name], html, place)
            yield html[place:until]
            place = until
    if place < len(html):
        yield unescaped(html[place:])


def _end(pattern: re.Pattern[str], html: str, place: int) -> int:
    match = pattern.match(html, place)
    return len(html) if match is None else match.end()


def _value_of(value: str) -> str:
    return _REFERENCE.sub(lambda match: unescaped(match[0]), value)
