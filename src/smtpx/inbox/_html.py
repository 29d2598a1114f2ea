"""A mail's HTML as it may be shown: without what runs, connects, navigates or submits.

This is one layer of three. The frame it stands in is sandboxed, and its policy lets it load
nothing; what `nh3` takes out is what browsers connect for all the same.
"""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from smtpx.errors import ExtraMissing
from smtpx.inbox._reading import Reading

__all__ = ["policy", "shown"]

_MOST_TAGS = 20_000
_MOST_NESTED = 5_000
_MOST_INLINE = 10 * 1024**2
_IMAGES = ("image/png", "image/jpeg", "image/gif", "image/webp", "image/bmp")
_MORE_TAGS = {
    "style",
    "center",
    "font",
    "u",
    "big",
    "section",
    "article",
    "header",
    "footer",
    "main",
}
_LOOKS = (
    *("align", "valign", "width", "height", "bgcolor", "color", "face", "size", "border"),
    *(
        "cellpadding",
        "cellspacing",
        "style",
        "class",
        "id",
        "dir",
        "lang",
        "title",
        "role",
        "background",
    ),
)
# As browsers read a URL (https://url.spec.whatwg.org/#concept-basic-url-parser), and where it may
# lead: a relative one would lead into the inbox, and a page of its own nobody has cleaned.
_IGNORED = re.compile(r"[\t\n\r]")
_SPACE = "".join(map(chr, range(0x21)))
_LINK = re.compile(r"(?:https?:)?//|mailto:|tel:", re.IGNORECASE)
_IMAGE = re.compile(r"(?:https?:)?//|data:image/", re.IGNORECASE)
_HEAD = "<!doctype html><meta charset=utf-8><base target=_blank>"
_DROPPED = {"script", "iframe", "object", "embed", "noscript", "template", "title", "textarea"}


def policy(*, remote_images: bool) -> str:
    """The Content-Security-Policy of a mail's page."""
    images = "data: http: https:" if remote_images else "data:"
    return (
        "sandbox allow-popups allow-popups-to-escape-sandbox; default-src 'none'; "
        f"img-src {images}; style-src 'unsafe-inline'; form-action 'none'; base-uri 'none'; "
        "frame-ancestors 'self'"
    )


def shown(reading: Reading, content: bytes, *, is_original: bool = False) -> str | None:
    """The page of a mail's HTML; None where it has none, or where it would take too long.

    The images in it are those of the mail's own `content`. The original is not cleaned: its policy
    holds all the same, but some browsers connect for frames and hints in it.
    """
    html = reading.html
    if html is not None and is_original:
        return _HEAD + html
    if html is None or html.count("<") > _MOST_TAGS or _nesting(html) > _MOST_NESTED:
        return None
    try:
        nh3: Any = import_module("nh3")
    except ImportError as error:
        raise ExtraMissing("inbox", "nh3", "to show HTML") from error
    images = _inline_images(reading, content)

    def allowed(tag: str, attribute: str, value: str) -> str | None:
        if attribute not in ("src", "background", "href"):
            return value
        url = _IGNORED.sub("", value).strip(_SPACE)
        if attribute != "href" and url[:4].lower() == "cid:":
            return images.get(_unquoted(url[4:]).strip("<>").lower())
        leads_out = _LINK if attribute == "href" else _IMAGE
        return url if leads_out.match(url) else None

    cleaned: str = nh3.clean(
        html,
        tags=(nh3.ALLOWED_TAGS | _MORE_TAGS) - {"map", "area"},
        clean_content_tags=_DROPPED,
        attributes=_attributes(nh3.ALLOWED_ATTRIBUTES),
        attribute_filter=allowed,
        url_schemes={"http", "https", "mailto", "tel", "cid", "data"},
        link_rel="noopener noreferrer",
        strip_comments=True,
    )
    return _HEAD + cleaned


def _unquoted(url: str) -> str:
    """What a cid: URL names; it may have escapes (RFC 2392)."""
    return re.sub(r"%([0-9A-Fa-f]{2})", lambda match: chr(int(match[1], 16)), url)


def _nesting(html: str) -> int:
    """More than how deep it can be nested: what is opened and never closed."""
    return html.count("<") - 2 * html.count("</")


def _attributes(known: Mapping[str, set[str]]) -> dict[str, set[str]]:
    attributes = {tag: set(names) for tag, names in known.items()}
    attributes.setdefault("*", set()).update(_LOOKS)
    attributes.setdefault("img", set()).update({"src", "alt", "width", "height"})
    attributes.setdefault("a", set()).update({"href", "name"})
    return attributes


def _inline_images(reading: Reading, content: bytes) -> dict[str, str]:
    """Images of the message by their Content-ID, as data: URLs."""
    found: dict[str, str] = {}
    room = _MOST_INLINE
    for part in reading.parts:
        if part.content_id and part.kind in _IMAGES and part.size <= room:
            room -= part.size
            data = b64encode(b"".join(part.octets(content))).decode("ascii")
            found[part.content_id.lower()] = f"data:{part.kind};base64,{data}"
    return found
