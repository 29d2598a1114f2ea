"""No `try` that matters is left by the jump back of its own loop.

CPython 3.12 and 3.13 end a loop by a jump that their exception table does not cover, where a
condition decides whether to jump, as ``while condition:`` has it. A signal that is handled just
there, as Ctrl-C is, passes by `except`, `finally` and `with`. Such a loop is ``while True:``, and
breaks, or is a function of its own. A `try` that has no `finally`, and catches only errors that it
names, loses nothing: it has no business with what a signal handler raises.
"""

from __future__ import annotations

import ast
import dis
import sys
from collections.abc import Iterator
from pathlib import Path
from types import CodeType
from typing import Any

import pytest

PACKAGE = Path(__file__).parents[2] / "src" / "smtpx"
_ANY = {"Exception", "BaseException"}
_JUMP = dis.opmap["JUMP_BACKWARD"]


@pytest.mark.skipif(sys.version_info[:2] not in {(3, 12), (3, 13)}, reason="others jump safely")
def test_no_try_is_left_by_a_jump_back() -> None:
    left = {
        f"{path.relative_to(PACKAGE)}: {loop}"
        for path in sorted(PACKAGE.rglob("*.py"))
        for loop in uncovered(path.read_text(encoding="utf-8"))
    }
    assert left == set()


LEFT = "def f(more, end):\n {}\n  while more():\n   end()\n {}\n"
SAFE = "def f(more, end):\n {}\n  while True:\n   if more():\n    break\n   end()\n {}\n"


@pytest.mark.parametrize(
    ("head", "tail"),
    [
        ("try:", "finally:\n  end()"),
        ("try:", "except:\n  end()"),
        ("try:", "except Exception:\n  end()"),
        ("try:", "except (OSError, BaseException) as error:\n  end()"),
        ("with more:", "pass"),
    ],
)
def test_what_leaves_one_is_found(head: str, tail: str) -> None:
    """On the Pythons that do so."""
    assert list(uncovered(LEFT.format(head, tail))) in ([], ["f, line 3"])
    assert list(uncovered(SAFE.format(head, tail))) == []


def test_what_catches_only_what_it_names_loses_nothing() -> None:
    assert list(uncovered(LEFT.format("try:", "except (OSError, EOFError):\n  end()"))) == []


def uncovered(text: str) -> Iterator[str]:
    """The loops whose jump back no handler covers, though one that matters is around it."""
    jumps = [jump for code in codes_in(compile(text, "a module", "exec")) for jump in bare(code)]
    if jumps:
        tree = ast.parse(text)
        for name, line in jumps:
            if any(matters(node, line) for node in ast.walk(tree)):
                yield f"{name}, line {line}"


def bare(code: CodeType) -> Iterator[tuple[str, int]]:
    """The jumps back that no handler covers, though one covers the condition before each."""
    if not code.co_exceptiontable or _JUMP not in code.co_code[::2]:
        return
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
        is_left = before in covered and each.offset not in covered
        # After what is no condition, the inner `try` is over, and nothing is around it.
        is_conditional = named.get(before, "").startswith("POP_JUMP")
        if each.opname == "JUMP_BACKWARD" and is_left and is_conditional:
            yield code.co_qualname, each.positions.lineno
        if each.opname != "NOT_TAKEN":
            before = each.offset


def matters(node: ast.AST, line: int) -> bool:
    """True if a statement that has the line within it does something about any interruption."""
    if isinstance(node, (ast.With, ast.AsyncWith)):
        return _has(node.body, line)
    if not isinstance(node, (ast.Try, ast.TryStar)):
        return False
    if node.finalbody and node.lineno < line < node.finalbody[0].lineno:
        return True
    return _has(node.body, line) and any(map(_catches_any, node.handlers))


def _has(body: list[ast.stmt], line: int) -> bool:
    return body[0].lineno <= line <= (body[-1].end_lineno or 0)


def _catches_any(handler: ast.ExceptHandler) -> bool:
    if handler.type is None:
        return True
    return any(isinstance(node, ast.Name) and node.id in _ANY for node in ast.walk(handler.type))


def codes_in(code: CodeType) -> Iterator[CodeType]:
    yield code
    for each in code.co_consts:
        if isinstance(each, CodeType):
            yield from codes_in(each)
