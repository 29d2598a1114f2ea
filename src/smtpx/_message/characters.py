"""The characters that HTML writes as references."""

from __future__ import annotations

import html
import re

__all__ = ["unescaped"]

# No character has such a number, and `int` takes no number of thousands of digits.
_NO_CHARACTER = re.compile(r"&#0*[0-9]{8,};?")


def unescaped(text: str) -> str:
    """A text with the characters that its references stand for, whatever numbers they have."""
    return html.unescape(_NO_CHARACTER.sub("\N{REPLACEMENT CHARACTER}", text))
