"""Fields that the `email` package would break: those of addresses, and those that programs read.

Its versions differ in what they break: a comma in a long display name parts it into two addresses,
an encoded word that is decoded and written anew adds recipients, a domain or a Message-ID is
encoded. What is read here without guessing is written by `fields`; all else is the package's.
"""

from __future__ import annotations

import re
from email.header import Header
from email.headerregistry import BaseHeader, UnstructuredHeader
from email.message import Message
from email.policy import EmailPolicy
from email.utils import collapse_rfc2231_value
from typing import TYPE_CHECKING, Any

from smtpx._message import fields
from smtpx._message.mailboxes import Mailbox, decoded, groups_in, unfolded
from smtpx._message.names import ADDRESSES, EXACT, PARAMETERS
from smtpx._message.sources import source_of
from smtpx.addresses import Address
from smtpx.errors import AddressError

if TYPE_CHECKING:
    from email.policy import Policy

__all__ = [
    "addresses_anew",
    "as_it_came",
    "exactly",
    "list_id",
    "parameters_anew",
    "rewritten",
]

_READ = ADDRESSES | EXACT | {"list-id"}
_LINE = 78
_LONGEST_LINE = 900  # RFC 5322 §2.1.1 allows 998, the name of the field among them.
_TEDIOUS = 10_000  # Characters for which the package's way takes some hundredths of a second.
_AS_IT_CAME = re.compile(r"[\t -~]*+(?:\r?\n[\t ][\t -~]*+)*+")
_TOKENS = re.compile(r"[!#$&+\-./\w^`{|}~]+", re.ASCII)
_LIST_ID = re.compile(r"([^<>]*)<([!-;=?-~]+)>")


def rewritten(name: str, value: Any, policy: Policy[Any]) -> str | None:
    """The body of a field, folded by LF, or ``None`` if the policy is to write it."""
    kind = name.lower()
    if kind in PARAMETERS:
        return parameters_anew(name, value)
    if policy.max_line_length == 0:
        return None  # Of what is signed, the package keeps the lines (RFC 1847 §2.1).
    if kind not in _READ:
        return _text_anew(name, value, policy)
    if _is_well_written(name, value, policy):
        return None
    try:
        source = source_of(value)
        if kind in ADDRESSES:
            if source.isascii() and not isinstance(value, (BaseHeader, Header)):
                body = fields.folded_apart(name, unfolded(source))
                if max(map(len, body.split("\n"))) < _LONGEST_LINE:
                    return body  # As it came; a signature may cover it.
            return addresses_anew(name, source, utf8=getattr(policy, "utf8", False))
        return list_id(name, source) if kind == "list-id" else exactly(name, source)
    except ValueError:
        return None


def as_it_came(name: str, value: Any) -> str | None:
    """A text whose encoded words have a line end in them, which the package would decode."""
    if isinstance(value, UnstructuredHeader):
        text = str(value)
        return None if _has_octets(text) else fields.unstructured(name, text)
    if type(value) is not str or not _AS_IT_CAME.fullmatch(value):
        return None
    return value.replace("\r\n", "\n")


def addresses_anew(name: str, source: str, *, utf8: bool = False) -> str:
    """A field of addresses, folded, its display names encoded or with `utf8` as they are.

    Raises:
        ValueError: it cannot be read without guessing.
    """
    groups = [
        (
            None if group.name is None else _readable(group.name),
            [(_readable(each.name), _address(each.address)) for each in group.mailboxes],
        )
        for group in groups_in(source)
    ]
    return fields.addresses(name, groups, utf8=utf8)


def exactly(name: str, source: str) -> str:
    """A field that programs read, folded where it has white space.

    Raises:
        ValueError: it is not printable ASCII.
    """
    text = " ".join(decoded(source).split())
    if not (text.isascii() and text.isprintable()):
        raise ValueError("it is not printable ASCII")
    return fields.folded(name, text)


def list_id(name: str, source: str) -> str:
    """A name for people, which may be encoded, and one for programs (RFC 2919 §3).

    Raises:
        ValueError: it is something else.
    """
    named = _LIST_ID.fullmatch(source.strip())
    if named is None:
        raise ValueError("it has no identifier in angle brackets")
    phrase = _readable(Mailbox("", named[1]).name)
    return fields.addresses(name, [(None, [(phrase, named[2] if phrase else f"<{named[2]}>")])])


