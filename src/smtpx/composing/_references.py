"""How an HTML body refers to other parts: ``cid:`` URLs where HTML and CSS have URLs (RFC 2392).

The same letters in a text, a comment or a title refer to nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from html import escape
from typing import Final
from urllib.parse import unquote

from smtpx._message.characters import unescaped

__all__ = ["names_in", "with_references"]

_MARKUP: Final = re.compile(
    r"""<!--(?P<comment>.*?)(?:-->|\Z)
      | (?:<(?:script|title|textarea|xmp)\b) .*? (?:</(?:script|title|textarea|xmp)\b|\Z)
      | <style\b[^>]*> (?P<css>.*?) (?:</style\b|\Z)
      | (?P<tag> <[a-z] (?:"[^"]*"|'[^']*'|[^"'>])*+ )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_ATTRIBUTE: Final = re.compile(
    r"""(?<![^\s"'<>/=])([^\s"'<>/=]++)\s*+=\s*+("[^"]*"|'[^']*'|[^\s"'>]+)"""
)
_URL_ATTRIBUTES: Final = ("src", "href", "background", "poster", "data")
_QUOTE: Final = r"""(?:["']|&quot;|&apos;|&\#0*(?:34|39);|&\#x0*2[27];)"""
_TARGET: Final = r"""cid:([^\s"'<>(),;&/]+)"""
_IN_URL: Final = re.compile(rf"""(?<=\A["'])\s*+{_TARGET}|\A\s*+{_TARGET}""", re.IGNORECASE)
_IN_LIST: Final = re.compile(rf"""(?<![^\s,"']){_TARGET}""", re.IGNORECASE)
_CSS_COMMENT: Final = r"/\*.*?(?:\*/|\Z)"
_IN_CSS: Final = re.compile(
    rf"""{_CSS_COMMENT} | url\(\s*+{_QUOTE}?\s*+{_TARGET} | @import\s*+{_QUOTE}\s*+{_TARGET}
      | image-set\((?P<set> (?:[^()]|\([^()]*\))*+ )""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_IN_SET: Final = re.compile(
    rf"""{_CSS_COMMENT} | (?:url\(\s*+{_QUOTE}?|(?<![^\s,]){_QUOTE})\s*+{_TARGET}""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)

Named = Callable[[str], str]
"""Of the name in a URL: what is written for it."""


def names_in(html: str) -> set[str]:
    """The names of all that a body refers to."""
    found: set[str] = set()

    def keep(name: str) -> str:
        found.add(name)
        return name

    _ = with_references(html, keep)
    return found


def with_references(html: str, named: Named) -> str:
    """The body with other names in its references."""
    if "cid:" not in html.lower() and "cid:" not in unescaped(html).lower():
        return html
    return _rewritten(html, named, in_comment=False)


def _rewritten(html: str, named: Named, *, in_comment: bool) -> str:
    def markup(match: re.Match[str]) -> str:
        if match["tag"] is not None:
            return _ATTRIBUTE.sub(attribute, match[0])
        if match["css"] is not None:
            return _within(match, "css", _replaced(_IN_CSS, match["css"], named))
        comment = match["comment"]
        if comment is None or in_comment or not comment.lstrip().startswith("[if"):
            return match[0]
        # Outlook reads it.
        return _within(match, "comment", _rewritten(comment, named, in_comment=True))

    def attribute(match: re.Match[str]) -> str:
        name = match[1].lower().rpartition(":")[2]
        if name == "style":
            pattern = _IN_CSS
        elif name.endswith("srcset"):
            pattern = _IN_LIST
        elif name.endswith(_URL_ATTRIBUTES):
            pattern = _IN_URL
        else:
            return match[0]
        value = match[2]
        meant = unescaped(value) if "&" in value else value
        if meant == value or len(pattern.findall(meant)) == len(pattern.findall(value)):
            return _within(match, 2, _replaced(pattern, value, named))
        # Some of a URL is written by references to characters: it is written anew.
        quoted = value[0] in "\"'"
        meant = unescaped(value[1:-1]) if quoted else meant
        anew = _replaced(pattern, meant, named)
        return match[0] if anew == meant else _within(match, 2, f'"{escape(anew)}"')

    return _MARKUP.sub(markup, html)


def _replaced(pattern: re.Pattern[str], text: str, named: Named) -> str:
    def target(match: re.Match[str]) -> str:
        if match.groupdict().get("set"):
            return _within(match, "set", _replaced(_IN_SET, match["set"], named))
        name = next(filter(None, match.groups()), None)
        if name is None:
            return match[0]  # A comment.
        return match[0][: -len(name) - len("cid:")] + f"cid:{named(unquote(name))}"

    return pattern.sub(target, text)


def _within(match: re.Match[str], group: str | int, text: str) -> str:
    """What was matched, with another text for a group of it."""
    start, end = (place - match.start() for place in match.span(group))
    return match[0][:start] + text + match[0][end:]
