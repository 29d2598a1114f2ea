"""What editors and type checkers make of the package: completion by jedi, one program for all."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import jedi  # type: ignore[import-untyped]
import pytest

import smtpx
from smtpx import sasl

ROOT = Path(__file__).parents[2]

# What each name is, type checkers are told by `assert_type`, and jedi is asked.
PROGRAM = """\
from collections.abc import Iterator
from typing import assert_type

import smtpx
from smtpx import sasl, smtplib

message = smtpx.compose(sender="ann@example.org", to="bob@example.net", text="Hello")
with smtpx.Client("smtp://localhost", timeout=30, mechanisms=sasl.HASHED) as client:
    result = client.send(message)
    assert_type(result, smtpx.SendResult)
    for each in client.send_many([(b"Hello", smtpx.Envelope("a@b.test", "c@d.test"))]):
        assert_type(each, smtpx.SendResult)
outcome = result.refused[0]
assert_type(outcome, smtpx.Outcome)
reply = outcome.reply
assert_type(reply, smtpx.Reply | None)
again = smtpx.send(message, "smtp://localhost", timeout=30)
assert_type(again, smtpx.SendResult)
with smtplib.SMTP("localhost") as old:
    assert_type(old, smtplib.SMTP)
report = smtpx.bounces.parse(b"")
"""


@pytest.fixture(autouse=True, scope="module")
def _jedi_keeps_to_itself(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    before = jedi.settings.cache_directory
    jedi.settings.cache_directory = str(tmp_path_factory.mktemp("jedi"))
    yield
    jedi.settings.cache_directory = before


def completed(code: str) -> set[str]:
    return {name.name for name in jedi.Script(code).complete()}


def test_jedi_completes_every_public_name():
    assert set(smtpx.__all__) - completed("import smtpx\nsmtpx.") == set()
    assert set(sasl.__all__) - completed("import smtpx\nsmtpx.sasl.") == set()


@pytest.mark.parametrize(
    ("code", "names"),
    [
        ("from smtpx import smtpl", {"smtplib"}),
        ("from smtpx.testing import Ser", {"Server", "ServerTLS"}),
        (PROGRAM + "client.", {"send", "send_many", "statistics", "close"}),
        (PROGRAM + "each.", {"accepted", "refused", "error", "queue_id"}),
        (PROGRAM + "outcome.", {"recipient", "status", "reply", "retryable"}),
        (PROGRAM + "old.", {"sendmail", "send_message", "starttls", "login", "quit"}),
        (PROGRAM + "report.", {"recipients", "is_standard"}),
    ],
)
def test_jedi_completes_what_a_program_has(code: str, names: set[str]):
    assert names - completed(code) == set()


@pytest.mark.parametrize("name", ["Client", "Session", "AsyncClient", "AsyncSession"])
def test_editors_show_the_options(name: str):
    (shown,) = jedi.Script(f"import smtpx\nsmtpx.{name}").infer()
    words = set(re.findall(r"\w+", shown.docstring(raw=True)))
    assert smtpx.SessionOptions.__annotations__.keys() - words == set()


@pytest.mark.parametrize("checker", ["mypy", "pyright"])
def test_type_checkers_agree(checker: str, tmp_path: Path):
    if find_spec(checker) is None:
        pytest.skip(f"{checker} is not installed: `make lint` brings it")
    path = tmp_path / "program.py"
    _ = path.write_text(PROGRAM, encoding="utf-8")
    if checker == "mypy":
        options = ["--strict", "--config-file=", f"--cache-dir={ROOT / '.mypy_cache' / 'tests'}"]
    else:
        options = ["--pythonpath", sys.executable]
    done = subprocess.run(
        [sys.executable, "-m", checker, *options, path.name],
        cwd=tmp_path,
        env={**os.environ, "MYPYPATH": str(ROOT / "src")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
