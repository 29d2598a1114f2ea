"""What the client said, held against what the server has."""

from __future__ import annotations

import hashlib
import json
from collections import Counter, deque
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import smtpx
from smtpx import SendResult, Status
from tests.certainty.mails import Mail

# What a face may say of a recipient when it says nothing more exact.
NOT_ACCEPTED = "not accepted"
UNKNOWN = "unknown"
NO = (Status.REFUSED, Status.NOT_TRIED, NOT_ACCEPTED)

Verdict = Status | str

EMPTY = hashlib.sha256(b"").hexdigest()
"""What goes to nobody where DATA was let in though all recipients were refused (RFC 2920 §3.1)."""


class Told:
    """Everything that the client said in one round."""

    def __init__(self, mails: Iterable[Mail]) -> None:
        self.mails = list(mails)
        self.read: list[Mail] = []
        """Those that the client had from the caller."""
        self.verdicts: dict[int, dict[str, Verdict]] = {}
        self.abandoned = False
        """The caller gave up listening: what he was not told he does not want to know."""
        self.problems: list[tuple[str, str]] = []
        self.resends = False
        self.spare = 0
        """How many more copies there may be: one for each worker that was interrupted."""
        self.all_or_nothing = False
        self.marks: dict[int, bool] | None = None
        """What a mark has said of each: yes, if it ever did."""
        self.events: deque[object] = deque(maxlen=100)
        """What an observer was told."""
        self._by_object: dict[int, Mail] = {}

    def hand_over(self, mail: Mail) -> tuple[Any, Any]:
        """Note that the client gets a message."""
        item = mail.item()
        self._by_object[id(mail.given)] = mail
        self.read.append(mail)
        return item

    def marked(self, item: object, answer: bool) -> None:
        """Note what a mark says of what was handed over."""
        given = item[0] if isinstance(item, tuple) else item
        number = self._by_object[id(given)].number
        assert self.marks is not None
        self.marks[number] = self.marks.get(number, False) or answer

    def problem(self, kind: str, text: str) -> None:
        self.problems.append((kind, text))

    def result(self, result: SendResult, mail: Mail | None = None) -> None:
        """Take what a result says."""
        if mail is None:
            mail = self._by_object.get(id(result.message))
            if mail is None:
                self.problem("a result of nobody's message", repr(result))
                return
        names = [str(outcome.recipient) for outcome in result.outcomes]
        if names != list(mail.recipients):
            self.problem("not one state for each recipient", f"{mail.recipients} told as {names}")
        if result.error is None and (result.in_doubt or result.not_tried):
            self.problem("a failure without its error", repr(result))
        if result.error is not None and result.error.result is not result:
            self.problem("an error with another result", f"{result!r}, {result.error.result!r}")
        self.tell(mail, {str(each.recipient): each.status for each in result.outcomes})

    def error(self, error: BaseException, mail: Mail) -> None:
        """Take what an error or an interruption says of the one message that was to be sent.

        Without a result it was never on its way.
        """
        result = getattr(error, "result", None)
        if result is None:
            self.tell(mail, dict.fromkeys(mail.recipients, Status.NOT_TRIED))
        else:
            if isinstance(error, smtpx.SMTPError) and result.accepted:
                self.problem("an error though somebody gets the message", repr(result))
            self.result(result, mail)

    def results_of(self, error: BaseException) -> None:
        """Take what hangs on what ended a `send_many`."""
        for result in getattr(error, "results", ()):
            self.result(result)

    def tell(self, mail: Mail, verdicts: Mapping[str, Verdict]) -> None:
        if mail.number in self.verdicts:
            self.problem("told twice", f"message {mail.number}")
        self.verdicts[mail.number] = dict(verdicts)

    def foreign(self, error: BaseException) -> None:
        """Note an exception that is neither ours nor the caller's."""
        import traceback

        where = "".join(traceback.format_exception(error)[-8:])
        self.problem("a foreign exception", f"{type(error).__name__}: {error}\n{where}")


