"""A message of the `email` package as octets, where it is plain what its generator would write.

The standard generator parses, folds and copies for any message that can be; most messages need
little of it. Written here is what no version of Python differs about: fields that fit on a line or
keep the lines they came in, and bodies that are text. Another field is folded by the policy,
and another message is left to the generator.
"""

from __future__ import annotations

import re
from email import generator
from email.headerregistry import (
    BaseHeader,
    ContentTransferEncodingHeader,
    ContentTypeHeader,
    HeaderRegistry,
    MessageIDHeader,
    MIMEVersionHeader,
    ParameterizedMIMEHeader,
    UnstructuredHeader,
)
from email.policy import SMTP, EmailPolicy
from functools import lru_cache
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from smtpx._message.names import ADDRESSES
from smtpx._message.sources import is_none

if TYPE_CHECKING:
    from collections.abc import Container

    Part: TypeAlias = Any  # a Message: what is read here of it is not public
    Policy: TypeAlias = EmailPolicy[Any]
    Fields: TypeAlias = list[tuple[str, Any]]

__all__ = ["Unsure", "flattened"]

_CRLF = b"\r\n"
_LINE = 78
_NAME = re.compile(r"[!-9;-~]+")
_AS_IT_CAME = re.compile(r"[ -~\t]*(?:\r?\n[ \t][ -~\t]*)*")
_ANY_CASE = re.IGNORECASE | re.ASCII
_TYPE = re.compile(r"([a-z]+)/([a-z0-9.+-]+)[ \t]*(?:;|\Z)", _ANY_CASE)
_MULTIPART = r"multipart/[a-z0-9.+-]+"
_UNBOUNDED = re.compile(_MULTIPART, _ANY_CASE)
_BOUNDED = re.compile(
    rf"""{_MULTIPART};(?:\r?\n)?[ \t]+boundary=(?:"([\w'+./:=-]+)"|([\w+.-]+))""", _ANY_CASE
)
# A boundary as the generator makes it. Which digits it has makes no difference to the folding.
_MADE = re.compile(rf'({_MULTIPART}; boundary=")(={{15}}\d+==)"', _ANY_CASE)
_CONTENT_TYPE: Any = ContentTypeHeader
# Fields whose text is that of the tree which is folded; of dates it need not be.
_FOLDED_AS_READ = {
    kind.parse.__func__  # type: ignore[attr-defined] # a class method
    for kind in (
        UnstructuredHeader,
        MIMEVersionHeader,
        ParameterizedMIMEHeader,
        ContentTransferEncodingHeader,
        MessageIDHeader,
    )
}


class Unsure(Exception):  # never leaves the package
    """The generator may write it in another way."""


def flattened(message: Part, policy: Policy, without: Container[str]) -> bytes:
    """What `BytesGenerator` writes under a policy that has CRLF and lines of 78.

    `without` names, in lower case, the fields that the message's own header is written without.

    Raises:
        Unsure: only the generator can tell.
        Exception: what the policy raises where a field cannot be written.
    """
    if policy.refold_source == "all":
        raise Unsure
    fields = [field for field in message.raw_items() if field[0].lower() not in without]
    return _entity(message, fields, policy)


def _entity(part: Part, fields: Fields, policy: Policy) -> bytes:
    """A header and a body (RFC 2045 §2.4)."""
    # A class of another package may write itself as it likes.
    if not type(part).__module__.startswith("email."):
        raise Unsure
    main, subtype, at = _content_type(part, fields)
    if main == "multipart" and subtype != "signed":  # whose parts keep their lines
        return _multipart(part, fields, at, policy)
    if main in ("multipart", "message"):
        raise Unsure
    written = [_field(name, value, policy) for name, value in fields]
    return b"".join([*written, _CRLF, _text(part._payload, policy)])


def _content_type(part: Part, fields: Fields) -> tuple[str, str, int]:
    """Type and subtype in lower case, and the place of the field that says so."""
    places = [at for at, (name, _) in enumerate(fields) if name.lower() == "content-type"]
    if not places and part.get_default_type() == "text/plain":
        return "text", "plain", -1
    if len(places) != 1:
        raise Unsure
    found = _TYPE.match(str(fields[places[0]][1]))
    if found is None:
        raise Unsure
    return found[1].lower(), found[2].lower(), places[0]


