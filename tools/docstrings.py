"""Docstrings as Markdown, for mkdocstrings: blocks of code, and names that lead somewhere."""

from __future__ import annotations

import re
from typing import Any

import griffe

from tools import reference

__all__ = ["Docstrings"]

_NAMES = set(reference.public_names())


class Docstrings(griffe.Extension):
    """Takes out the colons of reStructuredText before a block, and makes links of names."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Mend the docstring of what has one."""
        if obj.docstring is not None:
            alone = re.sub(r"^\s*::\n", "", obj.docstring.value, flags=re.MULTILINE)
            blocks = re.sub(r"::$", ":", alone, flags=re.MULTILINE)
            obj.docstring.value = re.sub(r"(?<!`)`(?:smtpx\.)?([\w.]+)`(?!`)", _linked, blocks)


def _linked(match: re.Match[str]) -> str:
    name = f"smtpx.{match[1]}"
    return f"[{match[0]}][{name}]" if name in _NAMES else match[0]
