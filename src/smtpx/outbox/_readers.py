"""Who tells of events by a name: one at a time, known to live as a worker is."""

from __future__ import annotations

from collections.abc import Callable

from . import _asking
from ._owning import Owner
from ._statements import Ask, Statements, Tell
from ._store import Store
from ._working import Core
from .states import Event

__all__ = ["tell"]

# Events that are read at once.
_PAGE = 500


def tell(core: Core, callback: Callable[[Event], object], name: str) -> int:
    """Call back with each event that a name has not been told, unless somebody else does so."""
    store = core.store
    if not store.look(_asking.events, store.look(_asking.cursor_of, name), 1):
        return 0
    owner = Owner(store, core.lease)
    failure: BaseException | None = None
    try:
        owner.begin()
        after = store.transact(_begin, name, owner.id)
        if after is None:
            core.watcher.reap_for_certain()
            after = store.transact(_begin, name, owner.id)
        return 0 if after is None else _tell_from(after, store, callback, name, owner.id)
    except BaseException as error:
        failure = error
        raise
    finally:
        owner.end(failure)


def _tell_from(
    after: int, store: Store, callback: Callable[[Event], object], name: str, owner: str
) -> int:
    """Call back with each event behind a cursor; the value is how many these were."""
    told = 0
    while page := store.look(_asking.events, after, _PAGE):
        for event in page:
            _ = callback(event)
            told += 1
            if not store.transact(_move, name, owner, event.cursor):
                return told  # Another has taken us for dead, and tells of the rest.
        after = page[-1].cursor
    return told


def _begin(name: str, owner: str) -> Statements[int | None]:
    """Have an owner tell by a name from its cursor on; ``None`` if another does that lives."""
    _ = yield Tell(
        "INSERT INTO smtpx_reader (name, cursor) VALUES (?,?) ON CONFLICT DO NOTHING", [(name, 0)]
    )
    ((cursor, other),) = yield Ask(
        "SELECT cursor, owner FROM smtpx_reader WHERE name = ? {wait}", [name]
    )
    if (yield Ask("SELECT id FROM smtpx_worker WHERE id = ?", [other])):
        return None
    _ = yield Tell("UPDATE smtpx_reader SET owner = ? WHERE name = ?", [(owner, name)])
    return int(cursor)


def _move(name: str, owner: str, cursor: int) -> Statements[bool]:
    """Note how far it has come; the value is false if another tells by that name now."""
    rows = yield Ask("SELECT owner FROM smtpx_reader WHERE name = ? {wait}", [name])
    if rows != [(owner,)]:
        return False
    _ = yield Tell("UPDATE smtpx_reader SET cursor = ? WHERE name = ?", [(cursor, name)])
    return True