@dataclass(slots=True)
class Ledger:
    """What the server noted."""

    kept: list[dict[str, Any]] = field(default_factory=list)
    unread: Counter[str] = field(default_factory=Counter)
    lied_to: set[str] = field(default_factory=set)
    shifted: set[str] = field(default_factory=set)
    exceeded: list[str] = field(default_factory=list)
    broken: list[str] = field(default_factory=list)

    @classmethod
    def read(cls, path: Path) -> Ledger:
        ledger = cls()
        for line in path.read_text().splitlines():
            entry = json.loads(line)
            match entry["what"]:
                case "kept":
                    ledger.kept.append(entry)
                case "unread":
                    ledger.unread.update(entry["recipients"])
                case "lied":
                    ledger.lied_to.update(entry["recipients"])
                case "shifted":
                    # One that never named anybody is known by its sender alone.
                    ledger.shifted.update(entry["recipients"] or [entry["sender"]])
                case "exceeded":
                    ledger.exceeded.append(f"{entry['limit']} in session {entry['session']}")
                case _:
                    ledger.broken.append(entry["where"])
        return ledger


@dataclass(frozen=True, slots=True)
class Violation:
    kind: str
    what: str


@dataclass(slots=True)
class Judgement:
    violations: list[Violation]
    excused: int = 0
    """What would have been one, had the server not said what no client can see through."""
    words: Counter[str] = field(default_factory=Counter)
    """How many recipients were told so."""


def judge(told: Told, ledger: Ledger, *, gentle: bool) -> Judgement:
    """Every promise that was not kept."""
    found = [Violation(*problem) for problem in told.problems]
    judgement = Judgement(found)
    found += [Violation("the server is broken", where) for where in ledger.broken]
    found += [Violation("more than an announced limit", what) for what in ledger.exceeded]
    by_sender = {mail.sender: mail for mail in told.mails}
    there: Counter[str] = Counter()
    for entry in ledger.kept:
        mail = by_sender.get(entry["sender"])
        if mail is None:
            found.append(Violation("a message that nobody sent", str(entry)))
            continue
        recipients = set(entry["recipients"])
        misled = recipients <= ledger.lied_to | ledger.shifted
        digest = entry["unfolded" if mail.is_written else "digest"]
        if digest != mail.digest and not (misled and entry["digest"] == EMPTY):
            found.append(Violation("altered content", str(entry)))
        if not recipients <= set(mail.recipients):
            found.append(Violation("another's recipients", str(entry)))
        if told.all_or_nothing and recipients != set(mail.recipients) and not misled:
            found.append(Violation("some, where it was to be all or nothing", str(entry)))
        if told.marks is not None and not told.marks.get(mail.number) and not misled:
            found.append(Violation("sent though no mark said yes", str(entry)))
        there.update(entry["recipients"])
    handed = {mail.number for mail in told.read}
    for mail in told.mails:
        verdicts = told.verdicts.get(mail.number)
        if verdicts is None and mail.number in handed and not told.abandoned:
            found.append(Violation("read, and never told of", f"message {mail.number}"))
        for recipient in mail.recipients:
            copies = there[recipient]
            shifted = recipient in ledger.shifted or mail.sender in ledger.shifted
            misled = shifted or recipient in ledger.lied_to
            verdict = (verdicts or {}).get(recipient, UNKNOWN)
            if mail.number in handed:
                judgement.words[word(verdict)] += 1
            kinds: list[tuple[str, bool]] = []
            spare = ledger.unread[recipient] + told.spare if told.resends else 0
            if copies > 1 + spare:
                kinds.append(("delivered twice", misled))
            if verdict is Status.ACCEPTED and not copies:
                kinds.append(("told accepted, and was not", shifted))
            elif verdict in NO and copies:
                kinds.append((f"told {word(verdict)}, and was accepted", misled))
            elif gentle and verdict is not Status.ACCEPTED and verdicts is not None:
                kinds.append((f"{word(verdict)}, though nothing was in the way", False))
            for kind, is_excused in kinds:
                if is_excused:
                    judgement.excused += 1
                else:
                    found.append(Violation(kind, f"{recipient}, {copies} copies"))
    return judgement


def word(verdict: Verdict) -> str:
    return verdict.value if isinstance(verdict, Status) else verdict
