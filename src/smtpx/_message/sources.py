"""The text of a header field, however the `email` package keeps it.

A field that the package has parsed has lost its source: what is left is a tree whose encoded words
are decoded, so that a comma in a display name looks like one between addresses. Here they are
encoded again before anything is read from it.
"""

from __future__ import annotations

import base64
import re
from typing import Any

__all__ = ["is_none", "source_of"]

_IN_COMMENT = re.compile(r"[()\\]")


def source_of(field: Any) -> str:
    """The body of a field as it would be parsed; what it encodes is still encoded.

    Raises:
        ValueError: it is no text.
    """
    if is_none(field):
        return ""
    tree = getattr(field, "_parse_tree", None)
    if tree is not None:
        return _written(tree)
    if isinstance(field, str):
        # Octets that are no UTF-8 stay what they are: they may be in a display name.
        return field.encode("utf-8", "surrogateescape").decode("utf-8", "surrogateescape")
    if not hasattr(field, "encode"):
        raise ValueError(f"it is {field!r:.60}, and not text")
    # A `Header` as it will be sent: commas in its encoded words separate nothing. Only where
    # the addresses are encoded too, which no reader will understand, as it was meant.
    encoded: str = field.encode()
    return encoded if "@" in encoded else str(field)


def is_none(field: Any) -> bool:
    """Whether a program set the field to ``None``, which the newer messages take for a name."""
    return field is None or getattr(field, "addresses", ()) == (None,)


def _written(token: Any) -> str:
    match token.token_type:
        case "encoded-word":
            return f"=?utf-8?b?{base64.b64encode(str(token).encode()).decode()}?="
        case "bare-quoted-string":
            text = "".join(map(str, token)).replace("\\", "\\\\").replace('"', '\\"')
            return f'"{text}"'
        case "comment":
            return f"({''.join(map(_in_comment, token))})"
        case _:
            return "".join(map(_written, token)) if isinstance(token, list) else str(token)  # pyright: ignore[reportUnknownArgumentType]


def _in_comment(token: Any) -> str:
    return _written(token) if isinstance(token, list) else _IN_COMMENT.sub(r"\\\g<0>", str(token))
