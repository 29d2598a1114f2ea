"""What people write into the search field, as a condition of SQL.

``to:bob from:ann subject:"two words" has:attachment is:unread tag:x`` and words that stand
anywhere; a minus before one says what must not be.
"""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

__all__ = ["Condition", "condition_of", "folded"]

_WORD = re.compile(r"(-?)(?:([a-z]+):)?(?:\"([^\"]*)\"?|(\S*))", re.IGNORECASE)
_COLUMNS = {
    "to": "recipients || ' ' || addressed",
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
_KEYS = {*_COLUMNS, "has", "is"}
_COMPARED = "EXISTS (SELECT 1 FROM texts WHERE rowid = id AND words LIKE ? ESCAPE '\\')"
# What a message does not say is known of those alone that were read, and of a word, to the end.
_KNOWN = "described IN (1, 3)"
_KNOWN_WHOLLY = "described = 1"
_MOST_WORDS = 20
_LONGEST = 1000
# The index is of so many letters each.
_INDEXED = 3


class Condition(NamedTuple):
    """A condition for ``WHERE``, its parameters, and the table that knows what it asks for."""

    sql: str
    parameters: list[str]
    source: str = "messages"
    key: str = "id"
    """The message's number in `source`; it gives the newest first at no cost."""

    @property
    def is_all(self) -> bool:
        """True if nothing is asked for."""
        return self.sql == "1"


def condition_of(query: str, *, indexed: bool) -> Condition:
    """Read a query.

    With the index, a word of three letters or more is looked up there; else it is compared.

    Raises:
        ValueError: a term is unknown, and the message lists those that are known; or there is
            more of it than anybody's query.
    """
    found = [match for match in _WORD.finditer(query) if match[0]]
    if len(query) > _LONGEST or len(found) > _MOST_WORDS or "\0" in query:
        # What is passed over would match, and perhaps be deleted.
        raise ValueError(
            f"a query has {_MOST_WORDS} words and {_LONGEST} characters at most, no NUL"
        )
    conditions: list[str] = []
    parameters: list[str] = []
    wanted: list[str] = []
    unwanted: list[str] = []
    for match in found:
        minus, key, quoted, bare = match.groups()
        word = quoted if quoted is not None else bare
        if not word:
            raise ValueError(f"{match[0]} asks for nothing: leave it out, or say what of")
        key, known = (key or "").lower(), _KNOWN
        if key in _KEYS:
            sql, values = _term(key, word)
        else:
            known = _KNOWN_WHOLLY
            text = folded(f"{key}:{word}" if key else word)
            if indexed and len(text) >= _INDEXED:
                (unwanted if minus else wanted).append(_phrase(text))
                continue
            sql, values = _COMPARED, [_like(text)]
        conditions.append(f"{known} AND NOT ({sql})" if minus else sql)
        parameters += values
    if wanted:
        # By the index, from the newest on: who wants a page of them waits for no others.
        phrases = " AND ".join(wanted) + "".join(f" NOT {phrase}" for phrase in unwanted)
        if unwanted:
            conditions.append(_KNOWN_WHOLLY)
        return Condition(
            " AND ".join(["texts MATCH ?", *conditions]),
            [phrases, *parameters],
            "texts CROSS JOIN messages ON id = texts.rowid",
            "texts.rowid",
        )
    if unwanted:
        conditions.append(
            f"{_KNOWN_WHOLLY} AND id NOT IN (SELECT rowid FROM texts WHERE texts MATCH ?)"
        )
        parameters.append(" OR ".join(unwanted))
    return Condition(" AND ".join(conditions) or "1", parameters)


def folded(text: str | None) -> str:
    """A text as it is compared: without regard to case, width, and how accents are written."""
    return unicodedata.normalize("NFKC", text or "").casefold()


def _term(key: str, word: str) -> tuple[str, list[str]]:
    if key in _COLUMNS:
        # SQLite alone compares ASCII without regard to case, and is quicker.
        column = _COLUMNS[key] if word.isascii() else f"folded({_COLUMNS[key]})"
        return f"({column}) LIKE ? ESCAPE '\\'", [_like(word if word.isascii() else folded(word))]
    state = _STATES.get((key, word.lower()))
    if state is None:
        known = ", ".join(f"{name}:{value}" for name, value in _STATES)
        raise ValueError(f"{key}:{word} is not known: there are {known}")
    return state, []


def _like(word: str) -> str:
    escaped = word.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    return f"%{escaped}%"


def _phrase(text: str) -> str:
    return '"' + text.replace('"', '""') + '"'