def _text_anew(name: str, value: Any, policy: Policy[Any]) -> str | None:
    """A text for people that has to be encoded, or for which the package takes too long.

    It loses white space between encoded words, and each word costs it a walk over all later ones.
    """
    is_long = isinstance(value, str) and len(value) > _TEDIOUS
    if type(value) is str:
        return _line_anew(name, value, policy) if is_long else None
    if not isinstance(value, BaseHeader) or type(value).fold is not BaseHeader.fold:
        return None
    if not isinstance(value, UnstructuredHeader):
        return None
    if not is_long and (value.isascii() or getattr(policy, "utf8", False) or " " not in value):
        return None  # There is nothing to lose.
    return None if _has_octets(value) else fields.unstructured(name, str(value))


def _line_anew(name: str, value: str, policy: Policy[Any]) -> str | None:
    """A text as it came, in lines that are too long, folded where it has white space."""
    if getattr(policy, "refold_source", "none") == "none" or _is_plain(name, value):
        return None
    if "=?" in value or not _AS_IT_CAME.fullmatch(value):
        return None
    body = fields.folded(name, unfolded(value))
    return body if max(map(len, body.split("\n"))) < _LONGEST_LINE else None


def parameters_anew(name: str, value: Any) -> str | None:
    """Parameters that a program wrote as a text, which the older messages would encode as one.

    ``None`` where there is nothing to be encoded, or it cannot be read.
    """
    if type(value) is not str or value.isascii() or _has_octets(value):
        return None
    read = Message()
    read.set_raw(name, value)
    (essence, _), *named = read.get_params([("", "")], header=name)
    if not all(_TOKENS.fullmatch(word) for word in (essence, *dict(named))):
        return None
    meanings = [(attribute, collapse_rfc2231_value(meaning)) for attribute, meaning in named]
    return fields.parameters(name, essence, meanings)


def _readable(name: str) -> str:
    if fields.breaks_a_line(name):
        raise ValueError("there is a control character in a name")
    return name


def _address(spec: str) -> str:
    """An address as it is sent, its domain in A-labels."""
    if "@" not in spec and not spec.isascii():
        raise ValueError("it is a name without an address")
    try:
        return str(Address.parse(_with_domain_decoded(spec), bare_local_part=True))
    except AddressError:
        if spec.isascii() and spec.isprintable():
            return spec
        raise


def _with_domain_decoded(spec: str) -> str:
    """An address whose domain the `email` package has encoded, as no domain may be."""
    local_part, at, domain = spec.rpartition("@")
    meant = local_part + at + decoded(domain)
    try:
        _ = Address.parse(meant, bare_local_part=True)
    except AddressError:
        return spec
    return meant


def _is_well_written(name: str, value: Any, policy: Policy[Any]) -> bool:
    """Whether the policy writes it as it is, or by a rule of its own."""
    if isinstance(value, BaseHeader):
        if type(value).fold is not BaseHeader.fold:
            return True
        if name.lower() not in ADDRESSES:
            return _is_plain(name, value)
        # The package knows the commonest names alone; the other fields are texts to it.
        is_text = not hasattr(value, "addresses")
        return is_text and _is_plain(name, value) and "=?" not in source_of(value)
    if isinstance(value, Header):
        return "@" in value.encode()
    if not isinstance(value, str):
        return True
    if not isinstance(policy, EmailPolicy):
        # The older policy keeps octets as they came, and folds ASCII where it has white space.
        harmless = _has_octets(value) or (value.isascii() and '"' not in value)
        return harmless or _is_plain(name, value)
    return policy.refold_source == "none" or _is_plain(name, value)


def _is_plain(name: str, value: str) -> bool:
    """Whether it is ASCII, in lines that need no folding."""
    lines = f"{name}: {value}".splitlines()
    return value.isascii() and all(len(line) <= _LINE for line in lines)


def _has_octets(value: str) -> bool:
    """Whether there are octets above 127 in it, as a parser found them."""
    return any("\udc80" <= character <= "\udcff" for character in value)
