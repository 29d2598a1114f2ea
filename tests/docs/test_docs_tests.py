"""The tests that the documentation shows pass, as they stand, where pytest runs them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

from .test_docs import blocks

TESTS = [
    pytest.param(block.values[0], id=block.id)
    for block in blocks()
    if "def test_" in str(block.values[0])
]


@pytest.mark.parametrize("code", TESTS)
def test_a_test_of_the_documentation_passes(code: str, tmp_path: Path):
    file = tmp_path / "test_shown.py"
    _ = file.write_text(code, "utf-8")
    command = [sys.executable, "-W", "error", "-m", "pytest", "-q", "-p", "no:cacheprovider"]
    ran = subprocess.run(
        [*command, str(file)], cwd=tmp_path, capture_output=True, encoding="utf-8", check=False
    )
    assert ran.returncode == 0, ran.stdout


def test_there_is_one():
    assert TESTS
