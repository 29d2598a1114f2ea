"""MAIL and RCPT parameters: which extension brings them, where they belong, what they look like.

One table, one reader. RFC 5321 §4.1.2 gives the general form; each rule names its own RFC.
"""

from __future__ import annotations

import re
from collections.abc import Set as AbstractSet
from dataclasses import dataclass

from ._extensions import Extension

_KEYWORD = re.compile(r"[A-Za-z0-9][A-Za-z0-9-]*")
_VALUE = re.compile("[!-<>-~\u0080-\U0010ffff]+")
_XTEXT = r"(?:[!-*,-<>-~]|\+[0-9A-F]{2})"
_DATE_TIME = r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(?:\.\d+)?(?:[Zz]|[+-]\d\d:\d\d)"


@dataclass(frozen=True, slots=True)
class _Rule:
    verb: str
    extension: Extension
    pattern: re.Pattern[str] | None
    """What the value must be; None when the parameter takes no value."""


def _value(pattern: str) -> re.Pattern[str]:
    return re.compile(pattern, re.IGNORECASE)


_RULES = {
    # RFC 1870 §4
    "SIZE": _Rule("MAIL", Extension.SIZE, re.compile(r"[0-9]{1,20}")),
    # RFC 6152 §2, RFC 3030 §3
    "BODY": _Rule("MAIL", Extension.EIGHT_BIT_MIME, _value("7BIT|8BITMIME|BINARYMIME")),
    # RFC 6531 §3.4
    "SMTPUTF8": _Rule("MAIL", Extension.SMTPUTF8, None),
    # RFC 3461 §4.3, §4.4
    "RET": _Rule("MAIL", Extension.DSN, _value("FULL|HDRS")),
    "ENVID": _Rule("MAIL", Extension.DSN, re.compile(rf"(?=.{{1,100}}\Z){_XTEXT}+")),
    # RFC 4954 §5
    "AUTH": _Rule("MAIL", Extension.AUTH, re.compile(rf"<>|{_XTEXT}+")),
    # RFC 8689 §2
    "REQUIRETLS": _Rule("MAIL", Extension.REQUIRETLS, None),
    # RFC 2852 §4: a return time must lie in the future
    "BY": _Rule(
        "MAIL",
        Extension.DELIVERBY,
        _value(r"(?:[+-]?[0-9]{1,9};NT?|\+?(?!0+;)[0-9]{1,9};RT?)"),
    ),
    # RFC 4865 §4
    "HOLDFOR": _Rule("MAIL", Extension.FUTURERELEASE, re.compile(r"[1-9][0-9]{0,8}")),
    "HOLDUNTIL": _Rule("MAIL", Extension.FUTURERELEASE, re.compile(_DATE_TIME)),
    # RFC 6710 §4
    "MT-PRIORITY": _Rule("MAIL", Extension.MT_PRIORITY, re.compile(r"-?[1-9]|0")),
    # RFC 3461 §4.1: NEVER stands alone
    "NOTIFY": _Rule(
        "RCPT",
        Extension.DSN,
        _value(
            r"NEVER|(?!.*(\b\w+\b).*\b\1\b)(?:SUCCESS|FAILURE|DELAY)"
            r"(?:,(?:SUCCESS|FAILURE|DELAY))*"
        ),
    ),
    # RFC 3461 §4.2, RFC 6533 §3 (which is why non-ASCII may stand here)
    "ORCPT": _Rule(
        "RCPT",
        Extension.DSN,
        re.compile(rf"(?=.{{1,500}}\Z)[A-Za-z0-9-]+;(?:{_XTEXT}|[\u0080-\U0010ffff])+"),
    ),
    # RFC 7293 §3
    "RRVS": _Rule("RCPT", Extension.RRVS, _value(rf"{_DATE_TIME}(?:;[CR])?")),
}

# How much longer than 512 octets the command may be, by what its RFC says or implies.
_ALLOWANCES = {
    "MAIL": {
        Extension.SIZE: 26,
        Extension.EIGHT_BIT_MIME: 17,
        Extension.SMTPUTF8: 10,
        Extension.DSN: 116,  # " RET=FULL" and " ENVID=" with 100 characters
        Extension.AUTH: 500,
        Extension.REQUIRETLS: 11,
        Extension.DELIVERBY: 17,
        Extension.FUTURERELEASE: 34,
        Extension.MT_PRIORITY: 15,
    },
    "RCPT": {
        Extension.DSN: 536,  # " NOTIFY=SUCCESS,FAILURE,DELAY" and " ORCPT=" with 500 characters
        Extension.RRVS: 33,
    },
}


def allowance(verb: str, offered: AbstractSet[Extension]) -> int:
    """Octets by which the offered extensions lengthen the command line of `verb`."""
    return sum(
        octets for extension, octets in _ALLOWANCES.get(verb, {}).items() if extension in offered
    )


def read_parameters(
    verb: str, text: str, offered: AbstractSet[Extension]
) -> tuple[dict[str, str], list[str]]:
    """Read what follows the path of a MAIL or RCPT command.

    `text` is empty or begins with the space after the path. Returns the parameters by their
    upper-case keyword (``""`` for one without a value), and what was wrong with them.
    """
    parameters: dict[str, str] = {}
    faults: list[str] = []
    if not text:
        return parameters, faults
    if not text.startswith(" "):
        return parameters, [f"{text!r} follows the path without a space"]
    for parameter in text[1:].split(" "):
        keyword, equals, value = parameter.partition("=")
        keyword = keyword.upper()
        if _KEYWORD.fullmatch(keyword) is None or (equals and _VALUE.fullmatch(value) is None):
            faults.append(f"malformed parameter {parameter!r} (RFC 5321 §4.1.2)")
        elif keyword in parameters:
            faults.append(f"parameter {keyword} given twice")
        elif fault := _fault(verb, keyword, equals, value, offered):
            faults.append(fault)
        else:
            parameters[keyword] = value
    if "HOLDFOR" in parameters and "HOLDUNTIL" in parameters:
        faults.append("HOLDFOR and HOLDUNTIL exclude each other (RFC 4865 §4)")
    return parameters, faults


def _fault(
    verb: str, keyword: str, equals: str, value: str, offered: AbstractSet[Extension]
) -> str | None:
    rule = _RULES.get(keyword)
    if rule is None:
        return f"unknown parameter {keyword}"
    if rule.verb != verb:
        return f"parameter {keyword} belongs to {rule.verb}, not to {verb}"
    extension = rule.extension
    if keyword == "BODY" and value.upper() == "BINARYMIME":
        extension = Extension.BINARYMIME
    if extension not in offered:
        return f"parameter {keyword}, but {extension.value} was not offered"
    if rule.pattern is None:
        return f"parameter {keyword} takes no value" if equals else None
    if rule.pattern.fullmatch(value) is None:
        return f"malformed value in {keyword}={value}"
    return None
