"""What people look for in a mail's text: links, and one-time codes."""

from __future__ import annotations

import re

from smtpx import _checks

_LINK = re.compile(r"https?://[^\s<>\"'\])}]{1,2000}")
_CODE = re.compile(r"(?<![\w-])(?:\d{4,8}|\d{3}[ -]\d{3}|[A-Z0-9]{6,8})(?![\w-])")
_CODE_WORDS = re.compile(
    r"code|passcode|pin\b|otp|verif|confirm|token|bestätig|kennwort|código|vérif", re.IGNORECASE
)
_TAG = re.compile(r"<[^>]{0,2000}>")
_LOOKED_AT = 100_000
_MOST_LINKS, _MOST_CODES = 200, 10


def links_in(*texts: str) -> list[str]:
    """The web addresses in texts or HTML, each once, in order; 200 at most.

    Raises:
        TypeError: one of them is no text.
    """
    found: dict[str, None] = {}
    for text in texts:
        _checks.text("texts", text)
        for match in _LINK.finditer(text.replace("&amp;", "&")):
            found[match[0].rstrip(".,;:!?")] = None
            if len(found) == _MOST_LINKS:
                return list(found)
    return list(found)


def codes_in(*texts: str) -> list[str]:
    """What look like one-time codes near a word that says so, each once; 10 at most.

    Raises:
        TypeError: one of them is no text.
    """
    for text in texts:
        _checks.text("texts", text)
    joined = "\n".join(_TAG.sub(" ", text[:_LOOKED_AT]) for text in texts)
    found: dict[str, None] = {}
    for match in _CODE.finditer(joined):
        if not any(character.isdigit() for character in match[0]):
            continue
        if _CODE_WORDS.search(joined[max(0, match.start() - 80) : match.end() + 40]):
            found[match[0]] = None
            if len(found) == _MOST_CODES:
                break
    return list(found)


links_in.__module__ = "smtpx.testing"
codes_in.__module__ = "smtpx.testing"
