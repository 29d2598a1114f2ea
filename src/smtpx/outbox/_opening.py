"""From the URL of a ledger to the store that holds it."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import unquote, urlsplit

from ._spool import Spool
from ._store import Store

__all__ = ["opened"]

_KINDS = "give 'sqlite:///mail.db' or 'postgresql://user:password@host/database'"


def opened(url: object, spool: object, patience: float) -> tuple[Store, Spool | None]:
    """The store of a URL, and the spool for large contents, where there is one.

    Raises:
        ValueError, TypeError: it is no such URL, or `spool` is no path.
        OutboxError: there is no ledger to be had there.
        ExtraMissing: the package for this database is not installed.
    """
    if not isinstance(url, str):
        raise TypeError(f"url: {_KINDS}, not {type(url).__name__}")
    if spool is not None and not isinstance(spool, (str, Path)):
        raise TypeError(f"spool: give the path of a directory or None, not {type(spool).__name__}")
    directory = None if spool is None else Spool(Path(spool))
    scheme = url.partition(":")[0].lower()
    if scheme == "sqlite":
        from ._sqlite import SQLiteStore

        path = _path_of(url)
        return SQLiteStore(path, patience), directory or Spool(Path(f"{path}-spool"))
    if scheme in ("postgresql", "postgres"):
        from ._postgres import PostgresStore

        return PostgresStore(url, patience), directory
    raise ValueError(f"url: {_KINDS}; there is no ledger of kind {scheme!r:.40}")


def _path_of(url: str) -> Path:
    parts = urlsplit(url)
    path = unquote(parts.path)[1:]
    if parts.netloc or not path or path == ":memory:" or parts.query or parts.fragment:
        raise ValueError(
            "url: give 'sqlite:///' and a file, such as 'sqlite:///mail.db', or with four slashes "
            "'sqlite:////var/lib/app/mail.db'; what is in memory survives nothing"
        )
    return Path(path).absolute()
