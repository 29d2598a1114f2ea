"""Each `except` in the README and in docs/ is entered, in one trouble or another."""

from __future__ import annotations

import ast
import re
from pathlib import Path
from typing import Any

import pytest

import smtpx
from smtpx.testing import USUAL_EXTENSIONS, Close, Extension, Refuse, TruncateReply

from .test_docs import blocks, set_up, skip_without_packages, world_with

MESSAGE = smtpx.compose(
    sender="ann@example.org", to="bob@example.net", subject="hi", text="hello\n"
)
TROUBLES: dict[str, dict[str, Any]] = {
    "none": {},
    "another password": {"users": {"user": "n3w", "ann@example.org": "ya29.a-newer-token"}},
    "no password for now": {"faults": [Refuse("AUTH", "454 4.7.0 try later")]},
    "no STARTTLS": {"extensions": USUAL_EXTENSIONS - {Extension.STARTTLS}},
    "no greeting": {"greeting": "554 5.3.2 go away"},
    "no such sender": {"refuse_senders": lambda _: "550 5.7.1 not you"},
    "no such recipient": {"refuse_recipients": lambda _: "550 5.1.1 nobody"},
    "no such content": {"refuse_content": "554 5.7.1 spam"},
    "a lost connection": {"faults": [Close("MAIL")]},
    "a doubt": {"faults": [TruncateReply("END-OF-DATA", keep=0)]},
}


class Marked(ast.NodeTransformer):
    """Code whose every `except` clause says so when it is entered."""

    def __init__(self) -> None:
        self.lines: set[int] = set()

    def visit_ExceptHandler(self, node: ast.ExceptHandler) -> ast.ExceptHandler:
        _ = self.generic_visit(node)
        self.lines.add(node.lineno)
        node.body[:0] = ast.parse(f"entered({node.lineno})").body
        return node


def excepts(code: str) -> set[int]:
    """The lines of the `except` clauses."""
    marked = Marked()
    _ = marked.visit(ast.parse(code))
    return marked.lines


def entered(code: str, page: str) -> set[int]:
    """Run it; return the lines of the `except` clauses that were entered, and served."""
    lines: set[int] = set()
    tree = ast.fix_missing_locations(Marked().visit(ast.parse(code)))
    program = compile(tree, "a block of the documentation", "exec")
    try:
        with set_up(page):
            exec(program, {"message": MESSAGE, "entered": lines.add})
    except smtpx.SMTPError:
        return lines  # In this trouble the block leaves it to its caller.
    except Exception:
        return set()  # It is written for another one.
    return lines


BLOCKS = [
    pytest.param(block.values[0], str(block.id).partition(":")[0], id=block.id)
    for block in blocks()
    if excepts(str(block.values[0]))
]


@pytest.mark.parametrize(("code", "page"), BLOCKS)
def test_every_except_of_the_documentation_is_entered(
    code: str, page: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
):
    """Each serves in some trouble: a clause that never strikes tells readers what is not so."""
    skip_without_packages(page, code)
    never = excepts(code)
    for options in TROUBLES.values():
        if not never:
            break
        with (
            monkeypatch.context() as patch,
            world_with(patch, tmp_path, **options) as servers,
        ):
            never -= entered(code, page)
            assert [breach for server in servers.values() for breach in server.breaches] == []
    assert [code.splitlines()[line - 1] for line in sorted(never)] == []


COLLECTED = re.compile(
    r"\b(?:list|tuple|set|sorted)\([^\n]*\.send_many\("
    r"|[\[{(][^\n]* for [^\n]* in [^\n]*\.send_many\("
)


def test_no_page_drops_results_where_send_many_raises_in_the_end():
    """As a list, or a comprehension, drops what it has been told."""
    assert COLLECTED.search("done = list(client.send_many([]))")
    assert COLLECTED.search("done = {each.error for each in client.send_many([])}")
    assert [block.id for block in blocks() if COLLECTED.search(str(block.values[0]))] == []


@pytest.mark.parametrize(
    ("clause", "served"),
    [("ValueError", True), ("KeyError", False), ("smtpx.SMTPError", False)],
)
def test_an_except_that_is_never_entered_is_found(clause: str, served: bool):
    code = f"import smtpx\ntry:\n    int('x')\nexcept {clause}: print('no number')\n"
    assert entered(code, "README.md") == ({4} if served else set())
    assert entered(code.replace("print", "no_such_name"), "README.md") == set()
