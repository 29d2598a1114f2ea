"""From the URL of a ledger to the store that holds it."""

from __future__ import annotations

import os
import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from ._spool import Spool
from ._store import Store

__all__ = ["check_url", "opened"]

_KINDS = "give 'sqlite:///mail.db' or 'postgresql://user:password@host/database'"


def check_url(url: object) -> None:
    """Look at the URL of a ledger, and open nothing.

    Raises:
        ValueError, TypeError: it is none.
    """
    if not isinstance(url, str):
        raise TypeError(f"url: {_KINDS}, not {type(url).__name__}")
    scheme = url.partition(":")[0].lower()
    if scheme == "sqlite":
        _ = _path_of(url)
    elif scheme not in ("postgresql", "postgres"):
        # What is no URL may have a password in it.
        kind = f"kind {scheme!r:.40}" if re.fullmatch("[a-z][a-z0-9+.-]*", scheme) else "that kind"
        raise ValueError(f"url: {_KINDS}; there is no ledger of {kind}")


def opened(
    url: str, spool: Path | None, patience: float, lease: float
) -> tuple[Store, Spool | None]:
    """The store of a URL, and the spool for large contents, where there is one.

    Raises:
        ValueError, TypeError: it is no such URL.
        OutboxError: there is no ledger to be had there.
        ExtraMissing: the package for this database is not installed.
    """
    check_url(url)
    directory = None if spool is None else Spool(spool)
    if not url.lower().startswith("sqlite:"):
        from ._postgres import PostgresStore

        return PostgresStore(url, patience, lease), directory
    from ._sqlite import SQLiteStore

    path = _path_of(url)
    store = SQLiteStore(path, patience)
    # Beside the real file, as its log: there may be several links to it.
    return store, directory or Spool(Path(f"{os.path.realpath(path)}-spool"))


def _path_of(url: str) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.netloc or not path or path == ":memory:" or parts.query or parts.fragment:
        raise ValueError(
            "url: give 'sqlite:///' and a file, such as 'sqlite:///mail.db', or with four slashes "
            "'sqlite:////var/lib/app/mail.db'; what is in memory survives nothing"
        )
    return Path(path).absolute()
