"""Mailbox addresses as SMTP sees them (RFC 5321 §4.1.2, §4.1.3; RFC 6531 §3.3).

An address is parsed by the grammar and written anew; what cannot be parsed is refused, never sent
as it is. Display names, comments and groups belong to message headers, not here.
"""

from __future__ import annotations

import re
from typing import Any

from smtpx import _checks
from smtpx._values import Value, draft_of, field
from smtpx.errors import AddressError

__all__ = ["Address"]

# RFC 5321 §4.5.3.1.2 and .3. The 64 octets of a local-part are what every server must take, not
# what it may: the senders of mailing lists and forwarders (VERP, SRS) have more.
_MAX_DOMAIN = 255
_MAX_PATH = 256

# All but the last are compiled when they are first used: few programs need them.
# What is left of all characters without specials, controls and white space; beyond ASCII too.
_WHITE_SPACE = r"\xa0\u1680\u2000-\u200a\u2028\u2029\u202f\u205f\u3000"
_ATEXT = rf"""[^\x00-\x20"(),.:;<>@\[\\\]\x7f-\x9f{_WHITE_SPACE}]"""
_DOT_STRING = rf"{_ATEXT}+(?:\.{_ATEXT}+)*"
# Underscores are not in the grammar, yet real hosts carry them and resolvers take them.
_SUB_DOMAIN = r"[A-Za-z0-9_](?:[A-Za-z0-9_\-]*[A-Za-z0-9_])?"
_DOMAIN = rf"{_SUB_DOMAIN}(?:\.{_SUB_DOMAIN})*"
# The grammar has < and > here; a server that looks for the end of the path would stumble on them.
_GENERAL_LITERAL = r"[A-Za-z0-9](?:[A-Za-z0-9\-]*[A-Za-z0-9])?:[!-;=?-Z^-~]+"
_IPV6_CHARACTERS = set("0123456789abcdefABCDEF:")
_CONTROL = r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]"
# What nearly every address is: ASCII, nothing quoted, and no label that could be too long.
_PLAIN_ATEXT = r"[\w!#$%&'*+\-/=?^`{|}~]++"
_PLAIN_LABEL = r"\w++(?:-++\w++)*+"
_PLAIN = re.compile(
    rf"({_PLAIN_ATEXT}(?:\.{_PLAIN_ATEXT})*+)@(?!.{{64}})({_PLAIN_LABEL}(?:\.{_PLAIN_LABEL})*+)",
    re.ASCII,
)


class Address(Value):
    """A mailbox: ``local-part@domain``. `str()` gives it as it goes on the wire.

    Made by `parse`. The fields are the meaning, not the spelling. A quoted local-part is stored
    without its quotes, and an internationalized domain as A-labels (RFC 5890 §2.3.2.1), which every
    server understands. One made by hand must be what `parse` could have made, with its domain.

    Raises:
        AddressError: it is not; `parse` reads what people write.
    """

    local_part: str
    domain: str
    """A domain, an address literal with its brackets, or empty for one that `parse` read bare."""
    needs_smtputf8: bool = field(init=False, repr=False, compare=False)
    """True if only a server with SMTPUTF8 can take it (RFC 6531 §3.3)."""
    _text: str = field(init=False, compare=False)

    def __post_init__(self) -> None:
        local_part, domain = self.local_part, self.domain
        _checks.text("local_part", local_part)
        _checks.text("domain", domain)
        # Else it could close its own path, or be mended into another mailbox on its way.
        try:
            read = Address.parse(_written(local_part, domain))
        except AddressError as error:
            raise AddressError(f"local_part, domain: {error}") from error
        for name, given, meant in (
            ("local_part", local_part, read.local_part),
            ("domain", domain.lower(), read.domain.lower()),
        ):
            if given != meant:
                raise AddressError(f"{name}={given!r}: make the address with parse()")
        object.__setattr__(self, "domain", read.domain)
        object.__setattr__(self, "needs_smtputf8", read.needs_smtputf8)
        object.__setattr__(self, "_text", str(read))

    @classmethod
    def parse(cls, text: str, *, bare_local_part: bool = False) -> Address:
        """Read an address such as ``bob@example.org`` or ``"b o b"@[192.0.2.1]``.

        `bare_local_part` also takes one without a domain, as LMTP servers and local mail have
        them; without it only ``postmaster`` may stand alone (RFC 5321 §4.1.1.3).

        Raises:
            AddressError: the text is not an address; the message says where it fails.
        """
        if bare_local_part is not False:
            _checks.flag("bare_local_part", bare_local_part)
        try:
            plain = _PLAIN.fullmatch(text)
        except TypeError:
            raise _checks.complaint("an address", text, "a str") from None
        if plain is not None and len(text) + 2 <= _MAX_PATH:
            local_part, domain = plain.groups()
            return cls._made(local_part, domain, plain[0])
        if len(text) > 2 * _MAX_PATH:
            raise _refused(text, f"it is longer than {_MAX_PATH} octets")
        if re.search(_CONTROL, text):
            raise _refused(text, "it contains a control character")
        local_part, rest = _read_local_part(text)
        if len(local_part.encode()) + 2 > _MAX_PATH:
            raise _refused(text, f"it is longer than {_MAX_PATH} octets")
        if not rest:
            if not bare_local_part and local_part.lower() != "postmaster":
                raise _refused(text, "it has no @ and domain")
            return cls._made(local_part, "", _written(local_part, ""))
        if not rest.startswith("@"):
            raise _refused(text, f"{rest!r} cannot follow the local-part")
        domain = _read_domain(text, rest[1:])
        written = _written(local_part, domain)
        if len(written.encode()) + 2 > _MAX_PATH:
            raise _refused(text, f"it is longer than {_MAX_PATH} octets")
        return cls._made(local_part, domain, written)

    @classmethod
    def _made(cls, local_part: str, domain: str, text: str) -> Address:
        """One that was read: by `__init__`, which looks at it all again, it would take longer."""
        address = _Draft()
        address.local_part, address.domain, address._text = local_part, domain, text
        address.needs_smtputf8 = not local_part.isascii()
        address.__class__ = cls
        return address  # type: ignore[no-any-return]

    def __str__(self) -> str:
        return self._text

    @_checks.even_half_made
    def __repr__(self) -> str:
        return f"<Address {self}>"


