"""Runs the command as people do, and judges what it prints."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from functools import cache
from importlib import import_module
from importlib.resources import files
from pathlib import Path
from typing import Any, NamedTuple

LETTER = (
    b"From: Ann <ann@example.org>\nTo: Bob <bob@example.net>\nSubject: a letter\n"
    b"Date: Sun, 29 Nov 2026 22:39:41 +0000\nMessage-ID: <letter@example.org>\n\nhello\n"
)


class Done(NamedTuple):
    """What a run came to."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """The one document on standard output, held to the schema."""
        document = json.loads(self.out)
        validator().validate(document)
        assert document["exit"] == self.code
        return document


@cache
def validator() -> Any:
    schema = json.loads(files("smtpx.cli").joinpath("schema.json").read_text(encoding="utf-8"))
    jsonschema: Any = import_module("jsonschema")
    jsonschema.Draft202012Validator.check_schema(schema)
    return jsonschema.Draft202012Validator(schema)


def environment(home: Path, **variables: str) -> dict[str, str]:
    """The environment of a user who lives in `home` and has set nothing but these."""
    kept = ("PATH", "SYSTEMROOT", "PYTHONPATH", "LANG", "TEMP", "TMP")
    inherited = {name: os.environ[name] for name in kept if name in os.environ}
    home_too = {"HOME": str(home), "USERPROFILE": str(home), "XDG_CONFIG_HOME": str(home)}
    return {**inherited, **home_too, "PYTHONUTF8": "1", **variables}


def smtpx(*words: str, home: Path, stdin: bytes = b"", **variables: str) -> Done:
    """Run ``python -m smtpx``, in `home`."""
    done = subprocess.run(
        [sys.executable, "-m", "smtpx", *words],
        cwd=home,
        env=environment(home, **variables),
        input=stdin,
        capture_output=True,
        timeout=60,
        check=False,
    )
    return Done(done.returncode, done.stdout.decode(), done.stderr.decode())
