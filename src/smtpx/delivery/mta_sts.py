"""MTA-STS: a domain's policy on how its mail exchangers have to be reached (RFC 8461)."""

from __future__ import annotations

import re
from collections import OrderedDict
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import Enum
from os import PathLike
from typing import TYPE_CHECKING, Protocol

from smtpx import _checks
from smtpx._turns import Turns

if TYPE_CHECKING:
    import sqlite3

    from ._patience import Patience

__all__ = [
    "FetchFailed",
    "MemoryPolicies",
    "Mode",
    "Policies",
    "Policy",
    "PolicyError",
    "SQLitePolicies",
    "StoredPolicy",
    "policy_id",
]

_LONGEST = 65536
_MOST = 10_000
# Octets of the hosts that a policy names, of which most have a handful; what each name takes
# besides its text; and what all take together that are longer.
_USUAL, _NAME, _OCTETS = 8192, 60, 32 << 20
_MAX_AGE = 31557600
_ID = re.compile(r"[A-Za-z0-9]{1,32}", re.ASCII)
_RECORD = re.compile(r"v=STSv1[ \t]*;")
_PATTERN = re.compile(
    r"(?:\*\.)?(?:[a-z0-9_](?:[a-z0-9_-]*[a-z0-9_])?\.)+[a-z][a-z0-9-]*", re.ASCII
)


class PolicyError(ValueError):
    """What was to be an MTA-STS policy is none."""


class FetchFailed(Exception):
    """A policy cannot be had; `is_certificate` is True where its host could not be verified."""

    def __init__(self, message: str, *, is_certificate: bool = False) -> None:
        super().__init__(message)
        self.is_certificate = is_certificate


class Mode(Enum):
    """What follows where a mail exchanger is not as the policy says (RFC 8461 §5)."""

    ENFORCE = "enforce"
    """Mail does not go there."""
    TESTING = "testing"
    """Mail goes all the same; it is reported."""
    NONE = "none"
    """There is no policy any more."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A policy as its domain publishes it (RFC 8461 §3.2)."""

    mode: Mode
    max_age: int
    """Seconds for which it holds, from when it was fetched."""
    mx: tuple[str, ...] = ()
    """Host names, lower case; ``*.`` stands for one label."""

    @classmethod
    def parse(cls, text: str | bytes) -> Policy:
        """Read the body of ``mta-sts.txt``.

        Raises:
            PolicyError: it is none.
            TypeError: it is neither `str` nor `bytes`.
        """
        if isinstance(text, bytes):
            if len(text) > _LONGEST:
                raise PolicyError(f"the policy is longer than {_LONGEST} octets")
            try:
                text = text.decode()
            except UnicodeDecodeError as error:
                raise PolicyError(f"the policy is not UTF-8: {error}") from None
        elif not isinstance(text, str):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("text", text, "a str or bytes")
        elif len(text) > _LONGEST:
            raise PolicyError(f"the policy is longer than {_LONGEST} octets")
        fields: dict[str, list[str]] = {}
        for line in re.split(r"\r?\n", text):
            name, colon, value = line.partition(":")
            if colon:
                fields.setdefault(name.strip(" \t"), []).append(value.strip(" \t"))
        # RFC 8461 §3.2: the fields stand in any order.
        if fields.get("version", [""])[0] != "STSv1":
            raise PolicyError("the policy does not say version: STSv1")
        try:
            mode = Mode(fields.get("mode", [""])[0])
        except ValueError:
            raise PolicyError("its mode is none of enforce, testing and none") from None
        age = fields.get("max_age", [""])[0]
        if not (age.isascii() and age.isdigit() and len(age) <= 10):
            raise PolicyError("its max_age is no number of seconds of up to ten digits")
        mx = tuple(name for each in fields.get("mx", ()) if (name := _pattern(each)))
        if not mx and mode is not Mode.NONE:
            raise PolicyError("it names no mx")
        return cls(mode, min(int(age), _MAX_AGE), mx)

    def matches(self, host: str) -> bool:
        """True if it names a host, which is one of the domain's MX records (RFC 8461 §4.1)."""
        host = host.lower().rstrip(".")
        _, dot, parent = host.partition(".")
        return host in self.mx or (dot != "" and f"*.{parent}" in self.mx)

    def __str__(self) -> str:
        return f"{self.mode.value} {', '.join(self.mx)} for {self.max_age} s"


@dataclass(frozen=True, slots=True)
class StoredPolicy:
    """A policy, and when it was fetched. It holds until `fetched` and its `max_age`."""

    id: str
    """As the TXT record of the domain had it."""
    fetched: float
    """Seconds since 1970."""
    policy: Policy

    @property
    def expires(self) -> float:
        """Seconds since 1970."""
        return self.fetched + self.policy.max_age


class Policies(Protocol):
    """Keeps policies: what is lost is protection, until the policy is fetched again."""

    def get(self, domain: str) -> StoredPolicy | None:
        """The policy of a domain, whether or not it still holds."""
        ...

    def put(self, domain: str, stored: StoredPolicy) -> None:
        """Keep a policy in place of an older one."""
        ...


