"""`python -m bench bounces FOLDER`: how many recipients and reasons are read right.

FOLDER holds mails, a file each, and `expected.tsv`, a line for each recipient of each mail: the
file's name, the address, and the `Reason`, or several where any will do (`POLICY|REPUTATION`).
An address or a reason that is empty is not judged. The public collections that people measure with
have words of their own for reasons: translate them when you write `expected.tsv`.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from smtpx.bounces import DeliveryReport, FeedbackReport, Reason, RecipientReport, parse


@dataclass
class Tally:
    """How many were right, of how many; and those that were not."""

    right: int = 0
    wrong: list[str] = field(default_factory=list)

    def count(self, right: bool, told: str) -> None:
        if right:
            self.right += 1
        else:
            self.wrong.append(told)

    def __str__(self) -> str:
        judged = self.right + len(self.wrong)
        return f"{self.right} of {judged} ({self.right / (judged or 1):.1%})"


def lines(folder: Path) -> Iterator[str]:
    found, reasons = Tally(), Tally()
    lost = 0  # Those told not to be written to again, though they may be.
    for name, expected in _expected(folder / "expected.tsv").items():
        report = parse((folder / name).read_bytes())
        told = _recipients(report)
        for address, allowed in expected:
            one = told.get(address.lower())
            if address:
                found.count(one is not None, f"{name}: {address} not in {sorted(told)}")
            if one is None and len(expected) == 1 and len(set(told.values())) == 1:
                one = next(iter(told.values()))
            reason = None if one is None or one.reason is None else one.reason
            if allowed:
                said = "" if one is None or one.diagnostic is None else one.diagnostic.text
                shown = "nothing" if reason is None else reason.name
                expected_reasons = "|".join(sorted(each.name for each in allowed))
                reasons.count(
                    reason in allowed, f"{name}: {shown}, not {expected_reasons}: {said[:200]}"
                )
                lost += reason is Reason.BAD_MAILBOX and reason not in allowed
    yield from sorted(found.wrong)
    yield from sorted(reasons.wrong)
    yield f"recipients found: {found}"
    yield f"reasons right: {reasons}; {lost} of the others are BAD_MAILBOX"


def _expected(path: Path) -> dict[str, list[tuple[str, set[Reason]]]]:
    by_name: dict[str, list[tuple[str, set[Reason]]]] = defaultdict(list)
    for line in path.read_text("utf-8").splitlines():
        name, address, reasons, *_ = f"{line}\t\t".split("\t")
        by_name[name].append((address, {Reason[each] for each in reasons.split("|") if each}))
    return by_name


def _recipients(report: DeliveryReport | FeedbackReport | None) -> dict[str, RecipientReport]:
    if not isinstance(report, DeliveryReport):
        return {}
    told: dict[str, RecipientReport] = {}
    for one in report.recipients:
        for address in (one.original_recipient, one.final_recipient):
            if address is not None:
                _ = told.setdefault(address.lower(), one)
    return told
