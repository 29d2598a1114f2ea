"""The reference tells of all that there is, and of nothing else."""

from __future__ import annotations

import functools
import re

import pytest
from tools import reference
from tools.reference import values
from tools.reference.names import ROOMS

import smtpx
from smtpx import outbox, testing

WRITTEN = sorted(path.name for path in reference.FOLDER.iterdir())
made = functools.cache(reference.pages)


@pytest.mark.parametrize("name", WRITTEN)
def test_a_page_is_what_the_code_says(name: str):
    same = (reference.FOLDER / name).read_text(encoding="utf-8") == made().get(name)
    assert same, f"{name} is older than the code: run `python -m tools.reference`"


def test_each_page_is_there_and_none_that_nobody_makes():
    assert set(WRITTEN) == set(made()), "run `python -m tools.reference`"


def test_every_public_name_is_on_one_page():
    told = "\n".join(made().values())
    names = re.findall(r"^::: (\S+)$|<a id=\"(\S+)\">", told, re.MULTILINE)
    listed = [shown or anchor for shown, anchor in names]
    assert sorted(listed) == sorted(reference.public_names())


def test_the_names_are_those_that_modules_export():
    """They are read from the source, so that no extra is needed: here they are imported."""
    names = set(reference.public_names())
    assert {f"smtpx.{name}" for name in smtpx.__all__} - names == {
        f"smtpx.{room}" for room in ROOMS if room in smtpx.__all__
    }
    assert {f"smtpx.testing.{name}" for name in testing.__all__} <= names
    of_outbox = {f"smtpx.outbox.{name}" for name in outbox.__all__}
    assert of_outbox - names == {"smtpx.outbox.AsyncOutbox", "smtpx.outbox.Outbox"}
    assert "smtpx.smtplib.SMTP_SSL" in names


def test_every_error_has_a_cause_and_a_remedy():
    page = made()["errors.md"]
    for name in values.errors():
        assert re.search(rf"^\| \[`{re.escape(name)}`\]\[\S+\] \| [^|]+ \| [^|]+ \|$", page, re.M)
