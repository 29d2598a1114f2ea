"""OpenDKIM as a verifier: the filter's own test mode, with keys from a file in place of the DNS."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.interop.daemon import ENVIRONMENT, program

_RESULT = re.compile(r"\bdkim=(\w+)[^;]*?header\.a=([\w-]+)")


def missing() -> str | None:
    """Why OpenDKIM cannot be run here; None when it can."""
    return None if program("opendkim") else "opendkim is not installed (Debian: opendkim)"


def results(content: bytes, records: Mapping[str, str], directory: Path) -> dict[str, str]:
    """What it says of each signature, by algorithm: ``pass``, ``fail``, …

    `records` are TXT records, by name without the last dot.
    """
    keys, configuration, message = (directory / name for name in ("keys", "conf", "message"))
    _ = keys.write_text("".join(f"{name} {text}\n" for name, text in records.items()))
    _ = configuration.write_text(f"TestPublicKeys {keys}\nMode v\nSyslog no\n")
    _ = message.write_bytes(content)
    said = subprocess.run(
        [program("opendkim") or "opendkim", "-f", "-x", configuration, "-v", "-v", "-t", message],
        capture_output=True,
        text=True,
        check=True,
        timeout=30,
        env=ENVIRONMENT,
    )
    return {algorithm: result for result, algorithm in _RESULT.findall(said.stdout)}