_Draft = draft_of(Address)


def are_usual(texts: list[Any]) -> bool:
    """True if all are strings, and addresses as nearly every one is.

    They are spelt as they go on the wire, need no SMTPUTF8, and `Address.parse` takes them.
    """
    for text in texts:
        if type(text) is not str or len(text) + 2 > _MAX_PATH or _PLAIN.fullmatch(text) is None:
            return False
    return True


def _written(local_part: str, domain: str) -> str:
    if not re.fullmatch(_DOT_STRING, local_part):
        escaped = local_part.replace("\\", "\\\\").replace('"', '\\"')
        local_part = f'"{escaped}"'
    return f"{local_part}@{domain}" if domain else local_part


def _refused(text: str, why: str) -> AddressError:
    shown = text if len(text) <= 80 else text[:77] + "..."
    return AddressError(f"not an address: {shown!r}: {why}")


def _read_local_part(text: str) -> tuple[str, str]:
    """Split what precedes the @ from what follows, quotes undone."""
    if text.startswith('"'):
        local_part, rest = _read_quoted_string(text)
    else:
        if text.startswith("@"):
            raise _refused(text, "a source route or a missing local-part")
        match = re.match(_DOT_STRING, text)
        if match is None:
            raise _refused(text, _advice(text))
        local_part, rest = match[0], text[match.end() :]
        if rest and not rest.startswith("@"):
            raise _refused(text, _advice(text))
    return local_part, rest


def _advice(text: str) -> str:
    if text.isspace() or not text:
        return "it is empty"
    if "<" in text:
        return "give the address alone, without display name and angle brackets"
    if "," in text or ";" in text:
        return "give several addresses as a list of strings"
    if text != text.strip():
        return "it has white space around it"
    return "its local-part has characters that must be quoted, or an empty part"


def _read_quoted_string(text: str) -> tuple[str, str]:
    plain: list[str] = []
    position = 1
    while position < len(text):
        character = text[position]
        if character == '"':
            return "".join(plain), text[position + 1 :]
        if character == "\\":
            position += 1
            if position == len(text):
                break
            character = text[position]
        plain.append(character)
        position += 1
    raise _refused(text, "its quoted local-part has no end")


def _read_domain(text: str, domain: str) -> str:
    if domain.startswith("["):
        return _read_address_literal(text, domain)
    if not domain.isascii():
        domain = _a_labels(text, domain)
    if not re.fullmatch(_DOMAIN, domain):
        raise _refused(text, f"{domain!r} is not a domain")
    if len(domain) > _MAX_DOMAIN or any(len(label) > 63 for label in domain.split(".")):
        raise _refused(text, f"its domain is longer than {_MAX_DOMAIN} octets, or a label than 63")
    return domain


def _a_labels(text: str, domain: str) -> str:
    # IDNA 2008 with the mapping of UTS 46, done once: shown, compared and sent in one form.
    import idna

    try:
        return idna.encode(domain, uts46=True).decode("ascii")
    except idna.IDNAError as error:
        raise _refused(text, f"its domain is not an internationalized domain name: {error}") from (
            error
        )


def _read_address_literal(text: str, literal: str) -> str:
    import ipaddress

    inner = literal[1:-1]
    # The standard library takes anything at all for the zone after a %.
    if not literal.endswith("]") or not inner or "%" in inner:
        raise _refused(text, f"{literal!r} is not an address literal")
    try:
        if inner[:5].lower() == "ipv6:":
            # Kept as it is spelt: Python's versions differ in how they spell it.
            _ = ipaddress.IPv6Address(inner[5:])
            return f"[IPv6:{inner[5:].lower()}]"
        if ":" not in inner:
            return f"[{ipaddress.IPv4Address(inner)}]"
    except ValueError as error:
        raise _refused(text, f"{literal!r} is not an address literal: {error}") from error
    if set(inner) <= _IPV6_CHARACTERS:
        raise _refused(text, f"an IPv6 address is written [IPv6:{inner}]")
    if not re.fullmatch(_GENERAL_LITERAL, inner):
        raise _refused(text, f"{literal!r} is not an address literal")
    return literal