class MemoryPolicies:
    """Policies that are forgotten when the process ends."""

    def __init__(self) -> None:
        self._kept: OrderedDict[str, StoredPolicy] = OrderedDict()
        self._lengths: OrderedDict[str, int] = OrderedDict()
        """Of those that are longer than most, and about how many octets they take."""

    def get(self, domain: str) -> StoredPolicy | None:
        """The policy of a domain, whether or not it still holds."""
        return self._kept.get(domain)

    def put(self, domain: str, stored: StoredPolicy) -> None:
        """Keep a policy; of more than 10,000 the oldest is forgotten.

        Of those that are far longer than others have them no more than 32 MB are kept.
        """
        length = sum(_NAME + len(name) for name in stored.policy.mx)
        self._kept[domain] = stored
        self._kept.move_to_end(domain)
        _ = self._lengths.pop(domain, None)
        if length > _USUAL:
            self._lengths[domain] = length
        while len(self._kept) > _MOST:
            oldest, _ = self._kept.popitem(last=False)
            _ = self._lengths.pop(oldest, None)
        while sum(self._lengths.values()) > _OCTETS:
            oldest, _ = self._lengths.popitem(last=False)
            _ = self._kept.pop(oldest, None)


class SQLitePolicies:
    """Policies in a file, for several processes and for as long as they hold.

    Whoever comes between you and a domain cannot make you forget its policy by a restart. A file
    that others lock is waited for half a second, and no longer.
    """

    def __init__(self, path: str | PathLike[str]) -> None:
        """Name the file; it is made when it is first needed.

        Raises:
            TypeError: it is no path.
        """
        if not isinstance(path, (str, PathLike)):  # pyright: ignore[reportUnnecessaryIsInstance] - callers
            raise _checks.complaint("path", path, "a str or a path")
        self.path = path
        self._patience: Patience | None = None

    def get(self, domain: str) -> StoredPolicy | None:
        """The policy of a domain, whether or not it still holds."""
        with self._opened() as database:
            row = database.execute(
                "SELECT id, fetched, mode, max_age, mx FROM mta_sts WHERE domain = ?", (domain,)
            ).fetchone()
        if row is None:
            return None
        id, fetched, mode, max_age, mx = row
        return StoredPolicy(id, fetched, Policy(Mode(mode), max_age, tuple(mx.split())))

    def put(self, domain: str, stored: StoredPolicy) -> None:
        """Keep a policy in place of an older one; of two processes the later fetch stays."""
        policy = stored.policy
        with self._opened() as database, database:
            _ = database.execute(
                "INSERT INTO mta_sts VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT (domain) DO UPDATE SET "
                "id = excluded.id, fetched = excluded.fetched, mode = excluded.mode, "
                "max_age = excluded.max_age, mx = excluded.mx WHERE excluded.fetched >= fetched",
                (
                    *(domain, stored.id, stored.fetched),
                    *(policy.mode.value, policy.max_age, " ".join(policy.mx)),
                ),
            )

    @contextmanager
    def _opened(self) -> Generator[sqlite3.Connection, None, None]:
        from ._patience import Patience  # SQLite is loaded for those who keep policies in a file.

        patience = self._patience = self._patience or Patience()
        # One for each call: none of them waits for another's.
        file = _File(self.path, patience.seconds)
        with file.lock, patience.tried():
            try:
                yield file.connection()
            finally:
                file.close()


class _File(Turns):
    def __init__(self, path: str | PathLike[str], seconds: float) -> None:
        self._path = path
        self._seconds = seconds
        super().__init__()

    def _connect(self) -> sqlite3.Connection:
        import sqlite3

        database = sqlite3.connect(self._path, timeout=self._seconds, check_same_thread=False)
        try:
            _ = database.execute(
                "CREATE TABLE IF NOT EXISTS mta_sts (domain TEXT PRIMARY KEY, id TEXT NOT NULL, "
                "fetched REAL NOT NULL, mode TEXT NOT NULL, max_age INTEGER NOT NULL, "
                "mx TEXT NOT NULL)"
            )
        except BaseException:
            database.close()
            raise
        return database


def _pattern(text: str) -> str:
    """A host name or a pattern; nothing for what is neither, such as an IP address."""
    text = text.lower().rstrip(".")
    return text if len(text) <= 255 and _PATTERN.fullmatch(text) else ""


def policy_id(records: Sequence[str]) -> str | None:
    """The id of the domain's policy, as the TXT records of ``_mta-sts`` have it (RFC 8461 §3.1).

    ``None`` where there is none, more than one, or one that cannot be read.
    """
    ours = [record for record in records if _RECORD.match(record)]
    if len(ours) != 1:
        return None
    pairs = [pair.partition("=") for pair in ours[0].split(";")]
    ids = [value.strip(" \t") for name, _, value in pairs if name.strip(" \t") == "id"]
    return ids[0] if ids and _ID.fullmatch(ids[0]) else None
