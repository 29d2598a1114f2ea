"""No `try` is left by the jump back of its own loop.

CPython 3.12 and 3.13 end a loop ``while condition:`` by a jump that its exception table does not
cover. A signal that is handled just there, as Ctrl-C is, passes by `except` and `finally`. Where
that would lose a word, a place, a lock or a socket, a loop is ``while True:``, and breaks.
"""

from __future__ import annotations

import dis
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "smtpx"
GUARDED = [
    *sorted((PACKAGE / "_faces" / "blocking").glob("*.py")),
    *(PACKAGE / "_faces" / "asynchronous" / "client.py", PACKAGE / "outbox" / "outbox.py"),
    PACKAGE / "_core" / "streaming" / "by_bdat.py",
    *(PACKAGE / "_faces" / "leasing.py", PACKAGE / "_drivers" / "dialling.py"),
    PACKAGE / "delivery" / "_asking.py",
]


@pytest.mark.parametrize("path", GUARDED, ids=lambda path: path.stem)
def test_no_try_is_left_by_a_jump_back(path: Path) -> None:
    assert list(uncovered(path.read_text(encoding="utf-8"))) == []


def test_what_leaves_one_is_found() -> None:
    """On the Pythons that do so."""
    text = "def f(more, end):\n try:\n  while more():\n   end()\n finally:\n  end()\n"
    assert list(uncovered(text)) in ([], ["f, line 3"])
    safe = "def f(more, end):\n try:\n  while True:\n   if more():\n    break\n   end()\n"
    assert list(uncovered(safe + " finally:\n  end()\n")) == []


def uncovered(text: str) -> Iterator[str]:
    """The loops whose jump back no handler covers, though all before it is covered."""
    for code in codes_in(compile(text, "a module", "exec")):
        program: Any = dis.Bytecode(code)
        named = {each.offset: each.opname for each in program}
        covered = {
            offset
            for entry in program.exception_entries
            if named[entry.target] == "PUSH_EXC_INFO"  # The others are those of comprehensions.
            for offset in range(entry.start, entry.end)
        }
        before = -1
        for each in program:
            line = each.positions and each.positions.lineno
            # A jump of no line is that of ``yield from``, before which there is no call.
            is_left = before in covered and each.offset not in covered
            if each.opname == "JUMP_BACKWARD" and line and is_left:
                yield f"{code.co_qualname}, line {line}"
            if each.opname != "NOT_TAKEN":
                before = each.offset


def codes_in(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from codes_in(each)
