"""The tests that the documentation shows pass, as they stand, where pytest runs them."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

from .test_docs import blocks

# Those for Django's own runner: tests/integrations/django/test_project.py runs them there.
BY_DJANGO = "from django.test import"
TESTS = {
    str(block.id): code
    for block in blocks()
    if "def test_" in (code := str(block.values[0])) and BY_DJANGO not in code
}


def test_those_that_the_documentation_shows_pass(tmp_path: Path):
    """All by one pytest, each a file of its own, named for its page and line."""
    for place, code in TESTS.items():
        file = tmp_path / f"test_{re.sub('[^a-z0-9]', '_', place.lower())}.py"
        _ = file.write_text(code, "utf-8")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, encoding="utf-8", check=False)
    assert ran.returncode == 0, ran.stdout


def test_there_is_one():
    assert TESTS
