"""What the harness itself has to get right, for else it would excuse too much or too little."""

from __future__ import annotations

import subprocess
import sys

import pytest

from tests.certainty import runs
from tests.certainty.hostile.shifts import Sent, excused
from tests.certainty.plans import FACES, plan


def test_the_server_shares_nothing_with_what_it_tries():
    """Not a module, not even indirectly."""
    script = (
        "import sys, tests.certainty.hostile.__main__\n"
        "print([name for name in sys.modules if name.partition('.')[0] == 'smtpx'])"
    )
    ran = subprocess.run(
        [sys.executable, "-c", script], cwd=runs.ROOT, capture_output=True, text=True, check=True
    )
    assert ran.stdout.strip() == "[]"


def test_a_seed_says_all():
    assert [str(plan(seed)) for seed in range(50)] == [str(plan(seed)) for seed in range(50)]
    assert {plan(seed).face for seed in range(300)} == set(FACES)


def sent(*replies: str) -> list[Sent[str]]:
    """Replies as ``1a``: first write, transaction a; ``1a?`` unasked, ``1a-`` left out."""
    due = {"": True, "?": False, "-": None}
    return [Sent(int(each[0]), int(each[0]), each[1], due[each[2:]]) for each in replies]


@pytest.mark.parametrize(
    ("replies", "checkpoints", "who"),
    [
        # Nothing was wrong.
        (["1a", "1a", "2b", "2b"], [2, 4], []),
        # The surplus and the last reply in one write: it could be seen.
        (["1a?", "1a", "1a"], [3], []),
        (["1a", "1a", "1a?"], [3], []),
        # Whoever has read the last that was due was shown nothing.
        (["1a?", "2a", "3a"], [3], ["a"]),
        (["1a", "1a?", "2a"], [3], ["a"]),
        # It came after the last of a, and shifts b's without a sign of it.
        (["1a", "1a", "2a?", "3b", "4b"], [2, 3, 5], ["b"]),
        # b's two replies in one write: that one of them is too many could be seen.
        (["1a", "1a", "2a?", "3b", "3b"], [2, 3, 5], []),
        # Left out, and others went on being answered; or nobody was.
        (["1a-", "1a", "2b"], [3], ["a", "b"]),
        (["1a", "1a-"], [2], []),
    ],
)
def test_who_is_excused_alone(replies, checkpoints, who):
    assert excused(sent(*replies), checkpoints, lone=True, heard_after=False) == who


@pytest.mark.parametrize(
    ("replies", "heard_after", "who"),
    [
        # All in the last write, and the client said no more.
        (["1a", "1a?", "1b", "1b"], False, []),
        # It had said more already, and so more was due.
        (["1a", "1a?", "1b", "1b"], True, ["b"]),
        # What was told of a was told before the last write came.
        (["1a?", "1a", "2b", "2b"], False, ["a"]),
    ],
)
def test_who_is_excused_in_a_stream(replies, heard_after, who):
    assert excused(sent(*replies), [], lone=False, heard_after=heard_after) == who
