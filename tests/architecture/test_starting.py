"""What a program pays for when it starts, and what it does not."""

from __future__ import annotations

import subprocess
import sys

import pytest

# To read one annotation from its text, `typing` has `compile` make all classes of `ast` first.
WATCHED = """
import sys, typing
def told(self, text, *rest, **options):
    print("annotation:", text)
    read(self, text, *rest, **options)
read, typing.ForwardRef.__init__ = typing.ForwardRef.__init__, told
{statement}
print(*sorted({{"ast", "dataclasses", "inspect", "logging", *{unneeded}}} & {{*sys.modules}}))
"""


@pytest.mark.parametrize(
    ("statement", "unneeded"),
    [
        (
            "from smtpx import smtplib",
            {"smtpx._core", "smtpx._wire", "smtpx.addresses", "smtpx.errors", "smtpx.sasl"},
        ),
        (
            "import smtpx; smtpx.Client('smtp://localhost')",
            {"datetime", "email", "ssl", "socket", "smtpx._core.connection"},
        ),
    ],
)
def test_starting_reads_no_annotation_and_loads_nothing_that_few_need(
    statement: str, unneeded: set[str]
):
    code = WATCHED.format(statement=statement, unneeded=unneeded)
    run = [sys.executable, "-P", "-c", code]
    done = subprocess.run(run, check=True, capture_output=True, text=True)
    assert done.stdout == "\n"
