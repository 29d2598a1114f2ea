"""CPython's own tests of smtplib, run over smtpx.smtplib by the interpreter that runs this."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys

import pytest

PROGRAM = """
import sys
import smtpx.smtplib
sys.modules["smtplib"] = smtpx.smtplib
import unittest
import test.test_smtplib
suite = unittest.defaultTestLoader.loadTestsFromModule(test.test_smtplib)
result = unittest.TextTestRunner().run(suite)
sys.exit(0 if result.wasSuccessful() else 1)
"""


def has_suite() -> bool:
    try:
        return importlib.util.find_spec("test.test_smtplib") is not None
    except ModuleNotFoundError:
        return False


@pytest.mark.skipif(not has_suite(), reason="this Python has no test package")
def test_cpythons_own_suite_passes() -> None:
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", PROGRAM],
        env={"PYTHONPATH": os.pathsep.join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        timeout=100,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-5000:]
    count = re.search(r"Ran (\d+) tests", ran.stderr)
    assert count
    assert int(count[1]) >= 82
