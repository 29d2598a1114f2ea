"""What is released: ``python -m tools.release`` builds it into ``dist``, and checks it.

It is built twice, and has to be the same to the octet. What is in it is looked at by twine and
check-wheel-contents. ``build/smtpx.cdx.json`` lists what an installation brings along (CycloneDX).
"""

from __future__ import annotations

import argparse
import hashlib
import os
import re
import subprocess
import sys
import tempfile
import venv
from pathlib import Path

__all__ = ["main"]

ROOT = Path(__file__).parents[1]
DIST = ROOT / "dist"
SBOM = ROOT / "build" / "smtpx.cdx.json"


def main(words: list[str] | None = None) -> int:
    """Build and check; return the exit code."""
    parser = argparse.ArgumentParser(prog="python -m tools.release")
    parser.add_argument("--tag", metavar="vVERSION", help="the tag has to name this version")
    given = parser.parse_args(words)
    version = _version()
    if given.tag is not None and given.tag != f"v{version}":
        print(f"the tag is {given.tag}, and the version is {version}", file=sys.stderr)
        return 1
    for old in DIST.glob("*"):
        old.unlink()
    _build(DIST)
    with tempfile.TemporaryDirectory() as again:
        _build(Path(again))
        if _digests(DIST) != _digests(Path(again)):
            print("two builds of the same source differ", file=sys.stderr)
            return 1
    built = sorted(map(str, DIST.iterdir()))
    wheels = [path for path in built if path.endswith(".whl")]
    _run(sys.executable, "-m", "twine", "check", "--strict", *built)
    _run(sys.executable, "-m", "check_wheel_contents", *wheels)
    _list_contents(wheels[0])
    for name, digest in _digests(DIST).items():
        print(f"{digest}  {name}")
    return 0


def _version() -> str:
    text = (ROOT / "src" / "smtpx" / "_version.py").read_text(encoding="utf-8")
    match = re.search(r'__version__ = "(.+)"', text)
    assert match is not None
    return match[1]


def _build(folder: Path) -> None:
    """Build the source distribution, and the wheel from it, with the commit's time in both."""
    command = ["git", "log", "-1", "--format=%ct"]
    asked = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    environment = os.environ | {"SOURCE_DATE_EPOCH": asked.stdout.strip()}
    build = [sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT)]
    _ = subprocess.run(build, env=environment, stdout=subprocess.DEVNULL, check=True)


def _digests(folder: Path) -> dict[str, str]:
    return {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.iterdir())
    }


def _list_contents(wheel: str) -> None:
    """Install the wheel into an environment of its own, and write down what came along."""
    SBOM.parent.mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory() as folder:
        venv.create(folder, with_pip=True)
        python = str(Path(folder) / ("Scripts" if os.name == "nt" else "bin") / "python")
        _run(python, "-m", "pip", "install", "-qq", "--disable-pip-version-check", wheel)
        _run(python, "-m", "pip", "uninstall", "-qq", "-y", "pip", "setuptools")
        words = ("--output-reproducible", "--pyproject", str(ROOT / "pyproject.toml"))
        made = ("--output-file", str(SBOM), python)
        _run(sys.executable, "-m", "cyclonedx_py", "environment", *words, *made)


def _run(*command: str) -> None:
    _ = subprocess.run(command, cwd=ROOT, check=True)


if __name__ == "__main__":
    raise SystemExit(main())