def _multipart(part: Part, fields: Fields, at: int, policy: Policy) -> bytes:
    if not part.is_multipart():
        raise Unsure
    bodies = [_entity(inner, list(inner.raw_items()), policy) for inner in part._payload]
    written = [_field(name, value, policy) for name, value in fields]
    name, value = fields[at]
    source = str(value)
    bounded = _BOUNDED.fullmatch(source)
    if bounded is not None:
        boundary = bounded[1] or bounded[2]
    elif _UNBOUNDED.fullmatch(source) and _parses_content_type(policy):
        boundary = _new_boundary()
        written[at] = _with_boundary(name, f'{source}; boundary="', boundary)
        if any(boundary.encode() in body for body in bodies):
            raise Unsure
    else:
        raise Unsure
    delimiter = f"--{boundary}".encode()
    whole = [*written, _CRLF]
    if part.preamble is not None:
        whole += [_text(part.preamble, policy), _CRLF]
    whole += [delimiter, _CRLF, (_CRLF + delimiter + _CRLF).join(bodies)]
    whole += [_CRLF, delimiter, b"--", _CRLF, _text(part.epilogue, policy)]
    return b"".join(whole)


def _parses_content_type(policy: Policy) -> bool:
    """Whether a field Content-Type becomes what it usually does."""
    factory: Any = policy.header_factory
    return (
        type(factory) is HeaderRegistry
        and factory.base_class is BaseHeader
        and factory.registry.get("content-type") is _CONTENT_TYPE
    )


def _new_boundary() -> str:
    private: Any = generator
    return str(private._make_boundary())


def _with_boundary(name: str, before: str, boundary: str) -> bytes:
    start, end = _around_boundary(name, before, re.sub(r"\d", "0", boundary))
    return start + boundary.encode() + end


@lru_cache(maxsize=64)
def _around_boundary(name: str, before: str, boundary: str) -> tuple[bytes, bytes]:
    """What `email` writes before and after such a boundary."""
    header: Any = SMTP.header_factory(name, f'{before}{boundary}"')
    start, found, end = header.fold(policy=SMTP).encode("ascii").partition(boundary.encode())
    if not found:
        raise Unsure
    return start, end


def _field(name: str, value: Any, policy: Policy) -> bytes:
    if isinstance(value, BaseHeader):
        field = _field_on_one_line(value)
        if field is not None:
            return field
    elif type(value) is str and _AS_IT_CAME.fullmatch(value) and _is_name(name):
        lines = f"{name}: {value}".splitlines()
        if max(map(len, lines)) <= _LINE:
            return "\r\n".join([*lines, ""]).encode("ascii")
    return policy.fold_binary(name, value)


def _field_on_one_line(value: Any) -> bytes | None:
    kind = cast("Any", type(value))
    if kind.fold is not BaseHeader.fold:
        return None
    name, text = value.name, str.__str__(value)
    if getattr(kind.parse, "__func__", None) not in _FOLDED_AS_READ:
        tree = str(value._parse_tree)
        if hasattr(value, "addresses") and (text != tree or ":" in text or is_none(value)):
            return None  # There may be commas of what was encoded in it, or a group without a name.
        text = tree
    elif _holds_addresses(name):
        return None  # The same; the package takes it for a text.
    line = f"{name}: {text}\r\n"
    if len(line) <= _LINE + 2 and text.isascii() and text.isprintable() and _is_name(name):
        return line.encode("ascii") if text else None
    made = _MADE.fullmatch(text)
    if made is not None and issubclass(kind, _CONTENT_TYPE) and _is_name(name):
        return _with_boundary(name, made[1], made[2])
    return None


@lru_cache(maxsize=256)
def _is_name(name: str) -> bool:
    return _NAME.fullmatch(name) is not None


@lru_cache(maxsize=256)
def _holds_addresses(name: str) -> bool:
    return name.lower() in ADDRESSES


def _text(text: Any, policy: Policy) -> bytes:
    """Text, 8-bit octets among it as surrogates, with CRLF for every line end."""
    if text is None or text == "":
        return b""
    errors = "surrogateescape" if policy.cte_type == "8bit" else "strict"
    try:
        octets: bytes = text.encode("ascii", errors)
    except (AttributeError, UnicodeEncodeError):
        raise Unsure from None
    if b"\r" in octets:
        octets = octets.replace(_CRLF, b"\n").replace(b"\r", b"\n")
    return octets.replace(b"\n", _CRLF)
