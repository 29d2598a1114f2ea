"""Every example of every `--help` is run as it stands, but for the servers that it names."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path

import pytest

import smtpx
from smtpx.cli import COMMANDS
from smtpx.testing import SCRAM_MECHANISMS, STANDARD_MECHANISMS, Server, ServerTLS
from tests.bounces import reports

from .command import LETTER, environment

pytestmark = pytest.mark.skipif(os.name != "posix", reason="the examples are for a POSIX shell")

SECRET = "hunter2-of-ann"
JQ = """\
import json, signal, sys
signal.signal(signal.SIGINT, signal.SIG_DFL)
assert sys.argv[1][0] == "."
for line in sys.stdin:
    print(json.loads(line)[sys.argv[1][1:]], flush=True)
"""
PROGRAMS = {
    "smtpx": f'exec {sys.executable} -m smtpx "$@"',
    "jq": f'exec {sys.executable} "$HOME/jq.py" "$@"',
}
# What is in the examples, and is somewhere in the world.
FIGURATIVE = re.compile(
    r"(submission|gmail|smtp)://(ann@)?(mail\.example\.com|gmail\.com|mx\.example\.net|"
    r"localhost:1025)|mail\.example\.com"
)


def examples(name: str) -> Iterator[str]:
    epilog = import_module(f"smtpx.cli.{name}").parser().epilog or ""
    _, found, rest = epilog.partition("examples:\n")
    if found:
        for line in rest.partition("\n\n")[0].splitlines():
            yield re.split(r"\s{3,}|(?<=\S)  (?=\w+ .*\?$)", line.strip())[0]


ALL = [line for name in COMMANDS for line in examples(name)]
SERVING = [line for line in ALL if line.startswith("smtpx serve")]


@pytest.fixture
def world(home: Path) -> dict[str, str]:
    """A home in which there is all that the examples name."""
    programs = home / "bin"
    for folder in (programs, home / ".zfunc", home / ".config/fish/completions"):
        folder.mkdir(parents=True)
    for name, text in PROGRAMS.items():
        _ = (programs / name).write_text(f"#!/bin/sh\n{text}\n")
        (programs / name).chmod(0o755)
    _ = (home / "jq.py").write_text(JQ)
    bounce = reports.POSTFIX
    _ = (home / "bounce.eml").write_bytes(bounce)
    _ = (home / "spool.mbox").write_bytes(b"From x Mon\n" + bounce)
    for part in ("cur", "new", "tmp"):
        (home / "Maildir/.Bounces" / part).mkdir(parents=True)
    _ = (home / "Maildir/.Bounces/new/1").write_bytes(bounce)
    return environment(home, PATH=f"{programs}:{os.environ['PATH']}", SMTPX_PASSWORD=SECRET)


def test_there_are_some() -> None:
    assert {line.split()[0] for line in ALL} == {"smtpx", "eval"}
    assert len(ALL) > 20


@pytest.mark.parametrize("line", [line for line in ALL if line not in SERVING])
def test_an_example(line: str, world: dict[str, str], home: Path) -> None:
    with Server(
        tls=ServerTLS.STARTTLS,
        users={"ann": SECRET},
        mechanisms=(*SCRAM_MECHANISMS, *STANDARD_MECHANISMS),
        size_limit=1 << 25,
    ) as server:
        url = server.url.replace("//", "//ann@") + f"?tls=starttls&ca={server.ca_file}"
        account = f"url = '{url}'\nfrom = 'ann@example.org'\n"
        _ = (home / "smtpx.toml").write_text(f"[default]\n{account}[work]\n{account}")
        said = FIGURATIVE.sub(f"'{url}'", line)
        if "--deliver" in line:
            said += " --dry-run"  # Else it would ask the world's name servers.
        done = subprocess.run(
            ["bash", "-o", "pipefail", "-c", said],
            cwd=home,
            env=world,
            input=LETTER,
            capture_output=True,
            timeout=100,
        )
    assert done.returncode == 0, (said, done.stderr)
    assert done.stdout.strip() != b"None"


@pytest.mark.parametrize("line", SERVING)
def test_an_example_that_serves(line: str, world: dict[str, str], home: Path) -> None:
    ports = "smtpx serve --smtp 127.0.0.1:0 --http 127.0.0.1:0"
    process = subprocess.Popen(
        ["bash", "-c", line.replace("smtpx serve", ports)],
        cwd=home,
        env=world,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    assert process.stderr is not None
    assert process.stdout is not None
    try:
        url = process.stderr.readline().split()[1].decode().rstrip(",")
        assert smtpx.send(LETTER, url, smtpx.Envelope("a@x.test", ["b@x.test"])).complete
        if "jq" in line:
            assert process.stdout.readline().strip() not in (b"", b"None")
    finally:
        os.killpg(process.pid, signal.SIGINT)
        out, err = process.communicate(timeout=60)
    assert b"Traceback" not in out + err
