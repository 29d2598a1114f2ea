"""Every word true, in small; ``make certainty`` runs it in full. The seeds are always the same."""

from __future__ import annotations

import sys

import pytest

from tests.certainty import runs
from tests.certainty.planted import PLANTED

pytestmark = [
    pytest.mark.timeout(120),
    pytest.mark.skipif(sys.platform == "win32", reason="sends itself SIGINT"),
]

MESSAGES = 300
FACES = [
    ("session", "one shot", "send", "threads"),
    ("many", "abandoned many", "failing many"),
    ("interrupted send", "interrupted many"),
    ("async send", "async many"),
    ("smtplib",),
    # Each is looked up, dialled and greeted anew: it costs as much as five of the others.
    ("delivery", "many deliveries", "async delivery", "async many deliveries"),
]


@pytest.mark.parametrize("faces", FACES, ids=lambda faces: faces[0])
def test_no_promise_is_broken(faces):
    messages = MESSAGES // 5 if "delivery" in faces else MESSAGES
    tally = runs.run(runs.seeds(1), messages=messages, faces=faces, workers=1)
    assert tally.messages >= messages
    assert not tally.kinds, str(tally)


@pytest.mark.parametrize("name", PLANTED)
def test_a_planted_bug_is_found(name):
    bug = PLANTED[name]
    tally = runs.run(
        runs.seeds(bug.seed, bug.theme, bug.faces),
        messages=4 * MESSAGES,
        faces=bug.faces,
        workers=1,
        plant=name,
        until=bug.kinds,
    )
    assert not tally.kinds.keys().isdisjoint(bug.kinds), str(tally)
