"""What people write into the search field, as a condition of SQL.

``to:bob from:ann subject:"two words" has:attachment is:unread tag:x`` and words that stand
anywhere; a minus before one says what must not be.
"""

from __future__ import annotations

import re
from typing import NamedTuple

__all__ = ["Condition", "condition_of"]

_WORD = re.compile(r"(-?)(?:([a-z]+):)?(?:\"([^\"]*)\"?|(\S+))", re.IGNORECASE)
_COLUMNS = {
    "to": "recipients",
    "from": "author || ' ' || sender",
    "subject": "subject",
    "user": "user",
    "helo": "helo",
    "tag": "tags",
    "id": "queue_id",
}
_STATES = {
    ("has", "attachment"): "attachments > 0",
    ("has", "attachments"): "attachments > 0",
    ("has", "html"): "has_html = 1",
    ("is", "unread"): "seen = 0",
    ("is", "read"): "seen = 1",
    ("is", "tls"): "tls = 1",
    ("has", "breach"): "breaches > 0",
}
_MOST_WORDS = 20


class Condition(NamedTuple):
    """A condition for ``WHERE``, and its parameters."""

    sql: str
    parameters: list[str]


def condition_of(query: str, *, indexed: bool) -> Condition:
    """Read a query.

    With the index, a word of three letters or more is looked up there; else it is compared.

    Raises:
        ValueError: a term is unknown; the message lists those that are known.
    """
    conditions: list[str] = []
    parameters: list[str] = []
    for match in list(_WORD.finditer(query[:1000]))[:_MOST_WORDS]:
        minus, key, quoted, bare = match.groups()
        word = quoted if quoted is not None else bare
        if not word:
            continue
        sql, values = _term((key or "").lower(), word, indexed=indexed)
        conditions.append(f"NOT ({sql})" if minus else sql)
        parameters += values
    return Condition(" AND ".join(conditions) or "1", parameters)


def _term(key: str, word: str, *, indexed: bool) -> tuple[str, list[str]]:
    if key in ("has", "is"):
        state = _STATES.get((key, word.lower()))
        if state is None:
            known = ", ".join(f"{name}:{value}" for name, value in _STATES)
            raise ValueError(f"{key}:{word} is not known: there are {known}")
        return state, []
    if key in _COLUMNS:
        return f"({_COLUMNS[key]}) LIKE ? ESCAPE '\\'", [_like(word)]
    text = f"{key}:{word}" if key else word
    if indexed and len(text) >= 3:
        return "id IN (SELECT rowid FROM texts WHERE texts MATCH ?)", [_phrase(text)]
    return (
        "(subject || ' ' || author || ' ' || sender || ' ' || recipients || ' ' || body) "
        "LIKE ? ESCAPE '\\'",
        [_like(text)],
    )


def _like(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _phrase(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
